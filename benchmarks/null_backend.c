/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user network backend that does nothing: it completes every buffer as soon as it is
 * available, for receiving with a frame that was never written. What a driver makes against it is
 * what the driver and the ring cost. One thread polls all rings and never wants to be notified. It
 * serves each of its sockets, one front end after the other, until a signal ends it.
 */
#include "null_backend.h"
#include "bench.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Rounds over all rings between two looks at the sockets: so many that a look costs nothing, and no
 * more, since it is what a front end that starts waits for.
 */
#define ROUNDS 1024

#define SOCKETS 4

#define BIT(bit) (UINT64_C(1) << (bit))

struct backend {
	uint64_t offered;
	const char *path;
	int listener; /* -1 as client */
	int fd;       /* -1 while there is no front end */
	struct rings rings;
};

struct backends {
	unsigned count;
	struct backend one[SOCKETS];
};

struct message {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	int fd[VHOST_USER_REGIONS];
	unsigned fds;
};

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("null-backend: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* --- memory --- */

static void *translate_user(const struct memory *memory, uint64_t user)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct region *region = &memory->region[i];

		if (user - region->user < region->size)
			return region->base + (user - region->user);
	}
	return NULL;
}

static void forget_memory(struct memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++) {
		(void)munmap(memory->region[i].map, memory->region[i].map_size);
		free(memory->region[i].written);
	}
	memory->count = 0;
}

static void map_region(struct memory *memory, const struct vhost_user_region *from, int fd)
{
	struct region *region = &memory->region[memory->count];

	*region = (struct region){
		.guest = from->guest_address,
		.user = from->user_address,
		.size = from->size,
		.map_size = from->size + from->mmap_offset,
	};
	region->map = mmap(NULL, region->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	region->written = calloc(1, region->size / 512 + 1);
	if (region->map == MAP_FAILED || !region->written)
		die("cannot map %llu bytes: %s", (unsigned long long)region->map_size,
			strerror(errno));
	region->base = (uint8_t *)region->map + from->mmap_offset;
	memory->count++;
}

static void place_ring(struct backend *backend, struct ring *ring)
{
	const struct memory *memory = &backend->rings.memory;

	if (!ring->address.descriptor)
		return;
	ring->desc = translate_user(memory, ring->address.descriptor);
	ring->driver = translate_user(memory, ring->address.available);
	ring->device = translate_user(memory, ring->address.used);
}

static void set_memory(struct backend *backend, const struct message *message)
{
	const struct vhost_user_memory *table = &message->payload.memory;

	if (table->count != message->fds)
		die("%u regions came with %u descriptors", table->count, message->fds);
	forget_memory(&backend->rings.memory);
	for (unsigned i = 0; i < message->fds; i++)
		map_region(&backend->rings.memory, &table->region[i], message->fd[i]);
	for (unsigned i = 0; i < RINGS; i++)
		place_ring(backend, &backend->rings.ring[i]);
}

/* --- messages --- */

/* Return: whether there was one; the front end may have gone. */
static bool receive(const struct backend *backend, struct message *message)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(message->fd))];
	struct iovec part = {&message->header, sizeof(message->header)};
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *rights;

	memset(message, 0, sizeof(*message));
	if (recvmsg(backend->fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(message->header))
		return false;
	rights = CMSG_FIRSTHDR(&msg);
	if (rights && rights->cmsg_type == SCM_RIGHTS) {
		message->fds = (unsigned)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(message->fd, CMSG_DATA(rights), message->fds * sizeof(int));
	}
	if (message->header.size > sizeof(message->payload))
		die("a message of %u bytes", message->header.size);
	return !message->header.size || recv(backend->fd, &message->payload, message->header.size,
						MSG_WAITALL) == (ssize_t)message->header.size;
}

static void answer(const struct backend *backend, struct message *message, uint32_t size)
{
	struct iovec parts[] = {
		{&message->header, sizeof(message->header)}, {&message->payload, size}};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};

	message->header.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	message->header.size = size;
	(void)sendmsg(backend->fd, &msg, MSG_NOSIGNAL);
}

