/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTIO_REG_H
#define PLX_VIRTIO_VIRTIO_REG_H

/*
 * What the virtio standard fixes, and nothing else. Section numbers are those of virtio 1.4 (OASIS
 * committee specification 01). Everything is little-endian unless it says otherwise.
 */

#include "base/shared.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* 2.1 Device status field */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_SUSPEND     0x10
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80
/* The VIRTIO-30 v2 proposal's name for the value that the standard gave to FEATURES_OK. */
#define VIRTIO_STATUS_DEVICE_OK   0x08

/* 5 Device types */
#define VIRTIO_ID_NET     1
#define VIRTIO_ID_BLOCK   2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG     4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_SCSI    8
#define VIRTIO_ID_9P      9
#define VIRTIO_ID_CRYPTO  20

/* 6 Reserved feature bits */
#define VIRTIO_F_NOTIFY_ON_EMPTY   24 /* legacy only */
#define VIRTIO_F_ANY_LAYOUT        27 /* legacy only */
#define VIRTIO_F_INDIRECT_DESC     28
#define VIRTIO_F_EVENT_IDX         29
#define VIRTIO_F_BAD_FEATURE       30 /* legacy only; never accepted */
#define VIRTIO_F_VERSION_1         32
#define VIRTIO_F_ACCESS_PLATFORM   33
#define VIRTIO_F_RING_PACKED       34
#define VIRTIO_F_IN_ORDER          35
#define VIRTIO_F_ORDER_PLATFORM    36
#define VIRTIO_F_SR_IOV            37
#define VIRTIO_F_NOTIFICATION_DATA 38
#define VIRTIO_F_NOTIF_CONFIG_DATA 39
#define VIRTIO_F_RING_RESET        40
#define VIRTIO_F_ADMIN_VQ          41
#define VIRTIO_F_SUSPEND           43

/* 4.1.2 PCI device discovery */
#define VIRTIO_PCI_VENDOR             0x1af4
#define VIRTIO_PCI_TRANSITIONAL_FIRST 0x1000
#define VIRTIO_PCI_TRANSITIONAL_LAST  0x103f
#define VIRTIO_PCI_MODERN_FIRST       0x1040
#define VIRTIO_PCI_MODERN_LAST        0x107f

/* 4.1.4 Virtio structure PCI capabilities: offsets in struct virtio_pci_cap */
#define VIRTIO_PCI_CAP_LEN         2
#define VIRTIO_PCI_CAP_TYPE        3
#define VIRTIO_PCI_CAP_BAR         4
#define VIRTIO_PCI_CAP_ID          5
#define VIRTIO_PCI_CAP_OFFSET      8
#define VIRTIO_PCI_CAP_LENGTH      12
#define VIRTIO_PCI_CAP_SIZE        16
#define VIRTIO_PCI_CAP_NOTIFY_MULT 16 /* le32 behind that of VIRTIO_PCI_CAP_NOTIFY_CFG */
#define VIRTIO_PCI_CAP_NOTIFY_SIZE 20
#define VIRTIO_PCI_CAP_PCI_DATA    16 /* u8[4] behind the capability of VIRTIO_PCI_CAP_PCI_CFG */
#define VIRTIO_PCI_CAP_PCI_SIZE    20

#define VIRTIO_PCI_CAP_COMMON_CFG        1
#define VIRTIO_PCI_CAP_NOTIFY_CFG        2
#define VIRTIO_PCI_CAP_ISR_CFG           3
#define VIRTIO_PCI_CAP_DEVICE_CFG        4
#define VIRTIO_PCI_CAP_PCI_CFG           5
#define VIRTIO_PCI_CAP_SHARED_MEMORY_CFG 8
#define VIRTIO_PCI_CAP_VENDOR_CFG        9

#define VIRTIO_PCI_BARS 6

/* 4.1.4.3 Common configuration structure: offsets */
#define VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT 0x00
#define VIRTIO_PCI_COMMON_DEVICE_FEATURE        0x04
#define VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT 0x08
#define VIRTIO_PCI_COMMON_DRIVER_FEATURE        0x0c
#define VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR    0x10
#define VIRTIO_PCI_COMMON_NUM_QUEUES            0x12
#define VIRTIO_PCI_COMMON_DEVICE_STATUS         0x14
#define VIRTIO_PCI_COMMON_CONFIG_GENERATION     0x15
#define VIRTIO_PCI_COMMON_QUEUE_SELECT          0x16
#define VIRTIO_PCI_COMMON_QUEUE_SIZE            0x18
#define VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR     0x1a
#define VIRTIO_PCI_COMMON_QUEUE_ENABLE          0x1c
#define VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF      0x1e
#define VIRTIO_PCI_COMMON_QUEUE_DESC            0x20
#define VIRTIO_PCI_COMMON_QUEUE_DRIVER          0x28
#define VIRTIO_PCI_COMMON_QUEUE_DEVICE          0x30
#define VIRTIO_PCI_COMMON_SIZE_1_0              0x38
#define VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA      0x38
#define VIRTIO_PCI_COMMON_QUEUE_RESET           0x3a
#define VIRTIO_PCI_COMMON_SIZE_1_2              0x3c
#define VIRTIO_PCI_COMMON_ADMIN_QUEUE_INDEX     0x3c
#define VIRTIO_PCI_COMMON_ADMIN_QUEUE_NUM       0x3e
#define VIRTIO_PCI_COMMON_SIZE_1_3              0x40

