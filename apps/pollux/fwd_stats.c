/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t read_counter(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t count_tx_full(const struct fwd *fwd, const struct fwd_port *port)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < fwd->stream_count; i++)
		if (fwd->stream[i].out == port)
			sum += read_counter(&fwd->stream[i].tx_full);
	return sum;
}

static uint64_t count_ignored(const struct fwd *fwd, const struct fwd_port *port)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < fwd->stream_count; i++)
		if (fwd->stream[i].in == port)
			sum += read_counter(&fwd->stream[i].ignored);
	return sum;
}

static void add_stats(struct plx_eth_stats *sum, const struct plx_eth_stats *more)
{
	sum->rx_packets += more->rx_packets;
	sum->rx_bytes += more->rx_bytes;
	sum->rx_dropped += more->rx_dropped;
	sum->tx_packets += more->tx_packets;
	sum->tx_bytes += more->tx_bytes;
	sum->tx_dropped += more->tx_dropped;
}

/* The device's figures, with the frames that found its transmit ring full among the dropped. */
static void read_stats(
	const struct fwd *fwd, const struct fwd_port *port, struct plx_eth_stats *stats)
{
	*stats = (struct plx_eth_stats){0};
	if (port->eth)
		plx_eth_get_stats(port->eth, stats);
	add_stats(stats, &port->before);
	stats->tx_dropped += count_tx_full(fwd, port);
}

