/* SPDX-License-Identifier: BSD-3-Clause */

/* Of gcc's own intrinsics, which leave registers undefined by such a variable. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "fake_virtio.h"
#include "lies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

/*
 * What is done eight at a time is what is done one by one: two rings, of which the second takes the
 * ways for registers of 64 bytes, are given the same buffers, and the same device uses both, now
 * honest and now lying in all ways it has. After each step they are alike to the last byte, and
 * every buffer comes back once, with no more in it than was posted.
 */

namespace
{

struct Variant {
	bool packed;
	uint16_t size;
	bool in_order;
	bool received; /* lengths are asked for, as of what is received */
};

void PrintTo(const Variant &v, std::ostream *to)
{
	*to << (v.packed ? "packed " : "split ") << v.size;
}

struct Buffer {
	void *cookie;
	struct plx_virtq_buffer piece;
};

#ifdef PLX_WIDE
/* As the driver does it: eights as far as they go, and the rest one by one. */
PLX_WIDE unsigned put_eights(const struct plx_virtq_run *run, const std::vector<Buffer> &buffers,
	bool writable, bool packed)
{
	unsigned i = 0;

	for (; i + 8 <= buffers.size(); i += 8) {
		uint64_t cookies[8], addresses[8], lengths[8];

		for (unsigned j = 0; j < 8; j++) {
			cookies[j] = (uintptr_t)buffers[i + j].cookie;
			addresses[j] = buffers[i + j].piece.iova;
			lengths[j] = buffers[i + j].piece.len;
		}
		if (!plx_virtq_put_8(run, i, _mm512_loadu_si512(cookies),
			    _mm512_loadu_si512(addresses), _mm512_loadu_si512(lengths), writable,
			    packed))
			break;
	}
	return i;
}
#else
unsigned put_eights(const struct plx_virtq_run *, const std::vector<Buffer> &, bool, bool)
{
	return 0;
}
#endif

class RingTwin : public ::testing::TestWithParam<Variant>
{
      protected:
	static constexpr uint32_t kRoom = 2048;
	static constexpr unsigned kLives = 60, kSteps = 400;

	/* Where the CPU has no such registers both rings are narrow, and all else is asked of them.
	 */
	const bool wide = plx_cpu_is_wide();

	struct plx_mem *mem = nullptr;
	FakeVirtio *device = nullptr;
	struct plx_virtq *twin[2] = {}; /* narrow and wide */
	std::mt19937 random{GetParam().size};
	const bool packed = GetParam().packed, received = GetParam().received;
	uintptr_t last = 0;
	unsigned lies = 0, disorder = 0; /* one completion in so many; 0: none */

	/* What the device was given and has not returned, and what the driver has not got back. */
	struct Flight {
		uint32_t id;
		unsigned slots;
		uint32_t room;
	};
	std::deque<Flight> flight;
	std::map<void *, uint32_t> out;
	uint16_t put = 0;
	bool put_wrap = true;

	void SetUp() override
	{
		struct plx_mem_config config = {UINT64_C(1) << 30, 4096, nullptr};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
		device = new FakeVirtio(mem);
		device->queue_max = 1024;
		if (packed)
			plx_features_add(
				&device->virtio.negotiation.accepted, VIRTIO_F_RING_PACKED);
		if (GetParam().in_order)
			plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_IN_ORDER);
	}

