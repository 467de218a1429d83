/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/vhost_user_socket.h"

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

const char *plx_vhost_user_request_name(uint32_t request)
{
	static const char *const names[] = {
		[VHOST_USER_GET_FEATURES] = "GET_FEATURES",
		[VHOST_USER_SET_FEATURES] = "SET_FEATURES",
		[VHOST_USER_SET_OWNER] = "SET_OWNER",
		[VHOST_USER_SET_MEM_TABLE] = "SET_MEM_TABLE",
		[VHOST_USER_SET_VRING_NUM] = "SET_VRING_NUM",
		[VHOST_USER_SET_VRING_ADDR] = "SET_VRING_ADDR",
		[VHOST_USER_SET_VRING_BASE] = "SET_VRING_BASE",
		[VHOST_USER_GET_VRING_BASE] = "GET_VRING_BASE",
		[VHOST_USER_SET_VRING_KICK] = "SET_VRING_KICK",
		[VHOST_USER_SET_VRING_CALL] = "SET_VRING_CALL",
		[VHOST_USER_SET_VRING_ERR] = "SET_VRING_ERR",
		[VHOST_USER_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[VHOST_USER_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
		[VHOST_USER_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[VHOST_USER_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
		[VHOST_USER_NET_SET_MTU] = "NET_SET_MTU",
		[VHOST_USER_GET_CONFIG] = "GET_CONFIG",
		[VHOST_USER_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
		[VHOST_USER_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
		[VHOST_USER_RESET_DEVICE] = "RESET_DEVICE",
		[VHOST_USER_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
		[VHOST_USER_ADD_MEM_REG] = "ADD_MEM_REG",
		[VHOST_USER_REM_MEM_REG] = "REM_MEM_REG",
		[VHOST_USER_SET_STATUS] = "SET_STATUS",
		[VHOST_USER_GET_STATUS] = "GET_STATUS",
	};

	if (request < ARRAY_SIZE(names) && names[request])
		return names[request];
	return "a message that is not known";
}

/* --- deadlines --- */

/* Milliseconds that are left, rounded up, for poll(2). */
static int left_until(uint64_t deadline)
{
	uint64_t now = plx_now();

	if (now >= deadline)
		return 0;
	return (int)MIN((deadline - now) / PLX_MILLISECONDS(1) + 1, (uint64_t)60000);
}

/* Return: whether @fd became ready. Looks once more when the deadline has passed. */
static bool wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd polled = {.fd = fd, .events = events};

	for (;;) {
		int left = left_until(deadline);
		int ready = poll(&polled, 1, left);

		if (ready > 0)
			return true;
		if (!left)
			return false;
	}
}

static unsigned in_milliseconds(uint64_t nanoseconds)
{
	return (unsigned)(nanoseconds / PLX_MILLISECONDS(1));
}

/* --- the place --- */

static int new_socket(const struct plx_vhost_user_socket *s)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : plx_fail(errno, "%s: no socket: %s", s->name, strerror(errno));
}

static int try_connect(const struct plx_vhost_user_socket *s, int fd)
{
	return connect(fd, (const void *)&s->address, sizeof(s->address)) ? -errno : 0;
}

/* Whether a socket lies at the place that a process left behind when it ended. */
static bool is_stale(const struct plx_vhost_user_socket *s)
{
	struct stat status;
	int fd, err;

	if (lstat(s->address.sun_path, &status) || !S_ISSOCK(status.st_mode))
		return false;
	fd = new_socket(s);
	if (fd < 0)
		return false;
	err = try_connect(s, fd);
	(void)close(fd);
	return err == -ECONNREFUSED;
}

static int bind_to_place(const struct plx_vhost_user_socket *s, int fd)
{
	const char *path = s->address.sun_path;

	if (!bind(fd, (const void *)&s->address, sizeof(s->address)))
		return 0;
	if (errno == EADDRINUSE && is_stale(s) && !unlink(path) &&
		!bind(fd, (const void *)&s->address, sizeof(s->address)))
		return 0;
	if (errno == EADDRINUSE)
		return plx_fail(EADDRINUSE,
			"%s: another program listens there, or the file is no socket: choose another path or leave out server=on",
			s->name);
	return plx_fail(errno, "%s: cannot make the socket: %s: look at the folder and its rights",
		s->name, strerror(errno));
}

static int listen_at_place(struct plx_vhost_user_socket *s)
{
	int fd = new_socket(s);
	int err;

	if (fd < 0)
		return fd;
	err = bind_to_place(s, fd);
	if (err)
		goto close_socket;
	if (listen(fd, 1)) {
		err = plx_fail(errno, "%s: cannot listen: %s", s->name, strerror(errno));
		goto remove_file;
	}
	s->listener = fd;
	return 0;

remove_file:
	(void)unlink(s->address.sun_path);
close_socket:
	(void)close(fd);
	return err;
}

int plx_vhost_user_socket_open(struct plx_vhost_user_socket *s, const char *path)
{
	s->listener = -1;
	s->fd = -1;
	s->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(s->address.sun_path))
		return plx_fail(EINVAL,
			"%s: the path of a socket has at most %zu characters and this one has %zu",
			s->name, sizeof(s->address.sun_path) - 1, strlen(path));
	memcpy(s->address.sun_path, path, strlen(path) + 1);
	return s->server ? listen_at_place(s) : 0;
}

void plx_vhost_user_socket_close(struct plx_vhost_user_socket *s)
{
	plx_vhost_user_hang_up(s);
	if (s->listener < 0)
		return;
	(void)unlink(s->address.sun_path);
	(void)close(s->listener);
	s->listener = -1;
}

/* --- the connection --- */

static int explain_connect(const struct plx_vhost_user_socket *s, int err)
{
	switch (-err) {
	case ENOENT:
		return plx_fail(ENODEV,
			"%s: there is no such socket: start the backend first, or say server=on if it is the one to connect",
			s->name);
	case ECONNREFUSED:
		return plx_fail(ENODEV,
			"%s: nobody listens at the socket: the backend has ended, so start it again",
			s->name);
	case EAGAIN:
		return plx_fail(ENODEV,
			"%s: the backend does not take the connection: it has another front end, or hangs",
			s->name);
	case EACCES:
		return plx_fail(EACCES,
			"%s: no right to use the socket: look at its owner and mode", s->name);
	default:
		return plx_fail(-err, "%s: cannot connect: %s", s->name, strerror(-err));
	}
}

/* What may be mended while one waits: a backend that is about to start or to listen again. */
static bool may_change(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -EAGAIN;
}

static int connect_to_place(struct plx_vhost_user_socket *s)
{
	struct plx_wait wait = plx_wait_for(s->patience);
	int fd = new_socket(s);
	int err;

	if (fd < 0)
		return fd;
	while ((err = try_connect(s, fd)) && may_change(err))
		if (!plx_wait_again(&wait))
			break;
	if (err) {
		(void)close(fd);
		return explain_connect(s, err);
	}
	s->fd = fd;
	return 0;
}

static int accept_at_place(struct plx_vhost_user_socket *s)
{
	uint64_t deadline = plx_now() + s->patience;

	while (wait_for(s->listener, POLLIN, deadline)) {
		s->fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (s->fd >= 0)
			return 0;
		/* One that came and went is not the last. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			return plx_fail(errno, "%s: cannot take a connection: %s", s->name,
				strerror(errno));
	}
	return plx_fail(ENODEV,
		"%s: no backend connected within %u ms: start it as client of this socket, or raise wait=",
		s->name, in_milliseconds(s->patience));
}

int plx_vhost_user_connect(struct plx_vhost_user_socket *s)
{
	return s->server ? accept_at_place(s) : connect_to_place(s);
}

void plx_vhost_user_hang_up(struct plx_vhost_user_socket *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
}

bool plx_vhost_user_hung_up(const struct plx_vhost_user_socket *s)
{
	struct pollfd polled = {.fd = s->fd, .events = POLLRDHUP};

	return s->fd < 0 || (poll(&polled, 1, 0) > 0 && polled.revents);
}

int plx_vhost_user_part(struct plx_vhost_user_socket *s)
{
	uint64_t deadline = plx_now() + s->timeout;
	uint8_t late[64];

	(void)shutdown(s->fd, SHUT_WR);
	while (wait_for(s->fd, POLLIN, deadline)) {
		/* Without room for them, descriptors of a late answer are closed by the kernel. */
		ssize_t got = recv(s->fd, late, sizeof(late), MSG_DONTWAIT);

		if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
			return 0;
	}
	return -ETIMEDOUT;
}

/* --- messages --- */

static int hung_up_at(const struct plx_vhost_user_socket *s, uint32_t request)
{
	return plx_fail(ENODEV,
		"%s: the backend hung up at %s: see why it did, then stop and start the device",
		s->name, plx_vhost_user_request_name(request));
}

static int nonsense(const struct plx_vhost_user_socket *s, uint32_t request, const char *what)
{
	return plx_fail(EPROTO,
		"%s: the backend's answer to %s is nonsense (%s): is there another program behind the socket?",
		s->name, plx_vhost_user_request_name(request), what);
}

#define FDS_SPACE CMSG_SPACE(VHOST_USER_REGIONS * sizeof(int))

static void attach_descriptors(
	struct msghdr *msg, void *control, const struct plx_vhost_user_message *message)
{
	size_t len = message->fds * sizeof(int);
	struct cmsghdr *header;

	if (!message->fds)
		return;
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(len);
	header = CMSG_FIRSTHDR(msg);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(header), message->fd, len);
}

int plx_vhost_user_send(
	struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message, uint32_t flags)
{
	_Alignas(struct cmsghdr) uint8_t control[FDS_SPACE] = {0};
	uint64_t deadline = plx_now() + s->timeout;
	uint32_t request = message->header.request;
	size_t total = sizeof(message->header) + message->header.size;
	uint8_t bytes[sizeof(message->header) + sizeof(message->payload)];
	struct msghdr msg = {0};
	size_t done = 0;

	message->header.flags = VHOST_USER_VERSION | flags;
	memcpy(bytes, &message->header, sizeof(message->header));
	memcpy(bytes + sizeof(message->header), &message->payload, message->header.size);
	attach_descriptors(&msg, control, message);
	while (done < total) {
		struct iovec part = {bytes + done, total - done};
		ssize_t sent;

		msg.msg_iov = &part;
		msg.msg_iovlen = 1;
		sent = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			done += (size_t)sent;
			/* They went with the first byte. */
			msg.msg_control = NULL;
			msg.msg_controllen = 0;
		} else if (errno == EAGAIN) {
			if (!wait_for(s->fd, POLLOUT, deadline))
				return plx_fail(ETIMEDOUT,
					"%s: the backend did not read %s within %u ms: it hangs, or timeout= is too short",
					s->name, plx_vhost_user_request_name(request),
					in_milliseconds(s->timeout));
		} else if (errno != EINTR) {
			return hung_up_at(s, request);
		}
	}
	return 0;
}
static void close_descriptors(struct plx_vhost_user_message *message)
{
	for (unsigned i = 0; i < message->fds; i++)
		(void)close(message->fd[i]);
	message->fds = 0;
}

/* Return: whether all descriptors fit; those that do not are closed. */
static bool take_descriptors(struct msghdr *msg, struct plx_vhost_user_message *message)
{
	bool fit = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *header = CMSG_FIRSTHDR(msg); header;
		header = CMSG_NXTHDR(msg, header)) {
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
			if (message->fds < VHOST_USER_REGIONS) {
				message->fd[message->fds++] = fd;
			} else {
				(void)close(fd);
				fit = false;
			}
		}
	}
	return fit;
}

