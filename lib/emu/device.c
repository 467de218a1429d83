/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The life of a device, and the work it does. */

#define STEP_BUDGET 16

/* The thread works with the lock held most of the time; it steps aside for callers that wait. */
void plx_emu_lock(struct plx_emu *emu)
{
	__atomic_add_fetch(&emu->callers, 1, __ATOMIC_RELAXED);
	(void)pthread_mutex_lock(&emu->lock);
	__atomic_sub_fetch(&emu->callers, 1, __ATOMIC_RELAXED);
}

void plx_emu_unlock(struct plx_emu *emu)
{
	(void)pthread_mutex_unlock(&emu->lock);
}

uint32_t plx_emu_draw(struct plx_emu *emu, uint32_t limit)
{
	/* xorshift64*, by Marsaglia and Vigna. */
	emu->random ^= emu->random >> 12;
	emu->random ^= emu->random << 25;
	emu->random ^= emu->random >> 27;
	return (uint32_t)((emu->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32) % limit;
}

void plx_emu_reset(struct plx_emu *emu)
{
	plx_emu_status_reset(emu);
	memset(emu->accepted, 0, sizeof(emu->accepted));
	emu->device_feature_select = emu->driver_feature_select = 0;
	emu->config_vector = VIRTIO_MSI_NO_VECTOR;
	emu->config_vector_unread = false;
	emu->queue_select = 0;
	emu->isr = 0;
	emu->poked = false;
	for (unsigned i = 0; i < emu->queues; i++)
		plx_emu_queue_reset(&emu->queue[i]);
	plx_emu_net_reset(emu);
}

unsigned plx_emu_work(struct plx_emu *emu, unsigned budget)
{
	if (!plx_emu_live(emu) || plx_emu_gone(emu) ||
		(emu->status & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED)))
		return 0;
	return plx_emu_net_work(emu, budget);
}

unsigned plx_emu_step(struct plx_emu *emu)
{
	unsigned done;

	plx_emu_lock(emu);
	done = plx_emu_work(emu, STEP_BUDGET - plx_emu_random(emu, STEP_BUDGET));
	if (!done && !plx_emu_random(emu, 2))
		plx_emu_sleep(emu);
	plx_emu_unlock(emu);
	return done;
}

void plx_emu_sleep(struct plx_emu *emu)
{
	for (unsigned i = 0; i < emu->queues; i++)
		if (plx_emu_queue_ready(&emu->queue[i]))
			plx_emu_queue_sleep(&emu->queue[i]);
}

void plx_emu_end(struct plx_emu *emu)
{
	if (emu->peer)
		emu->peer->ops->close(emu->peer);
	for (unsigned i = 0; emu->queue && i < emu->queues; i++)
		plx_emu_queue_fini(&emu->queue[i]);
	plx_emu_thread_release(emu);
	free(emu->queue);
	plx_emu_net_fini(emu);
	plx_emu_irq_fini(emu);
	(void)pthread_mutex_destroy(&emu->breach_lock);
	(void)pthread_mutex_destroy(&emu->lock);
	free(emu);
}