static bool can_paint(FILE *out)
{
	const char *term = getenv("TERM");

	return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

void fwd_live_init(struct fwd_live *live, const struct fwd_options *options)
{
	/* The closing object has standard output for itself. */
	live->out = options->json ? stderr : stdout;
	live->paint = can_paint(live->out);
	live->painted = false;
}

/* What a port did since the last look. */
struct rates {
	char rx[FORMAT_LEN], rx_bits[FORMAT_LEN], rx_dropped[FORMAT_LEN];
	char tx[FORMAT_LEN], tx_bits[FORMAT_LEN], tx_dropped[FORMAT_LEN];
};

static void measure(
	const struct fwd *fwd, struct fwd_port *port, double seconds, struct rates *rates)
{
	const struct plx_eth_stats last = port->stats;
	struct plx_eth_stats now;

	read_stats(fwd, port, &now);
	port->stats = now;
	(void)format_rate(rates->rx, (double)(now.rx_packets - last.rx_packets) / seconds, "pps");
	(void)format_rate(rates->tx, (double)(now.tx_packets - last.tx_packets) / seconds, "pps");
	(void)format_rate(
		rates->rx_bits, (double)(now.rx_bytes - last.rx_bytes) * 8 / seconds, "bit/s");
	(void)format_rate(
		rates->tx_bits, (double)(now.tx_bytes - last.tx_bytes) * 8 / seconds, "bit/s");
	(void)format_rate(
		rates->rx_dropped, (double)(now.rx_dropped - last.rx_dropped) / seconds, "pps");
	(void)format_rate(
		rates->tx_dropped, (double)(now.tx_dropped - last.tx_dropped) / seconds, "pps");
}

static void add_headings(struct table *table, const char *const *headings)
{
	for (unsigned i = 0; i < table->columns; i++)
		table_add(table, "%s", headings[i]);
}

static void paint(struct fwd_live *live, struct fwd *fwd, double seconds, double now)
{
	static const char *const headings[] = {
		"PORT", "RECEIVED", "", "DROPPED", "SENT", "", "DROPPED"};
	struct table table = {.columns = sizeof(headings) / sizeof(headings[0])};

	add_headings(&table, headings);
	for (unsigned i = 0; i < fwd->ports; i++) {
		struct rates rates;

		measure(fwd, &fwd->port[i], seconds, &rates);
		table_add(&table, "%s", fwd->port[i].name);
		table_add(&table, "%s", rates.rx);
		table_add(&table, "%s", rates.rx_bits);
		table_add(&table, "%s", rates.rx_dropped);
		table_add(&table, "%s", rates.tx);
		table_add(&table, "%s", rates.tx_bits);
		table_add(&table, "%s", rates.tx_dropped);
	}
	/* Back to the first line of the block, of which each then wipes what was there before. */
	if (live->painted)
		(void)fprintf(live->out, "\033[%uA", fwd->ports + 2);
	(void)fprintf(live->out, "%.1f s\033[K\n", now - fwd->began);
	table_print(&table, live->out, "\033[K\n");
	table_free(&table);
	live->painted = true;
}

static void print_lines(const struct fwd_live *live, struct fwd *fwd, double seconds, double now)
{
	for (unsigned i = 0; i < fwd->ports; i++) {
		struct rates rates;

		measure(fwd, &fwd->port[i], seconds, &rates);
		(void)fprintf(live->out,
			"%.1f s %s: received %s, %s, dropped %s; sent %s, %s, dropped %s\n",
			now - fwd->began, fwd->port[i].name, rates.rx, rates.rx_bits,
			rates.rx_dropped, rates.tx, rates.tx_bits, rates.tx_dropped);
	}
}

void fwd_live_show(struct fwd_live *live, struct fwd *fwd, double now)
{
	double seconds = now - live->last;

	live->last = now;
	if (live->paint)
		paint(live, fwd, seconds, now);
	else
		print_lines(live, fwd, seconds, now);
	(void)fflush(live->out);
}

/* To what devices counted that the port was before. */
static int keep_counter(void *arg, const struct plx_eth_counter *counter)
{
	struct json_object *before;
	uint64_t value = counter->value;

	if (json_object_object_get_ex(arg, counter->name, &before))
		value += json_object_get_uint64(before);
	json_add_number(arg, counter->name, value);
	return 0;
}

static void keep_counters(struct fwd_port *port)
{
	if (!port->counters)
		port->counters = must_have(json_object_new_object());
	if (port->eth)
		(void)plx_eth_counters(port->eth, keep_counter, port->counters);
}

void fwd_stats_keep(struct fwd_port *port)
{
	struct plx_eth_stats stats;

	plx_eth_get_stats(port->eth, &stats);
	add_stats(&port->before, &stats);
	keep_counters(port);
}

/* Receive calls of all streams, by what they brought. */
static void sum_bursts(const struct fwd *fwd, uint64_t bursts[FWD_BURST_CLASSES])
{
	for (unsigned class = 0; class < FWD_BURST_CLASSES; class ++) {
		bursts[class] = 0;
		for (unsigned i = 0; i < fwd->stream_count; i++)
			bursts[class] += read_counter(&fwd->stream[i].bursts[class]);
	}
}

/* The share of receive calls that brought nothing. */
static double empty_share(const uint64_t bursts[FWD_BURST_CLASSES])
{
	uint64_t all = 0;

	for (unsigned class = 0; class < FWD_BURST_CLASSES; class ++)
		all += bursts[class];
	return all ? (double)bursts[0] / (double)all : 0;
}

/* Sleeps of all cores. */
static struct fwd_sleeps sum_sleeps(const struct fwd *fwd)
{
	struct fwd_sleeps sum = {0};

	for (unsigned i = 0; i < fwd->cores; i++) {
		sum.sleeps += read_counter(&fwd->core[i].idle.slept.sleeps);
		sum.wakeups += read_counter(&fwd->core[i].idle.slept.wakeups);
		sum.missed += read_counter(&fwd->core[i].idle.slept.missed);
	}
	return sum;
}

void fwd_stats_take(struct fwd *fwd)
{
	sum_bursts(fwd, fwd->bursts);
	fwd->sleeps = sum_sleeps(fwd);
	for (unsigned i = 0; i < fwd->ports; i++) {
		struct fwd_port *port = &fwd->port[i];

		read_stats(fwd, port, &port->stats);
		port->rx_path = must_have(strdup(port->info.rx_path));
		port->tx_path = must_have(strdup(port->info.tx_path));
		keep_counters(port);
		json_add_number(port->counters, "fwd.tx_full", count_tx_full(fwd, port));
		json_add_number(port->counters, "fwd.ignored", count_ignored(fwd, port));
	}
}

static double cycles_per_packet(const struct fwd *fwd)
{
	return (double)fwd->work.busy_cycles / (double)fwd->work.work;
}

static double idle_share(const struct fwd *fwd)
{
	uint64_t all = fwd->work.busy_cycles + fwd->work.idle_cycles;

	return all ? (double)fwd->work.idle_cycles / (double)all : 0;
}

static void add_idle(struct json_object *root, const struct fwd *fwd)
{
	struct json_object *object = must_have(json_object_new_object());
	const struct fwd_sleeps *sum = &fwd->sleeps;

	json_add_string(object, "mode", fwd_idle_names[fwd->options.idle]);
	json_add_number(object, "sleeps", sum->sleeps);
	json_add_number(object, "wakeups", sum->wakeups);
	json_add_number(object, "missed", sum->missed);
	(void)json_object_object_add(root, "idle", object);
}

static void print_idle(const struct fwd *fwd)
{
	const struct fwd_sleeps *sum = &fwd->sleeps;

	if (fwd->options.idle == FWD_IDLE_POLL)
		return;
	(void)printf("slept %llu times, woken %llu times, %llu interrupts missed\n",
		(unsigned long long)sum->sleeps, (unsigned long long)sum->wakeups,
		(unsigned long long)sum->missed);
}

static void print_summary(const struct fwd *fwd)
{
	static const char *const headings[] = {
		"PORT", "RECEIVED", "RATE", "DROPPED", "SENT", "RATE", "DROPPED"};
	struct table table = {.columns = sizeof(headings) / sizeof(headings[0])};
	char text[FORMAT_LEN];

	add_headings(&table, headings);
	for (unsigned i = 0; i < fwd->ports; i++) {
		const struct plx_eth_stats *stats = &fwd->port[i].stats;

		table_add(&table, "%s", fwd->port[i].name);
		table_add(&table, "%llu", (unsigned long long)stats->rx_packets);
		table_add(&table, "%s",
			format_rate(text, (double)stats->rx_packets / fwd->seconds, "pps"));
		table_add(&table, "%llu", (unsigned long long)stats->rx_dropped);
		table_add(&table, "%llu", (unsigned long long)stats->tx_packets);
		table_add(&table, "%s",
			format_rate(text, (double)stats->tx_packets / fwd->seconds, "pps"));
		table_add(&table, "%llu", (unsigned long long)stats->tx_dropped);
	}
	table_print(&table, stdout, "\n");
	table_free(&table);
	for (unsigned i = 0; i < fwd->ports; i++)
		(void)printf("%s: receive path: %s; transmit path: %s\n", fwd->port[i].name,
			fwd->port[i].rx_path, fwd->port[i].tx_path);
	(void)printf("%.1f s, %.1f %% idle, %.1f %% of polls empty", fwd->seconds,
		idle_share(fwd) * 100, empty_share(fwd->bursts) * 100);
	if (fwd->work.work)
		(void)printf(", %.1f cycles for each packet", cycles_per_packet(fwd));
	(void)printf("\n");
	print_idle(fwd);
}

static void add_port(struct json_object *list, const struct fwd *fwd, const struct fwd_port *port)
{
	struct json_object *object = json_append_object(list);
	const struct plx_eth_stats *stats = &port->stats;

	json_add_string(object, "device", port->name);
	json_add_number(object, "rx_packets", stats->rx_packets);
	json_add_number(object, "tx_packets", stats->tx_packets);
	json_add_number(object, "rx_bytes", stats->rx_bytes);
	json_add_number(object, "tx_bytes", stats->tx_bytes);
	json_add_real(object, "rx_pps", (double)stats->rx_packets / fwd->seconds, 1);
	json_add_real(object, "tx_pps", (double)stats->tx_packets / fwd->seconds, 1);
	json_add_number(object, "rx_dropped", stats->rx_dropped);
	json_add_number(object, "tx_dropped", stats->tx_dropped);
	json_add_number(object, "resets", port->resets);
	json_add_number(object, "lost_links", port->lost_links);
	json_add_string(object, "rx_path", port->rx_path);
	json_add_string(object, "tx_path", port->tx_path);
	(void)json_object_object_add(object, "counters", json_object_get(port->counters));
}

/* {"0": polls that brought nothing, "1": one frame, "2": two or three, "4": four to seven, ...} */
static void add_bursts(struct json_object *root, const uint64_t bursts[FWD_BURST_CLASSES])
{
	struct json_object *object = must_have(json_object_new_object());

	for (unsigned class = 0; class < FWD_BURST_CLASSES; class ++) {
		char least[12];

		(void)snprintf(least, sizeof(least), "%u", class ? 1u << (class - 1) : 0);
		json_add_number(object, least, bursts[class]);
	}
	(void)json_object_object_add(root, "bursts", object);
}

static void print_json(const struct fwd *fwd)
{
	struct json_object *root = must_have(json_object_new_object());
	struct json_object *ports;

	json_add_real(root, "seconds", fwd->seconds, 6);
	ports = json_add_array(root, "ports");
	for (unsigned i = 0; i < fwd->ports; i++)
		add_port(ports, fwd, &fwd->port[i]);
	if (fwd->work.work)
		json_add_real(root, "cycles_per_packet", cycles_per_packet(fwd), 2);
	else
		json_add_string(root, "cycles_per_packet", NULL);
	json_add_real(root, "idle_share", idle_share(fwd), 4);
	json_add_real(root, "empty_polls", empty_share(fwd->bursts), 4);
	add_bursts(root, fwd->bursts);
	add_idle(root, fwd);
	json_add_string(root, "error", fwd->failure.sentence);
	json_print(root);
}

void fwd_stats_report(const struct fwd *fwd)
{
	if (fwd->options.json)
		print_json(fwd);
	else if (!fwd->options.quiet)
		print_summary(fwd);
}
