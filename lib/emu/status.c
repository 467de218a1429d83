/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"

/*
 * The device status and the order in which a driver goes through it, once for each handshake that a
 * device may speak: a table of steps and, for each step, what the device makes of it.
 */
struct plx_emu_status_step {
	uint8_t bit;
	uint8_t after; /* bits that must have come before */
	const char *name;
	bool (*accept)(struct plx_emu *emu); /* whether the bit stays; NULL: it does */
	const char *reread; /* the rule by which the driver looks whether it did; NULL: none */
};

struct plx_emu_protocol {
	struct plx_emu_status_step step[4];
	uint8_t live;              /* the bit that makes the device live */
	bool wait_for_reset;       /* the driver must see the end of one */
	bool needs_reset;          /* the device may show DEVICE_NEEDS_RESET */
	const char *foreign_rule;  /* broken by bits that are in no step */
	uint8_t queues_after;      /* the bit after which queues are set up */
	const char *queues_rule;   /* broken by doing so before */
	uint8_t features_until;    /* the bits that close the choice of features */
	const char *features_rule; /* broken by going on with it */
	uint8_t config_after;  /* the bit after which the configuration may be written; 0: any */
	uint8_t kick_after;    /* the bit after which notifications may come early; 0: none */
	const char *kick_rule; /* broken by those that come before it */
	bool remember_kicks;   /* and act on them once live */
};

static void check_vectors(struct plx_emu *emu)
{
	bool unread = emu->config_vector_unread;

	for (unsigned i = 0; i < emu->queues; i++)
		unread |= emu->queue[i].vector_unread;
	if (unread)
		plx_emu_report(emu, "PCI-MSIX-5", "a vector was not read back before DRIVER_OK");
}

/* --- the standard (virtio 1.4, 2.1 and 3.1.1) --- */

static bool standard_features_ok(struct plx_emu *emu)
{
	return plx_emu_features_valid(emu) && emu->config.veto != PLX_EMU_VETO_FEATURES;
}

static bool standard_driver_ok(struct plx_emu *emu)
{
	check_vectors(emu);
	return emu->status & VIRTIO_STATUS_FEATURES_OK;
}

static const struct plx_emu_protocol standard = {
	.step =
		{
			{VIRTIO_STATUS_ACKNOWLEDGE, 0, "ACKNOWLEDGE", NULL, NULL},
			{VIRTIO_STATUS_DRIVER, VIRTIO_STATUS_ACKNOWLEDGE, "DRIVER", NULL, NULL},
			{VIRTIO_STATUS_FEATURES_OK,
				VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, "FEATURES_OK",
				standard_features_ok, "INIT-1"},
			{VIRTIO_STATUS_DRIVER_OK,
				VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
					VIRTIO_STATUS_FEATURES_OK,
				"DRIVER_OK", standard_driver_ok, NULL},
		},
	.live = VIRTIO_STATUS_DRIVER_OK,
	.wait_for_reset = true,
	.needs_reset = true,
	.foreign_rule = "STATUS-1",
	.queues_after = VIRTIO_STATUS_FEATURES_OK,
	.queues_rule = "INIT-1",
	.features_until = VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK,
	.features_rule = "INIT-4",
	.config_after = VIRTIO_STATUS_FEATURES_OK,
	.kick_rule = "INIT-7",
};

/* --- its legacy interface (3.1.2): the device can refuse nothing --- */

static bool legacy_driver_ok(struct plx_emu *emu)
{
	check_vectors(emu);
	plx_emu_features_legacy(emu);
	return true;
}

static const struct plx_emu_protocol legacy = {
	.step =
		{
			{VIRTIO_STATUS_ACKNOWLEDGE, 0, "ACKNOWLEDGE", NULL, NULL},
			{VIRTIO_STATUS_DRIVER, VIRTIO_STATUS_ACKNOWLEDGE, "DRIVER", NULL, NULL},
			{VIRTIO_STATUS_DRIVER_OK, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER,
				"DRIVER_OK", legacy_driver_ok, NULL},
		},
	.live = VIRTIO_STATUS_DRIVER_OK,
	.foreign_rule = "LEG-INIT-1",
	.queues_after = VIRTIO_STATUS_DRIVER,
	.queues_rule = "LEG-INIT-1",
	.features_until = VIRTIO_STATUS_DRIVER_OK,
	.features_rule = "INIT-4",
	.kick_rule = "INIT-7",
	.remember_kicks = true,
};

/* --- the proposal VIRTIO-30 v2, whose steps have the numbers of its text --- */

static bool proposal_driver(struct plx_emu *emu)
{
	emu->understood[0] = emu->accepted[0];
	emu->understood[1] = emu->accepted[1];
	return plx_emu_features_sufficient(emu) && emu->config.veto != PLX_EMU_VETO_FEATURES;
}