void plx_emu_config_init(struct plx_emu_config *config)
{
	static const uint8_t offered[] = {
		VIRTIO_F_ANY_LAYOUT,
		VIRTIO_F_INDIRECT_DESC,
		VIRTIO_F_EVENT_IDX,
		VIRTIO_F_VERSION_1,
		VIRTIO_F_ACCESS_PLATFORM,
		VIRTIO_F_RING_PACKED,
		VIRTIO_F_IN_ORDER,
		VIRTIO_F_ORDER_PLATFORM,
		VIRTIO_F_RING_RESET,
		VIRTIO_NET_F_MTU,
		VIRTIO_NET_F_MAC,
		VIRTIO_NET_F_MRG_RXBUF,
		VIRTIO_NET_F_STATUS,
		VIRTIO_NET_F_CTRL_VQ,
		VIRTIO_NET_F_CTRL_RX,
		VIRTIO_NET_F_CTRL_RX_EXTRA,
		VIRTIO_NET_F_CTRL_VLAN,
		VIRTIO_NET_F_CTRL_MAC_ADDR,
		VIRTIO_NET_F_GUEST_ANNOUNCE,
		VIRTIO_NET_F_MQ,
		VIRTIO_NET_F_SPEED_DUPLEX,
		VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_HOST_TSO4,
		VIRTIO_NET_F_HOST_TSO6,
		VIRTIO_NET_F_HOST_ECN,
		VIRTIO_NET_F_HOST_USO,
		VIRTIO_NET_F_GUEST_HDRLEN,
		VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_GUEST_TSO4,
		VIRTIO_NET_F_GUEST_TSO6,
		VIRTIO_NET_F_GUEST_ECN,
		VIRTIO_NET_F_GUEST_USO4,
		VIRTIO_NET_F_GUEST_USO6,
		VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
		VIRTIO_NET_F_RSS,
		VIRTIO_NET_F_HASH_REPORT,
		VIRTIO_NET_F_NOTF_COAL,
		VIRTIO_NET_F_VQ_NOTF_COAL,
		VIRTIO_NET_F_DEVICE_STATS,
	};

	*config = (struct plx_emu_config){
		.name = "emu:net",
		.pairs = 1,
		.queue_size = PLX_EMU_QUEUE_SIZE,
		.vectors = PLX_EMU_VECTORS,
		.mtu = 1500,
		.duplex = 1,
		.mac = {0x02, 0x00, 0x00, 0x65, 0x6d, 0x75},
		.speed = 10000,
		.backlog = 1 << 20,
		.peer = "loopback",
		.frame_size = 60,
	};
	for (unsigned i = 0; i < ARRAY_SIZE(offered); i++)
		plx_emu_config_offer(config, offered[i], true);
}

static int check_config(const struct plx_emu_config *config)
{
	if (!config->pairs || config->pairs > PLX_EMU_PAIRS)
		return plx_fail(EINVAL, "%s: give it 1 to %d queue pairs, not %u", config->name,
			PLX_EMU_PAIRS, config->pairs);
	if (!config->queue_size || config->queue_size > VIRTQ_SIZE_MAX ||
		!plx_is_power_of_two(config->queue_size))
		return plx_fail(EINVAL,
			"%s: give it queues of 1 to %d entries, a power of two, not %u",
			config->name, VIRTQ_SIZE_MAX, config->queue_size);
	if (config->frame_size < PLX_EMU_FRAME_LEAST || config->frame_size > PLX_EMU_FRAME)
		return plx_fail(EINVAL, "%s: give it frames of %d to %d bytes, not %u",
			config->name, PLX_EMU_FRAME_LEAST, PLX_EMU_FRAME, config->frame_size);
	return 0;
}

