/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rival: DPDK's virtio-user port with as little around its bursts as can be, so that what is
 * measured is its driver. Receiving frees a burst in bulk; sending takes frames that were made in
 * advance from their pool in bulk; forwarding passes bursts on between two ports.
 */
#include "bench.h"
#include "latency.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PORTS     2
#define BURST_MAX 512
#define FRAME     60
#define CACHE     512

struct options {
	unsigned ports;
	const char *port[PORTS];
	const char *core;
	const char *simd;
	const char *mode;
	unsigned burst;
	unsigned ring;
	unsigned first;
	double rate, seconds;
};

struct totals {
	uint64_t received, sent;
};

typedef void round_fn(const struct options *options, struct totals *totals);

static volatile sig_atomic_t ended;
static struct rte_mempool *buffers, *frames;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static void must(int ret, const char *step)
{
	if (ret >= 0)
		return;
	(void)fprintf(stderr, "rival: %s failed: %d\n", step, ret);
	exit(1);
}

/* --- the loops --- */

static void round_rx(const struct options *options, struct totals *totals)
{
	struct rte_mbuf *batch[BURST_MAX];
	uint16_t n = rte_eth_rx_burst(0, 0, batch, (uint16_t)options->burst);

	/* One segment each, and nobody else holds them: they may go home as they are. */
	if (n)
		rte_mempool_put_bulk(buffers, (void **)batch, n);
	totals->received += n;
}

static void round_tx(const struct options *options, struct totals *totals)
{
	struct rte_mbuf *batch[BURST_MAX];
	uint16_t n;

	if (rte_mempool_get_bulk(frames, (void **)batch, options->burst))
		return;
	n = rte_eth_tx_burst(0, 0, batch, (uint16_t)options->burst);
	if (n < options->burst)
		rte_mempool_put_bulk(frames, (void **)&batch[n], options->burst - n);
	totals->sent += n;
}

static void round_io(const struct options *options, struct totals *totals)
{
	struct rte_mbuf *batch[BURST_MAX];

	for (uint16_t port = 0; port < options->ports; port++) {
		uint16_t out = (uint16_t)((port + 1u) % options->ports);
		uint16_t n = rte_eth_rx_burst(port, 0, batch, (uint16_t)options->burst), sent;

		if (!n)
			continue;
		sent = rte_eth_tx_burst(out, 0, batch, n);
		if (sent < n)
			rte_pktmbuf_free_bulk(&batch[sent], n - sent);
		totals->received += n;
		totals->sent += sent;
	}
}

/* --- how long frames are on their way --- */

static void latency_receive(struct latency *l, unsigned burst)
{
	struct rte_mbuf *batch[BURST_MAX];
	uint16_t n = rte_eth_rx_burst(0, 0, batch, (uint16_t)burst);
	uint64_t now = rte_rdtsc();

	for (uint16_t i = 0; i < n; i++)
		latency_take(l, rte_pktmbuf_mtod(batch[i], uint8_t *), now);
	if (n)
		rte_mempool_put_bulk(buffers, (void **)batch, n);
}

static void latency_send(struct latency *l, unsigned burst)
{
	struct rte_mbuf *batch[BURST_MAX];
	uint64_t now = rte_rdtsc();
	unsigned due = latency_due(l, now, burst);
	uint16_t n;

	if (!due || rte_pktmbuf_alloc_bulk(buffers, batch, due))
		return;
	for (unsigned i = 0; i < due; i++)
		latency_stamp(l, (uint8_t *)rte_pktmbuf_append(batch[i], FRAME), i, now);
	n = rte_eth_tx_burst(0, 0, batch, (uint16_t)due);
	if (n < due)
		rte_mempool_put_bulk(buffers, (void **)&batch[n], due - n);
	l->sent += n;
}

static void run_latency(const struct options *options)
{
	static struct latency l;
	uint64_t limit;

	latency_start(&l, rte_get_tsc_hz(), options->rate, options->seconds, rte_rdtsc());
	/* What is under way at the end gets a tenth of a second to come back. */
	limit = l.to + l.hertz / 10;
	while (!ended && rte_rdtsc() < limit) {
		latency_receive(&l, options->burst);
		latency_send(&l, options->burst);
	}
	latency_print(&l);
}

/* --- ports and frames --- */

static struct rte_mempool *make_pool(const char *name, unsigned count)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		name, count, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);

	must(pool ? 0 : -1, "making a pool");
	return pool;
}

/* Each mbuf of the pool describes a frame, and goes on doing so: the driver changes none of it. */
static void make_frames(unsigned count)
{
	struct rte_mbuf **all = calloc(count, sizeof(struct rte_mbuf *));

	frames = make_pool("frames", count);
	must(all ? rte_pktmbuf_alloc_bulk(frames, all, count) : -1, "making frames");
	for (unsigned i = 0; i < count; i++)
		memset(rte_pktmbuf_append(all[i], FRAME), (int)i, FRAME);
	rte_mempool_put_bulk(frames, (void **)all, count);
	free(all);
}

static void start_port(uint16_t port, const struct options *options)
{
	const struct rte_eth_conf config = {0};
	uint16_t ring = (uint16_t)options->ring;

	must(rte_eth_dev_configure(port, 1, 1, &config), "rte_eth_dev_configure");
	must(rte_eth_rx_queue_setup(port, 0, ring, SOCKET_ID_ANY, NULL, buffers),
		"rte_eth_rx_queue_setup");
	must(rte_eth_tx_queue_setup(port, 0, ring, SOCKET_ID_ANY, NULL), "rte_eth_tx_queue_setup");
	must(rte_eth_dev_start(port), "rte_eth_dev_start");
}

