/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTIO_H
#define PLX_VIRTIO_VIRTIO_H

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "mem/mem.h"
#include "vfio/alarm.h"
#include "vfio/vfio.h"
#include "virtio/features.h"
#include "virtio/trace.h"

#include <stdbool.h>

/*
 * A virtio device, whatever its type and its transport.
 *
 * The transport seam has one call for each thing that the standard lets a driver do to a device
 * outside its queues; what comes back is as the device said it and is checked by whoever asked.
 */
struct plx_virtio;

/* How a queue is to be programmed (virtio 1.4, 4.1.5.1.3). */
struct plx_virtio_queue {
	uint16_t index;
	uint16_t size;
	uint64_t descriptor_area; /* IOVAs of its three parts */
	uint64_t driver_area;
	uint64_t device_area;
};

/* Where a queue is notified, and with what. */
struct plx_virtio_doorbell {
	struct plx_mmio window;
	uint16_t value;
	bool data; /* behind @value, how far the queue was filled: NOTIFICATION_DATA (2.9) */
};

struct plx_virtio_transport {
	const char *name; /* "pci" */
	/*
	 * The legacy interface (virtio 1.4, 2.7.2): a queue has the size that the device gives it,
	 * its three parts are one piece of memory on a page boundary, and the network header is
	 * shorter.
	 */
	bool legacy;

	uint8_t (*read_status)(struct plx_virtio *virtio);
	void (*write_status)(struct plx_virtio *virtio, uint8_t status);
	void (*read_features)(struct plx_virtio *virtio, struct plx_features *features);
	void (*write_features)(struct plx_virtio *virtio, const struct plx_features *features);
	/*
	 * Take from the negotiation what this transport cannot carry, or carries to nobody's
	 * advantage; NULL: nothing of it.
	 */
	void (*narrow)(struct plx_virtio *virtio);
	/*
	 * A counter that changes with the device configuration; NULL when the transport has none.
	 */
	uint8_t (*read_generation)(struct plx_virtio *virtio);
	/* Bytes of device configuration that can be read. */
	uint64_t (*config_size)(struct plx_virtio *virtio);
	/* One field of 1, 2 or 4 bytes, in one access. */
	uint32_t (*read_config)(struct plx_virtio *virtio, unsigned offset, unsigned width);
	/* Entries of a queue's largest ring; 0 when there is no such queue. */
	uint16_t (*queue_max)(struct plx_virtio *virtio, uint16_t index);
	/* Program and enable a queue, and open its doorbell. Return: 0 or -errno. */
	int (*queue_setup)(struct plx_virtio *virtio, const struct plx_virtio_queue *queue,
		struct plx_virtio_doorbell *doorbell);
	/*
	 * Make the device forget one queue while the others run (2.6.1), within the limit of a
	 * reset. NULL where RING_RESET cannot be carried. Return: 0; -EIO when the device does not
	 * say that it did; -ENODEV; -errno of the transport.
	 */
	int (*queue_reset)(struct plx_virtio *virtio, uint16_t index);
	/*
	 * How many interrupt vectors there are, and in @line whether there is one line for all of
	 * them. NULL, as all of the next five, where nothing interrupts.
	 */
	unsigned (*vectors)(struct plx_virtio *virtio, bool *line);
	/*
	 * Let each of @count vectors write to an eventfd, which stays open until they are turned
	 * off; a count of 0 turns them off. Return: 0 or -errno.
	 */
	int (*set_vectors)(struct plx_virtio *virtio, unsigned count, const int32_t *fds);
	/*
	 * Have a queue, or changes of the configuration, notify by a vector: after the features
	 * are settled and before the queue is set up; a reset undoes it (4.1.5.1.2). Return: the
	 * vector as it reads back; VIRTIO_MSI_NO_VECTOR when the device refuses.
	 */
	uint16_t (*map_queue)(struct plx_virtio *virtio, uint16_t index, uint16_t vector);
	uint16_t (*map_config)(struct plx_virtio *virtio, uint16_t vector);
	/* Let the line write to an eventfd; -1 turns it off. Return: 0 or -errno. */
	int (*set_line)(struct plx_virtio *virtio, int32_t fd);
	/*
	 * Take the line's interrupt for seen and let the next one come, from any thread; NULL
	 * without a line.
	 */
	void (*rearm_line)(struct plx_virtio *virtio);
	/*
	 * Notify a queue; NULL where its doorbell does that. Called by the thread that uses the
	 * queue.
	 */
	void (*notify)(struct plx_virtio *virtio, uint16_t queue);
	/*
	 * Whether a running device is still there, asked now and then by a queue on which nothing
	 * moves. From any thread, never blocks; NULL where nobody can tell. Return: 0; -ENODEV
	 * when it is gone; -EIO when it reports a fault of its own.
	 */
	int (*check)(struct plx_virtio *virtio);
	/*
	 * What went wrong since the last reset, where an access can fail; NULL where it reads all
	 * ones instead. Return: 0; -errno with plx_fail().
	 */
	int (*fault)(struct plx_virtio *virtio);
	/*
	 * Make sure by other means that the device is quiet. Return: 0; -errno when it may not be.
	 */
	int (*reset_function)(struct plx_virtio *virtio);
	const char *last_resort; /* what reset_function does, in words */
	/* Take the device from the bus and free the transport. */
	void (*close)(struct plx_virtio *virtio);
};

