/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/handshake.h"

#include "base/compiler.h"
#include "base/error.h"
#include "virtio/virtio_reg.h"

#include <stdio.h>

static const struct plx_handshake_step modern[] = {
	{"reset", PLX_HANDSHAKE_RESET, 0, NULL},
	{"ACKNOWLEDGE", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_ACKNOWLEDGE, NULL},
	{"DRIVER", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER, NULL},
	{"read features", PLX_HANDSHAKE_READ_FEATURES, 0, NULL},
	{"write features", PLX_HANDSHAKE_WRITE_FEATURES, 0, NULL},
	{"FEATURES_OK", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_FEATURES_OK, NULL},
	{"FEATURES_OK re-read", PLX_HANDSHAKE_CHECK, VIRTIO_STATUS_FEATURES_OK,
		"refuses this set of features"},
	{"queue set-up", PLX_HANDSHAKE_SET_UP, 0, NULL},
	{"fill queues", PLX_HANDSHAKE_FILL, 0, NULL},
	{"DRIVER_OK", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER_OK, NULL},
	{"DRIVER_OK re-read", PLX_HANDSHAKE_CHECK, VIRTIO_STATUS_DRIVER_OK,
		"refuses the configuration"},
	{"held-back notifications", PLX_HANDSHAKE_GO_LIVE, 0, NULL},
};

const struct plx_handshake plx_handshake_modern = {
	.name = "modern",
	.step = modern,
	.count = ARRAY_SIZE(modern),
	.live = VIRTIO_STATUS_DRIVER_OK,
};

static const struct plx_handshake_step legacy[] = {
	{"reset", PLX_HANDSHAKE_RESET, 0, NULL},
	{"ACKNOWLEDGE", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_ACKNOWLEDGE, NULL},
	{"DRIVER", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER, NULL},
	{"read features", PLX_HANDSHAKE_READ_FEATURES, 0, NULL},
	{"write features", PLX_HANDSHAKE_WRITE_FEATURES, 0, NULL},
	{"queue set-up", PLX_HANDSHAKE_SET_UP, 0, NULL},
	{"fill queues", PLX_HANDSHAKE_FILL, 0, NULL},
	{"DRIVER_OK", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER_OK, NULL},
	{"held-back notifications", PLX_HANDSHAKE_GO_LIVE, 0, NULL},
};

const struct plx_handshake plx_handshake_legacy = {
	.name = "legacy",
	.step = legacy,
	.count = ARRAY_SIZE(legacy),
	.live = VIRTIO_STATUS_DRIVER_OK,
	.legacy = true,
};

static const struct plx_handshake_step device_ok[] = {
	{"reset", PLX_HANDSHAKE_RESET, 0, NULL},
	{"ACKNOWLEDGE", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_ACKNOWLEDGE, NULL},
	{"read features", PLX_HANDSHAKE_READ_FEATURES, 0, NULL},
	{"features understood", PLX_HANDSHAKE_UNDERSTOOD, 0, NULL},
	{"DRIVER", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER, NULL},
	{"DRIVER re-read", PLX_HANDSHAKE_CHECK, VIRTIO_STATUS_DRIVER,
		"vetoes the features that are understood"},
	{"features activated", PLX_HANDSHAKE_WRITE_FEATURES, 0, NULL},
	{"queue set-up", PLX_HANDSHAKE_SET_UP, 0, NULL},
	{"DRIVER_OK", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DRIVER_OK, NULL},
	{"DRIVER_OK re-read", PLX_HANDSHAKE_CHECK, VIRTIO_STATUS_DRIVER_OK,
		"vetoes the configuration"},
	{"fill queues", PLX_HANDSHAKE_FILL, 0, NULL},
	{"DEVICE_OK", PLX_HANDSHAKE_STATUS, VIRTIO_STATUS_DEVICE_OK, NULL},
	/* Not DEVICE_OK alone: a device that took DRIVER_OK back meanwhile is not live. */
	{"DEVICE_OK re-read", PLX_HANDSHAKE_CHECK,
		VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_DEVICE_OK, "does not keep DEVICE_OK"},
	{"held-back notifications", PLX_HANDSHAKE_GO_LIVE, 0, NULL},
};

const struct plx_handshake plx_handshake_device_ok = {
	.name = "device-ok",
	.step = device_ok,
	.count = ARRAY_SIZE(device_ok),
	/* A device of the ratified standard may use its queues from here on; see doc/design.md. */
	.live = VIRTIO_STATUS_DRIVER_OK,
	.warning =
		"handshake=device-ok is a proposal that the standard did not take: a device that "
		"does not know it sees a driver that sets FEATURES_OK last",
};

/*
 * Whatever makes the device live makes it one that must be reset before its queues are freed, also
 * when the bit was not the step's but one that the device showed of its own accord.
 */
