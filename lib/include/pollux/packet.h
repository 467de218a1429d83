/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_PACKET_H
#define POLLUX_PACKET_H

#include <stddef.h>
#include <stdint.h>

/**
 * @file
 * The packet: one cache line that describes a buffer, and the buffer: first headroom, then data.
 *
 *     struct plx_packet --> | headroom | data ... | tailroom |
 *                           ^ buffer   ^ data_off            ^ buf_len
 *
 * Only the buffer lies in memory that devices can reach. A device may write any byte of any buffer
 * at any time, but not what describes it.
 *
 * A frame that does not fit one buffer is a chain of segments linked by @next; its length and what
 * there is to do to it stand in the first.
 */

#ifdef __cplusplus
extern "C" {
#endif

struct plx_pool;

/** Bytes of a cache line: the alignment of packets, rings and per-queue state. */
#define PLX_CACHE_LINE 64

/** One segment of a packet. */
struct plx_packet {
	uint64_t iova; /**< the buffer's first byte as a device addresses it; set by the pool */
	struct plx_pool *pool;   /**< the pool that owns it; set by the pool */
	struct plx_packet *next; /**< the next segment, or NULL */
	uint32_t len;            /**< bytes of the whole frame; valid in the first segment */
	uint16_t data_len;       /**< bytes of data in this segment */
	uint16_t data_off;       /**< bytes from the buffer's start to this segment's data */
	uint16_t buf_len;        /**< bytes of the buffer: headroom and data; set by the pool */
	uint8_t received;        /**< of enum plx_packet_received: what the device found out */
	uint8_t hash_type;       /**< enum plx_packet_hash: what @hash is of */
	uint16_t segments;       /**< segments of the frame; valid in the first segment */
	uint8_t offload;         /**< of enum plx_packet_offload: what is left to do */
	uint8_t csum_offset;     /**< bytes from @csum_start to the checksum */
	uint8_t *buffer;         /**< the buffer's first byte; set by the pool */
	uint16_t csum_start;     /**< bytes from the frame's start to what is summed up */
	uint16_t gso_size;       /**< bytes of payload in each frame that it is cut into */
	uint32_t hash;           /**< of the frame, as the device calculated it */
	uint64_t user;           /**< the application's own; Pollux never touches it */
} __attribute__((aligned(PLX_CACHE_LINE)));

/**
 * What is left to do to a frame: bits of plx_packet.offload, in the first segment. Asked of the
 * device when the frame is sent; set in a received frame when its sender left it undone, so that a
 * frame can be sent on as it came. A transport header that one of these is about lies in the first
 * segment.
 */
enum plx_packet_offload {
	/**
	 * The checksum: the 16 bits @csum_offset bytes behind @csum_start hold the sum of the
	 * pseudo header, and are to be replaced by the sum from @csum_start to the frame's end.
	 */
	PLX_PACKET_CSUM = 1u << 0,
	/** Cut into frames of IPv4 and TCP with @gso_size bytes of payload; with PLX_PACKET_CSUM.
	 */
	PLX_PACKET_TSO4 = 1u << 1,
	/** The same of IPv6. */
	PLX_PACKET_TSO6 = 1u << 2,
	/** Cut into frames of UDP, of IPv4 or IPv6; with PLX_PACKET_CSUM. */
	PLX_PACKET_USO = 1u << 3,
};

/** What the device found out of a received frame: bits of plx_packet.received. */
enum plx_packet_received {
	PLX_PACKET_CSUM_GOOD = 1u << 0, /**< the checksum of its transport header is right */
};

/** What a received frame was hashed by: values of plx_packet.hash_type. */
enum plx_packet_hash {
	PLX_PACKET_HASH_NONE,     /**< there is no hash */
	PLX_PACKET_HASH_IPV4,     /**< addresses */
	PLX_PACKET_HASH_TCPV4,    /**< addresses and ports */
	PLX_PACKET_HASH_UDPV4,    /**< addresses and ports */
	PLX_PACKET_HASH_IPV6,     /**< addresses */
	PLX_PACKET_HASH_TCPV6,    /**< addresses and ports */
	PLX_PACKET_HASH_UDPV6,    /**< addresses and ports */
	PLX_PACKET_HASH_IPV6_EX,  /**< addresses of extension headers */
	PLX_PACKET_HASH_TCPV6_EX, /**< the same, and ports */
	PLX_PACKET_HASH_UDPV6_EX, /**< the same, and ports */
};

/**
 * plx_packet_buffer() - Where a segment's buffer begins.
 * @packet: the segment
 *
 * Return: The address of the first byte of its headroom.
 */
static inline uint8_t *plx_packet_buffer(const struct plx_packet *packet)
{
	return packet->buffer;
}

/**
 * plx_packet_data() - Where a segment's data begins.
 * @packet: the segment
 *
 * Return: The address of its first byte of data.
 */
static inline uint8_t *plx_packet_data(const struct plx_packet *packet)
{
	return plx_packet_buffer(packet) + packet->data_off;
}

/**
 * plx_packet_data_iova() - Where a segment's data begins for a device.
 * @packet: the segment
 *
 * Return: The IOVA of its first byte of data.
 */
static inline uint64_t plx_packet_data_iova(const struct plx_packet *packet)
{
	return packet->iova + packet->data_off;
}

/**
 * plx_packet_headroom() - Count the bytes that are free in front of a segment's data.
 * @packet: the segment
 *
 * Return: The number of bytes.
 */
static inline uint16_t plx_packet_headroom(const struct plx_packet *packet)
{
	return packet->data_off;
}

/**
 * plx_packet_tailroom() - Count the bytes that are free behind a segment's data.
 * @packet: the segment
 *
 * Return: The number of bytes.
 */
static inline uint16_t plx_packet_tailroom(const struct plx_packet *packet)
{
	return (uint16_t)(packet->buf_len - packet->data_off - packet->data_len);
}

/**
 * plx_packet_prepare() - Make a packet an empty frame of one segment.
 * @packet: a packet fresh from its pool
 * @headroom: bytes to leave free in front of the data; at most @packet->buf_len
 *
 * A packet comes out of its pool as it went in: call this before filling it.
 */
static inline void plx_packet_prepare(struct plx_packet *packet, uint16_t headroom)
{
	packet->next = NULL;
	packet->len = 0;
	packet->data_len = 0;
	packet->data_off = headroom;
	packet->received = 0;
	packet->hash_type = PLX_PACKET_HASH_NONE;
	packet->segments = 1;
	packet->offload = 0;
	packet->csum_offset = 0;
}

/**
 * plx_packet_append() - Add room at the end of a frame of one segment.
 * @packet: the frame
 * @len: bytes to add
 *
 * Return: The address of the added room, or NULL when the buffer has less left.
 */
static inline uint8_t *plx_packet_append(struct plx_packet *packet, uint16_t len)
{
	uint8_t *tail = plx_packet_data(packet) + packet->data_len;

	if (len > plx_packet_tailroom(packet))
		return NULL;
	packet->data_len = (uint16_t)(packet->data_len + len);
	packet->len += len;
	return tail;
}

#ifdef __cplusplus
}
#endif

#endif
