/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/drivers.h"

#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu.h"
#include "pci/pci.h"
#include "vfio/user.h"
#include "virtio/handshake.h"
#include "virtio/pci_legacy.h"
#include "virtio/pci_modern.h"
#include "virtio/vhost_user.h"
#include "virtio/virtio_reg.h"

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

/* Find the interface of a PCI function that is to be used: modern, if it has that. */
static int choose_interface(struct plx_context *ctx, struct plx_vfio_device *vfio,
	unsigned device_id, struct plx_address *address, struct plx_virtio **virtio)
{
	static const char *const choices[] = {"auto", "on", "off", NULL};
	enum { AUTO, ON, OFF } legacy = AUTO;
	unsigned choice = AUTO;
	int err;

	err = plx_address_choice(address, "legacy", choices, &choice);
	if (err < 0)
		return err;
	legacy = choice;
	if (legacy == ON)
		return plx_virtio_pci_legacy_open(vfio, device_id, ctx->mem, virtio);
	err = plx_virtio_pci_open(vfio, device_id, ctx->mem, virtio);
	if (err == -ENOTSUP && legacy == AUTO)
		err = plx_virtio_pci_legacy_open(vfio, device_id, ctx->mem, virtio);
	return err;
}

int plx_drivers_open_virtio(struct plx_context *ctx, struct plx_vfio_device *vfio,
	unsigned device_id, struct plx_address *address, struct plx_virtio **virtio)
{
	int err = choose_interface(ctx, vfio, device_id, address, virtio);

	if (err)
		plx_vfio_close(vfio);
	return err;
}

/* "0000:00:03.0" or "pci:0000:00:03.0" */
static int open_pci(
	struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	struct plx_pci_function function;
	struct plx_vfio_device *vfio;
	int err;

	err = plx_context_open_pci(ctx, address, &function, &vfio);
	if (err)
		return err;
	return plx_drivers_open_virtio(ctx, vfio, plx_pci_virtio_id(&function), address, virtio);
}

/* "emu:net": a device in software, in this process */
static int open_emu(
	struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	struct plx_vfio_device *vfio;
	int err;

	err = plx_emu_open(ctx->mem, &ctx->log, address, &vfio);
	if (err)
		return err;
	return plx_drivers_open_virtio(ctx, vfio, VIRTIO_ID_NET, address, virtio);
}

/* "vfio-user:/path": a PCI function in another process, behind a unix socket */
static int open_vfio_user(
	struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	struct plx_vfio_device *vfio;
	unsigned id;
	int err;

	err = plx_vfio_user_open(ctx->mem, &ctx->log, address, &vfio);
	if (err)
		return err;
	err = plx_pci_read_virtio_id(vfio, &id);
	if (err) {
		plx_vfio_close(vfio);
		return err;
	}
	return plx_drivers_open_virtio(ctx, vfio, id, address, virtio);
}

/* "vhost-user:/path": a backend in another process, behind a unix socket */
static int open_vhost_user(
	struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	return plx_vhost_user_open(ctx->mem, &ctx->log, address, virtio);
}

/* The ways to reach a device, by the word in front of its address. */
static const struct {
	const char *scheme;
	int (*open)(
		struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio);
} schemes[] = {
	{"pci", open_pci},
	{"emu", open_emu},
	{"vfio-user", open_vfio_user},
	{"vhost-user", open_vhost_user},
};

static int open_virtio(
	struct plx_context *ctx, struct plx_address *address, struct plx_virtio **virtio)
{
	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
		if (!strcmp(address->scheme, schemes[i].scheme))
			return schemes[i].open(ctx, address, virtio);
	return plx_fail(EINVAL,
		"'%s:' is no kind of device address: those are PCI addresses such as 0000:00:03.0, emu:net, vfio-user:/path, and vhost-user:/path",
		address->scheme);
}

static int choose_handshake(struct plx_virtio *virtio, struct plx_address *address)
{
	static const struct plx_handshake *const handshakes[] = {
		&plx_handshake_modern, &plx_handshake_legacy, &plx_handshake_device_ok};
	const char *names[ARRAY_SIZE(handshakes) + 1] = {NULL};
	unsigned choice = 0;
	int found;

	for (unsigned i = 0; i < ARRAY_SIZE(handshakes); i++)
		names[i] = handshakes[i]->name;
	found = plx_address_choice(address, "handshake", names, &choice);
	if (found <= 0)
		return found;
	if (handshakes[choice]->legacy != virtio->transport->legacy)
		return plx_fail(EINVAL,
			"%s: handshake=%s does not go with the %s interface: see legacy=",
			virtio->name, names[choice],
			virtio->transport->legacy ? "legacy" : "modern");
	virtio->handshake = handshakes[choice];
	if (virtio->handshake->warning)
		plx_log(virtio->log, PLX_LOG_WARNING, "%s: %s", virtio->name,
			virtio->handshake->warning);
	return 0;
}

int plx_drivers_open_eth(struct plx_context *ctx, struct plx_virtio *virtio,
	struct plx_address *address, struct plx_eth **eth)
{
	const struct plx_driver *driver = find_driver(virtio->device_id);
	int err = 0;

	if (!driver || !driver->open_eth)
		err = plx_fail(ENODEV,
			"%s: Pollux has no Ethernet driver for virtio devices of type %u",
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
	struct plx_virtio *virtio;
	int err = plx_address_parse(&address, text);

	if (err)
		return err;
	err = open_virtio(ctx, &address, &virtio);
	if (!err)
		err = plx_drivers_open_eth(ctx, virtio, &address, eth);
	plx_address_free(&address);
	return err;
}
