/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As many as a kernel can be built for. */
#define MAX_CORES   8192
#define MAX_PACKETS (1u << 24)

enum {
	KEY_MODE = 'm',
	KEY_CORES = 'c',
	KEY_QUEUES = 'q',
	KEY_BURST = 'b',
	KEY_RING = 'r',
	KEY_PACKETS = 'p',
	KEY_TIME = 't',
	KEY_STATS = 's',
	KEY_VERBOSE = 'v',
	KEY_QUIET = 0x200,
	KEY_PEER,
	KEY_SIZE,
	KEY_IP,
	KEY_PAGE_SIZE,
	KEY_RETRIES,
	KEY_TX_FIRST,
	KEY_IDLE,
	KEY_RECOVER,
};

/* With the waits between them, about a minute. */
#define RECOVER_TRIES 60

static const struct argp_option argp_options[] = {
	{"mode", KEY_MODE, "MODE", 0, "What to do with frames (default: io)", 0},
	{"cores", KEY_CORES, "LIST", 0, "Cores to poll on, such as 0,2-3 (default: the last)", 0},
	{"queues", KEY_QUEUES, "N", 0,
		"Queues of each direction for each port, dealt out to the cores (default: 1)", 0},
	{"burst", KEY_BURST, "N", 0, "Frames of one call at the most, 1 to 512 (default: 32)", 0},
	{"ring", KEY_RING, "N[,M]", 0,
		"Entries of receive and transmit rings (default: the device's own, at most 1024)",
		0},
	{"packets", KEY_PACKETS, "N", 0, "Packets in each port's pool (default: enough)", 0},
	{"retries", KEY_RETRIES, "N", 0,
		"Further tries to send what a full ring did not take, before it is dropped (default: 0)",
		0},
	{"page-size", KEY_PAGE_SIZE, "SIZE", 0,
		"Pages of the pools: 4K, 2M or 1G (default: the best)", 0},
	{"peer", KEY_PEER, "MAC[,MAC...]", 0,
		"Whom mac and tx address from ports 0, 1, ... (default: 02:00:00:00:00:0N)", 0},
	{"size", KEY_SIZE, "BYTES", 0, "Frames that tx sends, 60 to 1514 (default: 60)", 0},
	{"tx-first", KEY_TX_FIRST, "N", 0,
		"UDP frames that each port sends at first, 0 to 256, so that a ring of ports has something to forward (default: 0)",
		0},
	{"ip", KEY_IP, "A.B.C.D", 0, "The address that echo answers for", 0},
	{"idle", KEY_IDLE, "MODE", 0,
		"While nothing comes: poll, adaptive (poll on for a moment, then sleep) or interrupt (sleep at once) (default: poll)",
		0},
	{"time", KEY_TIME, "SECONDS", 0, "How long to run (default: until a signal)", 0},
	{"stats", KEY_STATS, "SECONDS", 0,
		"Show rates this often; 0 is never (default: 1 on a terminal, else 0)", 0},
	{"quiet", KEY_QUIET, NULL, 0,
		"Print nothing but failures, warnings and what --json asks for", 0},
	{"recover", KEY_RECOVER, "TRIES", OPTION_ARG_OPTIONAL,
		"Bring a device back that breaks, goes or is unplugged, and go on; give up after so many tries without a second of frames between them (default: 60, which takes a minute)",
		0},
	{"verbose", KEY_VERBOSE, NULL, 0, "Print what the library reports on its way", 0},
	{0},
};

static _Noreturn void refuse_mode(const char *name)
{
	char known[128] = "";
	size_t used = 0;

	for (const struct fwd_mode *mode = fwd_modes; mode->name; mode++)
		used += (size_t)snprintf(
			known + used, sizeof(known) - used, "%s%s", used ? ", " : "", mode->name);
	usage_error("--mode=%s is not possible: the modes are %s", name, known);
}

static const struct fwd_mode *read_mode(const char *name)
{
	for (const struct fwd_mode *mode = fwd_modes; mode->name; mode++)
		if (!strcmp(mode->name, name))
			return mode;
	refuse_mode(name);
}

static enum fwd_idle_mode read_idle(const char *name)
{
	for (unsigned i = 0; fwd_idle_names[i]; i++)
		if (!strcmp(fwd_idle_names[i], name))
			return (enum fwd_idle_mode)i;
	usage_error("--idle=%s is not possible: the choices are poll, adaptive, interrupt", name);
}

