/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/server_priv.h"

#include <fcntl.h>
#include <string.h>

/*
 * What a client may ask for. Each command has a form, by which it is checked before it is looked
 * into; a command that fails changes nothing and is answered with its error.
 */

static struct plx_vfio_device *device_of(struct plx_emu_server *server)
{
	return &server->emu->vfio;
}

/* Each returns bytes of payload of its answer, in server->out, or -errno with a sentence. */

static int run_version(struct plx_emu_server *server)
{
	static const struct plx_vfio_user_capabilities ours = {
		.msg_fds = PLX_VFIO_USER_FDS,
		.data = PLX_VFIO_USER_DATA,
		.dma_maps = PLX_EMU_SERVER_MAPS,
		.pgsizes = UINT64_C(1) << 12 | UINT64_C(1) << 21 | UINT64_C(1) << 30,
	};
	const struct plx_vfio_user_message *in = &server->wire.in;
	struct vfio_user_version version;
	uint8_t *text = server->out.payload + sizeof(version);
	int len;

	memcpy(&version, in->payload, sizeof(version));
	if (server->greeted)
		return plx_fail(EINVAL, "it has greeted already");
	if (version.major != VFIO_USER_MAJOR)
		return plx_fail(ENOTSUP,
			"it speaks version %u.%u of vfio-user and only %d.x is known",
			version.major, version.minor, VFIO_USER_MAJOR);
	if (plx_vfio_user_read_capabilities(&server->client,
		    (const char *)in->payload + sizeof(version),
		    plx_vfio_user_payload_size(in) - sizeof(version)))
		return plx_fail(EINVAL, "its capabilities are no JSON of the protocol");
	len = plx_vfio_user_write_capabilities(
		&ours, (char *)text, sizeof(server->out.payload) - sizeof(version));
	if (len < 0)
		return plx_fail(ENOMEM, "out of memory to greet");
	version.minor = MIN(version.minor, (uint16_t)VFIO_USER_MINOR);
	memcpy(server->out.payload, &version, sizeof(version));
	server->greeted = true;
	server->stats.clients++;
	plx_log(server->log, PLX_LOG_INFO, "%s: a client has the device", server->name);
	return (int)(sizeof(version) + (size_t)len);
}

static int run_dma_map(struct plx_emu_server *server)
{
	const struct plx_vfio_user_message *in = &server->wire.in;
	struct vfio_user_dma_map map;

	memcpy(&map, in->payload, sizeof(map));
	return plx_emu_server_map(server, &map, in->fds ? in->fd : NULL);
}

static int run_dma_unmap(struct plx_emu_server *server)
{
	struct vfio_user_dma_unmap unmap;
	int err;

	memcpy(&unmap, server->wire.in.payload, sizeof(unmap));
	err = plx_emu_server_unmap(server, &unmap);
	if (err)
		return err;
	memcpy(server->out.payload, &unmap, sizeof(unmap));
	return sizeof(unmap);
}