static bool proposal_driver_ok(struct plx_emu *emu)
{
	bool valid = plx_emu_features_valid(emu);

	check_vectors(emu);
	if ((emu->accepted[0] & ~emu->understood[0]) || (emu->accepted[1] & ~emu->understood[1])) {
		plx_emu_report(emu, "VIRTIO-30 step 9",
			"features were activated that were not among those understood");
		valid = false;
	}
	for (unsigned i = 0; i < emu->queues; i++)
		if (emu->queue[i].enabled && plx_emu_queue_filled(&emu->queue[i]))
			plx_emu_report(emu, "VIRTIO-30 step 14",
				"queue %u had buffers before DRIVER_OK was read back", i);
	return valid && (emu->status & VIRTIO_STATUS_DRIVER) &&
	       emu->config.veto != PLX_EMU_VETO_CONFIG;
}

static bool proposal_device_ok(struct plx_emu *emu)
{
	return emu->status & VIRTIO_STATUS_DRIVER_OK;
}

static const struct plx_emu_protocol proposal = {
	.step =
		{
			{VIRTIO_STATUS_ACKNOWLEDGE, 0, "ACKNOWLEDGE", NULL, NULL},
			{VIRTIO_STATUS_DRIVER, VIRTIO_STATUS_ACKNOWLEDGE, "DRIVER", proposal_driver,
				"VIRTIO-30 step 8"},
			{VIRTIO_STATUS_DRIVER_OK, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER,
				"DRIVER_OK", proposal_driver_ok, "VIRTIO-30 step 13"},
			{VIRTIO_STATUS_DEVICE_OK,
				VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
					VIRTIO_STATUS_DRIVER_OK,
				"DEVICE_OK", proposal_device_ok, NULL},
		},
	.live = VIRTIO_STATUS_DEVICE_OK,
	.foreign_rule = "STATUS-1",
	.queues_after = VIRTIO_STATUS_DRIVER,
	.queues_rule = "VIRTIO-30 step 10",
	.features_until = VIRTIO_STATUS_DRIVER_OK,
	.features_rule = "VIRTIO-30 step 11",
	.kick_after = VIRTIO_STATUS_DRIVER_OK,
	.kick_rule = "VIRTIO-30 step 14",
	.remember_kicks = true,
};

static const struct plx_emu_protocol *choose_protocol(const struct plx_emu *emu)
{
	if (emu->legacy)
		return &legacy;
	return emu->config.handshake == PLX_EMU_DEVICE_OK ? &proposal : &standard;
}

/* Kicks look at the status without the lock. */
static void set_status(struct plx_emu *emu, uint8_t status)
{
	__atomic_store_n(&emu->status, status, __ATOMIC_RELAXED);
	__atomic_store_n(&emu->live, (status & emu->protocol->live) != 0, __ATOMIC_RELEASE);
}

bool plx_emu_live(const struct plx_emu *emu)
{
	return __atomic_load_n(&emu->live, __ATOMIC_ACQUIRE);
}

uint8_t plx_emu_status_read(struct plx_emu *emu)
{
	emu->unread = NULL;
	if (!emu->status)
		emu->reset_unread = false;
	return emu->status;
}

void plx_emu_status_reset(struct plx_emu *emu)
{
	emu->protocol = choose_protocol(emu);
	set_status(emu, 0);
	emu->unread = NULL;
	emu->refused = false;
	emu->reset_unread = false;
}

static void check_unread(struct plx_emu *emu)
{
	if (emu->unread)
		plx_emu_report(emu, emu->unread->reread, "the status was not read back after %s",
			emu->unread->name);
	emu->unread = NULL;
}

void plx_emu_status_check(struct plx_emu *emu, bool write)
{
	check_unread(emu);
	if (!write)
		return;
	if (emu->reset_unread) {
		plx_emu_report(emu, "PCI-COMMON-5",
			"a register was written before the status read 0 after the reset");
		emu->reset_unread = false;
	}
	if (emu->status & VIRTIO_STATUS_SUSPEND)
		plx_emu_report(emu, "SUSPEND-5", "a register was written while suspended");
	if (emu->refused || (emu->status & VIRTIO_STATUS_FAILED))
		plx_emu_report(
			emu, "INIT-6", "a register was written after initialisation had failed");
}

