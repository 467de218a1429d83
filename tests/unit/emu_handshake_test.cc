/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <functional>
#include <ostream>

#include <sys/eventfd.h>
#include <unistd.h>

/*
 * The handshakes from the device's side: that of the proposal VIRTIO-30 v2, step by step, and what
 * a device of each kind refuses.
 */

namespace emu
{
namespace
{

class EmuProposalTest : public EmuTest
{
      protected:
	void SetUp() override
	{
		EmuTest::SetUp();
		config.handshake = PLX_EMU_DEVICE_OK;
		config.peer = "none";
	}
	void TearDown() override
	{
		if (device)
			plx_vfio_close(plx_emu_device(device));
		tx.reset();
		rx.reset();
		EmuTest::TearDown();
	}
	/* Steps 2 to 8. Return: the status that is read back. */
	uint8_t understand(uint64_t features)
	{
		if (!device)
			make();
		driver->reset();
		driver->set_status(1);
		driver->accept(features);
		driver->set_status(3);
		return driver->status();
	}
	/* Steps 9 to 13. */
	uint8_t activate(uint64_t features)
	{
		driver->accept(features);
		rx = driver->setup(0, 64);
		tx = driver->setup(1, 64);
		driver->set_status(7);
		return driver->status();
	}
	/* Makes a frame available, and notifies. */
	void send()
	{
		Dma &memory = dma(4096);

		memset(memory.bytes(), 0, 12);
		memcpy(memory.bytes() + 12, frame_of(60).data(), 60);
		tx->add({{memory.iova(), 72, false}});
		driver->submit(*tx);
		settle();
	}
	std::unique_ptr<Ring> rx, tx;
};

TEST_F(EmuProposalTest, GoesThroughTheStepsOfTheProposal)
{
	ASSERT_EQ(3, understand(kBase));
	ASSERT_EQ(7, activate(kBase));
	driver->set_status(0xf);
	EXPECT_EQ(0xf, driver->status());
	send();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuProposalTest, NothingIsUsedBeforeDeviceOk)
{
	understand(kBase);
	activate(kBase);
	send();
	EXPECT_EQ(0u, stats().tx_frames) << "a buffer was used before DEVICE_OK";
	driver->set_status(0xf);
	settle();
	EXPECT_EQ(1u, stats().tx_frames) << "the early notification was forgotten";
}

TEST_F(EmuProposalTest, ThreadActsOnAnEarlyNotificationAtDeviceOk)
{
	config.thread = true;
	understand(kBase);
	activate(kBase);
	tx->add({{dma(4096).iova(), 72, false}});
	driver->submit(*tx);
	usleep(20000);
	EXPECT_EQ(0u, stats().tx_frames);
	driver->set_status(0xf);
	for (unsigned i = 0; i < 60000 && !stats().tx_frames; i++)
		usleep(1000);
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuProposalTest, NoInterruptsBeforeDeviceOk)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t count;

	understand(kBase | bit(VIRTIO_NET_F_STATUS));
	ASSERT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd));
	activate(kBase | bit(VIRTIO_NET_F_STATUS));
	plx_emu_set_link(device, false);
	EXPECT_NE(0, eventfd_read(fd, &count));
	driver->set_status(0xf);
	plx_emu_set_link(device, true);
	EXPECT_EQ(0, eventfd_read(fd, &count));
	close(fd);
}

TEST_F(EmuProposalTest, TooFewFeaturesUnderstoodClearDriver)
{
	faulty = true; /* VERSION_1 is to be accepted */
	EXPECT_EQ(1, understand(bit(VIRTIO_F_ACCESS_PLATFORM)));
}

TEST_F(EmuProposalTest, SmallerSetMayBeActivated)
{
	EXPECT_EQ(3, understand(kBase | bit(VIRTIO_F_EVENT_IDX) | bit(VIRTIO_NET_F_MAC)));
	EXPECT_EQ(7, activate(kBase));
}

