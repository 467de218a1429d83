/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "emu/emu_priv.h"

#include <byteswap.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Files of frames that peer=replay reads. The target takes the same file apart by itself, and the
 * frames must be the same, once and, after a reset, again.
 */

#define FILE_HEADER  24
#define FRAME_HEADER 16

static struct plx_emu the_card;

static uint32_t word(const uint8_t *data, bool swapped)
{
	uint32_t value;

	memcpy(&value, data, sizeof(value));
	return swapped ? bswap_32(value) : value;
}

/* The file in memory, under a name. */
static const char *store(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char name[32];

	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	}
	FUZZ_CHECK(fd >= 0 && !ftruncate(fd, 0), "the file cannot be made");
	FUZZ_CHECK(pwrite(fd, data, size, 0) == (ssize_t)size, "the file cannot be written");
	return name;
}

/* Every frame that there is, and no other. */
static void replay(struct plx_emu_peer *peer, const uint8_t *data, size_t size, bool swapped)
{
	const uint8_t *frame;
	size_t at = FILE_HEADER;
	uint32_t len;

	while (size - at >= FRAME_HEADER) {
		uint32_t here = word(data + at + 8, swapped);

		at += FRAME_HEADER;
		if (!here || here > PLX_EMU_FRAME || here > size - at)
			break;
		frame = peer->ops->peek(peer, 0, &len);
		FUZZ_CHECK(frame && len == here && !memcmp(frame, data + at, len),
			"a frame of the file is not what is replayed");
		peer->ops->take(peer, 0);
		at += here;
	}
	FUZZ_CHECK(!peer->ops->peek(peer, 0, &len), "a frame that is not in the file");
	FUZZ_CHECK(!peer->ops->peek(peer, 0, &len), "a file that has ended went on");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plx_emu *card = &the_card;
	struct plx_emu_peer *peer;
	bool swapped;

	(void)snprintf(card->vfio.name, sizeof(card->vfio.name), "emu:net");
	if (FUZZ_CALL(plx_emu_replay_open(card, store(data, size), &peer)))
		return 0;
	FUZZ_CHECK(size >= FILE_HEADER, "a file without a header");
	swapped = (word(data, false) & 0xff) == 0xa1;
	replay(peer, data, size, swapped);
	peer->ops->reset(peer);
	replay(peer, data, size, swapped);
	peer->ops->close(peer);
	return 0;
}
