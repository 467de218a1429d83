/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_PRIV_H
#define PLX_EMU_PRIV_H

#include "emu/emu.h"
#include "emu/peer_priv.h"
#include "emu/queue_priv.h"
#include "virtio/virtio_reg.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <string.h>

/*
 * One device. Its registers, its queues and its peer's side towards it are guarded by @lock; the
 * doorbell and the breaches stand beside it, because a notification must not wait for a device that
 * works.
 */

#define PLX_EMU_QUEUES      (2 * PLX_EMU_PAIRS + 1)
#define PLX_EMU_CONFIG_SIZE 4096
#define PLX_EMU_HEADER      32       /* longest header in front of a frame */
#define PLX_EMU_FRAME_LEAST 60       /* of generated frames */
#define PLX_EMU_JUNK_LEN    0xbad1e9 /* more than any frame has */
#define PLX_EMU_BREACHES    64       /* kinds of breaches that are kept in words */
#define PLX_EMU_LEGACY_BAR  0
#define PLX_EMU_MSIX_BAR    1
#define PLX_EMU_VIRTIO_BAR  4

/* dma.c: memory as the device reaches it. */
struct plx_emu_dma {
	struct plx_mapper mapper;
	bool attached;
	struct plx_mem_segment *segment; /* sorted by IOVA */
	unsigned count;
	unsigned room;
	unsigned last; /* where the last look-up ended */
};

int plx_emu_dma_attach(struct plx_emu *emu);
void plx_emu_dma_detach(struct plx_emu *emu);
/*
 * Return: The memory behind [@iova, @iova + @len), or NULL when the device must not touch it: then
 * a breach is noted that says what the device wanted to @purpose.
 */
void *plx_emu_dma(
	struct plx_emu *emu, uint64_t iova, uint64_t len, bool write, const char *purpose);

#define PLX_EMU_RSS_KEY    40
#define PLX_EMU_RSS_TABLE  128
#define PLX_EMU_HASH_TYPES 0x3fu /* IPv4 and IPv6, plain, TCP and UDP */

/* How frames are hashed, and where that leads. */
struct plx_emu_rss {
	uint32_t hash_types; /* 0: nothing is hashed */
	uint16_t unclassified;
	uint16_t table_len; /* 0: nothing is steered by it */
	uint16_t table[PLX_EMU_RSS_TABLE];
	uint8_t key[PLX_EMU_RSS_KEY]; /* zeros behind a shorter one */
};

/* What a queue moved. */
struct plx_emu_queue_stats {
	uint64_t notifications;
	uint64_t frames;
	uint64_t bytes;
	uint64_t drops;
};

/* An acknowledgement, and a result behind it. */
struct plx_emu_net_answer {
	uint32_t room; /* that the driver gave */
	uint32_t len;
	uint8_t bytes[4096];
};

struct virtio_net_hdr;

/* The network card's part of a device. */
struct plx_emu_net {
	uint16_t status; /* VIRTIO_NET_S_* */
	bool pairs_set;  /* by a command, after which more than one pair may be in use */
	struct plx_emu_net_state state;
	uint8_t vlan[4096 / 8];
	struct plx_emu_rss rss;
	struct plx_emu_coalescing coalescing[2 * PLX_EMU_PAIRS];
	struct plx_emu_queue_stats queue[2 * PLX_EMU_PAIRS];
};

struct plx_emu {
	struct plx_vfio_device vfio;
	struct plx_emu_config config;
	struct plx_mem *mem;

	pthread_mutex_t lock;
	unsigned callers; /* atomic: control calls that wait for the lock */
	bool open;        /* towards the driver */
	bool owned;       /* the maker destroys it */

	/* thread.c */
	bool running;
	struct plx_emu_engine *engine; /* NULL: it is stepped */
	struct plx_emu *next;          /* of the same engine */

	/* breach.c */
	pthread_mutex_t breach_lock;
	uint64_t breach_total;
	struct plx_emu_breach breach[PLX_EMU_BREACHES];
	unsigned breaches;

	/* irq.c */
	unsigned vectors;
	int line;
	bool line_masked; /* until the driver unmasks it */
	int vector[PLX_EMU_QUEUES + 1];
	uint8_t isr;
	bool msix;

	/* config_space.c */
	uint8_t pci_cfg_cap; /* where the PCI_CFG capability lies */
	uint8_t pci[PLX_EMU_CONFIG_SIZE];
	uint8_t pci_writable[256]; /* bits that the driver may change */

