/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network on both sides of a machine that forwards: sends frames into one NIC, looks at what
 * comes out of the other, and the other way round at the same time.
 *
 *     frames A B
 *
 * listens on two unix sockets, to which QEMU's "-netdev stream,server=off,addr.type=unix,
 * addr.path=..." connects once for its whole life; so one process serves many runs. It answers each
 * line of standard input by one line of JSON:
 *
 *     run [KEY=VALUE]...   send and verify; "ok" in the answer says whether all was well
 *     quit                 end, as the end of the input does; no answer
 *
 *     count=N        frames of each direction; by default 2910, which is each size twice
 *     window=N       frames under way in each direction at the most; by default 32
 *     addresses=...  how they come out: keep, swap, or those of port A and of port B, each as
 *                    DESTINATION/SOURCE: 02:00:00:00:00:00/52:54:00:00:00:0a,...
 *     flow=N         first answer {"flowing":true} once N frames are through in each direction
 *     giveup=SECONDS after so long without a frame of a direction, what is under way there is lost
 *                    and more is sent; by default a full window stays
 *     stall=SECONDS  how long nothing good may come out; by default 60
 *
 * A run begins with probes, until one comes through in each direction. While it lasts, the line
 * "flow" asks for one more {"flowing":true}, once flow=N further frames came through. Any other
 * line, such as "stop", ends it early: what was under way is then not missed.
 */
#include "frame.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PROBE_SECONDS 0.2
#define LATE_SECONDS  0.5
#define COUNT_MAX     1000000000u
#define WINDOW_MAX    65536u

/* QEMU's framing on a stream: each frame behind its length, in network order. */
#define PREFIX      4
#define MESSAGE_MAX (PREFIX + FRAME_MAX)

struct port {
	int fd;
	uint8_t in[64 * 1024];
	size_t in_len;
	uint8_t out[MESSAGE_MAX];
	size_t out_len;
	size_t out_done;
};

enum addresses { KEEP, SWAP, GIVEN };

struct options {
	uint32_t count;
	uint32_t window;
	uint32_t flow;
	double giveup; /* 0: never */
	double stall;
	enum addresses addresses;
	uint8_t given[2][12]; /* what frames have that come out of a port */
};

/* What is sent into one port and comes out of the other. */
struct direction {
	uint32_t sent, received;
	uint64_t sent_bytes, out_frames, out_bytes;
	uint32_t probes_sent, probes_received;
	uint32_t stale;                    /* of an earlier run that was ended early */
	uint32_t expected;                 /* the number that comes next */
	uint32_t lost, doubled, reordered; /* a number that comes late is no longer lost */
	uint32_t altered, foreign;
	double probed, heard;
	uint32_t flow_from; /* of received */
	uint8_t *seen;      /* a bit for each number */
};

struct run {
	struct options options;
	uint32_t number;
	struct direction direction[2]; /* by the port that it begins at */
	double began, moved;
	bool flowing, stopped;
};

static struct port ports[2];

/* A line that ended a run and is a command of its own; empty for none. */
static char unread[512];

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("frames: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* --- options --- */

static uint32_t read_number(const char *key, const char *text, uint32_t most)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	if (end == text || *end || !number || number > most)
		die("%s=%s: give a number from 1 to %u", key, text, most);
	return (uint32_t)number;
}

static void read_address(const char *text, uint8_t address[6])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &address[0], &address[1], &address[2],
		    &address[3], &address[4], &address[5]) != 6)
		die("%s is no MAC address", text);
}

static void read_addresses(struct options *options, char *text)
{
	options->addresses = KEEP;
	if (!strcmp(text, "keep"))
		return;
	options->addresses = SWAP;
	if (!strcmp(text, "swap"))
		return;
	options->addresses = GIVEN;
	for (unsigned port = 0; port < 2; port++) {
		char *both = strsep(&text, ",");
		char *source = both ? strchr(both, '/') : NULL;

		if (!source)
			die("addresses= lacks DESTINATION/SOURCE of port %c", 'A' + port);
		read_address(both, options->given[port]);
		read_address(source + 1, options->given[port] + 6);
	}
}

