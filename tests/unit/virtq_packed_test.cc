/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_fixture.h"

#include <map>
#include <random>

/*
 * The packed ring between a driver and a device that this file plays, honest or not; the numbers
 * are those of doc/hostile.md.
 */

namespace
{

struct Chain {
	uint16_t id;
	unsigned count;
	uint32_t writable;
	uint16_t head_flags;
};

class Packed : public VirtqFixture
{
      protected:
	unsigned avail_at = 0, used_at = 0; /* the device's places */
	bool avail_wrap = true, used_wrap = true;

	void SetUp() override
	{
		VirtqFixture::SetUp();
		plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_RING_PACKED);
	}

	void open(uint16_t size, bool event_idx = false)
	{
		device->queue_max = 1000;
		create(size, event_idx);
		avail_at = used_at = 0;
		avail_wrap = used_wrap = true;
		messages.clear();
	}

	/* --- the device's side --- */

	struct virtq_packed_desc *desc(unsigned at)
	{
		return &queue->packed.desc[at];
	}

	bool is_available(unsigned at, bool wrap)
	{
		uint16_t flags = plx_shared16_read(&desc(at)->flags);
		bool avail = flags & VIRTQ_PACKED_DESC_F_AVAIL,
		     used = flags & VIRTQ_PACKED_DESC_F_USED;

		return avail == wrap && used != wrap;
	}

	/* Return: whether there was a chain. */
	bool device_take(Chain *chain)
	{
		uint16_t flags;

		if (!is_available(avail_at, avail_wrap))
			return false;
		*chain = {0, 0, 0, plx_shared16_read(&desc(avail_at)->flags)};
		do {
			EXPECT_TRUE(is_available(avail_at, avail_wrap))
				<< "a chain is published whole";
			flags = plx_shared16_read(&desc(avail_at)->flags);
			chain->id = plx_shared16_read(&desc(avail_at)->id);
			chain->count++;
			if (flags & VIRTQ_DESC_F_WRITE)
				chain->writable += plx_shared32_read(&desc(avail_at)->len);
			if (++avail_at == queue->size) {
				avail_at = 0;
				avail_wrap = !avail_wrap;
			}
		} while (flags & VIRTQ_DESC_F_NEXT);
		return true;
	}

	void mark_used(unsigned at, bool wrap, uint16_t id, uint32_t len)
	{
		plx_shared16_write(&desc(at)->id, id);
		plx_shared32_write(&desc(at)->len, len);
		plx_shared16_write_release(&desc(at)->flags, wrap ? PLX_VIRTQ_PACKED_BOTH : 0);
	}

	void device_put(uint16_t id, unsigned count, uint32_t len)
	{
		mark_used(used_at, used_wrap, id, len);
		used_at += count;
		if (used_at >= queue->size) {
			used_at -= queue->size;
			used_wrap = !used_wrap;
		}
	}

	/* --- the driver's side --- */

	void add(uintptr_t cookie, unsigned readable, unsigned writable, uint32_t len = 64)
	{
		plx_virtq_packed_add(queue, buffers(readable + writable, len).data(), readable,
			writable, (void *)cookie, 0);
	}

	uintptr_t get(uint32_t *len = nullptr, bool check = true)
	{
		uint32_t unused;

		if (!plx_virtq_packed_ready(queue))
			return 0;
		return (uintptr_t)plx_virtq_packed_pop(queue, len ? len : &unused, check);
	}
};

TEST_F(Packed, AnySizeUpToTheDevicesCanBeHad)
{
	for (uint16_t size : {1, 3, 7, 100, 999, 1000}) {
		open(size);
		EXPECT_EQ(device->programmed.size, size);
		close();
	}
	EXPECT_EQ(plx_virtq_create(&device->virtio, 3, 1001, 1024, &queue), -EINVAL);
	device->queue_max = 40000;
	EXPECT_EQ(plx_virtq_create(&device->virtio, 3, 0, 1024, &queue), -EPROTO);
}

TEST_F(Packed, FreshRingShowsNothingAvailableAndNothingUsed)
{
	open(16);
	for (unsigned i = 0; i < 16; i++)
		EXPECT_FALSE(is_available(i, true));
	EXPECT_FALSE(plx_virtq_packed_ready(queue));
	EXPECT_EQ(
		plx_shared16_read(&queue->packed.driver_event->flags), VIRTQ_PACKED_EVENT_DISABLE);
}

