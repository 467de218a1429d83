/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace emu
{
namespace
{

/* Configuration space. */

TEST_F(EmuTest, PresentsItselfAsAModernNetworkCard)
{
	make();
	EXPECT_EQ(0x1af4, driver->config<uint16_t>(0x00));
	EXPECT_EQ(0x1041, driver->config<uint16_t>(0x02));
	EXPECT_GE(driver->config<uint8_t>(0x08), 1);
	EXPECT_EQ(0x0200, driver->config<uint16_t>(0x0a));
	EXPECT_GE(driver->config<uint16_t>(0x2e), 0x40);
	EXPECT_TRUE(driver->config<uint16_t>(0x06) & 0x10) << "no capability list";
	EXPECT_TRUE(driver->config<uint16_t>(0x04) & 0x04) << "no bus mastering";
}

TEST_F(EmuTest, EveryStructureLiesWithinItsBar)
{
	make();
	for (const Driver::Window *window :
		{&driver->common, &driver->notify, &driver->isr, &driver->device}) {
		EXPECT_GT(window->length, 0u);
		EXPECT_LE(uint64_t{window->offset} + window->length,
			driver->dev->region[window->bar].size);
		EXPECT_EQ(0u, driver->dev->region[window->bar].flags & VFIO_REGION_INFO_FLAG_MMAP);
	}
	EXPECT_EQ(4u, driver->notify_multiplier);
	EXPECT_NE(0, driver->pci_cfg_cap);
}

TEST_F(EmuTest, MsixTableHasAVectorForEachQueueAndTheConfiguration)
{
	config.pairs = 4;
	make();
	ASSERT_NE(0, driver->msix_cap);
	EXPECT_EQ(2 * 4 + 1 + 1 - 1, driver->config<uint16_t>(driver->msix_cap + 2u) & 0x7ff);
	EXPECT_EQ(10u, driver->dev->irqs[VFIO_PCI_MSIX_IRQ_INDEX]);
}

TEST_F(EmuTest, BarsTellTheirSize)
{
	make();
	driver->set_config<uint32_t>(0x10 + 4 * driver->common.bar, 0xffffffff);
	uint32_t low = driver->config<uint32_t>(0x10 + 4 * driver->common.bar);

	EXPECT_EQ(driver->dev->region[driver->common.bar].size, ~(low & ~0xfu) + uint64_t{1});
	EXPECT_EQ(4u, low & 6u) << "not a 64-bit BAR";
}

TEST_F(EmuTest, WindowInConfigurationSpaceReachesTheRegisters)
{
	make();
	driver->hello();
	uint8_t cap = driver->pci_cfg_cap;

	driver->set_config<uint8_t>(cap + 4u, static_cast<uint8_t>(driver->common.bar));
	driver->set_config<uint32_t>(
		cap + 8u, driver->common.offset + VIRTIO_PCI_COMMON_DEVICE_STATUS);
	driver->set_config<uint32_t>(cap + 12u, 1);
	EXPECT_EQ(3, driver->config<uint8_t>(cap + 16u));
	driver->set_config<uint8_t>(cap + 16u, 0);
	EXPECT_EQ(0, driver->status());
}

TEST_F(EmuTest, ReadingAllOfConfigurationSpaceTouchesNoRegister)
{
	std::vector<uint8_t> all(4096);

	make();
	EXPECT_EQ(0, driver->dev->ops->read(
			     driver->dev, VFIO_PCI_CONFIG_REGION_INDEX, 0, all.data(), all.size()));
	for (unsigned i = 0; i < 256; i++)
		EXPECT_EQ(all[i], driver->config<uint8_t>(i));
}

TEST_F(EmuTest, AccessBeyondARegionFails)
{
	uint32_t value;

	make();
	EXPECT_EQ(-EIO, driver->dev->ops->read(driver->dev, 4, 0x4000, &value, 4));
	EXPECT_EQ(-EIO, driver->dev->ops->read(driver->dev, 0, 0, &value, 4));
	EXPECT_EQ(-EIO, driver->dev->ops->write(driver->dev, 99, 0, &value, 4));
}

/* Common configuration. */

TEST_F(EmuTest, OffersFourFeatureWords)
{
	plx_emu_config_offer(&config, VIRTIO_NET_F_RSS_CONTEXT, true);
	make();
	driver->hello();
	EXPECT_EQ(config.features[0] & ~bit(VIRTIO_F_ANY_LAYOUT), driver->offered(0));
	EXPECT_EQ(bit(VIRTIO_NET_F_RSS_CONTEXT), driver->offered(1));
	EXPECT_EQ(0u, driver->offered(2));
}

TEST_F(EmuTest, GoesThroughTheStatusStepByStep)
{
	make();
	driver->reset();
	driver->set_status(1);
	EXPECT_EQ(1, driver->status());
	driver->set_status(3);
	EXPECT_EQ(3, driver->status());
	driver->accept(kBase);
	driver->set_status(0xb);
	EXPECT_EQ(0xb, driver->status());
	driver->set_status(0xf);
	EXPECT_EQ(0xf, driver->status());
	driver->reset();
}

TEST_F(EmuTest, AcceptedFeaturesReadBackAndResetForgetsThem)
{
	make();
	ASSERT_TRUE(driver->negotiate(kBase | bit(VIRTIO_F_IN_ORDER)));
	driver->set<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 1);
	EXPECT_EQ(1u << 0 | 1u << 1 | 1u << 3,
		driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE));
	driver->reset();
	driver->set<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 1);
	EXPECT_EQ(0u, driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE));
}

