/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_virtio.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>

/*
 * Both ring layouts against a reference, over a million random steps each: buffers are added one by
 * one and in runs, returned in order and out of it, alone and in batches, the device is reset in
 * the middle of all, and every buffer must come back exactly once, with the length that the device
 * gave.
 */

namespace
{

/* A chain as the device found it in the ring. */
struct Chain {
	uint32_t id;
	unsigned count;
};

/* The device's side of a ring: it knows only addresses and layouts. */
class Card
{
      public:
	explicit Card(struct plx_virtq *queue) : queue_(queue)
	{
	}

	bool take(Chain *chain)
	{
		return queue_->is_packed ? take_packed(chain) : take_split(chain);
	}

	/* The last of so many, and what they take of the ring: all of them, or just itself. */
	void put(const Chain &last, unsigned chains, unsigned slots, uint32_t len)
	{
		if (queue_->is_packed)
			put_packed(last.id, slots, len);
		else
			put_split(last.id, chains, len);
	}

      private:
	struct plx_virtq *queue_;
	uint16_t taken_ = 0, put_ = 0;
	bool take_wrap_ = true, put_wrap_ = true;

	bool take_split(Chain *chain)
	{
		const struct virtq_avail *avail = queue_->split.avail;
		uint16_t mask = (uint16_t)(queue_->size - 1), at;

		if (taken_ == plx_shared16_read_acquire(&avail->idx))
			return false;
		at = plx_shared16_read(&avail->ring[taken_++ & mask]);
		*chain = {at, 1};
		while (plx_shared16_read(&queue_->split.desc[at].flags) & VIRTQ_DESC_F_NEXT) {
			at = plx_shared16_read(&queue_->split.desc[at].next);
			chain->count++;
		}
		return true;
	}

	void put_split(uint32_t id, unsigned chains, uint32_t len)
	{
		struct virtq_used *used = queue_->split.used;
		uint16_t at = put_ & (uint16_t)(queue_->size - 1);

		put_ = (uint16_t)(put_ + chains);
		plx_shared32_write(&used->ring[at].id, id);
		plx_shared32_write(&used->ring[at].len, len);
		plx_shared16_write_release(&used->idx, put_);
	}

	void step(uint16_t *at, bool *wrap, unsigned count) const
	{
		*at = (uint16_t)(*at + count);
		if (*at >= queue_->size) {
			*at = (uint16_t)(*at - queue_->size);
			*wrap = !*wrap;
		}
	}

	bool take_packed(Chain *chain)
	{
		const uint16_t avail = VIRTQ_PACKED_DESC_F_AVAIL, used = VIRTQ_PACKED_DESC_F_USED;
		const struct virtq_packed_desc *desc = &queue_->packed.desc[taken_];
		uint16_t flags = plx_shared16_read_acquire(&desc->flags);

		if ((flags & (avail | used)) != (take_wrap_ ? avail : used))
			return false;
		*chain = {0, 0};
		do {
			desc = &queue_->packed.desc[taken_];
			flags = plx_shared16_read(&desc->flags);
			chain->id = plx_shared16_read(&desc->id);
			chain->count++;
			step(&taken_, &take_wrap_, 1);
		} while (flags & VIRTQ_DESC_F_NEXT);
		return true;
	}

	void put_packed(uint32_t id, unsigned slots, uint32_t len)
	{
		struct virtq_packed_desc *desc = &queue_->packed.desc[put_];

		plx_shared16_write(&desc->id, (uint16_t)id);
		plx_shared32_write(&desc->len, len);
		plx_shared16_write_release(&desc->flags,
			put_wrap_ ? VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED : 0);
		step(&put_, &put_wrap_, slots);
	}
};

struct Variant {
	bool packed;
	uint16_t size;
	unsigned disorder;     /* a completion in so many comes out of turn; 0: none */
	unsigned in_order = 0; /* agreed on: so many at most in a batch; 0: not agreed on */
};

void PrintTo(const Variant &v, std::ostream *to)
{
	*to << (v.packed ? "packed " : "split ") << v.size << " " << v.disorder << " "
	    << v.in_order;
}

class RingModel : public ::testing::TestWithParam<Variant>
{
      protected:
	static constexpr uint32_t kRoom = 64;

	struct plx_mem *mem = nullptr;
	FakeVirtio *device = nullptr;
	struct plx_virtq *queue = nullptr;
	Card card{nullptr};
	std::mt19937 random{GetParam().size};

