/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/user_wire.h"

#include "base/clock.h"
#include "base/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

const char *plx_vfio_user_command_name(unsigned command)
{
	static const char *const names[VFIO_USER_COMMANDS] = {
		[VFIO_USER_VERSION] = "VERSION",
		[VFIO_USER_DMA_MAP] = "DMA_MAP",
		[VFIO_USER_DMA_UNMAP] = "DMA_UNMAP",
		[VFIO_USER_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
		[VFIO_USER_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
		[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
		[VFIO_USER_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
		[VFIO_USER_DEVICE_SET_IRQS] = "DEVICE_SET_IRQS",
		[VFIO_USER_REGION_READ] = "REGION_READ",
		[VFIO_USER_REGION_WRITE] = "REGION_WRITE",
		[VFIO_USER_DMA_READ] = "DMA_READ",
		[VFIO_USER_DMA_WRITE] = "DMA_WRITE",
		[VFIO_USER_DEVICE_RESET] = "DEVICE_RESET",
		[VFIO_USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
	};

	if (command < ARRAY_SIZE(names) && names[command])
		return names[command];
	return "a command that is not known";
}

/* --- messages --- */

int plx_vfio_user_send(int socket, const struct plx_vfio_user_message *message, uint64_t deadline)
{
	/* Header and payload lie side by side, so that both go at once. */
	static_assert(
		offsetof(struct plx_vfio_user_message, payload) == sizeof(struct vfio_user_header),
		"the payload follows the header");
	return plx_socket_send(socket, &message->header, message->header.size, message->fd,
		message->fds, deadline);
}

static size_t wanted(const struct plx_vfio_user_wire *wire)
{
	size_t header = sizeof(wire->in.header);

	return (wire->got < header ? header : wire->in.header.size) - wire->got;
}

static bool is_valid_size(const struct vfio_user_header *header)
{
	return header->size >= sizeof(*header) &&
	       header->size <= sizeof(*header) + PLX_VFIO_USER_PAYLOAD;
}

/* Return: bytes that came; 0 at the deadline; -errno. */
static ssize_t receive_more(struct plx_vfio_user_wire *wire, uint64_t deadline)
{
	struct plx_socket_fds fds = {wire->in.fd, PLX_VFIO_USER_FDS, wire->in.fds};
	uint8_t *to = (uint8_t *)&wire->in + wire->got;
	ssize_t got;

	while ((got = plx_socket_receive(wire->socket, to, wanted(wire), &fds)) == -EAGAIN)
		if (!plx_socket_wait(wire->socket, POLLIN, deadline))
			return 0;
	wire->in.fds = fds.count;
	return got == -E2BIG ? -EPROTO : got;
}

static bool is_whole(const struct plx_vfio_user_wire *wire)
{
	return wire->got >= sizeof(wire->in.header) && !wanted(wire);
}

int plx_vfio_user_receive(struct plx_vfio_user_wire *wire, uint64_t deadline)
{
	if (is_whole(wire))
		plx_vfio_user_drop(wire);
	do {
		ssize_t got = receive_more(wire, deadline);

		if (got <= 0)
			return (int)got;
		if (!wire->got)
			wire->since = plx_now();
		wire->got += (size_t)got;
		if (wire->got >= sizeof(wire->in.header) && !is_valid_size(&wire->in.header))
			return -EPROTO;
	} while (!is_whole(wire));
	return 1;
}

void plx_vfio_user_drop(struct plx_vfio_user_wire *wire)
{
	struct plx_socket_fds fds = {wire->in.fd, PLX_VFIO_USER_FDS, 0};

	for (unsigned i = 0; i < wire->in.fds; i++)
		if (wire->in.fd[i] >= 0)
			fds.fd[fds.count++] = wire->in.fd[i];
	plx_socket_close_fds(&fds);
	wire->in.fds = 0;
	wire->got = 0;
}

bool plx_vfio_user_is_safe_file(int fd, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat status;

	return seals >= 0 && seals & F_SEAL_SHRINK && !fstat(fd, &status) && status.st_size >= 0 &&
	       (uint64_t)status.st_size >= size;
}

bool plx_vfio_user_is_safe_event(int fd)
{
	struct stat status;

	/* Files of no place, as eventfds are, have no type. */
	return !fstat(fd, &status) && !(status.st_mode & S_IFMT);
}

/* --- capabilities --- */

/* An object in an object, and one level for what is not known. */
#define JSON_DEPTH 8

static bool add_number(struct json_object *object, const char *key, uint64_t value)
{
	struct json_object *number = json_object_new_uint64(value);

	if (number && !json_object_object_add(object, key, number))
		return true;
	(void)json_object_put(number);
	return false;
}

int plx_vfio_user_write_capabilities(
	const struct plx_vfio_user_capabilities *capabilities, char *text, size_t room)
{
	struct json_object *top = json_object_new_object();
	struct json_object *inner = json_object_new_object();
	const char *json = NULL;
	size_t len = 0;

	if (!top || !inner || json_object_object_add(top, "capabilities", inner)) {
		(void)json_object_put(inner);
		(void)json_object_put(top);
		return -ENOMEM;
	}
	if (add_number(inner, "max_msg_fds", capabilities->msg_fds) &&
		add_number(inner, "max_data_xfer_size", capabilities->data) &&
		add_number(inner, "max_dma_maps", capabilities->dma_maps) &&
		add_number(inner, "pgsizes", capabilities->pgsizes))
		json = json_object_to_json_string_length(top, JSON_C_TO_STRING_PLAIN, &len);
	if (json && len < room)
		memcpy(text, json, len + 1);
	else
		json = NULL;
	(void)json_object_put(top);
	return json ? (int)len + 1 : -ENOMEM;
}

/* A number that is there is a whole one and not negative. */
static bool read_number(struct json_object *object, const char *key, uint64_t *value)
{
	struct json_object *number;

	if (!json_object_object_get_ex(object, key, &number))
		return true;
	if (!json_object_is_type(number, json_type_int) || json_object_get_int64(number) < 0)
		return false;
	*value = json_object_get_uint64(number);
	return true;
}

static bool read_object(struct plx_vfio_user_capabilities *capabilities, struct json_object *top)
{
	struct json_object *inner;

	if (!json_object_is_type(top, json_type_object))
		return false;
	if (!json_object_object_get_ex(top, "capabilities", &inner))
		return true;
	return json_object_is_type(inner, json_type_object) &&
	       read_number(inner, "max_msg_fds", &capabilities->msg_fds) &&
	       read_number(inner, "max_data_xfer_size", &capabilities->data) &&
	       read_number(inner, "max_dma_maps", &capabilities->dma_maps) &&
	       read_number(inner, "pgsizes", &capabilities->pgsizes);
}

int plx_vfio_user_read_capabilities(
	struct plx_vfio_user_capabilities *capabilities, const char *text, size_t len)
{
	struct json_tokener *tokener;
	struct json_object *top;
	int err;

	*capabilities = (struct plx_vfio_user_capabilities){
		.msg_fds = VFIO_USER_DEFAULT_MSG_FDS,
		.data = VFIO_USER_DEFAULT_DATA,
		.dma_maps = VFIO_USER_DEFAULT_DMA_MAPS,
		.pgsizes = VFIO_USER_DEFAULT_PGSIZES,
	};
	if (!len)
		return 0;
	if (text[len - 1] || len > PLX_VFIO_USER_PAYLOAD)
		return -EPROTO;
	tokener = json_tokener_new_ex(JSON_DEPTH);
	if (!tokener)
		return -ENOMEM;
	/* The NUL is given too, by which the text is known to have ended. */
	top = json_tokener_parse_ex(tokener, text, (int)len);
	err = json_tokener_get_error(tokener) == json_tokener_success &&
			      read_object(capabilities, top)
		      ? 0
		      : -EPROTO;
	(void)json_object_put(top);
	json_tokener_free(tokener);
	return err;
}
