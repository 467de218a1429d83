/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_breach.h"

namespace emu
{
namespace
{

/* Sends one frame behind a header of the given bytes. */
Commit with_header(Frame header, size_t len = 64)
{
	header.resize(Net::kHeader);
	return [=](Scene &s) { s.net->send(frame_of(len), 0, 0, false, header); };
}

/* Exposes one chain of the given descriptors of the transmit table, with head 0. */
struct Raw {
	uint64_t offset;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

SplitRing &split(const std::unique_ptr<Ring> &ring)
{
	return dynamic_cast<SplitRing &>(*ring);
}

void expose(Driver &driver, SplitRing &ring, const Dma &memory, const std::vector<Raw> &chain,
	uint16_t head = 0)
{
	for (size_t i = 0; i < chain.size(); i++) {
		plx_shared64_write(&ring.desc()[i].addr, memory.iova() + chain[i].offset);
		plx_shared32_write(&ring.desc()[i].len, chain[i].len);
		plx_shared16_write(&ring.desc()[i].flags, chain[i].flags);
		plx_shared16_write(&ring.desc()[i].next, chain[i].next);
	}
	plx_shared16_write(&ring.avail()->ring[ring.next % ring.size], head);
	ring.next++;
	driver.submit(ring);
}

Commit with_chain(std::vector<Raw> chain, uint16_t head = 0)
{
	return [=](Scene &s) {
		expose(s.driver, split(s.net->tx[0]), *s.net->tx_memory[0], chain, head);
	};
}

/* As above, with an indirect table at the start of the transmit buffers. */
Commit with_table(std::vector<Raw> table, uint32_t len, uint16_t extra_flags = 0)
{
	return [=](Scene &s) {
		auto *desc = reinterpret_cast<virtq_desc *>(s.net->tx_memory[0]->bytes());

		for (size_t i = 0; i < table.size(); i++) {
			plx_shared64_write(&desc[i].addr,
				s.net->tx_memory[0]->iova() + 8192 + table[i].offset);
			plx_shared32_write(&desc[i].len, table[i].len);
			plx_shared16_write(&desc[i].flags, table[i].flags);
			plx_shared16_write(&desc[i].next, table[i].next);
		}
		expose(s.driver, split(s.net->tx[0]), *s.net->tx_memory[0],
			{{0, len, static_cast<uint16_t>(VIRTQ_DESC_F_INDIRECT | extra_flags), 0}});
	};
}

Commit with_command(Frame command)
{
	return [=](Scene &s) {
		s.net->ask(command[0], command[1], Frame(command.begin() + 2, command.end()));
	};
}

Commit with_status(std::vector<uint8_t> writes)
{
	return [=](Scene &s) {
		s.driver.reset();
		for (uint8_t value : writes) {
			if (value == 8)
				s.driver.accept(kBase);
			s.driver.set_status(value);
			(void)s.driver.status();
		}
	};
}

/* Goes as far as FEATURES_OK with @features and beyond it if the device lets it. */
Commit with_features(uint64_t features)
{
	return [=](Scene &s) { EXPECT_FALSE(s.driver.negotiate(features)); };
}

template <typename T> Commit with_write(uint64_t offset, T value)
{
	return [=](Scene &s) {
		ASSERT_TRUE(s.driver.negotiate(kBase | bit(VIRTIO_F_RING_RESET)));
		s.driver.set<T>(s.driver.common, offset, value);
	};
}

const uint16_t N = VIRTQ_DESC_F_NEXT, W = VIRTQ_DESC_F_WRITE, I = VIRTQ_DESC_F_INDIRECT;

const Breach breach_table[] = {
	{"STATUS-1", "SkipsAStep", kNoNet, with_status({1, 5})},
	{"STATUS-1", "TwoBitsAtOnce", kNoNet, with_status({3})},
	{"STATUS-1", "DriverOkWithoutFeaturesOk", kNoNet, with_status({1, 3, 7})},
	{"STATUS-1", "UnknownBit", kNoNet, with_status({1, 3, 0x23})},
	{"STATUS-2", "ClearsABit", kNoNet, with_status({1, 3, 1})},
	{"STATUS-3", "GoesOnAfterFailed", kNoNet, with_status({1, 0x81, 0x83})},
	{"SUSPEND-1", "SuspendsWithoutTheFeature", kNoNet, with_status({1, 3, 0x13})},
	{"SUSPEND-1", "SuspendsBeforeItIsLive", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.reset();
			ASSERT_TRUE(s.driver.negotiate(kBase | bit(VIRTIO_F_SUSPEND)));
			s.driver.set_status(0x1b);
		}},
	{"SUSPEND-2", "DoesNotWaitUntilItIsSuspended", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.set_status(0x1f);
			s.driver.get<uint16_t>(s.driver.device, VIRTIO_NET_CFG_STATUS);
		}},
	{"SUSPEND-3", "MakesBuffersAvailable", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.set_status(0x1f);
			(void)s.driver.status();
			s.net->tx[0]->add({{s.net->tx_memory[0]->iova(), 72, false}});
			s.net->tx[0]->publish();
			s.driver.set_status(0x1f);
			(void)s.driver.status();
		}},
	{"SUSPEND-4", "NotifiesWhileSuspended", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.set_status(0x1f);
			(void)s.driver.status();
			s.driver.kick(1);
		}},
	{"SUSPEND-5", "WritesARegisterWhileSuspended", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.set_status(0x1f);
			(void)s.driver.status();
			s.driver.select(1);
		}},
	{"SUSPEND-6", "DoesNotWaitUntilItIsResumed", bit(VIRTIO_F_SUSPEND),
		[](Scene &s) {
			s.driver.set_status(0x1f);
			(void)s.driver.status();
			s.driver.set_status(0x1f);
			s.driver.get<uint16_t>(s.driver.device, VIRTIO_NET_CFG_STATUS);
		}},
	{"FEAT-1", "TakesWhatIsNotOffered", kNoNet,
		with_features(kBase | bit(VIRTIO_NET_F_STANDBY))},
	{"FEAT-2", "TakesMqWithoutControlQueue", kNoNet,
		with_features(kBase | bit(VIRTIO_NET_F_MQ))},
	{"NET-CFG-13", "TakesHashReportWithoutControlQueue", kNoNet,
		with_features(kBase | bit(VIRTIO_NET_F_HASH_REPORT))},
	{"NET-CFG-14", "TakesRxExtraWithoutControlQueue", kNoNet,
		with_features(kBase | bit(VIRTIO_NET_F_CTRL_RX_EXTRA))},
	{"FEAT-5", "TakesABitAbove127", kNoNet,
		[](Scene &s) {
			s.driver.hello();
			s.driver.set<uint32_t>(
				s.driver.common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4);
			s.driver.set<uint32_t>(
				s.driver.common, VIRTIO_PCI_COMMON_DRIVER_FEATURE, 1);
		}},
	{"RFEAT-1", "DeclinesVersion1", kNoNet, with_features(bit(VIRTIO_F_ACCESS_PLATFORM))},
	{"RFEAT-3", "DeclinesAccessPlatform", kNoNet, with_features(bit(VIRTIO_F_VERSION_1))},
	{"RFEAT-10", "TakesSrIov", kNoNet, with_features(kBase | bit(VIRTIO_F_SR_IOV))},
	{"RFEAT-4", "BufferOutsideOfMemory", 0,
		[](Scene &s) {
			s.net->tx[0]->add({{uint64_t{1} << 45, 72, false}});
			s.driver.submit(*s.net->tx[0]);
		}},
	{"RFEAT-4", "BusMasteringOff", 0,
		[](Scene &s) {
			s.driver.set_config<uint16_t>(4, 2);
			s.net->send(frame_of(64));
		}},
	{"INIT-1", "DoesNotReadFeaturesOkBack", kNoNet,
		[](Scene &s) {
			s.driver.hello();
			s.driver.accept(kBase);
			s.driver.set_status(0xb);
			s.driver.select(0);
		}},
	{"INIT-1", "SetsUpAQueueBeforeFeaturesOk", kNoNet,
		[](Scene &s) {
			s.driver.hello();
			s.driver.setup(0, 64);
		}},
	{"INIT-3", "WritesConfigurationBeforeFeaturesOk", kNoNet,
		[](Scene &s) {
			s.driver.hello();
			s.driver.set<uint8_t>(s.driver.device, 0, 1);
		}},
	{"INIT-4", "WritesFeaturesAfterFeaturesOk", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			s.driver.accept(kBase);
		}},
	{"INIT-6", "GoesOnAfterRefusal", kNoNet,
		[](Scene &s) {
			EXPECT_FALSE(s.driver.negotiate(bit(VIRTIO_F_VERSION_1)));
			s.driver.set_status(7);
		}},
	{"INIT-6", "SetsUpAQueueAfterFailed", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			s.driver.add_status(VIRTIO_STATUS_FAILED);
			s.driver.select(0);
		}},
	{"INIT-7", "NotifiesBeforeDriverOk", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			auto ring = s.driver.setup(1, 64);
			s.driver.kick(1);
			s.driver.reset();
		}},
	{"CFG-3", "ReadsAFieldThatIsNotThere", kNoNet,
		[](Scene &s) {
			s.driver.get<uint32_t>(s.driver.device, VIRTIO_NET_CFG_TUNNEL_TYPES);
		}},
	{"NET-CFG-1", "WritesConfiguration", 0,
		[](Scene &s) { s.driver.set<uint8_t>(s.driver.device, 0, 1); }},
	{"PCI-ACC-1", "ReadsStatusTooWide", kNoNet,
		[](Scene &s) {
			s.driver.get<uint32_t>(s.driver.common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
		}},
	{"PCI-ACC-1", "WritesAddressIn64Bits", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			s.driver.set<uint64_t>(
				s.driver.common, VIRTIO_PCI_COMMON_QUEUE_DESC, 0x1000);
		}},
	{"PCI-ACC-1", "ReadsMacAsAWord", kNoNet,
		[](Scene &s) { s.driver.get<uint32_t>(s.driver.device, VIRTIO_NET_CFG_MAC); }},
	{"PCI-CAP-8", "WritesACapability", kNoNet,
		[](Scene &s) {
			for (uint8_t at = s.driver.config<uint8_t>(0x34); at;
				at = s.driver.config<uint8_t>(at + 1u))
				if (s.driver.config<uint8_t>(at) == 9 &&
					s.driver.config<uint8_t>(at + 3u) == 1)
					s.driver.set_config<uint32_t>(at + 8u, 0);
		}},
	{"PCI-COMMON-1", "WritesNumQueues", kNoNet,
		with_write<uint16_t>(VIRTIO_PCI_COMMON_NUM_QUEUES, 1)},
	{"PCI-COMMON-3", "SizeIsNoPowerOfTwo", kNoNet,
		with_write<uint16_t>(VIRTIO_PCI_COMMON_QUEUE_SIZE, 100)},
	{"PCI-COMMON-4", "EnablesWithoutAddresses", kNoNet,
		with_write<uint16_t>(VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1)},
	{"PCI-COMMON-4", "MovesAnEnabledQueue", 0,
		[](Scene &s) {
			s.driver.select(0);
			s.driver.set_addresses(*s.net->rx[0]);
		}},
	{"PCI-COMMON-5", "DoesNotWaitForReset", kNoNet,
		[](Scene &s) {
			s.driver.set_status(0);
			s.driver.set_status(1);
		}},
	{"PCI-COMMON-6", "WritesZeroToQueueEnable", kNoNet,
		with_write<uint16_t>(VIRTIO_PCI_COMMON_QUEUE_ENABLE, 0)},
	{"PCI-COMMON-7", "DoesNotWaitForQueueReset", bit(VIRTIO_F_RING_RESET),
		[](Scene &s) {
			s.driver.select(1);
			s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_RESET, 1);
			s.driver.set_addresses(*s.net->tx[0]);
		}},
	{"VQREEN-1", "EnablesAResetQueueAsItWas", bit(VIRTIO_F_RING_RESET),
		[](Scene &s) {
			s.driver.select(1);
			s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_RESET, 1);
			s.driver.get<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_RESET);
			s.driver.enable();
		}},
	{"PCI-MSIX-4", "VectorOutsideTheTable", kNoNet,
		with_write<uint16_t>(VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 4)},
	{"PCI-MSIX-5", "DoesNotReadTheVectorBack", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			s.driver.set<uint16_t>(
				s.driver.common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 0);
			s.driver.live();
		}},
	{"PCI-ISR-1", "ReadsIsrWithMsix", 0,
		[](Scene &s) {
			int fd = -1;
			s.driver.dev->ops->set_irqs(
				s.driver.dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd);
			s.driver.get<uint8_t>(s.driver.isr, 0);
		}},
	{"PCI-PCFG-1", "WindowIsMisaligned", kNoNet,
		[](Scene &s) {
			s.driver.set_config<uint8_t>(s.driver.pci_cfg_cap + 4u, 4);
			s.driver.set_config<uint32_t>(s.driver.pci_cfg_cap + 8u, 2);
			s.driver.set_config<uint32_t>(s.driver.pci_cfg_cap + 12u, 4);
			s.driver.config<uint32_t>(s.driver.pci_cfg_cap + 16u);
		}},
	{"PCI-PCFG-3", "WindowShowsNoStructure", kNoNet,
		[](Scene &s) {
			s.driver.set_config<uint8_t>(s.driver.pci_cfg_cap + 4u, 0);
			s.driver.set_config<uint32_t>(s.driver.pci_cfg_cap + 12u, 4);
			s.driver.config<uint32_t>(s.driver.pci_cfg_cap + 16u);
		}},
	{"PCI-NOTIFY-1", "NotifiesWith32Bits", 0,
		[](Scene &s) { s.driver.set<uint32_t>(s.driver.notify, 4, 1); }},
	{"PCI-NOTIFY-3", "NotifiesWithAnotherIndex", 0,
		[](Scene &s) { s.driver.set<uint16_t>(s.driver.notify, 4, 0); }},
	{"PCI-NOTIFY-3", "NotifiesAQueueThatIsOff", 0,
		[](Scene &s) { s.driver.set<uint16_t>(s.driver.notify, 8, 2); }},
	{"PCI-NOTIFY-2", "NotifiesWithoutData", bit(VIRTIO_F_NOTIFICATION_DATA),
		[](Scene &s) { s.driver.set<uint16_t>(s.driver.notify, 4, 1); }},
	{"PCI-NOTIFY-4", "DataNamesAnotherQueue", bit(VIRTIO_F_NOTIFICATION_DATA),
		[](Scene &s) { s.driver.set<uint32_t>(s.driver.notify, 4, 0); }},
	{"PCI-NOTIFY-4", "DataIsAheadOfTheRing", bit(VIRTIO_F_NOTIFICATION_DATA),
		[](Scene &s) { s.driver.set<uint32_t>(s.driver.notify, 4, 5 << 16 | 1); }},
	{"PCI-NOTIFY-5", "NotifiesWithTheIndex", bit(VIRTIO_F_NOTIF_CONFIG_DATA),
		[](Scene &s) { s.driver.set<uint16_t>(s.driver.notify, 4, 1); }},
	{"PCI-NOTIFY-6", "NotifiesWithTheIndexAndData",
		bit(VIRTIO_F_NOTIF_CONFIG_DATA) | bit(VIRTIO_F_NOTIFICATION_DATA),
		[](Scene &s) { s.driver.set<uint32_t>(s.driver.notify, 4, 1); }},

	{"SPLIT-LAYOUT-1", "MisalignedTable", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			auto ring = s.driver.make_ring(0, 64);
			s.driver.select(0);
			s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_SIZE, 64);
			s.driver.set_addresses(*ring);
			s.driver.set_address(VIRTIO_PCI_COMMON_QUEUE_DESC, ring->desc_iova() + 8);
			s.driver.enable();
			s.driver.reset();
		}},
	{"SPLIT-ANOTIF-1", "UsedRingIsNotZeroed", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase));
			auto ring = s.driver.make_ring(0, 64);
			plx_shared16_write(&split(ring).used_ring()->flags, 1);
			s.driver.select(0);
			s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_SIZE, 64);
			s.driver.set_addresses(*ring);
			s.driver.enable();
			s.driver.reset();
		}},
	{"SPLIT-AVAIL-1", "IndexGoesBack", 0,
		[](Scene &s) {
			plx_shared16_write(&split(s.net->tx[0]).avail()->idx, 0xffff);
			s.driver.kick(1);
		}},
	{"SPLIT-AVAIL-1", "IndexRunsAhead", 0,
		[](Scene &s) {
			plx_shared16_write(&split(s.net->tx[0]).avail()->idx, 65);
			s.driver.kick(1);
		}},
	{"SPLIT-UNOTIF-1", "UnknownFlag", 0,
		[](Scene &s) {
			plx_shared16_write(&split(s.net->tx[0]).avail()->flags, 2);
			s.net->send(frame_of(64));
		}},
	{"SPLIT-UNOTIF-3", "FlagDespiteEventIdx", bit(VIRTIO_F_EVENT_IDX),
		[](Scene &s) {
			plx_shared16_write(&split(s.net->tx[0]).avail()->flags, 1);
			s.net->send(frame_of(64));
		}},
	{"SPLIT-DESC-1", "HeadOutsideTheTable", 0, with_chain({}, 64)},
	{"SPLIT-DESC-1", "ChainLoops", 0, with_chain({{0, 72, N, 1}, {0, 72, N, 0}})},
	{"SPLIT-DESC-1", "ChainIsTooLong", 0,
		with_chain({{0, 0xffffffff, N, 1}, {0, 0xffffffff, N, 2}, {0, 72, 0, 0}})},
	{"SPLIT-DESC-2", "OutOfSequence", bit(VIRTIO_F_IN_ORDER),
		with_chain({{}, {0, 72, 0, 0}}, 1)},
	{"FRAME-1", "ReadableAfterWritable", 0, with_chain({{0, 72, N | W, 1}, {0, 72, 0, 0}})},
	{"SPLIT-IND-1", "IndirectWithoutTheFeature", 0, with_table({{0, 72, 0, 0}}, 16)},
	{"SPLIT-IND-2", "NestedTables", bit(VIRTIO_F_INDIRECT_DESC),
		with_table({{0, 72, I, 0}}, 16)},
	{"SPLIT-IND-3", "TableLongerThanTheQueue", bit(VIRTIO_F_INDIRECT_DESC),
		[](Scene &s) {
			std::vector<Raw> table;
			for (uint16_t i = 0; i < 65; i++)
				table.push_back({0, 8, i < 64 ? N : uint16_t{0},
					static_cast<uint16_t>(i + 1)});
			with_table(table, 65 * 16)(s);
		}},
	{"SPLIT-IND-3", "TableOfHalfADescriptor", bit(VIRTIO_F_INDIRECT_DESC),
		with_table({{0, 72, 0, 0}}, 24)},
	{"SPLIT-IND-4", "IndirectWithNext", bit(VIRTIO_F_INDIRECT_DESC),
		with_table({{0, 72, 0, 0}}, 16, N)},
	{"SPLIT-IND-5", "TableOutOfSequence", bit(VIRTIO_F_INDIRECT_DESC) | bit(VIRTIO_F_IN_ORDER),
		with_table({{0, 72, N, 2}, {0, 72, 0, 0}, {0, 72, 0, 0}}, 48)},
	{"CLEANUP-1", "ChangesAnExposedDescriptor", 0,
		[](Scene &s) {
			s.net->fill(4);
			while (plx_emu_step(s.device))
				;
			plx_shared32_write(&split(s.net->rx[0]).desc()[0].len, 1600);
			s.net->send(frame_of(64));
		}},
	{"CLEANUP-1", "ChangesAnExposedTable", bit(VIRTIO_F_INDIRECT_DESC),
		[](Scene &s) {
			plx_emu_hold(s.device, 1, true);
			with_table({{0, 72, 0, 0}}, 16)(s);
			plx_emu_step(s.device);
			plx_emu_step(s.device);
			auto *desc = reinterpret_cast<virtq_desc *>(s.net->tx_memory[0]->bytes());
			plx_shared32_write(&desc->len, 71);
			plx_emu_hold(s.device, 1, false);
		}},
	{"CLEANUP-1", "ChangesAnAvailableEntry", 0,
		[](Scene &s) {
			s.net->fill(4);
			while (plx_emu_step(s.device))
				;
			plx_shared16_write(&split(s.net->rx[0]).avail()->ring[0], 3);
			s.net->send(frame_of(64));
		}},
	{"CLEANUP-2", "UnmapsALiveQueue", 0,
		[](Scene &s) {
			s.net->fill(4);
			s.net->rx.clear();
			s.net->tx.clear();
			s.net->rx_memory.clear();
			s.net->tx_memory.clear();
		}},
	{"NET-MQ-3", "SendsOnThePairBeforeTheCommand",
		bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_MQ),
		[](Scene &s) { s.net->send(frame_of(64), 1); }, 2},
	{"NET-MQ-4", "SendsOnAPairThatIsOff", bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_MQ),
		[](Scene &s) {
			with_command({4, 0, 1, 0})(s);
			while (plx_emu_step(s.device))
				;
			s.net->send(frame_of(64), 1);
		},
		2},
	{"CLEANUP-1", "ExposesADescriptorTwice", 0,
		[](Scene &s) {
			expose(s.driver, split(s.net->rx[0]), *s.net->rx_memory[0],
				{{0, 2048, W, 0}});
			expose(s.driver, split(s.net->rx[0]), *s.net->rx_memory[0],
				{{0, 2048, W, 0}});
		}},

	{"NET-TX-1", "NoHeader", 0, with_chain({{0, 8, 0, 0}})},
	{"NET-TX-2", "NumBuffersOnTransmit", 0, with_header({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0})},
	{"NET-TX-3", "ChecksumWithoutTheFeature", 0, with_header({1})},
	{"NET-TX-31", "SegmentationWithoutTheFeature", 0, with_header({0, 1, 0, 0, 100, 0})},
	{"NET-TX-7", "Tso4WithoutTheFeature", bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO6),
		with_header({1, 1, 0, 0, 100, 0})},
	{"NET-TX-9", "Tso6WithoutTheFeature", bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO4),
		with_header({1, 4, 0, 0, 100, 0})},
	{"NET-TX-11", "UfoWithoutTheFeature", bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO4),
		with_header({1, 3, 0, 0, 100, 0})},
	{"NET-TX-13", "UsoWithoutTheFeature", bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO4),
		with_header({1, 5, 0, 0, 100, 0})},
	{"NET-TX-17", "TunnelWithoutTheFeature", 0, with_header({0, 0x20})},
	{"NET-TX-22", "TunnelChecksumWithoutTheFeature", bit(VIRTIO_NET_F_CSUM), with_header({8})},
	{"NET-TX-30", "ChecksumBehindTheFrame", bit(VIRTIO_NET_F_CSUM),
		with_header({1, 0, 0, 0, 0, 0, 60, 0, 16, 0})},
	{"NET-TX-32", "SegmentationWithoutChecksum",
		bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO4),
		with_header({0, 1, 0, 0, 100, 0})},
	{"NET-TX-33", "SegmentationWithoutSize",
		bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_HOST_TSO4), with_header({1, 1})},
	{"NET-TX-45", "ReceiveFlagOnTransmit", bit(VIRTIO_NET_F_CSUM), with_header({2})},
	{"NET-CFG-9", "LongerThanTheMtu", bit(VIRTIO_NET_F_MTU), with_header({}, 1515)},
	{"NET-CFG-8", "BufferSmallerThanTheMtu", bit(VIRTIO_NET_F_MTU),
		[](Scene &s) {
			s.net->rx[0]->add({{s.net->rx_memory[0]->iova(), 1000, true}});
			s.driver.submit(*s.net->rx[0]);
			s.net->send(frame_of(64));
		}},
	{"NET-RXBUF-2", "BufferSmallerThanAFrame", 0,
		[](Scene &s) {
			s.net->rx[0]->add({{s.net->rx_memory[0]->iova(), 1000, true}});
			s.driver.submit(*s.net->rx[0]);
			s.net->send(frame_of(64));
		}},
	{"NET-RXBUF-3", "BufferSmallerThanTheHeader", bit(VIRTIO_NET_F_MRG_RXBUF),
		[](Scene &s) {
			s.net->rx[0]->add({{s.net->rx_memory[0]->iova(), 11, true}});
			s.driver.submit(*s.net->rx[0]);
			s.net->send(frame_of(64));
		}},
	{"NET-RXMODE-1", "ModeWithoutTheFeature", bit(VIRTIO_NET_F_CTRL_VQ),
		with_command({0, 0, 1})},
	{"NET-RXMODE-2", "ExtraModeWithoutTheFeature", bit(VIRTIO_NET_F_CTRL_VQ),
		with_command({0, 2, 1})},
	{"NET-MAC-1", "TableWithoutTheFeature", bit(VIRTIO_NET_F_CTRL_VQ),
		with_command({1, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
	{"NET-MAC-3", "TableIsCutShort", bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_CTRL_RX),
		with_command({1, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0})},
	{"NET-MQ-1", "PairsThatAreNotSetUp", bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_MQ),
		with_command({4, 0, 2, 0})},
	{"NET-MQ-2", "TooManyPairs", bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_MQ),
		with_command({4, 0, 5, 0})},
};

INSTANTIATE_TEST_SUITE_P(Rules, EmuBreachTest, testing::ValuesIn(breach_table), breach_name);

} // namespace
} // namespace emu
