/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_PRIV_H
#define PLX_VFIO_PRIV_H

#include "vfio/group.h"
#include "vfio/iommufd.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * What the files of this room share: the system calls, the container, and devices that are
 * descriptors of the kernel's.
 */

/* Every system call of this room that reaches a device. Tests put a made-up kernel in its place. */
struct plx_vfio_sys {
	int (*open)(const char *path, int flags);
	int (*close)(int fd);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	ssize_t (*pread)(int fd, void *data, size_t len, off_t offset);
	ssize_t (*pwrite)(int fd, const void *data, size_t len, off_t offset);
	void *(*mmap)(void *address, size_t len, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *address, size_t len);
	int (*stat)(const char *path, struct stat *status);
};

extern const struct plx_vfio_sys plx_vfio_kernel;

/* Opens a node of /dev/vfio for @name. Return: its descriptor, or -errno with the remedy. */
int plx_vfio_open_node(const struct plx_vfio_sys *sys, const char *name, const char *path);

/* Room for an answer of VFIO's and its chain of capabilities: hundreds of ranges or areas. */
#define PLX_VFIO_ANSWER 4096

/*
 * Find a capability in an answer.
 * @answer: what the kernel filled in
 * @len: how many bytes of it are valid
 * @offset: of the first capability, 0 for none
 * @min: bytes that the capability must have at least
 *
 * Return: the capability, and in @room the bytes from its start to the end of the answer; or NULL.
 */
const void *plx_vfio_capability(
	const void *answer, size_t len, uint32_t offset, uint16_t id, size_t min, size_t *room);

/*
 * The parts of a region that may be mapped, once it is known that some may.
 * @answer: its description, @len bytes
 * @first: offset of its first capability, 0 for none
 */
void plx_vfio_learn_areas(
	struct plx_vfio_region *region, const void *answer, size_t len, uint32_t first);

/* Return: 0; -EINVAL when the bytes are not within the region. */
int plx_vfio_check_range(
	const struct plx_vfio_device *base, unsigned region, uint64_t offset, size_t len);

/* memory.c */

/* As many ranges of IOVAs as an answer can hold. */
#define PLX_VFIO_RANGES (PLX_VFIO_ANSWER / sizeof(struct vfio_iova_range))

struct plx_vfio_limits {
	struct plx_iova_range range[PLX_VFIO_RANGES];
	size_t count;
};

/*
 * Keep the memory within what the IOMMU of one more device, or group, can address, and map it.
 * @limits: attaches to the memory for as long as the device is there
 * @mapper: of the owner of all devices, for the first of them; otherwise NULL
 *
 * Return: 0; -ERANGE; -ENOMEM; what the mapper's map() returned.
 */
int plx_vfio_memory_attach(struct plx_mem *mem, const char *name, struct plx_mapper *limits,
	const struct plx_vfio_limits *allowed, struct plx_mapper *mapper);

/* The failure to pin so many bytes in all. Return: -ENOMEM with the remedy. */
int plx_vfio_cannot_pin(uint64_t needed);

/* container.c */

struct plx_vfio_group;

struct plx_vfio_container {
	struct plx_mem *mem;
	const struct plx_log *log;
	const struct plx_vfio_sys *sys;
	bool noiommu;
	pthread_mutex_t lock; /* guards the lines below; taken before the memory's lock */
	int fd;               /* -1 unless somebody holds it open */
	unsigned holders;
	unsigned joined; /* groups behind the IOMMU */
	struct plx_vfio_group *groups;
	struct plx_mapper mapper; /* attached while a group is joined */
	uint64_t mapped;          /* bytes; guarded by the memory's lock, like every mapper call */
	uint32_t mappings_left;   /* as VFIO last said, or UINT32_MAX */
};

/* plx_vfio_container_create() on a kernel of the caller's. */
int plx_vfio_container_create_on(struct plx_mem *mem, const struct plx_log *log, bool noiommu,
	const struct plx_vfio_sys *sys, struct plx_vfio_container **container);

/* The container is open from the first hold to the last drop. */
int plx_vfio_container_hold(struct plx_vfio_container *container, const char *name);
void plx_vfio_container_drop(struct plx_vfio_container *container);

/*
 * Put a group behind the container's IOMMU, and all memory within its reach.
 * @limits: attaches to the memory so that it stays within what the group's IOMMU can address
 */
int plx_vfio_container_join(struct plx_vfio_container *container, const char *name, int group_fd,
	struct plx_mapper *limits);
/* The group's devices are closed. */
void plx_vfio_container_leave(
	struct plx_vfio_container *container, int group_fd, struct plx_mapper *limits);

/* iommufd.c */

/* plx_vfio_iommufd_create() on a kernel of the caller's. */
int plx_vfio_iommufd_create_on(struct plx_mem *mem, const struct plx_log *log,
	const struct plx_vfio_sys *sys, struct plx_vfio_iommufd **iommufd);

/* device.c */

/* A device that is a descriptor, however it was come by. */
struct plx_vfio_fd_device {
	struct plx_vfio_device base;
	const struct plx_vfio_sys *sys;
	int fd;
	bool can_reset;
};

/* Ask the kernel what the device has. Return: 0 or -errno. */
int plx_vfio_fd_device_learn(struct plx_vfio_fd_device *device);

/* The operations of struct plx_vfio_ops that are the same for every descriptor. */
int plx_vfio_fd_read(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, void *value, size_t len);
int plx_vfio_fd_write(struct plx_vfio_device *base, unsigned region, uint64_t offset,
	const void *value, size_t len);
int plx_vfio_fd_map(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, size_t len, void **address);
void plx_vfio_fd_unmap(struct plx_vfio_device *base, void *address, size_t len);
int plx_vfio_fd_set_irqs(struct plx_vfio_device *base, unsigned index, unsigned start,
	unsigned count, const int32_t *fds);
int plx_vfio_fd_unmask_irq(struct plx_vfio_device *base, unsigned index);
int plx_vfio_fd_reset(struct plx_vfio_device *base);

/* In the table of each backend whose devices are descriptors. */
#define PLX_VFIO_FD_OPS                                                                            \
	.read = plx_vfio_fd_read, .write = plx_vfio_fd_write, .map = plx_vfio_fd_map,              \
	.unmap = plx_vfio_fd_unmap, .set_irqs = plx_vfio_fd_set_irqs,                              \
	.unmask_irq = plx_vfio_fd_unmask_irq, .reset = plx_vfio_fd_reset

/*
 * Let a device of any backend reach memory, or not: bit 2 of the command register. Return: 0 or
 * -errno.
 */
int plx_vfio_bus_master(struct plx_vfio_device *base, bool on);

#endif
