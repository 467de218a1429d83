/* SPDX-License-Identifier: BSD-3-Clause */
#include "testpmd.h"

#include "../vm/frame.h"

#include <pollux/pollux.h>

#include <gmock/gmock.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

/*
 * Pollux as the front end of DPDK's vhost library: numbered frames with a checksum go there and
 * come back, every one, in order and unchanged.
 */

namespace
{

using Clock = std::chrono::steady_clock;

/* One open device, and the frames through it. */
class Port
{
      public:
	explicit Port(uint16_t data_size = 0, uint32_t packets = 4096)
	{
		struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;
		struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;

		config.page_size = 4096;
		EXPECT_EQ(plx_context_create(&config, &ctx), 0) << plx_error();
		pool_config.count = packets;
		if (data_size)
			pool_config.data_size = data_size;
		EXPECT_EQ(plx_pool_create(ctx, &pool_config, &pool), 0) << plx_error();
		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0) << plx_error();
	}

	~Port()
	{
		plx_eth_close(eth);
		plx_pool_cache_destroy(cache);
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool)) << "packets are lost";
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
	}

	void open(const std::string &address, uint16_t ring, uint16_t pairs = 1)
	{
		struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

		config.pool = pool;
		config.rx_ring = config.tx_ring = ring;
		config.queue_pairs = pairs;
		window = std::min(64u, ring / 2u);
		ASSERT_EQ(plx_eth_open(ctx, address.c_str(), &eth), 0) << plx_error();
		ASSERT_EQ(plx_eth_configure(eth, &config), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	int stop()
	{
		return plx_eth_stop(eth);
	}
	int restart()
	{
		return plx_eth_start(eth);
	}

	bool all_back() const
	{
		plx_pool_cache_destroy(cache);
		bool all = plx_pool_available(pool) == plx_pool_count(pool);
		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0) << plx_error();
		return all;
	}

	struct plx_eth_info info() const
	{
		struct plx_eth_info info;

		plx_eth_get_info(eth, &info);
		return info;
	}

	/* A share of the queues for each thread, which passes frames on one after the other. */
	void pass_in_threads(uint32_t count, unsigned pairs, unsigned threads)
	{
		std::vector<std::thread> all;

		for (unsigned thread = 0; thread < threads; thread++)
			all.emplace_back([this, count, pairs, threads, thread] {
				struct plx_pool_cache *own;

				ASSERT_EQ(plx_pool_cache_create(pool, &own), 0) << plx_error();
				for (unsigned queue = thread; queue < pairs; queue += threads)
					pass_by(own, 100 + queue, count, queue);
				plx_pool_cache_destroy(own);
			});
		for (std::thread &thread : all)
			thread.join();
	}

	/* Send @count frames of every size and take them back, on one pair of queues. */
	void pass(uint32_t count, unsigned queue = 0)
	{
		run++;
		pass_by(cache, run, count, queue);
	}

	/* Send and receive until a burst fails. Return: its error; 0 when none did. */
	int pass_until_error(double seconds = 60)
	{
		auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
		uint32_t sent = 0;
		int moved = 0;

		run++;
		while (moved >= 0 && Clock::now() < deadline) {
			moved = send(cache, run, 0, sent, std::min(window, 32u));
			sent += moved > 0 ? (uint32_t)moved : 0;
			if (moved < 0)
				break;
			moved = receive(run, 0, UINT32_MAX);
		}
		return moved < 0 ? moved : 0;
	}

      private:
	void pass_by(struct plx_pool_cache *own, uint32_t mark, uint32_t count, unsigned queue)
	{
		uint32_t sent = 0, received = 0;
		auto deadline = Clock::now() + std::chrono::seconds(120);

		while (received < count && Clock::now() < deadline) {
			int moved = send(own, mark, queue, sent,
				std::min(count - sent, window - (sent - received)));
			ASSERT_GE(moved, 0) << plx_error();
			sent += (uint32_t)moved;
			moved = receive(mark, queue, received);
			ASSERT_GE(moved, 0) << plx_error();
			received += (uint32_t)moved;
			if (!moved)
				std::this_thread::yield();
		}
		ASSERT_EQ(received, count) << "of " << sent;
	}

	struct plx_packet *build(struct plx_pool_cache *own, uint32_t mark, uint32_t number)
	{
		struct frame_label label = {mark, number, frame_size_of(number), 0, false};
		uint8_t frame[FRAME_MAX];
		struct plx_packet *first = nullptr, **link = &first;
		size_t piece = plx_pool_data_size(pool) - 0u;

		frame_build(frame, &label);
		for (size_t at = 0; at < label.size;) {
			struct plx_packet *packet;

			if (!plx_pool_get(own, &packet, 1)) {
				plx_packet_free(first);
				return nullptr;
			}
			plx_packet_prepare(packet, at ? 0 : 64);
			packet->data_len = (uint16_t)std::min<size_t>(piece - 64, label.size - at);
			std::copy(
				frame + at, frame + at + packet->data_len, plx_packet_data(packet));
			at += packet->data_len;
			*link = packet;
			link = &packet->next;
			first->segments += packet != first;
		}
		first->len = label.size;
		return first;
	}

	int send(struct plx_pool_cache *own, uint32_t mark, unsigned queue, uint32_t number,
		uint32_t count)
	{
		struct plx_packet *packets[64];
		uint32_t built = 0;

		while (built < count && built < 64) {
			packets[built] = build(own, mark, number + built);
			if (!packets[built])
				break;
			built++;
		}
		if (!built)
			return 0;
		int taken = plx_eth_tx_burst(plx_eth_txq(eth, queue), packets, built);
		for (uint32_t i = taken < 0 ? 0 : (uint32_t)taken; i < built; i++)
			plx_packet_free(packets[i]);
		return taken;
	}

	/* UINT32_MAX: any number will do */
	int receive(uint32_t mark, unsigned queue, uint32_t number)
	{
		struct plx_packet *packets[32];
		int got = plx_eth_rx_burst(plx_eth_rxq(eth, queue), packets, 32);

		for (int i = 0; i < got; i++) {
			uint8_t frame[FRAME_MAX];
			struct frame_label label = {};
			uint32_t len = packets[i]->len, at = 0;
			const struct plx_packet *part = packets[i];

			EXPECT_LE(len, sizeof(frame));
			for (unsigned left = part->segments; left && len <= sizeof(frame); left--) {
				std::copy(plx_packet_data(part),
					plx_packet_data(part) + part->data_len, frame + at);
				at += part->data_len;
				part = part->next;
			}
			EXPECT_EQ(frame_read(frame, at, &label), FRAME_GOOD);
			if (number != UINT32_MAX) {
				EXPECT_EQ(label.run, mark);
				EXPECT_EQ(label.number, number + (uint32_t)i);
			}
			plx_packet_free(packets[i]);
		}
		return got;
	}

	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	mutable struct plx_pool_cache *cache = nullptr;
	struct plx_eth *eth = nullptr;
	uint32_t window = 0;
	uint32_t run = 0;
};