static cpu_set_t *allowed_cores(size_t *size)
{
	cpu_set_t *set = must_have(CPU_ALLOC(MAX_CORES));
	unsigned cores[MAX_CORES];
	int count = plx_worker_cores(cores, MAX_CORES);

	if (count < 0)
		exit(fail("%s", plx_error()));
	*size = CPU_ALLOC_SIZE(MAX_CORES);
	CPU_ZERO_S(*size, set);
	for (int i = 0; i < count && i < MAX_CORES; i++)
		if (cores[i] < MAX_CORES)
			CPU_SET_S(cores[i], *size, set);
	return set;
}

static void add_core(struct fwd_options *options, unsigned core)
{
	for (unsigned i = 0; i < options->cores; i++)
		if (options->core[i] == core)
			usage_error("--cores names core %u twice: name each core once", core);
	options->core =
		must_have(reallocarray(options->core, options->cores + 1, sizeof(*options->core)));
	options->core[options->cores++] = core;
}

static void use_last_core(struct fwd_options *options)
{
	size_t size;
	cpu_set_t *set = allowed_cores(&size);
	unsigned core = MAX_CORES - 1;

	while (core && !CPU_ISSET_S(core, size, set))
		core--;
	CPU_FREE(set);
	add_core(options, core);
}

static _Noreturn void refuse_cores(const char *list)
{
	usage_error("--cores=%s is not possible: give numbers and ranges such as 0,2-3", list);
}

/* A number beyond every core stands for itself in the message that refuses it. */
static unsigned long read_core(const char **text, const char *list)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)**text))
		refuse_cores(list);
	number = strtoul(*text, &end, 10);
	*text = end;
	return number;
}

/* The cores of a set as numbers and ranges; free() it. */
static char *name_cores(const cpu_set_t *set, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = must_have(open_memstream(&text, &len));
	const char *comma = "";

	for (unsigned core = 0; core < MAX_CORES; core++) {
		unsigned first = core;

		if (!CPU_ISSET_S(core, size, set))
			continue;
		while (core + 1 < MAX_CORES && CPU_ISSET_S(core + 1, size, set))
			core++;
		(void)fprintf(out, first < core ? "%s%u-%u" : "%s%u", comma, first, core);
		comma = ",";
	}
	(void)fclose(out);
	return must_have(text);
}

static void read_cores(struct fwd_options *options, const char *list)
{
	const char *text = list;
	size_t size;
	cpu_set_t *set = allowed_cores(&size);

	options->cores = 0;
	for (;;) {
		unsigned long first = read_core(&text, list), last = first;

		if (*text == '-') {
			text++;
			last = read_core(&text, list);
		}
		if (last < first)
			refuse_cores(list);
		for (unsigned long core = first; core <= last; core++) {
			if (core >= MAX_CORES || !CPU_ISSET_S(core, size, set))
				usage_error(
					"--cores=%s is not possible: core %lu is not one of %s, "
					"which this process may use",
					list, core, name_cores(set, size));
			add_core(options, (unsigned)core);
		}
		if (!*text)
			break;
		if (*text++ != ',')
			refuse_cores(list);
	}
	CPU_FREE(set);
}

static void read_rings(struct fwd_options *options, char *text)
{
	char *comma = strchr(text, ',');

	if (comma)
		*comma++ = '\0';
	options->rx_ring = (uint16_t)option_number("ring", text, 1, 32768);
	options->tx_ring =
		comma ? (uint16_t)option_number("ring", comma, 1, 32768) : options->rx_ring;
}

static bool read_mac(const char *text, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++, text += 3) {
		char digits[3] = {text[0], text[0] ? text[1] : '\0', '\0'};

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) ||
			text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

static void read_peers(struct fwd_options *options, char *text)
{
	char *rest = text;
	const char *word;

	while ((word = strsep(&rest, ","))) {
		options->peer = must_have(
			reallocarray(options->peer, options->peers + 1, sizeof(*options->peer)));
		if (!read_mac(word, options->peer[options->peers++]))
			usage_error("--peer=%s is not possible: give a MAC address such as "
				    "02:00:00:00:00:01",
				word);
	}
}

static uint64_t read_page_size(const char *text)
{
	if (!strcmp(text, "4K"))
		return UINT64_C(4) << 10;
	if (!strcmp(text, "2M"))
		return UINT64_C(2) << 20;
	if (!strcmp(text, "1G"))
		return UINT64_C(1) << 30;
	usage_error("--page-size=%s is not possible: the sizes are 4K, 2M, 1G", text);
}

static uint32_t read_ip(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		usage_error(
			"--ip=%s is not possible: give an IPv4 address such as 192.0.2.1", text);
	return address.s_addr;
}

