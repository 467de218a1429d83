/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * A TAP of the host: what the driver sends arrives at this network interface, and what the host
 * sends there comes to the driver's first pair. The interface is the host's: it sets its addresses
 * and its link up. One that was not there before goes with the device.
 */
struct tap {
	struct plx_emu_peer peer;
	int fd;
	bool gone;
	uint32_t len; /* of the frame below; 0: none */
	uint8_t frame[PLX_EMU_FRAME];
};

static struct tap *tap_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct tap, peer);
}

/* The kernel refuses frames while the interface is down or its queue is full. */
static void tap_send(struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	(void)pair;
	if (write(tap_of(peer)->fd, frame, len) != (ssize_t)len)
		peer->emu->stats.tx_refused++;
}

/* The host took the interface away. */
static void lose(struct tap *tap)
{
	const struct plx_vfio_device *vfio = &tap->peer.emu->vfio;

	tap->gone = true;
	plx_log(vfio->log, PLX_LOG_WARNING, "%s: its TAP was deleted", vfio->name);
}

static const uint8_t *tap_peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	struct tap *tap = tap_of(peer);

	if (pair)
		return NULL;
	if (!tap->len) {
		ssize_t got = tap->gone ? 0 : read(tap->fd, tap->frame, sizeof(tap->frame));

		tap->len = got > 0 ? (uint32_t)got : 0;
		if (got < 0 && errno == EBADFD)
			lose(tap);
	}
	*len = tap->len;
	return tap->len ? tap->frame : NULL;
}

static void tap_take(struct plx_emu_peer *peer, unsigned pair)
{
	(void)pair;
	tap_of(peer)->len = 0;
}

static void tap_reset(struct plx_emu_peer *peer)
{
	tap_of(peer)->len = 0;
}

static int tap_fd(struct plx_emu_peer *peer)
{
	return tap_of(peer)->gone ? -1 : tap_of(peer)->fd;
}

static void tap_end(struct plx_emu_peer *peer)
{
	struct tap *tap = tap_of(peer);

	if (tap->fd >= 0)
		(void)close(tap->fd);
	free(tap);
}

static const struct plx_emu_peer_ops tap_ops = {.send = tap_send,
	.peek = tap_peek,
	.take = tap_take,
	.reset = tap_reset,
	.fd = tap_fd,
	.close = tap_end};

static int refused(const char *device, const char *name, int err)
{
	switch (err) {
	case EPERM:
		return plx_fail(err,
			"%s: tap:%s needs the right CAP_NET_ADMIN, or a TAP that is yours already: "
			"`ip tuntap add %s mode tap user $USER`",
			device, name, name);
	case EBUSY:
		return plx_fail(err, "%s: tap:%s is in use by another program", device, name);
	case EINVAL:
		return plx_fail(err,
			"%s: tap:%s is the name of a network interface that is no TAP of one "
			"queue: choose another name",
			device, name);
	default:
		return plx_fail(
			err, "%s: tap:%s cannot be set up: %s", device, name, strerrordesc_np(err));
	}
}

static int attach(struct tap *tap, const char *name)
{
	static const char device_file[] = "/dev/net/tun";
	const char *device = tap->peer.emu->vfio.name;
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};

	if (strlen(name) >= sizeof(request.ifr_name))
		return plx_fail(EINVAL, "%s: give the TAP a name of at most %zu letters, not %s",
			device, sizeof(request.ifr_name) - 1, name);
	memcpy(request.ifr_name, name, strlen(name));
	tap->fd = open(device_file, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return plx_fail(errno,
			"%s: tap:%s needs %s, which cannot be opened: %m; `modprobe tun` makes it",
			device, name, device_file);
	if (ioctl(tap->fd, TUNSETIFF, &request))
		return refused(device, name, errno);
	return 0;
}

int plx_emu_tap_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	int err;

	if (!tap)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	tap->peer = (struct plx_emu_peer){.ops = &tap_ops, .emu = emu};
	tap->fd = -1;
	err = attach(tap, name);
	if (err)
		tap_end(&tap->peer);
	else
		*peer = &tap->peer;
	return err;
}
