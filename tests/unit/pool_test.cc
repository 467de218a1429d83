/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <thread>

namespace
{

using Packets = std::vector<plx_packet *>;

constexpr uint32_t kHalf = PLX_POOL_CACHE_SIZE / 2;

class PoolTest : public MemTest
{
      protected:
	plx_pool *pool = nullptr;

	void SetUp() override
	{
		create(GiB);
	}

	void TearDown() override
	{
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		MemTest::TearDown();
	}

	void make(uint32_t count = 4096, uint16_t headroom = 128, uint16_t data_size = 2048)
	{
		plx_pool_config config = {sizeof(config), count, headroom, data_size, -1};

		ASSERT_EQ(plx_pool_create_in(mem, &config, &pool), 0) << plx_error();
	}

	int make_error(uint32_t count, uint16_t headroom, uint16_t data_size, int node = -1)
	{
		plx_pool_config config = {sizeof(config), count, headroom, data_size, node};

		return plx_pool_create_in(mem, &config, &pool);
	}

	plx_pool_cache *cache()
	{
		plx_pool_cache *cache = nullptr;

		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0);
		return cache;
	}

	/* Takes packets until there are none. */
	static Packets drain(plx_pool_cache *cache, uint32_t burst = 32)
	{
		Packets all, some(burst);

		while (plx_pool_get(cache, some.data(), burst))
			all.insert(all.end(), some.begin(), some.end());
		while (plx_pool_get(cache, some.data(), 1))
			all.push_back(some[0]);
		return all;
	}

	static void give(const Packets &packets)
	{
		plx_pool_return(packets.data(), (uint32_t)packets.size());
	}

	void expect_each_packet_once()
	{
		plx_pool_cache *c = cache();

		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
		Packets all = drain(c);
		EXPECT_EQ(std::set<plx_packet *>(all.begin(), all.end()).size(),
			plx_pool_count(pool));
		EXPECT_TRUE(log.messages.empty());
		give(all);
		plx_pool_cache_destroy(c);
	}
};

TEST_F(PoolTest, DescribesItself)
{
	make(1000, 256, 1024);
	EXPECT_EQ(plx_pool_count(pool), 1000u);
	EXPECT_EQ(plx_pool_available(pool), 1000u);
	EXPECT_EQ(plx_pool_headroom(pool), 256);
	EXPECT_EQ(plx_pool_data_size(pool), 1024);
	EXPECT_EQ(plx_pool_memory(pool), mem);
}

TEST_F(PoolTest, RejectsConfigurationsThatCannotBe)
{
	EXPECT_EQ(make_error(0, 128, 2048), -EINVAL);
	EXPECT_EQ(make_error(16, 1025, 2048), -EINVAL);
	EXPECT_EQ(make_error(16, 128, 63), -EINVAL);
	EXPECT_EQ(make_error(16, 1, UINT16_MAX), -EINVAL);
	EXPECT_EQ(make_error(16, 128, 2048, -2), -EINVAL);
	EXPECT_EQ(make_error(16, 128, 2048, 4095), -EINVAL);
	EXPECT_EQ(make_error(1000000, 128, 2048), -ENOMEM);
	EXPECT_TRUE(error_says("address_space")) << plx_error();
	EXPECT_EQ(pool, nullptr);
	EXPECT_EQ(usage().used, 0u);
}

TEST_F(PoolTest, TakesTheExtremes)
{
	const struct {
		uint16_t headroom, data_size;
	} extremes[] = {{0, 64}, {1024, 64}, {0, UINT16_MAX}, {1024, UINT16_MAX - 1024}};

	for (const auto &each : extremes) {
		make(3, each.headroom, each.data_size);
		plx_pool_cache *c = cache();
		Packets packets = drain(c);
		ASSERT_EQ(packets.size(), 3u);
		for (plx_packet *packet : packets) {
			ASSERT_EQ(packet->buf_len, each.headroom + each.data_size);
			memset(plx_packet_buffer(packet), 0xff, packet->buf_len);
		}
		for (plx_packet *packet : packets)
			ASSERT_EQ(packet->pool, pool); /* nobody wrote over a neighbour */
		give(packets);
		plx_pool_cache_destroy(c);
		ASSERT_EQ(plx_pool_destroy(pool), 0);
		pool = nullptr;
	}
}

