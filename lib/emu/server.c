/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/server.h"

#include "base/barrier.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/server_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * The life of a server, its clients, and the loop in which it works for the device and hears of the
 * client, turn by turn. Like the thread of thread.c it polls while there is something to do and for
 * a moment afterwards, then asks to be notified and sleeps.
 */

#define BUDGET 64 /* buffers of a queue in one turn */

/* Turns with work until the client is listened to again. */
#define LOOK_ROUNDS 16

/* Turns without work before it sleeps. */
#define PATIENCE_LEAST 16
#define PATIENCE_MOST  256

/* How long a client may take for one message, and to read its answer. */
#define CLIENT_TIMEOUT PLX_MILLISECONDS(2000)

/* How long nobody is listened for when the kernel cannot make a connection. */
#define LISTEN_PAUSE PLX_MILLISECONDS(100)

enum { POLL_LISTENER, POLL_CLIENT, POLL_DOORBELLS };

/* --- clients --- */

/* The device is reset before it loses its memory, so that the loss is no fault of a driver's. */
static void free_device(struct plx_emu_server *server)
{
	struct plx_vfio_device *device = &server->emu->vfio;

	(void)device->ops->reset(device);
	(void)device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL);
	(void)device->ops->set_irqs(device, VFIO_PCI_INTX_IRQ_INDEX, 0, 0, NULL);
	plx_emu_server_unmap_all(server);
}

static void leave_client(struct plx_emu_server *server)
{
	if (server->wire.socket < 0)
		return;
	free_device(server);
	plx_vfio_user_drop(&server->wire);
	/* Last: a client that sees the end knows that its memory is let go of. */
	(void)close(server->wire.socket);
	server->wire.socket = server->poll[POLL_CLIENT].fd = -1;
	server->greeted = false;
}

static void drop_client(struct plx_emu_server *server)
{
	server->stats.dropped++;
	plx_log(server->log, PLX_LOG_WARNING, "%s: the client is hung up on: %s", server->name,
		plx_error());
	leave_client(server);
}

/*
 * Whoever waits to be taken keeps the socket ready, and a look at it would end at once each time.
 * So it is not looked at for a while; the client waits in the kernel.
 */
static void pause_listening(struct plx_emu_server *server, int err)
{
	server->stats.not_taken++;
	server->poll[POLL_LISTENER].fd = -1;
	server->listen_again = plx_now() + LISTEN_PAUSE;
	if (!server->starved)
		plx_log(server->log, PLX_LOG_WARNING,
			"%s: a client waits and cannot be taken: %s: close other files, or raise the limit (ulimit -n)",
			server->name, strerror(err));
	server->starved = true;
}

static void listen_again(struct plx_emu_server *server)
{
	server->poll[POLL_LISTENER].fd = server->listener;
	server->listen_again = 0;
}

static void take_client(struct plx_emu_server *server)
{
	int fd = plx_socket_accept(server->listener, plx_now());

	if (fd < 0) {
		if (fd != -EAGAIN)
			pause_listening(server, -fd);
		return;
	}
	server->starved = false;
	if (server->wire.socket >= 0) {
		server->stats.turned_away++;
		plx_log(server->log, PLX_LOG_INFO,
			"%s: a client is turned away, since another has the device", server->name);
		(void)close(fd);
		return;
	}
	server->wire.socket = server->poll[POLL_CLIENT].fd = fd;
	server->came = plx_now();
}

/* Whoever begins something finishes it in time, so that others have their turn. */
static void hurry_client(struct plx_emu_server *server)
{
	uint64_t since = server->wire.got ? server->wire.since : server->came;

	if (server->wire.socket < 0 || (server->greeted && !server->wire.got) ||
		plx_now() - since < CLIENT_TIMEOUT)
		return;
	(void)plx_fail(ETIMEDOUT, server->greeted ? "it stopped in the middle of a message"
						  : "it did not greet in time");
	drop_client(server);
}

/*
 * One command for each look: what was notified before it was sent has been seen to by then, and
 * what is sent while it is carried out comes after what is notified meanwhile.
 */
static void hear_client(struct plx_emu_server *server)
{
	uint64_t now = plx_now();
	int ret = plx_vfio_user_receive(&server->wire, now);

	if (!ret)
		return;
	if (ret == -ENODEV) {
		plx_log(server->log, PLX_LOG_INFO, "%s: the client has left", server->name);
		leave_client(server);
		return;
	}
	if (ret < 0)
		(void)plx_fail(
			EPROTO, "it sent what has no size of a message, or too many descriptors");
	else
		ret = plx_emu_server_command(server, now + CLIENT_TIMEOUT);
	if (ret < 0)
		drop_client(server);
	else
		/* Here the next message begins. */
		plx_vfio_user_drop(&server->wire);
}

/* --- the loop --- */

/* What a doorbell's eventfd stands for: the driver wrote the number of the queue. */
static void ring(struct plx_emu_server *server, unsigned queue)
{
	eventfd_t value;

	if (eventfd_read(server->doorbell[queue], &value))
		return;
	server->stats.doorbells++;
	(void)plx_emu_bar_kick(server->emu, PLX_EMU_VIRTIO_BAR,
		PLX_EMU_BAR_NOTIFY + queue * PLX_EMU_NOTIFY_MULT, sizeof(uint16_t), queue);
}

