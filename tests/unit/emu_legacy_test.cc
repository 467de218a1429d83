/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <functional>
#include <ostream>

#include <sys/eventfd.h>
#include <unistd.h>

/* The legacy interface of an emulated device, register by register. */

namespace emu
{
namespace
{

constexpr uint64_t kAnyLayout = bit(VIRTIO_F_ANY_LAYOUT);

/* A driver of virtio 0.9.5. */
class OldDriver : public Driver
{
      public:
	using Driver::Driver;

	template <typename T> T reg(uint64_t offset)
	{
		return get<T>(bar, offset);
	}
	template <typename T> void set_reg(uint64_t offset, T value)
	{
		set<T>(bar, offset, value);
	}
	uint8_t old_status()
	{
		return reg<uint8_t>(VIRTIO_PCI_LEGACY_DEVICE_STATUS);
	}
	void set_old_status(uint8_t value)
	{
		set_reg<uint8_t>(VIRTIO_PCI_LEGACY_DEVICE_STATUS, value);
	}
	void old_accept(uint64_t features)
	{
		accepted = features;
		set_reg<uint32_t>(
			VIRTIO_PCI_LEGACY_DRIVER_FEATURES, static_cast<uint32_t>(features));
	}
	void old_hello()
	{
		set_old_status(0);
		set_old_status(1);
		set_old_status(3);
	}
	void old_select(unsigned queue)
	{
		set_reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_SELECT, static_cast<uint16_t>(queue));
	}
	/* The test's ring has the layout that the interface fixes. */
	std::unique_ptr<Ring> old_setup(unsigned queue)
	{
		old_select(queue);
		auto ring = make_ring(queue, reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_SIZE));
		EXPECT_EQ(0u, reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS));
		set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS,
			static_cast<uint32_t>(ring->desc_iova() >> 12));
		return ring;
	}
	void old_kick(unsigned queue)
	{
		set_reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_NOTIFY, static_cast<uint16_t>(queue));
	}
	void old_submit(Ring &ring)
	{
		if (ring.publish())
			old_kick(ring.index);
	}

      private:
	const Window bar = {0, 0, 64};
};

class EmuLegacyTest : public EmuTest
{
      protected:
	void SetUp() override
	{
		EmuTest::SetUp();
		config.interface = PLX_EMU_TRANSITIONAL;
		config.queue_size = 64;
		config.peer = "none";
	}
	void TearDown() override
	{
		control.reset();
		tx.reset();
		rx.reset();
		old.reset();
		EmuTest::TearDown();
	}
	void make_old()
	{
		ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &device)) << plx_error();
		old = std::make_unique<OldDriver>(plx_emu_device(device), mem);
	}
	/* As far as queues. */
	void set_up(uint64_t features)
	{
		if (!device)
			make_old();
		old->old_hello();
		old->old_accept(features);
		rx = old->old_setup(0);
		tx = old->old_setup(1);
		if (features & bit(VIRTIO_NET_F_CTRL_VQ))
			control = old->old_setup(2);
	}
	void run_old(uint64_t features)
	{
		set_up(features);
		old->set_old_status(7);
		ASSERT_EQ(7, old->old_status());
	}
	/* Sends one frame, cut as told; the header's length is the first cut. */
	void send(const Frame &frame, const std::vector<uint32_t> &cuts)
	{
		Dma &memory = dma(4096);
		std::vector<Piece> pieces;
		uint32_t at = 0;

		memset(memory.bytes(), 0, 4096);
		memcpy(memory.bytes() + cuts[0], frame.data(), frame.size());
		if (cuts.size() == 1) {
			pieces = {{memory.iova(), cuts[0] + static_cast<uint32_t>(frame.size()),
				false}};
		} else {
			for (uint32_t cut : cuts) {
				pieces.push_back({memory.iova() + at, cut, false});
				at += cut;
			}
		}
		tx->add(pieces);
		old->old_submit(*tx);
		settle();
	}
	Frame sent()
	{
		Frame frame(4096);

		frame.resize(plx_emu_take(device, 0, frame.data(), frame.size()));
		return frame;
	}
	std::unique_ptr<OldDriver> old;
	std::unique_ptr<Ring> rx, tx, control;
};

/* What it looks like. */

