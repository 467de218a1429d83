/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_EMU_H
#define PLX_EMU_EMU_H

#include "base/log.h"
#include "base/options.h"
#include "mem/mem.h"
#include "vfio/vfio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Software devices behind the device seam: a virtio network card as PCI function, written from the
 * standard's device side. Nothing above the seam can tell it from a card, but that it is strict: it
 * watches each register access, each descriptor and each header, and notes every rule of the
 * standard that the driver breaks.
 *
 * No region can be mapped, so every register access arrives as a call. Memory is reached only
 * through the segments that the device was told of as a mapper of the memory; what lies elsewhere
 * is not touched.
 *
 * The card can have the legacy interface as well, or nothing else, and can speak the handshake of
 * the proposal VIRTIO-30 v2. With hooks it lies wherever a device can.
 *
 * A device runs by itself, on a thread that all devices of a context share, or step by step with
 * plx_emu_step(); in steps it does the same for the same calls and the same seed.
 */
struct plx_emu;

#define PLX_EMU_PAIRS      64    /* most pairs of queues */
#define PLX_EMU_FRAME      65553 /* longest: 64 KiB less one, an Ethernet header and a VLAN tag */
#define PLX_EMU_QUEUE_SIZE 256   /* entries of a queue, if not said otherwise */
#define PLX_EMU_VECTORS    130   /* most that are of use: one for each queue and one more */

/* One rule that the driver broke, and how often in the same words. */
struct plx_emu_breach {
	char rule[20]; /* "STATUS-2", as the traceability table names it, or a section: "2.8.10" */
	char text[172];
	uint64_t count;
};

/* What a device moved, and why it did not. */
struct plx_emu_stats {
	uint64_t tx_frames; /* taken from the driver */
	uint64_t tx_bytes;
	uint64_t tx_malformed; /* dropped: no header, an impossible header, no frame, too long */
	uint64_t tx_refused;   /* dropped: the other end of the wire is not there, or too slow */
	uint64_t rx_frames;    /* given to the driver */
	uint64_t rx_bytes;
	uint64_t rx_no_buffer;  /* dropped: no receive buffer for longer than the backlog lasted */
	uint64_t rx_too_long;   /* dropped: no buffer, or all together, can hold it */
	uint64_t rx_bad_buffer; /* dropped: the driver's buffer was not one to write to */
	uint64_t kicks;         /* notifications by the driver */
	uint64_t interrupts;    /* notifications to the driver */
	uint64_t commands;      /* of the control queue */
	uint64_t commands_failed;
	uint64_t generated; /* frames that peer=gen made or peer=replay read */
	uint64_t checked;   /* numbered frames that came back whole, each counted once */
	uint64_t lost;      /* numbers passed over; a late frame is taken off again */
	uint64_t altered;   /* frames whose checksum is wrong, or that were never numbered */
	uint64_t doubled;   /* numbers seen before */
	uint64_t breaches;  /* rules broken */
};

/* How long notifications of a queue may be held back. */
struct plx_emu_coalescing {
	uint32_t max_packets;
	uint32_t max_usecs;
};

/* What the driver asked for through the control queue. */
struct plx_emu_net_state {
	bool promiscuous;
	bool all_multicast;
	bool all_unicast;
	bool no_multicast;
	bool no_unicast;
	bool no_broadcast;
	uint8_t mac[6];
	uint32_t unicast; /* entries of the address tables */
	uint32_t multicast;
	uint32_t vlans; /* accepted VLANs */
	uint16_t pairs; /* queue pairs in use */
	uint32_t announce_acks;
	uint64_t guest_offloads; /* feature bits of the receive offloads in use */
	uint32_t hash_types;
	uint16_t rss_table_len; /* 0: no RSS */
	uint16_t rss_unclassified;
	uint16_t rss_tx_queues;
	uint8_t hash_key_len;
};

/* Stands for the pair that the device chooses itself. */
#define PLX_EMU_ANY_PAIR UINT32_MAX

/* A queue as the driver set it up: its size, and the IOVAs of its parts. */
struct plx_emu_queue_state {
	bool enabled;
	uint16_t size;
	uint64_t descriptors;
	uint64_t driver_area; /* split: the available ring */
	uint64_t device_area; /* split: the used ring */
};

/* What happened, for a trace. */
enum plx_emu_event_kind {
	PLX_EMU_READ,      /* a register: where, index = offset, value */
	PLX_EMU_WRITE,     /* the same */
	PLX_EMU_KICK,      /* index = queue, value as written */
	PLX_EMU_TAKE,      /* a buffer became known: index = queue, value = id */
	PLX_EMU_USE,       /* a used entry was written: index = queue, value = id, len */
	PLX_EMU_INTERRUPT, /* index = vector, or -1 for the line */
};

