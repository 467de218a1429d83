/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_FUZZ_CARD_H
#define PLX_FUZZ_CARD_H

#include "fuzz.h"

#include "drivers/drivers.h"
#include "emu/emu.h"

#include <pollux/pollux.h>

/*
 * The network driver on an emulated card whose every word may be a lie that the fuzzer chose. The
 * card has no thread: it moves when the script says so.
 *
 * The context outlives an execution, and nothing else does: at the end of each the memory in use
 * must be what it was at the beginning, pools are made anew and come zeroed, and so the next one
 * finds what the first one found.
 */

/* A register that answers falsely, or does not hear what is written to it. */
struct fuzz_lie {
	uint8_t place; /* enum plx_emu_place */
	uint8_t how;   /* FUZZ_LIE_* */
	uint8_t skip;  /* accesses that go well before */
	uint8_t times; /* accesses that do not; 0: all that follow */
	uint16_t offset;
	uint32_t value;
};

#define FUZZ_LIES 24

/* Bits of fuzz_lie.how; the three lowest say what becomes of the value. */
#define FUZZ_LIE_WRITE 0x08 /* of a write; otherwise of a read */
#define FUZZ_LIE_OVER  0x80 /* it has been told as often as it was to be */

/* Lies of a queue; bits of fuzz_ring_lie.how. */
#define FUZZ_RING_ID    1
#define FUZZ_RING_LEN   2
#define FUZZ_RING_INDEX 4 /* split: the index; packed: the flags */
#define FUZZ_RING_EXTRA 8

struct fuzz_card {
	/* Kept between executions. */
	struct plx_context *ctx;
	struct plx_memory_usage idle;

	/* One execution. */
	struct plx_emu_config config;
	struct plx_emu *emu;
	struct plx_eth *eth;
	uint16_t pool_count; /* of packets, with so much data each */
	uint16_t data_size;
	struct plx_pool *pool;    /* received into */
	struct plx_pool *tx_pool; /* sent from */
	struct fuzz_lie lie[FUZZ_LIES];
	unsigned lies;
	bool lied;         /* it was, and what the card thinks of the driver proves nothing */
	bool reset_fails;  /* of the PCI function */
	bool packed;       /* what the script takes the rings for */
	uint32_t accesses; /* that the driver may still make */
	uint32_t messages; /* that it may still log */
	struct plx_packet *held[64]; /* frames that were received and not given back yet */
	unsigned holds;

	/* Lies in the rings, by queue. */
	struct fuzz_ring_lie {
		uint32_t id, len; /* added to the id, and what the length is set to */
		uint16_t index;   /* added to the used index */
		uint8_t how;      /* FUZZ_RING_* */
		uint8_t extra;    /* marked used without being it */
		uint8_t times;
	} ring[2];
	uint8_t header[12]; /* XORed into the header of a received frame */
	uint16_t event, event_flags;
	bool event_lies;
	struct fuzz_spot {
		uint16_t at; /* where the script completes a packed ring by hand */
		bool wrap;
	} spot[2];
};

/* Begin an execution: an honest card, not yet plugged in. */
struct fuzz_card *fuzz_card_begin(void);

/* Plug the card in and open it. Return: as plx_eth_open(). */
int fuzz_card_open(struct fuzz_card *card, const char *options);

/* Receive rings of @rx entries and transmit rings of @tx; 0: as the card says. */
int fuzz_card_configure(struct fuzz_card *card, uint16_t rx, uint16_t tx);
int fuzz_card_start(struct fuzz_card *card);
int fuzz_card_stop(struct fuzz_card *card);

/* Carry out what the bytes say until they end. Each step is bounded, and so are the steps. */
void fuzz_card_script(struct fuzz_card *card, struct fuzz_input *in);

/* What the next call may cost: register accesses, and messages. */
void fuzz_card_allow_control(struct fuzz_card *card);
void fuzz_card_allow_burst(struct fuzz_card *card);

/* Give back the frames that are held. */
void fuzz_card_release(struct fuzz_card *card);

/* Close the device and see that everything is where it was. */
void fuzz_card_end(struct fuzz_card *card);

/* Read registers' lies from the input. */
void fuzz_card_read_lies(struct fuzz_card *card, struct fuzz_input *in);

#endif
