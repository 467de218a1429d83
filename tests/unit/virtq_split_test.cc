/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_fixture.h"

#include <deque>
#include <map>
#include <random>
#include <set>

/*
 * The split ring between a driver and a device that this file plays: an honest one first, then one
 * for each way to lie about a ring (the numbers are those of doc/hostile.md).
 */

namespace
{

class Split : public VirtqFixture
{
      protected:
	uint16_t taken = 0; /* the device's place in the available ring */

	void open(uint16_t size, bool event_idx = false)
	{
		create(size, event_idx);
		taken = 0;
	}

	/* --- the device's side; it knows only addresses and layouts --- */

	/* The next head that the driver made available, or -1. */
	int device_take()
	{
		uint16_t idx = plx_shared16_read(&queue->split.avail->idx);

		if (idx == taken)
			return -1;
		return plx_shared16_read(&queue->split.avail->ring[taken++ & (queue->size - 1)]);
	}

	void device_put(uint32_t id, uint32_t len)
	{
		uint16_t idx = plx_shared16_read(&queue->split.used->idx);

		plx_shared32_write(&queue->split.used->ring[idx & (queue->size - 1)].id, id);
		plx_shared32_write(&queue->split.used->ring[idx & (queue->size - 1)].len, len);
		plx_shared16_write(&queue->split.used->idx, (uint16_t)(idx + 1));
	}

	/* --- shorthands for the driver's side --- */

	void add(uintptr_t cookie, unsigned readable, unsigned writable, uint32_t len = 64)
	{
		plx_virtq_split_add(queue, buffers(readable + writable, len).data(), readable,
			writable, (void *)cookie, 0);
	}