static void answer_u64(const struct backend *backend, struct message *message, uint64_t value)
{
	message->payload.u64 = value;
	answer(backend, message, sizeof(value));
}

static struct ring *ring_of(struct backend *backend, uint64_t index)
{
	if (index >= RINGS)
		die("there is no ring %llu", (unsigned long long)index);
	return &backend->rings.ring[index];
}

static void start_ring(struct backend *backend, struct message *message)
{
	struct ring *ring = ring_of(backend, message->payload.u64 & VHOST_USER_VRING_INDEX_MASK);

	place_ring(backend, ring);
	if (!ring->desc || !ring->driver || !ring->device || !ring->size)
		die("a ring is started that does not lie in memory");
	ring->started = true;
	/* Without this bit there is no message to enable it. */
	if (!rings_have(&backend->rings, VHOST_USER_F_PROTOCOL_FEATURES))
		ring->enabled = true;
	ring_be_quiet(&backend->rings, ring);
}

static void stop_ring(struct backend *backend, struct message *message)
{
	struct ring *ring = ring_of(backend, message->payload.state.index);

	ring->started = false;
	message->payload.state.num = ring->avail;
	answer(backend, message, sizeof(message->payload.state));
}

static void set_base(struct backend *backend, const struct vhost_user_vring_state *state)
{
	struct ring *ring = ring_of(backend, state->index);

	ring->avail = (uint16_t)state->num;
	if (rings_have(&backend->rings, VIRTIO_F_RING_PACKED)) {
		ring->avail = state->num & 0x7fff;
		ring->avail_wrap = state->num & 0x8000;
	}
}

#define PROTOCOL_FEATURES (BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK))

/* Return: whether it was answered. */
static bool ask(struct backend *backend, struct message *message)
{
	switch (message->header.request) {
	case VHOST_USER_GET_FEATURES:
		answer_u64(backend, message, backend->offered);
		return true;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		answer_u64(backend, message, PROTOCOL_FEATURES);
		return true;
	case VHOST_USER_GET_QUEUE_NUM:
		answer_u64(backend, message, RINGS / 2);
		return true;
	case VHOST_USER_GET_VRING_BASE:
		stop_ring(backend, message);
		return true;
	default:
		return false;
	}
}

static void tell(struct backend *backend, struct message *message)
{
	const struct vhost_user_vring_state *state = &message->payload.state;

	switch (message->header.request) {
	case VHOST_USER_SET_FEATURES:
		backend->rings.features = message->payload.u64;
		break;
	case VHOST_USER_SET_MEM_TABLE:
		set_memory(backend, message);
		break;
	case VHOST_USER_SET_VRING_NUM:
		ring_of(backend, state->index)->size = (uint16_t)state->num;
		break;
	case VHOST_USER_SET_VRING_BASE:
		set_base(backend, state);
		break;
	case VHOST_USER_SET_VRING_ADDR:
		ring_of(backend, message->payload.address.index)->address =
			message->payload.address;
		break;
	case VHOST_USER_SET_VRING_KICK:
		start_ring(backend, message);
		break;
	case VHOST_USER_SET_VRING_ENABLE:
		ring_of(backend, state->index)->enabled = state->num;
		break;
	default:
		break;
	}
}

/* Return: false when the front end has gone. */
static bool serve_message(struct backend *backend)
{
	struct message message;
	bool acknowledge;

	if (!receive(backend, &message))
		return false;
	acknowledge = message.header.flags & VHOST_USER_NEED_REPLY;
	if (!ask(backend, &message)) {
		tell(backend, &message);
		if (acknowledge)
			answer_u64(backend, &message, 0);
	}
	for (unsigned i = 0; i < message.fds; i++)
		(void)close(message.fd[i]);
	return true;
}

/* --- one front end after the other --- */

static bool runs(const struct ring *ring)
{
	return ring->started && ring->enabled;
}

static bool any_runs(const struct backends *backends)
{
	for (unsigned i = 0; i < backends->count; i++)
		for (unsigned j = 0; j < RINGS; j++)
			if (runs(&backends->one[i].rings.ring[j]))
				return true;
	return false;
}

static unsigned serve_ring(struct rings *rings, unsigned index)
{
	return rings->mirror ? ring_mirror(rings, index / 2) : ring_complete(rings, index);
}