	/* The reference: what is where, by cookie. */
	struct Buffer {
		uintptr_t cookie;
		unsigned count, writable;
	};
	uintptr_t last = 0;
	std::deque<Buffer> added;                      /* not yet seen by the device */
	std::vector<std::pair<Chain, Buffer>> held;    /* the device's */
	std::deque<std::pair<Buffer, uint32_t>> given; /* returned with a length, not yet taken */

	void SetUp() override
	{
		struct plx_mem_config config = {UINT64_C(1) << 30, 4096, nullptr};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
		device = new FakeVirtio(mem);
		if (GetParam().packed)
			plx_features_add(
				&device->virtio.negotiation.accepted, VIRTIO_F_RING_PACKED);
		plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_INDIRECT_DESC);
		if (GetParam().in_order)
			plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_IN_ORDER);
		open();
	}

	void TearDown() override
	{
		reset();
		plx_virtq_disconnect(queue);
		plx_virtq_destroy(queue);
		delete device;
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	void open()
	{
		ASSERT_EQ(plx_virtq_create(&device->virtio, 0, GetParam().size, 1024, &queue), 0)
			<< plx_error();
		plx_virtq_create_tables(queue, 4);
		plx_virtq_set_room(queue, kRoom);
		card = Card(queue);
	}

	/* --- the steps --- */

	void add_chain()
	{
		unsigned count = 1 + random() % 4, writable = random() % (count + 1);
		struct plx_virtq_buffer buffers[4];

		if (count > queue->free_count)
			return;
		std::fill(buffers, buffers + 4, plx_virtq_buffer{0x1000, kRoom});
		added.push_back({++last, count, writable * kRoom});
		plx_virtq_add(
			queue, buffers, count - writable, writable, (void *)last, queue->is_packed);
	}

	/* The device sees one descriptor, and may write nothing. */
	void add_table()
	{
		unsigned count = 1 + random() % 4;
		struct plx_virtq_buffer buffers[4];

		if (!queue->free_count)
			return;
		std::fill(buffers, buffers + 4, plx_virtq_buffer{0x1000, kRoom});
		added.push_back({++last, 1, 0});
		plx_virtq_add_table(queue, buffers, count, (void *)last, queue->is_packed);
	}

	void post_run()
	{
		unsigned count = std::min<unsigned>(random() % 40, queue->free_count);
		std::vector<struct plx_virtq_buffer> buffers(count, {0x1000, kRoom});
		std::vector<void *> cookies;
		struct plx_virtq_run run;

		if (!queue->ordered)
			return;
		for (unsigned i = 0; i < count; i++) {
			added.push_back({++last, 1, kRoom});
			cookies.push_back((void *)last);
		}
		run = plx_virtq_begin_run(queue, queue->is_packed);
		for (unsigned i = 0; i < count; i++)
			plx_virtq_put(&run, i, cookies[i], buffers[i], true, queue->is_packed);
		plx_virtq_end_run(queue, &run, count, true, queue->is_packed);
	}

	void card_takes()
	{
		Chain chain;

		while (random() % 8 && card.take(&chain)) {
			ASSERT_FALSE(added.empty()) << "the device saw what was not made available";
			ASSERT_EQ(chain.count, added.front().count);
			held.push_back({chain, added.front()});
			added.pop_front();
		}
	}

	void card_returns()
	{
		while (random() % 8 && !held.empty()) {
			size_t which = 0;
			uint32_t len;

			if (GetParam().disorder && random() % GetParam().disorder == 0)
				which = random() % held.size();
			len = (uint32_t)(random() % (held[which].second.writable + 1));
			card.put(held[which].first, 1, held[which].first.count, len);
			given.push_back({held[which].second, len});
			held.erase(held.begin() + (ptrdiff_t)which);
		}
	}

	/* What is not named in a batch was written to its last byte. */
	void card_returns_batch()
	{
		unsigned chains = 1 + random() % GetParam().in_order, slots = 0;
		uint32_t len = 0;
		Chain last = {};

		chains = std::min<unsigned>(chains, (unsigned)held.size());
		for (unsigned i = 0; i < chains; i++) {
			last = held[i].first;
			slots += last.count;
			len = held[i].second.writable;
			if (i + 1 == chains)
				len = (uint32_t)(random() % (len + 1));
			given.push_back({held[i].second, len});
		}
		held.erase(held.begin(), held.begin() + chains);
		if (chains)
			card.put(last, chains, slots, len);
	}

	void expect_next(const void *cookie, uint32_t len)
	{
		ASSERT_FALSE(given.empty()) << "more came back than was returned";
		ASSERT_EQ((uintptr_t)cookie, given.front().first.cookie);
		ASSERT_EQ(len, given.front().second);
		given.pop_front();
	}

	void pop_one()
	{
		uint32_t len = 0;

		if (plx_virtq_ready(queue, queue->is_packed)) {
			void *cookie = plx_virtq_pop(queue, &len, true, queue->is_packed);
			expect_next(cookie, len);
		}
	}

	/*
	 * A run ends early for two reasons: no more was returned, or what comes next is no part of
	 * it. The latter is told, so that nothing that has come is left to lie. What a split ring
	 * saw of the index it takes first, before it looks again.
	 */
	void take_run()
	{
		void *cookies[64];
		uint32_t len[64];
		unsigned n, want = random() % 65;
		bool odd = false;

		while (queue->ordered && want && !HasFatalFailure()) {
			n = plx_virtq_take(
				queue, cookies, len, want, true, &odd, queue->is_packed, false);
			ASSERT_LE(n, want);
			for (unsigned i = 0; i < n && !HasFatalFailure(); i++)
				expect_next(cookies[i], len[i]);
			want -= n;
			if (odd) {
				ASSERT_FALSE(given.empty()) << "nothing is there to be odd";
				pop_one();
				continue;
			}
			if (!n) {
				ASSERT_TRUE(given.empty()) << "a completion was left to lie untold";
				return;
			}
		}
	}

	/* The device forgets all; whatever was not taken comes back from the queue. */
	void reset()
	{
		std::vector<uintptr_t> missing, found;
		unsigned cursor = 0;

		for (const Buffer &buffer : added)
			missing.push_back(buffer.cookie);
		for (const auto &buffer : held)
			missing.push_back(buffer.second.cookie);
		for (const auto &buffer : given)
			missing.push_back(buffer.first.cookie);
		while (void *cookie = plx_virtq_reclaim(queue, &cursor))
			found.push_back((uintptr_t)cookie);
		std::sort(missing.begin(), missing.end());
		std::sort(found.begin(), found.end());
		EXPECT_EQ(missing, found);
		added.clear();
		held.clear();
		given.clear();
	}

	void reopen()
	{
		reset();
		plx_virtq_disconnect(queue);
		plx_virtq_destroy(queue);
		open();
	}

	void step()
	{
		switch (random() % 9) {
		case 0:
			add_chain();
			break;
		case 1:
			post_run();
			break;
		case 2:
			plx_virtq_publish(queue, queue->is_packed);
			plx_virtq_kick(queue, queue->is_packed);
			break;
		case 3:
			card_takes();
			break;
		case 4:
			if (GetParam().in_order)
				card_returns_batch();
			else
				card_returns();
			break;
		case 5:
			pop_one();
			break;
		case 6:
			take_run();
			break;
		case 7:
			if (random() % 8 == 0)
				add_table();
			break;
		default:
			if (random() % 500 == 0)
				reopen();
		}
	}
};

