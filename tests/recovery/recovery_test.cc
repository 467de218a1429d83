/* SPDX-License-Identifier: BSD-3-Clause */
extern "C" {
#include "drivers/drivers.h"
#include "emu/emu.h"
#include "virtio/virtio_reg.h"
}

#include "../count.h"
#include "mirror.h"
#include "traffic.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <random>

/*
 * Nothing is lost when the world breaks: backends that die, devices that ask for a reset, starts
 * and stops, all of it under load. At the end of each no frame was altered or came twice, every
 * buffer is in its pool, and neither descriptors nor memory have grown. POLLUX_FULL=1 takes the
 * full counts.
 */
namespace
{

std::string pollux;

unsigned rounds(unsigned full, unsigned few)
{
	const char *wish = getenv("POLLUX_FULL");

	return wish && *wish == '1' ? full : few;
}

/* Bytes that the process has in memory. */
size_t resident()
{
	std::ifstream file("/proc/self/statm");
	size_t size = 0, pages = 0;

	file >> size >> pages;
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

class Recovery : public ::testing::Test
{
      protected:
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_eth *eth = nullptr;
	std::unique_ptr<Traffic> traffic;
	std::mt19937 random{4711};
	size_t descriptors = 0, memory = 0;

	void SetUp() override
	{
		struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;
		struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;

		config.page_size = 4096;
		config.address_space = UINT64_C(1) << 30;
		pool_config.count = 4096;
		ASSERT_EQ(plx_context_create(&config, &ctx), 0) << plx_error();
		ASSERT_EQ(plx_pool_create(ctx, &pool_config, &pool), 0) << plx_error();
	}

	void TearDown() override
	{
		if (traffic) {
			EXPECT_EQ(traffic->counts.altered, 0u);
			EXPECT_EQ(traffic->counts.doubled, 0u);
			EXPECT_GT(traffic->counts.received, 0u);
			RecordProperty("frames", std::to_string(traffic->counts.received));
		}
		traffic.reset();
		plx_eth_close(eth);
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
	}

	void start()
	{
		struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

		config.pool = pool;
		config.rx_ring = config.tx_ring = 256;
		ASSERT_EQ(plx_eth_configure(eth, &config), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		if (traffic)
			traffic->use(eth);
		else
			traffic = std::make_unique<Traffic>(eth, pool, 0, 333, 200);
	}

	/* Until @frames more came back. */
	void flow(unsigned frames)
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		uint64_t end = traffic->counts.received + frames;

		while (traffic->counts.received < end) {
			int got = traffic->round();

			ASSERT_GE(got, 0) << plx_error();
			if (got)
				continue;
			ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nothing comes";
			sched_yield();
		}
	}

	/* Until a burst says that something is wrong. Return: what; 0 when none does in time. */
	int until_error()
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		int got = 0;

		while (got >= 0 && std::chrono::steady_clock::now() < deadline)
			got = traffic->round();
		return got;
	}

	/* Retried as whoever waits for a backend does. */
	void reset()
	{
		auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		int err;

		while ((err = plx_eth_reset(eth)) && std::chrono::steady_clock::now() < deadline)
			usleep(1000);
		ASSERT_EQ(err, 0) << plx_error();
		traffic->forget();
	}

	/* What there is once everything was in use. */
	void remember_resources()
	{
		descriptors = open_files();
		memory = resident();
	}

	void expect_nothing_grew()
	{
		EXPECT_EQ(open_files(), descriptors);
		EXPECT_LE(resident(), memory + (1u << 20)) << "bytes; there were " << memory;
	}

	unsigned some(unsigned most)
	{
		return 1 + (unsigned)random() % most;
	}
};

/* --- vhost-user --- */

struct Way {
	const char *name;
	bool server, packed;
};

class Backend : public Recovery, public ::testing::WithParamInterface<Way>
{
      protected:
	char folder[32] = "/tmp/recovery_XXXXXX";
	std::string socket;
	std::unique_ptr<Mirror> mirror;

