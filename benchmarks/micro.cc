/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest pieces by themselves, with Google Benchmark: a pool's get and put, and the
 * operations of a ring. A device in the same thread completes everything between them, outside the
 * time that is taken. Each figure is for a whole ring of 256 buffers, in bursts of 32; a rate is in
 * buffers a second.
 */
extern "C" {
#include "null_backend.h"

#include "mem/pool.h"
#include "virtio/handshake.h"
#include "virtio/virtq_ring.h"
}

#include <benchmark/benchmark.h>
#include <pollux/pollux.h>

#include <cstdio>
#include <cstdlib>

namespace
{

constexpr unsigned RING = 256;
constexpr unsigned BURST = 32;
constexpr unsigned BUFFER = 2048;

void must(int ret)
{
	if (ret >= 0)
		return;
	std::fprintf(stderr, "micro: %s\n", plx_error());
	std::exit(1);
}

/* --- the pool --- */

void pool_get_put(benchmark::State &state)
{
	struct plx_pool_config config = PLX_POOL_CONFIG_INIT;
	struct plx_packet *packets[PLX_POOL_CACHE_SIZE];
	const uint32_t count = static_cast<uint32_t>(state.range(0));
	struct plx_context *ctx;
	struct plx_pool *pool;
	struct plx_pool_cache *cache;

	must(plx_context_create(nullptr, &ctx));
	must(plx_pool_create(ctx, &config, &pool));
	must(plx_pool_cache_create(pool, &cache));
	for (auto _ : state) {
		benchmark::DoNotOptimize(plx_pool_get(cache, packets, count));
		benchmark::ClobberMemory();
		plx_pool_put(cache, packets, count);
	}
	state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * count);
	plx_pool_cache_destroy(cache);
	must(plx_pool_destroy(pool));
	must(plx_context_destroy(ctx));
}

/* --- a ring, with a device that completes everything when it is told to --- */

class Ring
{
      public:
	struct plx_virtq *queue = nullptr;

	explicit Ring(bool packed)
	{
		const struct plx_mem_config config = {0, 0, nullptr};

		must(plx_mem_create(&config, &mem));
		transport.name = "none";
		transport.queue_max = [](struct plx_virtio *, uint16_t) {
			return static_cast<uint16_t>(RING);
		};
		transport.queue_setup = [](struct plx_virtio *, const struct plx_virtio_queue *,
						struct plx_virtio_doorbell *doorbell) {
			static uint16_t bell;

			doorbell->window.address = reinterpret_cast<uint8_t *>(&bell);
			doorbell->window.size = sizeof(bell);
			return 0;
		};
		plx_virtio_init(&virtio, &transport, &plx_handshake_modern, VIRTIO_ID_NET, mem);
		plx_features_add(&virtio.negotiation.accepted, VIRTIO_F_VERSION_1);
		if (packed)
			plx_features_add(&virtio.negotiation.accepted, VIRTIO_F_RING_PACKED);
		must(plx_virtq_create(&virtio, 0, RING, RING, &queue));
		plx_virtq_set_room(queue, BUFFER);
		start_device(packed);
	}

	~Ring()
	{
		plx_virtq_disconnect(queue);
		plx_virtq_destroy(queue);
		(void)plx_mem_destroy(mem);
	}

	void complete()
	{
		while (ring_complete(&rings, 0))
			;
	}

      private:
	struct plx_virtio virtio = {};
	struct plx_virtio_transport transport = {};
	struct plx_mem *mem = nullptr;
	struct rings rings = {};

	void start_device(bool packed)
	{
		struct ring *ring = &rings.ring[0];

		rings.features = virtio.negotiation.accepted.word[0];
		rings.frame_size = 60;
		ring->size = RING;
		ring->avail_wrap = ring->used_wrap = true;
		ring->desc = packed ? static_cast<void *>(queue->packed.desc) : queue->split.desc;
		ring->driver = packed ? static_cast<void *>(queue->packed.driver_event)
				      : queue->split.avail;
		ring->device = packed ? static_cast<void *>(queue->packed.device_event)
				      : queue->split.used;
		ring_be_quiet(&rings, ring);
	}
};