	/* status.c */
	const struct plx_emu_protocol *protocol; /* how the status is understood since the reset */
	uint8_t status;
	bool live;   /* atomic: kicks look at it */
	bool legacy; /* the driver uses the legacy interface */
	bool reset_unread;
	const struct plx_emu_status_step *unread; /* the driver must read back whether it stayed */
	bool refused;                             /* the driver was told no */

	/* common.c, features.c */
	uint8_t generation;
	bool generation_due; /* the configuration changed since the driver last looked */
	bool config_vector_unread;
	uint16_t config_vector;
	uint16_t queue_select;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint64_t accepted[2];
	uint64_t understood[2]; /* with DEVICE_OK: what was accepted when DRIVER was set */

	/* seam.c */
	uint64_t accesses;
	bool gone;  /* atomic: unplugged */
	bool poked; /* memory was written over: the driver's rings prove nothing */

	unsigned queues;
	struct plx_emu_queue *queue;

	struct plx_emu_dma dma;
	struct plx_emu_net net;
	struct plx_emu_backlog *injected; /* one for each pair */
	struct plx_emu_peer *peer;
	uint8_t *bounce; /* a frame on its way from the driver */

	uint64_t random;
	struct plx_emu_stats stats;
	uint64_t kicks; /* atomic */
};

/* device.c */
void plx_emu_lock(struct plx_emu *emu);
void plx_emu_unlock(struct plx_emu *emu);
/* Back to where a device is after power-on; the lock is held. */
void plx_emu_reset(struct plx_emu *emu);
void plx_emu_end(struct plx_emu *emu);
/* Nothing is left to do: ask to be notified; the lock is held. */
void plx_emu_sleep(struct plx_emu *emu);
/* Do one bounded piece of work; the lock is held. Return: buffers used. */
unsigned plx_emu_work(struct plx_emu *emu, unsigned budget);
uint32_t plx_emu_draw(struct plx_emu *emu, uint32_t limit);

/* Fields of PCI and of virtio are little-endian, and lie at any address. */

static inline uint16_t plx_emu_get16(const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return le16toh(value);
}

static inline uint32_t plx_emu_get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

/* A number below @limit, always 0 when the seed is. */
static inline uint32_t plx_emu_random(struct plx_emu *emu, uint32_t limit)
{
	return emu->config.seed ? plx_emu_draw(emu, limit) : 0;
}

/* Tell whoever looks on. */
static inline void plx_emu_event(struct plx_emu *emu, enum plx_emu_event_kind kind,
	enum plx_emu_place place, int32_t index, uint64_t value, uint32_t len)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	struct plx_emu_event event = {
		.kind = kind, .place = place, .index = index, .value = value, .len = len};

	if (hooks->event)
		hooks->event(hooks->arg, &event);
}

/* seam.c */
extern const struct plx_vfio_ops plx_emu_seam_ops;

static inline bool plx_emu_gone(const struct plx_emu *emu)
{
	return __atomic_load_n(&emu->gone, __ATOMIC_ACQUIRE);
}

/* address.c */
int plx_emu_config_from_address(struct plx_emu_config *config, struct plx_address *address);

/* thread.c */
int plx_emu_thread_start(struct plx_emu *emu);
void plx_emu_thread_stop(struct plx_emu *emu);
/* Nobody wakes the device any more. */
void plx_emu_thread_release(struct plx_emu *emu);
void plx_emu_wake(struct plx_emu *emu);
/*
 * What a sleeping device waits for besides notifications; takes the lock.
 * Return: nanoseconds until a frame comes by itself; @fd: readable when one comes, or -1.
 */
uint64_t plx_emu_awaited(struct plx_emu *emu, int *fd);

/* breach.c */
void plx_emu_report(struct plx_emu *emu, const char *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4), cold));

/* config_space.c */
void plx_emu_pci_init(struct plx_emu *emu);
void plx_emu_pci_reset(struct plx_emu *emu);
void plx_emu_pci_read(struct plx_emu *emu, uint64_t offset, uint8_t *to, size_t len);
void plx_emu_pci_write(struct plx_emu *emu, uint64_t offset, const uint8_t *from, size_t len);