/* The parts of a device that registers belong to. */
enum plx_emu_place {
	PLX_EMU_PCI_CONFIG, /* offset in configuration space */
	PLX_EMU_COMMON,     /* offset in the common configuration structure */
	PLX_EMU_ISR,
	PLX_EMU_DEVICE_CONFIG, /* offset in the device-specific configuration */
	PLX_EMU_NOTIFY,
	PLX_EMU_MSIX,   /* the table and the pending bits */
	PLX_EMU_LEGACY, /* offset in the legacy registers, but for the device-specific ones */
};

struct plx_emu_event {
	enum plx_emu_event_kind kind;
	enum plx_emu_place place;
	int32_t index;
	uint64_t value;
	uint32_t len; /* bytes of the access, or bytes written into the buffer */
};

/*
 * Where a test may look on, or make the device lie. Each is called from inside the device, on the
 * driver's thread or the device's own, and must not call back into it.
 */
struct plx_emu_hooks {
	void *arg;
	/* Is told of each broken rule when it is noted. */
	void (*breach)(void *arg, const char *rule, const char *text);
	void (*event)(void *arg, const struct plx_emu_event *event);
	/* A register of up to 8 bytes is being read: @value is what an honest device answers. */
	void (*read)(void *arg, enum plx_emu_place place, uint64_t offset, unsigned len,
		uint64_t *value);
	/*
	 * A register is about to be written, or the queue @offset of PLX_EMU_NOTIFY is notified.
	 * Return: false, and the device never hears of it.
	 */
	bool (*write)(void *arg, enum plx_emu_place place, uint64_t offset, unsigned len,
		uint64_t *value);
	/* The function is about to be reset. Return: false, and it is not. */
	bool (*reset)(void *arg);
	/* A used entry is about to be written. */
	void (*used)(void *arg, unsigned queue, uint32_t *id, uint32_t *len);
	/* The used index of a split ring is about to be published. */
	void (*used_index)(void *arg, unsigned queue, uint16_t *index);
	/* A descriptor of a packed ring is about to be marked as used. */
	void (*used_flags)(void *arg, unsigned queue, uint16_t slot, uint16_t *flags);
	/*
	 * Used descriptors of a packed ring are about to be published. Return: how many of those
	 * behind them are marked as used although they are not.
	 */
	unsigned (*used_extra)(void *arg, unsigned queue);
	/*
	 * The device is about to say which notifications it wants. Split: avail_event with
	 * EVENT_IDX, otherwise the flags of the used ring. Packed: both fields of its event
	 * suppression.
	 */
	void (*suppress)(void *arg, unsigned queue, uint16_t *event, uint16_t *flags);
	/* The header of a received frame is about to be written. */
	void (*rx_header)(void *arg, unsigned pair, uint8_t *header, size_t len);
	/* A control command is answered: the acknowledgement, and whether one is given at all. */
	bool (*ack)(void *arg, uint8_t class_, uint8_t command, uint8_t *ack);
};

/* Which interfaces it has (virtio 1.4, 1.3.1). */
enum plx_emu_interface {
	PLX_EMU_MODERN_ONLY,
	PLX_EMU_TRANSITIONAL, /* both; the driver uses one of them from reset to reset */
	PLX_EMU_LEGACY_ONLY,
};

/* What bit 8 of its status means, and what follows from that. */
enum plx_emu_handshake {
	PLX_EMU_FEATURES_OK, /* the standard (virtio 1.4, 3.1.1) */
	PLX_EMU_DEVICE_OK,   /* the proposal VIRTIO-30 v2 */
};

/* What it says no to, whatever the driver does. The legacy interface knows no such thing. */
enum plx_emu_veto {
	PLX_EMU_VETO_NONE,
	PLX_EMU_VETO_FEATURES, /* FEATURES_OK, or the proposal's DRIVER, does not stay */
	PLX_EMU_VETO_CONFIG,   /* NEEDS_RESET after DRIVER_OK, or the proposal's does not stay */
};

/* What a device is made of. Start from plx_emu_config_init(). */
struct plx_emu_config {
	const char *name;     /* as messages name it */
	uint64_t features[2]; /* what it offers: bits 0 to 63 and 64 to 127. Those that belong to
				 the legacy interface are seen only there */
	enum plx_emu_interface interface;
	enum plx_emu_handshake handshake; /* of the modern interface */
	enum plx_emu_veto veto;
	uint16_t pairs;      /* of queues */
	uint16_t queue_size; /* entries of each */
	uint16_t vectors;    /* of MSI-X, at most: 0, and there is only the line */
	uint16_t mtu;
	uint8_t duplex;
	uint8_t mac[6];
	uint32_t speed;      /* Mbit/s */
	uint32_t backlog;    /* bytes of frames that wait for receive buffers, for each pair */
	const char *peer;    /* "loopback", or whatever else peer= may be: see address.c */
	uint32_t frame_size; /* of generated frames, without the frame check sequence */
	uint64_t rate;       /* generated frames a second over all pairs; 0: as buffers come */
	uint64_t seed;       /* 0: always the plain choice */
	bool thread;         /* runs by itself */
	bool mute;           /* never interrupts, whatever the driver asks for */
	bool junk_len;    /* used lengths of what it only reads mean nothing, as in old devices */
	bool gone_silent; /* once it is unplugged accesses fail, and do not read as all ones */
	uint64_t gone_after; /* register accesses until it is unplugged; 0: it stays */
	struct plx_emu_hooks hooks;
};

