/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_virtio.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ostream>
#include <random>
#include <thread>

/*
 * What a ring owes to a device that runs beside the driver, on another core (virtio 1.4, 2.7.13 and
 * 2.8.21): no chain is seen before all of it is written, and no notification gets lost between the
 * driver's look at the device's wish and the device's look at the ring.
 */

namespace
{

struct Layout {
	const char *name;
	bool packed;
	bool event_idx;
	bool runs = false; /* one descriptor each, through plx_virtq_put() and plx_virtq_take() */
};

void PrintTo(const Layout &layout, std::ostream *to)
{
	*to << layout.name;
}

/* A ring, and a device that serves it from a thread of its own and goes to sleep in between. */
class Beside : public ::testing::TestWithParam<Layout>
{
      protected:
	static constexpr uint16_t size = 64;
	static constexpr unsigned kBatch = 3;
	static constexpr uint32_t kRoom = 1000;
	static constexpr uint16_t quiet = 0xdead; /* what no notification writes */

	struct plx_mem *mem = nullptr;
	FakeVirtio *device = nullptr;
	struct plx_virtq *queue = nullptr;
	struct plx_log log = {};
	bool packed = GetParam().packed, event_idx = GetParam().event_idx;
	const unsigned parts = GetParam().runs ? 1 : 2; /* descriptors of each chain */
	uint16_t returned = 0;                          /* chains that came back, running free */

	/* The device's own. */
	std::atomic<bool> stop = false, lost = false, torn = false;
	uint16_t taken = 0; /* chains, running free */
	unsigned at = 0;
	bool wrap = true;
	std::atomic<uint64_t> sleeps{0};

	void SetUp() override
	{
		struct plx_mem_config config = {UINT64_C(1) << 30, 4096, nullptr};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
		device = new FakeVirtio(mem);
		device->virtio.log = &log;
		if (packed)
			plx_features_add(
				&device->virtio.negotiation.accepted, VIRTIO_F_RING_PACKED);
		if (event_idx)
			plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_EVENT_IDX);
		ASSERT_EQ(plx_virtq_create(&device->virtio, 3, size, size, &queue), 0)
			<< plx_error();
		plx_virtq_set_room(queue, kRoom);
	}