static void read_options(struct options *options, char *line)
{
	char *word;

	*options = (struct options){.count = 2 * FRAME_SIZES, .window = 32, .stall = 60};
	while ((word = strsep(&line, " "))) {
		char *value = strchr(word, '=');

		if (!*word)
			continue;
		if (!value)
			die("'%s' is no option of run", word);
		*value++ = '\0';
		if (!strcmp(word, "count"))
			options->count = read_number(word, value, COUNT_MAX);
		else if (!strcmp(word, "window"))
			options->window = read_number(word, value, WINDOW_MAX);
		else if (!strcmp(word, "flow"))
			options->flow = read_number(word, value, COUNT_MAX);
		else if (!strcmp(word, "stall"))
			options->stall = read_number(word, value, 3600);
		else if (!strcmp(word, "giveup"))
			options->giveup = read_number(word, value, 3600);
		else if (!strcmp(word, "addresses"))
			read_addresses(options, value);
		else
			die("'%s' is no option of run", word);
	}
}

/* --- sending --- */

static void write_out(struct port *port)
{
	while (port->out_done < port->out_len) {
		ssize_t done = send(port->fd, port->out + port->out_done,
			port->out_len - port->out_done, MSG_NOSIGNAL);

		if (done < 0 && errno == EAGAIN)
			return;
		if (done < 0)
			die("the machine has hung up: %s", strerror(errno));
		port->out_done += (size_t)done;
	}
	port->out_len = 0;
}

static void send_frame(struct run *run, unsigned from, struct frame_label label)
{
	struct port *port = &ports[from];

	label.run = run->number;
	label.size = frame_size_of(label.number);
	label.port = (uint8_t)from;
	frame_put32(port->out, label.size);
	frame_build(port->out + PREFIX, &label);
	port->out_len = PREFIX + label.size;
	port->out_done = 0;
	run->direction[from].sent_bytes += label.size;
	write_out(port);
}

/* What has not come out yet, and is not given up. */
static uint32_t under_way(const struct direction *direction)
{
	return direction->sent - direction->expected;
}

static void send_what_may_go(struct run *run, unsigned from)
{
	struct direction *direction = &run->direction[from];

	if (!direction->probes_received) {
		if (ports[from].out_len || now() - direction->probed < PROBE_SECONDS)
			return;
		direction->probed = now();
		send_frame(run, from,
			(struct frame_label){.number = direction->probes_sent++, .probe = true});
		return;
	}
	if (run->options.giveup > 0 && under_way(direction) &&
		now() - direction->heard > run->options.giveup) {
		direction->lost += under_way(direction);
		direction->expected = direction->sent;
		direction->heard = now();
	}
	while (!ports[from].out_len && direction->sent < run->options.count &&
		under_way(direction) < run->options.window)
		send_frame(run, from, (struct frame_label){.number = direction->sent++});
}

/* --- receiving --- */

static bool is_addressed_well(const struct options *options, unsigned out, const uint8_t *frame,
	const struct frame_label *label)
{
	uint8_t sent[12], wanted[12];

	frame_addresses(label, sent);
	memcpy(wanted, sent, sizeof(wanted));
	if (options->addresses == SWAP) {
		memcpy(wanted, sent + 6, 6);
		memcpy(wanted + 6, sent, 6);
	} else if (options->addresses == GIVEN) {
		memcpy(wanted, options->given[out], sizeof(wanted));
	}
	return !memcmp(frame, wanted, sizeof(wanted));
}

static bool take_bit(uint8_t *bits, uint32_t number)
{
	uint8_t bit = (uint8_t)(1u << number % 8);
	bool before = bits[number / 8] & bit;

	bits[number / 8] |= bit;
	return before;
}

static void take_number(struct direction *direction, uint32_t number)
{
	if (take_bit(direction->seen, number)) {
		direction->doubled++;
		return;
	}
	direction->received++;
	if (number < direction->expected) {
		direction->reordered++;
		direction->lost--;
		return;
	}
	direction->lost += number - direction->expected;
	direction->expected = number + 1;
}

static void take_ours(struct run *run, struct direction *direction, const struct frame_label *label)
{
	run->moved = direction->heard = now();
	if (label->probe)
		direction->probes_received++;
	else
		take_number(direction, label->number);
}

