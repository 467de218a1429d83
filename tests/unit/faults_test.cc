/* SPDX-License-Identifier: BSD-3-Clause */
#include "faults.h"

#include <pollux/pollux.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <thread>

/*
 * Every system call and every allocation of a device's start fails in turn. Whatever it was, there
 * is a sentence that tells of it, nothing is left behind, and the next start succeeds. A failure
 * that does no harm is one after which frames move both ways.
 *
 * POLLUX_FAULTS_DEVICE names devices of the kernel's VFIO to do this to as well, separated by
 * spaces; tests/vm does so.
 */

namespace
{

/* One life: from nothing to a device that moves frames, and back. */
struct Life {
	int err = 0;
	std::string error;

	explicit Life(const char *address)
	{
		struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
		struct plx_context *ctx = nullptr;
		struct plx_eth *eth = nullptr;

		err = plx_context_create(nullptr, &ctx);
		if (!err)
			err = plx_pool_create(ctx, nullptr, &config.pool);
		if (!err)
			err = plx_eth_open(ctx, address, &eth);
		if (!err)
			err = plx_eth_configure(eth, &config);
		if (!err)
			err = plx_eth_start(eth);
		if (!err)
			err = exchange(eth, config.pool, loops(address));
		if (err)
			error = plx_error();
		plx_eth_close(eth);
		if (config.pool) {
			EXPECT_EQ(plx_pool_available(config.pool), plx_pool_count(config.pool));
		}
		EXPECT_EQ(plx_pool_destroy(config.pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
	}

	/* Whether what is sent comes back: of the emulated card, as it is here. */
	static bool loops(const char *address)
	{
		return std::strncmp(address, "emu:", 4) == 0;
	}

	/* Send a frame; where it comes back, it must be the same. Return: 0, or a plx_fail(). */
	static int exchange(struct plx_eth *eth, struct plx_pool *pool, bool comes_back)
	{
		static const char text[60] = "there and back again";
		struct plx_pool_cache *cache;
		struct plx_packet *packet;
		int err = plx_pool_cache_create(pool, &cache);

		if (err)
			return err;
		EXPECT_EQ(plx_pool_get(cache, &packet, 1), 1u);
		plx_packet_prepare(packet, 128);
		packet->data_len = packet->len = 60;
		std::memcpy(plx_packet_data(packet), text, 60);
		EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1), 1) << plx_error();
		packet = receive_one(eth, comes_back);
		if (comes_back) {
			EXPECT_NE(packet, nullptr) << "what was sent did not come back";
		}
		if (comes_back && packet) {
			EXPECT_EQ(packet->len, 60u);
			EXPECT_EQ(std::memcmp(plx_packet_data(packet), text, 60), 0);
		}
		plx_packet_free(packet);
		plx_pool_cache_destroy(cache);
		return 0;
	}

	static struct plx_packet *receive_one(struct plx_eth *eth, bool wait)
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
		struct plx_packet *packet = nullptr;
		int got;

		do {
			got = plx_eth_rx_burst(plx_eth_rxq(eth, 0), &packet, 1);
			if (!got)
				std::this_thread::yield();
		} while (!got && wait && std::chrono::steady_clock::now() < deadline);
		EXPECT_GE(got, 0) << plx_error();
		return got == 1 ? packet : nullptr;
	}
};

class Faults : public ::testing::TestWithParam<std::string>
{
      protected:
	std::map<std::string, unsigned> calls; /* how often each was made to fail */
	unsigned tolerated = 0;

	/* Return: whether the run had so many calls. */
	bool fail_call(unsigned n)
	{
		faults::Held before = faults::held();

		faults::begin(n);
		Life run(GetParam().c_str());
		std::string failed = faults::end();
		faults::Held after = faults::held();

		if (failed.empty())
			return false;
		SCOPED_TRACE("call " + std::to_string(n) + ", " + failed);
		EXPECT_EQ(before.blocks, after.blocks) << run.error;
		EXPECT_EQ(before.mapped, after.mapped) << run.error;
		EXPECT_EQ(before.files, after.files) << run.error;
		if (run.err)
			expect_sentence(run);
		else
			tolerated++;
		calls[failed]++;
		return true;
	}

	static void expect_sentence(const Life &run)
	{
		EXPECT_LT(run.err, 0);
		EXPECT_GE(run.err, -4095) << "no errno";
		EXPECT_GT(run.error.size(), 20u) << run.error;
		EXPECT_EQ(run.error.find('\n'), std::string::npos) << run.error;
		EXPECT_EQ(run.error.find("(null)"), std::string::npos) << run.error;
		EXPECT_EQ(run.error.find("Success"), std::string::npos) << run.error;
	}
};

TEST_P(Faults, EachCallOfAStartMayFail)
{
	Life first(GetParam().c_str()); /* what the C library takes once and keeps */
	unsigned n = 0;

	ASSERT_EQ(first.err, 0) << first.error;
	while (fail_call(n + 1)) {
		n++;
	}
	Life last(GetParam().c_str());
	EXPECT_EQ(last.err, 0) << last.error;
	EXPECT_GT(n, 30u) << "that was no start";
	std::printf("%u calls failed in turn, of which %u did no harm:", n, tolerated);
	for (const auto &[name, count] : calls)
		std::printf(" %s %u", name.c_str(), count);
	std::printf("\n");
}

std::vector<std::string> devices()
{
	std::vector<std::string> all = {"emu:net,dev.packed=off", "emu:net,dev.packed=on",
		"emu:net,legacy=on", "emu:net,handshake=device-ok"};
	const char *named = getenv("POLLUX_FAULTS_DEVICE");
	std::string text = named ? named : "";

	for (size_t at = 0; at < text.size();) {
		size_t end = std::min(text.find(' ', at), text.size());

		all.push_back(text.substr(at, end - at));
		at = end + 1;
	}
	return all;
}

INSTANTIATE_TEST_SUITE_P(Devices, Faults, ::testing::ValuesIn(devices()),
	[](const ::testing::TestParamInfo<std::string> &info) {
		std::string name = info.param;

		for (char &letter : name)
			letter = isalnum((unsigned char)letter) ? letter : '_';
		return name;
	});

} // namespace