/* An ASSERT in a helper ends the test, and not the helper alone. */
class EndsTest : public ::testing::EmptyTestEventListener
{
	void OnTestPartResult(const ::testing::TestPartResult &result) override
	{
		if (result.type() == ::testing::TestPartResult::kFatalFailure)
			throw ::testing::AssertionException(result);
	}
};

class Peer : public ::testing::Test
{
      protected:
	char folder[32] = "/tmp/pollux_peer_XXXXXX";
	std::string path;
	std::unique_ptr<Testpmd> testpmd;

	static void SetUpTestSuite()
	{
		::testing::UnitTest::GetInstance()->listeners().Append(new EndsTest);
	}

	void SetUp() override
	{
		ASSERT_NE(mkdtemp(folder), nullptr);
		path = std::string(folder) + "/socket";
	}

	void TearDown() override
	{
		if (HasFailure() && testpmd)
			std::fprintf(stderr, "%s\n", testpmd->said().c_str());
		testpmd.reset();
		rmdir(folder);
	}

	void start(const std::string &arguments = "", unsigned queues = 1)
	{
		testpmd = std::make_unique<Testpmd>(path, arguments, queues);
		testpmd->start();
	}

	std::string address(const std::string &options = "") const
	{
		return "vhost-user:" + path + ",wait=60000,timeout=10000" + options;
	}

	/* How often what takes a second or more is done; the nightly run asks for more. */
	static int rounds()
	{
		const char *text = getenv("POLLUX_PEER_ROUNDS");

		return text ? atoi(text) : 5;
	}
};

TEST_F(Peer, CarriesEveryFrameInEveryLayoutAndRingSize)
{
	struct Layout {
		const char *options;
		const char *path;
	};
	static const Layout layouts[] = {
		{"", "packed, one buffer"},
		{",packed=off", "split, one buffer"},
		{",mrg_rxbuf=on", "packed, mergeable"},
		{",packed=off,mrg_rxbuf=on", "split, mergeable"},
		{",event_idx=off", "packed, one buffer"},
		{",packed=off,event_idx=off", "split, one buffer"},
	};

	start();
	for (const Layout &layout : layouts)
		for (uint16_t ring : {64, 256, 1024}) {
			Port port;

			SCOPED_TRACE(std::string(layout.path) + layout.options + ", ring of " +
				     std::to_string(ring));
			port.open(address(layout.options), ring);
			/* Behind it stands what else was agreed on. */
			EXPECT_EQ(std::string(port.info().rx_path).rfind(layout.path, 0), 0u)
				<< port.info().rx_path;
			port.pass(5000);
			ASSERT_EQ(port.stop(), 0) << plx_error();
			EXPECT_TRUE(port.all_back());
			if (HasFatalFailure())
				return;
		}
}

