/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_SOCKET_H
#define PLX_BASE_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * Unix sockets to another process that is not trusted: bytes and descriptors go over them, no wait
 * is without an end, and no descriptor that is not wanted stays open. What the bytes mean, and what
 * to say of a failure, is for the caller to know: these calls leave no sentence in plx_error().
 *
 * Deadlines are times of plx_now(); one that has passed means: look, and do not wait.
 */

/* Most descriptors that the kernel takes with one message. */
#define PLX_SOCKET_FDS 253

/* Return: 0; -ENAMETOOLONG when the kernel has no room for the path. */
int plx_socket_address(struct sockaddr_un *address, const char *path);

/* How messages name a socket: the end of a long path, which says more than its start. */
void plx_socket_name(char *name, size_t room, const char *path);

/* Wait until @fd is ready. Return: whether it is. Looks once more when the deadline has passed. */
bool plx_socket_wait(int fd, short events, uint64_t deadline);

/*
 * plx_socket_connect() - Reach who listens at an address.
 * @patience: nanoseconds for somebody to be there
 *
 * Return: the connection; -ENOENT, -ECONNREFUSED or -EAGAIN when nobody takes it; other -errno.
 */
int plx_socket_connect(const struct sockaddr_un *address, uint64_t patience);

/*
 * plx_socket_listen() - Listen at an address.
 *
 * A socket file that nobody listens at any more is replaced. The file is the caller's to remove.
 *
 * Return: the listening socket; -EADDRINUSE when somebody listens there, or the file is no socket;
 * other -errno.
 */
int plx_socket_listen(const struct sockaddr_un *address, int backlog);

/* Take a connection. Return: it; -EAGAIN when the deadline has passed; other -errno. */
int plx_socket_accept(int listener, uint64_t deadline);

/* Whether the other end has left. Any thread; never blocks. */
bool plx_socket_hung_up(int fd);

/*
 * plx_socket_part() - Say that nothing more will come, and wait for the other end to hang up.
 *
 * Return: 0 when it did; -ETIMEDOUT.
 */
int plx_socket_part(int fd, uint64_t deadline);

/*
 * plx_socket_send() - Send bytes, with descriptors beside the first of them.
 *
 * All goes in one call where the socket has room for it. The descriptors stay the caller's.
 *
 * Return: 0; -ENODEV when the other end hung up; -ETIMEDOUT when it does not read.
 */
int plx_socket_send(
	int fd, const void *bytes, size_t len, const int *fds, unsigned count, uint64_t deadline);

/* Where received descriptors go. */
struct plx_socket_fds {
	int *fd;
	unsigned room;
	unsigned count;
};

/*
 * plx_socket_receive() - Receive what is there, at most @len bytes; never blocks.
 * @fds: descriptors that come are added to it and are the caller's, also on failure
 *
 * Return: bytes; -EAGAIN when there is nothing; -ENODEV when the other end hung up; -E2BIG when
 * more descriptors came than there is room for, which are closed.
 */
ssize_t plx_socket_receive(int fd, void *bytes, size_t len, struct plx_socket_fds *fds);

void plx_socket_close_fds(struct plx_socket_fds *fds);

#endif
