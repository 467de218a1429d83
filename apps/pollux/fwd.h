/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROGRAM_FWD_H
#define PROGRAM_FWD_H

#include "program.h"

#include <pollux/pollux.h>

/*
 * The command fwd. Its parts, each in a file of its own:
 *
 *     fwd_options  what the user asks for
 *     fwd_port     devices with their pools
 *     fwd_stream   what a core does with the frames of one queue
 *     fwd_frame    the contents of frames
 *     fwd_idle     what a core does while nothing comes
 *     fwd_csum     checksums of frames that are forwarded
 *     fwd_stats    figures, live and at the end
 *     fwd_supervise  devices that break or go, and come back
 */

#define FWD_BURST_MAX 512

/* Receive calls by what they brought: none, 1, 2 to 3, 4 to 7, ..., 512. */
#define FWD_BURST_CLASSES 11

struct fwd_stream;

/* One round of a stream. Return: frames handled, or -errno, which ends the core's worker. */
typedef int fwd_round_fn(struct fwd_stream *stream);

struct fwd_mode {
	const char *name;
	const char *line; /* what it does */
	fwd_round_fn *round;
	bool paired;    /* what comes in at a port leaves at its neighbour: 0 and 1, 2 and 3, ... */
	bool generates; /* it sends frames of its own, from a pool of their own */
	bool answers;   /* it needs an address to answer for */
	bool offloads;  /* it uses every offload that a device has */
};

/* All modes; the last has no name. */
extern const struct fwd_mode fwd_modes[];

/* What a core does while nothing comes. */
enum fwd_idle_mode { FWD_IDLE_POLL, FWD_IDLE_ADAPTIVE, FWD_IDLE_INTERRUPT };
/* By mode; the last is NULL. */
extern const char *const fwd_idle_names[];

struct fwd_options {
	unsigned devices;
	char **device;
	const struct fwd_mode *mode;
	unsigned cores;
	unsigned *core;
	unsigned peers;
	uint8_t (*peer)[6]; /* by port; the rest have the default */
	uint16_t queues;
	uint16_t rx_ring; /* 0: the library's choice */
	uint16_t tx_ring;
	uint16_t size; /* of the frames to send */
	unsigned burst;
	unsigned retries; /* further tries to send what a full ring did not take */
	unsigned recover; /* tries to bring a device back until it runs well; 0: the run ends */
	unsigned first;   /* frames that each port sends before anything is forwarded */
	uint32_t packets; /* of each pool; 0: enough */
	uint32_t ip;      /* to answer for, in network order */
	uint64_t page_size;
	double seconds;  /* 0: until a signal */
	double interval; /* between two looks at the rates; 0: none; negative: as the terminal has
			    it */
	enum fwd_idle_mode idle;
	bool json;
	bool quiet;
	bool verbose;
};

struct fwd_port {
	char name[PLX_DEVICE_NAME_LEN];
	unsigned index;
	struct fwd_port *out; /* where frames that come in here leave */
	uint8_t peer[6];      /* who is on the other end */
	struct plx_eth *eth;
	struct plx_eth_info info;
	struct plx_pool *pool;   /* frames to receive */
	struct plx_pool *frames; /* frames to send, made in advance */
	bool started;
	bool undirected;     /* another device came, and streams still lead to the one before */
	int events;          /* of enum plx_eth_event, that are not seen to yet */
	unsigned tries;      /* to bring it back, since it last ran well */
	unsigned resets;     /* times that it was brought back */
	unsigned lost_links; /* times that its link went down */
	double ran;          /* seconds with frames since it was brought back */
	struct plx_eth_stats before; /* of devices that it was before it was replaced */
	struct plx_eth_stats stats;  /* as of the last look */
	char *rx_path;               /* what follows is kept when the device is closed */
	char *tx_path;
	struct json_object *counters; /* by name */
};

/*
 * One queue of a port, as one core works on it. Streams of different cores share no cache line.
 * Only the core writes while it runs; the main thread reads the counters.
 */
struct fwd_stream {
	fwd_round_fn *round;
	struct plx_eth_rxq *rxq;
	struct plx_eth_txq *txq;
	struct plx_pool_cache *cache; /* in front of the pool that its frames come from */
	struct fwd_stream *next;      /* of the same core */
	unsigned burst;
	unsigned retries;
	uint64_t tx_full; /* frames freed because the transmit ring had no room */
	uint64_t ignored; /* frames that asked for nothing that echo answers */
	uint64_t bursts[FWD_BURST_CLASSES];
	uint32_t offloads; /* of enum plx_eth_offload, that the way out has */
	struct fwd_port *in;
	struct fwd_port *out;
	char *error; /* why it ended its worker; to be read when that is stopped */
	uint32_t ip;
	uint16_t size;
	uint16_t headroom;
	uint8_t addresses[12]; /* destination and source of frames that leave */
} __attribute__((aligned(PLX_CACHE_LINE)));

