/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"
#include "vfio/user_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * The session with a server: commands, answers, and what the server wants meanwhile. A session that
 * failed once has ended, since nobody knows what the next answer would belong to; the reason is
 * kept until a reset begins a new one.
 */

static const struct plx_vfio_user_capabilities ours = {
	.msg_fds = PLX_VFIO_USER_FDS,
	.data = PLX_VFIO_USER_DATA,
	.dma_maps = VFIO_USER_SEGMENTS,
	.pgsizes = UINT64_C(1) << 12 | UINT64_C(1) << 21 | UINT64_C(1) << 30,
};

/* What a server must be able to do for a driver to get anywhere. */
#define DATA_LEAST 8

static unsigned in_milliseconds(uint64_t nanoseconds)
{
	return (unsigned)(nanoseconds / PLX_MILLISECONDS(1));
}

/* --- how it ends --- */

int vfio_user_give_up(struct vfio_user *user, int err)
{
	(void)snprintf(user->reason, sizeof(user->reason), "%s", plx_error());
	user->parted = false;
	user->probe.asked = false;
	plx_vfio_user_drop(&user->wire);
	__atomic_store_n(&user->fault, err, __ATOMIC_RELEASE);
	return err;
}

int vfio_user_nonsense(struct vfio_user *user, unsigned command, const char *what)
{
	return vfio_user_give_up(user,
		plx_fail(EPROTO,
			"%s: the server's answer to %s is nonsense (%s): is there another program behind the socket?",
			user->base.name, plx_vfio_user_command_name(command), what));
}

static int hung_up_at(struct vfio_user *user, unsigned command)
{
	return vfio_user_give_up(user,
		plx_fail(ENODEV,
			"%s: the server hung up at %s: it has ended, or serves another client already",
			user->base.name, plx_vfio_user_command_name(command)));
}

static int not_answered(struct vfio_user *user, unsigned command)
{
	return vfio_user_give_up(user,
		plx_fail(ETIMEDOUT,
			"%s: the server did not answer %s within %u ms: it hangs, or timeout= is too short",
			user->base.name, plx_vfio_user_command_name(command),
			in_milliseconds(user->timeout)));
}

int vfio_user_fault(struct vfio_user *user)
{
	if (user->fault)
		return plx_fail(-user->fault, "%s", user->reason);
	if (plx_socket_hung_up(user->wire.socket))
		return vfio_user_give_up(user,
			plx_fail(ENODEV,
				"%s: the server has ended: stop the device, and start it once the server is back",
				user->base.name));
	return 0;
}

/* --- commands and answers --- */

static int send_command(struct vfio_user *user, unsigned command, size_t size, const int *fds,
	unsigned count, uint64_t deadline, uint16_t *id)
{
	int err;

	*id = user->next_id++;
	user->out.header = (struct vfio_user_header){
		.id = *id,
		.command = (uint16_t)command,
		.size = (uint32_t)(sizeof(user->out.header) + size),
		.flags = VFIO_USER_COMMAND,
	};
	user->out.fds = count;
	if (count)
		memcpy(user->out.fd, fds, count * sizeof(*fds));
	err = plx_vfio_user_send(user->wire.socket, &user->out, deadline);
	if (err == -ETIMEDOUT)
		return vfio_user_give_up(user,
			plx_fail(ETIMEDOUT,
				"%s: the server did not read %s within %u ms: it hangs, or timeout= is too short",
				user->base.name, plx_vfio_user_command_name(command),
				in_milliseconds(user->timeout)));
	return err ? hung_up_at(user, command) : 0;
}

static bool answers_probe(const struct vfio_user *user, const struct vfio_user_header *header)
{
	return user->probe.asked && !user->probe.answered && header->id == user->probe.id &&
	       header->command == VFIO_USER_REGION_READ;
}

/* A refused probe is no answer that could be told from a removed device: all ones. */
static int take_probe(struct vfio_user *user)
{
	const struct plx_vfio_user_message *in = &user->wire.in;
	struct vfio_user_probe *probe = &user->probe;
	const uint8_t *data = in->payload + sizeof(struct vfio_user_region_access);
	size_t size = plx_vfio_user_payload_size(in);

	probe->answered = true;
	memset(probe->value, 0xff, sizeof(probe->value));
	if (in->header.flags & VFIO_USER_ERROR)
		return 0;
	if (size != sizeof(struct vfio_user_region_access) + probe->len || in->fds)
		return vfio_user_nonsense(user, VFIO_USER_REGION_READ, "its size is wrong");
	memcpy(probe->value, data, probe->len);
	return 0;
}