TEST_F(Packed, WholeBatchIsHiddenUntilItIsPublished)
{
	Chain chain;

	open(16);
	add(1, 1, 1);
	add(2, 2, 0);
	add(3, 0, 3);
	EXPECT_FALSE(device_take(&chain));
	plx_virtq_packed_publish(queue);
	ASSERT_TRUE(device_take(&chain));
	EXPECT_EQ(chain.count, 2u);
	ASSERT_TRUE(device_take(&chain));
	EXPECT_EQ(chain.count, 2u);
	ASSERT_TRUE(device_take(&chain));
	EXPECT_EQ(chain.count, 3u);
	EXPECT_EQ(chain.writable, 3u * 64);
	EXPECT_FALSE(device_take(&chain));
}

TEST_F(Packed, DescriptorsOfAChainCarryTheIdAndTheirOwnWrap)
{
	open(5);
	for (unsigned round = 0; round < 100; round++) {
		Chain chain;

		add(round + 1, 1, 1);
		plx_virtq_packed_publish(queue);
		ASSERT_TRUE(device_take(&chain)) << round;
		EXPECT_EQ(chain.count, 2u);
		device_put(chain.id, chain.count, 9);
		uint32_t len;
		ASSERT_EQ(get(&len), round + 1);
		EXPECT_EQ(len, 9u);
	}
}

TEST_F(Packed, CompletionsMayComeInAnyOrder)
{
	Chain chains[3];

	open(8);
	for (uintptr_t i = 0; i < 3; i++)
		add(i + 1, 1, (unsigned)i);
	plx_virtq_packed_publish(queue);
	for (auto &chain : chains)
		ASSERT_TRUE(device_take(&chain));
	device_put(chains[2].id, chains[2].count, 0);
	device_put(chains[0].id, chains[0].count, 0);
	device_put(chains[1].id, chains[1].count, 0);
	EXPECT_EQ(get(), 3u);
	EXPECT_EQ(get(), 1u);
	EXPECT_EQ(get(), 2u);
	EXPECT_EQ(get(), 0u);
	EXPECT_EQ(queue->free_count, 8);
}

/* --- notifications --- */

TEST_F(Packed, DeviceIsNotifiedUnlessItSaysNot)
{
	open(16);
	add(1, 1, 0);
	plx_virtq_packed_publish(queue);
	plx_virtq_packed_kick(queue);
	EXPECT_TRUE(was_notified());
	plx_virtq_packed_kick(queue);
	EXPECT_FALSE(was_notified()) << "there is nothing new";
	plx_shared16_write(&queue->packed.device_event->flags, VIRTQ_PACKED_EVENT_DISABLE);
	add(2, 1, 0);
	plx_virtq_packed_publish(queue);
	plx_virtq_packed_kick(queue);
	EXPECT_FALSE(was_notified());
	/* 27 */
	queue->withheld -= 2 * PLX_VIRTQ_PATIENCE_CYCLES;
	plx_virtq_idle(queue);
	EXPECT_TRUE(was_notified());
	EXPECT_EQ(queue->counters.forced, 1u);
}

/* The event names a place and a round; it is met when that place was among those just published. */
TEST_F(Packed, EventIndexDecidesOnEveryBatch)
{
	for (uint16_t size : {7, 16, 64}) {
		std::mt19937 random(size);
		unsigned at = 0;
		bool wrap = true;

		open(size, true);
		for (unsigned i = 0; i < 30000; i++) {
			unsigned batch = 1 + random() % 4;
			unsigned ahead = random() % 6;
			unsigned event = at + ahead;
			bool event_wrap = wrap;

			if (event >= size) {
				event -= size;
				event_wrap = !wrap;
			}
			plx_shared16_write(&queue->packed.device_event->off_wrap,
				(uint16_t)(event | (event_wrap ? VIRTQ_PACKED_EVENT_WRAP : 0)));
			plx_shared16_write(
				&queue->packed.device_event->flags, VIRTQ_PACKED_EVENT_DESC);
			for (unsigned b = 0; b < batch; b++)
				add(b + 1, 1, 0);
			plx_virtq_packed_publish(queue);
			plx_virtq_packed_kick(queue);
			ASSERT_EQ(was_notified(), ahead < batch)
				<< "size " << size << " at " << at << " batch " << batch
				<< " ahead " << ahead;
			for (unsigned b = 0; b < batch; b++) {
				Chain chain;

				ASSERT_TRUE(device_take(&chain));
				device_put(chain.id, chain.count, 0);
				ASSERT_EQ(get(), b + 1);
			}
			at += batch;
			if (at >= size) {
				at -= size;
				wrap = !wrap;
			}
		}
		close();
	}
}

/* --- a device that lies --- */

