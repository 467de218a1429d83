/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_SERVER_H
#define PLX_EMU_SERVER_H

#include "emu/emu.h"

/*
 * An emulated device served to another process by the vfio-user protocol: what the seam is for a
 * driver in this process, a socket is for one in another.
 *
 * One client at a time has the device; one that comes meanwhile is hung up on. When a client
 * leaves, however it does, the device is reset, forgets its memory and its interrupts, and waits
 * for the next one.
 *
 * The client is not trusted: every message is checked, what is malformed is refused with an error
 * (or, when its end cannot be known, by hanging up), no wait for a client is without an end, and
 * only files that cannot be cut short are mapped.
 *
 * Everything happens in plx_emu_server_run(), on the thread that calls it: the device's work, too.
 * All calls for one server come from one thread.
 */
struct plx_emu_server;

/* What a server saw; the device has counters of its own. */
struct plx_emu_server_stats {
	uint64_t clients;        /* that greeted in the right way */
	uint64_t turned_away;    /* that came while another had the device */
	uint64_t not_taken;      /* tries that failed for want of descriptors or memory */
	uint64_t dropped;        /* hung up on for what they sent, or did not send in time */
	uint64_t messages;       /* commands carried out */
	uint64_t refused;        /* commands answered with an error */
	uint64_t doorbells;      /* notifications by eventfd, without a message */
	uint64_t memory_regions; /* mapped at the moment */
	uint64_t memory_bytes;
};

/*
 * plx_emu_server_create() - Make a device and listen for who wants it.
 * @log: outlives the server; PLX_LOG_INFO tells of clients that come and go, PLX_LOG_DEBUG of each
 * refused message
 * @address: scheme "emu", with the options of address.c
 * @path: of the socket; a file that nobody listens at any more is replaced
 *
 * Return: 0; -ENODEV, -EINVAL as plx_emu_open(); -EADDRINUSE when somebody listens there; -ENOMEM;
 * other -errno of the socket.
 */
int plx_emu_server_create(const struct plx_log *log, struct plx_address *address, const char *path,
	struct plx_emu_server **server);

/* Hang up, remove the socket's file, and end the device. NULL is allowed. */
void plx_emu_server_destroy(struct plx_emu_server *server);

/*
 * plx_emu_server_run() - Serve for a while.
 * @time: nanoseconds, after which it returns; it sleeps when there is nothing to do
 */
void plx_emu_server_run(struct plx_emu_server *server, uint64_t time);

/* The device, to look at. */
struct plx_emu *plx_emu_server_device(struct plx_emu_server *server);
void plx_emu_server_get_stats(
	const struct plx_emu_server *server, struct plx_emu_server_stats *stats);

#endif
