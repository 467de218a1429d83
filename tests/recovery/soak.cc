/* SPDX-License-Identifier: BSD-3-Clause */
#include "mirror.h"
#include "traffic.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sched.h>
#include <thread>

/*
 * A long run over vhost-user with every payload checked:
 *
 *     soak MIRROR PACKETS [QUEUES [SIZE [KILLS]]]
 *
 * Sends numbered frames of SIZE bytes (default 64) on QUEUES pairs (default 1), each with a thread,
 * to a backend that sends them back, until PACKETS came back whole; meanwhile the backend is killed
 * and started again KILLS times (default 0), evenly spread. Ends with one JSON object, and with 0
 * when no frame was altered or came twice, none was lost but on the way to a backend that was
 * killed, and every buffer is in its pool.
 */
namespace
{

/* Long, so that ends that share a core do much in a turn. */
constexpr uint16_t kRing = 4096;
constexpr unsigned kWindow = 4000;

struct Options {
	uint64_t packets = 0;
	unsigned queues = 1;
	uint32_t size = 64;
	unsigned kills = 0;
};

struct Soak {
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_eth *eth = nullptr;
	std::vector<std::unique_ptr<Traffic>> traffic;

	uint64_t sum(uint64_t Traffic::Counts::*member) const
	{
		uint64_t all = 0;

		for (const auto &one : traffic)
			all += one->counts.*member;
		return all;
	}
};

double now()
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
		.count();
}

bool failed(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, plx_error());
	return false;
}

bool open(Soak *soak, const Options &options, const std::string &socket)
{
	struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

	pool_config.count = 16384 * options.queues;
	config.queue_pairs = (uint16_t)options.queues;
	config.rx_ring = config.tx_ring = kRing;
	if (plx_context_create(nullptr, &soak->ctx) ||
		plx_pool_create(soak->ctx, &pool_config, &soak->pool) ||
		plx_eth_open(soak->ctx, ("vhost-user:" + socket).c_str(), &soak->eth))
		return failed("opening");
	config.pool = soak->pool;
	if (plx_eth_configure(soak->eth, &config) || plx_eth_start(soak->eth))
		return failed("starting");
	for (unsigned i = 0; i < options.queues; i++)
		soak->traffic.push_back(
			std::make_unique<Traffic>(soak->eth, soak->pool, i, options.size, kWindow));
	return true;
}

/* One queue, until @end frames of it came back. Return: 0, or what a burst returned. */
int carry(Traffic *traffic, uint64_t end)
{
	double moved = now();
	unsigned quiet = 0;

	while (traffic->counts.received < end) {
		int got = traffic->round();

		if (got < 0)
			return got;
		if (got) {
			quiet = 0;
			continue;
		}
		sched_yield();
		if (++quiet == 1)
			moved = now();
		else if (quiet % 65536 == 0 && now() - moved > 60)
			return -ETIMEDOUT;
	}
	return 0;
}

/* Until each queue has its share of @packets, or the backend is gone. */
int carry_all(Soak *soak, uint64_t packets)
{
	std::vector<std::thread> threads;
	std::vector<int> result(soak->traffic.size());
	uint64_t share = packets / soak->traffic.size();

	for (size_t i = 1; i < soak->traffic.size(); i++)
		threads.emplace_back([soak, share, i, &result] {
			result[i] = carry(soak->traffic[i].get(), share);
		});
	result[0] = carry(soak->traffic[0].get(), share);
	for (auto &thread : threads)
		thread.join();
	for (int one : result)
		if (one)
			return one;
	return 0;
}

bool bring_back(Soak *soak, Mirror *mirror)
{
	double end = now() + 60;

	mirror->kill();
	if (!mirror->start())
		return false;
	while (plx_eth_reset(soak->eth))
		if (now() > end)
			return failed("reset");
	for (auto &one : soak->traffic)
		one->forget();
	return true;
}

bool run(Soak *soak, const Options &options, Mirror *mirror)
{
	for (unsigned i = 0; i <= options.kills; i++) {
		int err = carry_all(soak, options.packets / (options.kills + 1) * (i + 1));

		if (err)
			return failed(strerror(-err));
		if (i < options.kills && !bring_back(soak, mirror))
			return false;
	}
	return true;
}

/* What is still on its way comes back now, so that what is missing then is lost. */
void settle(Soak *soak)
{
	for (auto &one : soak->traffic)
		one->settle();
}

int report(Soak *soak, const Options &options, bool ran, double seconds)
{
	uint64_t sent = soak->sum(&Traffic::Counts::sent);
	uint64_t received = soak->sum(&Traffic::Counts::received);
	uint64_t altered = soak->sum(&Traffic::Counts::altered);
	uint64_t doubled = soak->sum(&Traffic::Counts::doubled);
	uint32_t missing;
	bool good;

	soak->traffic.clear();
	plx_eth_close(soak->eth);
	missing = soak->pool ? plx_pool_count(soak->pool) - plx_pool_available(soak->pool) : 0;
	good = ran && !altered && !doubled && !missing &&
	       sent - received <= (uint64_t)options.kills * options.queues * kWindow;
	printf("{\"packets\":%llu,\"lost\":%llu,\"altered\":%llu,\"doubled\":%llu,\"buffers_missing\":%u,"
	       "\"kills\":%u,\"queues\":%u,\"size\":%u,\"seconds\":%.1f,\"mpps\":%.3f,\"ok\":%s}\n",
		(unsigned long long)received, (unsigned long long)(sent - received),
		(unsigned long long)altered, (unsigned long long)doubled, missing, options.kills,
		options.queues, options.size, seconds, (double)received / seconds / 1e6,
		good ? "true" : "false");
	plx_pool_destroy(soak->pool);
	plx_context_destroy(soak->ctx);
	return good ? 0 : 1;
}

} /* namespace */

int main(int argc, char **argv)
{
	char folder[] = "/tmp/soak_XXXXXX";
	Options options;
	Soak soak;
	double began;
	bool ran;

	if (argc > 2)
		options.packets = strtoull(argv[2], nullptr, 0);
	if (argc > 3)
		options.queues = (unsigned)strtoul(argv[3], nullptr, 0);
	if (argc > 4)
		options.size = (uint32_t)strtoul(argv[4], nullptr, 0);
	if (argc > 5)
		options.kills = (unsigned)strtoul(argv[5], nullptr, 0);
	if (!options.packets || !options.queues || options.queues > 8 ||
		options.size < Traffic::kLeast || options.size > 1514 || !mkdtemp(folder)) {
		fprintf(stderr, "usage: soak MIRROR PACKETS [QUEUES [SIZE [KILLS]]]\n");
		return 2;
	}
	Mirror::program = argv[1];
	{
		std::string socket = std::string(folder) + "/socket";
		Mirror mirror(socket, false, true);

		ran = mirror.start() && open(&soak, options, socket);
		began = now();
		ran = ran && run(&soak, options, &mirror);
		if (ran)
			settle(&soak);
		argc = report(&soak, options, ran, now() - began);
	}
	rmdir(folder);
	return argc;
}
