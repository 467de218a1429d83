/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VHOST_FIXTURE_H
#define PLX_TESTS_VHOST_FIXTURE_H

#include "socket_fixture.h"
#include "vhost_backend.h"

#include <memory>
#include <thread>

/*
 * The network driver over a unix socket to the strict backend. At the end every rule that the
 * driver broke fails the test.
 */
class VhostFixture : public SocketFixture
{
      protected:
	std::unique_ptr<VhostBackend> backend;
	bool breaches_allowed = false;

	void SetUp() override
	{
		SocketFixture::SetUp();
		backend = std::make_unique<VhostBackend>(path);
	}

	int open_port(const std::string &options) override
	{
		return plx_eth_open(ctx, ("vhost-user:" + path + options).c_str(), &eth);
	}

	void end_peer() override
	{
		forget_backend();
		unlink(path.c_str());
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

	void start(const std::string &options = "")
	{
		backend->start();
		SocketFixture::start(options);
	}

	/* --- frames --- */

	/* Frame number @number, over as many packets as it takes. */
	struct plx_packet *build(unsigned number, size_t len)
	{
		size_t piece = (pool_config.data_size ? pool_config.data_size : 2048) / 2;
		std::vector<size_t> pieces;

		for (size_t left = len; left; left -= pieces.back())
			pieces.push_back(std::min(piece, left));
		return SocketFixture::build(make_frame(len, number), pieces);
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
};

#endif
