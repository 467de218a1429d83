/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_SERVER_PRIV_H
#define PLX_EMU_SERVER_PRIV_H

#include "emu/emu_priv.h"
#include "emu/server.h"
#include "vfio/user_wire.h"

#include <poll.h>

/* What the files of the server share. */

#define PLX_EMU_SERVER_MAPS 4096 /* pieces of memory that a client may map */

struct plx_emu_server {
	struct plx_emu *emu;
	const struct plx_log *log;
	char name[PLX_DEVICE_NAME_LEN];
	struct sockaddr_un address;
	int listener;
	uint64_t listen_again; /* when to look at it again; 0: it is looked at */
	bool starved;          /* the last client that came could not be taken */

	/* The client; its socket is -1 when there is none. */
	struct plx_vfio_user_wire wire;
	struct plx_vfio_user_capabilities client;
	bool greeted;
	uint64_t came; /* when it connected */
	struct plx_vfio_user_message out;

	int doorbell[PLX_EMU_QUEUES];      /* eventfds, one for each queue */
	int32_t no_fd[PLX_EMU_QUEUES + 1]; /* no eventfd, for each interrupt */

	/* The listener, the client, the doorbells, and what the device's peer waits for. */
	struct pollfd poll[2 + PLX_EMU_QUEUES + 1];
	unsigned idle;
	unsigned patience;
	unsigned rounds;

	struct plx_emu_server_stats stats;
};

/*
 * server_commands.c: carry out the command in server->wire.in and answer it. Return: 0; -errno when
 * the client is not to be listened to any more, with a sentence.
 */
int plx_emu_server_command(struct plx_emu_server *server, uint64_t deadline);

/* server_memory.c: the memory of the client. Each returns 0 or -errno with a sentence. */
int plx_emu_server_map(
	struct plx_emu_server *server, const struct vfio_user_dma_map *map, const int *fd);
int plx_emu_server_unmap(struct plx_emu_server *server, const struct vfio_user_dma_unmap *unmap);
void plx_emu_server_unmap_all(struct plx_emu_server *server);

#endif