#define VIRTIO_MSI_NO_VECTOR 0xffff

/* 4.1.4.5 ISR status */
#define VIRTIO_ISR_QUEUE  0x01
#define VIRTIO_ISR_CONFIG 0x02

/* 4.1.4.10 Legacy interfaces: offsets in the first I/O BAR */
#define VIRTIO_PCI_LEGACY_DEVICE_FEATURES     0x00
#define VIRTIO_PCI_LEGACY_DRIVER_FEATURES     0x04
#define VIRTIO_PCI_LEGACY_QUEUE_ADDRESS       0x08
#define VIRTIO_PCI_LEGACY_QUEUE_SIZE          0x0c
#define VIRTIO_PCI_LEGACY_QUEUE_SELECT        0x0e
#define VIRTIO_PCI_LEGACY_QUEUE_NOTIFY        0x10
#define VIRTIO_PCI_LEGACY_DEVICE_STATUS       0x12
#define VIRTIO_PCI_LEGACY_ISR_STATUS          0x13
#define VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR  0x14
#define VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR   0x16
#define VIRTIO_PCI_LEGACY_CONFIG              0x14
#define VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX    0x18
#define VIRTIO_PCI_LEGACY_QUEUE_ADDRESS_SHIFT 12
#define VIRTIO_PCI_LEGACY_QUEUE_ALIGN         4096

/* 2.7 Split virtqueues */
#define VIRTQ_SIZE_MAX 32768

#define VIRTQ_DESC_F_NEXT     0x1
#define VIRTQ_DESC_F_WRITE    0x2
#define VIRTQ_DESC_F_INDIRECT 0x4

#define VIRTQ_AVAIL_F_NO_INTERRUPT 0x1
#define VIRTQ_USED_F_NO_NOTIFY     0x1

#define VIRTQ_DESC_ALIGN  16
#define VIRTQ_AVAIL_ALIGN 2
#define VIRTQ_USED_ALIGN  4

struct virtq_desc {
	struct plx_shared64 addr;
	struct plx_shared32 len;
	struct plx_shared16 flags;
	struct plx_shared16 next;
};
static_assert(sizeof(struct virtq_desc) == 16, "2.7.5");
static_assert(offsetof(struct virtq_desc, len) == 8, "2.7.5");
static_assert(offsetof(struct virtq_desc, flags) == 12, "2.7.5");
static_assert(offsetof(struct virtq_desc, next) == 14, "2.7.5");

struct virtq_avail {
	struct plx_shared16 flags;
	struct plx_shared16 idx;
	struct plx_shared16 ring[]; /* queue size entries, then used_event */
};
static_assert(sizeof(struct virtq_avail) == 4, "2.7.6");

struct virtq_used_elem {
	struct plx_shared32 id;
	struct plx_shared32 len;
};
static_assert(sizeof(struct virtq_used_elem) == 8, "2.7.8");

struct virtq_used {
	struct plx_shared16 flags;
	struct plx_shared16 idx;
	struct virtq_used_elem ring[]; /* queue size entries, then avail_event */
};
static_assert(sizeof(struct virtq_used) == 4, "2.7.8");

/* 2.8 Packed virtqueues */
#define VIRTQ_PACKED_DESC_F_AVAIL 0x0080
#define VIRTQ_PACKED_DESC_F_USED  0x8000

#define VIRTQ_PACKED_EVENT_ENABLE  0x0
#define VIRTQ_PACKED_EVENT_DISABLE 0x1
#define VIRTQ_PACKED_EVENT_DESC    0x2
#define VIRTQ_PACKED_EVENT_WRAP    0x8000

struct virtq_packed_desc {
	struct plx_shared64 addr;
	struct plx_shared32 len;
	struct plx_shared16 id;
	struct plx_shared16 flags;
};
static_assert(sizeof(struct virtq_packed_desc) == 16, "2.8.13");
static_assert(offsetof(struct virtq_packed_desc, id) == 12, "2.8.13");
static_assert(offsetof(struct virtq_packed_desc, flags) == 14, "2.8.13");

struct virtq_packed_event {
	struct plx_shared16 off_wrap;
	struct plx_shared16 flags;
};
static_assert(sizeof(struct virtq_packed_event) == 4, "2.8.14");

#endif
