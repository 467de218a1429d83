/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "base/compiler.h"
#include "virtio/handshake.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * Each of the three handshakes, against a device whose status reads as the bytes say, that offers
 * other features at each look, and whose driver may fail at each step. What must hold is what the
 * standard says of a driver, whatever the device shows (virtio 1.4, 2.1.1 and 3.1.1).
 */

#define READS_MAX 200

static struct device {
	struct plx_virtio virtio;
	struct fuzz_input in;
	uint8_t status; /* as an honest device would show it */
	uint8_t shown;  /* as it was last read */
	unsigned reads;
	bool cleared;  /* 0 was written, and nothing since */
	bool quiet;    /* it showed 0 after that, or the function was reset, and not live since */
	bool failed;   /* it was told FAILED during this call, even if it showed that itself */
	bool given_up; /* the driver told it of its own accord, since the last reset */
	bool gone;     /* it read as all ones during this call */
	bool running;  /* go_live() came */
	struct plx_features offered;
} the_device;

static struct device *of(struct plx_virtio *virtio)
{
	return container_of(virtio, struct device, virtio);
}

static uint8_t read_status(struct plx_virtio *virtio)
{
	struct device *device = of(virtio);
	uint8_t how = fuzz_u8(&device->in), value = device->status;

	FUZZ_CHECK(device->reads++ < READS_MAX, "the driver does not stop asking for the status");
	switch (how & 7) {
	case 1:
		value = fuzz_u8(&device->in);
		break;
	case 2:
		value |= how & 0xf8;
		break;
	case 3:
		value &= (uint8_t) ~(how >> 3);
		break;
	case 4:
		value = 0xff;
		break;
	case 5:
		value = device->status = fuzz_u8(&device->in); /* and it stays so */
		break;
	}
	device->shown = value;
	device->gone |= value == 0xff;
	device->quiet |= device->cleared && !value;
	return value;
}

static void write_status(struct plx_virtio *virtio, uint8_t value)
{
	struct device *device = of(virtio);
	uint8_t added = value & (uint8_t)~device->shown;

	device->running = false;
	device->cleared = !value;
	device->status = value;
	if (!value) {
		device->given_up = false;
		return;
	}
	FUZZ_CHECK(!(added & (added - 1)), "two steps were taken at once");
	FUZZ_CHECK((value & device->shown) == device->shown, "a bit was taken from the status");
	FUZZ_CHECK(device->shown != 0xff, "a device that is gone was written to");
	FUZZ_CHECK(!(device->shown & VIRTIO_STATUS_NEEDS_RESET) || (value & VIRTIO_STATUS_FAILED),
		"the driver went on with a device that asks for a reset");
	device->failed |= value & VIRTIO_STATUS_FAILED;
	device->given_up |= added & VIRTIO_STATUS_FAILED;
	if (value & virtio->handshake->live)
		device->quiet = false;
}

static void read_features(struct plx_virtio *virtio, struct plx_features *features)
{
	struct device *device = of(virtio);
	uint8_t how = fuzz_u8(&device->in);

	if (how & 1)
		device->offered.word[0] ^= fuzz_u64(&device->in);
	if (how & 2)
		device->offered.word[1] ^= fuzz_u64(&device->in);
	*features = device->offered;
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	struct plx_features both = plx_features_and(features, &of(virtio)->offered);

	FUZZ_CHECK(plx_features_equal(&both, features), "a feature that was not offered");
}

static int reset_function(struct plx_virtio *virtio)
{
	struct device *device = of(virtio);

	if (fuzz_u8(&device->in) & 1)
		return plx_fail(EIO, "the function reset failed");
	device->status = 0;
	device->quiet = true;
	return 0;
}

static const struct plx_virtio_transport modern = {
	.name = "fuzz",
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.reset_function = reset_function,
};

static const struct plx_virtio_transport legacy = {
	.name = "fuzz",
	.legacy = true,
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.reset_function = reset_function,
};

/* --- the driver --- */

static int may_fail(struct device *device)
{
	return fuzz_u8(&device->in) == 1 ? plx_fail(ENOMEM, "the driver failed") : 0;
}