	uintptr_t get(uint32_t *len = nullptr, bool check = true)
	{
		uint32_t unused;

		if (!plx_virtq_split_ready(queue))
			return 0;
		return (uintptr_t)plx_virtq_split_pop(queue, len ? len : &unused, check);
	}
};

TEST_F(Split, RegistersAreProgrammedWithAlignedParts)
{
	open(256);
	EXPECT_EQ(device->programmed.index, 3);
	EXPECT_EQ(device->programmed.size, 256);
	EXPECT_EQ(device->programmed.descriptor_area % VIRTQ_DESC_ALIGN, 0u);
	EXPECT_EQ(device->programmed.driver_area % VIRTQ_AVAIL_ALIGN, 0u);
	EXPECT_EQ(device->programmed.device_area % VIRTQ_USED_ALIGN, 0u);
	/* No used element lies in two pages. */
	EXPECT_EQ((device->programmed.device_area + sizeof(virtq_used)) % sizeof(virtq_used_elem),
		0u);
	EXPECT_EQ(device->programmed.descriptor_area, plx_mem_iova(mem, queue->split.desc));
	EXPECT_EQ(plx_shared16_read(&queue->split.used->flags), 0);
	EXPECT_EQ(plx_shared16_read(&queue->split.avail->flags), VIRTQ_AVAIL_F_NO_INTERRUPT);
}

TEST_F(Split, PartsLieOnCacheLinesOfTheirOwn)
{
	for (uint16_t size : {1, 2, 8, 64, 1024}) {
		device->queue_max = size;
		open(size);
		auto desc = (uintptr_t)queue->split.desc, avail = (uintptr_t)queue->split.avail;
		auto used = (uintptr_t)queue->split.used;
		EXPECT_GE(avail, desc + 16u * size);
		EXPECT_GE(used, avail + 6u + 2u * size);
		EXPECT_EQ(avail % PLX_CACHE_LINE, 0u);
		EXPECT_EQ(used % PLX_CACHE_LINE, sizeof(virtq_used));
		close();
	}
}

TEST_F(Split, SizeOfItsOwnIsTheDevicesUpToTheLimit)
{
	device->queue_max = 4096;
	open(0);
	EXPECT_EQ(queue->size, 1024);
	close();
	device->queue_max = 128;
	open(0);
	EXPECT_EQ(queue->size, 128);
}

TEST_F(Split, SizeThatIsNotOfferedIsRefusedWithTheLargest)
{
	for (uint16_t size : {512, 100, 3}) {
		EXPECT_EQ(plx_virtq_create(&device->virtio, 0, size, 1024, &queue), -EINVAL);
		EXPECT_NE(std::string(plx_error()).find("256"), std::string::npos) << plx_error();
	}
}

/* 11 */
TEST_F(Split, SizeThatNoRingCanHaveIsRefused)
{
	for (uint16_t size : {0, 3, 100, 40000}) {
		device->queue_max = size;
		EXPECT_EQ(plx_virtq_create(&device->virtio, 0, 0, 1024, &queue), -EPROTO) << size;
	}
	device->queue_max = 0xffff;
	EXPECT_EQ(plx_virtq_create(&device->virtio, 0, 0, 1024, &queue), -ENODEV);
}

TEST_F(Split, ChainsAreDescribedReadableFirst)
{
	open(16);
	add(1, 2, 3, 100);
	plx_virtq_split_publish(queue);
	int at = device_take();
	ASSERT_GE(at, 0);
	for (unsigned i = 0; i < 5; i++) {
		const struct virtq_desc *desc = &queue->split.desc[at];
		uint16_t flags = plx_shared16_read(&desc->flags);

		EXPECT_EQ(plx_shared64_read(&desc->addr), 0x1000u * i);
		EXPECT_EQ(plx_shared32_read(&desc->len), 100u);
		EXPECT_EQ(!!(flags & VIRTQ_DESC_F_WRITE), i >= 2);
		EXPECT_EQ(!!(flags & VIRTQ_DESC_F_NEXT), i < 4);
		EXPECT_FALSE(flags & VIRTQ_DESC_F_INDIRECT);
		at = plx_shared16_read(&desc->next);
	}
	EXPECT_EQ(device_take(), -1);
}

TEST_F(Split, NothingIsSeenBeforeItIsPublished)
{
	open(16);
	add(1, 1, 0);
	EXPECT_EQ(device_take(), -1);
	plx_virtq_split_publish(queue);
	EXPECT_GE(device_take(), 0);
}

TEST_F(Split, IndicesRunPastTheirEnd)
{
	open(8);
	for (uintptr_t i = 1; i <= 70000; i++) {
		uint32_t len;

		add(i, 0, 1);
		plx_virtq_split_publish(queue);
		device_put((uint32_t)device_take(), 7);
		ASSERT_EQ(get(&len), i);
		ASSERT_EQ(len, 7u);
	}
	EXPECT_EQ(queue->fault, PLX_VIRTQ_OK);
	EXPECT_EQ(queue->in_flight, 0);
}

TEST_F(Split, DescriptorsOfADeviceThatCompletesInOrderAreTakenInSequence)
{
	open(8);
	for (unsigned i = 0; i < 100; i++) {
		add(i + 1, 1, 0);
		plx_virtq_split_publish(queue);
		int head = device_take();
		ASSERT_EQ(head, (int)(i % 8));
		device_put((uint32_t)head, 0);
		ASSERT_EQ(get(), i + 1);
	}
}

/* --- notifications --- */

TEST_F(Split, DeviceIsNotifiedUnlessItSaysNot)
{
	open(16);
	add(1, 1, 0);
	plx_virtq_split_publish(queue);
	plx_virtq_split_kick(queue);
	EXPECT_TRUE(was_notified());
	plx_virtq_split_kick(queue);
	EXPECT_FALSE(was_notified()) << "there is nothing new";
	plx_shared16_write(&queue->split.used->flags, VIRTQ_USED_F_NO_NOTIFY);
	add(2, 1, 0);
	plx_virtq_split_publish(queue);
	plx_virtq_split_kick(queue);
	EXPECT_FALSE(was_notified());
	EXPECT_EQ(queue->counters.kicks, 1u);
	EXPECT_EQ(queue->counters.suppressed, 1u);
}

/* 27 */
TEST_F(Split, NotificationIsForcedWhenNothingMoves)
{
	open(16);
	plx_shared16_write(&queue->split.used->flags, VIRTQ_USED_F_NO_NOTIFY);
	add(1, 0, 1);
	plx_virtq_split_publish(queue);
	plx_virtq_split_kick(queue);
	ASSERT_FALSE(was_notified());
	queue->withheld -= 2 * PLX_VIRTQ_PATIENCE_CYCLES;
	plx_virtq_idle(queue);
	EXPECT_TRUE(was_notified());
	EXPECT_EQ(queue->counters.forced, 1u);
	plx_virtq_idle(queue);
	EXPECT_FALSE(was_notified()) << "once is enough";
}

TEST_F(Split, ProgressEndsTheWaitForANotification)
{
	open(16);
	plx_shared16_write(&queue->split.used->flags, VIRTQ_USED_F_NO_NOTIFY);
	add(1, 0, 1);
	plx_virtq_split_publish(queue);
	plx_virtq_split_kick(queue);
	device_put((uint32_t)device_take(), 0);
	ASSERT_EQ(get(), 1u);
	EXPECT_EQ(queue->withheld, 0u);
}

/* The device may have known of the first alone. */
TEST_F(Split, ProgressDoesNotEndTheWaitForWhatIsStillInFlight)
{
	open(16);
	plx_shared16_write(&queue->split.used->flags, VIRTQ_USED_F_NO_NOTIFY);
	add(1, 0, 1);
	add(2, 0, 1);
	plx_virtq_split_publish(queue);
	plx_virtq_split_kick(queue);
	device_put((uint32_t)device_take(), 0);
	ASSERT_EQ(get(), 1u);
	plx_virtq_idle(queue);
	ASSERT_NE(queue->withheld, 0u);
	EXPECT_FALSE(was_notified());
	queue->withheld -= 2 * PLX_VIRTQ_PATIENCE_CYCLES;
	plx_virtq_idle(queue);
	EXPECT_TRUE(was_notified());
	EXPECT_EQ(queue->counters.forced, 1u);
}

TEST_F(Split, EventIndexDecidesOnEveryBatch)
{
	open(16, true);
	EXPECT_EQ(plx_shared16_read(&queue->split.avail->flags), 0)
		<< "with event index the flag stays 0";
	/* The flag is to be ignored, whatever it says. */
	plx_shared16_write(&queue->split.used->flags, VIRTQ_USED_F_NO_NOTIFY);
	for (unsigned i = 0; i < 70000; i++) {
		uint16_t old = queue->split.avail_idx;
		uint16_t batch = (uint16_t)(1 + i % 5);
		uint16_t event = (uint16_t)(old + i % 7);
		bool crossed = false;

		plx_shared16_write(plx_virtq_split_avail_event(queue), event);
		for (unsigned b = 0; b < batch; b++) {
			crossed |= (uint16_t)(old + b) == event;
			add(1, 1, 0);
		}
		plx_virtq_split_publish(queue);
		plx_virtq_split_kick(queue);
		ASSERT_EQ(was_notified(), crossed) << "old " << old << " batch " << batch;
		for (unsigned b = 0; b < batch; b++) {
			device_put((uint32_t)device_take(), 0);
			ASSERT_EQ(get(), 1u);
		}
	}
}

/* --- a device that lies --- */

/* 19 */
TEST_F(Split, UsedIndexAheadOfWhatIsInFlightBreaksTheQueue)
{
	open(16);
	add(1, 0, 1);
	plx_virtq_split_publish(queue);
	plx_shared16_write(&queue->split.used->idx, 2);
	EXPECT_FALSE(plx_virtq_split_ready(queue));
	expect_broken(PLX_VIRTQ_USED_IDX);
}

/* 19 */
TEST_F(Split, UsedIndexThatRunsBackwardBreaksTheQueue)
{
	open(16);
	add(1, 0, 1);
	plx_virtq_split_publish(queue);
	device_put((uint32_t)device_take(), 0);
	ASSERT_EQ(get(), 1u);
	add(2, 0, 1);
	plx_virtq_split_publish(queue);
	plx_shared16_write(&queue->split.used->idx, 0);
	EXPECT_FALSE(plx_virtq_split_ready(queue));
	expect_broken(PLX_VIRTQ_USED_IDX);
}

/* 20 */
TEST_F(Split, UsedIdOutsideTheRingBreaksTheQueueInAll32Bits)
{
	for (uint32_t id : {16u, 0x10000u, 0x80000000u, 0xffffffffu}) {
		messages.clear();
		open(16);
		add(1, 0, 1);
		plx_virtq_split_publish(queue);
		device_put(id, 0);
		EXPECT_EQ(get(), 0u);
		expect_broken(PLX_VIRTQ_ID_RANGE);
		close();
	}
}

/* 21 */
TEST_F(Split, UsedIdThatIsNoHeadInFlightBreaksTheQueue)
{
	open(16);
	add(1, 1, 2); /* descriptors 0, 1, 2; only 0 is a head */
	plx_virtq_split_publish(queue);
	device_put(1, 0);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_ID_UNKNOWN);
}