static void write_status(struct plx_virtio *virtio, uint8_t status)
{
	if (status & virtio->handshake->live)
		virtio->reset_confirmed = false;
	plx_virtio_write_status(virtio, status);
}

/*
 * Bits are only ever added to what the device shows (virtio 1.4, 2.1.1). A device that asks for a
 * reset is told nothing more.
 */
static int add_status(struct plx_virtio *virtio, uint8_t bits)
{
	uint8_t status = plx_virtio_read_status(virtio);

	if (status == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(virtio);
	if (status & VIRTIO_STATUS_NEEDS_RESET)
		return plx_fail(EPROTO,
			"%s: the device asks for a reset at the step '%s': it has a fault "
			"of its own, which its host's log may name",
			virtio->name, virtio->trace.step);
	write_status(virtio, status | bits);
	return 0;
}

static const char *remedy(const struct plx_virtio *virtio)
{
	if (plx_virtio_offers(virtio, VIRTIO_F_ACCESS_PLATFORM) &&
		!plx_virtio_has(virtio, VIRTIO_F_ACCESS_PLATFORM))
		return "it offers F_ACCESS_PLATFORM and may insist on it: leave out "
		       "access_platform=off";
	if (virtio->handshake->warning)
		return "it may not know this handshake: leave out handshake=device-ok";
	return "decline some with NAME=off in its address, or see its host's log";
}

static int check_status(struct plx_virtio *virtio, const struct plx_handshake_step *step)
{
	uint8_t status = plx_virtio_read_status(virtio);
	char names[256];

	if (status == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(virtio);
	if ((status & step->bits) == step->bits && !(status & VIRTIO_STATUS_NEEDS_RESET))
		return 0;
	(void)plx_negotiation_names(
		&virtio->negotiation, &virtio->negotiation.accepted, names, sizeof(names));
	return plx_fail(EPROTO,
		"%s: at the step '%s' the device %s (status 0x%02x; accepted were: %s): %s",
		virtio->name, step->name,
		status & VIRTIO_STATUS_NEEDS_RESET ? "asks for a reset" : step->refused, status,
		names, remedy(virtio));
}

static int read_features(struct plx_virtio *virtio)
{
	struct plx_negotiation *negotiation = &virtio->negotiation;
	struct plx_features offered;
	struct plx_features lost;

	virtio->transport->read_features(virtio, &offered);
	plx_trace_add(&virtio->trace, PLX_TRACE_FEATURES_READ, offered.word[0], offered.word[1]);
	/*
	 * What was accepted when the device was configured must still be on offer when it starts.
	 */
	lost = (struct plx_features){{negotiation->accepted.word[0] & ~offered.word[0],
		negotiation->accepted.word[1] & ~offered.word[1]}};
	if (lost.word[0] || lost.word[1]) {
		char names[256];

		return plx_fail(EPROTO,
			"%s: the device no longer offers %s: close it and open it again",
			virtio->name,
			plx_negotiation_names(negotiation, &lost, names, sizeof(names)));
	}
	negotiation->offered = offered;
	return 0;
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	plx_trace_add(
		&virtio->trace, PLX_TRACE_FEATURES_WRITE, features->word[0], features->word[1]);
	virtio->transport->write_features(virtio, features);
}

/* All of the offer that the driver could use, whether or not it wants to. */
static struct plx_features understood(const struct plx_virtio *virtio)
{
	return plx_features_and(&virtio->negotiation.offered, &virtio->negotiation.understood);
}

static int call_driver(
	const struct plx_handshake_step *step, const struct plx_handshake_driver *driver, void *arg)
{
	if (step->action == PLX_HANDSHAKE_SET_UP)
		return driver->set_up(arg);
	if (step->action == PLX_HANDSHAKE_FILL)
		return driver->fill(arg);
	driver->go_live(arg);
	return 0;
}

static int take_step(struct plx_virtio *virtio, const struct plx_handshake_step *step,
	const struct plx_handshake_driver *driver, void *arg)
{
	plx_trace_step(&virtio->trace, step->name);
	switch (step->action) {
	case PLX_HANDSHAKE_RESET:
		return plx_virtio_reset(virtio);
	case PLX_HANDSHAKE_STATUS:
		return add_status(virtio, step->bits);
	case PLX_HANDSHAKE_CHECK:
		return check_status(virtio, step);
	case PLX_HANDSHAKE_READ_FEATURES:
		return read_features(virtio);
	case PLX_HANDSHAKE_UNDERSTOOD: {
		struct plx_features all = understood(virtio);

		write_features(virtio, &all);
		return 0;
	}
	case PLX_HANDSHAKE_WRITE_FEATURES:
		write_features(virtio, &virtio->negotiation.accepted);
		return 0;
	case PLX_HANDSHAKE_SET_UP:
	case PLX_HANDSHAKE_FILL:
	case PLX_HANDSHAKE_GO_LIVE:
		if (driver)
			return call_driver(step, driver, arg);
		break;
	}
	return plx_fail(EINVAL, "%s: the handshake %s has no such step", virtio->name,
		virtio->handshake->name);
}

static bool is_live(const struct plx_virtio *virtio)
{
	return !virtio->reset_confirmed;
}

void plx_handshake_give_up(struct plx_virtio *virtio)
{
	char reason[PLX_ERROR_LEN];
	uint8_t status;

	/* What fails on the way out is not what made it fail. */
	(void)snprintf(reason, sizeof(reason), "%s", plx_error());
	status = plx_virtio_read_status(virtio);
	if (status != PLX_VIRTIO_STATUS_GONE)
		write_status(virtio, status | VIRTIO_STATUS_FAILED);
	if (is_live(virtio))
		(void)plx_virtio_quiesce(virtio);
	virtio->step = 0;
	plx_note_failure("%s", reason);
}

/* Wait until the status has all of @set and none of @clear. Only the last reading is traced. */
static int await_status(struct plx_virtio *virtio, uint8_t set, uint8_t clear)
{
	struct plx_wait wait = plx_wait_for(virtio->limits.suspend);
	uint8_t status;

	do
		status = virtio->transport->read_status(virtio);
	while (((status & set) != set || (status & clear)) &&
		!(status & VIRTIO_STATUS_NEEDS_RESET) && plx_wait_again(&wait));
	plx_trace_add(&virtio->trace, PLX_TRACE_STATUS_READ, status, 0);
	if (status == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(virtio);
	if (status & VIRTIO_STATUS_NEEDS_RESET)
		return plx_fail(EPROTO,
			"%s: the device asks for a reset at the step '%s' (status 0x%02x): stop it "
			"and start it again",
			virtio->name, virtio->trace.step, status);
	if ((status & set) == set && !(status & clear))
		return 0;
	return plx_fail(EIO,
		"%s: the device does not %s: its status still reads 0x%02x after %llu ms: stop it",
		virtio->name, virtio->trace.step, status,
		(unsigned long long)(virtio->limits.suspend / PLX_MILLISECONDS(1)));
}

int plx_handshake_suspend(struct plx_virtio *virtio)
{
	int err;

	if (!plx_virtio_has(virtio, VIRTIO_F_SUSPEND))
		return plx_fail(ENOTSUP,
			"%s: the device cannot be suspended: F_SUSPEND is %s: stop it instead",
			virtio->name,
			plx_virtio_offers(virtio, VIRTIO_F_SUSPEND) ? "declined" : "not offered");
	plx_trace_step(&virtio->trace, "suspend");
	err = add_status(virtio, VIRTIO_STATUS_SUSPEND);
	return err ? err : await_status(virtio, VIRTIO_STATUS_SUSPEND, VIRTIO_STATUS_DRIVER_OK);
}

int plx_handshake_resume(struct plx_virtio *virtio)
{
	uint8_t status;
	int err;

	plx_trace_step(&virtio->trace, "resume");
	status = plx_virtio_read_status(virtio);
	if (!(status & VIRTIO_STATUS_SUSPEND))
		return plx_fail(EIO,
			"%s: the device is not suspended (status 0x%02x), so it cannot be resumed: "
			"stop it",
			virtio->name, status);
	/* The device alone clears SUSPEND, so it is written once more (virtio 1.4, 2.1.1). */
	err = add_status(virtio, VIRTIO_STATUS_DRIVER_OK);
	return err ? err : await_status(virtio, VIRTIO_STATUS_DRIVER_OK, VIRTIO_STATUS_SUSPEND);
}

static int walk(struct plx_virtio *virtio, unsigned end, const struct plx_handshake_driver *driver,
	void *arg)
{
	while (virtio->step < end) {
		int err = take_step(virtio, &virtio->handshake->step[virtio->step], driver, arg);

		if (!err)
			err = plx_virtio_fault(virtio);
		if (err) {
			plx_handshake_give_up(virtio);
			return err;
		}
		virtio->step++;
	}
	return 0;
}

int plx_handshake_probe(struct plx_virtio *virtio)
{
	unsigned end = 0;

	while (virtio->handshake->step[end].action != PLX_HANDSHAKE_READ_FEATURES)
		end++;
	virtio->step = 0;
	return walk(virtio, end + 1, NULL, NULL);
}

int plx_handshake_start(
	struct plx_virtio *virtio, const struct plx_handshake_driver *driver, void *arg)
{
	return walk(virtio, virtio->handshake->count, driver, arg);
}