static int set_up(void *arg)
{
	struct device *device = arg;

	if (device->virtio.handshake == &plx_handshake_modern)
		FUZZ_CHECK(device->shown & VIRTIO_STATUS_FEATURES_OK,
			"queues were set up before the features were agreed on");
	return may_fail(device);
}

static int fill(void *arg)
{
	struct device *device = arg;

	if (device->virtio.handshake == &plx_handshake_device_ok)
		FUZZ_CHECK(device->shown & VIRTIO_STATUS_DRIVER_OK,
			"buffers were added before the configuration was agreed on");
	return may_fail(device);
}

static void go_live(void *arg)
{
	struct device *device = arg;
	const struct plx_handshake *handshake = device->virtio.handshake;

	FUZZ_CHECK(!device->given_up, "a device that was given up went live");
	if (!handshake->legacy)
		FUZZ_CHECK((device->shown & (handshake->live | VIRTIO_STATUS_NEEDS_RESET)) ==
				   handshake->live,
			"a device went live that does not say so");
	device->running = true;
}

static const struct plx_handshake_driver driver = {set_up, fill, go_live};

/* --- what follows from a call --- */

static void check_failed(struct device *device)
{
	FUZZ_CHECK(!device->running, "a start failed and the device is live");
	FUZZ_CHECK(device->failed || device->gone || device->quiet,
		"a start failed and the device was not told");
}

static void check_reset(const struct device *device)
{
	FUZZ_CHECK(!device->virtio.reset_confirmed || device->quiet,
		"a reset is taken for confirmed that is not");
}

static bool probe(struct device *device, uint8_t wishes)
{
	struct plx_negotiation *negotiation = &device->virtio.negotiation;
	int err = FUZZ_CALL(plx_handshake_probe(&device->virtio));

	if (err) {
		check_failed(device);
		return false;
	}
	negotiation->wish[VIRTIO_F_VERSION_1] = (wishes & 3) % 3;
	negotiation->wish[VIRTIO_F_EVENT_IDX] = (wishes >> 2 & 3) % 3;
	return !FUZZ_CALL(plx_negotiation_decide(negotiation, device->virtio.name));
}

static void begin(struct device *device, uint8_t which)
{
	static const struct plx_handshake *const handshakes[] = {
		&plx_handshake_modern, &plx_handshake_legacy, &plx_handshake_device_ok};
	static const struct plx_feature_table none = {NULL, 0};
	struct plx_virtio *virtio = &device->virtio;

	virtio->handshake = handshakes[which % 3];
	virtio->transport = virtio->handshake->legacy ? &legacy : &modern;
	virtio->limits = (struct plx_virtio_limits){0, 100};
	(void)snprintf(virtio->name, sizeof(virtio->name), "fuzz");
	plx_negotiation_init(&virtio->negotiation, &none);
	plx_features_add(&device->offered, VIRTIO_F_VERSION_1);
	plx_features_add(&device->offered, VIRTIO_F_EVENT_IDX);
}

/* One of the calls that a driver of a probed device may make. */
static void call(struct device *device, uint8_t which)
{
	device->reads = 0;
	device->gone = device->failed = false;
	switch (which & 3) {
	default:
		if (FUZZ_CALL(plx_handshake_start(&device->virtio, &driver, device)))
			check_failed(device);
		else
			FUZZ_CHECK(device->running, "a start succeeded and nothing is live");
		break;
	case 1:
		if (!FUZZ_CALL(plx_virtio_quiesce(&device->virtio)))
			FUZZ_CHECK(device->quiet, "a device is taken for quiet that is not");
		break;
	case 2:
		plx_handshake_give_up(&device->virtio);
		check_failed(device);
		break;
	}
	check_reset(device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct device *device = &the_device;
	uint8_t which;

	memset(device, 0, sizeof(*device));
	device->in = (struct fuzz_input){data, size};
	which = fuzz_u8(&device->in);
	begin(device, which);
	if (!probe(device, which >> 2))
		return 0;
	check_reset(device);
	for (unsigned calls = 1 + (which >> 6); calls; calls--) {
		/* A device in doubt is not started again: see net.c. */
		uint8_t next = device->virtio.reset_confirmed ? fuzz_u8(&device->in) : 1;

		call(device, next);
	}
	return 0;
}
