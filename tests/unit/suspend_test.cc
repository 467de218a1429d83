/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

/* A port that stands still and goes on (virtio 1.4, 3.4), on both ring layouts. */

namespace
{

class Suspend : public NetFixture, public ::testing::WithParamInterface<bool>
{
      protected:
	/* What the card's status reads as, if anything but the truth. */
	struct Lie {
		bool on = false;
		unsigned reads = 0; /* until the truth is told; 0: never */
		uint8_t status = 0;
	} lie;
	std::vector<uint8_t> writes;

	void SetUp() override
	{
		NetFixture::SetUp();
		limits.suspend = PLX_MILLISECONDS(20);
		plx_emu_config_offer(&config, VIRTIO_F_SUSPEND, true);
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam());
		config.hooks.arg = this;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			static_cast<Suspend *>(arg)->breaches.push_back(
				std::string(rule) + ": " + text);
		};
		config.hooks.read = [](void *arg, enum plx_emu_place place, uint64_t offset,
					    unsigned, uint64_t *value) {
			Lie &lie = static_cast<Suspend *>(arg)->lie;

			if (place != PLX_EMU_COMMON || offset != VIRTIO_PCI_COMMON_DEVICE_STATUS ||
				!lie.on)
				return;
			*value = lie.status;
			if (lie.reads && !--lie.reads)
				lie.on = false;
		};
		config.hooks.write = [](void *arg, enum plx_emu_place place, uint64_t offset,
					     unsigned, uint64_t *value) {
			auto *test = static_cast<Suspend *>(arg);

			if (place == PLX_EMU_COMMON && offset == VIRTIO_PCI_COMMON_DEVICE_STATUS)
				test->writes.push_back((uint8_t)*value);
			return true;
		};
	}

	void run(const char *options = "")
	{
		start(options);
		writes.clear();
	}
};

TEST_P(Suspend, AddsItsBitAndClearsNone)
{
	run();
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	EXPECT_EQ(writes, (std::vector<uint8_t>{0x1f}));
	ASSERT_EQ(plx_eth_resume(eth), 0) << plx_error();
	EXPECT_EQ(writes, (std::vector<uint8_t>{0x1f, 0x1f})) << "SUSPEND stays in what is written";
	expect_traffic();
}

TEST_P(Suspend, FramesOnTheirWayWaitAndGoOn)
{
	auto out = make_frame(200, 1), in = make_frame(300, 2);

	run();
	for (unsigned round = 0; round < 50; round++) {
		ASSERT_EQ(send(build(out)), 1) << plx_error();
		ASSERT_EQ(plx_emu_inject(card, 0, in.data(), in.size()), 0);
		ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
		step();
		EXPECT_TRUE(sent().empty()) << "a card that is suspended sends nothing";
		ASSERT_EQ(plx_eth_resume(eth), 0) << plx_error();
		step();
		EXPECT_EQ(sent(), out);
		EXPECT_EQ(receive(), (std::vector<std::vector<uint8_t>>{in}));
	}
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(Suspend, BurstsAreRefusedMeanwhile)
{
	struct plx_packet *packet;

	run();
	packet = build(make_frame(60, 1));
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_tx_burst(txq(), &packet, 1), -ESHUTDOWN);
	EXPECT_NE(std::string(plx_error()).find("resume"), std::string::npos) << plx_error();
	plx_packet_free(packet);
	EXPECT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), -ESHUTDOWN);
}

TEST_P(Suspend, WaitsUntilTheCardStandsStill)
{
	run();
	lie = {true, 5, 0x0f};
	/* The first of them is the driver's look before it writes. */
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	EXPECT_FALSE(lie.on) << "it looked until the truth was told";
	lie = {true, 5, 0x1b};
	ASSERT_EQ(plx_eth_resume(eth), 0) << plx_error();
	EXPECT_FALSE(lie.on);
	expect_traffic();
}

TEST_P(Suspend, CardThatNeverStandsStillIsGivenUpAndStopped)
{
	run();
	lie = {true, 0, 0x0f};
	EXPECT_EQ(plx_eth_suspend(eth), -EIO);
	EXPECT_NE(std::string(plx_error()).find("does not suspend"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(plx_eth_rx_burst(rxq(), nullptr, 0), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_resume(eth), -EIO) << "it was never suspended";
	lie.on = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

TEST_P(Suspend, CardThatNeverGoesOnIsGivenUpAndStopped)
{
	run();
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	lie = {true, 0, 0x1b};
	EXPECT_EQ(plx_eth_resume(eth), -EIO);
	lie.on = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(Suspend, ResetThatTheCardAsksForEndsTheWait)
{
	run();
	lie = {true, 0, 0x5f};
	EXPECT_EQ(plx_eth_suspend(eth), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("asks for a reset"), std::string::npos)
		<< plx_error();
	EXPECT_TRUE(writes.empty()) << "a card that asks for a reset is told nothing more";
}

TEST_P(Suspend, CardThatIsGoneIsSaidToBeGone)
{
	run();
	plx_emu_unplug(card);
	EXPECT_EQ(plx_eth_suspend(eth), -ENODEV);
}

TEST_P(Suspend, PortWithoutTheFeatureRunsOn)
{
	run(",suspend=off");
	EXPECT_EQ(plx_eth_suspend(eth), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("F_SUSPEND is declined"), std::string::npos)
		<< plx_error();
	EXPECT_TRUE(writes.empty());
	expect_traffic();
}

TEST_P(Suspend, OnlyAPortThatRunsIsSuspendedAndOnlyASuspendedOneResumed)
{
	run();
	EXPECT_EQ(plx_eth_resume(eth), -EINVAL);
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_suspend(eth), -EINVAL);
	EXPECT_EQ(plx_eth_start(eth), -EBUSY);
	EXPECT_EQ(try_configure(), -EBUSY);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_suspend(eth), -EINVAL);
	EXPECT_EQ(plx_eth_resume(eth), -EINVAL);
}

TEST_P(Suspend, ClosingASuspendedPortGivesEverythingBack)
{
	run();
	ASSERT_EQ(send(build(make_frame(60, 1))), 1);
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	close();
	expect_all_back();
}

/* What was broken stays broken: resuming brings no queue back to life. */
TEST_P(Suspend, BrokenQueueStaysBrokenWhenResumed)
{
	auto frame = make_frame(60, 1);
	struct plx_packet *packet;

	config.hooks.used = [](void *, unsigned queue, uint32_t *id, uint32_t *) {
		if (!queue)
			*id = 0xffff;
	};
	run();
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	ASSERT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), -EIO);
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	ASSERT_EQ(plx_eth_resume(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), -EIO);
}

/* Its status has no bit for it, whatever features it is told to have. */
TEST_P(Suspend, CardOfTheProposalDoesNotOfferIt)
{
	config.handshake = PLX_EMU_DEVICE_OK;
	run(",handshake=device-ok");
	EXPECT_EQ(plx_eth_suspend(eth), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("not offered"), std::string::npos) << plx_error();
	expect_traffic();
}

INSTANTIATE_TEST_SUITE_P(Layouts, Suspend, ::testing::Values(false, true),
	[](const ::testing::TestParamInfo<bool> &info) { return info.param ? "Packed" : "Split"; });

} // namespace
