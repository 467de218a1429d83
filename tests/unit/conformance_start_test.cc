/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance.h"

#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Features, configuration, initialisation, reset and the end of it (virtio 1.4, 2.1 to 2.5, 3 and
 * 6): what the driver does when things do not go their usual way.
 */

namespace
{

using Writes = std::vector<uint8_t>;

class Negotiation : public ConformanceFixture
{
      protected:
	void offer_everything()
	{
		config.features[0] = config.features[1] = ~UINT64_C(0);
	}

	void offer_only(const std::set<unsigned> &bits)
	{
		config.features[0] = config.features[1] = 0;
		for (unsigned bit : bits)
			plx_emu_config_offer(&config, bit, true);
	}
};

const std::set<unsigned> bare = {VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM};

TEST_F(Negotiation, EveryBitOfferedIsMetWithThoseThatAreUsed)
{
	const std::set<unsigned> used = {VIRTIO_NET_F_MTU, VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS,
		VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_RX_EXTRA,
		VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_DEVICE_STATS, VIRTIO_NET_F_VQ_NOTF_COAL,
		VIRTIO_NET_F_NOTF_COAL, VIRTIO_NET_F_SPEED_DUPLEX, VIRTIO_F_EVENT_IDX,
		VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED,
		VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_SUSPEND, VIRTIO_F_NOTIFICATION_DATA,
		VIRTIO_F_NOTIF_CONFIG_DATA, VIRTIO_F_RING_RESET, VIRTIO_F_IN_ORDER,
		VIRTIO_F_INDIRECT_DESC};

	offer_everything();
	start();
	for (unsigned bit = 0; bit < 128; bit++) {
		if (bit != VIRTIO_F_ORDER_PLATFORM) {
			EXPECT_EQ(accepted(bit), used.count(bit) != 0) << bit;
		}
	}
	expect_traffic();
}

TEST_F(Negotiation, NothingMoreThanTheBareCardIsNeeded)
{
	offer_only(bare);
	start();
	for (unsigned bit = 0; bit < 128; bit++)
		EXPECT_EQ(accepted(bit), bare.count(bit) != 0) << bit;
	expect_traffic();
}

TEST_F(Negotiation, EveryBitMayComeAlone)
{
	for (unsigned bit = 0; bit < 128; bit++) {
		std::set<unsigned> bits = bare;

		bits.insert(bit);
		offer_only(bits);
		start();
		ASSERT_FALSE(HasFatalFailure()) << bit;
		expect_traffic();
		close();
	}
}

TEST_F(Negotiation, PackedRingIsTakenWhenItIsOffered)
{
	start();
	EXPECT_TRUE(accepted(VIRTIO_F_RING_PACKED));
}

TEST_F(Negotiation, OrderPlatformIsTakenWhereTheBarriersOrderDevices)
{
	start();
#if defined(__x86_64__)
	EXPECT_TRUE(accepted(VIRTIO_F_ORDER_PLATFORM));
#else
	EXPECT_FALSE(accepted(VIRTIO_F_ORDER_PLATFORM));
#endif
}

TEST_F(Negotiation, MissingFeatureEndsInFailed)
{
	const struct {
		unsigned withheld;
		const char *options;
		const char *remedy;
	} cases[] = {{VIRTIO_F_VERSION_1, "", "legacy=on"},
		{VIRTIO_F_ACCESS_PLATFORM, "", "iommu_platform=on"},
		{128, ",version_1=off", "leave out version_1=off"}};

	for (const auto &c : cases) {
		struct plx_emu_config whole = config;

		if (c.withheld < 128)
			plx_emu_config_offer(&config, c.withheld, false);
		ASSERT_EQ(try_open(c.options), 0) << plx_error();
		EXPECT_EQ(take_status_writes(), (Writes{0, 1, 3}));
		EXPECT_EQ(try_configure(), -ENOTSUP);
		EXPECT_TRUE(error_says(c.remedy)) << plx_error();
		EXPECT_EQ(take_status_writes(), (Writes{0x83}));
		EXPECT_NE(plx_eth_start(eth), 0) << "it must not go on";
		EXPECT_EQ(take_status_writes(), Writes{});
		close();
		config = whole;
	}
}

/* The user's wish was too much; with another one the same device can be had. */
TEST_F(Negotiation, AfterFailedOnlyAResetLeadsOn)
{
	pool_config.count = 200;
	ASSERT_EQ(try_open(), 0);
	ASSERT_EQ(try_configure(), 0) << plx_error();
	take_status_writes();
	EXPECT_EQ(plx_eth_start(eth), -ENOBUFS);
	EXPECT_EQ(take_status_writes(), (Writes{0xb, 0x8b}));
	eth_config.rx_ring = 64;
	ASSERT_EQ(try_configure(), 0);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_EQ(take_status_writes(), (Writes{0, 1, 3, 0xb, 0xf}));
}

TEST_F(Negotiation, RefusedFeaturesEndInFailedAndNothingMore)
{
	config.veto = PLX_EMU_VETO_FEATURES;
	ASSERT_EQ(try_open(), 0);
	ASSERT_EQ(try_configure(), 0);
	take_status_writes();
	tap->log.clear();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	ASSERT_FALSE(tap->log.empty());
	/* Whatever follows FEATURES_OK is a look at the status, and FAILED. */
	uint64_t at = window(VIRTIO_PCI_CAP_COMMON_CFG)->offset + VIRTIO_PCI_COMMON_DEVICE_STATUS;
	bool asked = false;

	for (const Access &a : tap->log) {
		if (asked) {
			EXPECT_EQ(a.offset, at);
			EXPECT_TRUE(!a.write || a.value == 0x83) << a.value;
		}
		asked |= a.write && a.offset == at && a.value == 0xb;
	}
	EXPECT_TRUE(asked);
	EXPECT_EQ(tap->log.back().value, 0x83u);
}

/* --- device configuration --- */

class Configuration : public ConformanceFixture
{
      protected:
	uint64_t device_at = 0x2000, generation_at = VIRTIO_PCI_COMMON_CONFIG_GENERATION;
};

/* One byte of the address changes while it is read, and the generation with it. */
TEST_F(Configuration, ThatChangesWhileItIsReadIsReadAgain)
{
	unsigned changes = 3, reads = 0;
	uint8_t generation = 0;

	prepare = [&](Tap &t) {
		device_at = 0;
		for (const Structure &s : t.structures())
			if (s.type == VIRTIO_PCI_CAP_DEVICE_CFG)
				device_at = s.offset;
		t.on_read = [&](Access &a) {
			if (a.region == 4 && a.offset == generation_at)
				a.value = generation;
			if (a.region != 4 || a.offset < device_at || a.offset >= device_at + 6)
				return;
			reads++;
			a.value = 0x10 * (generation + 1) + (a.offset - device_at);
			if (a.offset == device_at + 2 && changes) {
				changes--;
				generation++;
			}
		};
	};
	start();
	struct plx_eth_info info;
	plx_eth_get_info(eth, &info);
	for (unsigned i = 0; i < 6; i++)
		EXPECT_EQ(info.mac[i], 0x40 + i) << "a mixture of two addresses";
	EXPECT_EQ(reads, 4u * 6);
}

TEST_F(Configuration, ThatNeverSettlesEndsInFailed)
{
	uint8_t generation = 0;

	prepare = [&](Tap &t) {
		t.on_read = [&](Access &a) {
			if (a.region == 4 && a.offset == generation_at)
				a.value = generation++;
		};
	};
	EXPECT_EQ(try_open(), -EPROTO);
	EXPECT_TRUE(error_says("never settles")) << plx_error();
	EXPECT_EQ(take_status_writes(), (Writes{0, 1, 3, 0x83}));
}

TEST_F(Configuration, FieldsOfFeaturesThatAreNotOfferedAreNotTouched)
{
	struct plx_eth_info info;

	for (unsigned bit :
		{VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MQ,
			VIRTIO_NET_F_RSS, VIRTIO_NET_F_HASH_REPORT, VIRTIO_NET_F_SPEED_DUPLEX})
		plx_emu_config_offer(&config, bit, false);
	start();
	plx_eth_get_info(eth, &info);
	Structure device = *window(VIRTIO_PCI_CAP_DEVICE_CFG);
	for (const Access &a : tap->log)
		EXPECT_FALSE(a.region == device.bar && a.offset >= device.offset &&
			     a.offset < (uint64_t)device.offset + device.length)
			<< a.offset;
}

/* --- reset and clean-up --- */

class Reset : public ConformanceFixture
{
      protected:
	unsigned late = 0; /* reads of the status until a reset shows */
	bool resetting = false;

