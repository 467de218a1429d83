/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_USER_PRIV_H
#define PLX_VFIO_USER_PRIV_H

#include "base/compiler.h"
#include "base/error.h"
#include "vfio/user_wire.h"
#include "vfio/vfio.h"

#include <pthread.h>

/* What the files of the vfio-user client share. */

#define VFIO_USER_SEGMENTS  1024 /* pieces of memory that it keeps account of */
#define VFIO_USER_DOORBELLS 256  /* ioeventfds that it makes use of */
#define VFIO_USER_VECTORS   2048 /* interrupts of one index: as many as MSI-X has */

/* A register whose writing is told by a descriptor instead of a message. */
struct vfio_user_doorbell {
	uint64_t offset;
	uint64_t size; /* 0: whatever the width */
	uint64_t value;
	unsigned region;
	bool match; /* only when @value is written */
	int fd;
};

/* A mapped part of a region, which a new session puts its own file under. */
struct vfio_user_map {
	struct vfio_user_map *next;
	void *address;
	size_t len;
	unsigned region;
	uint64_t offset;
};

/* The eventfds of one index of interrupts, copies of the caller's; -1: none. */
struct vfio_user_irqs {
	int *fd;
	unsigned count;
};

/* A register that is being read without waiting for it. */
struct vfio_user_probe {
	bool asked;
	bool answered;
	uint16_t id;
	unsigned region;
	uint64_t offset;
	size_t len;
	uint64_t since;
	uint8_t value[8];
};

struct vfio_user_counts {
	uint64_t dma_reads; /* asked for by message */
	uint64_t dma_writes;
	uint64_t dma_refused; /* outside of what is mapped, or malformed */
};

struct vfio_user {
	struct plx_vfio_device base;
	struct plx_mem *mem;
	struct plx_mapper mapper;
	struct sockaddr_un address;
	uint64_t timeout;  /* ns for one message and its answer */
	uint64_t patience; /* ns for the server to be there */

	/* Guards what follows; taken after the memory's lock. */
	pthread_mutex_t lock;
	int fault;   /* atomic: -errno of what ended the session */
	bool parted; /* the server of the session that ended has left */
	char reason[PLX_ERROR_LEN];
	uint16_t next_id;
	struct plx_vfio_user_capabilities server;
	bool can_reset;
	struct vfio_user_probe probe;
	struct vfio_user_counts counts;

	unsigned segments;
	struct plx_mem_segment segment[VFIO_USER_SEGMENTS];

	int file[VFIO_PCI_NUM_REGIONS]; /* of each region; -1: none */
	struct vfio_user_map *maps;
	unsigned doorbells;
	struct vfio_user_doorbell doorbell[VFIO_USER_DOORBELLS];
	struct vfio_user_irqs irqs[VFIO_PCI_NUM_IRQS];

	struct plx_vfio_user_wire wire;
	struct plx_vfio_user_message out; /* the message that is being sent */
};

static inline struct vfio_user *vfio_user_of(struct plx_vfio_device *base)
{
	return container_of(base, struct vfio_user, base);
}

/* --- user_session.c; all of it with the lock held --- */

/* What the answer to a command may look like. */
struct vfio_user_form {
	size_t size_min; /* bytes of payload */
	size_t size_max;
	unsigned fds; /* at most */
};

/* End the session for what plx_error() says. Return: @err. */
int vfio_user_give_up(struct vfio_user *user, int err);

/* End the session because of what the server said. Return: -EPROTO. */
int vfio_user_nonsense(struct vfio_user *user, unsigned command, const char *what);

/* Return: 0; -errno of what ended the session, with its sentence. */
int vfio_user_fault(struct vfio_user *user);

/*
 * vfio_user_ask() - Send a command and receive its answer.
 * @command: of VFIO_USER_*
 * @payload: @size bytes, or NULL when they lie in user->out already
 * @fds: descriptors that go along
 *
 * Commands of the server that come meanwhile are carried out. The answer lies in user->wire.in
 * until the next call.
 *
 * Return: 0; -errno that the server refused it with, with a sentence; otherwise the session has
 * ended: -ENODEV, -ETIMEDOUT or -EPROTO.
 */
int vfio_user_ask(struct vfio_user *user, unsigned command, const void *payload, size_t size,
	const int *fds, unsigned count, const struct vfio_user_form *form);

/* Connect, within @patience nanoseconds, and agree on a version. Return: 0 or -errno. */
int vfio_user_greet(struct vfio_user *user, uint64_t patience);

/* Leave the server, and wait until it has left. Return: 0; -ETIMEDOUT when it does not. */
int vfio_user_part(struct vfio_user *user);

/* As the peek() of the seam. */
int vfio_user_probe(
	struct vfio_user *user, unsigned region, uint64_t offset, void *value, size_t len);

/* --- user_describe.c: what the device has; with the lock held --- */

/* Learn it from the server. Return: 0 or -errno. */
int vfio_user_learn(struct vfio_user *user);
/* The same in a new session, where it must be as it was. */
int vfio_user_learn_again(struct vfio_user *user);
/* Forget files and doorbells. */
void vfio_user_forget(struct vfio_user *user);

/* --- user_memory.c --- */

extern const struct plx_mapper_ops vfio_user_mapper;

/* Tell the server of all segments; the lock is held. */
int vfio_user_tell_memory(struct vfio_user *user);
/* Carry out the server's command in user->wire.in; the lock is held. Return: 0 or -errno. */
int vfio_user_serve_dma(struct vfio_user *user, uint64_t deadline);

/* --- user_irq.c --- */

int vfio_user_unmask_irq(struct plx_vfio_device *base, unsigned index);
int vfio_user_set_irqs(struct plx_vfio_device *base, unsigned index, unsigned start, unsigned count,
	const int32_t *fds);
/* Set in a new session what was set in the last one; the lock is held. */
int vfio_user_tell_irqs(struct vfio_user *user);
void vfio_user_forget_irqs(struct vfio_user *user);

#endif
