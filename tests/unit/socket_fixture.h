/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_SOCKET_FIXTURE_H
#define PLX_TESTS_SOCKET_FIXTURE_H

#include "port_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include <chrono>

/*
 * A port whose device is behind a unix socket: a folder for it, and an account of descriptors. At
 * the end both are as they were.
 */
class SocketFixture : public PortFixture
{
      protected:
	char folder[32] = "/tmp/pollux_unit_XXXXXX";
	std::string path;
	unsigned files = 0;

	/* Whoever is at the other end ends, and leaves no file. */
	virtual void end_peer() = 0;

	void SetUp() override
	{
		files = open_files();
		ASSERT_NE(mkdtemp(folder), nullptr);
		path = std::string(folder) + "/socket";
		PortFixture::SetUp();
		pool_config.count = 1024;
		eth_config.rx_ring = eth_config.tx_ring = 64;
	}

	void TearDown() override
	{
		PortFixture::TearDown();
		end_peer();
		EXPECT_EQ(rmdir(folder), 0) << "files are left in " << folder;
		EXPECT_EQ(open_files(), files) << "a descriptor is still open";
	}

	/* A packet that came back is the frame of that number. */
	static void check(const struct plx_packet *packet, unsigned number, size_t len)
	{
		const std::vector<uint8_t> is = bytes_of(packet), was = make_frame(len, number);

		ASSERT_EQ(packet->len, len);
		ASSERT_EQ(is.size(), len);
		for (size_t i = 0; i < len; i++)
			ASSERT_EQ(is[i], was[i]) << "byte " << i << " of frame " << number;
	}

	/* Poll until a burst says that the device is gone. */
	int poll_until_error()
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		struct plx_packet *packet;
		int got = 0;

		while (got >= 0 && std::chrono::steady_clock::now() < deadline) {
			got = plx_eth_rx_burst(rxq(), &packet, 1);
			if (got > 0)
				plx_packet_free(packet);
		}
		return got;
	}
};

#endif