TEST_F(Peer, CarriesFramesThatTakeSeveralBuffers)
{
	start();
	for (const char *options : {",mrg_rxbuf=on", ",packed=off,mrg_rxbuf=on"}) {
		Port port(512);

		SCOPED_TRACE(options);
		port.open(address(options), 256);
		port.pass(5000);
	}
}

TEST_F(Peer, CarriesFramesOnEveryQueueOfMany)
{
	for (unsigned pairs : {2, 4, 16})
		for (const char *options : {"", ",packed=off"}) {
			/* Each queue has a cache of its own. */
			Port port(0, 1024 * (pairs + 2));

			SCOPED_TRACE(std::to_string(pairs) + " queue pairs" + options);
			start("", pairs);
			port.open(address(options), 64, (uint16_t)pairs);
			ASSERT_EQ(port.info().queue_pairs, pairs);
			port.pass_in_threads(2000, pairs, 2);
			ASSERT_EQ(port.stop(), 0) << plx_error();
			EXPECT_TRUE(port.all_back());
			if (HasFailure())
				return;
		}
}

TEST_F(Peer, StopsAndStartsOverOneConnection)
{
	Port port;

	start();
	port.open(address(), 256);
	for (int life = 0; life < 10; life++) {
		port.pass(1000);
		ASSERT_EQ(port.stop(), 0) << plx_error();
		EXPECT_TRUE(port.all_back());
		ASSERT_EQ(port.restart(), 0) << plx_error();
	}
}

TEST_F(Peer, ListensForABackendThatIsTheClient)
{
	Port port;

	start(",client=1");
	port.open(address(",server=on"), 256);
	port.pass(5000);
}

TEST_F(Peer, LosesNoBufferWhenTheBackendIsKilledUnderLoad)
{
	for (const char *options : {"", ",packed=off"}) {
		Port port;

		start();
		port.open(address(options), 256);
		for (int round = 0; round < rounds(); round++) {
			SCOPED_TRACE("round " + std::to_string(round));
			port.pass(500);
			std::thread killer([this] {
				std::this_thread::sleep_for(std::chrono::milliseconds(20));
				testpmd->end(SIGKILL);
			});
			EXPECT_EQ(port.pass_until_error(), -ENODEV);
			killer.join();
			ASSERT_EQ(port.stop(), 0) << plx_error();
			EXPECT_TRUE(port.all_back());
			testpmd->start();
			ASSERT_EQ(port.restart(), 0) << plx_error();
		}
		port.pass(500);
	}
}

TEST_F(Peer, ComesBackAsServerWhenTheBackendIsKilled)
{
	Port port;

	start(",client=1");
	port.open(address(",server=on"), 256);
	for (int round = 0; round < rounds(); round++) {
		port.pass(500);
		testpmd->end(SIGKILL);
		EXPECT_EQ(port.pass_until_error(), -ENODEV);
		ASSERT_EQ(port.stop(), 0) << plx_error();
		EXPECT_TRUE(port.all_back());
		testpmd->start();
		ASSERT_EQ(port.restart(), 0) << plx_error();
	}
}

TEST_F(Peer, FindsTheBackendReadyAfterPolluxWasKilledUnderLoad)
{
	start();
	for (int round = 0; round < rounds(); round++) {
		SCOPED_TRACE("round " + std::to_string(round));
		int ready[2];
		char byte;
		ASSERT_EQ(pipe(ready), 0);
		pid_t child = fork();
		if (!child) {
			Port port;

			port.open(address(round % 2 ? ",packed=off" : ""), 256);
			port.pass(200);
			(void)!write(ready[1], "", 1);
			port.pass_until_error();
			_exit(0);
		}
		::close(ready[1]);
		/* End of file if the child did not get that far. */
		EXPECT_EQ(read(ready[0], &byte, 1), 1);
		::close(ready[0]);
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
		kill(child, SIGKILL);
		waitpid(child, nullptr, 0);
		Port port;
		port.open(address(), 256);
		port.pass(1000);
	}
}

TEST_F(Peer, SaysWhatTheBackendDoesNotOffer)
{
	Port port;
	struct plx_context *ctx;
	struct plx_eth *eth;
	struct plx_pool *pool;
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

	start();
	ASSERT_EQ(plx_context_create(nullptr, &ctx), 0);
	ASSERT_EQ(plx_pool_create(ctx, nullptr, &pool), 0) << plx_error();
	config.pool = pool;
	ASSERT_EQ(plx_eth_open(ctx, address(",ring_reset=on").c_str(), &eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_configure(eth, &config), -ENOTSUP);
	EXPECT_THAT(plx_error(), ::testing::HasSubstr("ring_reset=on cannot be had"));
	plx_eth_close(eth);
	EXPECT_EQ(plx_pool_destroy(pool), 0);
	EXPECT_EQ(plx_context_destroy(ctx), 0);
}

} // namespace
