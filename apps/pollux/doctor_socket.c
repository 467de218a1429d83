/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The folder of a path; free() it. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return make_text(".");
	return make_text("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* With server=on Pollux makes the socket: what counts is the folder. */
static void examine_place(const char *path, struct doctor_finding *finding)
{
	char *folder = folder_of(path);
	struct stat status;

	if (access(folder, F_OK))
		doctor_fault(finding, make_text("mkdir -p %s", folder),
			"there is no folder %s to make the socket in", folder);
	else if (access(folder, W_OK | X_OK))
		doctor_fault(finding, doctor_as_root("chown %u %s", geteuid(), folder),
			"no right to make the socket in %s", folder);
	else if (!lstat(path, &status) && !S_ISSOCK(status.st_mode))
		doctor_fault(finding, make_text("rm %s", path),
			"the file is there already, and no socket");
	else
		doctor_ok(finding, "the socket can be made in %s", folder);
	free(folder);
}

void doctor_socket(const struct doctor *doctor, struct doctor_finding *finding)
{
	const char *path = doctor->place;
	struct stat status;

	if (doctor_has_option(doctor, "server=on"))
		return examine_place(path, finding);
	if (stat(path, &status)) {
		if (errno == EACCES)
			doctor_fault(finding, NULL,
				"no right to look into the folder of the socket: have its owner "
				"open it");
		else
			doctor_fault(finding, make_text("start the backend that makes %s", path),
				"there is no such socket: %s", strerror(errno));
		return;
	}
	if (!S_ISSOCK(status.st_mode))
		doctor_fault(finding, make_text("give the path of the backend's socket"),
			"the file is there, and no socket");
	else if (access(path, R_OK | W_OK))
		doctor_fault(finding, doctor_as_root("chown %u %s", geteuid(), path),
			"no right to use the socket, which has mode %04o and belongs to user %u and "
			"group %u",
			status.st_mode & 07777u, status.st_uid, status.st_gid);
	else
		doctor_ok(finding, "the socket is there and may be used");
}

/* Return: 0, or the errno of connecting. */
static int try_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	if (connect(fd, (const void *)&address, sizeof(address)))
		err = errno;
	(void)close(fd);
	return err;
}

void doctor_listener(const struct doctor *doctor, struct doctor_finding *finding)
{
	bool server = doctor_has_option(doctor, "server=on");
	int err = try_connect(doctor->place);

	if (server && !err)
		doctor_fault(finding, make_text("leave out server=on, or choose another path"),
			"another program listens there");
	else if (server || err == ENOENT || err == EACCES || err == ENOTDIR)
		return; /* said of the socket already */
	else if (!err)
		doctor_ok(finding, "a backend takes the connection");
	else if (err == ECONNREFUSED)
		doctor_fault(finding, make_text("start the backend again"),
			"nobody listens at the socket");
	else if (err == EAGAIN)
		doctor_fault(finding, make_text("end the backend's other front end"),
			"the backend does not take the connection: it has another front end, or "
			"hangs");
	else
		doctor_fault(finding, NULL, "cannot connect: %s", strerror(err));
}
