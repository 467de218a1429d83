/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <stdlib.h>
#include <string.h>

/*
 * Frames that wait: each is its length followed by its bytes, without a break, so that it can be
 * handed on where it lies. One that would cross the end starts over at the beginning.
 */
#define LENGTH  8u /* bytes in front of a frame, so that it starts well aligned */
#define RESTART UINT32_MAX

static uint32_t space_of(uint32_t len)
{
	return LENGTH + (uint32_t)plx_align_up(len, LENGTH);
}

int plx_emu_backlog_init(struct plx_emu_backlog *backlog, uint32_t size)
{
	*backlog = (struct plx_emu_backlog){.size = (uint32_t)plx_align_down(size, LENGTH)};
	backlog->bytes = malloc(backlog->size);
	return backlog->bytes ? 0 : plx_fail(ENOMEM, "out of memory for %u bytes of frames", size);
}

void plx_emu_backlog_fini(struct plx_emu_backlog *backlog)
{
	free(backlog->bytes);
	backlog->bytes = NULL;
}

void plx_emu_backlog_clear(struct plx_emu_backlog *backlog)
{
	backlog->head = backlog->tail = backlog->frames = 0;
}

bool plx_emu_backlog_push(struct plx_emu_backlog *backlog, const uint8_t *frame, uint32_t len)
{
	uint32_t space = space_of(len), restart = RESTART;
	bool wrapped = backlog->head < backlog->tail ||
		       (backlog->head == backlog->tail && backlog->frames);
	uint32_t room = (wrapped ? backlog->tail : backlog->size) - backlog->head;

	if (space > room) {
		if (wrapped || space > backlog->tail)
			return false;
		if (room)
			memcpy(backlog->bytes + backlog->head, &restart, sizeof(restart));
		backlog->head = 0;
	}
	memcpy(backlog->bytes + backlog->head, &len, sizeof(len));
	memcpy(backlog->bytes + backlog->head + LENGTH, frame, len);
	backlog->head += space;
	backlog->frames++;
	return true;
}

/* Where the oldest frame's length stands. */
static uint32_t oldest(const struct plx_emu_backlog *backlog, uint32_t *len)
{
	uint32_t at = backlog->tail;

	if (at < backlog->size)
		memcpy(len, backlog->bytes + at, sizeof(*len));
	if (at == backlog->size || *len == RESTART) {
		at = 0;
		memcpy(len, backlog->bytes, sizeof(*len));
	}
	return at;
}

const uint8_t *plx_emu_backlog_peek(const struct plx_emu_backlog *backlog, uint32_t *len)
{
	if (!backlog->frames)
		return NULL;
	return backlog->bytes + oldest(backlog, len) + LENGTH;
}

void plx_emu_backlog_pop(struct plx_emu_backlog *backlog)
{
	uint32_t len = 0, at = oldest(backlog, &len);

	backlog->tail = at + space_of(len);
	if (!--backlog->frames)
		plx_emu_backlog_clear(backlog);
}