TEST_P(RingModel, EveryBufferComesBackOnceOverAMillionSteps)
{
	unsigned free_at_rest;

	for (unsigned i = 0; i < 1000000 && !HasFailure(); i++) {
		step();
		ASSERT_EQ(queue->in_flight, added.size() + held.size() + given.size()) << i;
		ASSERT_EQ(queue->fault, PLX_VIRTQ_OK);
	}
	reopen();
	free_at_rest = queue->free_count;
	EXPECT_EQ(free_at_rest, queue->size);
}

INSTANTIATE_TEST_SUITE_P(Layouts, RingModel,
	::testing::Values(Variant{false, 64, 0}, Variant{false, 256, 1000}, Variant{false, 8, 3},
		Variant{true, 64, 0}, Variant{true, 256, 1000}, Variant{true, 37, 50},
		Variant{true, 7, 3}, Variant{false, 64, 0, 1}, Variant{false, 64, 0, 64},
		Variant{false, 8, 0, 5}, Variant{true, 64, 0, 1}, Variant{true, 37, 0, 37},
		Variant{true, 7, 0, 5}),
	[](const ::testing::TestParamInfo<Variant> &info) {
		return std::string(info.param.packed ? "Packed" : "Split") +
		       std::to_string(info.param.size) + "Disorder" +
		       std::to_string(info.param.disorder) +
		       (info.param.in_order ? "InOrder" + std::to_string(info.param.in_order) : "");
	});

} // namespace
