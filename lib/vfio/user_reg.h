/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_USER_REG_H
#define PLX_VFIO_USER_REG_H

#include <assert.h>
#include <linux/vfio.h>
#include <stdint.h>

/*
 * What the vfio-user protocol fixes (docs/interop/vfio-user.rst of QEMU), versions 0.0 to 0.2, and
 * nothing else. The byte order is the host's. Descriptions of regions and interrupts are the
 * structures of <linux/vfio.h>.
 */

#define VFIO_USER_MAJOR 0
#define VFIO_USER_MINOR 2

/* Commands; DMA_READ and DMA_WRITE come from the server, the others from the client. */
#define VFIO_USER_VERSION                  1
#define VFIO_USER_DMA_MAP                  2
#define VFIO_USER_DMA_UNMAP                3
#define VFIO_USER_DEVICE_GET_INFO          4
#define VFIO_USER_DEVICE_GET_REGION_INFO   5
#define VFIO_USER_DEVICE_GET_REGION_IO_FDS 6
#define VFIO_USER_DEVICE_GET_IRQ_INFO      7
#define VFIO_USER_DEVICE_SET_IRQS          8
#define VFIO_USER_REGION_READ              9
#define VFIO_USER_REGION_WRITE             10
#define VFIO_USER_DMA_READ                 11
#define VFIO_USER_DMA_WRITE                12
#define VFIO_USER_DEVICE_RESET             13
#define VFIO_USER_REGION_WRITE_MULTI       15
#define VFIO_USER_COMMANDS                 16 /* those above are numbered below this */

struct vfio_user_header {
	uint16_t id; /* of the sender's; a reply has that of its command */
	uint16_t command;
	uint32_t size; /* of the message, with this header */
	uint32_t flags;
	uint32_t error; /* errno, in a reply with VFIO_USER_ERROR */
};
static_assert(sizeof(struct vfio_user_header) == 16, "Header");

#define VFIO_USER_TYPE_MASK 0x0fu
#define VFIO_USER_COMMAND   0x00u
#define VFIO_USER_REPLY     0x01u
#define VFIO_USER_NO_REPLY  0x10u
#define VFIO_USER_ERROR     0x20u

/* Capabilities that a sender does not name (VFIO_USER_VERSION). */
#define VFIO_USER_DEFAULT_MSG_FDS  1
#define VFIO_USER_DEFAULT_DATA     1048576
#define VFIO_USER_DEFAULT_DMA_MAPS 65535
#define VFIO_USER_DEFAULT_PGSIZES  4096

/* VFIO_USER_VERSION, and JSON with its NUL behind it. */
struct vfio_user_version {
	uint16_t major;
	uint16_t minor;
};
static_assert(sizeof(struct vfio_user_version) == 4, "VFIO_USER_VERSION");

struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* in the file */
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vfio_user_dma_map) == 32, "VFIO_USER_DMA_MAP");

#define VFIO_USER_DMA_READABLE  0x1u
#define VFIO_USER_DMA_WRITEABLE 0x2u

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "VFIO_USER_DMA_UNMAP");

/* Without what <linux/vfio.h> has added behind it. */
struct vfio_user_device_info {
	uint32_t argsz;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
	uint32_t regions;
	uint32_t irqs;
};
static_assert(sizeof(struct vfio_user_device_info) == 16, "VFIO_USER_DEVICE_GET_INFO");

static_assert(sizeof(struct vfio_region_info) == 32, "VFIO_USER_DEVICE_GET_REGION_INFO");
static_assert(sizeof(struct vfio_irq_info) == 16, "VFIO_USER_DEVICE_GET_IRQ_INFO");
static_assert(sizeof(struct vfio_irq_set) == 20, "VFIO_USER_DEVICE_SET_IRQS");

/* VFIO_USER_DEVICE_GET_REGION_IO_FDS, and in the reply its sub-regions. */
struct vfio_user_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
static_assert(sizeof(struct vfio_user_io_fds) == 16, "VFIO_USER_DEVICE_GET_REGION_IO_FDS");

struct vfio_user_ioeventfd {
	uint64_t offset;
	uint64_t size; /* 0: a write of any width */
	uint32_t fd_index;
	uint32_t type;
	uint32_t flags;
	uint32_t padding;
	uint64_t datamatch;
};
static_assert(sizeof(struct vfio_user_ioeventfd) == 40, "Sub-Region IO FD info format");

#define VFIO_USER_IO_FD_IOEVENTFD 0
#define VFIO_USER_IO_FD_DATAMATCH 0x1u /* KVM_IOEVENTFD_FLAG_DATAMATCH */

/* VFIO_USER_REGION_READ and _WRITE, and the data behind it. */
struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};
static_assert(sizeof(struct vfio_user_region_access) == 16, "VFIO_USER_REGION_READ");

/* VFIO_USER_DMA_READ and _WRITE, and the data behind it. */
struct vfio_user_dma_access {
	uint64_t address;
	uint64_t count;
};
static_assert(sizeof(struct vfio_user_dma_access) == 16, "VFIO_USER_DMA_READ");

#endif
