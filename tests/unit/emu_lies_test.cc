/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <functional>

#include <sys/eventfd.h>
#include <unistd.h>

/* The means by which a test makes an emulated device lie do what they say. */

namespace emu
{
namespace
{

class EmuLiesTest : public EmuTest
{
      protected:
	struct Lies {
		std::function<bool(plx_emu_place, uint64_t, uint64_t *)> write;
		bool reset = true;
	} lies;

	void SetUp() override
	{
		EmuTest::SetUp();
		config.peer = "none";
		config.hooks.arg = &lies;
		config.hooks.write = [](void *arg, plx_emu_place place, uint64_t offset, unsigned,
					     uint64_t *value) {
			auto *own = static_cast<Lies *>(arg);
			return !own->write || own->write(place, offset, value);
		};
		config.hooks.reset = [](void *arg) { return static_cast<Lies *>(arg)->reset; };
	}
	/* One frame on its way to the driver. */
	void inject()
	{
		Frame frame = frame_of(60);

		ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
		settle();
	}
};

TEST_F(EmuLiesTest, WriteThatIsSwallowedNeverArrives)
{
	make();
	lies.write = [](plx_emu_place place, uint64_t offset, uint64_t *value) {
		return place != PLX_EMU_COMMON || offset != VIRTIO_PCI_COMMON_DEVICE_STATUS ||
		       *value;
	};
	driver->set_status(1);
	driver->set_status(0);
	EXPECT_EQ(1, driver->status()) << "the reset arrived";
}

TEST_F(EmuLiesTest, WriteCanBeChanged)
{
	make();
	lies.write = [](plx_emu_place, uint64_t, uint64_t *value) {
		*value = 1;
		return true;
	};
	driver->select(0);
	EXPECT_EQ(1, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SELECT));
}

TEST_F(EmuLiesTest, NotificationsCanBeLost)
{
	run();
	lies.write = [](plx_emu_place place, uint64_t queue, uint64_t *) {
		return place != PLX_EMU_NOTIFY || queue != 1;
	};
	net->send(frame_of(60));
	settle();
	EXPECT_EQ(0u, stats().tx_frames);
	lies.write = nullptr;
	driver->kick(1);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuLiesTest, FunctionResetCanFail)
{
	run();
	lies.reset = false;
	EXPECT_EQ(-EIO, driver->dev->ops->reset(driver->dev));
	EXPECT_EQ(0xf, driver->status()) << "it was reset all the same";
	lies.reset = true;
	EXPECT_EQ(0, driver->dev->ops->reset(driver->dev));
	EXPECT_EQ(0, driver->status());
}

TEST_F(EmuLiesTest, UnpluggedCardReadsAsOnesAndMovesNothing)
{
	uint32_t value = 0;

	run();
	net->fill(8);
	plx_emu_unplug(device);
	inject();
	EXPECT_EQ(0u, stats().rx_frames);
	EXPECT_EQ(0xff, driver->status());
	EXPECT_EQ(0xffff, driver->config<uint16_t>(0));
	EXPECT_EQ(0, driver->dev->ops->write(driver->dev, 4, 0, &value, 4)) << "writes are lost";
	EXPECT_EQ(-ENODEV, driver->dev->ops->reset(driver->dev));
	EXPECT_EQ(-ENODEV,
		driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr));
	EXPECT_EQ(-EFAULT, plx_emu_peek(device, net->rx[0]->desc_iova(), &value, 4));
}

TEST_F(EmuLiesTest, SilentCardFailsEachAccessOnceUnplugged)
{
	uint32_t value = 0;

	config.gone_silent = true;
	make();
	plx_emu_unplug(device);
	EXPECT_EQ(-ENODEV, driver->dev->ops->read(driver->dev, 4, 0, &value, 4));
	EXPECT_EQ(0xffffffffu, value);
	EXPECT_EQ(-ENODEV, driver->dev->ops->write(driver->dev, 4, 0, &value, 4));
}

TEST_F(EmuLiesTest, CardCanGoAfterAGivenNumberOfAccesses)
{
	uint8_t value = 0;

	config.gone_after = 100;
	make(); /* the driver of the test reads the capabilities */
	unsigned alive = 0;
	for (; alive < 100; alive++) {
		ASSERT_EQ(0, plx_emu_device(device)->ops->read(plx_emu_device(device), 4,
				     VIRTIO_PCI_COMMON_NUM_QUEUES, &value, 1));
		if (value == 0xff)
			break;
	}
	EXPECT_GT(alive, 10u);
	EXPECT_LT(alive, 100u);
	faulty = true; /* a byte of num_queues was read */
}

TEST_F(EmuLiesTest, MemoryIsReadAndWrittenAsTheDeviceCan)
{
	Dma &writable = dma(4096), &readable = dma(4096, PLX_MEM_READ_ONLY);
	uint32_t value = 0x12345678, back = 0;

	make();
	EXPECT_EQ(0, plx_emu_poke(device, writable.iova() + 8, &value, 4));
	EXPECT_EQ(0, memcmp(writable.bytes() + 8, &value, 4));
	EXPECT_EQ(0, plx_emu_peek(device, writable.iova() + 8, &back, 4));
	EXPECT_EQ(value, back);
	EXPECT_EQ(0, plx_emu_peek(device, readable.iova(), &back, 4));
	EXPECT_EQ(-EFAULT, plx_emu_poke(device, readable.iova(), &value, 4));
	EXPECT_EQ(-EFAULT, plx_emu_peek(device, uint64_t{1} << 50, &back, 4));
	EXPECT_EQ(-EFAULT, plx_emu_peek(device, ~uint64_t{0} - 1, &back, 4));
}

TEST_F(EmuLiesTest, WhatTheDeviceWritesOverIsNotHeldAgainstTheDriver)
{
	uint8_t junk[1024];

	run();
	net->fill(8);
	settle();
	memset(junk, 0xa5, sizeof(junk));
	ASSERT_EQ(0, plx_emu_poke(device, net->rx[0]->desc_iova(), junk, sizeof(junk)));
	inject();
	EXPECT_EQ(1u, stats().rx_frames) << "the device did not keep what it had noticed";
	EXPECT_EQ("", breaches());
}

TEST_F(EmuLiesTest, QueueIsShownAsItWasSetUp)
{
	plx_emu_queue_state queue;

	run();
	plx_emu_get_queue(device, 1, &queue);
	EXPECT_TRUE(queue.enabled);
	EXPECT_EQ(64, queue.size);
	EXPECT_EQ(net->tx[0]->desc_iova(), queue.descriptors);
	EXPECT_EQ(net->tx[0]->driver_iova(), queue.driver_area);
	EXPECT_EQ(net->tx[0]->device_iova(), queue.device_area);
	plx_emu_get_queue(device, 99, &queue);
	EXPECT_FALSE(queue.enabled);
}

TEST_F(EmuLiesTest, InterruptsComeWheneverTheTestWants)
{
	int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
	eventfd_t count;

	make();
	ASSERT_EQ(
		0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 1, 1, &fds[0]));
	ASSERT_EQ(
		0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fds[1]));
	plx_emu_interrupt(device, 1);
	EXPECT_EQ(0, eventfd_read(fds[0], &count));
	EXPECT_NE(0, eventfd_read(fds[1], &count));
	plx_emu_interrupt(device, -1);
	EXPECT_EQ(0, eventfd_read(fds[1], &count));
	plx_emu_interrupt(device, 2000);
	close(fds[0]);
	close(fds[1]);
}

} // namespace
} // namespace emu
