/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_UNIT_LIES_H
#define PLX_TESTS_UNIT_LIES_H

#include <cstdint>
#include <random>

/*
 * What a device says of a completion in place of the truth: another buffer, one that cannot be, or
 * another length. @size: entries of the ring; @room: bytes of a buffer.
 */
inline void bend_completion(
	std::mt19937 &random, uint16_t size, uint32_t room, uint32_t *id, uint32_t *len)
{
	switch (random() % 6) {
	case 0:
		*id ^= 1u << random() % 32;
		break;
	case 1:
		*id = (uint32_t)random() % (2u * size);
		break;
	case 2:
		*len = room + 1;
		break;
	case 3:
		*len = (uint32_t)random();
		break;
	case 4: /* less than any header */
		*len = (uint32_t)random() % 10;
		break;
	default:
		*len = (uint32_t)random() % (2 * room);
	}
}

#endif