/* Counted over all runs of a core's worker. */
struct fwd_sleeps {
	uint64_t sleeps;
	uint64_t wakeups; /* those that something ended before their bound */
	uint64_t missed;  /* those at whose bound frames were there that nobody told of */
};

/* How a core sleeps. Only the core writes while it runs, but for @ending. */
struct fwd_idle {
	enum fwd_idle_mode mode; /* FWD_IDLE_POLL: nothing below is in use */
	int epoll;
	int wake;          /* eventfd that the main thread ends a sleep by */
	bool ending;       /* atomic: sleep no more */
	bool in_vain;      /* the last sleep ended by its bound */
	unsigned bound;    /* of the next sleep, in milliseconds */
	uint64_t since;    /* nanoseconds: when frames stopped coming; 0: not known */
	uint64_t patience; /* nanoseconds to poll on after that */
	struct fwd_sleeps slept;
};

struct fwd_core {
	unsigned number;
	struct fwd_stream *streams;
	struct plx_worker *worker;
	struct fwd_idle idle;
} __attribute__((aligned(PLX_CACHE_LINE)));

struct fwd {
	struct fwd_options options;
	struct plx_context *ctx;
	unsigned ports;
	struct fwd_port *port;
	unsigned stream_count;
	struct fwd_stream *stream;
	unsigned cores;
	struct fwd_core *core;
	double began;   /* by clock_seconds() */
	double resumed; /* when the workers last started */
	double seconds;
	struct plx_worker_stats work;       /* of all cores */
	struct fwd_sleeps sleeps;           /* the same */
	uint64_t bursts[FWD_BURST_CLASSES]; /* of all streams */
	struct failure failure;
};

/* Does not return when something is wrong with the command line. */
void fwd_options_read(struct fwd_options *options, int argc, char **argv);
void fwd_options_free(struct fwd_options *options);

/* Open every device, give it a pool, and start it. Return: 0 or -errno, with plx_error(). */
int fwd_ports_open(struct fwd *fwd);
/* Open a device again that was closed, with the pools that it had. Return: as fwd_ports_open(). */
int fwd_port_reopen(struct fwd *fwd, struct fwd_port *port);
/* Stop every device, see that all packets are back, and close. Also after a failed open. */
void fwd_ports_close(struct fwd *fwd);

/* Look at the devices while the workers run. Return: whether one needs that they are stopped. */
bool fwd_supervise_look(struct fwd *fwd);
/*
 * The workers are stopped; why they were, and what is wrong with a device, is in @fwd. Bring
 * devices back if that was asked for. Return: whether to go on; otherwise a failure is noted, if
 * there was one.
 */
bool fwd_supervise_goes_on(struct fwd *fwd, const sigset_t *held);

/* Divide the queues among the cores. Return: 0 or -errno, with plx_error(). */
int fwd_streams_create(struct fwd *fwd);
void fwd_streams_destroy(struct fwd *fwd);
/* Send the frames of --tx-first. Return: 0 or -errno, with plx_error(). */
int fwd_streams_send_first(struct fwd *fwd);
/* A core's round, for plx_worker_start(); @arg is a struct fwd_core. */
int fwd_core_round(void *arg);

/* Before a core's worker starts. Return: 0 or -errno, with plx_error() or a failure in @fwd. */
int fwd_idle_begin(struct fwd *fwd, struct fwd_core *core);
/* Let it sleep no more, so that it can be stopped at once. */
void fwd_idle_wake(struct fwd_core *core);
/* Once it has stopped, or did not start. */
void fwd_idle_end(struct fwd_core *core);
/* As fwd_core_round(), for a core that may sleep. */
int fwd_idle_round(void *arg);

/* Make a valid UDP frame of @size bytes without its check sequence. @flow tells frames apart. */
void fwd_frame_build(uint8_t *frame, uint16_t size, const uint8_t addresses[12], uint16_t flow);
/* Turn an ARP or echo request to @ip into its answer. Return: whether it was one. */
bool fwd_frame_answer(struct plx_packet *packet, const uint8_t mac[6], uint32_t ip);

/* Let the checksum of a frame be made anew: by the device if @offloads has that, or at once. */
void fwd_frame_checksum(struct plx_packet *packet, uint32_t offloads);

/* Where live rates go, and whether that is a terminal that can be painted. */
struct fwd_live {
	FILE *out;
	bool paint;
	bool painted;
	double last; /* when the last look was taken */
};

void fwd_live_init(struct fwd_live *live, const struct fwd_options *options);
void fwd_live_show(struct fwd_live *live, struct fwd *fwd, double now);
/* Keep the figures of a device that is about to be closed and opened again. */
void fwd_stats_keep(struct fwd_port *port);
/* Take the closing figures, while the devices are open. */
void fwd_stats_take(struct fwd *fwd);
void fwd_stats_report(const struct fwd *fwd);

#endif
