/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long frames are on their way by Pollux: sends them to a mirror at a steady rate and takes the
 * time until they are back. What the rival does by --mode=latency.
 */
#include "bench.h"
#include "latency.h"

#include "base/clock.h"

#include <pollux/pollux.h>

#include <argp.h>
#include <stdlib.h>

#define BURST_MAX 512

struct options {
	const char *device;
	unsigned core, burst, ring;
	double rate, seconds;
};

struct port {
	struct plx_context *ctx;
	struct plx_pool *pool;
	struct plx_pool_cache *cache;
	struct plx_eth *eth;
};

static void must(int err)
{
	if (!err)
		return;
	(void)fprintf(stderr, "turnaround: %s\n", plx_error());
	exit(1);
}

static void open_port(struct port *port, const struct options *options)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
	struct plx_pool_config pool = PLX_POOL_CONFIG_INIT;

	pool.count = 8192;
	must(plx_context_create(NULL, &port->ctx));
	must(plx_pool_create(port->ctx, &pool, &port->pool));
	must(plx_pool_cache_create(port->pool, &port->cache));
	must(plx_eth_open(port->ctx, options->device, &port->eth));
	config.pool = port->pool;
	config.rx_ring = config.tx_ring = (uint16_t)options->ring;
	must(plx_eth_configure(port->eth, &config));
	must(plx_eth_start(port->eth));
}

static void close_port(struct port *port)
{
	plx_eth_close(port->eth);
	plx_pool_cache_destroy(port->cache);
	must(plx_pool_destroy(port->pool));
	must(plx_context_destroy(port->ctx));
}

static void receive(struct port *port, struct latency *l, unsigned burst)
{
	struct plx_packet *packets[BURST_MAX];
	int n = plx_eth_rx_burst(plx_eth_rxq(port->eth, 0), packets, burst);
	uint64_t now = plx_cycles();

	must(n < 0 ? n : 0);
	for (int i = 0; i < n; i++)
		latency_take(l, plx_packet_data(packets[i]), now);
	if (n > 0)
		plx_pool_put(port->cache, packets, (unsigned)n);
}

static void send(struct port *port, struct latency *l, unsigned burst)
{
	struct plx_packet *packets[BURST_MAX];
	uint64_t now = plx_cycles();
	unsigned due = latency_due(l, now, burst), n = plx_pool_get(port->cache, packets, due);
	int sent;

	for (unsigned i = 0; i < n; i++) {
		plx_packet_prepare(packets[i], 128);
		latency_stamp(l, plx_packet_append(packets[i], LATENCY_FRAME), i, now);
	}
	sent = n ? plx_eth_tx_burst(plx_eth_txq(port->eth, 0), packets, n) : 0;
	must(sent < 0 ? sent : 0);
	if ((unsigned)sent < n)
		plx_pool_put(port->cache, &packets[sent], n - (unsigned)sent);
	l->sent += (unsigned)sent;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'c':
		options->core = bench_number("core", arg, CPU_SETSIZE - 1, state);
		return 0;
	case 'b':
		options->burst = bench_number("burst", arg, BURST_MAX, state);
		return 0;
	case 'r':
		options->ring = bench_number("ring", arg, 32768, state);
		return 0;
	case 'R':
		options->rate = strtod(arg, NULL);
		return 0;
	case 't':
		options->seconds = strtod(arg, NULL);
		return 0;
	case ARGP_KEY_ARG:
		if (options->device)
			argp_error(state, "one device is enough");
		options->device = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->device || !options->burst)
			argp_error(state, "give a device, and a burst of 1 at least");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option list[] = {
		{"core", 'c', "CORE", 0, "Core to poll on (1)", 0},
		{"burst", 'b', "PACKETS", 0, "Packets a burst at the most (32)", 0},
		{"ring", 'r', "ENTRIES", 0, "Entries of each ring (256)", 0},
		{"rate", 'R', "FRAMES", 0, "Frames a second; 0: as many as can be (0)", 0},
		{"time", 't', "SECONDS", 0, "How long to run (1)", 0},
		{0},
	};
	static const struct argp argp = {list, parse, "DEVICE",
		"Send frames of 60 bytes at a steady rate to a device that sends them back, such as "
		"null-backend --mirror --stamp, and print as a line of JSON how long they took out, back, and "
		"both, in nanoseconds.",
		NULL, NULL, NULL};
	struct options options = {.core = 1, .burst = 32, .ring = 256, .seconds = 1};
	static struct latency l;
	struct port port;
	uint64_t end;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	bench_pin("turnaround", options.core);
	open_port(&port, &options);
	latency_start(&l, plx_cycles_per_second(), options.rate, options.seconds, plx_cycles());
	/* What is under way at the end gets a tenth of a second to come back. */
	end = l.to + l.hertz / 10;
	while (plx_cycles() < end) {
		receive(&port, &l, options.burst);
		send(&port, &l, options.burst);
	}
	latency_print(&l);
	close_port(&port);
	return 0;
}