TEST_F(PoolTest, BuffersLieAnOddNumberOfCacheLinesApart)
{
	for (uint16_t data_size : {64, 100, 1518, 1920, 2048, 4096, 9000}) {
		make(64, 128, data_size);
		plx_pool_cache *c = cache();
		Packets packets = drain(c);
		std::set<uint8_t *> sorted;
		for (plx_packet *packet : packets)
			sorted.insert(plx_packet_buffer(packet));
		ASSERT_EQ(sorted.size(), 64u);
		for (auto a = sorted.begin(), b = std::next(a); b != sorted.end(); ++a, ++b) {
			size_t stride = (uintptr_t)*b - (uintptr_t)*a;

			ASSERT_EQ(stride % PLX_CACHE_LINE, 0u);
			ASSERT_EQ(stride / PLX_CACHE_LINE % 2, 1u);
			ASSERT_GE(stride, 128u + data_size);
			ASSERT_LT(stride, 128u + data_size + 2 * PLX_CACHE_LINE);
		}
		give(packets);
		plx_pool_cache_destroy(c);
		ASSERT_EQ(plx_pool_destroy(pool), 0);
		pool = nullptr;
	}
}

/* A device may write all over the buffers; nobody follows a pointer from there. */
TEST_F(PoolTest, WhatDescribesAPacketLiesOutOfTheDevicesReach)
{
	make(64);
	plx_pool_cache *c = cache();
	Packets packets = drain(c);
	auto *low = packets[0]->buffer, *high = packets[0]->buffer;

	for (plx_packet *packet : packets) {
		low = std::min(low, packet->buffer);
		high = std::max(high, packet->buffer + packet->buf_len);
	}
	for (plx_packet *packet : packets) {
		auto *at = (uint8_t *)packet;
		ASSERT_TRUE(at + sizeof(*packet) <= low || at >= high);
	}
	memset(low, 0xff, (size_t)(high - low));
	give(packets);
	plx_pool_cache_destroy(c);
}

TEST_F(PoolTest, PacketsKnowTheirAddressesAndComeEmpty)
{
	make(500);
	plx_pool_cache *c = cache();
	Packets packets = drain(c);
	ASSERT_EQ(packets.size(), 500u);
	for (plx_packet *packet : packets) {
		EXPECT_EQ((uintptr_t)packet % PLX_CACHE_LINE, 0u);
		EXPECT_EQ(packet->pool, pool);
		EXPECT_EQ(packet->iova, plx_mem_iova(mem, plx_packet_buffer(packet)));
		EXPECT_EQ(plx_packet_data_iova(packet), plx_mem_iova(mem, plx_packet_data(packet)));
		EXPECT_EQ(plx_packet_headroom(packet), 128);
		EXPECT_EQ(plx_packet_tailroom(packet), 2048);
		EXPECT_EQ(packet->len, 0u);
		EXPECT_EQ(packet->segments, 1);
		EXPECT_EQ(packet->next, nullptr);
	}
	give(packets);
	plx_pool_cache_destroy(c);
}

TEST_F(PoolTest, ExhaustionGivesNothingAndLosesNothing)
{
	Packets some(64);

	make(100);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, some.data(), 64), 64u);
	Packets untouched(64, nullptr);
	EXPECT_EQ(plx_pool_get(c, untouched.data(), 64), 0u); /* 36 are left: all or none */
	EXPECT_EQ(untouched, Packets(64, nullptr));
	EXPECT_EQ(plx_pool_get(c, untouched.data(), 36), 36u);
	EXPECT_EQ(plx_pool_get(c, untouched.data(), 1), 0u);
	untouched.resize(36);
	plx_pool_put(c, some.data(), 64);
	plx_pool_put(c, untouched.data(), 36);
	plx_pool_cache_destroy(c);
	EXPECT_EQ(plx_pool_available(pool), 100u);
}