/* Wait until something comes, for @time nanoseconds at most, and see to it. */
static void look(struct plx_emu_server *server, uint64_t time, int peer)
{
	unsigned last = POLL_DOORBELLS + server->emu->queues;
	struct timespec limit;

	if (server->listen_again) {
		uint64_t now = plx_now();

		if (now >= server->listen_again)
			listen_again(server);
		else
			time = MIN(time, server->listen_again - now);
	}
	limit = (struct timespec){(time_t)(time / 1000000000u), (long)(time % 1000000000u)};
	server->poll[last].fd = peer;
	if (ppoll(server->poll, last + 1, &limit, NULL) <= 0)
		return;
	for (unsigned i = 0; i < server->emu->queues; i++)
		if (server->poll[POLL_DOORBELLS + i].revents)
			ring(server, i);
	if (server->poll[POLL_CLIENT].revents)
		hear_client(server);
	if (server->poll[POLL_LISTENER].revents)
		take_client(server);
}

static unsigned work(struct plx_emu *emu, bool sleep)
{
	unsigned done;

	plx_emu_lock(emu);
	if (sleep)
		plx_emu_sleep(emu);
	done = plx_emu_work(emu, BUDGET);
	plx_emu_unlock(emu);
	return done;
}

static void sleep_until(struct plx_emu_server *server, uint64_t end)
{
	uint64_t now, due;
	int peer;

	/* What came before the device asked to be notified is found by this turn. */
	if (work(server->emu, true))
		return;
	due = plx_emu_awaited(server->emu, &peer);
	now = plx_now();
	/* Out of time or not, the client is listened to. */
	look(server, now < end ? MIN(due, end - now) : 0, peer);
	hurry_client(server);
}

static void turn(struct plx_emu_server *server, uint64_t end)
{
	if (work(server->emu, false)) {
		if (server->idle)
			server->patience = MIN(2 * server->patience, PATIENCE_MOST);
		server->idle = 0;
		if (++server->rounds % LOOK_ROUNDS == 0)
			look(server, 0, -1);
		return;
	}
	plx_cpu_relax();
	if (++server->idle < server->patience) {
		if (server->idle % LOOK_ROUNDS == 0)
			look(server, 0, -1);
		return;
	}
	/* Waiting on the processor that the driver needs is in vain. */
	server->patience = MAX(server->patience / 2, PATIENCE_LEAST);
	server->idle = 0;
	sleep_until(server, end);
}

void plx_emu_server_run(struct plx_emu_server *server, uint64_t time)
{
	uint64_t end = plx_now() + time;

	do
		turn(server, end);
	while (plx_now() < end);
	hurry_client(server);
}

/* --- make and end --- */

static int listen_at(struct plx_emu_server *server, const char *path)
{
	int fd;

	if (plx_socket_address(&server->address, path))
		return plx_fail(EINVAL,
			"%s: the path of a socket has at most %zu characters and this one has %zu",
			server->name, sizeof(server->address.sun_path) - 1, strlen(path));
	fd = plx_socket_listen(&server->address, 4);
	if (fd == -EADDRINUSE)
		return plx_fail(EADDRINUSE,
			"%s: another program listens there, or the file is no socket: choose another path",
			server->name);
	if (fd < 0)
		return plx_fail(-fd,
			"%s: cannot make the server's socket: %s: look at the folder and its rights",
			server->name, strerror(-fd));
	server->listener = server->poll[POLL_LISTENER].fd = fd;
	return 0;
}

static int make_doorbells(struct plx_emu_server *server)
{
	for (unsigned i = 0; i < server->emu->queues; i++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return plx_fail(errno, "%s: no eventfd for a doorbell: %s", server->name,
				strerror(errno));
		server->doorbell[i] = server->poll[POLL_DOORBELLS + i].fd = fd;
	}
	return 0;
}

static int make_device(struct plx_emu_server *server, struct plx_address *address)
{
	struct plx_emu_config config;
	int err = plx_emu_config_from_address(&config, address);

	if (!err)
		err = plx_address_finish(address);
	if (err)
		return err;
	if (!strncmp(config.peer, "wire:", 5))
		return plx_fail(EINVAL,
			"%s: peer=%s joins two devices of one process: use peer=tap:NAME",
			server->name, config.peer);
	return plx_emu_create(NULL, server->log, &config, &server->emu);
}

static void init(struct plx_emu_server *server, const struct plx_log *log, const char *path)
{
	server->log = log;
	plx_socket_name(server->name, sizeof(server->name), path);
	server->listener = server->wire.socket = -1;
	server->patience = PATIENCE_MOST;
	for (unsigned i = 0; i < ARRAY_SIZE(server->doorbell); i++)
		server->doorbell[i] = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(server->poll); i++)
		server->poll[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	memset(server->no_fd, 0xff, sizeof(server->no_fd));
}

int plx_emu_server_create(const struct plx_log *log, struct plx_address *address, const char *path,
	struct plx_emu_server **out)
{
	struct plx_emu_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return plx_fail(ENOMEM, "%s: out of memory for a server", path);
	init(server, log, path);
	err = make_device(server, address);
	if (!err)
		err = make_doorbells(server);
	if (!err)
		err = listen_at(server, path);
	if (err) {
		plx_emu_server_destroy(server);
		return err;
	}
	*out = server;
	return 0;
}

void plx_emu_server_destroy(struct plx_emu_server *server)
{
	if (!server)
		return;
	leave_client(server);
	if (server->listener >= 0) {
		(void)unlink(server->address.sun_path);
		(void)close(server->listener);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(server->doorbell); i++)
		if (server->doorbell[i] >= 0)
			(void)close(server->doorbell[i]);
	plx_emu_destroy(server->emu);
	free(server);
}

struct plx_emu *plx_emu_server_device(struct plx_emu_server *server)
{
	return server->emu;
}

void plx_emu_server_get_stats(
	const struct plx_emu_server *server, struct plx_emu_server_stats *stats)
{
	const struct plx_emu_dma *dma = &server->emu->dma;

	*stats = server->stats;
	stats->memory_regions = dma->count;
	for (unsigned i = 0; i < dma->count; i++)
		stats->memory_bytes += dma->segment[i].length;
}
