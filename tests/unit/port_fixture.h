/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_PORT_FIXTURE_H
#define PLX_TESTS_PORT_FIXTURE_H

#include "../count.h"

#include <pollux/pollux.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

/*
 * A port in a test's hands, in a context of its own that notes what it says; nothing of either is
 * left at the end. Which device it is says who derives from this.
 */
class PortFixture : public ::testing::Test
{
      protected:
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_eth *eth = nullptr;
	struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config eth_config = PLX_ETH_CONFIG_INIT;
	std::vector<std::string> messages;

	/* Return: as plx_eth_open(). */
	virtual int open_port(const std::string &options) = 0;

	void SetUp() override
	{
		struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;

		config.page_size = 4096;
		config.address_space = UINT64_C(1) << 30;
		config.log_arg = &messages;
		config.log = [](void *arg, enum plx_log_level, const char *message) {
			static_cast<std::vector<std::string> *>(arg)->push_back(message);
		};
		ASSERT_EQ(plx_context_create(&config, &ctx), 0) << plx_error();
	}

	void TearDown() override
	{
		close();
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
	}

	/* --- the port's life --- */

	int try_open(const std::string &options = "")
	{
		int err = open_port(options);

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

	/* From nothing to a running port. */
	void start(const std::string &options = "")
	{
		ASSERT_EQ(try_open(options), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	/* From nothing to running and back. Return: the first error. */
	int live(const std::string &options)
	{
		int err = try_open(options);

		if (!err)
			err = try_configure();
		if (!err)
			err = plx_eth_start(eth);
		if (!err)
			err = plx_eth_stop(eth);
		return err;
	}

	virtual void close()
	{
		plx_eth_close(eth);
		eth = nullptr;
	}

	struct plx_eth_rxq *rxq()
	{
		return plx_eth_rxq(eth, 0);
	}

	struct plx_eth_txq *txq()
	{
		return plx_eth_txq(eth, 0);
	}

	/* --- what is expected of it --- */

	static void expect_error(const char *words)
	{
		EXPECT_THAT(plx_error(), ::testing::HasSubstr(words));
	}

	/* Every packet is where it belongs. */
	void expect_all_back()
	{
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
	}

	uint64_t counter(const std::string &name)
	{
		return counter_of(eth, name);
	}

	/* --- frames --- */

	static std::vector<uint8_t> make_frame(size_t len, unsigned seed)
	{
		std::vector<uint8_t> frame(len);

		for (size_t i = 0; i < len; i++)
			frame[i] = (uint8_t)(seed * 131 + i * 7 + (i >> 8));
		return frame;
	}

	/* The data of a whole chain. */
	static std::vector<uint8_t> bytes_of(const struct plx_packet *packet)
	{
		std::vector<uint8_t> bytes;

		for (unsigned left = packet->segments; left && packet; left--) {
			const uint8_t *data = plx_packet_data(packet);

			bytes.insert(bytes.end(), data, data + packet->data_len);
			packet = packet->next;
		}
		return bytes;
	}

	/* A frame of one packet for each length given; their data is a run of one frame. */
	struct plx_packet *build(const std::vector<uint8_t> &frame, std::vector<size_t> pieces = {},
		uint16_t headroom = 128)
	{
		struct plx_pool_cache *cache;
		struct plx_packet *first = nullptr, **link = &first;
		size_t at = 0;

		if (pieces.empty())
			pieces = {frame.size()};
		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0);
		for (size_t piece : pieces) {
			struct plx_packet *packet = nullptr;

			EXPECT_EQ(plx_pool_get(cache, &packet, 1), 1u);
			plx_packet_prepare(packet, headroom);
			std::memcpy(plx_packet_data(packet), &frame[at], piece);
			packet->data_len = (uint16_t)piece;
			at += piece;
			*link = packet;
			link = &packet->next;
		}
		first->len = (uint32_t)frame.size();
		first->segments = (uint16_t)pieces.size();
		plx_pool_cache_destroy(cache);
		return first;
	}
};

#endif
