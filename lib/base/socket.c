/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/socket.h"

#include "base/clock.h"
#include "base/compiler.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int plx_socket_address(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, strlen(path) + 1);
	return 0;
}

void plx_socket_name(char *name, size_t room, const char *path)
{
	size_t len = strlen(path);

	if (len < room)
		memcpy(name, path, len + 1);
	else
		(void)snprintf(name, room, "...%s", path + len - room + 4);
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

bool plx_socket_wait(int fd, short events, uint64_t deadline)
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

/* --- the place --- */

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : -errno;
}

static int try_connect(const struct sockaddr_un *address, int fd)
{
	return connect(fd, (const void *)address, sizeof(*address)) ? -errno : 0;
}

/* What may be mended while one waits: a process that is about to start or to listen again. */
static bool may_change(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -EAGAIN;
}

int plx_socket_connect(const struct sockaddr_un *address, uint64_t patience)
{
	struct plx_wait wait = plx_wait_for(patience);
	int fd = new_socket();
	int err;

	if (fd < 0)
		return fd;
	while ((err = try_connect(address, fd)) && may_change(err))
		if (!plx_wait_again(&wait))
			break;
	if (!err)
		return fd;
	(void)close(fd);
	return err;
}

/* Whether a socket lies at the place that a process left behind when it ended. */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat status;
	int fd, err;

	if (lstat(address->sun_path, &status) || !S_ISSOCK(status.st_mode))
		return false;
	fd = new_socket();
	if (fd < 0)
		return false;
	err = try_connect(address, fd);
	(void)close(fd);
	return err == -ECONNREFUSED;
}

static int bind_to_place(const struct sockaddr_un *address, int fd)
{
	if (!bind(fd, (const void *)address, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (is_stale(address) && !unlink(address->sun_path) &&
		!bind(fd, (const void *)address, sizeof(*address)))
		return 0;
	return -EADDRINUSE;
}

int plx_socket_listen(const struct sockaddr_un *address, int backlog)
{
	int fd = new_socket();
	int err;

	if (fd < 0)
		return fd;
	err = bind_to_place(address, fd);
	if (err)
		goto close_socket;
	if (listen(fd, backlog)) {
		err = -errno;
		goto remove_file;
	}
	return fd;

remove_file:
	(void)unlink(address->sun_path);
close_socket:
	(void)close(fd);
	return err;
}

int plx_socket_accept(int listener, uint64_t deadline)
{
	while (plx_socket_wait(listener, POLLIN, deadline)) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		/* One that came and went is not the last. */
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED))
			return fd >= 0 ? fd : -errno;
	}
	return -EAGAIN;
}

/* --- the connection --- */

bool plx_socket_hung_up(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLRDHUP};

	return poll(&polled, 1, 0) > 0 && polled.revents;
}

int plx_socket_part(int fd, uint64_t deadline)
{
	uint8_t late[64];

	(void)shutdown(fd, SHUT_WR);
	while (plx_socket_wait(fd, POLLIN, deadline)) {
		/* Without room for them, descriptors of a late answer are closed by the kernel. */
		ssize_t got = recv(fd, late, sizeof(late), MSG_DONTWAIT);

		if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
			return 0;
	}
	return -ETIMEDOUT;
}

#define CONTROL_SPACE CMSG_SPACE(PLX_SOCKET_FDS * sizeof(int))

static void attach_descriptors(struct msghdr *msg, void *control, const int *fds, unsigned count)
{
	size_t len = count * sizeof(*fds);
	struct cmsghdr *header;

	if (!count)
		return;
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(len);
	header = CMSG_FIRSTHDR(msg);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(header), fds, len);
}

int plx_socket_send(
	int fd, const void *bytes, size_t len, const int *fds, unsigned count, uint64_t deadline)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SPACE];
	struct msghdr msg = {0};
	size_t done = 0;

	attach_descriptors(&msg, control, fds, count);
	while (done < len) {
		struct iovec part = {(uint8_t *)(uintptr_t)bytes + done, len - done};
		ssize_t sent;

		msg.msg_iov = &part;
		msg.msg_iovlen = 1;
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			done += (size_t)sent;
			/* They went with the first byte. */
			msg.msg_control = NULL;
			msg.msg_controllen = 0;
		} else if (errno == EAGAIN) {
			if (!plx_socket_wait(fd, POLLOUT, deadline))
				return -ETIMEDOUT;
		} else if (errno != EINTR) {
			return -ENODEV;
		}
	}
	return 0;
}

/* Return: whether all descriptors fit; those that do not are closed. */
static bool take_descriptors(struct msghdr *msg, struct plx_socket_fds *fds)
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
			if (fds->count < fds->room) {
				fds->fd[fds->count++] = fd;
			} else {
				(void)close(fd);
				fit = false;
			}
		}
	}
	return fit;
}

ssize_t plx_socket_receive(int fd, void *bytes, size_t len, struct plx_socket_fds *fds)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SPACE];
	struct iovec part = {bytes, len};
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got > 0)
		return take_descriptors(&msg, fds) ? got : -E2BIG;
	return got < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -ENODEV;
}

void plx_socket_close_fds(struct plx_socket_fds *fds)
{
	for (unsigned i = 0; i < fds->count; i++)
		(void)close(fds->fd[i]);
	fds->count = 0;
}