/* 21 */
TEST_F(Split, UsedIdThatComesTwiceBreaksTheQueue)
{
	open(16);
	add(1, 0, 1);
	add(2, 0, 1);
	plx_virtq_split_publish(queue);
	device_put(0, 0);
	device_put(0, 0);
	EXPECT_EQ(get(), 1u);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_ID_UNKNOWN);
}

/* 22 */
TEST_F(Split, MoreBytesThanPostedBreakTheQueue)
{
	open(16);
	add(1, 2, 2, 100);
	plx_virtq_split_publish(queue);
	device_put((uint32_t)device_take(), 201);
	EXPECT_EQ(get(), 0u);
	expect_broken(PLX_VIRTQ_LEN);
}

TEST_F(Split, AllBytesThatWerePostedAreGood)
{
	uint32_t len;

	open(16);
	add(1, 2, 2, 100);
	plx_virtq_split_publish(queue);
	device_put((uint32_t)device_take(), 200);
	EXPECT_EQ(get(&len), 1u);
	EXPECT_EQ(len, 200u);
}

/* 24 */
TEST_F(Split, LengthOfWhatTheDeviceOnlyReadIsIgnored)
{
	open(16);
	add(1, 1, 0);
	plx_virtq_split_publish(queue);
	device_put((uint32_t)device_take(), 0xffffffff);
	EXPECT_EQ(get(nullptr, false), 1u);
	EXPECT_EQ(queue->fault, PLX_VIRTQ_OK);
}