TEST_F(PoolTest, ACacheMeetsTheDepotHalfACacheAtATime)
{
	Packets packets(2 * PLX_POOL_CACHE_SIZE);

	make(4096);
	plx_pool_cache *c = cache();
	EXPECT_EQ(plx_pool_available(pool), 4096u);
	ASSERT_EQ(plx_pool_get(c, packets.data(), 1), 1u);
	EXPECT_EQ(plx_pool_available(pool), 4096 - kHalf);
	for (uint32_t i = 1; i < kHalf; i++)
		ASSERT_EQ(plx_pool_get(c, &packets[i], 1), 1u);
	EXPECT_EQ(plx_pool_available(pool), 4096 - kHalf);
	ASSERT_EQ(plx_pool_get(c, &packets[kHalf], kHalf), kHalf);
	EXPECT_EQ(plx_pool_available(pool), 4096 - 2 * kHalf);

	plx_pool_put(c, packets.data(), kHalf);
	plx_pool_put(c, &packets[kHalf], kHalf - 1);
	EXPECT_EQ(c->count, PLX_POOL_CACHE_SIZE - 1u);
	EXPECT_EQ(plx_pool_available(pool), 4096 - 2 * kHalf);
	plx_pool_put(c, &packets[2 * kHalf - 1], 1);
	EXPECT_EQ(c->count, (uint32_t)PLX_POOL_CACHE_SIZE);
	plx_pool_cache_destroy(c);
}

TEST_F(PoolTest, AFullCacheReturnsItsOldest)
{
	Packets packets(PLX_POOL_CACHE_SIZE + 2), warm(kHalf);

	make(2048);
	plx_pool_cache *c = cache(), *source = cache();
	for (size_t i = 0; i < packets.size(); i += 2)
		ASSERT_EQ(plx_pool_get(source, &packets[i], 2), 2u);
	for (size_t i = 0; i < packets.size(); i += 2)
		plx_pool_put(c, &packets[i], 2);
	EXPECT_EQ(c->count, kHalf + 2);
	ASSERT_EQ(plx_pool_get(c, warm.data(), kHalf), kHalf);
	EXPECT_EQ(warm, Packets(packets.end() - kHalf, packets.end()));
	plx_pool_put(c, warm.data(), kHalf);
	plx_pool_cache_destroy(c);
	plx_pool_cache_destroy(source);
}

TEST_F(PoolTest, FillTakesWhatThereIs)
{
	make(10);
	plx_pool_cache *c = cache();
	EXPECT_EQ(plx_pool_cache_fill(c, 0), 0u);
	EXPECT_EQ(plx_pool_cache_fill(c, 100), 10u);
	EXPECT_EQ(plx_pool_cache_fill(c, 5), 10u);
	EXPECT_EQ(plx_pool_available(pool), 0u);
	plx_pool_cache_spill(c, 5); /* there is room already */
	EXPECT_EQ(c->count, 10u);
	plx_pool_cache_destroy(c);
	EXPECT_EQ(plx_pool_available(pool), 10u);
}

TEST_F(PoolTest, FillNeverOverflowsACache)
{
	make(4096);
	plx_pool_cache *c = cache();
	EXPECT_EQ(plx_pool_cache_fill(c, 10 * PLX_POOL_CACHE_SIZE), (uint32_t)PLX_POOL_CACHE_SIZE);
	EXPECT_EQ(plx_pool_cache_fill(c, 10 * PLX_POOL_CACHE_SIZE), (uint32_t)PLX_POOL_CACHE_SIZE);
	plx_pool_cache_destroy(c);
	EXPECT_EQ(plx_pool_available(pool), 4096u);
}

TEST_F(PoolTest, DestroyRefusesWhilePacketsOrCachesAreOut)
{
	plx_packet *packet = nullptr;

	make(300);
	plx_pool_cache *c = cache();
	EXPECT_EQ(plx_pool_destroy(pool), -EBUSY);
	ASSERT_EQ(plx_pool_get(c, &packet, 1), 1u);
	plx_pool_cache_destroy(c);
	EXPECT_EQ(plx_pool_destroy(pool), -EBUSY);
	EXPECT_TRUE(error_says("1 of its 300")) << plx_error();
	plx_packet_free(packet);
	EXPECT_EQ(plx_pool_available(pool), 300u);
}