TEST_F(EmuTest, QueueRegistersReadBackAndResetForgetsThem)
{
	config.pairs = 2;
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	EXPECT_EQ(5, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_NUM_QUEUES));
	driver->select(3);
	EXPECT_EQ(256, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(3, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	auto ring = driver->setup(3, 128);

	EXPECT_EQ(1, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	EXPECT_EQ(128, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(static_cast<uint32_t>(ring->device_iova()),
		driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_DEVICE));
	driver->select(5);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	driver->reset();
	driver->select(3);
	EXPECT_EQ(256, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	EXPECT_EQ(0u, driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_DEVICE));
}

TEST_F(EmuTest, VectorReadsBackAsWritten)
{
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	EXPECT_EQ(0xffff,
		driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 3);
	EXPECT_EQ(3, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->select(1);
	EXPECT_EQ(
		0xffff, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
}

TEST_F(EmuTest, VectorBeyondTheTableIsRefused)
{
	faulty = true;
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 4);
	EXPECT_EQ(0xffff,
		driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
}

TEST_F(EmuTest, NotificationNamesDifferFromIndexesWithConfigData)
{
	plx_emu_config_offer(&config, VIRTIO_F_NOTIF_CONFIG_DATA, true);
	make();
	run(bit(VIRTIO_F_NOTIF_CONFIG_DATA));
	driver->select(1);
	uint16_t name = driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA);

	EXPECT_NE(1, name);
	net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
	EXPECT_TRUE(net->tx[0]->publish());
	driver->set<uint16_t>(driver->notify, 4, name);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuTest, NotificationDataCarriesTheAvailableIndex)
{
	plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	make();
	run(bit(VIRTIO_F_NOTIFICATION_DATA));
	net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
	EXPECT_TRUE(net->tx[0]->publish());
	driver->set<uint32_t>(driver->notify, 4, 1 << 16 | 1);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuTest, FunctionResetForgetsEverything)
{
	make();
	run();
	EXPECT_EQ(0, driver->dev->ops->reset(driver->dev));
	EXPECT_EQ(0, driver->status());
	driver->select(0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
}

TEST_F(EmuTest, ConfigurationTellsWhatItWasGiven)
{
	config.mtu = 9000;
	config.pairs = 3;
	config.mac[5] = 0x42;
	make();
	driver->hello();
	EXPECT_EQ(0x42, driver->get<uint8_t>(driver->device, VIRTIO_NET_CFG_MAC + 5));
	EXPECT_EQ(1, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(3, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS));
	EXPECT_EQ(9000, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_MTU));
	EXPECT_EQ(10000u, driver->get<uint32_t>(driver->device, VIRTIO_NET_CFG_SPEED));
	EXPECT_EQ(1, driver->get<uint8_t>(driver->device, VIRTIO_NET_CFG_DUPLEX));
}

TEST_F(EmuTest, LinkChangeBumpsTheGenerationAndInterrupts)
{
	int fds[2] = {eventfd(0, EFD_NONBLOCK), -1};
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 2, fds));
	ASSERT_TRUE(driver->negotiate(kBase | bit(VIRTIO_NET_F_STATUS)));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->live();
	uint8_t before = driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION);

	EXPECT_EQ(
		before, driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION));
	plx_emu_set_link(device, false);
	EXPECT_EQ(0, eventfd_read(fds[0], &value)) << "no interrupt";
	EXPECT_NE(
		before, driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	close(fds[0]);
}

TEST_F(EmuTest, LineInterruptSetsTheIsrAndReadingClearsIt)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd));
	run(bit(VIRTIO_NET_F_STATUS));
	plx_emu_need_reset(device);
	EXPECT_EQ(0, eventfd_read(fd, &value));
	EXPECT_EQ(2, driver->get<uint8_t>(driver->isr, 0));
	EXPECT_EQ(0, driver->get<uint8_t>(driver->isr, 0));
	EXPECT_TRUE(driver->status() & VIRTIO_STATUS_NEEDS_RESET);
	close(fd);
}

