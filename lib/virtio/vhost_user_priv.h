/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VHOST_USER_PRIV_H
#define PLX_VIRTIO_VHOST_USER_PRIV_H

#include "base/error.h"
#include "base/options.h"
#include "mem/mem.h"
#include "virtio/vhost_user_socket.h"
#include "virtio/virtio.h"

#include <pthread.h>

/* The index of a ring has 8 bits in the messages. */
#define VHOST_USER_RINGS 256

/* Pieces of memory, of which a backend without CONFIGURE_MEM_SLOTS takes VHOST_USER_REGIONS. */
#define VHOST_USER_SEGMENTS 64

struct vhost_user_segment {
	struct vhost_user_region region; /* as the backend is told of it */
	int fd;                          /* the memory's own */
	bool told;                       /* with ADD_MEM_REG, on this connection */
};

/* A ring as the driver set it up; addresses are those of this process. */
struct vhost_user_ring {
	uint16_t size; /* 0: it is not set up */
	bool started;
	uint64_t descriptor;
	uint64_t driver;
	uint64_t device;
	int kick; /* eventfd, when it is set up */
};

/*
 * The control queue, which the front end serves itself: backends know only rings of frames. Memory
 * that a backend can write is not trusted here either.
 */
struct vhost_user_control {
	uint16_t size; /* 0: it is not set up */
	uint16_t at;   /* split: entry of the available ring, running free; packed: place */
	bool packed;
	bool wrap; /* packed: the driver's wrap counter as it stands at @at */
	void *descriptor;
	void *driver;
	void *device;
};

/* What the front end says of a network device whose backend does not (no PROTOCOL_F_CONFIG). */
struct vhost_user_net {
	bool has_mac;
	uint8_t mac[6];
	uint16_t mtu;   /* 0: none is given */
	uint16_t pairs; /* most pairs of queues to use */
	uint16_t queue_size;
};

struct vhost_user {
	struct plx_virtio virtio;
	struct plx_mapper mapper;
	/*
	 * Held for each exchange of messages: the control calls, and whoever makes or frees memory.
	 * Taken inside the memory's own lock, so nobody who holds it calls into the memory.
	 */
	pthread_mutex_t lock;
	struct plx_vhost_user_socket socket;
	uint64_t offered;  /* the backend's features, as it says them */
	uint64_t protocol; /* protocol features in use */
	unsigned pairs;    /* pairs of queues that the backend has */
	uint64_t slots;    /* pieces of memory that it takes */
	uint8_t status;
	bool refused; /* the features, so FEATURES_OK does not stay */
	bool live;    /* rings may be in use by the backend */
	int fault;    /* -errno: what ended the session, until the next reset */
	char reason[PLX_ERROR_LEN];
	int error_fd;    /* eventfd that the backend reports a fault by */
	int inflight_fd; /* the backend's record of what is in flight; -1: none */
	struct vhost_user_net net;
	unsigned segments;
	struct vhost_user_segment segment[VHOST_USER_SEGMENTS];
	struct vhost_user_ring ring[VHOST_USER_RINGS];
	struct vhost_user_control control;
	/* What a backend calls when it used buffers; the drivers', between a start and a stop. */
	const int32_t *calls;
	unsigned call_count;
	int call[VHOST_USER_RINGS]; /* of each ring, plus 1; 0: none */
};

static inline bool vhost_user_speaks(const struct vhost_user *vhost, unsigned feature)
{
	return vhost->protocol >> feature & 1;
}

/* --- vhost_user_session.c: one exchange at a time; the lock is held --- */

/* End the session: nothing more is said until the next reset. Return: @err. */
int vhost_user_give_up(struct vhost_user *vhost, int err);

/* Ask, and take the answer. Return: 0; -errno, and then the session has ended. */
int vhost_user_ask(struct vhost_user *vhost, struct plx_vhost_user_message *message,
	const struct plx_vhost_user_form *form);
int vhost_user_ask_u64(struct vhost_user *vhost, uint32_t request, uint64_t *value);

/*
 * Tell, and see that it was taken where the backend says so. Return: 0; 1 when it was refused;
 * -errno, and then the session has ended.
 */
int vhost_user_try(struct vhost_user *vhost, struct plx_vhost_user_message *message);

/* The same, and a refusal ends the session. */
int vhost_user_tell(struct vhost_user *vhost, struct plx_vhost_user_message *message);
int vhost_user_tell_u64(struct vhost_user *vhost, uint32_t request, uint64_t value);
int vhost_user_tell_state(
	struct vhost_user *vhost, uint32_t request, uint32_t index, uint32_t value);

/* Wait until all that was told has been done: an answer comes after it. */
int vhost_user_settle(struct vhost_user *vhost);

/* Connect and agree on the protocol. Return: 0; -errno, and then the session has ended. */
int vhost_user_greet(struct vhost_user *vhost);

/* --- vhost_user_memory.c --- */

extern const struct plx_mapper_ops vhost_user_mapper;

/* Tell the backend of all memory; the lock is held. Return: as vhost_user_tell(). */
int vhost_user_tell_memory(struct vhost_user *vhost);

/* The backend has gone, and its knowledge with it; the lock is held. */
void vhost_user_forget_memory(struct vhost_user *vhost);

/* Where @len bytes of an IOVA lie in this process; NULL outside the memory. The lock is held. */
void *vhost_user_translate(const struct vhost_user *vhost, uint64_t iova, uint64_t len);

/* --- vhost_user_rings.c; the lock is held --- */

/* Return: 0; -errno with plx_fail(). */
int vhost_user_ring_set_up(struct vhost_user *vhost, const struct plx_virtio_queue *queue);
int vhost_user_start_rings(struct vhost_user *vhost);
int vhost_user_enable_rings(struct vhost_user *vhost, unsigned first, unsigned end, bool enable);
/* Return: 0 when every ring has stopped; -errno, and then the session has ended. */
int vhost_user_stop_rings(struct vhost_user *vhost);
bool vhost_user_any_started(const struct vhost_user *vhost);
void vhost_user_forget_rings(struct vhost_user *vhost);

/* --- vhost_user_control.c --- */

/* Return: 0; -EFAULT when the queue does not lie in DMA memory. */
int vhost_user_control_set_up(struct vhost_user *vhost, const struct plx_virtio_queue *queue);

/* Carry out what the driver put there; the lock is held. */
void vhost_user_control_serve(struct vhost_user *vhost);

/* --- vhost_user_net.c --- */

int vhost_user_net_options(struct vhost_user *vhost, struct plx_address *address);

/* Pairs of queues that both ends can have. */
unsigned vhost_user_net_pairs(const struct vhost_user *vhost);

/* The number of the control queue; it is none of the backend's rings. */
bool vhost_user_net_is_control(const struct vhost_user *vhost, uint16_t index);

/* Carry out a command. Return: the byte of acknowledgement (virtio 1.4, 5.1.9.5). */
uint8_t vhost_user_net_command(struct vhost_user *vhost, const uint8_t *command, size_t len);

/*
 * What the driver is offered: the backend's features without those of the transport, and with what
 * the front end does.
 */
uint64_t vhost_user_net_offer(const struct vhost_user *vhost);
uint64_t vhost_user_net_config_size(const struct vhost_user *vhost);
uint32_t vhost_user_net_read_config(struct vhost_user *vhost, unsigned offset, unsigned width);

#endif