	void SetUp() override
	{
		ConformanceFixture::SetUp();
		prepare = [this](Tap &t) {
			resetting = false;
			t.on_write = [this](const Access &a) {
				if (is_status(a))
					resetting = !a.value;
				else
					EXPECT_FALSE(resetting && late) << "it has not ended";
			};
			t.on_read = [this](Access &a) {
				if (!resetting || !late)
					return;
				EXPECT_TRUE(is_status(a)) << "it has not ended";
				late--;
				a.value = 0x0f;
			};
		};
	}

	static bool is_status(const Access &a)
	{
		return a.region == 4 && a.offset == VIRTIO_PCI_COMMON_DEVICE_STATUS;
	}
};

TEST_F(Reset, IsWaitedForUntilTheStatusReadsZero)
{
	for (unsigned reads : {1u, 2u, 100u}) {
		late = reads;
		start();
		EXPECT_EQ(late, 0u);
		late = reads;
		EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
		EXPECT_EQ(late, 0u);
		expect_all_back();
		close();
	}
}

TEST_F(Reset, BuffersStayTheDevicesUntilItIsConfirmed)
{
	limits.reset = PLX_MILLISECONDS(5);
	start();
	plx_emu_hold(card, 1, true);
	ASSERT_EQ(send(build(make_frame(60, 1))), 1);
	tap->reset_fails = true;
	late = ~0u;
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool) - 257)
		<< "256 to receive and one that waits to be sent";
	EXPECT_EQ(plx_eth_start(eth), -EIO);
	late = 0;
	plx_eth_close(eth);
	eth = nullptr;
	expect_all_back();
}