static int run_get_info(struct plx_emu_server *server)
{
	struct vfio_user_device_info info;

	memcpy(&info, server->wire.in.payload, sizeof(info));
	if (info.argsz < sizeof(info))
		return plx_fail(EINVAL, "an answer of %u bytes is too short", info.argsz);
	info = (struct vfio_user_device_info){
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	memcpy(server->out.payload, &info, sizeof(info));
	return sizeof(info);
}

static int run_get_region_info(struct plx_emu_server *server)
{
	const struct plx_vfio_device *device = device_of(server);
	struct vfio_region_info info;

	memcpy(&info, server->wire.in.payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= device->regions)
		return plx_fail(EINVAL, "there is no region %u, or no room for its description",
			info.index);
	info = (struct vfio_region_info){
		.argsz = sizeof(info),
		.index = info.index,
		.size = device->region[info.index].size,
		.flags = device->region[info.index].flags,
	};
	memcpy(server->out.payload, &info, sizeof(info));
	return sizeof(info);
}

/* How many queues have a doorbell without a message: as many descriptors as the client takes. */
static unsigned doorbells(const struct plx_emu_server *server, unsigned region)
{
	uint64_t most = MIN(server->client.msg_fds, (uint64_t)PLX_VFIO_USER_FDS);

	return region == PLX_EMU_VIRTIO_BAR && plx_emu_has_modern(server->emu)
		       ? (unsigned)MIN(most, (uint64_t)server->emu->queues)
		       : 0;
}

/*
 * A queue's number written with 16 bits to its doorbell is all that an eventfd stands for, so that
 * every other write still comes as it is and is checked.
 */
static int run_get_io_fds(struct plx_emu_server *server)
{
	struct plx_vfio_user_message *out = &server->out;
	struct vfio_user_io_fds info;
	unsigned count;
	size_t size;

	memcpy(&info, server->wire.in.payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= device_of(server)->regions || info.flags ||
		info.count)
		return plx_fail(EINVAL, "there is no region %u, or no room for its description",
			info.index);
	count = doorbells(server, info.index);
	size = sizeof(info) + count * sizeof(struct vfio_user_ioeventfd);
	info.count = count;
	if (info.argsz < size)
		count = 0;
	info.argsz = (uint32_t)size;
	memcpy(out->payload, &info, sizeof(info));
	for (unsigned i = 0; i < count; i++) {
		struct vfio_user_ioeventfd entry = {
			.offset = PLX_EMU_BAR_NOTIFY + i * PLX_EMU_NOTIFY_MULT,
			.size = sizeof(uint16_t),
			.fd_index = i,
			.type = VFIO_USER_IO_FD_IOEVENTFD,
			.flags = VFIO_USER_IO_FD_DATAMATCH,
			.datamatch = i,
		};

		memcpy(out->payload + sizeof(info) + i * sizeof(entry), &entry, sizeof(entry));
		out->fd[i] = server->doorbell[i];
	}
	out->fds = count;
	return (int)(sizeof(info) + count * sizeof(struct vfio_user_ioeventfd));
}

static int run_get_irq_info(struct plx_emu_server *server)
{
	struct vfio_irq_info info;

	memcpy(&info, server->wire.in.payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return plx_fail(EINVAL, "there is no kind %u of interrupt", info.index);
	info = (struct vfio_irq_info){
		.argsz = sizeof(info),
		.index = info.index,
		.flags = VFIO_IRQ_INFO_EVENTFD,
		.count = device_of(server)->irqs[info.index],
	};
	memcpy(server->out.payload, &info, sizeof(info));
	return sizeof(info);
}

/* Interrupts are pointed at eventfds, away from them, or all turned off; the line is unmasked. */
static int run_set_irqs(struct plx_emu_server *server)
{
	const uint32_t events = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
	const uint32_t none = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE;
	const uint32_t unmask = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE;
	const struct plx_vfio_user_message *in = &server->wire.in;
	struct plx_vfio_device *device = device_of(server);
	struct vfio_irq_set set;

	memcpy(&set, in->payload, sizeof(set));
	if (set.argsz < sizeof(set) || set.index >= VFIO_PCI_NUM_IRQS ||
		!plx_range_fits(set.start, set.count, device->irqs[set.index]))
		return plx_fail(EINVAL, "there are no %u interrupts from %u on of kind %u",
			set.count, set.start, set.index);
	if (set.flags == none && !set.count && !set.start && !in->fds)
		return device->ops->set_irqs(device, set.index, 0, 0, NULL);
	if (set.flags == unmask && set.count == 1 && !in->fds)
		return device->ops->unmask_irq(device, set.index);
	if (set.flags != events || !set.count || (in->fds && in->fds != set.count))
		return plx_fail(EINVAL,
			"%u descriptors and the flags 0x%x for %u interrupts are not understood",
			in->fds, set.flags, set.count);
	for (unsigned i = 0; i < in->fds; i++) {
		if (!plx_vfio_user_is_safe_event(in->fd[i]))
			return plx_fail(EINVAL, "descriptor %u is no eventfd", i);
		/* One that is full is signalled already, and nobody has to wait for room. */
		(void)fcntl(in->fd[i], F_SETFL, O_NONBLOCK);
	}
	return device->ops->set_irqs(
		device, set.index, set.start, set.count, in->fds ? in->fd : server->no_fd);
}

static int check_access(const struct plx_emu_server *server,
	const struct vfio_user_region_access *access, size_t data)
{
	if (access->count && access->count <= PLX_VFIO_USER_DATA &&
		plx_vfio_user_payload_size(&server->wire.in) == sizeof(*access) + data)
		return 0;
	return plx_fail(EINVAL, "%u bytes are more than are moved at once, or not those that came",
		access->count);
}

static int run_region_read(struct plx_emu_server *server)
{
	struct plx_vfio_device *device = device_of(server);
	struct vfio_user_region_access access;
	uint8_t *to = server->out.payload + sizeof(access);
	int err;

	memcpy(&access, server->wire.in.payload, sizeof(access));
	err = check_access(server, &access, 0);
	if (!err)
		err = device->ops->read(device, access.region, access.offset, to, access.count);
	if (err)
		return err;
	memcpy(server->out.payload, &access, sizeof(access));
	return (int)(sizeof(access) + access.count);
}

static int run_region_write(struct plx_emu_server *server)
{
	const uint8_t *payload = server->wire.in.payload;
	struct plx_vfio_device *device = device_of(server);
	struct vfio_user_region_access access;
	int err;

	memcpy(&access, payload, sizeof(access));
	err = check_access(server, &access, access.count);
	if (!err)
		err = device->ops->write(device, access.region, access.offset,
			payload + sizeof(access), access.count);
	if (err)
		return err;
	memcpy(server->out.payload, &access, sizeof(access));
	return sizeof(access);
}

static int run_reset(struct plx_emu_server *server)
{
	struct plx_vfio_device *device = device_of(server);

	return device->ops->reset(device);
}

static const struct command {
	int (*run)(struct plx_emu_server *server);
	size_t size_min; /* bytes of payload */
	size_t size_max;
	unsigned fds; /* at most */
} commands[VFIO_USER_COMMANDS] = {
#define FIXED(run, type, fds)                                                                      \
	{                                                                                          \
		run, sizeof(type), sizeof(type), fds                                               \
	}
	[VFIO_USER_VERSION] = {run_version, sizeof(struct vfio_user_version), 4096, 0},
	[VFIO_USER_DMA_MAP] = FIXED(run_dma_map, struct vfio_user_dma_map, 1),
	[VFIO_USER_DMA_UNMAP] = FIXED(run_dma_unmap, struct vfio_user_dma_unmap, 0),
	[VFIO_USER_DEVICE_GET_INFO] = FIXED(run_get_info, struct vfio_user_device_info, 0),
	[VFIO_USER_DEVICE_GET_REGION_INFO] = FIXED(run_get_region_info, struct vfio_region_info, 0),
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = FIXED(run_get_io_fds, struct vfio_user_io_fds, 0),
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = FIXED(run_get_irq_info, struct vfio_irq_info, 0),
	[VFIO_USER_DEVICE_SET_IRQS] = FIXED(run_set_irqs, struct vfio_irq_set, PLX_VFIO_USER_FDS),
	[VFIO_USER_REGION_READ] = FIXED(run_region_read, struct vfio_user_region_access, 0),
	[VFIO_USER_REGION_WRITE] = {run_region_write, sizeof(struct vfio_user_region_access),
		PLX_VFIO_USER_PAYLOAD, 0},
	[VFIO_USER_DEVICE_RESET] = {run_reset, 0, 0, 0},
#undef FIXED
};

static int carry_out(struct plx_emu_server *server)
{
	const struct plx_vfio_user_message *in = &server->wire.in;
	size_t size = plx_vfio_user_payload_size(in);
	const struct command *command;

	if (in->header.command >= ARRAY_SIZE(commands) || !commands[in->header.command].run)
		return plx_fail(ENOTSUP, "command %u is not known", in->header.command);
	command = &commands[in->header.command];
	if (!server->greeted && in->header.command != VFIO_USER_VERSION)
		return plx_fail(EINVAL, "it has not greeted");
	if (size < command->size_min || size > command->size_max || in->fds > command->fds)
		return plx_fail(
			EINVAL, "it does not have %zu bytes and %u descriptors", size, in->fds);
	return command->run(server);
}

static int answer(struct plx_emu_server *server, int size, uint64_t deadline)
{
	const struct vfio_user_header *command = &server->wire.in.header;
	struct plx_vfio_user_message *out = &server->out;
	int err;

	if (command->flags & VFIO_USER_NO_REPLY)
		return 0;
	out->header = *command;
	out->header.flags = VFIO_USER_REPLY | (size < 0 ? VFIO_USER_ERROR : 0);
	out->header.error = size < 0 ? (uint32_t)-size : 0;
	out->header.size = (uint32_t)(sizeof(*command) + (size_t)MAX(size, 0));
	if (size < 0)
		out->fds = 0;
	err = plx_vfio_user_send(server->wire.socket, out, deadline);
	if (err == -ETIMEDOUT)
		return plx_fail(ETIMEDOUT, "it does not read its answers");
	return err ? plx_fail(ENODEV, "it hung up") : 0;
}

int plx_emu_server_command(struct plx_emu_server *server, uint64_t deadline)
{
	const struct vfio_user_header *header = &server->wire.in.header;
	const uint32_t known = VFIO_USER_TYPE_MASK | VFIO_USER_NO_REPLY;
	int size;

	if ((header->flags & VFIO_USER_TYPE_MASK) != VFIO_USER_COMMAND || header->flags & ~known)
		return plx_fail(EPROTO, "it sent a message that is no command");
	server->out.fds = 0;
	size = carry_out(server);
	if (size < 0) {
		server->stats.refused++;
		plx_log(server->log, PLX_LOG_DEBUG, "%s: %s is refused: %s", server->name,
			plx_vfio_user_command_name(header->command), plx_error());
		/* Whoever does not greet in the right way is no client. */
		if (!server->greeted) {
			int err = -size;

			(void)answer(server, size, deadline);
			return plx_fail(err, "it did not greet in the right way");
		}
	} else {
		server->stats.messages++;
	}
	return answer(server, size, deadline);
}
