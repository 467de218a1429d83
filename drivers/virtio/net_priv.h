/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_VIRTIO_NET_PRIV_H
#define PLX_DRIVERS_VIRTIO_NET_PRIV_H

#include "drivers/drivers.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "mem/pool.h"
#include "virtio/interrupts.h"
#include "virtio/virtio_reg.h"
#include "virtio/virtq.h"

#include <pollux/pool.h>

/* Bytes of an Ethernet header, and of one VLAN tag. */
#define NET_ETHERNET_HEADER 14
#define NET_VLAN_TAG        4

/* The longest frame that a header of 16 bits of length can describe (5.1.9.4). */
#define NET_FRAME_MAX 65550

/* Descriptors that one frame may take for sending. */
#define NET_SEGMENTS_MAX 32

/* A frame of so many descriptors goes through an indirect table, unless that is too short. */
#define NET_TABLE_MIN 3
#define NET_TABLE_MAX 16

/* Polls that find nothing until a receive ring is filled up although it is not half empty. */
#define NET_QUIET_POLLS 256

/* Packets that move between a queue and its cache at once. */
#define NET_BATCH 64

/* Written by the thread that uses the queue, read by any: see base/counter.h. */
struct net_rx_counters {
	uint64_t packets;
	uint64_t bytes;
	uint64_t no_buffers;      /* refills that found the pool empty */
	uint64_t short_header;    /* dropped: fewer bytes than the header has */
	uint64_t bad_num_buffers; /* dropped: 0 buffers, or more than the ring has */
	uint64_t missing_buffers; /* dropped: fewer buffers came than the header says */
	uint64_t bad_length;      /* dropped: an empty segment, or more than a frame can be */
	uint64_t bad_gso;         /* dropped: a segmentation that makes no sense */
	uint64_t bad_csum;        /* taken without its checksum, which lies outside the frame */
	uint64_t armed;           /* times that the next frame was to interrupt */
	uint64_t arm_late;        /* those that found something there already */
};

struct net_tx_counters {
	uint64_t packets;
	uint64_t bytes;
	uint64_t full;         /* calls that found no room for all frames */
	uint64_t bad_length;   /* dropped: empty, or longer than the device takes */
	uint64_t bad_segments; /* dropped: a broken or too long chain */
	uint64_t bad_offload;  /* dropped: asks for what the device cannot do, or nobody can */
};

struct net_rxq {
	struct plx_eth_rxq base;
	struct plx_virtq *vq; /* NULL while stopped */
	struct plx_pool_cache *cache;
	struct plx_pool_map map;
	uint16_t header_off; /* where in the buffer the device writes its header */
	uint16_t header_len;
	uint16_t buf_len;  /* of the pool's packets */
	uint32_t room;     /* bytes of each buffer that the device may write */
	bool header_apart; /* it wants a descriptor of its own for the header */
	bool mergeable;    /* it may spread a frame over several buffers */
	bool ecn;          /* GUEST_ECN */
	bool wide;         /* as the device's */
	uint32_t offloads; /* of enum plx_eth_offload, those of receiving */
	/*
	 * Free descriptors at which the ring is filled up again: half of them, or an eighth where
	 * a frame may take many. The longer that waits, the less the device works on the lines
	 * that are being written.
	 */
	uint16_t refill_at;
	uint32_t quiet; /* polls in a row that found nothing */
	struct net_rx_counters counters;
	struct plx_virtq_counters ring; /* what queues before @vq counted */
	const char *path;
	struct plx_interrupts *interrupts; /* NULL: it is polled only */
	/* The burst call to go on with when the device is resumed. */
	int (*suspended)(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count);
} __cache_aligned;

struct net_txq {
	struct plx_eth_txq base;
	struct plx_virtq *vq; /* NULL while stopped */
	struct plx_pool_cache *cache;
	const struct plx_pool *home; /* of all frames in flight behind @odd, and of @cache */
	struct plx_pool *own;        /* that the port was configured with */
	struct plx_pool_map map;     /* of @home */
	uint16_t odd;                /* frames in flight up to the last that is not plain */
	bool in_runs;                /* plain frames are posted many at a time */
	bool wide;                   /* in eights */
	uint32_t frame_max;          /* bytes of the longest frame, untagged */
	uint16_t header_len;
	bool header_apart;      /* it wants a descriptor of its own for the header */
	bool ecn;               /* HOST_ECN */
	uint8_t offloads;       /* of enum plx_packet_offload */
	uint16_t reclaim_below; /* free descriptors under which sent frames are fetched */
	uint16_t worth_while;   /* free descriptors under which a ring counts as full */
	uint64_t empty_header;  /* IOVA of a header of zeros, for frames without headroom */
	struct net_tx_counters counters;
	struct plx_virtq_counters ring; /* what queues before @vq counted */
	const char *path;
	int (*suspended)(struct plx_eth_txq *base, struct plx_packet **packets, unsigned count);
} __cache_aligned;

