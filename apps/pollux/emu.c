/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include "emu/server.h"

#include <pollux/error.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A device in software, behind a socket, for whoever drives PCI functions by vfio-user. */

/* How long the server runs, or sleeps, until the signals are looked at. */
#define ROUND_NANOSECONDS 20000000u

/* Rules of the standard that are told one by one. */
#define BREACHES 64

struct request {
	char *device; /* "emu:net", with all options */
	const char *socket;
	double seconds; /* 0: until a signal */
	bool verbose;
	bool json;
};

enum { KEY_SOCKET = 's', KEY_TIME = 't', KEY_VERBOSE = 'v' };

/* What the device is comes first, and its options behind it, whichever way they are written. */
static void add_word(struct request *request, const char *word)
{
	char *longer = request->device ? make_text("%s,%s", request->device, word)
				       : make_text("emu:%s", word);

	free(request->device);
	request->device = longer;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case KEY_SOCKET:
		request->socket = arg;
		return 0;
	case KEY_TIME:
		request->seconds = option_seconds("time", arg);
		return 0;
	case KEY_VERBOSE:
		request->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		add_word(request, arg);
		return 0;
	case ARGP_KEY_END:
		if (!request->device)
			usage_error("`emu` needs a device: write `pollux emu net --socket=PATH`");
		if (!request->socket || !*request->socket)
			usage_error("`emu` needs a place for its socket: add --socket=PATH");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void tell(void *arg, enum plx_log_level level, const char *message)
{
	(void)arg;
	(void)fprintf(stderr, "pollux: %s%s\n",
		level == PLX_LOG_ERROR     ? "error: "
		: level == PLX_LOG_WARNING ? "warning: "
					   : "",
		message);
}

static bool is_signalled(const sigset_t *held)
{
	const struct timespec at_once = {0};

	return sigtimedwait(held, NULL, &at_once) > 0;
}

/* Return: seconds that it ran. */
static double serve(
	struct plx_emu_server *server, const struct request *request, const sigset_t *held)
{
	double began = clock_seconds(), now = began;

	while (!is_signalled(held) && (request->seconds <= 0 || now < began + request->seconds)) {
		plx_emu_server_run(server, ROUND_NANOSECONDS);
		now = clock_seconds();
	}
	return now - began;
}

/* --- the summary --- */

/* The counters that are told, by the name of each field. */
#define SERVER_COUNTERS(counter)                                                                   \
	counter(clients) counter(turned_away) counter(not_taken) counter(dropped)                  \
		counter(messages) counter(refused) counter(doorbells)
#define DEVICE_COUNTERS(counter)                                                                   \
	counter(tx_frames) counter(tx_bytes) counter(tx_malformed) counter(tx_refused)             \
		counter(rx_frames) counter(rx_bytes) counter(rx_no_buffer) counter(rx_too_long)    \
			counter(rx_bad_buffer) counter(kicks) counter(interrupts)                  \
				counter(commands) counter(commands_failed) counter(generated)      \
					counter(checked) counter(lost) counter(altered)            \
						counter(doubled)

static void add_breaches(struct json_object *root, struct plx_emu *emu)
{
	struct json_object *array = json_add_array(root, "breaches");
	struct plx_emu_breach breach[BREACHES];
	unsigned count = plx_emu_breach_list(emu, breach, BREACHES);

	for (unsigned i = 0; i < count && i < BREACHES; i++) {
		struct json_object *object = json_append_object(array);

		json_add_string(object, "rule", breach[i].rule);
		json_add_string(object, "text", breach[i].text);
		json_add_number(object, "count", breach[i].count);
	}
}

static void print_json(struct plx_emu_server *server, const struct request *request, double seconds)
{
	struct json_object *root = must_have(json_object_new_object());
	struct plx_emu *emu = plx_emu_server_device(server);
	struct plx_emu_server_stats served;
	struct plx_emu_stats stats;

	plx_emu_server_get_stats(server, &served);
	plx_emu_get_stats(emu, &stats);
	json_add_string(root, "device", request->device);
	json_add_string(root, "socket", request->socket);
	json_add_real(root, "seconds", seconds, 3);
#define ADD_SERVED(name) json_add_number(root, #name, served.name);
	SERVER_COUNTERS(ADD_SERVED)
#undef ADD_SERVED
#define ADD(name) json_add_number(root, #name, stats.name);
	DEVICE_COUNTERS(ADD)
#undef ADD
	add_breaches(root, emu);
	json_print(root);
}

static void print_text(struct plx_emu_server *server, double seconds)
{
	struct plx_emu *emu = plx_emu_server_device(server);
	struct plx_emu_breach breach[BREACHES];
	struct plx_emu_server_stats served;
	struct plx_emu_stats stats;
	unsigned count = plx_emu_breach_list(emu, breach, BREACHES);

	plx_emu_server_get_stats(server, &served);
	plx_emu_get_stats(emu, &stats);
	(void)printf("%.1f seconds, %llu clients, %llu messages of which %llu were refused\n",
		seconds, (unsigned long long)served.clients,
		(unsigned long long)(served.messages + served.refused),
		(unsigned long long)served.refused);
	(void)printf("from the driver: %llu frames, %llu dropped\n",
		(unsigned long long)stats.tx_frames,
		(unsigned long long)(stats.tx_malformed + stats.tx_refused));
	(void)printf("to the driver:   %llu frames, %llu dropped\n",
		(unsigned long long)stats.rx_frames,
		(unsigned long long)(stats.rx_no_buffer + stats.rx_too_long + stats.rx_bad_buffer));
	if (stats.checked || stats.lost || stats.altered || stats.doubled)
		(void)printf("came back whole: %llu, lost %llu, altered %llu, doubled %llu\n",
			(unsigned long long)stats.checked, (unsigned long long)stats.lost,
			(unsigned long long)stats.altered, (unsigned long long)stats.doubled);
	for (unsigned i = 0; i < count && i < BREACHES; i++)
		(void)printf("the driver broke %s, %llu times: %s\n", breach[i].rule,
			(unsigned long long)breach[i].count, breach[i].text);
}

static int run(const struct request *request)
{
	const struct plx_log log = {
		.fn = tell, .level = request->verbose ? PLX_LOG_DEBUG : PLX_LOG_INFO};
	struct plx_emu_server *server;
	struct plx_address address;
	struct failure failure = {0};
	sigset_t held;
	double seconds;
	int err = plx_address_parse(&address, request->device);

	/* From before it is told that it serves: whoever hears that may end it at once. */
	hold_signals(&held);
	if (!err) {
		err = plx_emu_server_create(&log, &address, request->socket, &server);
		plx_address_free(&address);
	}
	if (failure_note(&failure, err))
		return failure_end(&failure);
	(void)fprintf(
		stderr, "pollux: serving %s at vfio-user:%s\n", request->device, request->socket);
	seconds = serve(server, request, &held);
	if (request->json)
		print_json(server, request, seconds);
	else
		print_text(server, seconds);
	plx_emu_server_destroy(server);
	return EXIT_SUCCESS;
}

int command_emu(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"socket", KEY_SOCKET, "PATH", 0, "Where to listen for the driver; needed", 0},
		{"time", KEY_TIME, "SECONDS", 0, "How long to run (until a signal comes)", 0},
		{"verbose", KEY_VERBOSE, NULL, 0, "Tell of each message that is refused", 0},
		{0},
	};
	static const struct argp argp = {options, parse, "net [OPTION=VALUE...]",
		"Serve an emulated network card by the vfio-user protocol until SIGINT or SIGTERM: "
		"`pollux fwd vfio-user:PATH` drives it from another process, and so does any other "
		"vfio-user client. The options are those of emu:net, for example peer=gen.",
		NULL, NULL, NULL};
	struct request request = {0};
	int status;

	options_parse(&argp, argc, argv, &request, &request.json);
	status = run(&request);
	free(request.device);
	return status;
}