TEST_F(PoolTest, ReturnSortsPacketsToTheirPools)
{
	plx_pool *other = nullptr;
	Packets mine(40), theirs(40), mixed;

	make(64);
	plx_pool_config config = PLX_POOL_CONFIG_INIT;
	config.count = 64;
	ASSERT_EQ(plx_pool_create_in(mem, &config, &other), 0);
	plx_pool_cache *a = cache(), *b = nullptr;
	ASSERT_EQ(plx_pool_cache_create(other, &b), 0);
	ASSERT_EQ(plx_pool_get(a, mine.data(), 40), 40u);
	ASSERT_EQ(plx_pool_get(b, theirs.data(), 40), 40u);
	plx_pool_cache_destroy(a);
	plx_pool_cache_destroy(b);
	for (size_t i = 0; i < 40; i++) {
		mixed.push_back(i % 3 ? mine[i] : theirs[i]);
		mixed.push_back(i % 3 ? theirs[i] : mine[i]);
	}
	give(mixed);
	give({});
	EXPECT_EQ(plx_pool_available(pool), 64u);
	EXPECT_EQ(plx_pool_available(other), 64u);
	EXPECT_EQ(plx_pool_destroy(other), 0);
}

/* Links @packets to one frame. */
plx_packet *chain(const Packets &packets)
{
	for (size_t i = 0; i < packets.size(); i++) {
		plx_packet_prepare(packets[i], 0);
		packets[i]->next = i + 1 < packets.size() ? packets[i + 1] : nullptr;
	}
	packets[0]->segments = (uint16_t)packets.size();
	return packets[0];
}

TEST_F(PoolTest, FreeGivesEverySegmentBackOnce)
{
	make(256);
	plx_packet_free(nullptr);
	for (uint32_t segments : {1u, 2u, 31u, 32u, 33u, 64u, 200u}) {
		plx_pool_cache *c = cache();
		Packets packets(segments);
		ASSERT_EQ(plx_pool_get(c, packets.data(), segments), segments);
		plx_pool_cache_destroy(c);
		plx_packet_free(chain(packets));
		EXPECT_EQ(plx_pool_available(pool), 256u);
		for (plx_packet *packet : packets) /* a later free must not find the old links */
			EXPECT_TRUE(!packet->next && packet->segments == 1);
	}
}

TEST_F(PoolTest, FreeDoesNotFollowALinkPastTheFrame)
{
	Packets packets(3);

	make(16);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, packets.data(), 3), 3u);
	plx_pool_cache_destroy(c);
	chain(packets)->segments = 2;
	plx_packet_free(packets[0]);
	EXPECT_EQ(plx_pool_available(pool), 15u);
	packets[2]->segments = 9; /* but there are no links */
	plx_packet_free(packets[2]);
	EXPECT_EQ(plx_pool_available(pool), 16u);
}

TEST_F(PoolTest, FreeEndsWhenLinksMakeARing)
{
	Packets packets(2);

	make(16);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, packets.data(), 2), 2u);
	plx_pool_cache_destroy(c);
	chain(packets);
	packets[1]->next = packets[0];
	plx_packet_free(packets[0]);
	EXPECT_EQ(plx_pool_available(pool), 16u);
}

TEST_F(PoolTest, WhatComesBackTwiceIsDroppedAndLoggedOnce)
{
	Packets packets(8);

	make(8);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, packets.data(), 8), 8u);
	plx_pool_cache_destroy(c);
	give(packets);
	for (int i = 0; i < 10; i++)
		give(packets);
	EXPECT_EQ(plx_pool_available(pool), 8u);
	EXPECT_EQ(log.messages.size(), 1u);
}

#ifdef PLX_DEBUG
TEST_F(PoolTest, DebugBuildsFindADuplicateWhileOthersAreOut)
{
	Packets packets(8);

	make(8);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, packets.data(), 8), 8u);
	plx_pool_cache_destroy(c);
	give({packets[0], packets[0]});
	EXPECT_EQ(plx_pool_available(pool), 1u);
	EXPECT_EQ(log.messages.size(), 1u);
	give(packets);
	EXPECT_EQ(plx_pool_available(pool), 8u);
}