/* 20, 31 */
TEST_F(Packed, UsedIdOutsideTheRingBreaksTheQueue)
{
	for (uint16_t id : {16, 0x8000, 0xffff}) {
		open(16);
		add(1, 0, 1);
		plx_virtq_packed_publish(queue);
		device_put(id, 1, 0);
		EXPECT_EQ(get(), 0u);
		expect_broken(PLX_VIRTQ_ID_RANGE);
		close();
	}
}

/* 21, 31 */
TEST_F(Packed, UsedIdThatIsNotInFlightBreaksTheQueue)
{
	open(16);
	add(1, 1, 2);
	plx_virtq_packed_publish(queue);
	device_put(5, 1, 0);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_ID_UNKNOWN);
}

/* 21 */
TEST_F(Packed, UsedIdThatComesTwiceBreaksTheQueue)
{
	open(16);
	add(1, 0, 1);
	add(2, 0, 1);
	plx_virtq_packed_publish(queue);
	device_put(0, 1, 0);
	device_put(0, 1, 0);
	EXPECT_EQ(get(), 1u);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_ID_UNKNOWN);
}

/* 22 */
TEST_F(Packed, MoreBytesThanPostedBreakTheQueue)
{
	open(16);
	add(1, 2, 2, 100);
	plx_virtq_packed_publish(queue);
	device_put(0, 4, 201);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_LEN);
}

/* 25: the list's length is remembered, whatever the device writes over its descriptors */
TEST_F(Packed, WhatTheDeviceWritesOverAChainHasNoEffect)
{
	open(16);
	for (uintptr_t round = 1; round <= 200; round++) {
		Chain chain;

		add(round, 1, 2);
		plx_virtq_packed_publish(queue);
		ASSERT_TRUE(device_take(&chain));
		for (unsigned i = 1; i < 3; i++) {
			unsigned at = (used_at + i) % 16;
			bool wrap = used_at + i < 16 ? used_wrap : !used_wrap;

			/*
			 * Neither used nor available for whoever comes by, and otherwise nonsense.
			 */
			plx_shared64_write(&desc(at)->addr, ~UINT64_C(0));
			plx_shared32_write(&desc(at)->len, ~0u);
			plx_shared16_write(
				&desc(at)->flags, (uint16_t)(VIRTQ_DESC_F_INDIRECT |
							     (wrap ? VIRTQ_PACKED_DESC_F_AVAIL
								   : VIRTQ_PACKED_DESC_F_USED)));
		}
		device_put(chain.id, chain.count, 1);
		ASSERT_EQ(get(), round);
		ASSERT_EQ(queue->free_count, 16);
	}
}

/* 32 */
TEST_F(Packed, MoreUsedThanInFlightBreaksTheQueue)
{
	open(16);
	add(1, 0, 1);
	plx_virtq_packed_publish(queue);
	device_put(0, 1, 0);
	mark_used(1, true, 0, 0);
	EXPECT_EQ(get(), 1u);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_USED_IDX);
}

/* --- conservation --- */

TEST_F(Packed, RandomUseMatchesTheReference)
{
	for (uint16_t size : {1, 3, 16, 255}) {
		std::mt19937 random(size);
		std::map<uintptr_t, unsigned> out; /* cookie: descriptors */
		std::vector<Chain> held;
		unsigned used = 0;
		uintptr_t next = 1;

		open(size);
		for (unsigned step = 0; step < 250000; step++) {
			unsigned count = 1 + random() % 4;
			Chain chain;

			if (random() % 2 && used + count <= size) {
				unsigned readable = random() % (count + 1);

				add(next, readable, count - readable);
				if (random() % 2)
					plx_virtq_packed_publish(queue);
				out[next++] = count;
				used += count;
			}
			while (random() % 2 && device_take(&chain))
				held.push_back(chain);
			if (random() % 2 && !held.empty()) {
				size_t which = random() % held.size();

				device_put(held[which].id, held[which].count, 0);
				held.erase(held.begin() + (long)which);
			}
			if (random() % 2) {
				uintptr_t cookie = get();

				if (cookie) {
					ASSERT_EQ(out.count(cookie), 1u);
					used -= out[cookie];
					out.erase(cookie);
				}
			}
			if (random() % 8 == 0)
				plx_virtq_packed_publish(queue);
			ASSERT_EQ(queue->free_count, size - used);
			ASSERT_EQ(queue->in_flight, out.size());
			ASSERT_EQ(queue->fault, PLX_VIRTQ_OK);
		}
		for (unsigned cursor = 0;
			auto cookie = (uintptr_t)plx_virtq_reclaim(queue, &cursor);)
			ASSERT_EQ(out.erase(cookie), 1u);
		EXPECT_TRUE(out.empty());
		close();
	}
}

} // namespace