static void take_frame(struct run *run, unsigned out, const uint8_t *frame, uint32_t size)
{
	struct direction *direction = &run->direction[!out];
	struct frame_label label;

	direction->out_frames++;
	direction->out_bytes += size;
	switch (frame_read(frame, size, &label)) {
	case FRAME_FOREIGN:
		direction->foreign++;
		return;
	case FRAME_ALTERED:
		direction->altered++;
		return;
	case FRAME_GOOD:
		break;
	}
	if (label.run != run->number)
		direction->stale++;
	else if (label.port == out)
		direction->foreign++;
	else if (!is_addressed_well(&run->options, out, frame, &label))
		direction->altered++;
	else if (label.number >= (label.probe ? direction->probes_sent : direction->sent))
		direction->altered++;
	else
		take_ours(run, direction, &label);
}

static void take_frames(struct run *run, unsigned out)
{
	struct port *port = &ports[out];
	size_t at = 0;

	while (port->in_len - at >= PREFIX) {
		const uint8_t *message = port->in + at;
		uint32_t size = frame_get32(message);

		if (size > sizeof(port->in) - PREFIX)
			die("the machine sent a frame of %u bytes", size);
		if (port->in_len - at < PREFIX + size)
			break;
		take_frame(run, out, message + PREFIX, size);
		at += PREFIX + size;
	}
	port->in_len -= at;
	memmove(port->in, port->in + at, port->in_len);
}

static void read_in(struct run *run, unsigned out)
{
	struct port *port = &ports[out];
	ssize_t got = recv(port->fd, port->in + port->in_len, sizeof(port->in) - port->in_len, 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
		die("the machine has hung up");
	port->in_len += (size_t)got;
	take_frames(run, out);
}

/* --- one run --- */

/* Whether the first @count of each direction are through, or overtaken by later ones. */
static bool passed(const struct run *run, uint32_t count)
{
	return run->direction[0].expected >= count && run->direction[1].expected >= count;
}

/* What was overtaken may be late and not lost. */
static bool is_over(const struct run *run)
{
	bool waiting = run->direction[0].lost || run->direction[1].lost;
	double quiet = now() - run->moved;

	if (passed(run, run->options.count) && (!waiting || quiet > LATE_SECONDS))
		return true;
	return run->stopped || quiet > run->options.stall;
}

/* Without a buffer of stdio's, so that poll() knows of every line. */
static bool read_line(char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && read(STDIN_FILENO, line + len, 1) == 1) {
		if (line[len] == '\n') {
			line[len] = '\0';
			return true;
		}
		len++;
	}
	return false;
}

/* "flow" asks for one more answer; whatever else is said ends the run. */
static void listen_to_input(struct run *run)
{
	bool heard = read_line(unread, sizeof(unread));

	run->stopped = !heard || strcmp(unread, "flow") != 0;
	if (!heard || !run->stopped)
		unread[0] = '\0';
	if (run->stopped)
		return;
	for (unsigned from = 0; from < 2; from++)
		run->direction[from].flow_from = run->direction[from].received;
	run->flowing = false;
}

static void step(struct run *run)
{
	struct pollfd polled[3] = {{STDIN_FILENO, POLLIN, 0}};

	for (unsigned port = 0; port < 2; port++) {
		send_what_may_go(run, port);
		polled[port + 1] = (struct pollfd){ports[port].fd, POLLIN, 0};
		if (ports[port].out_len)
			polled[port + 1].events |= POLLOUT;
	}
	if (poll(polled, 3, (int)(PROBE_SECONDS * 1000)) < 0 && errno != EINTR)
		die("cannot poll: %s", strerror(errno));
	for (unsigned port = 0; port < 2; port++) {
		if (polled[port + 1].revents & POLLOUT)
			write_out(&ports[port]);
		if (polled[port + 1].revents & ~POLLOUT)
			read_in(run, port);
	}
	if (polled[0].revents)
		listen_to_input(run);
}

static bool flows(const struct run *run)
{
	for (unsigned from = 0; from < 2; from++) {
		const struct direction *direction = &run->direction[from];

		if (direction->received - direction->flow_from < run->options.flow)
			return false;
	}
	return true;
}

