/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/drivers.h"

#include "base/compiler.h"
#include "base/error.h"
#include "virtio/handshake.h"
#include "virtio/pci_modern.h"

#include <string.h>

/* Every driver that there is. */
static const struct plx_driver *const drivers[] = {
	&plx_driver_virtio_net,
};

static const struct plx_driver *find_driver(unsigned device_id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
		if (drivers[i]->device_id == device_id)
			return drivers[i];
	return NULL;
}

/* "0000:00:03.0" or "pci:0000:00:03.0" */
static int open_pci(struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	struct plx_pci_function function;
	struct plx_vfio_device *vfio;
	int err;

	err = plx_context_open_pci(ctx, address->place, &function, &vfio);
	if (err)
		return err;
	err = plx_virtio_pci_open(vfio, plx_pci_virtio_id(&function), ctx->mem, virtio);
	if (err)
		plx_vfio_close(vfio);
	return err;
}

/* The ways to reach a device, by the word in front of its address. */
static const struct {
	const char *scheme;
	int (*open)(struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio);
} schemes[] = {
	{"pci", open_pci},
};

static int open_virtio(struct plx_context *ctx, struct plx_address *address,
                       struct plx_virtio **virtio)
{
	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
		if (!strcmp(address->scheme, schemes[i].scheme))
			return schemes[i].open(ctx, address, virtio);
	return plx_fail(EINVAL, "'%s:' is no kind of device address: a PCI address such as 0000:00:03.0 "
	                        "is one",
	                address->scheme);
}

static int choose_handshake(struct plx_virtio *virtio, struct plx_address *address)
{
	static const struct plx_handshake *const handshakes[] = {&plx_handshake_modern};
	const char *names[ARRAY_SIZE(handshakes) + 1] = {NULL};
	unsigned choice = 0;
	int found;

	for (unsigned i = 0; i < ARRAY_SIZE(handshakes); i++)
		names[i] = handshakes[i]->name;
	found = plx_address_choice(address, "handshake", names, &choice);
	if (found > 0)
		virtio->handshake = handshakes[choice];
	return found < 0 ? found : 0;
}

static int open_eth(struct plx_context *ctx, struct plx_address *address, struct plx_eth **eth)
{
	const struct plx_driver *driver;
	struct plx_virtio *virtio;
	int err;

	err = open_virtio(ctx, address, &virtio);
	if (err)
		return err;
	driver = find_driver(virtio->device_id);
	if (!driver || !driver->open_eth)
		err = plx_fail(ENODEV, "%s: Pollux has no Ethernet driver for virtio devices of type %u",
		               virtio->name, virtio->device_id);
	if (!err)
		err = choose_handshake(virtio, address);
	if (!err)
		err = driver->open_eth(ctx, virtio, address, eth);
	if (err)
		plx_virtio_close(virtio);
	return err;
}

int plx_eth_open(struct plx_context *ctx, const char *text, struct plx_eth **eth)
{
	struct plx_address address;
	int err = plx_address_parse(&address, text);

	if (err)
		return err;
	err = open_eth(ctx, &address, eth);
	plx_address_free(&address);
	return err;
}