/* What comes without being the answer that is waited for. Return: 1 when it was such. */
static int handle_other(struct vfio_user *user, unsigned command, uint64_t deadline)
{
	const struct vfio_user_header *header = &user->wire.in.header;
	uint32_t type = header->flags & VFIO_USER_TYPE_MASK;
	int err;

	if (type == VFIO_USER_COMMAND)
		err = vfio_user_serve_dma(user, deadline);
	else if (type == VFIO_USER_REPLY && answers_probe(user, header))
		err = take_probe(user);
	else if (type == VFIO_USER_REPLY)
		return 0;
	else
		err = vfio_user_nonsense(user, command, "it is neither command nor answer");
	return err ? err : 1;
}

/* Receive one message, and handle it if it is not for us. Return: as the receiving; -errno. */
static int receive(struct vfio_user *user, unsigned command, uint64_t deadline)
{
	int ret = plx_vfio_user_receive(&user->wire, deadline);

	if (ret == -EPROTO)
		return vfio_user_nonsense(user, command,
			"a message of its size, or with so many descriptors, is none");
	return ret < 0 ? hung_up_at(user, command) : ret;
}

static int refused(const struct vfio_user *user, unsigned command, uint32_t error)
{
	/* Zero stands for any reason (Header), and so does what is no errno. */
	int err = error && error < 4096 ? (int)error : EIO;

	return plx_fail(err, "%s: the server refuses %s: %s: its own log may say why",
		user->base.name, plx_vfio_user_command_name(command), strerror(err));
}

static int check_answer(
	struct vfio_user *user, unsigned command, uint16_t id, const struct vfio_user_form *form)
{
	const struct plx_vfio_user_message *in = &user->wire.in;
	size_t size = plx_vfio_user_payload_size(in);

	if (in->header.id != id || in->header.command != command)
		return vfio_user_nonsense(user, command, "it answers something else");
	if (in->header.flags & VFIO_USER_ERROR) {
		if (size || in->fds)
			return vfio_user_nonsense(user, command, "a refusal carries nothing");
		return refused(user, command, in->header.error);
	}
	if (size < form->size_min || size > form->size_max)
		return vfio_user_nonsense(user, command, "its size is wrong");
	if (in->fds > form->fds)
		return vfio_user_nonsense(
			user, command, "it carries descriptors that nobody asked for");
	return 0;
}

int vfio_user_ask(struct vfio_user *user, unsigned command, const void *payload, size_t size,
	const int *fds, unsigned count, const struct vfio_user_form *form)
{
	uint64_t deadline = plx_now() + user->timeout;
	uint16_t id;
	int ret;

	if (user->fault)
		return plx_fail(-user->fault, "%s", user->reason);
	if (payload)
		memcpy(user->out.payload, payload, size);
	ret = send_command(user, command, size, fds, count, deadline, &id);
	if (ret)
		return ret;
	for (;;) {
		ret = receive(user, command, deadline);
		if (ret < 0)
			return ret;
		/* A server that has much to say itself does not make us wait longer. */
		if (!ret || plx_now() > deadline)
			return not_answered(user, command);
		ret = handle_other(user, command, deadline);
		if (ret < 0)
			return ret;
		if (!ret)
			return check_answer(user, command, id, form);
	}
}

/* --- reading without waiting --- */

/* Take in what is there. Return: 0; -errno when the session has ended. */
static int take_in(struct vfio_user *user)
{
	uint64_t now = plx_now(), soon = now + PLX_MILLISECONDS(1);

	for (;;) {
		int ret = receive(user, VFIO_USER_REGION_READ, now);

		if (ret > 0) {
			ret = handle_other(user, VFIO_USER_REGION_READ, soon);
			if (!ret)
				return vfio_user_nonsense(
					user, VFIO_USER_REGION_READ, "it answers something else");
		}
		/* One message after the other, but not for as long as a server may send them. */
		if (ret <= 0 || plx_now() > soon)
			return ret < 0 ? ret : 0;
	}
}

static int ask_probe(struct vfio_user *user, unsigned region, uint64_t offset, size_t len)
{
	struct vfio_user_region_access access = {offset, region, (uint32_t)len};
	struct vfio_user_probe *probe = &user->probe;
	int err;

	/* There is room for it, or the server has read nothing for long. */
	memcpy(user->out.payload, &access, sizeof(access));
	err = send_command(
		user, VFIO_USER_REGION_READ, sizeof(access), NULL, 0, plx_now(), &probe->id);
	if (err)
		return err;
	probe->asked = true;
	probe->answered = false;
	probe->region = region;
	probe->offset = offset;
	probe->len = len;
	probe->since = plx_now();
	return 0;
}