static inline bool plx_emu_bus_master(const struct plx_emu *emu)
{
	return emu->pci[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

bool plx_emu_line_disabled(const struct plx_emu *emu);
void plx_emu_pci_set_msix(struct plx_emu *emu, bool on);

/* bar.c: the structures in the BARs. */
uint64_t plx_emu_bar_read(struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len);
void plx_emu_bar_write(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value);
/* Whether it is a write to the notification structure: handled without the lock. */
bool plx_emu_bar_kick(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value);

#define PLX_EMU_BAR_SIZE          0x4000
#define PLX_EMU_BAR_COMMON        0x0000
#define PLX_EMU_BAR_ISR           0x1000
#define PLX_EMU_BAR_DEVICE        0x2000
#define PLX_EMU_BAR_NOTIFY        0x3000
#define PLX_EMU_BAR_PART          0x1000 /* bytes that each of the structures has to itself */
#define PLX_EMU_NOTIFY_MULT       4
/* What queue_notif_config_data holds: nothing that could be guessed from the index. */
#define PLX_EMU_NOTIF_DATA(queue) (0x5a00u ^ (7u * (unsigned)(queue) + 3u))
#define PLX_EMU_MSIX_SIZE         0x2000
#define PLX_EMU_MSIX_PENDING      0x1800
#define PLX_EMU_LEGACY_SIZE       64

/* Reading the ISR status clears it. */
uint8_t plx_emu_isr_read(struct plx_emu *emu);

/* common.c */
/* A register of the common configuration, or of the legacy interface. */
struct plx_emu_field {
	uint8_t offset;
	uint8_t width;
	bool read_only;
	const char *name;
};
/* Return: the field that an access is to, whole; NULL when there is none. */
const struct plx_emu_field *plx_emu_find_field(
	const struct plx_emu_field *table, size_t count, uint64_t offset, unsigned len);
uint64_t plx_emu_common_read(struct plx_emu *emu, uint64_t offset, unsigned len);
void plx_emu_common_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value);
/* The queue that the driver has selected; NULL: there is none of that number. */
struct plx_emu_queue *plx_emu_selected(struct plx_emu *emu);
/* Return: The vector as it reads back, which the driver must see; @unread notes that. */
uint16_t plx_emu_map_vector(struct plx_emu *emu, uint64_t value, bool *unread);
void plx_emu_write_features(struct plx_emu *emu, unsigned word, uint32_t bits);

/* legacy.c: the registers of the legacy interface, without the device-specific ones. */
uint64_t plx_emu_legacy_read(struct plx_emu *emu, uint64_t offset, unsigned len);
void plx_emu_legacy_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value);
/* Where the device-specific registers begin. */
uint64_t plx_emu_legacy_config_at(const struct plx_emu *emu);

static inline bool plx_emu_has_legacy(const struct plx_emu *emu)
{
	return emu->config.interface != PLX_EMU_MODERN_ONLY;
}

static inline bool plx_emu_has_modern(const struct plx_emu *emu)
{
	return emu->config.interface != PLX_EMU_LEGACY_ONLY;
}

/* status.c */
struct plx_emu_protocol;
struct plx_emu_status_step;

/* @legacy: through which interface */
void plx_emu_status_write(struct plx_emu *emu, uint8_t value, bool legacy);
uint8_t plx_emu_status_read(struct plx_emu *emu);
/* The driver reads or writes another register: is it time for that? */
void plx_emu_status_check(struct plx_emu *emu, bool write);
void plx_emu_status_reset(struct plx_emu *emu);
/* DEVICE_NEEDS_RESET; the lock is held. */
void plx_emu_status_fatal(struct plx_emu *emu);
bool plx_emu_live(const struct plx_emu *emu);
/* Is it time to set up queues, to write features or the device-specific configuration? */
bool plx_emu_status_may_set_up(struct plx_emu *emu, unsigned queue);
bool plx_emu_status_may_accept(struct plx_emu *emu);
bool plx_emu_status_may_configure(struct plx_emu *emu);
/* A notification of a device that is not live. Return: whether it is remembered. */
bool plx_emu_status_early_kick(struct plx_emu *emu, unsigned queue);

/* suspend.c: the queues of a device that stands still, and of one that goes on. */
bool plx_emu_may_suspend(const struct plx_emu *emu, uint8_t status);
void plx_emu_suspend(struct plx_emu *emu);
void plx_emu_resume(struct plx_emu *emu);

/* features.c */
/* What is on offer through the interface in use: bits 0 to 63, or 64 to 127. */
uint64_t plx_emu_offer(const struct plx_emu *emu, unsigned half);