	void SetUp() override
	{
		Recovery::SetUp();
		ASSERT_NE(mkdtemp(folder), nullptr);
		socket = std::string(folder) + "/socket";
		mirror = std::make_unique<Mirror>(socket, GetParam().server, GetParam().packed);
	}

	void TearDown() override
	{
		Recovery::TearDown();
		mirror.reset();
		unlink(socket.c_str());
		EXPECT_EQ(rmdir(folder), 0) << "files are left in " << folder;
	}

	void open()
	{
		std::string address =
			"vhost-user:" + socket + (GetParam().server ? ",server=on" : "");

		ASSERT_EQ(plx_eth_open(ctx, address.c_str(), &eth), 0) << plx_error();
	}
};

TEST_P(Backend, IsKilledAndComesBackUnderLoad)
{
	unsigned count = rounds(125, 10);

	ASSERT_TRUE(mirror->start());
	open();
	start();
	for (unsigned i = 0; i < count && !HasFatalFailure(); i++) {
		flow(some(3000));
		mirror->kill();
		/* Sometimes the next one is there before anybody sees that the last one is not. */
		if (i % 2)
			ASSERT_TRUE(mirror->start());
		ASSERT_EQ(until_error(), -ENODEV) << plx_error();
		EXPECT_TRUE(plx_eth_poll_events(eth) & PLX_ETH_EVENT_GONE);
		if (!(i % 2))
			ASSERT_TRUE(mirror->start());
		reset();
		flow(100);
		if (i == 4)
			remember_resources();
	}
	expect_nothing_grew();
}

TEST_P(Backend, IsStartedAndStoppedUnderLoad)
{
	unsigned count = rounds(125, 10);

	ASSERT_TRUE(mirror->start());
	open();
	start();
	for (unsigned i = 0; i < count && !HasFatalFailure(); i++) {
		flow(some(1000));
		if (i % 5) {
			ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
			ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
			traffic->forget();
		} else {
			plx_eth_close(eth);
			eth = nullptr;
			open();
			start();
		}
		if (i == 4)
			remember_resources();
	}
	expect_nothing_grew();
}

/* A front end that is killed leaves nothing that keeps the next one from starting. */
TEST_P(Backend, OutlivesFrontEndsThatAreKilled)
{
	unsigned count = rounds(25, 3);
	std::string address = "vhost-user:" + socket + (GetParam().server ? ",server=on" : "");

	ASSERT_TRUE(mirror->start());
	for (unsigned i = 0; i < count; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			execl(pollux.c_str(), "pollux", "fwd", "--quiet", "--page-size=4K",
				"--tx-first=64", "--packets=2048", "--ring=256", address.c_str(),
				nullptr);
			_exit(127);
		}
		usleep(some(100000));
		ASSERT_EQ(waitpid(pid, nullptr, WNOHANG), 0) << "it ended by itself";
		::kill(pid, SIGKILL);
		waitpid(pid, nullptr, 0);
	}
	open();
	start();
	flow(1000);
}

INSTANTIATE_TEST_SUITE_P(Ways, Backend,
	::testing::Values(Way{"client_split", false, false}, Way{"client_packed", false, true},
		Way{"server_split", true, false}, Way{"server_packed", true, true}),
	[](const ::testing::TestParamInfo<Way> &info) { return info.param.name; });

/* --- emulated devices --- */

class Emulated : public Recovery, public ::testing::WithParamInterface<bool>
{
      protected:
	struct plx_emu *card = nullptr;
	std::atomic<unsigned> breaches{0};