/* The control queue. */

class EmuControlTest : public EmuTest
{
      protected:
	uint8_t ask(uint8_t class_, uint8_t command, const Frame &data)
	{
		net->ask(class_, command, data);
		settle();
		EXPECT_TRUE(net->control->used());
		return net->ack();
	}
	void run_all(unsigned pairs = 1)
	{
		run(bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_CTRL_RX) |
				bit(VIRTIO_NET_F_CTRL_RX_EXTRA) | bit(VIRTIO_NET_F_CTRL_VLAN) |
				bit(VIRTIO_NET_F_CTRL_MAC_ADDR) | bit(VIRTIO_NET_F_GUEST_ANNOUNCE) |
				bit(VIRTIO_NET_F_STATUS) | (pairs > 1 ? bit(VIRTIO_NET_F_MQ) : 0),
			pairs);
	}
};

TEST_F(EmuControlTest, KeepsReceiveModes)
{
	run_all();
	EXPECT_EQ(0, ask(0, 0, {1}));
	EXPECT_EQ(0, ask(0, 1, {1}));
	EXPECT_EQ(0, ask(0, 5, {1}));
	EXPECT_TRUE(state().promiscuous);
	EXPECT_TRUE(state().all_multicast);
	EXPECT_TRUE(state().no_broadcast);
	EXPECT_EQ(0, ask(0, 0, {0}));
	EXPECT_FALSE(state().promiscuous);
}

TEST_F(EmuControlTest, KeepsAddresses)
{
	run_all();
	EXPECT_EQ(0, ask(1, 1, {2, 1, 2, 3, 4, 5}));
	EXPECT_EQ(5, state().mac[5]);
	Frame tables = {1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 2, 0, 0, 0};

	tables.resize(tables.size() + 12);
	EXPECT_EQ(0, ask(1, 0, tables));
	EXPECT_EQ(1u, state().unicast);
	EXPECT_EQ(2u, state().multicast);
}

TEST_F(EmuControlTest, KeepsVlans)
{
	run_all();
	EXPECT_EQ(0, ask(2, 0, {100, 0}));
	EXPECT_EQ(0, ask(2, 0, {0xff, 0x0f}));
	EXPECT_EQ(0, ask(2, 0, {100, 0}));
	EXPECT_EQ(2u, state().vlans);
	EXPECT_EQ(0, ask(2, 1, {100, 0}));
	EXPECT_EQ(1u, state().vlans);
	EXPECT_EQ(1, ask(2, 0, {0, 0x10})) << "VLAN 4096 accepted";
}

