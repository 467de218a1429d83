/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VHOST_USER_REG_H
#define PLX_VIRTIO_VHOST_USER_REG_H

/*
 * What the vhost-user protocol fixes, and nothing else: docs/interop/vhost-user.rst of QEMU.
 * Headings in quotes are those of that page. Everything is in the byte order of the host, since
 * both ends run on it.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* "Header" */
struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* bytes of payload that follow */
};
static_assert(sizeof(struct vhost_user_header) == 12, "Header");

#define VHOST_USER_VERSION_MASK 0x3u
#define VHOST_USER_VERSION      0x1u
#define VHOST_USER_REPLY        0x4u
#define VHOST_USER_NEED_REPLY   0x8u

/* "Front-end message types" */
#define VHOST_USER_GET_FEATURES          1
#define VHOST_USER_SET_FEATURES          2
#define VHOST_USER_SET_OWNER             3
#define VHOST_USER_RESET_OWNER           4
#define VHOST_USER_SET_MEM_TABLE         5
#define VHOST_USER_SET_LOG_BASE          6
#define VHOST_USER_SET_LOG_FD            7
#define VHOST_USER_SET_VRING_NUM         8
#define VHOST_USER_SET_VRING_ADDR        9
#define VHOST_USER_SET_VRING_BASE        10
#define VHOST_USER_GET_VRING_BASE        11
#define VHOST_USER_SET_VRING_KICK        12
#define VHOST_USER_SET_VRING_CALL        13
#define VHOST_USER_SET_VRING_ERR         14
#define VHOST_USER_GET_PROTOCOL_FEATURES 15
#define VHOST_USER_SET_PROTOCOL_FEATURES 16
#define VHOST_USER_GET_QUEUE_NUM         17
#define VHOST_USER_SET_VRING_ENABLE      18
#define VHOST_USER_SEND_RARP             19
#define VHOST_USER_NET_SET_MTU           20
#define VHOST_USER_SET_BACKEND_REQ_FD    21
#define VHOST_USER_IOTLB_MSG             22
#define VHOST_USER_SET_VRING_ENDIAN      23
#define VHOST_USER_GET_CONFIG            24
#define VHOST_USER_SET_CONFIG            25
#define VHOST_USER_GET_INFLIGHT_FD       31
#define VHOST_USER_SET_INFLIGHT_FD       32
#define VHOST_USER_RESET_DEVICE          34
#define VHOST_USER_GET_MAX_MEM_SLOTS     36
#define VHOST_USER_ADD_MEM_REG           37
#define VHOST_USER_REM_MEM_REG           38
#define VHOST_USER_SET_STATUS            39
#define VHOST_USER_GET_STATUS            40

/* Bits of the virtio features that belong to the transport. */
#define VHOST_USER_F_LOG_ALL           26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* "Protocol features" */
#define VHOST_USER_PROTOCOL_F_MQ                  0
#define VHOST_USER_PROTOCOL_F_REPLY_ACK           3
#define VHOST_USER_PROTOCOL_F_MTU                 4
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ         5
#define VHOST_USER_PROTOCOL_F_CONFIG              9
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD      12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE        13
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS              16

/* "A vring state description" */
struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};
static_assert(sizeof(struct vhost_user_vring_state) == 8, "A vring state description");

/* "Vring descriptor indices for packed virtqueues": avail index and wrap, used index and wrap */
#define VHOST_USER_VRING_PACKED_START 0x80008000u

/* "A vring address description": addresses of the front end's process */
struct vhost_user_vring_address {
	uint32_t index;
	uint32_t flags;
	uint64_t descriptor;
	uint64_t used;
	uint64_t available;
	uint64_t log;
};
static_assert(sizeof(struct vhost_user_vring_address) == 40, "A vring address description");
static_assert(offsetof(struct vhost_user_vring_address, used) == 16, "A vring address description");

/* The u64 of SET_VRING_KICK, _CALL and _ERR */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NO_FD      0x100u

/* "Memory region description" */
struct vhost_user_region {
	uint64_t guest_address;
	uint64_t size;
	uint64_t user_address;
	uint64_t mmap_offset;
};
static_assert(sizeof(struct vhost_user_region) == 32, "Memory region description");

/* "Multiple memory regions description" */
#define VHOST_USER_REGIONS 8
struct vhost_user_memory {
	uint32_t count;
	uint32_t padding;
	struct vhost_user_region region[VHOST_USER_REGIONS];
};
static_assert(sizeof(struct vhost_user_memory) == 8 + 8 * 32, "Multiple memory regions");

/* "Single memory region description" */
struct vhost_user_memory_region {
	uint64_t padding;
	struct vhost_user_region region;
};
static_assert(sizeof(struct vhost_user_memory_region) == 40, "Single memory region description");

/* "Virtio device config space" */
#define VHOST_USER_CONFIG_MAX 256
struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t region[VHOST_USER_CONFIG_MAX];
};
static_assert(offsetof(struct vhost_user_config, region) == 12, "Virtio device config space");

/* "Inflight description": those who wrote it in C send four bytes of padding behind it */
struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t queues;
	uint16_t queue_size;
	uint32_t padding;
};
static_assert(sizeof(struct vhost_user_inflight) == 24, "Inflight description");
#define VHOST_USER_INFLIGHT_SIZE_MIN 20

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_address address;
	struct vhost_user_memory memory;
	struct vhost_user_memory_region memory_region;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
};

#endif