TEST_F(EmuProposalTest, ImpossibleSetActivatedClearsDriverOk)
{
	faulty = true;
	EXPECT_EQ(3, understand(kBase));
	EXPECT_EQ(3, activate(bit(VIRTIO_F_VERSION_1)));
	EXPECT_EQ(1u, plx_emu_breaches(device, "RFEAT-3"));
}

TEST_F(EmuProposalTest, VetoOnFeaturesClearsDriver)
{
	config.veto = PLX_EMU_VETO_FEATURES;
	EXPECT_EQ(1, understand(kBase));
	driver->set_status(0x81);
	EXPECT_EQ(0x81, driver->status());
}

TEST_F(EmuProposalTest, VetoOnTheConfigurationClearsDriverOk)
{
	config.veto = PLX_EMU_VETO_CONFIG;
	EXPECT_EQ(3, understand(kBase));
	EXPECT_EQ(3, activate(kBase));
	driver->set_status(0x83);
	EXPECT_EQ(0x83, driver->status());
}

TEST_F(EmuProposalTest, ResetStartsOver)
{
	understand(kBase);
	activate(kBase);
	driver->set_status(0xf);
	driver->reset();
	EXPECT_EQ(3, understand(kBase));
	EXPECT_EQ(7, activate(kBase));
}

TEST_F(EmuProposalTest, LegacyDriverIsTakenAsItIs)
{
	config.interface = PLX_EMU_TRANSITIONAL;
	make();
	auto set = [this](uint8_t value) {
		EXPECT_EQ(0, driver->dev->ops->write(
				     driver->dev, 0, VIRTIO_PCI_LEGACY_DEVICE_STATUS, &value, 1));
	};
	uint8_t status = 0;
	uint32_t features = static_cast<uint32_t>(bit(VIRTIO_F_ANY_LAYOUT));

	for (uint8_t value : {0, 1, 3})
		set(value);
	ASSERT_EQ(0, driver->dev->ops->write(
			     driver->dev, 0, VIRTIO_PCI_LEGACY_DRIVER_FEATURES, &features, 4));
	set(7);
	driver->dev->ops->read(driver->dev, 0, VIRTIO_PCI_LEGACY_DEVICE_STATUS, &status, 1);
	EXPECT_EQ(7, status);
}

/* What the device holds against a driver of the proposal. */

struct ProposalBreach {
	const char *rule;
	const char *how;
	std::function<void(Driver &)> commit;
};

void PrintTo(const ProposalBreach &breach, std::ostream *to)
{
	*to << breach.rule << " by " << breach.how;
}

class EmuProposalBreachTest : public EmuTest, public testing::WithParamInterface<ProposalBreach>
{
};

void understand(Driver &driver, uint64_t features = kBase)
{
	driver.reset();
	driver.set_status(1);
	driver.accept(features);
	driver.set_status(3);
}