static void add_device(struct fwd_options *options, char *device)
{
	options->device = must_have(
		reallocarray(options->device, options->devices + 1, sizeof(*options->device)));
	options->device[options->devices++] = device;
}

static void check_together(const struct fwd_options *options)
{
	if (!options->devices)
		usage_error("no device is given: `pollux status` lists those of PCI");
	if (options->mode->answers && !options->ip)
		usage_error("--mode=%s needs --ip=A.B.C.D, the address to answer for",
			options->mode->name);
	if (options->mode->generates && options->idle != FWD_IDLE_POLL)
		usage_error("--mode=%s is never idle: leave out --idle=%s", options->mode->name,
			fwd_idle_names[options->idle]);
	if (options->peers > options->devices)
		usage_error("--peer names %u addresses for %u ports: name one for each at most",
			options->peers, options->devices);
}

static bool parse_figure(struct fwd_options *options, int key, const char *arg)
{
	switch (key) {
	case KEY_QUEUES:
		options->queues = (uint16_t)option_number("queues", arg, 1, UINT16_MAX);
		return true;
	case KEY_BURST:
		options->burst = (unsigned)option_number("burst", arg, 1, FWD_BURST_MAX);
		return true;
	case KEY_PACKETS:
		options->packets = (uint32_t)option_number("packets", arg, 1, MAX_PACKETS);
		return true;
	case KEY_RETRIES:
		options->retries = (unsigned)option_number("retries", arg, 0, 1000000);
		return true;
	case KEY_TX_FIRST:
		options->first = (unsigned)option_number("tx-first", arg, 0, 256);
		return true;
	case KEY_RECOVER:
		options->recover =
			arg ? (unsigned)option_number("recover", arg, 1, 1000000) : RECOVER_TRIES;
		return true;
	case KEY_SIZE:
		options->size = (uint16_t)option_number("size", arg, 60, 1514);
		return true;
	case KEY_TIME:
		options->seconds = option_seconds("time", arg);
		return true;
	case KEY_STATS:
		options->interval = option_seconds("stats", arg);
		return true;
	default:
		return false;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct fwd_options *options = state->input;

	switch (key) {
	case KEY_MODE:
		options->mode = read_mode(arg);
		return 0;
	case KEY_CORES:
		read_cores(options, arg);
		return 0;
	case KEY_RING:
		read_rings(options, arg);
		return 0;
	case KEY_PEER:
		read_peers(options, arg);
		return 0;
	case KEY_IP:
		options->ip = read_ip(arg);
		return 0;
	case KEY_PAGE_SIZE:
		options->page_size = read_page_size(arg);
		return 0;
	case KEY_IDLE:
		options->idle = read_idle(arg);
		return 0;
	case KEY_QUIET:
		options->quiet = true;
		return 0;
	case KEY_VERBOSE:
		options->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		add_device(options, arg);
		return 0;
	case ARGP_KEY_END:
		check_together(options);
		return 0;
	default:
		return parse_figure(options, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

/* The modes stand in the help as the table has them. */
static char *help(int key, const char *text, void *input)
{
	char *modes = NULL;
	size_t len = 0;
	FILE *out;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)(uintptr_t)text;
	out = must_have(open_memstream(&modes, &len));
	(void)fputs("Modes:\n", out);
	for (const struct fwd_mode *mode = fwd_modes; mode->name; mode++)
		(void)fprintf(out, "  %-8s %s\n", mode->name, mode->line);
	(void)fprintf(out, "\n%s", text);
	(void)fclose(out);
	return modes;
}

static const char doc[] =
	"Forward frames between devices, which are paired in the order given: the first with the "
	"second, the third with the fourth. A device without a partner is its own. DEVICE is an "
	"address with options after commas, such as 0000:00:03.0 or 0000:00:03.0,simd=off; "
	"doc/devices.md has them all.\v"
	"'pollux: forwarding' on standard error tells that every device is started. SIGINT and "
	"SIGTERM end the run; the figures then follow, with --json as one object. The status is "
	"not 0 when a device failed or a packet did not come back.";

void fwd_options_read(struct fwd_options *options, int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse, "DEVICE...", doc, NULL, help, NULL};

	*options = (struct fwd_options){
		.mode = fwd_modes,
		.queues = 1,
		.burst = 32,
		.size = 60,
		.interval = -1,
	};
	options_parse(&argp, argc, argv, options, &options->json);
	if (!options->cores)
		use_last_core(options);
}

void fwd_options_free(struct fwd_options *options)
{
	free(options->device);
	free(options->core);
	free(options->peer);
}