int vfio_user_probe(
	struct vfio_user *user, unsigned region, uint64_t offset, void *value, size_t len)
{
	struct vfio_user_probe *probe = &user->probe;
	bool known;
	int err = vfio_user_fault(user);

	if (!err)
		err = take_in(user);
	if (err)
		return err;
	if (probe->asked && !probe->answered)
		return plx_now() - probe->since > user->timeout
			       ? not_answered(user, VFIO_USER_REGION_READ)
			       : -EAGAIN;
	known = probe->asked && probe->region == region && probe->offset == offset &&
		probe->len == len;
	if (known)
		memcpy(value, probe->value, len);
	err = ask_probe(user, region, offset, len);
	if (err)
		return err;
	return known ? 0 : -EAGAIN;
}

/* --- greeting --- */

static int explain_connect(const struct vfio_user *user, int err)
{
	switch (-err) {
	case ENOENT:
		return plx_fail(ENODEV,
			"%s: there is no such socket: start the server first, for example `pollux emu net --socket=%s`",
			user->base.name, user->address.sun_path);
	case ECONNREFUSED:
		return plx_fail(ENODEV,
			"%s: nobody listens at the socket: the server has ended, so start it again",
			user->base.name);
	case EAGAIN:
		return plx_fail(ENODEV,
			"%s: the server does not take the connection: it has other clients, or hangs",
			user->base.name);
	case EACCES:
		return plx_fail(EACCES,
			"%s: no right to use the server's socket: look at its owner and mode",
			user->base.name);
	default:
		return plx_fail(-err, "%s: cannot connect to the server: %s", user->base.name,
			strerror(-err));
	}
}

static int check_version(struct vfio_user *user)
{
	const struct plx_vfio_user_message *in = &user->wire.in;
	struct vfio_user_version version;
	size_t json = plx_vfio_user_payload_size(in) - sizeof(version);

	memcpy(&version, in->payload, sizeof(version));
	if (version.major != VFIO_USER_MAJOR || version.minor > VFIO_USER_MINOR)
		return vfio_user_give_up(user,
			plx_fail(ENOTSUP,
				"%s: the server speaks version %u.%u of vfio-user and only %d.0 to %d.%d are known: use another version of one of them",
				user->base.name, version.major, version.minor, VFIO_USER_MAJOR,
				VFIO_USER_MAJOR, VFIO_USER_MINOR));
	if (plx_vfio_user_read_capabilities(
		    &user->server, (const char *)in->payload + sizeof(version), json))
		return vfio_user_nonsense(
			user, VFIO_USER_VERSION, "its capabilities are no JSON of the protocol");
	if (user->server.data < DATA_LEAST || !user->server.dma_maps)
		return vfio_user_nonsense(user, VFIO_USER_VERSION,
			user->server.dma_maps ? "it moves no data" : "it takes no memory");
	return 0;
}

static int agree(struct vfio_user *user)
{
	static const struct vfio_user_form form = {
		sizeof(struct vfio_user_version), PLX_VFIO_USER_PAYLOAD, 0};
	struct vfio_user_version version = {VFIO_USER_MAJOR, VFIO_USER_MINOR};
	uint8_t *payload = user->out.payload;
	int len = plx_vfio_user_write_capabilities(&ours, (char *)payload + sizeof(version),
		sizeof(user->out.payload) - sizeof(version));
	int err;

	if (len < 0)
		return vfio_user_give_up(
			user, plx_fail(ENOMEM, "%s: out of memory to greet", user->base.name));
	memcpy(payload, &version, sizeof(version));
	err = vfio_user_ask(
		user, VFIO_USER_VERSION, NULL, sizeof(version) + (size_t)len, NULL, 0, &form);
	if (err)
		return user->fault ? err : vfio_user_give_up(user, err);
	return check_version(user);
}

int vfio_user_greet(struct vfio_user *user, uint64_t patience)
{
	int fd = plx_socket_connect(&user->address, patience);

	if (fd < 0)
		return vfio_user_give_up(user, explain_connect(user, fd));
	plx_vfio_user_drop(&user->wire);
	user->wire.socket = fd;
	user->probe = (struct vfio_user_probe){0};
	__atomic_store_n(&user->fault, 0, __ATOMIC_RELEASE);
	return agree(user);
}

int vfio_user_part(struct vfio_user *user)
{
	int err = 0;

	if (user->wire.socket < 0)
		return 0;
	plx_vfio_user_drop(&user->wire);
	err = plx_socket_part(user->wire.socket, plx_now() + user->timeout);
	/* One that has not left is asked again at the next try, and is not forgotten. */
	if (err)
		return err;
	(void)close(user->wire.socket);
	user->wire.socket = -1;
	return 0;
}