TEST_F(EmuLegacyTest, TransitionalDeviceHasBothInterfaces)
{
	make_old();
	EXPECT_EQ(0x1000, old->config<uint16_t>(0x02));
	EXPECT_EQ(0, old->config<uint8_t>(0x08));
	EXPECT_EQ(1, old->config<uint16_t>(0x2e));
	EXPECT_EQ(1u, old->config<uint32_t>(0x10) & 3) << "BAR 0 is not in I/O space";
	EXPECT_TRUE(old->config<uint16_t>(0x04) & 1) << "I/O space is not decoded";
	EXPECT_GT(old->common.length, 0u) << "no modern interface";
	EXPECT_EQ(64u, old->dev->region[0].size);
	EXPECT_EQ(0u, old->dev->region[0].flags & VFIO_REGION_INFO_FLAG_MMAP);
	EXPECT_FALSE(old->dev->dma_translated);
	EXPECT_TRUE(old->negotiate(kBase)) << breaches();
}

TEST_F(EmuLegacyTest, BarTellsItsSize)
{
	make_old();
	old->set_config<uint32_t>(0x10, 0xffffffff);
	EXPECT_EQ(64u, ~(old->config<uint32_t>(0x10) & ~3u) + 1);
}

TEST_F(EmuLegacyTest, LegacyOnlyDeviceHasNoVirtioCapability)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	make_old();
	EXPECT_EQ(0u, old->common.length);
	EXPECT_EQ(0, old->pci_cfg_cap);
	EXPECT_NE(0, old->msix_cap);
	EXPECT_EQ(0u, old->dev->region[4].size);
	run_old(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_EQ(frame_of(60), sent());
}

TEST_F(EmuLegacyTest, ModernDeviceHasNoLegacyRegisters)
{
	config.interface = PLX_EMU_MODERN_ONLY;
	make_old();
	EXPECT_EQ(0u, old->dev->region[0].size);
	EXPECT_TRUE(old->dev->dma_translated);
}

TEST_F(EmuLegacyTest, FeaturesEndAtBit31)
{
	plx_emu_config_offer(&config, VIRTIO_F_BAD_FEATURE, true);
	make_old();
	EXPECT_EQ(static_cast<uint32_t>(config.features[0]),
		old->reg<uint32_t>(VIRTIO_PCI_LEGACY_DEVICE_FEATURES));
	EXPECT_TRUE(config.features[0] & kAnyLayout);
	old->reset();
	EXPECT_FALSE(old->offered() & (kAnyLayout | bit(VIRTIO_F_BAD_FEATURE)))
		<< "the modern interface offers what belongs to the old one";
}

TEST_F(EmuLegacyTest, ConfigurationMovesWhileMsixIsOn)
{
	int fd = -1;

	make_old();
	old->old_hello();
	EXPECT_EQ(config.mac[5], old->reg<uint8_t>(20 + 5));
	ASSERT_EQ(0, old->dev->ops->set_irqs(old->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd));
	EXPECT_EQ(config.mac[5], old->reg<uint8_t>(24 + 5));
	old->set_reg<uint16_t>(VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR, 1);
	EXPECT_EQ(1, old->reg<uint16_t>(VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR));
	old->old_select(1);
	old->set_reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR, 2);
	EXPECT_EQ(2, old->reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR));
	ASSERT_EQ(0, old->dev->ops->set_irqs(old->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr));
	EXPECT_EQ(config.mac[5], old->reg<uint8_t>(20 + 5));
}

TEST_F(EmuLegacyTest, ConfigurationMayBeReadInAnyWidth)
{
	make_old();
	old->old_hello();
	EXPECT_EQ(config.mac[0] | config.mac[1] << 8, old->reg<uint16_t>(20));
	EXPECT_EQ(config.mac[2], old->reg<uint32_t>(20) >> 16 & 0xff);
	EXPECT_EQ(1500, old->reg<uint8_t>(20 + 10) | old->reg<uint8_t>(20 + 11) << 8);
	EXPECT_EQ(0u, old->reg<uint32_t>(20 + 24)) << "there is no such field";
	faulty = true;
}

