/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_breach.h"

namespace emu
{
namespace
{

/* The rules of the packed ring. */

constexpr uint64_t kPacked = bit(VIRTIO_F_RING_PACKED);
constexpr uint64_t kIndirect = kPacked | bit(VIRTIO_F_INDIRECT_DESC);
constexpr uint64_t kData = kPacked | bit(VIRTIO_F_NOTIFICATION_DATA);
constexpr unsigned kSize = 64; /* of the rings, as EmuTest::run() makes them */

const uint16_t N = VIRTQ_DESC_F_NEXT, W = VIRTQ_DESC_F_WRITE, I = VIRTQ_DESC_F_INDIRECT,
	       A = VIRTQ_PACKED_DESC_F_AVAIL, U = VIRTQ_PACKED_DESC_F_USED;

PackedRing &packed(const std::unique_ptr<Ring> &ring)
{
	return dynamic_cast<PackedRing &>(*ring);
}

struct Raw {
	uint32_t len;
	uint16_t flags;
	uint16_t id;
};

void write_desc(virtq_packed_desc *desc, uint64_t iova, const Raw &raw)
{
	plx_shared64_write(&desc->addr, iova);
	plx_shared32_write(&desc->len, raw.len);
	plx_shared16_write(&desc->id, raw.id);
	plx_shared16_write(&desc->flags, raw.flags);
}

/* Writes descriptors into the transmit ring as they are, from its first slot on, and notifies. */
Commit with_list(std::vector<Raw> list)
{
	return [=](Scene &s) {
		virtq_packed_desc *desc = packed(s.net->tx[0]).desc();

		for (size_t i = 0; i < list.size(); i++)
			write_desc(&desc[i], s.net->tx_memory[0]->iova(), list[i]);
		s.driver.kick(1);
	};
}

/* The same with one indirect table. */
Commit with_table(std::vector<Raw> table, uint32_t len, uint16_t extra = 0)
{
	return [=](Scene &s) {
		auto *desc = reinterpret_cast<virtq_packed_desc *>(s.net->tx_memory[0]->bytes());

		for (size_t i = 0; i < table.size(); i++)
			write_desc(&desc[i], s.net->tx_memory[0]->iova() + 8192, table[i]);
		with_list({{len, static_cast<uint16_t>(A | I | extra), 0}, {72, A, 1}})(s);
	};
}

/* Exposes transmit buffers that the device keeps, then does as told, then lets it have them. */
Commit with_held(unsigned count, std::function<void(PackedRing &)> change, bool indirect = false)
{
	return [=](Scene &s) {
		plx_emu_hold(s.device, 1, true);
		for (unsigned i = 0; i < count; i++)
			s.net->send(frame_of(64), 0, 0, indirect);
		while (plx_emu_step(s.device))
			;
		plx_emu_step(s.device);
		change(packed(s.net->tx[0]));
		plx_emu_hold(s.device, 1, false);
		s.driver.kick(1);
	};
}

/* Sends a frame with the driver's event suppression as it should not be. */
Commit with_events(uint16_t off_wrap, uint16_t flags)
{
	return [=](Scene &s) {
		plx_shared16_write(&packed(s.net->tx[0]).driver_event()->off_wrap, off_wrap);
		plx_shared16_write(&packed(s.net->tx[0]).driver_event()->flags, flags);
		s.net->send(frame_of(64));
	};
}

/* Notifies with the next descriptor at @next. */
Commit with_data(uint16_t next)
{
	return [=](Scene &s) {
		s.driver.set<uint32_t>(s.driver.notify, 4, static_cast<uint32_t>(next) << 16 | 1);
	};
}

/* Sets up a transmit ring of which one part is elsewhere. */
Commit with_part_at(uint64_t field, uint64_t offset)
{
	return [=](Scene &s) {
		ASSERT_TRUE(s.driver.negotiate(kBase | kPacked));
		auto ring = s.driver.make_ring(1, kSize);
		uint64_t iova = field == VIRTIO_PCI_COMMON_QUEUE_DESC     ? ring->desc_iova()
				: field == VIRTIO_PCI_COMMON_QUEUE_DRIVER ? ring->driver_iova()
									  : ring->device_iova();

		s.driver.select(1);
		s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_SIZE, kSize);
		s.driver.set_addresses(*ring);
		s.driver.set_address(field, iova + offset);
		s.driver.enable();
		s.driver.reset();
	};
}

const Breach breach_table[] = {
	{"PCI-COMMON-2", "QueueOfNoDescriptors", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase | kPacked));
			s.driver.set<uint16_t>(s.driver.common, VIRTIO_PCI_COMMON_QUEUE_SIZE, 0);
		}},
	{"PACK-LAYOUT-1", "MisalignedRing", kNoNet, with_part_at(VIRTIO_PCI_COMMON_QUEUE_DESC, 8)},
	{"PACK-LAYOUT-1", "MisalignedDriverEvents", kNoNet,
		with_part_at(VIRTIO_PCI_COMMON_QUEUE_DRIVER, 2)},
	{"PACK-LAYOUT-1", "MisalignedDeviceEvents", kNoNet,
		with_part_at(VIRTIO_PCI_COMMON_QUEUE_DEVICE, 2)},
	{"2.8.13", "RingIsNotZeroed", kNoNet,
		[](Scene &s) {
			ASSERT_TRUE(s.driver.negotiate(kBase | kPacked));
			auto ring = s.driver.make_ring(1, kSize);
			plx_shared16_write(&packed(ring).desc()[kSize - 1].flags, A | U);
			s.driver.select(1);
			s.driver.set<uint16_t>(
				s.driver.common, VIRTIO_PCI_COMMON_QUEUE_SIZE, kSize);
			s.driver.set_addresses(*ring);
			s.driver.enable();
			s.driver.reset();
		}},

	{"PACK-DESC-1", "NextLapIntoAFullRing", kPacked,
		with_held(kSize,
			[](PackedRing &ring) { plx_shared16_write(&ring.desc()[0].flags, U); })},
	{"PACK-DESC-1", "SlotIsReusedBeforeItsTurn", kPacked,
		with_held(
			3, [](PackedRing &ring) { plx_shared16_write(&ring.desc()[1].flags, U); })},
	{"PACK-DESC-1", "AvailableIsTakenBack", kPacked,
		with_held(
			3, [](PackedRing &ring) { plx_shared16_write(&ring.desc()[2].flags, 0); })},
	{"PACK-DESC-2", "LengthIsMendedLater", kPacked,
		with_held(
			3, [](PackedRing &ring) { plx_shared32_write(&ring.desc()[1].len, 71); })},
	{"PACK-DESC-2", "IdIsMendedLater", kPacked,
		with_held(3, [](PackedRing &ring) { plx_shared16_write(&ring.desc()[1].id, 7); })},
	{"CLEANUP-1", "ChangesAnExposedDescriptor", kPacked,
		with_held(
			3, [](PackedRing &ring) { plx_shared64_write(&ring.desc()[0].addr, 0); })},
	{"CLEANUP-1", "ChangesAnExposedTable", kIndirect,
		[](Scene &s) {
			plx_emu_hold(s.device, 1, true);
			with_table({{72, 0, 0}}, 16)(s);
			plx_emu_step(s.device);
			auto *table =
				reinterpret_cast<virtq_packed_desc *>(s.net->tx_memory[0]->bytes());
			plx_shared32_write(&table->len, 71);
			plx_emu_hold(s.device, 1, false);
		}},
	{"CLEANUP-2", "UnmapsALiveQueue", kPacked,
		[](Scene &s) {
			s.net->fill(4);
			s.net->rx.clear();
			s.net->tx.clear();
			s.net->rx_memory.clear();
			s.net->tx_memory.clear();
		}},
	{"2.8.21.1", "IdIsExposedTwice", kPacked, with_list({{72, A, 5}, {72, A, 5}})},

	{"PACK-DESC-3", "DataIsAheadOfTheRing", kData, with_data(5 | VIRTQ_PACKED_EVENT_WRAP)},
	{"PACK-DESC-3", "DataIsOutsideOfTheRing", kData,
		with_data(kSize | VIRTQ_PACKED_EVENT_WRAP)},
	{"PACK-DESC-3", "DataNamesTheNextLap", kData,
		[](Scene &s) {
			s.net->send(frame_of(64));
			while (plx_emu_step(s.device))
				;
			with_data(0)(s);
		}},

	{"PACK-SG-2", "ListGoesRoundTheRing", kPacked,
		with_list(std::vector<Raw>(kSize, {16, A | N, 0}))},
	{"PACK-SG-3", "ReadableAfterWritable", kPacked,
		with_list({{72, A | N | W, 0}, {72, A, 0}})},
	{"PACK-SG-5", "ListReachesWhatIsNotUsed", kPacked,
		with_held(kSize - 2,
			[](PackedRing &ring) {
				uint64_t iova = plx_shared64_read(&ring.desc()[0].addr);

				write_desc(&ring.desc()[kSize - 1], iova, {72, A | N, 0});
				write_desc(&ring.desc()[kSize - 2], iova, {72, A | N, 0});
			})},
	{"PACK-SG-6", "HeadBeforeTheRest", kPacked, with_list({{72, A | N, 0}, {72, 0, 0}})},
	{"PACK-SG-6", "RestIsOfTheWrongLap", kPacked, with_list({{72, A | N, 0}, {72, U, 0}})},

	{"PACK-IND-1", "IndirectWithoutTheFeature", kPacked, with_table({{72, 0, 0}}, 16)},
	{"PACK-IND-2", "NestedTables", kIndirect, with_table({{72, I, 0}}, 16)},
	{"PACK-IND-2", "NextInATable", kIndirect, with_table({{72, N, 0}, {72, 0, 0}}, 32)},
	{"PACK-IND-2", "AvailableInATable", kIndirect, with_table({{72, A, 0}}, 16)},
	{"PACK-IND-3", "TableLongerThanTheQueue", kIndirect,
		with_table(std::vector<Raw>(kSize + 1, {8, 0, 0}), 16 * (kSize + 1))},
	{"PACK-IND-4", "IndirectStartsAList", kIndirect, with_table({{72, 0, 0}}, 16, N)},
	{"PACK-IND-4", "IndirectEndsAList", kIndirect, with_list({{72, A | N, 0}, {16, A | I, 0}})},
	{"PACK-SG-3", "ReadableAfterWritableInATable", kIndirect,
		with_table({{72, W, 0}, {72, 0, 0}}, 32)},
	{"2.8.7", "TableOfHalfADescriptor", kIndirect, with_table({{72, 0, 0}}, 24)},
	{"2.8.7", "TableOfNothing", kIndirect, with_table({}, 0)},
	{"RFEAT-4", "TableOutsideOfMemory", kIndirect,
		[](Scene &s) {
			write_desc(
				&packed(s.net->tx[0]).desc()[0], uint64_t{1} << 45, {16, A | I, 0});
			s.driver.kick(1);
		}},

	{"2.8.10", "ReservedEventFlags", kPacked, with_events(0, 3)},
	{"2.8.10", "UnknownEventFlag", kPacked, with_events(0, 4)},
	{"2.8.10", "EventIndexWithoutTheFeature", kPacked,
		with_events(VIRTQ_PACKED_EVENT_WRAP, VIRTQ_PACKED_EVENT_DESC)},
	{"2.8.10", "EventOutsideOfTheRing", kPacked | bit(VIRTIO_F_EVENT_IDX),
		with_events(kSize, VIRTQ_PACKED_EVENT_DESC)},
};

INSTANTIATE_TEST_SUITE_P(Packed, EmuBreachTest, testing::ValuesIn(breach_table), breach_name);

} // namespace
} // namespace emu
