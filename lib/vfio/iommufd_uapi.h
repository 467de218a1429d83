/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_IOMMUFD_UAPI_H
#define PLX_VFIO_IOMMUFD_UAPI_H

#include <assert.h>
#include <linux/vfio.h>
#include <stdint.h>

/*
 * What this room uses of the kernel's interface to iommufd, by the kernel's names: the headers of
 * the system that Pollux is built on may be older than the kernel that it runs on.
 *
 * From <linux/vfio.h> of Linux 6.6.
 */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

struct vfio_device_attach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id;
};
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct vfio_device_detach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
};
#define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)
#endif

/* From <linux/iommufd.h> of Linux 6.2, and IOMMU_IOAS_MAP_FILE of 6.13. */
#define IOMMUFD_TYPE (';')

struct iommu_destroy {
	uint32_t size;
	uint32_t id;
};
#define IOMMU_DESTROY _IO(IOMMUFD_TYPE, 0x80)

struct iommu_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};
#define IOMMU_IOAS_ALLOC _IO(IOMMUFD_TYPE, 0x81)

struct iommu_iova_range {
	uint64_t start;
	uint64_t last;
};

struct iommu_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t reserved;
	uint64_t allowed_iovas;
	uint64_t out_iova_alignment;
};
#define IOMMU_IOAS_IOVA_RANGES _IO(IOMMUFD_TYPE, 0x84)

#define IOMMU_IOAS_MAP_FIXED_IOVA (1u << 0)
#define IOMMU_IOAS_MAP_WRITEABLE  (1u << 1)
#define IOMMU_IOAS_MAP_READABLE   (1u << 2)

struct iommu_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};
#define IOMMU_IOAS_MAP _IO(IOMMUFD_TYPE, 0x85)

struct iommu_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length;
};
#define IOMMU_IOAS_UNMAP _IO(IOMMUFD_TYPE, 0x86)

struct iommu_ioas_map_file {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	int32_t fd;
	uint64_t start;
	uint64_t length;
	uint64_t iova;
};
#define IOMMU_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, 0x8f)

static_assert(sizeof(struct vfio_device_bind_iommufd) == 16, "as the kernel has it");
static_assert(sizeof(struct iommu_ioas_alloc) == 12, "as the kernel has it");
static_assert(sizeof(struct iommu_ioas_iova_ranges) == 32, "as the kernel has it");
static_assert(sizeof(struct iommu_ioas_map) == 40, "as the kernel has it");
static_assert(sizeof(struct iommu_ioas_unmap) == 24, "as the kernel has it");
static_assert(sizeof(struct iommu_ioas_map_file) == 40, "as the kernel has it");

#endif