static void describe(struct plx_emu *emu, const struct plx_log *log)
{
	const uint32_t both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	struct plx_vfio_device *vfio = &emu->vfio;

	vfio->ops = &plx_emu_seam_ops;
	vfio->log = log;
	(void)snprintf(vfio->name, sizeof(vfio->name), "%s", emu->config.name);
	vfio->numa_node = -1;
	/* The legacy interface has no word for an IOMMU: who has it stands in front of none. */
	vfio->dma_translated = !plx_emu_has_legacy(emu);
	vfio->regions = VFIO_PCI_NUM_REGIONS;
	vfio->region[VFIO_PCI_CONFIG_REGION_INDEX] =
		(struct plx_vfio_region){.size = PLX_EMU_CONFIG_SIZE, .flags = both};
	vfio->region[PLX_EMU_MSIX_BAR] =
		(struct plx_vfio_region){.size = PLX_EMU_MSIX_SIZE, .flags = both};
	if (plx_emu_has_modern(emu))
		vfio->region[PLX_EMU_VIRTIO_BAR] =
			(struct plx_vfio_region){.size = PLX_EMU_BAR_SIZE, .flags = both};
	if (plx_emu_has_legacy(emu))
		vfio->region[PLX_EMU_LEGACY_BAR] =
			(struct plx_vfio_region){.size = PLX_EMU_LEGACY_SIZE, .flags = both};
	vfio->irqs[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	vfio->irqs[VFIO_PCI_MSIX_IRQ_INDEX] = emu->vectors;
	vfio->irqs[VFIO_PCI_ERR_IRQ_INDEX] = 1;
	vfio->irqs[VFIO_PCI_REQ_IRQ_INDEX] = 1;
}

static int add_queues(struct plx_emu *emu)
{
	emu->queue = calloc(emu->queues, sizeof(*emu->queue));
	if (!emu->queue)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	for (unsigned i = 0; i < emu->queues; i++) {
		int err = plx_emu_queue_init(&emu->queue[i], emu, (uint16_t)i);

		if (err)
			return err;
	}
	return 0;
}

static int build(struct plx_emu *emu, const struct plx_log *log)
{
	int err;

	emu->queues = 2u * emu->config.pairs + plx_emu_offers(emu, VIRTIO_NET_F_CTRL_VQ);
	emu->vectors = MIN(emu->config.vectors, emu->queues + 1);
	describe(emu, log);
	err = add_queues(emu);
	if (!err)
		err = plx_emu_net_init(emu);
	if (err)
		return err;
	plx_emu_pci_init(emu);
	plx_emu_reset(emu);
	err = plx_emu_peer_open(emu, emu->config.peer, &emu->peer);
	if (err)
		return err;
	emu->config.peer = emu->config.name = NULL; /* the caller's, used up */
	err = plx_emu_dma_attach(emu);
	if (!err && emu->config.thread)
		err = plx_emu_thread_start(emu);
	if (err)
		plx_emu_dma_detach(emu);
	return err;
}

static int create(struct plx_mem *mem, const struct plx_log *log,
	const struct plx_emu_config *config, bool owned, struct plx_emu **made)
{
	struct plx_emu *emu;
	int err = check_config(config);

	if (err)
		return err;
	emu = calloc(1, sizeof(*emu));
	if (!emu)
		return plx_fail(ENOMEM, "%s: out of memory", config->name);
	emu->config = *config;
	emu->mem = mem;
	emu->random = config->seed;
	emu->owned = owned;
	emu->legacy = !plx_emu_has_modern(emu);
	emu->open = true;
	(void)pthread_mutex_init(&emu->lock, NULL);
	(void)pthread_mutex_init(&emu->breach_lock, NULL);
	plx_emu_irq_init(emu);
	err = build(emu, log);
	if (err) {
		plx_emu_end(emu);
		return err;
	}
	*made = emu;
	return 0;
}

int plx_emu_create(struct plx_mem *mem, const struct plx_log *log,
	const struct plx_emu_config *config, struct plx_emu **emu)
{
	return create(mem, log, config, true, emu);
}

void plx_emu_destroy(struct plx_emu *emu)
{
	if (!emu)
		return;
	if (emu->open)
		plx_vfio_close(&emu->vfio);
	plx_emu_end(emu);
}

int plx_emu_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_vfio_device **device)
{
	struct plx_emu_config config;
	struct plx_emu *emu;
	int err = plx_emu_config_from_address(&config, address);

	if (err)
		return err;
	config.thread = true;
	err = create(mem, log, &config, false, &emu);
	if (err)
		return err;
	*device = &emu->vfio;
	return 0;
}

struct plx_vfio_device *plx_emu_device(struct plx_emu *emu)
{
	return &emu->vfio;
}

void plx_emu_hold(struct plx_emu *emu, unsigned queue, bool on)
{
	plx_emu_lock(emu);
	if (queue < emu->queues)
		emu->queue[queue].held = on;
	plx_emu_unlock(emu);
	plx_emu_wake(emu);
}

void plx_emu_get_queue(struct plx_emu *emu, unsigned queue, struct plx_emu_queue_state *state)
{
	*state = (struct plx_emu_queue_state){0};
	plx_emu_lock(emu);
	if (queue < emu->queues)
		*state = (struct plx_emu_queue_state){
			.enabled = emu->queue[queue].enabled,
			.size = emu->queue[queue].size,
			.descriptors = emu->queue[queue].desc_addr,
			.driver_area = emu->queue[queue].driver_addr,
			.device_area = emu->queue[queue].device_addr,
		};
	plx_emu_unlock(emu);
}

void plx_emu_unplug(struct plx_emu *emu)
{
	__atomic_store_n(&emu->gone, true, __ATOMIC_RELEASE);
}

void plx_emu_get_stats(struct plx_emu *emu, struct plx_emu_stats *stats)
{
	plx_emu_lock(emu);
	*stats = emu->stats;
	plx_emu_unlock(emu);
	stats->kicks = __atomic_load_n(&emu->kicks, __ATOMIC_RELAXED);
	stats->breaches = plx_emu_breaches(emu, NULL);
}