static inline bool plx_emu_offers(const struct plx_emu *emu, unsigned bit)
{
	return plx_emu_offer(emu, bit / 64) >> bit % 64 & 1;
}

static inline bool plx_emu_accepted(const struct plx_emu *emu, unsigned bit)
{
	return emu->accepted[bit / 64] >> bit % 64 & 1;
}

/* Whether the accepted set can be run; notes what is wrong with it. */
bool plx_emu_features_valid(struct plx_emu *emu);
/* Whether a driver that understands the accepted set can run the device at all. */
bool plx_emu_features_sufficient(struct plx_emu *emu);
/*
 * Notes what is wrong with the set accepted through the legacy interface, which cannot refuse it.
 */
void plx_emu_features_legacy(struct plx_emu *emu);

/* irq.c */
int plx_emu_set_irqs(
	struct plx_emu *emu, unsigned index, unsigned start, unsigned count, const int32_t *fds);
void plx_emu_irq_init(struct plx_emu *emu);
void plx_emu_irq_fini(struct plx_emu *emu);
void plx_emu_irq_queue(struct plx_emu *emu, uint16_t vector);
void plx_emu_unmask_line(struct plx_emu *emu);
void plx_emu_irq_config(struct plx_emu *emu);

/* net.c, net_config.c, net_header.c, net_control.c */
int plx_emu_net_init(struct plx_emu *emu);
void plx_emu_net_fini(struct plx_emu *emu);
void plx_emu_net_reset(struct plx_emu *emu);
unsigned plx_emu_net_work(struct plx_emu *emu, unsigned budget);
/* Whether a frame that comes has a buffer to go to. */
bool plx_emu_net_can_receive(const struct plx_emu *emu);
unsigned plx_emu_net_control_index(const struct plx_emu *emu);
uint64_t plx_emu_net_config_read(struct plx_emu *emu, uint64_t offset, unsigned len);
void plx_emu_net_config_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value);
uint32_t plx_emu_net_header_size(const struct plx_emu *emu);
/* Without ANY_LAYOUT the legacy interface has rules on what lies in which descriptor. */
bool plx_emu_net_framing_fixed(const struct plx_emu *emu);
void plx_emu_net_check_framing(
	struct plx_emu *emu, const struct plx_emu_queue *queue, unsigned parts);
/* Whether a header in front of a frame is one that may be sent; receives it in the CPU's order. */
bool plx_emu_net_header_valid(struct plx_emu *emu, const uint8_t *at, const uint8_t *frame,
	uint32_t len, struct virtio_net_hdr *header);
/*
 * net_offload.c: complete and cut a frame, and send what becomes of it. Return: whether it could
 * be.
 */
bool plx_emu_net_send(struct plx_emu *emu, unsigned pair, const struct virtio_net_hdr *header,
	uint8_t *frame, uint32_t len);
/* Whether a frame has a checksum of TCP or UDP, and a right one. */
bool plx_emu_net_csum_good(const uint8_t *frame, uint32_t len);
unsigned plx_emu_net_control(struct plx_emu *emu, struct plx_emu_queue *queue, unsigned budget);

/* net_rss.c: what RSS_CONFIG and HASH_CONFIG say. Return: whether it can be done. */
bool plx_emu_net_set_rss(struct plx_emu *emu, const uint8_t *data, uint32_t len);
bool plx_emu_net_set_hash(struct plx_emu *emu, const uint8_t *data, uint32_t len);
/* Hash a frame. Return: VIRTIO_NET_HASH_REPORT_*, and the hash if there is one. */
uint16_t plx_emu_net_hash(
	const struct plx_emu *emu, const uint8_t *frame, uint32_t len, uint32_t *hash);
/* The pair that a frame from outside goes to. */
unsigned plx_emu_net_steer(const struct plx_emu *emu, const uint8_t *frame, uint32_t len);

/* net_stats.c: what DEVICE_STATS tells. */
bool plx_emu_net_stats(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len,
	struct plx_emu_net_answer *answer);

static inline void plx_emu_net_put(struct plx_emu_net_answer *answer, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len && answer->len < sizeof(answer->bytes); i++)
		answer->bytes[answer->len++] = (uint8_t)(value >> 8 * i);
}

static inline void plx_emu_net_put32(struct plx_emu_net_answer *answer, uint32_t value)
{
	plx_emu_net_put(answer, value, sizeof(value));
}

#endif