	void SetUp() override
	{
		struct plx_emu_config config;

		Recovery::SetUp();
		plx_emu_config_init(&config);
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam());
		config.peer = "loopback";
		config.thread = true;
		config.hooks.arg = &breaches;
		config.hooks.breach = [](void *arg, const char *, const char *) {
			++*static_cast<std::atomic<unsigned> *>(arg);
		};
		ASSERT_EQ(plx_emu_create(ctx->mem, &ctx->log, &config, &card), 0) << plx_error();
		open();
	}

	void TearDown() override
	{
		if (traffic) {
			EXPECT_TRUE(traffic->good());
		}
		traffic.reset();
		/* The card is there until the driver has closed it. */
		plx_eth_close(eth);
		eth = nullptr;
		plx_emu_destroy(card);
		Recovery::TearDown();
		EXPECT_EQ(breaches, 0u) << "rules of the standard were broken";
	}

	void open()
	{
		struct plx_virtio *virtio;
		struct plx_address address;

		ASSERT_EQ(plx_address_parse(&address, "emu:net"), 0);
		ASSERT_EQ(plx_drivers_open_virtio(
				  ctx, plx_emu_device(card), VIRTIO_ID_NET, &address, &virtio),
			0)
			<< plx_error();
		ASSERT_EQ(plx_drivers_open_eth(ctx, virtio, &address, &eth), 0) << plx_error();
		plx_address_free(&address);
	}
};

TEST_P(Emulated, AsksForAResetUnderLoad)
{
	unsigned count = rounds(100, 20);

	start();
	for (unsigned i = 0; i < count && !HasFatalFailure(); i++) {
		flow(some(2000));
		plx_emu_need_reset(card);
		if (i % 2)
			ASSERT_EQ(until_error(), -EIO) << plx_error();
		reset();
		flow(50);
		if (i == 4)
			remember_resources();
	}
	expect_nothing_grew();
}

TEST_P(Emulated, IsStartedAndStoppedUnderLoad)
{
	unsigned count = rounds(250, 20);

	start();
	for (unsigned i = 0; i < count && !HasFatalFailure(); i++) {
		flow(some(500));
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		traffic->forget();
		if (i == 4)
			remember_resources();
	}
	flow(100);
	expect_nothing_grew();
}

/* What the other tests rely on. */
class Checking : public Recovery
{
};

TEST_F(Checking, FindsFramesThatAreAlteredOrComeTwice)
{
	std::vector<uint8_t> frame(333);

	traffic = std::make_unique<Traffic>(nullptr, pool, 0, 333);
	traffic->counts.sent = 100;
	for (uint64_t number : {7, 9, 8}) {
		traffic->build(frame.data(), number);
		traffic->take(frame.data(), 333);
	}
	EXPECT_EQ(traffic->counts.received, 3u);
	EXPECT_TRUE(traffic->good());
	traffic->take(frame.data(), 333);
	EXPECT_EQ(traffic->counts.doubled, 1u);
	for (unsigned at = 0; at < 333; at++) {
		traffic->build(frame.data(), 50);
		frame[at] ^= 1;
		traffic->take(frame.data(), 333);
		EXPECT_EQ(traffic->counts.altered, at + 1) << "byte " << at;
	}
	traffic->build(frame.data(), 50);
	traffic->take(frame.data(), 332);
	EXPECT_EQ(traffic->counts.altered, 334u) << "one byte is missing";
	traffic->build(frame.data(), 100);
	traffic->take(frame.data(), 333);
	EXPECT_EQ(traffic->counts.altered, 335u) << "it was never sent";
	EXPECT_EQ(traffic->counts.received, 3u);
	EXPECT_FALSE(traffic->good());
	traffic.reset();
}

INSTANTIATE_TEST_SUITE_P(Rings, Emulated, ::testing::Bool(),
	[](const ::testing::TestParamInfo<bool> &info) { return info.param ? "packed" : "split"; });

} /* namespace */

/* recovery_test MIRROR POLLUX */
int main(int argc, char **argv)
{
	::testing::InitGoogleTest(&argc, argv);
	if (argc != 3)
		return 2;
	Mirror::program = argv[1];
	pollux = argv[2];
	return RUN_ALL_TESTS();
}