/* What device configuration said when the device was opened. */
struct net_config {
	uint8_t mac[6];
	uint16_t mtu;
	bool mtu_given; /* by the device, and so to be kept */
	uint16_t max_queue_pairs;
	uint16_t max_hash_key;  /* bytes; 0 without hashes */
	uint16_t max_rss_table; /* entries */
	uint32_t hash_types;    /* that are known to the standard */
	bool hash_unusable;     /* keys or tables have impossible sizes */
};

struct net_ctrl_counters {
	uint64_t commands;   /* sent */
	uint64_t refused;    /* answered with anything but OK */
	uint64_t unanswered; /* until the deadline */
};

/* The control queue; used under the device's lock. */
struct net_ctrl {
	struct plx_virtq *vq; /* NULL while stopped, and without the feature */
	struct plx_mem *mem;  /* outlives the device */
	void *memory;         /* DMA memory: a command, and room for its answer */
	uint64_t iova;
	bool retired; /* not to be touched until the device is reset */
	struct net_ctrl_counters counters;
};

/* Pieces of data that a command has at the most. */
#define NET_COMMAND_PIECES 2

struct net_command {
	uint8_t class_;
	uint8_t number;
	const char *what; /* it is for, to follow "the command for" */
	struct {
		const void *data;
		uint32_t len; /* 0 ends the pieces */
	} piece[NET_COMMAND_PIECES];
	void *result; /* what the device writes behind the acknowledgement, or NULL */
	uint32_t result_room;
};

struct net {
	struct plx_eth eth;
	struct plx_virtio *virtio;
	struct net_config config;
	struct plx_eth_config wanted;
	bool check_platform; /* refuse a device that would bypass the IOMMU */
	bool wide;           /* paths for registers of 64 bytes may be taken */
	uint16_t max_rx_ring;
	uint16_t max_tx_ring;
	void *empty_header; /* DMA memory */
	uint8_t mac[6];     /* in use */
	uint16_t pairs_in_use;
	bool link_up;          /* as of the last look for events */
	bool announce_told;    /* the request that is on now was reported */
	bool needs_reset_told; /* so was that */
	unsigned broken_told;  /* queues that broke and were reported */
	struct net_ctrl ctrl;
	struct plx_interrupts *interrupts; /* NULL: nobody asked for them */
	struct net_rxq *rx;                /* eth.queue_pairs of each */
	struct net_txq *tx;
};

extern const struct plx_feature_table net_features;

static inline struct net *net_of(const struct plx_eth *eth)
{
	return container_of(eth, struct net, eth);
}

/* Receive offloads that make frames longer than the MTU. */
#define NET_LARGE_RECEIVE                                                                          \
	((uint32_t)(PLX_ETH_OFFLOAD_RX_TSO4 | PLX_ETH_OFFLOAD_RX_TSO6 | PLX_ETH_OFFLOAD_RX_USO4 |  \
		    PLX_ETH_OFFLOAD_RX_USO6))

/* What may be asked of the device when sending. */
#define NET_TX_OFFLOADS (PLX_PACKET_CSUM | PLX_PACKET_TSO4 | PLX_PACKET_TSO6 | PLX_PACKET_USO)

/* Receive offloads that can be switched while the device runs. */
#define NET_SWITCHABLE (NET_LARGE_RECEIVE | PLX_ETH_OFFLOAD_RX_CSUM)

/* net_features.c: what was negotiated, of enum plx_eth_offload. */
uint32_t net_offloads(const struct net *net);
/* Which of the features that not everybody needs are to be accepted. */
void net_choose_features(struct net *net, const struct plx_eth_config *config);
/* Return: 0; -ENOTSUP when one of @required was not negotiated. */
int net_check_required(struct net *net, uint32_t required);
/* The feature bits of those that can be switched, as GUEST_OFFLOADS_SET takes them. */
uint64_t net_guest_offloads(uint32_t set);

/* 5.1.9.1: the legacy header ends before num_buffers, unless buffers are merged. */
static inline uint16_t net_header_len(const struct plx_virtio *virtio)
{
	if (plx_virtio_has(virtio, VIRTIO_NET_F_HASH_REPORT))
		return VIRTIO_NET_HDR_SIZE_HASH;
	return virtio->transport->legacy && !plx_virtio_has(virtio, VIRTIO_NET_F_MRG_RXBUF)
		       ? VIRTIO_NET_HDR_SIZE_LEGACY
		       : VIRTIO_NET_HDR_SIZE;
}