void plx_emu_config_init(struct plx_emu_config *config);

/* Offer a feature, or do not. */
void plx_emu_config_offer(struct plx_emu_config *config, unsigned bit, bool on);

/*
 * plx_emu_open() - Make the device that an address describes; it runs by itself and ends when it is
 * closed through the seam.
 * @address: scheme "emu", place "net"; the options of the device are taken, those of drivers are
 * left
 *
 * address.c lists the options.
 *
 * Return: 0; -ENODEV when there is no such place; -EINVAL for a bad option; -EEXIST when a wire has
 * two ends already; -ENOMEM; what plx_mem_attach() returned.
 */
int plx_emu_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_vfio_device **device);

/*
 * plx_emu_create() - Make a device that is looked at from both sides.
 *
 * The driver gets plx_emu_device() and closes it through the seam; the maker ends it with
 * plx_emu_destroy() afterwards and can look at it until then. With a NULL @mem it reaches no memory
 * but what a server tells it of: see server.h.
 *
 * Return: 0; -EINVAL; -EEXIST; -ENOMEM; what plx_mem_attach() returned.
 */
int plx_emu_create(struct plx_mem *mem, const struct plx_log *log,
	const struct plx_emu_config *config, struct plx_emu **emu);
void plx_emu_destroy(struct plx_emu *emu);

struct plx_vfio_device *plx_emu_device(struct plx_emu *emu);

/*
 * plx_emu_step() - Let a device without a thread do one bounded piece of work.
 *
 * Return: Buffers used; 0 when there is nothing to do until the driver notifies or a frame comes.
 */
unsigned plx_emu_step(struct plx_emu *emu);

void plx_emu_get_stats(struct plx_emu *emu, struct plx_emu_stats *stats);
void plx_emu_get_net_state(struct plx_emu *emu, struct plx_emu_net_state *state);

/* Return: How often a rule was broken; with a NULL @rule, how often any was. */
uint64_t plx_emu_breaches(struct plx_emu *emu, const char *rule);
/* Return: Kinds of breaches noted, the first @room of them written to @list. */
unsigned plx_emu_breach_list(struct plx_emu *emu, struct plx_emu_breach *list, unsigned room);

/* What is coalesced on a queue. */
void plx_emu_get_coalescing(
	struct plx_emu *emu, unsigned queue, struct plx_emu_coalescing *coalescing);

/*
 * A frame arrives from outside for a pair, or PLX_EMU_ANY_PAIR. Return: 0; -EINVAL; -ENOBUFS when
 * the backlog is full.
 */
int plx_emu_inject(struct plx_emu *emu, unsigned pair, const void *frame, size_t len);
/*
 * The same with the header that the driver sees in front, but for num_buffers; NULL: the card's
 * own.
 */
struct virtio_net_hdr;
int plx_emu_inject_with(struct plx_emu *emu, unsigned pair, const struct virtio_net_hdr *header,
	const void *frame, size_t len);

/*
 * plx_emu_take() - With peer "none": take the next frame that the driver sent on a pair.
 *
 * Return: Its length, of which at most @room bytes were copied; 0 when there is none.
 */
size_t plx_emu_take(struct plx_emu *emu, unsigned pair, void *frame, size_t room);

/* While a queue is held its buffers are taken notice of but not used. */
void plx_emu_hold(struct plx_emu *emu, unsigned queue, bool on);

/* Changes of the device's configuration, each with its interrupt. */
void plx_emu_set_link(struct plx_emu *emu, bool up);
void plx_emu_announce(struct plx_emu *emu);
/* The device has met an error that only a reset mends (virtio 1.4, 2.1.2). */
void plx_emu_need_reset(struct plx_emu *emu);

/* Pull the card out: it reaches no memory, and all its registers read as ones. */
void plx_emu_unplug(struct plx_emu *emu);

/* Interrupt whenever it suits: an MSI-X vector, or with -1 the line. */
void plx_emu_interrupt(struct plx_emu *emu, int vector);

/*
 * plx_emu_peek(), plx_emu_poke() - Read and write memory as the device can, at any time.
 *
 * What a device writes over is not the driver's fault: after the first poke the device no longer
 * checks that exposed descriptors stay as they were, until it is reset.
 *
 * Return: 0; -EFAULT when the device does not reach the memory, or not for writing.
 */
int plx_emu_peek(struct plx_emu *emu, uint64_t iova, void *to, size_t len);
int plx_emu_poke(struct plx_emu *emu, uint64_t iova, const void *from, size_t len);

void plx_emu_get_queue(struct plx_emu *emu, unsigned queue, struct plx_emu_queue_state *state);

#endif
