/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VHOST_FIXTURE_H
#define PLX_TESTS_VHOST_FIXTURE_H

#include "vhost_backend.h"

#include <pollux/pollux.h>

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>

/*
 * The network driver over a unix socket to the strict backend. At the end every rule that the
 * driver broke fails the test, and so does every descriptor that is still open.
 */
class VhostFixture : public ::testing::Test
{
      protected:
	char folder[32] = "/tmp/vhost_user_XXXXXX";
	std::string path;
	std::unique_ptr<VhostBackend> backend;
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_eth *eth = nullptr;
	struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config eth_config = PLX_ETH_CONFIG_INIT;
	std::vector<std::string> messages;
	bool breaches_allowed = false;
	size_t descriptors = 0;

	static size_t open_descriptors()
	{
		DIR *dir = opendir("/proc/self/fd");
		size_t count = 0;

		while (readdir(dir))
			count++;
		closedir(dir);
		return count;
	}

	void SetUp() override
	{
		struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;

		descriptors = open_descriptors();
		ASSERT_NE(mkdtemp(folder), nullptr);
		path = std::string(folder) + "/socket";
		backend = std::make_unique<VhostBackend>(path);
		config.page_size = 4096;
		config.address_space = UINT64_C(1) << 30;
		config.log_arg = &messages;
		config.log = [](void *arg, enum plx_log_level, const char *message) {
			static_cast<std::vector<std::string> *>(arg)->push_back(message);
		};
		ASSERT_EQ(plx_context_create(&config, &ctx), 0) << plx_error();
		pool_config.count = 1024;
		eth_config.rx_ring = eth_config.tx_ring = 64;
	}

	void TearDown() override
	{
		close();
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
		forget_backend();
		unlink(path.c_str());
		EXPECT_EQ(rmdir(folder), 0) << "files are left in " << folder;
		EXPECT_EQ(open_descriptors(), descriptors) << "a descriptor is still open";
	}

	/* The backend ends; what it saw counts. */
	void forget_backend()
	{
		backend->stop();
		if (!breaches_allowed) {
			for (const std::string &breach : backend->breaches())
				ADD_FAILURE() << "the front end broke a rule: " << breach;
		}
	}

	void new_backend()
	{
		auto next = std::make_unique<VhostBackend>(path);

		next->features = backend->features;
		next->protocol = backend->protocol;
		next->pairs = backend->pairs;
		next->client = backend->client;
		forget_backend();
		backend = std::move(next);
		backend->start();
	}

	int try_open(const std::string &options = "")
	{
		int err = plx_eth_open(ctx, ("vhost-user:" + path + options).c_str(), &eth);

		if (err)
			eth = nullptr;
		return err;
	}

	int try_configure()
	{
		if (!pool) {
			EXPECT_EQ(plx_pool_create(ctx, &pool_config, &pool), 0) << plx_error();
		}
		eth_config.pool = pool;
		return plx_eth_configure(eth, &eth_config);
	}

	void start(const std::string &options = "")
	{
		backend->start();
		ASSERT_EQ(try_open(options), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	void close()
	{
		plx_eth_close(eth);
		eth = nullptr;
	}

	static void expect_error(const char *words)
	{
		EXPECT_THAT(plx_error(), ::testing::HasSubstr(words));
	}

	void expect_all_back()
	{
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
	}

	/* --- frames --- */

	static uint8_t byte_of(unsigned number, size_t at)
	{
		return (uint8_t)(number * 131 + at * 7 + (at >> 8));
	}

	/* A frame of @len bytes, over as many packets as it takes. */
	struct plx_packet *build(unsigned number, size_t len)
	{
		size_t piece = (pool_config.data_size ? pool_config.data_size : 2048) / 2;
		struct plx_pool_cache *cache;
		struct plx_packet *first = nullptr, **link = &first;
		uint16_t segments = 0;

		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0);
		for (size_t at = 0; at < len; at += piece, segments++) {
			struct plx_packet *packet = nullptr;

			EXPECT_EQ(plx_pool_get(cache, &packet, 1), 1u);
			plx_packet_prepare(packet, 128);
			packet->data_len = (uint16_t)std::min(piece, len - at);
			for (size_t i = 0; i < packet->data_len; i++)
				plx_packet_data(packet)[i] = byte_of(number, at + i);
			*link = packet;
			link = &packet->next;
		}
		first->len = (uint32_t)len;
		first->segments = segments;
		plx_pool_cache_destroy(cache);
		return first;
	}

	static void check(const struct plx_packet *packet, unsigned number, size_t len)
	{
		size_t at = 0;

		ASSERT_EQ(packet->len, len);
		for (unsigned left = packet->segments; left; left--, packet = packet->next)
			for (size_t i = 0; i < packet->data_len; i++, at++)
				ASSERT_EQ(plx_packet_data(packet)[i], byte_of(number, at))
					<< "byte " << at << " of frame " << number;
		ASSERT_EQ(at, len);
	}

	static size_t length_of(unsigned number)
	{
		return 60 + number * 37 % 1440;
	}

	/* Send numbered frames through the backend and back, in order and whole. */
	void pass(unsigned count, unsigned queue = 0, size_t len = 0)
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		/* The backend drops what it has no buffer for. */
		unsigned window = std::min(16u, std::max(1u, eth_config.rx_ring / 2u));
		unsigned sent = 0, received = 0;

		while (received < count && std::chrono::steady_clock::now() < deadline) {
			struct plx_packet *packets[32];

			if (sent < count && sent - received < window) {
				packets[0] = build(sent, len ? len : length_of(sent));
				int taken = plx_eth_tx_burst(plx_eth_txq(eth, queue), packets, 1);
				ASSERT_GE(taken, 0) << plx_error();
				if (!taken)
					plx_packet_free(packets[0]);
				sent += (unsigned)taken;
			}
			int got = plx_eth_rx_burst(plx_eth_rxq(eth, queue), packets, 32);
			ASSERT_GE(got, 0) << plx_error();
			for (int i = 0; i < got; i++, received++) {
				check(packets[i], received, len ? len : length_of(received));
				plx_packet_free(packets[i]);
			}
			if (!got)
				std::this_thread::yield();
		}
		ASSERT_EQ(received, count)
			<< sent << " were sent, the backend moved " << backend->frames;
	}

	/* Poll until a burst says that the device is gone. */
	int poll_until_error()
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		struct plx_packet *packet;
		int got = 0;

		while (got >= 0 && std::chrono::steady_clock::now() < deadline) {
			got = plx_eth_rx_burst(plx_eth_rxq(eth, 0), &packet, 1);
			if (got > 0)
				plx_packet_free(packet);
		}
		return got;
	}
};

#endif