static bool is_good(const struct run *run)
{
	for (unsigned from = 0; from < 2; from++) {
		const struct direction *direction = &run->direction[from];

		if (direction->received != run->options.count || direction->lost ||
			direction->altered || direction->doubled || direction->reordered ||
			direction->foreign)
			return false;
	}
	return true;
}

static void print_direction(const struct direction *direction, unsigned from)
{
	(void)printf("%s{\"from\":\"%c\",\"sent\":%u,\"received\":%u,\"lost\":%u,\"altered\":%u,"
		     "\"doubled\":%u,\"reordered\":%u,\"foreign\":%u,\"stale\":%u,"
		     "\"probes_sent\":%u,\"probes_received\":%u,\"sent_bytes\":%llu,"
		     "\"out_frames\":%llu,\"out_bytes\":%llu}",
		from ? "," : "", 'A' + from, direction->sent, direction->received, direction->lost,
		direction->altered, direction->doubled, direction->reordered, direction->foreign,
		direction->stale, direction->probes_sent, direction->probes_received,
		(unsigned long long)direction->sent_bytes,
		(unsigned long long)direction->out_frames,
		(unsigned long long)direction->out_bytes);
}

static void report(struct run *run)
{
	for (unsigned from = 0; from < 2; from++)
		if (!run->stopped)
			run->direction[from].lost += under_way(&run->direction[from]);
	(void)printf("{\"ok\":%s,\"stopped\":%s,\"seconds\":%.3f,\"directions\":[",
		is_good(run) ? "true" : "false", run->stopped ? "true" : "false",
		now() - run->began);
	for (unsigned from = 0; from < 2; from++)
		print_direction(&run->direction[from], from);
	(void)puts("]}");
}

static void carry_out(struct run *run)
{
	for (unsigned from = 0; from < 2; from++) {
		run->direction[from].seen = calloc(1, run->options.count / 8 + 1);
		if (!run->direction[from].seen)
			die("no memory for %u frames", run->options.count);
	}
	run->began = run->moved = now();
	while (!is_over(run)) {
		step(run);
		if (run->options.flow && !run->flowing && flows(run)) {
			run->flowing = true;
			(void)puts("{\"flowing\":true}");
		}
	}
	report(run);
	for (unsigned from = 0; from < 2; from++)
		free(run->direction[from].seen);
}

/* --- the whole --- */

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("%s is too long a name for a socket", path);
	strcpy(address.sun_path, path);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		die("cannot listen at %s: %s", path, strerror(errno));
	return fd;
}

/* Whoever waits for the machine in vain gives up with the input. */
static int accept_at(int listener)
{
	struct pollfd polled[2] = {{STDIN_FILENO, 0, 0}, {listener, POLLIN, 0}};
	int fd;

	while (!polled[1].revents) {
		if (poll(polled, 2, -1) < 0 && errno != EINTR)
			die("cannot poll: %s", strerror(errno));
		if (polled[0].revents)
			exit(0);
	}
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		die("cannot accept: %s", strerror(errno));
	(void)close(listener);
	return fd;
}

static bool next_line(char *line, size_t size)
{
	if (!unread[0])
		return read_line(line, size);
	(void)snprintf(line, size, "%s", unread);
	unread[0] = '\0';
	return true;
}

int main(int argc, char **argv)
{
	uint32_t number = 0;
	int listener[2];
	char line[512];

	if (argc != 3)
		die("give the paths of two sockets");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned port = 0; port < 2; port++)
		listener[port] = listen_at(argv[port + 1]);
	(void)puts("{\"listening\":true}");
	for (unsigned port = 0; port < 2; port++)
		ports[port].fd = accept_at(listener[port]);
	while (next_line(line, sizeof(line)) && strcmp(line, "quit")) {
		static struct run run;

		if (!strcmp(line, "stop"))
			continue;
		if (strncmp(line, "run", 3))
			die("'%s' is no command", line);
		memset(&run, 0, sizeof(run));
		run.number = ++number;
		read_options(&run.options, line + 3);
		carry_out(&run);
	}
	return 0;
}