/* What a driver does at the points that the handshake gives it; see handshake.h. */
struct plx_handshake_driver {
	/* Build and program the queues. Return: 0 or -errno with plx_fail(). */
	int (*set_up)(void *arg);
	/* Make buffers available, without notifying. Return: as set_up. */
	int (*fill)(void *arg);
	/* The device is live: send the notifications that were held back. */
	void (*go_live)(void *arg);
};

/* Upper bounds of the waits for a device, in nanoseconds. */
struct plx_virtio_limits {
	uint64_t reset;   /* until status reads 0, or a queue's reset is done */
	uint64_t suspend; /* until a live device stands still, and until it is live again */
	uint64_t command; /* until a command is answered */
	uint64_t stall;   /* until it is told that a device finishes nothing that is sent */
	unsigned generation_tries; /* reads of a configuration that keeps changing */
};

struct plx_handshake;

struct plx_virtio {
	const struct plx_virtio_transport *transport;
	const struct plx_handshake *handshake;
	const struct plx_log *log;
	struct plx_mem *mem;
	struct plx_vfio_device *function; /* the PCI function that it is; NULL: it is none */
	struct plx_vfio_alarm alarm;      /* of the function */
	char name[PLX_DEVICE_NAME_LEN];
	unsigned device_id; /* VIRTIO_ID_NET, ... */
	int numa_node;
	bool dma_translated;  /* an IOMMU stands between the device and memory */
	bool reset_confirmed; /* the device is known to touch no memory */
	unsigned step;        /* of the handshake that comes next */
	struct plx_virtio_limits limits;
	struct plx_negotiation negotiation;
	struct plx_trace trace;
};

#define PLX_VIRTIO_LIMITS_DEFAULT                                                                  \
	((struct plx_virtio_limits){                                                               \
		.reset = PLX_MILLISECONDS(2000),                                                   \
		.suspend = PLX_MILLISECONDS(2000),                                                 \
		.command = PLX_MILLISECONDS(2000),                                                 \
		.stall = PLX_MILLISECONDS(5000),                                                   \
		.generation_tries = 100,                                                           \
	})

/* What the device is reached through: the name of a backend of VFIO's seam, or of the transport. */
static inline const char *plx_virtio_backend(const struct plx_virtio *virtio)
{
	return virtio->function ? virtio->function->ops->name : virtio->transport->name;
}