TEST_F(EmuControlTest, AnnouncementEndsWithItsAcknowledgement)
{
	run_all();
	plx_emu_announce(device);
	EXPECT_EQ(3, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(0, ask(3, 0, {}));
	EXPECT_EQ(1, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(1u, state().announce_acks);
}

TEST_F(EmuControlTest, UnknownCommandsAreRefused)
{
	run_all();
	EXPECT_EQ(1, ask(77, 0, {}));
	EXPECT_EQ(1, ask(0, 99, {1}));
	EXPECT_EQ(1, ask(0, 0, {1, 2}));
	EXPECT_EQ(1, ask(0, 0, {}));
	EXPECT_EQ(4u, stats().commands_failed);
}

TEST_F(EmuControlTest, SecondPairWorksAfterItsCommand)
{
	config.pairs = 2;
	run_all(2);
	net->fill(16, 0);
	net->fill(16, 1);
	EXPECT_EQ(0, ask(4, 0, {2, 0}));
	EXPECT_EQ(2, state().pairs);
	net->send(frame_of(64, 1), 0);
	net->send(frame_of(64, 2), 1);
	settle();
	EXPECT_EQ(frame_of(64, 1), net->receive(0));
	EXPECT_EQ(frame_of(64, 2), net->receive(1));
}

TEST_F(EmuControlTest, WithoutMqTheControlQueueIsTheThird)
{
	config.pairs = 4;
	run_all();
	EXPECT_EQ(2u, net->control->index);
	EXPECT_EQ(0, ask(0, 0, {1}));
}

/* Addresses. */

class EmuAddressTest : public EmuTest
{
      protected:
	int open(const char *text, plx_vfio_device **opened)
	{
		plx_address address;
		int err;

		EXPECT_EQ(0, plx_address_parse(&address, text));
		err = plx_emu_open(mem, nullptr, &address, opened);
		if (!err)
			left = plx_address_finish(&address);
		plx_address_free(&address);
		return err;
	}
	int left = 0;
};

TEST_F(EmuAddressTest, OptionsMakeTheDevice)
{
	plx_vfio_device *opened = nullptr;

	ASSERT_EQ(0,
		open("emu:net,dev.mac=02:00:00:00:00:42,dev.mtu=9000,dev.queues=4,dev.queue_size=512,"
		     "dev.mrg_rxbuf=off,peer=sink",
			&opened))
		<< plx_error();
	EXPECT_EQ(0, left) << plx_error();
	{
		Driver card(opened, mem);

		card.hello();
		EXPECT_FALSE(card.offered() & bit(VIRTIO_NET_F_MRG_RXBUF));
		EXPECT_TRUE(card.offered() & bit(VIRTIO_F_VERSION_1));
		EXPECT_EQ(0x42, card.get<uint8_t>(card.device, VIRTIO_NET_CFG_MAC + 5));
		EXPECT_EQ(9000, card.get<uint16_t>(card.device, VIRTIO_NET_CFG_MTU));
		EXPECT_EQ(9, card.get<uint16_t>(card.common, VIRTIO_PCI_COMMON_NUM_QUEUES));
		EXPECT_EQ(512, card.get<uint16_t>(card.common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	}
	plx_vfio_close(opened);
}

TEST_F(EmuAddressTest, TheDriversOptionsAreLeft)
{
	plx_vfio_device *opened = nullptr;

	ASSERT_EQ(0, open("emu:net,mrg_rxbuf=off", &opened)) << plx_error();
	EXPECT_EQ(-EINVAL, left) << "an option of the driver was taken";
	plx_vfio_close(opened);
}

TEST_F(EmuAddressTest, ItHasTheInterfaceThatTheDriverIsToldToUse)
{
	const struct {
		const char *text;
		bool modern, legacy;
		int left; /* an option of the driver's stays its own */
	} cases[] = {
		{"emu:net", true, false, 0},
		{"emu:net,legacy=on", true, true, -EINVAL},
		{"emu:net,legacy=off", true, false, -EINVAL},
		{"emu:net,dev.legacy=on", true, true, 0},
		{"emu:net,dev.legacy=only", false, true, 0},
		{"emu:net,legacy=on,dev.legacy=off", true, false, -EINVAL},
		{"emu:net,legacy=on,dev.legacy=only", false, true, -EINVAL},
	};

	for (const auto &one : cases) {
		plx_vfio_device *opened = nullptr;

		ASSERT_EQ(0, open(one.text, &opened)) << plx_error();
		EXPECT_EQ(one.left, left) << one.text;
		EXPECT_EQ(one.modern, opened->region[4].size > 0) << one.text;
		EXPECT_EQ(one.legacy, opened->region[0].size > 0) << one.text;
		plx_vfio_close(opened);
	}
}

TEST_F(EmuAddressTest, ItSpeaksTheHandshakeThatTheDriverIsToldToUse)
{
	const struct {
		const char *text;
		uint8_t refused; /* the status after 00, 01 and 03 without features */
	} cases[] = {
		{"emu:net", 3},
		{"emu:net,handshake=device-ok", 1},
		{"emu:net,handshake=modern", 3},
		{"emu:net,dev.handshake=device-ok", 1},
		{"emu:net,handshake=device-ok,dev.handshake=modern", 3},
	};

	for (const auto &one : cases) {
		plx_vfio_device *opened = nullptr;

		ASSERT_EQ(0, open(one.text, &opened)) << plx_error();
		{
			Driver card(opened, mem);

			card.hello();
			EXPECT_EQ(one.refused, card.status()) << one.text;
		}
		plx_vfio_close(opened);
	}
}

TEST_F(EmuAddressTest, BadOptionsAreRefusedWithAReason)
{
	const char *const bad[] = {"emu:net,dev.mac=02:00:00:00:00",
		"emu:net,dev.mac=02:00:00:00:00:0g", "emu:net,dev.mac=02:00:00:00:00:\x10\x12",
		"emu:net,dev.mac=01:00:00:00:00:00", "emu:net,peer=nobody",
		"emu:net,peer=wire:", "emu:net,size=20", "emu:net,dev.queues=0",
		"emu:net,dev.queue_size=100", "emu:net,dev.in_order=maybe",
		"emu:net,dev.mac=02:00:00:00:00:000", "emu:net,dev.legacy=maybe",
		"emu:net,dev.handshake=legacy", "emu:net,veto=driver",
		"emu:net,dev.junk_len=maybe"};
	plx_vfio_device *opened = nullptr;

	for (const char *text : bad) {
		EXPECT_EQ(-EINVAL, open(text, &opened)) << text;
		EXPECT_STRNE("", plx_error());
	}
	EXPECT_EQ(-ENODEV, open("emu:blk", &opened));
}

} // namespace
} // namespace emu
