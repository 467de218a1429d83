/* SPDX-License-Identifier: BSD-3-Clause */
#include "files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int fuzz_file(uint8_t kind)
{
	static int fd[3] = {-1, -1, -1};

	if (fd[0] < 0) {
		fd[0] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		fd[1] = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		fd[2] = open("/dev/null", O_WRONLY | O_CLOEXEC);
		FUZZ_CHECK(!ftruncate(fd[0], 0x8000) && !ftruncate(fd[1], 0x8000) &&
				   !fcntl(fd[0], F_ADD_SEALS, F_SEAL_SHRINK),
			"the files cannot be made");
	}
	return fd[kind % 3];
}

int fuzz_next_descriptor(void)
{
	int fd = dup(fuzz_file(0));

	(void)close(fd);
	return fd;
}