static void check_steps(struct plx_emu *emu, uint8_t old, uint8_t added)
{
	const struct plx_emu_protocol *protocol = emu->protocol;
	uint8_t known = VIRTIO_STATUS_FAILED;

	if (added & (added - 1))
		plx_emu_report(emu, "STATUS-1",
			"several status bits were added at once: 0x%02x to 0x%02x", added, old);
	for (unsigned i = 0; i < ARRAY_SIZE(protocol->step); i++) {
		const struct plx_emu_status_step *step = &protocol->step[i];

		known |= step->bit;
		if ((added & step->bit) && (old & step->after) != step->after)
			plx_emu_report(emu, "STATUS-1", "%s was set while the status was 0x%02x",
				step->name, old);
	}
	if ((added & VIRTIO_STATUS_SUSPEND) && protocol == &standard) {
		if (!plx_emu_may_suspend(emu, old))
			plx_emu_report(emu, "SUSPEND-1",
				"SUSPEND was set without its feature, or while the status was 0x%02x",
				old);
	} else if (added & ~known)
		plx_emu_report(emu, protocol->foreign_rule,
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
		plx_emu_report(emu, "INIT-6", "the driver went on although it was refused");
	if (emu->reset_unread)
		plx_emu_report(emu, "PCI-COMMON-5",
			"the status was written before it read 0 after the reset");
	check_unread(emu);
	emu->reset_unread = false;
}

static void take_step(struct plx_emu *emu, const struct plx_emu_status_step *step)
{
	if (step->reread)
		emu->unread = step;
	if (!step->accept || step->accept(emu))
		set_status(emu, emu->status | step->bit);
	else
		emu->refused = true;
}

/* The driver decides with its first write after a reset, or with the reset itself. */
static void choose_interface(struct plx_emu *emu, uint8_t value, bool through_legacy)
{
	if (emu->legacy == through_legacy)
		return;
	if (value && emu->status) {
		plx_emu_report(emu, "LEG-FEAT-2",
			"the driver went from one interface to the other without a reset");
		return;
	}
	emu->legacy = through_legacy;
	emu->protocol = choose_protocol(emu);
}

/* The driver looks whether either has come about. */
static const struct plx_emu_status_step suspend_step = {
	.bit = VIRTIO_STATUS_SUSPEND, .name = "SUSPEND", .reread = "SUSPEND-2"};
static const struct plx_emu_status_step resume_step = {
	.bit = VIRTIO_STATUS_DRIVER_OK, .name = "resuming", .reread = "SUSPEND-6"};

static void go_live(struct plx_emu *emu)
{
	if (emu->config.veto == PLX_EMU_VETO_CONFIG && emu->protocol->needs_reset)
		plx_emu_status_fatal(emu);
	if (emu->status & VIRTIO_STATUS_SUSPEND) {
		emu->unread = &resume_step;
		plx_emu_resume(emu);
		set_status(emu, emu->status & (uint8_t)~VIRTIO_STATUS_SUSPEND);
	}
	plx_emu_wake(emu); /* notifications may have come early */
}

void plx_emu_status_write(struct plx_emu *emu, uint8_t value, bool through_legacy)
{
	uint8_t added = value & (uint8_t)~emu->status;
	bool before = emu->live;

	choose_interface(emu, value, through_legacy);
	if (!value) {
		plx_emu_reset(emu);
		emu->reset_unread = emu->protocol->wait_for_reset;
		return;
	}
	check_write(emu, value);
	set_status(emu, emu->status | (added & VIRTIO_STATUS_FAILED));
	for (unsigned i = 0; i < ARRAY_SIZE(emu->protocol->step); i++)
		if (added & emu->protocol->step[i].bit)
			take_step(emu, &emu->protocol->step[i]);
	if (!before && emu->live)
		go_live(emu);
	if ((added & VIRTIO_STATUS_SUSPEND) && emu->protocol == &standard &&
		plx_emu_may_suspend(emu, emu->status)) {
		emu->unread = &suspend_step;
		plx_emu_suspend(emu);
		set_status(emu,
			(emu->status | VIRTIO_STATUS_SUSPEND) & (uint8_t)~VIRTIO_STATUS_DRIVER_OK);
	}
}

bool plx_emu_status_may_set_up(struct plx_emu *emu, unsigned queue)
{
	if (emu->status & emu->protocol->queues_after)
		return true;
	plx_emu_report(emu, emu->protocol->queues_rule,
		"queue %u was enabled while the status was 0x%02x", queue, emu->status);
	return false;
}

bool plx_emu_status_may_accept(struct plx_emu *emu)
{
	if (!(emu->status & emu->protocol->features_until))
		return true;
	plx_emu_report(emu, emu->protocol->features_rule,
		"features were written while the status was 0x%02x", emu->status);
	return false;
}

bool plx_emu_status_may_configure(struct plx_emu *emu)
{
	uint8_t after = emu->protocol->config_after;

	return !after || (emu->status & after);
}

bool plx_emu_status_early_kick(struct plx_emu *emu, unsigned queue)
{
	const struct plx_emu_protocol *protocol = emu->protocol;
	bool suspended = __atomic_load_n(&emu->status, __ATOMIC_RELAXED) & VIRTIO_STATUS_SUSPEND;
	/* The proposal puts up with legacy drivers that notify before DRIVER_OK. */
	bool allowed = (__atomic_load_n(&emu->status, __ATOMIC_RELAXED) & protocol->kick_after) ||
		       (emu->legacy && emu->config.handshake == PLX_EMU_DEVICE_OK);

	if (!allowed)
		plx_emu_report(emu, suspended ? "SUSPEND-4" : protocol->kick_rule,
			"queue %u was notified before the device was live", queue);
	return protocol->remember_kicks;
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
	if (!emu->protocol->needs_reset) {
		/* There is no word for it: the queues just stand still. */
		for (unsigned i = 0; i < emu->queues; i++)
			emu->queue[i].broken = true;
		return;
	}
	set_status(emu, emu->status | VIRTIO_STATUS_NEEDS_RESET);
	plx_emu_irq_config(emu);
}