/* The rings of a mirror's pair are served together, at the second. */
static bool is_served(const struct rings *rings, unsigned index)
{
	if (!runs(&rings->ring[index]))
		return false;
	return !rings->mirror || (index & 1 && runs(&rings->ring[index ^ 1]));
}

/* A mirror is for tests, whose machine may be busy; a rival of drivers has its core for itself. */
static void rest(const struct rings *rings)
{
	if (rings->mirror)
		(void)sched_yield();
	else
		__builtin_ia32_pause();
}

static void poll_rings(struct backends *backends)
{
	struct {
		struct rings *rings;
		unsigned index;
	} running[SOCKETS * RINGS];
	unsigned count = 0;

	for (unsigned i = 0; i < backends->count; i++) {
		struct rings *rings = &backends->one[i].rings;

		for (unsigned j = 0; j < RINGS; j++) {
			if (!is_served(rings, j))
				continue;
			running[count].rings = rings;
			running[count++].index = j;
		}
	}
	for (unsigned round = 0; count && round < ROUNDS; round++)
		for (unsigned i = 0; i < count; i++)
			if (!serve_ring(running[i].rings, running[i].index))
				rest(running[i].rings);
			else if (!running[i].rings->first_sent && running[i].index & 1)
				running[i].rings->first_sent = bench_now();
}

/* The front end has gone. */
static void leave(struct backend *backend)
{
	uint64_t received = 0, sent = 0;

	for (unsigned i = 0; i < RINGS; i++)
		*(i & 1 ? &sent : &received) += backend->rings.ring[i].frames;
	(void)printf("{\"received\":%llu,\"sent\":%llu,\"first_sent\":%.6f}\n",
		(unsigned long long)received, (unsigned long long)sent, backend->rings.first_sent);
	(void)fflush(stdout);
	backend->rings.first_sent = 0;
	memset(backend->rings.ring, 0, sizeof(backend->rings.ring));
	forget_memory(&backend->rings.memory);
	(void)close(backend->fd);
	backend->fd = -1;
}

static int open_socket(const struct backend *backend, struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("no socket: %s", strerror(errno));
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(backend->path) >= sizeof(address->sun_path))
		die("%s: the path is too long", backend->path);
	strcpy(address->sun_path, backend->path);
	return fd;
}

static void start_listening(struct backend *backend)
{
	struct sockaddr_un address;

	backend->listener = open_socket(backend, &address);
	(void)unlink(backend->path);
	if (bind(backend->listener, (const void *)&address, sizeof(address)) ||
		listen(backend->listener, 1))
		die("%s: %s", backend->path, strerror(errno));
}

static void try_to_connect(struct backend *backend)
{
	struct sockaddr_un address;
	int fd = open_socket(backend, &address);

	if (!connect(fd, (const void *)&address, sizeof(address)))
		backend->fd = fd;
	else
		(void)close(fd);
}

static void look_at_socket(struct backend *backend)
{
	if (backend->fd < 0)
		backend->fd = accept4(backend->listener, NULL, NULL, SOCK_CLOEXEC);
	else if (!serve_message(backend))
		leave(backend);
}

static void look_at_sockets(struct backends *backends)
{
	struct pollfd polled[SOCKETS];
	int wait = any_runs(backends) ? 0 : -1;

	for (unsigned i = 0; i < backends->count; i++) {
		struct backend *backend = &backends->one[i];

		if (backend->fd < 0 && backend->listener < 0)
			try_to_connect(backend);
		polled[i] = (struct pollfd){
			.fd = backend->fd < 0 ? backend->listener : backend->fd,
			.events = POLLIN,
		};
		/* A socket that is not there yet cannot be waited for. */
		if (polled[i].fd < 0 && wait)
			wait = 10;
	}
	if (poll(polled, backends->count, wait) <= 0)
		return;
	for (unsigned i = 0; i < backends->count; i++)
		if (polled[i].fd >= 0 && polled[i].revents)
			look_at_socket(&backends->one[i]);
}