/* With NEEDS_RESET nobody knows what became of the requests in flight; none is waited for. */
TEST_F(Reset, RequestsOfADeviceThatFailedAreNotWaitedFor)
{
	start();
	plx_emu_hold(card, 1, true);
	for (unsigned i = 0; i < 50; i++)
		ASSERT_EQ(send(build(make_frame(60, i))), 1);
	plx_emu_need_reset(card);
	step();
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

/* --- notifications from the device --- */

class Interrupts : public ConformanceFixture
{
};

TEST_F(Interrupts, WithoutWorkOrForTwoReasonsChangeNothing)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct plx_eth_info info;

	start();
	/* Polled, the driver asks for none. Somebody else turned the line on. */
	ASSERT_EQ(tap->interrupts, 0u);
	ASSERT_EQ(plx_emu_device(card)->ops->set_irqs(
			  plx_emu_device(card), VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd),
		0);
	for (unsigned i = 0; i < 100; i++)
		plx_emu_interrupt(card, -1);
	EXPECT_TRUE(receive().empty());
	EXPECT_EQ(last_result, 0);
	/* A change of configuration and a used buffer at once. */
	auto frame = make_frame(60, 1);
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	plx_emu_set_link(card, false);
	step();
	EXPECT_EQ(receive().size(), 1u);
	plx_eth_get_info(eth, &info);
	EXPECT_FALSE(info.link_up);
	plx_emu_set_link(card, true);
	expect_traffic();
	::close(fd);
}

} // namespace