	void TearDown() override
	{
		delete device;
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	unsigned pick(unsigned below)
	{
		return below ? (unsigned)(random() % below) : 0;
	}

	/* --- the driver's side, of both --- */

	void open()
	{
		for (struct plx_virtq *&queue : twin) {
			ASSERT_EQ(
				plx_virtq_create(&device->virtio, 0, GetParam().size, 1024, &queue),
				0)
				<< plx_error();
			plx_virtq_set_room(queue, received ? kRoom : 0);
		}
		flight.clear();
		out.clear();
		put = 0;
		put_wrap = true;
		lies = (unsigned[]){0, 100, 10}[pick(3)];
		disorder = GetParam().in_order ? 0 : (unsigned[]){0, 0, 50}[pick(3)];
	}

	void close()
	{
		unsigned cursor[2] = {};
		void *cookie;

		while ((cookie = plx_virtq_reclaim(twin[0], &cursor[0]))) {
			ASSERT_EQ(plx_virtq_reclaim(twin[1], &cursor[1]), cookie);
			ASSERT_EQ(out.erase(cookie), 1u) << "it came back before";
		}
		ASSERT_EQ(plx_virtq_reclaim(twin[1], &cursor[1]), nullptr);
		EXPECT_TRUE(out.empty()) << "a buffer was lost";
		for (struct plx_virtq *&queue : twin) {
			plx_virtq_disconnect(queue);
			plx_virtq_destroy(queue);
			queue = nullptr;
		}
	}

	uint16_t next_id() const
	{
		const struct plx_virtq *queue = twin[0];
		uint16_t turn =
			packed ? queue->packed.avail_at
			       : (uint16_t)((queue->first + queue->size - queue->free_count) &
					    (queue->size - 1));

		return plx_virtq_next_id(queue, turn);
	}

	void add_chain()
	{
		unsigned count = 1 + pick(3), writable = received ? count : 0;
		struct plx_virtq_buffer pieces[3];
		void *cookie = (void *)++last;

		if (count > twin[0]->free_count)
			return;
		for (struct plx_virtq_buffer &piece : pieces)
			piece = {random(), kRoom};
		flight.push_back({next_id(), count, writable * kRoom});
		out[cookie] = writable * kRoom;
		for (struct plx_virtq *queue : twin) {
			plx_virtq_add(queue, pieces, count - writable, writable, cookie, packed);
			plx_virtq_publish(queue, packed);
		}
	}

	void post_run()
	{
		unsigned count = std::min<unsigned>(pick(70), twin[0]->free_count);
		std::vector<Buffer> buffers;
		struct plx_virtq_run run;

		if (!twin[0]->ordered)
			return;
		for (unsigned i = 0; i < count; i++) {
			uint16_t id = (uint16_t)((next_id() + i) % twin[0]->size);

			buffers.push_back(
				{(void *)++last, {(uint64_t)random() << 32 | random(),
							 received ? kRoom : pick(0x10000)}});
			flight.push_back({id, 1, received ? kRoom : 0});
			out[buffers.back().cookie] = received ? kRoom : 0;
		}
		for (struct plx_virtq *queue : twin) {
			size_t i = 0;

			run = plx_virtq_begin_run(queue, packed);
			if (queue == twin[1] && wide)
				i = put_eights(&run, buffers, received, packed);
			for (; i < count; i++)
				plx_virtq_put(&run, i, buffers[i].cookie, buffers[i].piece,
					received, packed);
			plx_virtq_end_run(queue, &run, count, received, packed);
			/* What is added to a run before both are published belongs to it. */
			if (i % 3)
				plx_virtq_publish(queue, packed);
		}
	}

	void publish()
	{
		for (struct plx_virtq *queue : twin) {
			plx_virtq_publish(queue, packed);
			plx_virtq_kick(queue, packed);
		}
	}

	void expect_out(void *cookie, uint32_t len)
	{
		auto it = out.find(cookie);

		ASSERT_NE(it, out.end()) << "a buffer came twice";
		if (received)
			ASSERT_LE(len, it->second) << "more than was posted";
		out.erase(it);
	}

	void pop()
	{
		bool ready = plx_virtq_ready(twin[0], packed);
		uint32_t len[2] = {};
		void *cookie[2];

		ASSERT_EQ(plx_virtq_ready(twin[1], packed), ready);
		if (!ready)
			return;
		for (unsigned i = 0; i < 2; i++)
			cookie[i] = received ? plx_virtq_pop(twin[i], &len[i], true, packed)
					     : plx_virtq_pop(twin[i], &len[i], false, packed);
		ASSERT_EQ(cookie[0], cookie[1]);
		ASSERT_EQ(len[0], len[1]);
		if (cookie[0])
			expect_out(cookie[0], len[0]);
		else
			ASSERT_NE(twin[0]->fault, PLX_VIRTQ_OK);
	}

	void take()
	{
		const unsigned want = pick(65);
		void *cookies[2][64];
		uint32_t len[2][64] = {};
		unsigned n[2];
		bool odd[2];

		if (!twin[0]->ordered)
			return;
		for (unsigned i = 0; i < 2; i++)
			n[i] = !received ? plx_virtq_take(twin[i], cookies[i], nullptr, want, false,
						   &odd[i], packed, false)
			       : i && wide ? plx_virtq_take(twin[i], cookies[i], len[i], want, true,
						     &odd[i], packed, true)
					   : plx_virtq_take(twin[i], cookies[i], len[i], want, true,
						     &odd[i], packed, false);
		ASSERT_EQ(n[0], n[1]);
		ASSERT_EQ(odd[0], odd[1]);
		ASSERT_LE(n[0], want);
		for (unsigned i = 0; i < n[0]; i++) {
			ASSERT_EQ(cookies[0][i], cookies[1][i]) << i;
			ASSERT_EQ(len[0][i], len[1][i]) << i;
			ASSERT_NO_FATAL_FAILURE(expect_out(cookies[0][i], len[0][i]));
		}
		if (odd[0])
			pop();
	}

	/* --- the device's --- */

	template <typename Write> void in_both(Write write)
	{
		for (struct plx_virtq *queue : twin)
			write(queue);
	}

	/* What it says in place of the truth. */
	void bend(uint32_t *id, uint32_t *len, uint16_t *flags)
	{
		if (pick(6))
			bend_completion(random, GetParam().size, kRoom, id, len);
		else
			*flags ^= (uint16_t)random();
	}

	void write_used(uint32_t id, uint32_t len, uint16_t flags)
	{
		in_both([&](struct plx_virtq *queue) {
			struct virtq_used_elem *elem =
				&queue->split.used->ring[put & (queue->size - 1)];
			struct virtq_packed_desc *desc = &queue->packed.desc[put];

			if (packed) {
				plx_shared16_write(&desc->id, (uint16_t)id);
				plx_shared32_write(&desc->len, len);
				plx_shared16_write_release(&desc->flags, flags);
			} else {
				plx_shared32_write(&elem->id, id);
				plx_shared32_write(&elem->len, len);
			}
		});
	}

	/* So many from @which on, named by the last of them. */
	void use(size_t which, unsigned count)
	{
		const Flight &end = flight[which + count - 1];
		uint32_t id = end.id, len = pick(end.room + 1);
		uint16_t flags = put_wrap ? VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED
					  : (uint16_t)0;
		unsigned slots = count;

		if (lies && !pick(lies))
			bend(&id, &len, &flags);
		write_used(id, len, flags);
		for (unsigned i = 0; packed && i < count; i++)
			slots += flight[which + i].slots - 1;
		put = (uint16_t)(put + slots);
		if (packed && put >= GetParam().size) {
			put = (uint16_t)(put - GetParam().size);
			put_wrap = !put_wrap;
		}
		flight.erase(flight.begin() + (ptrdiff_t)which,
			flight.begin() + (ptrdiff_t)(which + count));
	}

	void card_uses()
	{
		publish(); /* it sees no more than that */
		for (unsigned left = pick(80); left && !flight.empty(); left--) {
			unsigned most = GetParam().in_order && pick(2) ? 40 : 1;
			bool wild = disorder && !pick(disorder);

			use(wild ? pick((unsigned)flight.size()) : 0,
				wild ? 1 : 1 + pick(std::min(most, (unsigned)flight.size())));
		}
		if (packed)
			return;
		in_both([&](struct plx_virtq *queue) {
			plx_shared16_write_release(&queue->split.used->idx, put);
		});
	}

	void card_lies()
	{
		uint32_t value = (uint32_t)random(), at = pick(4u * GetParam().size);
		uint16_t jump = (uint16_t)(put + 1 + pick(pick(2) ? 4 : 0x10000));

		switch (lies ? pick(lies) : 3) {
		case 0: /* any descriptor, in any part */
			in_both([&](struct plx_virtq *queue) {
				std::memcpy((uint8_t *)queue->split.desc + 4 * at, &value, 4);
			});
			break;
		case 1: /* an index that is not its own */
			in_both([&](struct plx_virtq *queue) {
				if (!packed)
					plx_shared16_write(&queue->split.used->idx, jump);
			});
			break;
		case 2: /* what only the driver writes */
			in_both([&](struct plx_virtq *queue) {
				if (!packed)
					plx_shared16_write(
						&queue->split.avail->ring[at % queue->size],
						(uint16_t)value);
			});
		}
	}

	/* --- whether they are alike --- */

	template <typename T> static std::vector<uint8_t> bytes(const T *from, size_t count)
	{
		std::vector<uint8_t> all(count * sizeof(T));

		std::memcpy(all.data(), from, all.size());
		return all;
	}

	static std::vector<unsigned> private_state(const struct plx_virtq *q)
	{
		std::vector<unsigned> state = {q->ordered, q->batch, q->batch_len, q->first, q->odd,
			q->free_count, q->told, q->in_flight, q->fault};

		if (q->is_packed)
			state.insert(state.end(),
				{q->packed.avail_at, q->packed.used_at, q->packed.avail_flags,
					q->packed.used_flags, q->packed.pending_at,
					q->packed.pending_flags, q->packed.avail_count});
		else
			state.insert(state.end(),
				{q->split.avail_idx, q->split.used_idx, q->split.used_seen});
		return state;
	}

	void expect_alike()
	{
		const struct plx_virtq *one = twin[0], *other = twin[1];
		const size_t size = one->size;

		ASSERT_EQ(private_state(one), private_state(other));
		ASSERT_EQ(bytes(one->cookie, size), bytes(other->cookie, size));
		ASSERT_EQ(bytes(one->chain, size), bytes(other->chain, size));
		ASSERT_EQ(bytes(one->split.desc, size), bytes(other->split.desc, size));
		if (!packed)
			ASSERT_EQ(bytes(one->split.avail->ring, size),
				bytes(other->split.avail->ring, size));
	}

	void step()
	{
		switch (pick(8)) {
		case 0:
			if (!pick(6))
				add_chain();
			break;
		case 1:
		case 2:
			post_run();
			break;
		case 3:
		case 4:
			card_uses();
			break;
		case 5:
			card_lies();
			break;
		case 6:
			if (!pick(4))
				pop();
			break;
		default:
			take();
		}
	}
};

TEST_P(RingTwin, EightsAreAsOneByOneWhateverTheDeviceDoes)
{
	unsigned broken = 0;

	for (unsigned life = 0; life < kLives; life++) {
		open();
		for (unsigned i = 0; i < kSteps && !twin[0]->fault; i++) {
			ASSERT_NO_FATAL_FAILURE(step()) << "life " << life << ", step " << i;
			ASSERT_NO_FATAL_FAILURE(expect_alike())
				<< "life " << life << ", step " << i;
		}
		broken += twin[0]->fault != PLX_VIRTQ_OK;
		ASSERT_NO_FATAL_FAILURE(close());
	}
	EXPECT_GT(broken, 0u) << "no lie was told";
	EXPECT_LT(broken, kLives) << "every life ended early";
}

std::vector<Variant> variants()
{
	std::vector<Variant> all;

	for (bool in_order : {false, true})
		for (bool received : {false, true}) {
			for (uint16_t size : {4, 8, 16, 64, 256, 1024})
				all.push_back({false, size, in_order, received});
			for (uint16_t size : {4, 5, 7, 8, 9, 37, 64, 100, 256, 1000})
				all.push_back({true, size, in_order, received});
		}
	return all;
}

INSTANTIATE_TEST_SUITE_P(Layouts, RingTwin, ::testing::ValuesIn(variants()),
	[](const ::testing::TestParamInfo<Variant> &info) {
		return std::string(info.param.packed ? "Packed" : "Split") +
		       std::to_string(info.param.size) + (info.param.in_order ? "InOrder" : "") +
		       (info.param.received ? "Received" : "Sent");
	});

} // namespace