/* 25 and 26 */
TEST_F(Split, WhatTheDeviceWritesIntoTheDriversPartsHasNoEffect)
{
	open(16);
	for (uintptr_t round = 1; round <= 200; round++) {
		add(round, 1, 2);
		plx_virtq_split_publish(queue);
		int head = device_take();
		for (unsigned i = 0; i < 16; i++) {
			memset(&queue->split.desc[i], 0xff, sizeof(queue->split.desc[i]));
			plx_shared16_write(&queue->split.avail->ring[i], 0x7777);
		}
		device_put((uint32_t)head, 1);
		ASSERT_EQ(get(), round);
		ASSERT_EQ(queue->free_count, 16);
	}
	/* The driver's index is the driver's: what the device wrote there is overwritten. */
	plx_shared16_write(&queue->split.avail->idx, 0x1234);
	add(1, 1, 0);
	plx_virtq_split_publish(queue);
	EXPECT_EQ(plx_shared16_read(&queue->split.avail->idx), 201);
}

/* --- conservation --- */

TEST_F(Split, WhatWasInFlightComesBackOnceAfterAReset)
{
	std::set<uintptr_t> back;
	unsigned cursor = 0;

	open(64);
	for (uintptr_t i = 1; i <= 20; i++)
		add(i, 1, i % 3);
	plx_virtq_split_publish(queue);
	for (unsigned i = 0; i < 5; i++)
		device_put((uint32_t)device_take(), 0);
	for (uintptr_t i = 1; i <= 5; i++)
		ASSERT_EQ(get(), i);
	while (auto cookie = (uintptr_t)plx_virtq_reclaim(queue, &cursor))
		EXPECT_TRUE(back.insert(cookie).second);
	EXPECT_EQ(back.size(), 15u);
	EXPECT_EQ(*back.begin(), 6u);
	EXPECT_EQ(queue->in_flight, 0);
}

/*
 * Random adds and completions against a reference that only remembers what is out. The seed is
 * fixed so that a failure can be replayed.
 */
TEST_F(Split, RandomUseMatchesTheReference)
{
	for (uint16_t size : {1, 2, 16, 256}) {
		std::mt19937 random(size);
		std::map<uintptr_t, unsigned> out; /* cookie: descriptors */
		std::vector<uint32_t> held;        /* heads that the device works on */
		unsigned used = 0;
		uintptr_t next = 1;

		open(size);
		for (unsigned step = 0; step < 250000; step++) {
			unsigned count = 1 + random() % 4;

			if (random() % 2 && used + count <= size) {
				unsigned readable = random() % (count + 1);

				add(next, readable, count - readable);
				plx_virtq_split_publish(queue);
				out[next++] = count;
				used += count;
			}
			for (int head; random() % 2 && (head = device_take()) >= 0;)
				held.push_back((uint32_t)head);
			if (random() % 2 && !held.empty()) {
				size_t which = random() % held.size();

				device_put(held[which], 0);
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