TEST_F(PoolTest, DebugBuildsFindAPacketThatIsNoneOfThePools)
{
	Packets packets(1);

	make(8);
	plx_pool_cache *c = cache();
	ASSERT_EQ(plx_pool_get(c, packets.data(), 1), 1u);
	alignas(64) plx_packet stranger = *packets[0];
	plx_packet *strangers[] = {&stranger};
	plx_pool_put(c, strangers, 1);
	plx_pool_cache_destroy(c);
	EXPECT_EQ(plx_pool_available(pool), 7u);
	EXPECT_EQ(log.messages.size(), 1u);
	give(packets);
}
#endif

/* Two threads, each with a cache; a packet carries a mark while somebody has it. */
TEST_F(PoolTest, APacketIsNeverInTwoHands)
{
	constexpr uint32_t count = 700; /* scarce: each cache alone could hold most of it */
	std::atomic<unsigned> taken_twice{0}, rounds{0};

	make(count);
	auto work = [&](unsigned seed) {
		std::mt19937 random(seed);
		plx_pool_cache *c = cache();
		Packets held;

		for (int i = 0; i < 30000; i++) {
			uint32_t burst = 1 + random() % kHalf; /* the depot sees a lot */
			Packets some(burst);

			if (random() % 2 && plx_pool_get(c, some.data(), burst)) {
				for (plx_packet *packet : some)
					if (__atomic_exchange_n(&packet->user, 1, __ATOMIC_RELAXED))
						taken_twice++;
				held.insert(held.end(), some.begin(), some.end());
				rounds++;
			} else if (held.size() >= burst) {
				some.assign(held.end() - burst, held.end());
				held.resize(held.size() - burst);
				for (plx_packet *packet : some)
					__atomic_store_n(&packet->user, 0, __ATOMIC_RELAXED);
				if (random() % 8)
					plx_pool_put(c, some.data(), burst);
				else
					give(some);
			}
		}
		for (plx_packet *packet : held)
			packet->user = 0;
		give(held);
		plx_pool_cache_destroy(c);
	};
	std::thread one(work, 1), two(work, 2);
	one.join();
	two.join();
	EXPECT_EQ(taken_twice, 0u);
	EXPECT_GT(rounds, 1000u);
	expect_each_packet_once();
}

/* Nothing but the depot, so that the threads meet there. */
TEST_F(PoolTest, TheDepotServesManyThreadsAtOnce)
{
	constexpr uint32_t count = 1500;

	make(count);
	auto work = [this] {
		plx_pool_cache *c = cache();

		for (int i = 0; i < 100000; i++) {
			plx_pool_cache_fill(c, PLX_POOL_CACHE_SIZE);
			plx_pool_cache_spill(c, PLX_POOL_CACHE_SIZE);
		}
		plx_pool_cache_destroy(c);
	};
	std::thread one(work), two(work);
	one.join();
	two.join();
	expect_each_packet_once();
}

/* One thread takes, another gives back, as a forwarder with a queue on each core does. */
TEST_F(PoolTest, PacketsFlowFromOneCacheToAnother)
{
	constexpr uint32_t burst = 32, total = 3000;
	Packets ring(16 * burst);
	std::atomic<uint32_t> head{0}, tail{0};

	make(2048);
	std::thread consumer([&] {
		plx_pool_cache *c = cache();

		for (uint32_t done = 0; done < total; done++) {
			while (head.load(std::memory_order_acquire) == done)
				std::this_thread::yield();
			plx_pool_put(c, &ring[done % 16 * burst], burst);
			tail.store(done + 1, std::memory_order_release);
		}
		plx_pool_cache_destroy(c);
	});
	plx_pool_cache *c = cache();
	for (uint32_t done = 0; done < total; done++) {
		while (done - tail.load(std::memory_order_acquire) == 16)
			std::this_thread::yield();
		while (!plx_pool_get(c, &ring[done % 16 * burst], burst))
			std::this_thread::yield();
		head.store(done + 1, std::memory_order_release);
	}
	consumer.join();
	plx_pool_cache_destroy(c);
	expect_each_packet_once();
}

} // namespace