	void TearDown() override
	{
		plx_virtq_disconnect(queue);
		plx_virtq_destroy(queue);
		delete device;
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	/* --- the device --- */

	/*
	 * The device writes as much as says which chain it was; a driver that reads the length
	 * before it knows that the chain was used finds another.
	 */
	static uint32_t written_to(uint16_t n)
	{
		return 1 + n % kRoom;
	}

	/* Chain number n says so in all its descriptors. */
	static uint64_t address_of(uint16_t n, unsigned part)
	{
		return (uint64_t)n << 16 | part << 8 | 0x55;
	}

	static uint32_t length_of(uint16_t n, unsigned part)
	{
		return kRoom + n * 2u + part;
	}

	void check(uint64_t addr, uint32_t len, unsigned part)
	{
		if (addr != address_of(taken, part) || len != length_of(taken, part))
			torn = true;
	}

	bool something_new()
	{
		if (!packed)
			return plx_shared16_read_acquire(&queue->split.avail->idx) != taken;
		uint16_t flags = plx_shared16_read_acquire(&queue->packed.desc[at].flags);
		return !(flags & VIRTQ_PACKED_DESC_F_AVAIL) != wrap &&
		       !(flags & VIRTQ_PACKED_DESC_F_USED) == wrap;
	}

	void take_split()
	{
		struct virtq_used *used = queue->split.used;
		uint16_t head = plx_shared16_read(&queue->split.avail->ring[taken % size]);
		const struct virtq_desc *desc = &queue->split.desc[head % size];

		check(plx_shared64_read(&desc->addr), plx_shared32_read(&desc->len), 0);
		if (parts > 1) {
			desc = &queue->split.desc[plx_shared16_read(&desc->next) % size];
			check(plx_shared64_read(&desc->addr), plx_shared32_read(&desc->len), 1);
		}
		plx_shared32_write(&used->ring[taken % size].id, head);
		plx_shared32_write(&used->ring[taken % size].len, written_to(taken));
		taken++;
		plx_shared16_write_release(&used->idx, taken);
	}

	void take_packed()
	{
		struct virtq_packed_desc *first = &queue->packed.desc[at];

		for (unsigned part = 0; part < parts; part++) {
			const struct virtq_packed_desc *desc = &queue->packed.desc[at + part];

			check(plx_shared64_read(&desc->addr), plx_shared32_read(&desc->len), part);
		}
		plx_shared32_write(&first->len, written_to(taken));
		plx_shared16_write_release(&first->flags,
			wrap ? PLX_VIRTQ_PACKED_BOTH | VIRTQ_DESC_F_WRITE : VIRTQ_DESC_F_WRITE);
		taken++;
		at = at + parts;
		if (at == size) {
			at = 0;
			wrap = !wrap;
		}
	}

	void wish_split(bool notify)
	{
		if (!event_idx)
			plx_shared16_write(
				&queue->split.used->flags, notify ? 0 : VIRTQ_USED_F_NO_NOTIFY);
		else if (notify)
			plx_shared16_write(plx_virtq_split_avail_event(queue), taken);
	}

	void wish_packed(bool notify)
	{
		struct virtq_packed_event *event = queue->packed.device_event;
		uint16_t flags = !notify     ? VIRTQ_PACKED_EVENT_DISABLE
				 : event_idx ? VIRTQ_PACKED_EVENT_DESC
					     : VIRTQ_PACKED_EVENT_ENABLE;

		plx_shared16_write(
			&event->off_wrap, (uint16_t)(at | (wrap ? VIRTQ_PACKED_EVENT_WRAP : 0)));
		plx_shared16_write_release(&event->flags, flags);
	}

	void wish(bool notify)
	{
		if (packed)
			wish_packed(notify);
		else
			wish_split(notify);
	}

	/* Close by if both run, and without a core of one's own for nothing if they do not. */
	static void wait_a_little(unsigned *turns)
	{
		if (++*turns % 4096)
			plx_cpu_relax();
		else
			std::this_thread::yield();
	}

	/* Nothing but a notification wakes it. */
	void sleep()
	{
		auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		unsigned turns = 0;

		sleeps++;
		while (__atomic_load_n(&device->doorbell, __ATOMIC_ACQUIRE) == quiet && !stop) {
			wait_a_little(&turns);
			if (!(turns % 4096) && std::chrono::steady_clock::now() > end) {
				lost = true;
				return;
			}
		}
	}

	/* So that the two meet at ever other places. */
	static void dally(std::minstd_rand *random)
	{
		for (volatile unsigned spin = (*random)() % 128; spin; spin = spin - 1)
			;
	}

	void serve()
	{
		std::minstd_rand random(2);

		while (!stop && !lost && !torn) {
			while (something_new())
				packed ? take_packed() : take_split();
			dally(&random);
			/*
			 * It says that it wants to be told, and looks once more before it sleeps.
			 */
			__atomic_store_n(&device->doorbell, quiet, __ATOMIC_RELAXED);
			wish(true);
			plx_barrier_full();
			if (!something_new())
				sleep();
			wish(false);
		}
	}

	/* --- the driver --- */

	void add(uint16_t n)
	{
		struct plx_virtq_buffer buffers[2];

		for (unsigned part = 0; part < 2; part++)
			buffers[part] = {address_of(n, part), length_of(n, part)};
		plx_virtq_add(queue, buffers, 1, 1, cookie_of(n), packed);
	}

	void post(uint16_t n, unsigned count)
	{
		struct plx_virtq_run run = plx_virtq_begin_run(queue, packed);

		for (unsigned i = 0; i < count; i++) {
			uint16_t number = (uint16_t)(n + i);
			struct plx_virtq_buffer buffer = {
				address_of(number, 0), length_of(number, 0)};

			plx_virtq_put(&run, i, cookie_of(number), buffer, true, packed);
		}
		plx_virtq_end_run(queue, &run, count, true, packed);
	}

	static void *cookie_of(uint16_t n)
	{
		return (void *)(uintptr_t)(n + 1u);
	}

	void expect_next(const void *cookie, uint32_t len)
	{
		if (cookie != cookie_of(returned) || len != written_to(returned))
			torn = true;
		returned++;
	}

	/* Return: whether anything had come. */
	bool collect_some()
	{
		void *cookies[kBatch];
		uint32_t len[kBatch + 1]; /* they may be written in fours */
		unsigned n;
		bool odd;

		if (!GetParam().runs) {
			if (!plx_virtq_ready(queue, packed))
				return false;
			cookies[0] = plx_virtq_pop(queue, len, true, packed);
			expect_next(cookies[0], len[0]);
			return true;
		}
		n = plx_virtq_take(queue, cookies, len, kBatch, true, &odd, packed, false);
		for (unsigned i = 0; i < n; i++)
			expect_next(cookies[i], len[i]);
		if (odd)
			torn = true;
		return n;
	}

	/* Return: whether the chains that are out came back. */
	bool collect()
	{
		unsigned turns = 0;

		while (queue->in_flight) {
			if (lost || torn || queue->fault)
				return false;
			if (!collect_some())
				wait_a_little(&turns);
		}
		return true;
	}
};

TEST_P(Beside, ChainsAreSeenWholeAndNoNotificationIsLost)
{
	const auto begin = std::chrono::steady_clock::now();
	/* Whoever is slow needs more time until the device has slept often enough. */
	auto goes_on = [&](uint64_t rounds) {
		auto time = std::chrono::steady_clock::now() - begin;

		return rounds < 1000 || time < std::chrono::milliseconds(500) ||
		       (sleeps <= 10 && time < std::chrono::seconds(60));
	};
	std::thread thread([this] { serve(); });
	std::minstd_rand random(1);
	uint64_t rounds = 0;
	uint16_t n = 0;

	do {
		unsigned batch = 1 + random() % kBatch;

		if (GetParam().runs)
			post(n, batch);
		for (unsigned i = 0; i < batch && !GetParam().runs; i++)
			add((uint16_t)(n + i));
		n = (uint16_t)(n + batch);
		if (random() % 2)
			dally(&random);
		plx_virtq_publish(queue, packed);
		plx_virtq_kick(queue, packed);
		rounds++;
	} while (collect() && goes_on(rounds));
	stop = true;
	thread.join();
	EXPECT_FALSE(torn) << "after " << rounds << " rounds";
	EXPECT_FALSE(lost) << "after " << rounds << " rounds";
	EXPECT_EQ(queue->fault, PLX_VIRTQ_OK);
	EXPECT_GT(sleeps, 10u);
}

const Layout layouts[] = {
	{"split", false, false},
	{"split_event_idx", false, true},
	{"packed", true, false},
	{"packed_event_idx", true, true},
};

INSTANTIATE_TEST_SUITE_P(Layouts, Beside, ::testing::ValuesIn(layouts),
	[](const auto &info) { return std::string(info.param.name); });

INSTANTIATE_TEST_SUITE_P(Runs, Beside,
	::testing::Values(Layout{"split", false, false, true},
		Layout{"split_event_idx", false, true, true}, Layout{"packed", true, false, true},
		Layout{"packed_event_idx", true, true, true}),
	[](const auto &info) { return std::string(info.param.name); });

/* --- where the parts lie and what they start with --- */

class RingParts : public Beside
{
};

TEST_P(RingParts, AreAlignedAndOfTheirOwn)
{
	const struct plx_virtio_queue &q = device->programmed;

	EXPECT_EQ(q.size, size);
	EXPECT_EQ(q.descriptor_area % 16, 0u);
	EXPECT_EQ(q.driver_area % 4, 0u);
	EXPECT_EQ(q.device_area % 4, 0u);
	EXPECT_GE(q.driver_area, q.descriptor_area + 16 * size);
	EXPECT_GE(q.device_area, q.driver_area + (packed ? 4 : 6 + 2 * size));
}

TEST_P(RingParts, AskForNoNotifications)
{
	if (packed) {
		EXPECT_EQ(plx_shared16_read(&queue->packed.driver_event->flags),
			VIRTQ_PACKED_EVENT_DISABLE);
	} else if (event_idx) {
		EXPECT_EQ(plx_shared16_read(&queue->split.avail->flags), 0);
		EXPECT_EQ(plx_shared16_read(plx_virtq_split_used_event(queue)), 0x8000)
			<< "as far away as can be said";
	} else {
		EXPECT_EQ(
			plx_shared16_read(&queue->split.avail->flags), VIRTQ_AVAIL_F_NO_INTERRUPT);
	}
}

TEST_P(RingParts, StartWithNothingInTheDevicesPart)
{
	if (packed) {
		for (unsigned i = 0; i < size; i++)
			EXPECT_EQ(plx_shared16_read(&queue->packed.desc[i].flags), 0);
		EXPECT_EQ(plx_shared16_read(&queue->packed.device_event->flags), 0);
	} else {
		EXPECT_EQ(plx_shared16_read(&queue->split.used->flags), 0);
		EXPECT_EQ(plx_shared16_read(&queue->split.used->idx), 0);
	}
}

/* Without EVENT_IDX the field that would hold it means nothing, whatever stands there. */
TEST_P(RingParts, EventIsIgnoredWithoutEventIndex)
{
	if (event_idx)
		return;
	for (unsigned i = 0; i < 3 * size; i++) {
		const uint16_t n = taken;
		uint32_t len;

		if (packed)
			plx_shared16_write(
				&queue->packed.device_event->off_wrap, (uint16_t)(i * 7));
		else
			plx_shared16_write(plx_virtq_split_avail_event(queue), (uint16_t)(i * 7));
		device->doorbell = quiet;
		add(n);
		plx_virtq_publish(queue, packed);
		plx_virtq_kick(queue, packed);
		EXPECT_EQ(device->doorbell, 3) << "it did not say that it wants none";
		packed ? take_packed() : take_split();
		ASSERT_TRUE(plx_virtq_ready(queue, packed));
		ASSERT_EQ(plx_virtq_pop(queue, &len, true, packed), cookie_of(n));
	}
}

TEST_P(RingParts, ChainsUseNoTables)
{
	add(0);
	plx_virtq_publish(queue, packed);
	for (unsigned i = 0; i < 2; i++) {
		uint16_t flags = packed ? plx_shared16_read(&queue->packed.desc[i].flags)
					: plx_shared16_read(&queue->split.desc[i].flags);

		EXPECT_FALSE(flags & VIRTQ_DESC_F_INDIRECT);
		EXPECT_EQ(!!(flags & VIRTQ_DESC_F_WRITE), i == 1) << "readable before writable";
	}
}

/* Through a table, where that was agreed on: one descriptor, and entries in sequence. */
TEST_P(RingParts, TableIsOneDescriptorAndItsEntriesAreInSequence)
{
	const uint16_t allowed = packed ? 0 : VIRTQ_DESC_F_NEXT;
	struct plx_virtq_buffer buffers[4];

	plx_virtq_create_tables(queue, 4);
	EXPECT_FALSE(plx_virtq_takes_table(queue, 2)) << "nobody agreed on tables";
	plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_INDIRECT_DESC);
	plx_virtq_create_tables(queue, 4);
	EXPECT_FALSE(plx_virtq_takes_table(queue, 5)) << "longer than a table";
	for (unsigned i = 0; i < 4; i++)
		buffers[i] = {address_of(7, i), length_of(7, i)};
	for (unsigned n = 0; n < 3; n++) {
		const struct virtq_desc *desc = &queue->split.desc[n];
		const uint8_t *table = (const uint8_t *)queue->tables + n * 4 * 16;
		/* Both layouts have address and length in one place. */
		plx_virtq_add_table(queue, buffers, 4, cookie_of(7), packed);
		plx_virtq_publish(queue, packed);
		EXPECT_EQ(queue->free_count, size - n - 1);
		EXPECT_EQ(plx_shared64_read(&desc->addr), plx_mem_iova(mem, table));
		EXPECT_EQ(plx_shared32_read(&desc->len), 4u * 16);
		EXPECT_EQ((packed ? plx_shared16_read(&queue->packed.desc[n].flags)
				  : plx_shared16_read(&desc->flags)) &
				  (VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE),
			VIRTQ_DESC_F_INDIRECT);
		for (unsigned i = 0; i < 4; i++) {
			const auto *entry = (const struct virtq_desc *)table + i;
			const auto *other = (const struct virtq_packed_desc *)table + i;
			bool last = i == 3;

			EXPECT_EQ(plx_shared64_read(&entry->addr), address_of(7, i));
			EXPECT_EQ(plx_shared32_read(&entry->len), length_of(7, i));
			EXPECT_EQ(packed ? plx_shared16_read(&other->flags)
					 : plx_shared16_read(&entry->flags),
				last ? 0 : allowed);
			if (!packed && !last) {
				EXPECT_EQ(plx_shared16_read(&entry->next), i + 1);
			}
		}
	}
}

INSTANTIATE_TEST_SUITE_P(Layouts, RingParts, ::testing::ValuesIn(layouts),
	[](const auto &info) { return std::string(info.param.name); });

} // namespace