/* Frames that go round between the ports and a backend that sends them back. */
static void send_first(const struct options *options)
{
	struct rte_mbuf *batch[BURST_MAX];

	for (uint16_t port = 0; options->first && port < options->ports; port++) {
		must(rte_pktmbuf_alloc_bulk(buffers, batch, options->first), "the first frames");
		for (unsigned i = 0; i < options->first; i++)
			memset(rte_pktmbuf_append(batch[i], FRAME), (int)i, FRAME);
		for (unsigned sent = 0; sent < options->first && !ended;)
			sent += rte_eth_tx_burst(
				port, 0, &batch[sent], (uint16_t)(options->first - sent));
	}
}

/* --- the run --- */

static round_fn *find_mode(const char *name)
{
	return !strcmp(name, "rx") ? round_rx : !strcmp(name, "tx") ? round_tx : round_io;
}

static void run(const struct options *options)
{
	struct totals totals = {0};
	round_fn *round = find_mode(options->mode);
	double from = bench_now(), to = from;

	while (!ended && to - from < options->seconds) {
		for (unsigned i = 0; i < 1024; i++)
			round(options, &totals);
		to = bench_now();
	}
	bench_print(to - from, totals.received, totals.sent);
}

static void start_dpdk(const struct options *options)
{
	char vdev[PORTS][256], prefix[32], simd[48];
	const char *argv[24];
	int argc = 0;

	(void)snprintf(prefix, sizeof(prefix), "--file-prefix=rival%d", (int)getpid());
	argv[argc++] = "rival";
	argv[argc++] = "--in-memory";
	argv[argc++] = "--no-pci";
	argv[argc++] = "--single-file-segments";
	argv[argc++] = "--no-telemetry";
	argv[argc++] = "--log-level=pmd.net.virtio.init:info";
	argv[argc++] = prefix;
	argv[argc++] = "-l";
	argv[argc++] = options->core;
	if (options->simd) {
		(void)snprintf(simd, sizeof(simd), "--force-max-simd-bitwidth=%s", options->simd);
		argv[argc++] = simd;
	}
	for (unsigned i = 0; i < options->ports; i++) {
		(void)snprintf(vdev[i], sizeof(vdev[i]), "--vdev=virtio_user%u,queue_size=%u,%s", i,
			options->ring, options->port[i]);
		argv[argc++] = vdev[i];
	}
	must(rte_eal_init(argc, (char **)argv), "rte_eal_init");
}

/* --- the command line --- */

static void check(const struct options *options, struct argp_state *state)
{
	if (!options->ports)
		argp_error(state, "no port is given");
	if (!options->burst || !options->ring)
		argp_error(state, "--burst and --ring are 1 at least");
	if (strcmp(options->mode, "rx") && strcmp(options->mode, "tx") &&
		strcmp(options->mode, "io") && strcmp(options->mode, "latency"))
		argp_error(state, "--mode=%s is not possible: give rx, tx, io or latency",
			options->mode);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'p':
		if (options->ports == PORTS)
			argp_error(state, "%u ports are enough", PORTS);
		options->port[options->ports++] = arg;
		return 0;
	case 'c':
		options->core = arg;
		return 0;
	case 's':
		options->simd = arg;
		return 0;
	case 'm':
		options->mode = arg;
		return 0;
	case 'b':
		options->burst = bench_number("burst", arg, BURST_MAX, state);
		return 0;
	case 'r':
		options->ring = bench_number("ring", arg, 32768, state);
		return 0;
	case 'f':
		options->first = bench_number("first", arg, BURST_MAX, state);
		return 0;
	case 'R':
		options->rate = strtod(arg, NULL);
		return 0;
	case 't':
		options->seconds = strtod(arg, NULL);
		return 0;
	case ARGP_KEY_END:
		check(options, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option list[] = {
		{"port", 'p', "ARGUMENTS", 0,
			"Arguments of a virtio_user port, such as path=/tmp/a.sock,packed_vq=1; twice for io",
			0},
		{"core", 'c', "CORE", 0, "Core to poll on (1)", 0},
		{"simd", 's', "BITS", 0, "DPDK's --force-max-simd-bitwidth", 0},
		{"mode", 'm', "MODE", 0, "rx, tx, io or latency (rx)", 0},
		{"burst", 'b', "PACKETS", 0, "Packets a burst (32)", 0},
		{"ring", 'r', "ENTRIES", 0, "Entries of each ring (256)", 0},
		{"first", 'f', "FRAMES", 0, "Frames that each port sends at first (0)", 0},
		{"rate", 'R', "FRAMES", 0, "Frames a second for latency; 0: as many as can be (0)",
			0},
		{"time", 't', "SECONDS", 0, "How long to run (1)", 0},
		{0},
	};
	static const struct argp argp = {list, parse, NULL,
		"Drive vhost-user backends with DPDK's virtio-user ports, and print as a line of JSON how "
		"many frames of 60 bytes were received and sent; by --mode=latency, how long they took to a mirror and back.",
		NULL, NULL, NULL};
	struct options options = {
		.core = "1", .mode = "rx", .burst = 32, .ring = 256, .seconds = 1};
	struct sigaction action = {.sa_handler = end};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	start_dpdk(&options);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	buffers = make_pool("buffers", 8191);
	if (!strcmp(options.mode, "tx"))
		make_frames(4 * options.ring + 2 * CACHE + BURST_MAX);
	for (uint16_t port = 0; port < options.ports; port++)
		start_port(port, &options);
	send_first(&options);
	if (!strcmp(options.mode, "latency"))
		run_latency(&options);
	else
		run(&options);
	for (uint16_t port = 0; port < options.ports; port++)
		(void)rte_eth_dev_stop(port);
	(void)rte_eal_cleanup();
	return 0;
}
