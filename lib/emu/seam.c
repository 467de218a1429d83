/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

/* The device seam, through which a driver has the device. */

static struct plx_emu *emu_of(struct plx_vfio_device *device)
{
	return container_of(device, struct plx_emu, vfio);
}

/* Little-endian bytes of a register access, and back. */
static uint64_t from_bytes(const void *bytes, size_t len)
{
	uint64_t value = 0;

	memcpy(&value, bytes, len);
	return le64toh(value);
}

static void to_bytes(void *bytes, uint64_t value, size_t len)
{
	value = htole64(value);
	memcpy(bytes, &value, len);
}

static int check_access(struct plx_emu *emu, unsigned region, uint64_t offset, size_t len)
{
	uint64_t size = region < emu->vfio.regions ? emu->vfio.region[region].size : 0;

	if (!plx_range_fits(offset, len, size))
		return plx_fail(EIO, "%s: region %u has %" PRIu64 " bytes and none at 0x%" PRIx64,
			emu->vfio.name, region, size, offset);
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		return 0;
	if (len > 8 || !plx_is_power_of_two(len) || offset % len) {
		plx_emu_report(emu, "PCI-ACC-1",
			"%zu bytes of region %u were touched at 0x%" PRIx64, len, region, offset);
		return plx_fail(EIO, "%s: no register has %zu bytes at 0x%" PRIx64, emu->vfio.name,
			len, offset);
	}
	return 0;
}

/* Whether there is still a device to answer. */
static bool answers(struct plx_emu *emu)
{
	uint64_t limit = emu->config.gone_after;

	if (limit && __atomic_add_fetch(&emu->accesses, 1, __ATOMIC_RELAXED) > limit)
		plx_emu_unplug(emu);
	return !plx_emu_gone(emu);
}

static int unplugged(const struct plx_emu *emu)
{
	return plx_fail(ENODEV, "%s: it was unplugged", emu->vfio.name);
}

static int seam_read(
	struct plx_vfio_device *device, unsigned region, uint64_t offset, void *value, size_t len)
{
	struct plx_emu *emu = emu_of(device);
	int err = check_access(emu, region, offset, len);

	if (err)
		return err;
	if (!answers(emu)) {
		memset(value, 0xff, len);
		return emu->config.gone_silent ? unplugged(emu) : 0;
	}
	plx_emu_lock(emu);
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		plx_emu_pci_read(emu, offset, value, len);
	else
		to_bytes(value, plx_emu_bar_read(emu, region, offset, (unsigned)len), len);
	plx_emu_unlock(emu);
	return 0;
}

static int seam_write(struct plx_vfio_device *device, unsigned region, uint64_t offset,
	const void *value, size_t len)
{
	struct plx_emu *emu = emu_of(device);
	int err = check_access(emu, region, offset, len);

	if (err)
		return err;
	if (!answers(emu))
		return emu->config.gone_silent ? unplugged(emu) : 0;
	if (region != VFIO_PCI_CONFIG_REGION_INDEX &&
		plx_emu_bar_kick(emu, region, offset, (unsigned)len, from_bytes(value, len)))
		return 0;
	plx_emu_lock(emu);
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		plx_emu_pci_write(emu, offset, value, len);
	else
		plx_emu_bar_write(emu, region, offset, (unsigned)len, from_bytes(value, len));
	plx_emu_unlock(emu);
	return 0;
}

static int seam_map(struct plx_vfio_device *device, unsigned region, uint64_t offset, size_t len,
	void **address)
{
	(void)region, (void)offset, (void)len, (void)address;
	return plx_fail(ENOTSUP, "%s: no region of an emulated device can be mapped", device->name);
}

static void seam_unmap(struct plx_vfio_device *device, void *address, size_t len)
{
	(void)device, (void)address, (void)len;
}

static int seam_set_irqs(struct plx_vfio_device *device, unsigned index, unsigned start,
	unsigned count, const int32_t *fds)
{
	struct plx_emu *emu = emu_of(device);
	int err;

	if (plx_emu_gone(emu))
		return unplugged(emu);
	plx_emu_lock(emu);
	err = plx_emu_set_irqs(emu, index, start, count, fds);
	plx_emu_unlock(emu);
	return err;
}

static int seam_unmask_irq(struct plx_vfio_device *device, unsigned index)
{
	struct plx_emu *emu = emu_of(device);

	if (plx_emu_gone(emu))
		return unplugged(emu);
	if (index != VFIO_PCI_INTX_IRQ_INDEX)
		return plx_fail(
			EINVAL, "%s: interrupts of index %u cannot be masked", device->name, index);
	plx_emu_lock(emu);
	plx_emu_unmask_line(emu);
	plx_emu_unlock(emu);
	return 0;
}

static int seam_reset(struct plx_vfio_device *device)
{
	struct plx_emu *emu = emu_of(device);
	const struct plx_emu_hooks *hooks = &emu->config.hooks;

	if (plx_emu_gone(emu))
		return unplugged(emu);
	if (hooks->reset && !hooks->reset(hooks->arg))
		return plx_fail(EIO, "%s: the function reset failed", emu->vfio.name);
	plx_emu_lock(emu);
	plx_emu_reset(emu);
	plx_emu_pci_reset(emu);
	plx_emu_unlock(emu);
	return 0;
}

/* What its peer found of the frames that the driver sent. */
static int seam_counters(struct plx_vfio_device *device, plx_counter_visit_fn *visit, void *arg)
{
	struct plx_emu *emu = emu_of(device);
	struct plx_emu_stats stats;
	int ret;

	if (!emu->peer->ops->checks)
		return 0;
	plx_emu_get_stats(emu, &stats);
	ret = visit(arg, "peer.received", stats.checked);
	if (!ret)
		ret = visit(arg, "peer.lost", stats.lost);
	if (!ret)
		ret = visit(arg, "peer.altered", stats.altered);
	if (!ret)
		ret = visit(arg, "peer.doubled", stats.doubled);
	return ret;
}

/* The driver lets go of it: from here on it reaches no memory. */
static void seam_close(struct plx_vfio_device *device)
{
	struct plx_emu *emu = emu_of(device);

	plx_emu_thread_stop(emu);
	plx_emu_lock(emu);
	plx_emu_reset(emu);
	plx_emu_unlock(emu);
	plx_emu_dma_detach(emu);
	emu->open = false;
	if (!emu->owned)
		plx_emu_end(emu);
}

const struct plx_vfio_ops plx_emu_seam_ops = {
	.name = "emu",
	.read = seam_read,
	.write = seam_write,
	.map = seam_map,
	.unmap = seam_unmap,
	.set_irqs = seam_set_irqs,
	.unmask_irq = seam_unmask_irq,
	.reset = seam_reset,
	.counters = seam_counters,
	.close = seam_close,
};