/* 5.1.9.6: an old device takes the header only in a descriptor of its own. */
static inline bool net_header_apart(const struct plx_virtio *virtio)
{
	return virtio->transport->legacy && !plx_virtio_has(virtio, VIRTIO_F_ANY_LAYOUT);
}

/* net_config.c: read and check the device's configuration; sets aside features that lie. */
int net_read_config(struct net *net);

/* net_ctrl.c: the control queue, which is there when its feature is accepted. */
int net_ctrl_create(struct net *net);
void net_ctrl_release(struct net *net);
/*
 * Send a command and wait for its answer, as long as the limits allow.
 * @got: receives the bytes of the result; may be NULL
 *
 * Return: 0; -EPERM when the device refused; -EPROTO when its answer makes no sense; -EIO when
 * there is none, or was none before; -ENODEV.
 */
int net_ctrl_send(struct net *net, const struct net_command *command, uint32_t *got);

/* net_settings.c */
extern const struct plx_eth_control_ops net_control_ops;
/* Bring all configured pairs into use, on a device that has just gone live. */
int net_start_pairs(struct net *net);

/* net_queue.c: one queue stopped and started while the others run. */
int net_stop_queue(struct plx_eth *eth, enum plx_eth_direction direction, unsigned index);
int net_start_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned index, uint16_t entries);

/* net_configure.c */
int net_configure(struct plx_eth *eth, const struct plx_eth_config *config);
/* Whether rings of such sizes can be had; a 0 becomes the one to use. */
int net_choose_rings(struct net *net, struct plx_eth_config *config);
/* Bytes that the longest frame of the MTU takes to receive, with its header. */
uint32_t net_frame_room(const struct net *net, const struct plx_eth_config *config);
void net_free_queues(struct net *net);

/* net_events.c */
int net_get_link(struct plx_eth *eth, struct plx_eth_link *link);
int net_poll_events(struct plx_eth *eth);
void net_events_start(struct net *net);

/* net_recover.c */
/*
 * Whether a device that is being started again is still what was configured. Return: 0; -EPROTO
 * with what it lost; -errno as plx_virtio_read_config().
 */
int net_check_unchanged(struct net *net);
/* How many queues broke since the start; under the device's lock. */
unsigned net_broken_queues(const struct net *net);

/* net_stats.c */
/* Keep what a queue counted that is about to go. */
void net_ring_add(struct plx_virtq_counters *sum, const struct plx_virtq_counters *more);
void net_get_stats(const struct plx_eth *eth, struct plx_eth_stats *stats);
int net_visit_counters(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);
int net_device_stats(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);

/* net_irq.c: interrupts, of those who ask for them */
int net_irq_configure(struct net *net, const struct plx_eth_config *config);
void net_irq_forget(struct net *net);
/* Before the queues are set up. */
static inline int net_irq_start(struct net *net)
{
	return net->interrupts ? plx_interrupts_on(net->interrupts) : 0;
}
int net_irq_rx_fd(struct plx_eth *eth, unsigned queue);
int net_irq_config_fd(struct plx_eth *eth);
/* The bodies of plx_eth_rx_arm() and plx_eth_rx_disarm(), of a queue in any state. */
int net_irq_arm(struct plx_eth_rxq *base);
void net_irq_disarm(struct plx_eth_rxq *base);

/* net_rx.c */
/* The queue of a pair, with a ring of so many entries. */
int net_rx_create(struct net *net, unsigned pair, uint16_t entries);
/* Make the ring full for what may come while nobody looks. */
void net_rx_fill_up(struct net_rxq *queue);
int net_rx_fill(struct net_rxq *queue);
void net_rx_run(struct net *net, struct net_rxq *queue);
void net_rx_release(struct net_rxq *queue);

/* net_tx.c */
int net_tx_create(struct net *net, unsigned pair, uint16_t entries);
void net_tx_run(struct net_txq *queue);
/* The queue is set up and not in use: its bursts fail. */
void net_tx_park(struct net_txq *queue);
void net_tx_release(struct net_txq *queue);

/* net_tx_frame.c */
/* Bytes of the longest frame that a frame such as this one may be. */
uint32_t net_tx_frame_max(const struct net_txq *queue, const struct plx_packet *packet);
/*
 * Walk a frame's chain. Return: its segments, all with data and as many as it says, and their
 * length in @len; 0 when the chain is broken or longer than @limit.
 */
unsigned net_tx_measure(const struct plx_packet *packet, unsigned limit, uint32_t *len);
/* plx_eth_tx_prepare() of a queue that runs. */
int net_tx_prepare(struct plx_eth_txq *base, struct plx_packet *const *packets, unsigned count);

#endif