static void run(struct backends *backends)
{
	while (!ended) {
		look_at_sockets(backends);
		poll_rings(backends);
	}
	for (unsigned i = 0; i < backends->count; i++) {
		if (backends->one[i].fd >= 0)
			leave(&backends->one[i]);
		if (backends->one[i].listener >= 0)
			(void)unlink(backends->one[i].path);
	}
}

/* --- options --- */

enum { CLIENT = 256, SIZE, NO_PACKED, NO_MERGEABLE, IN_ORDER, EVENT_INDEX, HEADERS, MIRROR, STAMP };

static const struct argp_option options[] = {
	{"client", CLIENT, NULL, 0, "Connect to the front end's socket instead of listening", 0},
	{"size", SIZE, "BYTES", 0, "Bytes of a frame (default 60)", 0},
	{"no-packed", NO_PACKED, NULL, 0, "Do not offer F_RING_PACKED", 0},
	{"no-mergeable", NO_MERGEABLE, NULL, 0, "Do not offer NET_F_MRG_RXBUF", 0},
	{"in-order", IN_ORDER, NULL, 0, "Offer F_IN_ORDER, and complete what is sent in batches",
		0},
	{"event-index", EVENT_INDEX, NULL, 0, "Offer F_EVENT_IDX", 0},
	{"headers-always", HEADERS, NULL, 0,
		"Write the header of each mergeable buffer each time: needed when a front end sends the buffers that it received",
		0},
	{"mirror", MIRROR, NULL, 0, "Receive on each pair what is sent on it, copied", 0},
	{"stamp", STAMP, NULL, 0, "With --mirror, write into each frame when it was turned back",
		0},
	{0},
};

struct arguments {
	struct backend model; /* what all have in common */
	bool client;
	struct backends backends;
};

static error_t take_path(struct backends *backends, char *path, struct argp_state *state)
{
	if (backends->count == SOCKETS)
		argp_error(state, "%u sockets are enough", SOCKETS);
	backends->one[backends->count++].path = path;
	return 0;
}

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct backend *model = &arguments->model;

	switch (key) {
	case CLIENT:
		arguments->client = true;
		return 0;
	case SIZE:
		model->rings.frame_size = (uint32_t)strtoul(arg, NULL, 0);
		if (model->rings.frame_size < 14 || model->rings.frame_size > 65535)
			argp_error(state, "--size=%s is not possible: give 14 to 65535", arg);
		return 0;
	case NO_PACKED:
		model->offered &= ~BIT(VIRTIO_F_RING_PACKED);
		return 0;
	case NO_MERGEABLE:
		model->offered &= ~BIT(VIRTIO_NET_F_MRG_RXBUF);
		return 0;
	case IN_ORDER:
		model->offered |= BIT(VIRTIO_F_IN_ORDER);
		return 0;
	case EVENT_INDEX:
		model->offered |= BIT(VIRTIO_F_EVENT_IDX);
		return 0;
	case MIRROR:
		model->rings.mirror = true;
		return 0;
	case STAMP:
		model->rings.stamp = true;
		return 0;
	case HEADERS:
		model->rings.headers_always = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_path(&arguments->backends, arg, state);
	case ARGP_KEY_END:
		if (!arguments->backends.count)
			argp_error(state, "no socket is given");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, take_option, "SOCKET...",
		"A vhost-user network backend that completes every buffer at once and touches no payload. "
		"It serves up to four sockets. For each front end that leaves it prints a line of JSON; first_sent is the time of the first frame that it sent, by CLOCK_MONOTONIC.",
		NULL, NULL, NULL};
	static struct arguments arguments = {
		.model.offered = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) |
				 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_MQ) |
				 BIT(VHOST_USER_F_PROTOCOL_FEATURES),
		.model.rings.frame_size = 60,
	};
	struct backends *backends = &arguments.backends;
	struct sigaction action = {.sa_handler = end};

	(void)argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	for (unsigned i = 0; i < backends->count; i++) {
		const char *path = backends->one[i].path;

		backends->one[i] = arguments.model;
		backends->one[i].path = path;
		backends->one[i].fd = backends->one[i].listener = -1;
		if (!arguments.client)
			start_listening(&backends->one[i]);
	}
	run(backends);
	return 0;
}
