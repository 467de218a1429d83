/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_VM_FRAME_H
#define TESTS_VM_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * Frames that can be told apart and cannot change unnoticed. Each has a number, from which its
 * addresses and its contents follow, and a CRC-32 over all but its addresses:
 *
 *     0 destination, 6 source, 12 EtherType, 14 magic, 18 run, 22 number, 26 size, 28 port,
 *     29 whether it is a probe, 30 CRC-32, 34 pseudo-random bytes
 *
 * All numbers are in network order.
 */

#define FRAME_MIN   60
#define FRAME_MAX   1514
#define FRAME_SIZES (FRAME_MAX - FRAME_MIN + 1)

#define FRAME_ETHERTYPE 0x88b5 /* for local experiments (IEEE 802) */
#define FRAME_MAGIC     0x504c5846u
#define FRAME_CRC       30
#define FRAME_PAYLOAD   34

struct frame_label {
	uint32_t run;
	uint32_t number;
	uint16_t size;
	uint8_t port; /* where it was sent */
	bool probe;
};

enum frame_verdict { FRAME_GOOD, FRAME_FOREIGN, FRAME_ALTERED };

static inline void frame_put32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

static inline uint32_t frame_get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Runs through all sizes before one comes again, since 7 has no factor in common with 1455. */
static inline uint16_t frame_size_of(uint32_t number)
{
	return (uint16_t)(FRAME_MIN + number * UINT64_C(7) % FRAME_SIZES);
}

/* The CRC-32 of Ethernet, continued from @crc; 0 begins. Half a byte at a time. */
static inline uint32_t frame_crc(uint32_t crc, const uint8_t *data, uint32_t size)
{
	static const uint32_t table[16] = {
		0x00000000,
		0x1db71064,
		0x3b6e20c8,
		0x26d930ac,
		0x76dc4190,
		0x6b6b51f4,
		0x4db26158,
		0x5005713c,
		0xedb88320,
		0xf00f9344,
		0xd6d6a3e8,
		0xcb61b38c,
		0x9b64c2b0,
		0x86d3d2d4,
		0xa00ae278,
		0xbdbdf21c,
	};

	crc = ~crc;
	for (uint32_t i = 0; i < size; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static inline uint32_t frame_crc_of(const uint8_t *frame, uint32_t size)
{
	uint32_t crc = frame_crc(0, frame + 12, FRAME_CRC - 12);

	return frame_crc(crc, frame + FRAME_PAYLOAD, size - FRAME_PAYLOAD);
}

/* Local unicast addresses that differ from frame to frame. */
static inline void frame_addresses(const struct frame_label *label, uint8_t addresses[12])
{
	memset(addresses, 0, 12);
	addresses[0] = 0x02;
	addresses[1] = label->port;
	frame_put32(addresses + 2, label->number);
	addresses[6] = 0x06;
	addresses[7] = (uint8_t)~label->port;
	frame_put32(addresses + 8, ~label->number);
}

/* Write a frame of @label->size bytes. */
static inline void frame_build(uint8_t *frame, const struct frame_label *label)
{
	/* xorshift32 (Marsaglia), which must not begin with 0. */
	uint32_t random = label->number * 2654435761u + label->port + 1;

	frame_addresses(label, frame);
	frame[12] = FRAME_ETHERTYPE >> 8;
	frame[13] = FRAME_ETHERTYPE & 0xff;
	frame_put32(frame + 14, FRAME_MAGIC);
	frame_put32(frame + 18, label->run);
	frame_put32(frame + 22, label->number);
	frame[26] = (uint8_t)(label->size >> 8);
	frame[27] = (uint8_t)label->size;
	frame[28] = label->port;
	frame[29] = label->probe;
	random += !random;
	for (uint32_t i = FRAME_PAYLOAD; i < label->size; i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		frame[i] = (uint8_t)random;
	}
	frame_put32(frame + FRAME_CRC, frame_crc_of(frame, label->size));
}

/* Whether a frame is one of ours, and as it was sent but for its addresses; and which. */
static inline enum frame_verdict frame_read(
	const uint8_t *frame, uint32_t size, struct frame_label *label)
{
	if (size < FRAME_MIN || (frame[12] << 8 | frame[13]) != FRAME_ETHERTYPE ||
		frame_get32(frame + 14) != FRAME_MAGIC)
		return FRAME_FOREIGN;
	label->run = frame_get32(frame + 18);
	label->number = frame_get32(frame + 22);
	label->size = (uint16_t)(frame[26] << 8 | frame[27]);
	label->port = frame[28];
	label->probe = frame[29] != 0;
	if (label->size != size || frame_get32(frame + FRAME_CRC) != frame_crc_of(frame, size))
		return FRAME_ALTERED;
	return FRAME_GOOD;
}

#endif