TEST_F(EmuLegacyTest, AddressOfTheDeviceCanBeWritten)
{
	make_old();
	old->old_hello();
	for (unsigned i = 0; i < 6; i++)
		old->set_reg<uint8_t>(20 + i, static_cast<uint8_t>(0x10 + i));
	EXPECT_EQ(0x15, old->reg<uint8_t>(25));
	EXPECT_EQ(0x10, state().mac[0]);
	old->set_old_status(0);
	EXPECT_EQ(config.mac[5], old->reg<uint8_t>(25));
}

TEST_F(EmuLegacyTest, QueueHasTheDevicesSizeAndOnePage)
{
	make_old();
	old->old_hello();
	old->old_select(0);
	EXPECT_EQ(64, old->reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_SIZE));
	old->old_select(9);
	EXPECT_EQ(0, old->reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_SIZE));
	rx = old->old_setup(0);
	EXPECT_EQ(rx->desc_iova() >> 12, old->reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS));
	plx_emu_queue_state queue;
	plx_emu_get_queue(device, 0, &queue);
	EXPECT_TRUE(queue.enabled);
	EXPECT_EQ(rx->driver_iova(), queue.driver_area);
	EXPECT_EQ(rx->device_iova(), queue.device_area);
	old->set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, 0);
	plx_emu_get_queue(device, 0, &queue);
	EXPECT_FALSE(queue.enabled) << "page 0 ends its use";
	old->set_reg<uint32_t>(
		VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, static_cast<uint32_t>(rx->desc_iova() >> 12));
	old->set_old_status(0);
	old->old_select(0);
	EXPECT_EQ(0u, old->reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS));
}

/* What it does. */

TEST_F(EmuLegacyTest, FramesPassBothWaysBehindTheOldHeader)
{
	run_old(kAnyLayout);
	send(frame_of(100, 3), {10});
	EXPECT_EQ(frame_of(100, 3), sent());
	Dma &buffer = dma(4096);
	rx->add({{buffer.iova(), 2048, true}});
	old->old_submit(*rx);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame_of(200, 5).data(), 200));
	settle();
	std::optional<Used> used = rx->used();
	ASSERT_TRUE(used);
	EXPECT_EQ(210u, used->len);
	EXPECT_EQ(frame_of(200, 5), Frame(buffer.bytes() + 10, buffer.bytes() + 210));
}

TEST_F(EmuLegacyTest, MergedBuffersHaveTheLongHeader)
{
	run_old(kAnyLayout | bit(VIRTIO_NET_F_MRG_RXBUF));
	send(frame_of(100, 3), {12});
	EXPECT_EQ(frame_of(100, 3), sent());
	Dma &buffer = dma(4096);
	rx->add({{buffer.iova(), 112, true}});
	rx->add({{buffer.iova() + 112, 112, true}});
	old->old_submit(*rx);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame_of(200, 5).data(), 200));
	settle();
	EXPECT_EQ(112u, rx->used().value_or(Used{}).len);
	EXPECT_EQ(100u, rx->used().value_or(Used{}).len);
	EXPECT_EQ(2, buffer.bytes()[10]);
	EXPECT_EQ(frame_of(200, 5), Frame(buffer.bytes() + 12, buffer.bytes() + 212));
}

TEST_F(EmuLegacyTest, HeaderApartIsWhatItAsksForWithoutAnyLayout)
{
	plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, false);
	run_old(0);
	send(frame_of(100), {10, 60, 40});
	EXPECT_EQ(frame_of(100), sent());
	Dma &buffer = dma(4096);
	rx->add({{buffer.iova(), 10, true}, {buffer.iova() + 10, 2038, true}});
	old->old_submit(*rx);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame_of(200).data(), 200));
	settle();
	EXPECT_EQ(210u, rx->used().value_or(Used{}).len);
}