/* Receive @len bytes, all of them. */
static int receive_bytes(struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message,
	uint32_t request, void *bytes, size_t len, uint64_t deadline)
{
	_Alignas(struct cmsghdr) uint8_t control[FDS_SPACE];
	size_t done = 0;

	while (done < len) {
		struct iovec part = {(uint8_t *)bytes + done, len - done};
		struct msghdr msg = {
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t got = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (got > 0) {
			done += (size_t)got;
			if (!take_descriptors(&msg, message))
				return nonsense(s, request, "it carries too many descriptors");
		} else if (got < 0 && errno == EAGAIN) {
			if (!wait_for(s->fd, POLLIN, deadline))
				return plx_fail(ETIMEDOUT,
					"%s: the backend did not answer %s within %u ms: it hangs, or timeout= is too short",
					s->name, plx_vhost_user_request_name(request),
					in_milliseconds(s->timeout));
		} else if (!got || errno != EINTR) {
			return hung_up_at(s, request);
		}
	}
	return 0;
}

static int check_header(const struct plx_vhost_user_socket *s, uint32_t request,
	const struct vhost_user_header *header, const struct plx_vhost_user_form *form)
{
	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return nonsense(s, request, "another version of the protocol");
	if (header->request != request || !(header->flags & VHOST_USER_REPLY))
		return nonsense(s, request, "it answers something else");
	if (header->size < form->size_min || header->size > form->size_max)
		return nonsense(s, request, "its size is wrong");
	return 0;
}

int plx_vhost_user_receive(struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message,
	const struct plx_vhost_user_form *form)
{
	uint64_t deadline = plx_now() + s->timeout;
	uint32_t request = message->header.request;
	int err;

	message->fds = 0;
	memset(&message->payload, 0, sizeof(message->payload));
	err = receive_bytes(
		s, message, request, &message->header, sizeof(message->header), deadline);
	if (!err)
		err = check_header(s, request, &message->header, form);
	if (!err)
		err = receive_bytes(
			s, message, request, &message->payload, message->header.size, deadline);
	if (!err && message->fds != form->fds)
		err = nonsense(s, request,
			message->fds > form->fds ? "it carries descriptors that nobody asked for"
						 : "its descriptor is missing");
	if (err)
		close_descriptors(message);
	return err;
}