static inline bool plx_virtio_has(const struct plx_virtio *virtio, unsigned feature)
{
	return plx_features_has(&virtio->negotiation.accepted, feature);
}

/* Offered, and not declined by the user: its fields of the configuration may be used. */
static inline bool plx_virtio_may_use(const struct plx_virtio *virtio, unsigned feature)
{
	return plx_features_has(&virtio->negotiation.offered, feature) &&
	       virtio->negotiation.wish[feature] != PLX_FEATURE_OFF;
}

static inline bool plx_virtio_offers(const struct plx_virtio *virtio, unsigned feature)
{
	return plx_features_has(&virtio->negotiation.offered, feature);
}

/* What every transport begins with; the rest of @virtio is zeros. */
void plx_virtio_init(struct plx_virtio *virtio, const struct plx_virtio_transport *transport,
	const struct plx_handshake *handshake, unsigned device_id, struct plx_mem *mem);

/* And what it takes over from a PCI function. */
void plx_virtio_init_pci(struct plx_virtio *virtio, struct plx_vfio_device *vfio);

/*
 * What the transports of a PCI function have in common: their check(), for the register of the
 * status, their fault() and their reset_function().
 */
int plx_virtio_pci_check(const struct plx_mmio *window, uint64_t offset);
int plx_virtio_pci_fault(struct plx_virtio *virtio);
int plx_virtio_pci_reset_function(struct plx_virtio *virtio);
/*
 * A quiet device is about to be reset: where its session with another process has ended, begin a
 * new one. What fails here is found by whoever reads the status next.
 */
void plx_virtio_pci_revive(struct plx_virtio *virtio);

/*
 * plx_virtio_read_config() - Read fields of the device configuration as one consistent whole.
 * @fields: what to read; each value is filled in
 *
 * Goes round as long as the generation changes between the first and the last field (virtio 1.4,
 * 2.5.1), with a bound.
 *
 * Return: 0; -EPROTO when the configuration is too short for a field or never settles; -errno of
 * the transport.
 */
struct plx_virtio_field {
	uint16_t offset;
	uint8_t width; /* 1, 2 or 4 */
	uint32_t value;
};
int plx_virtio_read_config(
	struct plx_virtio *virtio, struct plx_virtio_field *fields, unsigned count);

/* The device status, every access of which is traced. */
uint8_t plx_virtio_read_status(struct plx_virtio *virtio);
void plx_virtio_write_status(struct plx_virtio *virtio, uint8_t status);

/* What the status of a device that left the bus reads as: every bit. */
#define PLX_VIRTIO_STATUS_GONE 0xff

/* As the transport's fault(). */
int plx_virtio_fault(struct plx_virtio *virtio);

/*
 * Say that the device is gone, at the present step, or what the transport knows of it.
 *
 * Return: -ENODEV; -errno of the transport.
 */
static inline int plx_virtio_gone(struct plx_virtio *virtio)
{
	int err = plx_virtio_fault(virtio);

	return err < 0 ? err
		       : plx_fail(ENODEV,
				 "%s: the device is gone: its registers read all ones at the step '%s'",
				 virtio->name, virtio->trace.step);
}

/*
 * plx_virtio_reset() - Write 0 to the status and wait until it reads 0 (virtio 1.4, 4.1.4.3.2).
 *
 * Return: 0; -ENODEV; -EIO when the limit has passed.
 */
int plx_virtio_reset(struct plx_virtio *virtio);

/*
 * plx_virtio_quiesce() - Make the device forget its queues: status 0, confirmed.
 *
 * When the device does not confirm within its limit its transport's last resort is taken.
 *
 * Return: 0; -EIO when even that failed, and then its memory must be kept.
 */
int plx_virtio_quiesce(struct plx_virtio *virtio);

/* Take the device from the bus; it is quiet afterwards. NULL is allowed. */
void plx_virtio_close(struct plx_virtio *virtio);

#endif
