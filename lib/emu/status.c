/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"

/* The device status and the order in which a driver goes through it (virtio 1.4, 2.1 and 3.1). */

/* The steps of the handshake, each with what must come before. */
static const struct {
	uint8_t bit;
	uint8_t after;
	const char *name;
} steps[] = {
	{VIRTIO_STATUS_ACKNOWLEDGE, 0, "ACKNOWLEDGE"},
	{VIRTIO_STATUS_DRIVER, VIRTIO_STATUS_ACKNOWLEDGE, "DRIVER"},
	{VIRTIO_STATUS_FEATURES_OK, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER,
		"FEATURES_OK"},
	{VIRTIO_STATUS_DRIVER_OK,
		VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK,
		"DRIVER_OK"},
};

/* Kicks look at the status without the lock. */
static void set_status(struct plx_emu *emu, uint8_t status)
{
	__atomic_store_n(&emu->status, status, __ATOMIC_RELEASE);
}

bool plx_emu_live(const struct plx_emu *emu)
{
	return __atomic_load_n(&emu->status, __ATOMIC_ACQUIRE) & VIRTIO_STATUS_DRIVER_OK;
}

uint8_t plx_emu_status_read(struct plx_emu *emu)
{
	emu->features_unread = false;
	if (!emu->status)
		emu->reset_unread = false;
	return emu->status;
}

void plx_emu_status_reset(struct plx_emu *emu)
{
	set_status(emu, 0);
	emu->features_unread = false;
	emu->refused = false;
	emu->reset_unread = false;
}

void plx_emu_status_check(struct plx_emu *emu, bool write)
{
	if (emu->features_unread) {
		plx_emu_report(emu, "INIT-1", "the status was not read back after FEATURES_OK");
		emu->features_unread = false;
	}
	if (!write)
		return;
	if (emu->reset_unread) {
		plx_emu_report(emu, "PCI-COMMON-5",
			"a register was written before the status read 0 after the "
			"reset");
		emu->reset_unread = false;
	}
	if (emu->refused || (emu->status & VIRTIO_STATUS_FAILED))
		plx_emu_report(
			emu, "INIT-6", "a register was written after initialisation had failed");
}

static void check_steps(struct plx_emu *emu, uint8_t old, uint8_t added)
{
	uint8_t known = VIRTIO_STATUS_FAILED;

	if (added & (added - 1))
		plx_emu_report(emu, "STATUS-1",
			"several status bits were added at once: 0x%02x to 0x%02x", added, old);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		known |= steps[i].bit;
		if ((added & steps[i].bit) && (old & steps[i].after) != steps[i].after)
			plx_emu_report(emu, "STATUS-1", "%s was set while the status was 0x%02x",
				steps[i].name, old);
	}
	if (added & VIRTIO_STATUS_SUSPEND)
		plx_emu_report(emu, "SUSPEND-1", "SUSPEND was set, which was not negotiated");
	else if (added & ~known)
		plx_emu_report(emu, "STATUS-1",
			"status bits were set that are not the driver's: 0x%02x", added);
}

static void check_write(struct plx_emu *emu, uint8_t value)
{
	uint8_t old = emu->status, added = value & (uint8_t)~old;

	if (old & ~value & ~VIRTIO_STATUS_NEEDS_RESET)
		plx_emu_report(emu, "STATUS-2", "the status 0x%02x was overwritten with 0x%02x",
			old, value);
	check_steps(emu, old, added);
	if ((old & VIRTIO_STATUS_FAILED) && added)
		plx_emu_report(emu, "STATUS-3", "the driver went on after FAILED without a reset");
	else if (emu->refused && (added & ~VIRTIO_STATUS_FAILED))
		plx_emu_report(
			emu, "INIT-6", "the driver went on although its features were refused");
	if (emu->reset_unread)
		plx_emu_report(emu, "PCI-COMMON-5",
			"the status was written before it read 0 after the reset");
	if (emu->features_unread)
		plx_emu_report(emu, "INIT-1", "the status was not read back after FEATURES_OK");
	emu->reset_unread = false;
	emu->features_unread = false;
}

static void features_ok(struct plx_emu *emu)
{
	emu->features_unread = true;
	if (plx_emu_features_valid(emu))
		set_status(emu, emu->status | VIRTIO_STATUS_FEATURES_OK);
	else
		emu->refused = true;
}

static void driver_ok(struct plx_emu *emu)
{
	bool unread = emu->config_vector_unread;

	if (!(emu->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	for (unsigned i = 0; i < emu->queues; i++)
		unread |= emu->queue[i].vector_unread;
	if (unread)
		plx_emu_report(emu, "PCI-MSIX-5", "a vector was not read back before DRIVER_OK");
	set_status(emu, emu->status | VIRTIO_STATUS_DRIVER_OK);
}

void plx_emu_status_write(struct plx_emu *emu, uint8_t value)
{
	uint8_t added = value & (uint8_t)~emu->status;

	if (!value) {
		plx_emu_reset(emu);
		emu->reset_unread = true;
		return;
	}
	check_write(emu, value);
	set_status(emu, emu->status | (added & (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
						       VIRTIO_STATUS_FAILED)));
	if (added & VIRTIO_STATUS_FEATURES_OK)
		features_ok(emu);
	if (added & VIRTIO_STATUS_DRIVER_OK)
		driver_ok(emu);
}

void plx_emu_need_reset(struct plx_emu *emu)
{
	plx_emu_lock(emu);
	plx_emu_status_fatal(emu);
	plx_emu_unlock(emu);
}

void plx_emu_status_fatal(struct plx_emu *emu)
{
	if (emu->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	set_status(emu, emu->status | VIRTIO_STATUS_NEEDS_RESET);
	plx_emu_irq_config(emu);
}