TEST_F(EmuLegacyTest, EarlyNotificationIsRememberedAndHeldAgainstTheDriver)
{
	faulty = true;
	set_up(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_TRUE(sent().empty()) << "a buffer was used before DRIVER_OK";
	EXPECT_EQ(1u, plx_emu_breaches(device, "INIT-7"));
	old->set_old_status(7);
	settle();
	EXPECT_EQ(frame_of(60), sent());
}

TEST_F(EmuLegacyTest, DeviceOfTheProposalPutsUpWithEarlyNotifications)
{
	config.handshake = PLX_EMU_DEVICE_OK;
	set_up(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_TRUE(sent().empty()) << "a buffer was used before DRIVER_OK";
	old->set_old_status(7);
	settle();
	EXPECT_EQ(frame_of(60), sent()) << "DRIVER_OK is the start for a legacy driver";
}

TEST_F(EmuLegacyTest, VetoOnFeaturesDoesNotReachALegacyDriver)
{
	config.veto = PLX_EMU_VETO_FEATURES;
	run_old(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_EQ(frame_of(60), sent());
}

TEST_F(EmuLegacyTest, VetoOnTheConfigurationDoesNotReachALegacyDriver)
{
	config.veto = PLX_EMU_VETO_CONFIG;
	run_old(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_EQ(frame_of(60), sent());
}

TEST_F(EmuLegacyTest, UsedLengthOfSentFramesMayBeJunk)
{
	config.junk_len = true;
	run_old(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_GT(tx->used().value_or(Used{}).len, 65536u);
}

TEST_F(EmuLegacyTest, LineInterruptSetsTheIsr)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t count;

	run_old(kAnyLayout);
	ASSERT_EQ(0, old->dev->ops->set_irqs(old->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd));
	send(frame_of(60), {10});
	EXPECT_EQ(0, eventfd_read(fd, &count));
	EXPECT_EQ(1, old->reg<uint8_t>(VIRTIO_PCI_LEGACY_ISR_STATUS));
	EXPECT_EQ(0, old->reg<uint8_t>(VIRTIO_PCI_LEGACY_ISR_STATUS)) << "reading clears it";
	plx_emu_set_link(device, false);
	EXPECT_EQ(2, old->reg<uint8_t>(VIRTIO_PCI_LEGACY_ISR_STATUS) & 2);
	close(fd);
}

TEST_F(EmuLegacyTest, ErrorOnlyStopsTheQueues)
{
	run_old(kAnyLayout);
	plx_emu_need_reset(device);
	EXPECT_EQ(7, old->old_status()) << "there is no NEEDS_RESET here";
	send(frame_of(60), {10});
	EXPECT_TRUE(sent().empty());
}

TEST_F(EmuLegacyTest, EitherInterfaceMayBeUsedAfterAReset)
{
	run_old(kAnyLayout);
	old->reset();
	tx.reset();
	rx.reset();
	EXPECT_TRUE(old->negotiate(kBase));
	old->setup(0, 64);
	old->set_old_status(0);
	run_old(kAnyLayout);
	send(frame_of(60), {10});
	EXPECT_EQ(frame_of(60), sent());
}

/* What it holds against the driver. */

struct Scene {
	OldDriver &old;
	Ring &rx, &tx, *control;
	Dma &memory;
	plx_emu *device;
};

struct OldBreach {
	const char *rule;
	const char *how;
	bool any_layout; /* offered and accepted */
	bool started;
	std::function<void(Scene &)> commit;
};

void PrintTo(const OldBreach &breach, std::ostream *to)
{
	*to << breach.rule << " by " << breach.how;
}

class EmuLegacyBreachTest : public EmuLegacyTest, public testing::WithParamInterface<OldBreach>
{
};

void post(Scene &s, Ring &ring, const std::vector<uint32_t> &lengths, bool write)
{
	std::vector<Piece> pieces;
	uint64_t at = s.memory.iova();

	for (uint32_t len : lengths) {
		pieces.push_back({at, len, write});
		at += len;
	}
	ring.add(pieces);
	s.old.old_submit(ring);
}

void command(Scene &s, const Frame &bytes, const std::vector<uint32_t> &lengths)
{
	std::vector<Piece> pieces;
	uint64_t at = s.memory.iova();

	std::copy(bytes.begin(), bytes.end(), s.memory.bytes());
	for (uint32_t len : lengths) {
		pieces.push_back({at, len, false});
		at += len;
	}
	pieces.push_back({s.memory.iova() + 4000, 1, true});
	s.control->add(pieces);
	s.old.old_submit(*s.control);
}

/* Two unicast addresses and one multicast address. */
Frame two_tables()
{
	Frame bytes = {1, 0, 2, 0, 0, 0};

	bytes.resize(6 + 12);
	bytes.insert(bytes.end(), {1, 0, 0, 0});
	bytes.resize(bytes.size() + 6);
	return bytes;
}

const OldBreach old_breaches[] = {
	{"LEG-INIT-1", "SetsFeaturesOk", true, false, [](Scene &s) { s.old.set_old_status(0xb); }},
	{"LEG-INIT-1", "SetsSuspend", true, true, [](Scene &s) { s.old.set_old_status(0x17); }},
	{"LEG-INIT-1", "SetsUpAQueueBeforeDriver", true, false,
		[](Scene &s) {
			s.old.set_old_status(0);
			s.old.set_old_status(1);
			s.old.old_select(0);
			s.old.set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS,
				static_cast<uint32_t>(s.rx.desc_iova() >> 12));
			s.old.set_old_status(0);
		}},
	{"STATUS-1", "SkipsDriver", true, false,
		[](Scene &s) {
			s.old.set_old_status(0);
			s.old.set_old_status(1);
			s.old.set_old_status(5);
		}},
	{"STATUS-2", "ClearsABit", true, true, [](Scene &s) { s.old.set_old_status(3); }},
	{"FEAT-1", "TakesWhatIsNotOffered", true, false,
		[](Scene &s) {
			s.old.old_accept(kAnyLayout | bit(VIRTIO_NET_F_HOST_UFO));
			s.old.set_old_status(7);
		}},
	{"FEAT-2", "TakesMqWithoutControlQueue", true, false,
		[](Scene &s) {
			s.old.old_accept(kAnyLayout | bit(VIRTIO_NET_F_MQ));
			s.old.set_old_status(7);
		}},
	{"LEG-RFEAT-1", "DeclinesAnyLayout", true, false,
		[](Scene &s) {
			s.old.old_accept(0);
			s.old.set_old_status(7);
		}},
	{"LEG-RFEAT-2", "TakesWhateverIsOffered", true, false,
		[](Scene &s) {
			s.old.old_accept(s.old.reg<uint32_t>(0));
			s.old.set_old_status(7);
		}},
	{"INIT-4", "WritesFeaturesAfterDriverOk", true, true,
		[](Scene &s) { s.old.old_accept(kAnyLayout); }},
	{"LEG-RING-1", "ChoosesASize", true, false,
		[](Scene &s) { s.old.set_reg<uint16_t>(VIRTIO_PCI_LEGACY_QUEUE_SIZE, 32); }},
	{"LEG-PCI-1", "WritesTheIsr", true, true,
		[](Scene &s) { s.old.set_reg<uint8_t>(VIRTIO_PCI_LEGACY_ISR_STATUS, 0); }},
	{"LEG-PCI-1", "ReadsTheStatusTooWide", true, true,
		[](Scene &s) { s.old.reg<uint16_t>(VIRTIO_PCI_LEGACY_DEVICE_STATUS); }},
	{"LEG-PCI-1", "NotifiesWith32Bits", true, true,
		[](Scene &s) { s.old.set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_NOTIFY, 1); }},
	{"PCI-NOTIFY-3", "NotifiesAQueueThatIsOff", true, true,
		[](Scene &s) { s.old.old_kick(7); }},
	{"LEG-FEAT-2", "SetsUpAQueueThatDoesNotExist", true, false,
		[](Scene &s) {
			s.old.old_select(9);
			s.old.set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, 4096);
		}},
	{"LEG-FEAT-2", "MovesAQueueInUse", true, true,
		[](Scene &s) {
			s.old.old_select(0);
			s.old.set_reg<uint32_t>(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS,
				static_cast<uint32_t>(s.tx.desc_iova() >> 12));
		}},
	{"LEG-FEAT-2", "ChangesTheInterface", true, true, [](Scene &s) { s.old.set_status(0xf); }},
	{"PCI-MSIX-4", "VectorOutsideTheTable", true, true,
		[](Scene &s) {
			int fd = -1;
			s.old.dev->ops->set_irqs(s.old.dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd);
			s.old.set_reg<uint16_t>(VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR, 9);
			s.old.dev->ops->set_irqs(s.old.dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr);
		}},
	{"CFG-3", "ReadsAFieldThatIsNotThere", true, true,
		[](Scene &s) { s.old.reg<uint32_t>(20 + VIRTIO_NET_CFG_SPEED); }},
	{"NET-CFG-1", "WritesTheLinkStatus", true, true,
		[](Scene &s) { s.old.set_reg<uint16_t>(20 + VIRTIO_NET_CFG_STATUS, 1); }},
	{"NET-CFG-1", "WritesTheAddressDespiteTheCommandForIt", true, true,
		[](Scene &s) { s.old.set_reg<uint8_t>(20 + VIRTIO_NET_CFG_MAC, 2); }},
	{"LEG-NET-8", "SendsHeaderAndFrameTogether", false, true,
		[](Scene &s) { post(s, s.tx, {70}, false); }},
	{"LEG-NET-8", "CutsTheHeader", false, true,
		[](Scene &s) {
			post(s, s.tx, {4, 6, 60}, false);
		}},
	{"LEG-NET-8", "ReceivesHeaderAndFrameTogether", false, true,
		[](Scene &s) {
			post(s, s.rx, {2048}, true);
			EXPECT_EQ(0, plx_emu_inject(s.device, 0, frame_of(60).data(), 60));
		}},
	{"NET-TX-1", "SendsHalfAHeader", true, true, [](Scene &s) { post(s, s.tx, {8}, false); }},
	{"NET-TX-3", "AsksForAChecksum", true, true,
		[](Scene &s) {
			s.memory.bytes()[0] = 1;
			post(s, s.tx, {70}, false);
		}},
	{"LEG-NET-9", "SendsACommandInOnePiece", false, true,
		[](Scene &s) {
			command(s, {0, 0, 1}, {3});
		}},
	{"LEG-NET-9", "CutsClassFromCommand", false, true,
		[](Scene &s) {
			command(s, {0, 0, 1}, {1, 1, 1});
		}},
	{"LEG-NET-10", "CutsTheUnicastTable", false, true,
		[](Scene &s) {
			command(s, two_tables(), {2, 10, 16});
		}},
	{"LEG-NET-11", "LeavesOutTheMulticastAddresses", false, true,
		[](Scene &s) {
			command(s, two_tables(), {2, 16, 4});
		}},
	{"LEG-NET-9", "SendsBothTablesInOnePiece", false, true,
		[](Scene &s) {
			command(s, two_tables(), {2, 26});
		}},
};

TEST_P(EmuLegacyBreachTest, IsReported)
{
	const OldBreach &breach = GetParam();
	uint64_t features = bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_CTRL_RX) |
			    bit(VIRTIO_NET_F_CTRL_MAC_ADDR);

	faulty = true;
	plx_emu_config_offer(&config, VIRTIO_F_BAD_FEATURE, true);
	plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, breach.any_layout);
	if (breach.any_layout)
		features |= kAnyLayout;
	if (breach.started)
		run_old(features);
	else
		set_up(features);
	ASSERT_EQ("", breaches());
	Scene scene = {*old, *rx, *tx, control.get(), dma(8192), device};

	memset(scene.memory.bytes(), 0, scene.memory.size());
	breach.commit(scene);
	settle();
	EXPECT_GE(plx_emu_breaches(device, breach.rule), 1u) << "instead: " << breaches();
}

INSTANTIATE_TEST_SUITE_P(Rules, EmuLegacyBreachTest, testing::ValuesIn(old_breaches),
	[](const testing::TestParamInfo<OldBreach> &info) {
		std::string name = info.param.rule;

		for (char &letter : name)
			letter = letter == '-' ? '_' : letter;
		return name + "_" + info.param.how;
	});

TEST_F(EmuLegacyTest, CommandsInTheirFramingAreTaken)
{
	Frame tables = two_tables();

	plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, false);
	run_old(bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_CTRL_RX));
	Scene scene = {*old, *rx, *tx, control.get(), dma(8192), device};
	command(scene, {0, 0, 1}, {2, 1});
	settle();
	EXPECT_TRUE(state().promiscuous);
	command(scene, tables, {2, 16, 10});
	settle();
	EXPECT_EQ(2u, state().unicast);
	EXPECT_EQ(1u, state().multicast);
}

} // namespace
} // namespace emu
