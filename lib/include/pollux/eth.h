/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_ETH_H
#define POLLUX_ETH_H

#include <pollux/device.h>
#include <pollux/packet.h>
#include <pollux/pool.h>

/**
 * @file
 * Ethernet devices: opened by an address, configured, started, and then driven by burst calls, one
 * queue at a time by one thread at a time.
 *
 *     open -> configure -> start -> bursts -> stop -> close
 *
 * The control calls (all but the bursts) may come from any thread, one at a time for a device; they
 * take its lock. A queue may be used by any thread, by one at a time. plx_eth_stop(),
 * plx_eth_reset() and plx_eth_close() may be called only when no thread is in a burst of the
 * device.
 */

#ifdef __cplusplus
extern "C" {
#endif

struct plx_eth;

/** A receive queue. Only plx_eth_rx_burst() looks inside. */
struct plx_eth_rxq {
	/** The body of plx_eth_rx_burst() that fits what was negotiated. */
	int (*burst)(struct plx_eth_rxq *queue, struct plx_packet **packets, unsigned count);
	/** The body of plx_eth_rx_arm(). */
	int (*arm)(struct plx_eth_rxq *queue);
	/** The body of plx_eth_rx_disarm(). */
	void (*disarm)(struct plx_eth_rxq *queue);
};

/** A transmit queue. Only plx_eth_tx_burst() looks inside. */
struct plx_eth_txq {
	/** The body of plx_eth_tx_burst() that fits what was negotiated. */
	int (*burst)(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count);
	/** The body of plx_eth_tx_prepare(). */
	int (*prepare)(
		struct plx_eth_txq *queue, struct plx_packet *const *packets, unsigned count);
};

/**
 * What a device can do to frames in place of the application: bits, in plx_eth_config wanted or
 * required, in plx_eth_info negotiated.
 */
enum plx_eth_offload {
	PLX_ETH_OFFLOAD_TX_CSUM = 1u << 0, /**< take PLX_PACKET_CSUM */
	PLX_ETH_OFFLOAD_TX_TSO4 = 1u
				  << 1, /**< take PLX_PACKET_TSO4; needs PLX_ETH_OFFLOAD_TX_CSUM */
	PLX_ETH_OFFLOAD_TX_TSO6 = 1u << 2, /**< take PLX_PACKET_TSO6; needs the same */
	PLX_ETH_OFFLOAD_TX_USO = 1u << 3,  /**< take PLX_PACKET_USO; needs the same */
	PLX_ETH_OFFLOAD_RX_CSUM = 1u
				  << 4, /**< say PLX_PACKET_CSUM_GOOD, or leave PLX_PACKET_CSUM */
	PLX_ETH_OFFLOAD_RX_TSO4 = 1u << 5, /**< give frames of IPv4 and TCP together, as for TSO4;
					      needs PLX_ETH_OFFLOAD_RX_CSUM and merged buffers */
	PLX_ETH_OFFLOAD_RX_TSO6 = 1u << 6, /**< the same of IPv6 */
	PLX_ETH_OFFLOAD_RX_USO4 = 1u << 7, /**< the same of IPv4 and UDP */
	PLX_ETH_OFFLOAD_RX_USO6 = 1u << 8, /**< the same of IPv6 and UDP */
	PLX_ETH_OFFLOAD_RX_HASH = 1u << 9, /**< give each frame its hash: see plx_eth_set_hash() */
	PLX_ETH_OFFLOAD_VLAN_FILTER = 1u << 10, /**< let in only VLANs of plx_eth_set_vlan() */
};

/** How a link carries both directions. */
enum plx_eth_duplex {
	PLX_ETH_DUPLEX_HALF,    /**< one at a time */
	PLX_ETH_DUPLEX_FULL,    /**< both at once */
	PLX_ETH_DUPLEX_UNKNOWN, /**< the device does not say */
};

/** A link's speed when the device does not say. */
#define PLX_ETH_SPEED_UNKNOWN 0xffffffffu

/** What an open device can do. */
struct plx_eth_info {
	const char *driver;         /**< the driver's name */
	uint8_t mac[6];             /**< the port's address */
	bool link_up;               /**< whether the link is up */
	uint32_t speed;             /**< of the link, in Mbit/s; PLX_ETH_SPEED_UNKNOWN */
	enum plx_eth_duplex duplex; /**< of the link */
	uint16_t mtu;               /**< bytes of payload in the largest frame */
	uint16_t max_queue_pairs;   /**< pairs of a receive and a transmit queue */
	uint16_t queue_pairs;       /**< of them in use; 0 before the device is configured */
	uint32_t offloads;          /**< of enum plx_eth_offload, negotiated */
	uint32_t hash_types;        /**< of enum plx_eth_hash_types, that the device has */
	uint16_t max_hash_key;      /**< bytes of the longest key of plx_eth_set_rss() */
	uint16_t max_rss_table;     /**< entries of the longest table of plx_eth_set_rss() */
	uint16_t max_rx_ring;       /**< entries of the largest receive ring */
	uint16_t max_tx_ring;       /**< entries of the largest transmit ring */
	uint32_t min_data_size;     /**< bytes that each packet of the pool must hold, since the
					 device cannot spread a frame; 0 when any size will do */
	int numa_node;              /**< the node that the device is near, or -1 */
	const char *rx_path;        /**< the receive path in use, or "" before the first start */
	const char *tx_path;        /**< the transmit path in use, or "" before the first start */
	const char *backend;        /**< what the device is reached through: VFIO's "iommufd",
					 "group" or "noiommu"; "vhost-user"; "emu" */
	uint64_t spare[7];          /**< zeros: room for what a later version tells */
};

/** How to run a device. Start from PLX_ETH_CONFIG_INIT. */
struct plx_eth_config {
	uint32_t struct_size; /**< sizeof(struct plx_eth_config) */
	uint16_t queue_pairs; /**< pairs of a receive and a transmit queue */
	uint16_t rx_ring; /**< entries of each receive ring; 0 takes the largest, at most 1024, or
			       what the legacy interface fixes */
	uint16_t tx_ring; /**< entries of each transmit ring; 0 as with @rx_ring */
	struct plx_pool
		*pool;     /**< where receive buffers come from; must outlive the device's run */
	uint32_t offloads; /**< of enum plx_eth_offload: used where the device has them */
	uint32_t required; /**< of the same: without one of these the device is refused */
	bool announce;     /**< the application looks for PLX_ETH_EVENT_ANNOUNCE, and answers it */
	bool interrupts;   /**< receive queues can be slept on: see plx_eth_rx_event_fd(). Without
				this the device is asked for no interrupt at all */
};

/** The initial value: one pair of queues, rings as the device likes them, and no pool yet. */
#define PLX_ETH_CONFIG_INIT                                                                        \
	{                                                                                          \
		sizeof(struct plx_eth_config), 1, 0, 0, NULL, 0, 0, false, false                   \
	}

/** What a device moved since it was started. */
struct plx_eth_stats {
	uint64_t rx_packets; /**< frames handed to the application */
	uint64_t rx_bytes;   /**< their bytes, without the frame check sequence */
	uint64_t
		rx_dropped; /**< frames that arrived and were not handed on; the counters say why */
	uint64_t tx_packets; /**< frames taken from the application and given to the device */
	uint64_t tx_bytes;   /**< their bytes */
	uint64_t tx_dropped; /**< frames taken and not sent; the counters say why */
	uint64_t spare[8];   /**< zeros: room for what a later version tells */
};

/** One counter of a device. */
struct plx_eth_counter {
	const char *name; /**< such as "rx0.drop.short_header"; valid only during the visit */
	uint64_t value;   /**< since the device was started */
};

/** typedef plx_eth_counter_visit_fn - Is shown one counter; any value but 0 ends the walk. */
typedef int plx_eth_counter_visit_fn(void *arg, const struct plx_eth_counter *counter);

/**
 * plx_eth_open() - Claim an Ethernet device.
 * @ctx: the context that the device joins
 * @address: where it is, with options after commas: "0000:00:03.0", "0000:00:03.0,mrg_rxbuf=off".
 *           doc/devices.md lists the kinds of address and the options of each driver
 * @eth: receives the device; owned by the caller, who ends it with plx_eth_close()
 *
 * Claims the device, resets it and reads what it offers; nothing moves yet. Blocks for as long as
 * the kernel and the device take, and never without a bound.
 *
 * Return: 0; -EINVAL for an address or an option that is not understood; -ENODEV when there is no
 * such device or no driver for it; -EBUSY when the kernel or another process has it; -EACCES
 * without the right to open it; -EPROTO when the device breaks the standard; other -errno.
 * plx_error() says what would mend it.
 */
PLX_API int plx_eth_open(struct plx_context *ctx, const char *address, struct plx_eth **eth);

/**
 * plx_eth_configure() - Choose features, queues and rings.
 * @eth: an open device that is not started
 * @config: how to run it; copied
 *
 * Has no effect on the device, but that one which lacks a feature that is needed is told so
 * (FAILED; virtio 1.4, 2.2.1). May be called again while the device is stopped.
 *
 * Return: 0; -EINVAL for a value that the device does not offer; -ENOTSUP when the device lacks a
 * feature that is needed, or that its address demands; -EPROTO when it offers rings of a size that
 * none can have; -EBUSY when it is started; -EIO when it did not confirm its last reset; -ENOMEM.
 */
PLX_API int plx_eth_configure(struct plx_eth *eth, const struct plx_eth_config *config);

/**
 * plx_eth_start() - Negotiate, build the queues, fill them and go live (virtio 1.4, 3.1.1).
 * @eth: a configured device that is stopped
 *
 * On failure the device is left in the state FAILED, or reset if it was live already, and
 * everything taken for the start is given back; a further start begins with a reset. When even that
 * reset is not confirmed, the buffers stay out of their pools as after a plx_eth_stop() that
 * failed.
 *
 * Return: 0; -EINVAL when it was never configured, or offers its rings no longer; -EBUSY when it is
 * started; -ENOMEM; -ENOBUFS when the pool has too few packets; -EPROTO when the device refused a
 * step, which plx_error() names; -EIO when it does not finish its reset, now or before; -ENODEV
 * when the device is gone.
 */
PLX_API int plx_eth_start(struct plx_eth *eth);

/**
 * plx_eth_stop() - Reset the device and take every buffer back.
 * @eth: the device
 *
 * After the call the device touches no memory: each buffer that was posted for receiving or waits
 * to be sent is back in its pool exactly once. Frames that arrived and were not yet taken by a
 * burst are dropped. Stopping a stopped device does nothing.
 *
 * Return: 0; -EIO when the device did not confirm the reset: its buffers then stay out of their
 * pools until a further plx_eth_stop(), which tries again, succeeds, or until plx_eth_close(),
 * which takes the device from the bus first.
 */
PLX_API int plx_eth_stop(struct plx_eth *eth);

/**
 * plx_eth_reset() - Bring a device back that broke, asks for a reset, or was gone for a while.
 * @eth: a configured device; no thread is in a burst of it
 *
 * For a burst that returned -EIO or -ENODEV, PLX_ETH_EVENT_NEEDS_RESET, PLX_ETH_EVENT_BROKEN, and a
 * backend of vhost-user or vfio-user that ended and may have been started again. The device is
 * stopped as by plx_eth_stop(): every buffer that was posted, waits to be sent or arrived unseen is
 * back in its pool exactly once. Then it is started with the features that were accepted before,
 * queues of the same sizes, and all that was set through eth_control.h since it was configured.
 * Queues keep their handles, and plx_eth_get_stats() and the counters count on. A suspended device
 * runs afterwards.
 *
 * Blocks as long as plx_eth_stop() and plx_eth_start() do, which over vhost-user includes the wait
 * for the backend that the option wait= sets. After a failure the device is stopped, its bursts
 * answer -ESHUTDOWN, and the call may be repeated: it then goes on where it failed. A PCI function
 * that was unplugged does not come back by it: close the device, and open it once it is plugged in
 * again.
 *
 * Return: 0; -EINVAL when it was never configured; -EIO when its reset is not confirmed, and then
 * its buffers stay out of their pools as after plx_eth_stop(); -EPROTO when it came back without a
 * feature, an MTU or queue pairs that it had, which plx_error() names; -ENODEV while it is gone;
 * what plx_eth_start() and the calls of eth_control.h return.
 */
PLX_API int plx_eth_reset(struct plx_eth *eth);

/**
 * plx_eth_suspend() - Let a device stand still without giving anything back (virtio 1.4, 3.4).
 * @eth: a started device; no thread is in a burst of it
 *
 * Until plx_eth_resume() the device touches no memory and the bursts answer -ESHUTDOWN. Buffers
 * stay where they are, and what had been negotiated stays in force, so that going on costs nothing:
 * made for moving a guest, or for the sleep of a host. A suspended device can be stopped and
 * closed.
 *
 * Return: 0; -EINVAL when it is not running; -ENOTSUP when F_SUSPEND was not negotiated, and then
 * it runs on; -EPROTO when the device asks for a reset; -ENODEV when it is gone; -EIO when it does
 * not answer in time. After the last three only plx_eth_stop() and plx_eth_start() help.
 */
PLX_API int plx_eth_suspend(struct plx_eth *eth);

/**
 * plx_eth_resume() - Let a suspended device go on where it stood.
 * @eth: a device that plx_eth_suspend() suspended
 *
 * Return: 0; -EINVAL when it is not suspended; -EPROTO, -ENODEV and -EIO as plx_eth_suspend().
 */
PLX_API int plx_eth_resume(struct plx_eth *eth);

/**
 * plx_eth_close() - Stop a device if need be, and give it back.
 * @eth: the device, or NULL
 *
 * Blocks for as long as plx_eth_stop() and the kernel take.
 */
PLX_API void plx_eth_close(struct plx_eth *eth);

/**
 * plx_eth_device() - The device behind it, for what is common to all classes.
 * @eth: the device
 *
 * Any thread may call; never blocks.
 *
 * Return: The device; lives as long as @eth.
 */
PLX_API struct plx_device *plx_eth_device(struct plx_eth *eth);

/**
 * plx_eth_get_info() - Tell what a device can do.
 * @eth: the device
 * @info: receives it; its strings live as long as the device
 *
 * A control call.
 */
PLX_API void plx_eth_get_info(struct plx_eth *eth, struct plx_eth_info *info);

/**
 * plx_eth_get_stats() - Tell what a device moved.
 * @eth: a device that is not being configured or closed
 * @stats: receives the figures, each of them exact for some moment during the call
 *
 * Any thread may call; takes no lock and does not disturb the queues.
 */
PLX_API void plx_eth_get_stats(struct plx_eth *eth, struct plx_eth_stats *stats);

/**
 * plx_eth_counters() - Show every counter of a device.
 * @eth: the device
 * @visit: is called for each
 * @arg: handed to @visit
 *
 * A control call.
 *
 * Return: 0, or what @visit returned.
 */
PLX_API int plx_eth_counters(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);

/**
 * plx_eth_rxq() - A receive queue of a configured device.
 * @eth: the device
 * @index: the queue's number, from 0
 *
 * Any thread may call; never blocks.
 *
 * Return: The queue, or NULL when there is none of that number. It is valid until the device is
 * configured again or closed.
 */
PLX_API struct plx_eth_rxq *plx_eth_rxq(struct plx_eth *eth, unsigned index);

/**
 * plx_eth_txq() - A transmit queue of a configured device.
 * @eth: the device
 * @index: the queue's number, from 0
 *
 * Any thread may call; never blocks.
 *
 * Return: As plx_eth_rxq().
 */
PLX_API struct plx_eth_txq *plx_eth_txq(struct plx_eth *eth, unsigned index);

/**
 * plx_eth_rx_burst() - Take frames that have arrived.
 * @queue: the queue; one thread at a time
 * @packets: receives the frames, which are then the caller's
 * @count: how many at most
 *
 * Refills the queue as it goes. Never blocks.
 *
 * Return: Frames received, 0 to @count; -ENODEV when the device is gone; -EIO when the queue broke
 * because the device violated its rules, or when the device asks for a reset; -ESHUTDOWN when it is
 * stopped or suspended. That a device is gone or asks for a reset is found out by a queue on which
 * nothing moves, within milliseconds.
 */
static inline int plx_eth_rx_burst(
	struct plx_eth_rxq *queue, struct plx_packet **packets, unsigned count)
{
	return queue->burst(queue, packets, count);
}

/**
 * plx_eth_rx_event_fd() - What to wait for until frames come.
 * @eth: a started device that was configured with plx_eth_config interrupts
 * @queue: the number of the receive queue
 *
 * An eventfd, which the device writes to once frames have come that plx_eth_rx_arm() asked to be
 * told of. Register it with epoll for EPOLLIN | EPOLLET, and do not read it: several queues may
 * share one, and changes of the configuration too, where the device has fewer vectors than queues,
 * or only a line. With the edge each waiting thread is woken each time, and none eats what was
 * meant for another. Who waits alone may use poll() instead, and reads it before
 * plx_eth_rx_arm().
 *
 *     epoll_ctl(epoll, EPOLL_CTL_ADD, plx_eth_rx_event_fd(eth, 0), &event);
 *     for (;;) {
 *             n = plx_eth_rx_burst(rxq, packets, 32);
 *             if (n > 0)
 *                     work(packets, n);
 *             else if (!plx_eth_rx_arm(rxq))
 *                     epoll_wait(epoll, &event, 1, 100);
 *     }
 *
 * Let no sleep be longer than you can do without the device: a device may forget to interrupt, and
 * nothing but the next burst finds that out. What was sent is freed by bursts too.
 *
 * It belongs to the device, and stays open until the device is configured again or closed. Ask for
 * it after each plx_eth_start(): a device may refuse what it granted before. A control call.
 *
 * Return: The eventfd; -EINVAL when there is no such queue or the device was configured without
 * interrupts; -ESHUTDOWN when it is stopped.
 */
PLX_API int plx_eth_rx_event_fd(struct plx_eth *eth, unsigned queue);

/**
 * plx_eth_config_event_fd() - What to wait for until plx_eth_poll_events() has something to tell.
 * @eth: a started device that was configured with plx_eth_config interrupts
 *
 * As plx_eth_rx_event_fd(), with which it may share the eventfd. It needs no arming. However many
 * changes there were, one look finds all; a program that is woken too often looks once in a while.
 *
 * Return: The eventfd; -ENOTSUP when the device tells nobody of changes, as those of vhost-user:
 * then call plx_eth_poll_events() now and then; -EINVAL and -ESHUTDOWN as plx_eth_rx_event_fd().
 */
PLX_API int plx_eth_config_event_fd(struct plx_eth *eth);

/**
 * plx_eth_rx_arm() - Ask for an interrupt when the next frame comes, and look once more.
 * @queue: the queue; the thread that uses it, before it sleeps
 *
 * Whatever comes after the call interrupts, and what came before is reported by it, so no wake-up
 * is lost. Gives the device all the buffers that the pool can spare, and finds out whether it is
 * still there. The wish may hold for one interrupt or until plx_eth_rx_disarm(), and goes for what
 * comes next: arm again before each sleep. Never blocks; costs a fence, and now and then a register
 * read or a system call.
 *
 * Return: 0: armed, so sleep; 1: do not sleep, for plx_eth_rx_burst() has something to give or to
 * tell; -EINVAL when the device was configured without interrupts; -ESHUTDOWN when it is stopped or
 * suspended.
 */
static inline int plx_eth_rx_arm(struct plx_eth_rxq *queue)
{
	return queue->arm(queue);
}

/**
 * plx_eth_rx_disarm() - Ask for no more interrupts.
 * @queue: the queue; the thread that uses it
 *
 * Saves the device the trouble, and this machine the interrupts, while one polls. An interrupt that
 * is on its way still comes. Never blocks; costs a store.
 */
static inline void plx_eth_rx_disarm(struct plx_eth_rxq *queue)
{
	queue->disarm(queue);
}

/**
 * plx_eth_tx_burst() - Give frames to the device.
 * @queue: the queue; one thread at a time
 * @packets: the frames, of pools of the device's context; those that are taken belong to Pollux
 *           until they are back in their pools
 * @count: how many
 *
 * Frames that were sent before are freed as room is needed. A frame that can never be sent (of
 * length 0, longer than the device takes, with too many segments, or with an offload that makes no
 * sense or was not negotiated) is taken, freed and counted as dropped; plx_eth_tx_prepare() tells
 * beforehand. Never blocks.
 *
 * With a @count of 0 it frees what was sent, and reminds a device that forgot about the rest: who
 * has nothing to send for a while, and waits for answers, calls it so now and then.
 *
 * Return: Frames taken, 0 to @count, from the first on; the rest stay the caller's. -ENODEV, -EIO
 * and -ESHUTDOWN as in plx_eth_rx_burst().
 */
static inline int plx_eth_tx_burst(
	struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count)
{
	return queue->burst(queue, packets, count);
}

/**
 * plx_eth_tx_prepare() - Find the first frame that plx_eth_tx_burst() would drop.
 * @queue: the queue; one thread at a time
 * @packets: the frames; nothing of them is changed
 * @count: how many
 *
 * For development, and for frames with offloads of unknown origin: the burst looks again. Never
 * blocks.
 *
 * Return: The index of the first frame that could not be sent, and plx_error() says why; @count
 * when all could; -ESHUTDOWN when the device is stopped.
 */
static inline int plx_eth_tx_prepare(
	struct plx_eth_txq *queue, struct plx_packet *const *packets, unsigned count)
{
	return queue->prepare(queue, packets, count);
}

#ifdef __cplusplus
}
#endif

#endif