const ProposalBreach proposal_breaches[] = {
	{"VIRTIO-30 step 8", "DoesNotReadDriverBack",
		[](Driver &d) {
			understand(d);
			d.accept(kBase);
		}},
	{"VIRTIO-30 step 9", "ActivatesWhatItDidNotUnderstand",
		[](Driver &d) {
			understand(d);
			(void)d.status();
			d.accept(kBase | bit(VIRTIO_F_EVENT_IDX));
			d.set_status(7);
		}},
	{"VIRTIO-30 step 10", "SetsUpAQueueBeforeDriver",
		[](Driver &d) {
			d.reset();
			d.set_status(1);
			d.accept(kBase);
			d.setup(0, 64);
		}},
	{"VIRTIO-30 step 11", "WritesFeaturesAfterDriverOk",
		[](Driver &d) {
			understand(d);
			(void)d.status();
			d.set_status(7);
			(void)d.status();
			d.accept(kBase);
		}},
	{"VIRTIO-30 step 13", "DoesNotReadDriverOkBack",
		[](Driver &d) {
			understand(d);
			(void)d.status();
			d.set_status(7);
			d.set_status(0xf);
		}},
	{"VIRTIO-30 step 14", "AddsBuffersBeforeDriverOk",
		[](Driver &d) {
			Dma memory(d.mem, 4096);

			understand(d);
			(void)d.status();
			auto ring = d.setup(1, 64);
			ring->add({{memory.iova(), 72, false}});
			ring->publish();
			d.set_status(7);
			(void)d.status();
			d.reset();
		}},
	{"VIRTIO-30 step 14", "NotifiesBeforeDriverOk",
		[](Driver &d) {
			understand(d);
			(void)d.status();
			auto ring = d.setup(1, 64);
			d.kick(1);
			d.reset();
		}},
	{"STATUS-1", "SetsDeviceOkFirst",
		[](Driver &d) {
			understand(d);
			(void)d.status();
			d.set_status(0xb);
		}},
	{"STATUS-1", "SkipsDriver",
		[](Driver &d) {
			d.reset();
			d.set_status(1);
			d.accept(kBase);
			d.set_status(5);
		}},
	{"FEAT-1", "UnderstandsWhatIsNotOffered",
		[](Driver &d) { understand(d, kBase | bit(VIRTIO_NET_F_STANDBY)); }},
	{"RFEAT-1", "DoesNotUnderstandVersion1",
		[](Driver &d) { understand(d, bit(VIRTIO_F_ACCESS_PLATFORM)); }},
	{"INIT-6", "GoesOnAfterTheVeto",
		[](Driver &d) {
			understand(d, bit(VIRTIO_F_VERSION_1));
			(void)d.status();
			d.set_status(3);
		}},
};

TEST_P(EmuProposalBreachTest, IsReported)
{
	faulty = true;
	config.handshake = PLX_EMU_DEVICE_OK;
	make();
	GetParam().commit(*driver);
	settle();
	EXPECT_GE(plx_emu_breaches(device, GetParam().rule), 1u) << "instead: " << breaches();
}

INSTANTIATE_TEST_SUITE_P(Steps, EmuProposalBreachTest, testing::ValuesIn(proposal_breaches),
	[](const testing::TestParamInfo<ProposalBreach> &info) {
		std::string name = info.param.rule;

		for (char &letter : name)
			letter = letter == '-' || letter == ' ' ? '_' : letter;
		return name + "_" + info.param.how;
	});

/* A device of the standard. */

class EmuStandardTest : public EmuTest
{
};

TEST_F(EmuStandardTest, VetoOnFeaturesHidesFeaturesOk)
{
	config.veto = PLX_EMU_VETO_FEATURES;
	make();
	EXPECT_FALSE(driver->negotiate(kBase));
	EXPECT_EQ(3, driver->status());
}

TEST_F(EmuStandardTest, VetoOnTheConfigurationAsksForAReset)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t count;

	config.veto = PLX_EMU_VETO_CONFIG;
	make();
	ASSERT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd));
	ASSERT_TRUE(driver->negotiate(kBase));
	driver->live();
	EXPECT_EQ(0x4f, driver->status());
	EXPECT_EQ(0, eventfd_read(fd, &count)) << "no interrupt tells of it";
	close(fd);
}

TEST_F(EmuStandardTest, DriverOfTheProposalDoesNotGetPastDriverOk)
{
	faulty = true;
	make();
	driver->reset();
	driver->set_status(1);
	driver->accept(kBase);
	driver->set_status(3);
	EXPECT_EQ(3, driver->status());
	driver->accept(kBase);
	auto ring = driver->setup(0, 64);
	plx_emu_queue_state queue;
	plx_emu_get_queue(device, 0, &queue);
	EXPECT_FALSE(queue.enabled);
	driver->set_status(7);
	EXPECT_EQ(3, driver->status()) << "DRIVER_OK stayed without FEATURES_OK";
	EXPECT_GE(plx_emu_breaches(device, "INIT-1"), 1u);
	EXPECT_GE(plx_emu_breaches(device, "STATUS-1"), 1u);
}

} // namespace
} // namespace emu