/* What is timed of one turn, in which a whole ring of buffers goes to the device and comes back. */
enum class Timed { posting, taking };

double seconds(uint64_t cycles)
{
	static const double hz = [] {
		uint64_t ns = plx_now(), from = plx_cycles();

		while (plx_now() - ns < 20000000)
			;
		return static_cast<double>(plx_cycles() - from) /
		       (static_cast<double>(plx_now() - ns) / 1e9);
	}();

	return static_cast<double>(cycles) / hz;
}

template <typename Post, typename Take>
void turns(benchmark::State &state, bool packed, Timed timed, Post post, Take take)
{
	Ring ring(packed);

	for (auto _ : state) {
		uint64_t from = plx_cycles(), posted, start;

		for (unsigned i = 0; i < RING; i += BURST)
			post(ring.queue);
		posted = plx_cycles() - from;
		ring.complete();
		start = plx_cycles();
		for (unsigned i = 0; i < RING; i += BURST)
			take(ring.queue);
		state.SetIterationTime(
			seconds(timed == Timed::posting ? posted : plx_cycles() - start));
	}
	state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * RING);
}

/* One chain of one buffer after the other, as the receive path does it for odd frames. */
template <bool packed> void one_by_one(benchmark::State &state, Timed timed)
{
	auto add = [](struct plx_virtq *queue) {
		const struct plx_virtq_buffer buffer = {0x1000, BUFFER};

		for (unsigned i = 0; i < BURST; i++)
			plx_virtq_add(queue, &buffer, 0, 1, queue, packed);
		plx_virtq_publish(queue, packed);
	};
	auto pop = [](struct plx_virtq *queue) {
		uint32_t len;

		for (unsigned i = 0; i < BURST && plx_virtq_ready(queue, packed); i++)
			benchmark::DoNotOptimize(plx_virtq_pop(queue, &len, true, packed));
	};

	turns(state, packed, timed, add, pop);
}

/* A run of buffers at a time. */
template <bool packed> void in_runs(benchmark::State &state, Timed timed)
{
	struct plx_virtq_buffer buffers[BURST];
	void *cookies[BURST];

	for (unsigned i = 0; i < BURST; i++) {
		buffers[i] = {0x1000 + UINT64_C(2048) * i, BUFFER};
		cookies[i] = &buffers[i];
	}
	auto post = [&](struct plx_virtq *queue) {
		struct plx_virtq_run run = plx_virtq_begin_run(queue, packed);

		for (unsigned i = 0; i < BURST; i++)
			plx_virtq_put(&run, i, cookies[i], buffers[i], true, packed);
		plx_virtq_end_run(queue, &run, BURST, true, packed);
		plx_virtq_publish(queue, packed);
	};
	auto take = [](struct plx_virtq *queue) {
		void *taken[BURST];
		uint32_t len[BURST];
		bool odd;

		benchmark::DoNotOptimize(
			plx_virtq_take(queue, taken, len, BURST, true, &odd, packed, false));
	};

	turns(state, packed, timed, post, take);
}

constexpr auto one_by_one_split = one_by_one<false>, one_by_one_packed = one_by_one<true>;
constexpr auto in_runs_split = in_runs<false>, in_runs_packed = in_runs<true>;

BENCHMARK(pool_get_put)->Arg(8)->Arg(32)->Arg(64);
BENCHMARK_CAPTURE(one_by_one_split, add, Timed::posting)->UseManualTime();
BENCHMARK_CAPTURE(one_by_one_split, pop, Timed::taking)->UseManualTime();
BENCHMARK_CAPTURE(one_by_one_packed, add, Timed::posting)->UseManualTime();
BENCHMARK_CAPTURE(one_by_one_packed, pop, Timed::taking)->UseManualTime();
BENCHMARK_CAPTURE(in_runs_split, post, Timed::posting)->UseManualTime();
BENCHMARK_CAPTURE(in_runs_split, take, Timed::taking)->UseManualTime();
BENCHMARK_CAPTURE(in_runs_packed, post, Timed::posting)->UseManualTime();
BENCHMARK_CAPTURE(in_runs_packed, take, Timed::taking)->UseManualTime();

} // namespace

BENCHMARK_MAIN();
