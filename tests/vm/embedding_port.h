/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_VM_EMBEDDING_PORT_H
#define TESTS_VM_EMBEDDING_PORT_H

#include "../count.h"
#include "frame.h"

#include <gtest/gtest.h>
#include <pollux/pollux.h>

#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

/*
 * Pollux as a program has it that embeds it: public headers, and a device in a context of its own.
 * Two such ports are joined by a wire, and speak in numbered frames.
 */

/* The two NICs, joined by a hub; with options of the address. */
inline std::string address_a, address_b;

inline bool is_packed()
{
	return address_a.find("packed=on") != std::string::npos;
}

/* For what takes milliseconds: a busy host is no failure. */
constexpr std::chrono::seconds kPatience(60);

struct Settings {
	std::string options; /* of the address */
	plx_pool_config pool = PLX_POOL_CONFIG_INIT;
	plx_eth_config eth = PLX_ETH_CONFIG_INIT;

	Settings()
	{
		pool.count = 1024;
		eth.rx_ring = eth.tx_ring = 128;
	}
};

/*
 * Whether a call succeeded; otherwise the test has failed, for the reason that the library gives.
 */
inline bool done(int result, const char *call)
{
	if (result >= 0)
		return true;
	ADD_FAILURE() << call << " returned " << result << ": " << plx_error();
	return false;
}

#define DONE(call) done((call), #call)

/* A context with a pool, a device, and a cache for the frames to send. */
struct Port {
	plx_context *ctx = nullptr;
	plx_pool *pool = nullptr;
	plx_pool_cache *cache = nullptr;
	plx_eth *eth = nullptr;
	Settings settings;

	Port() = default;
	Port(const Port &) = delete;
	Port &operator=(const Port &) = delete;

	~Port()
	{
		close();
	}

	/* Up to a device that is configured. */
	bool open(const std::string &address, const Settings &with = Settings())
	{
		settings = with;
		if (!DONE(plx_context_create(nullptr, &ctx)) ||
			!DONE(plx_pool_create(ctx, &settings.pool, &pool)) ||
			!DONE(plx_eth_open(ctx, (address + settings.options).c_str(), &eth)))
			return false;
		settings.eth.pool = pool;
		return DONE(plx_eth_configure(eth, &settings.eth)) &&
		       DONE(plx_pool_cache_create(pool, &cache));
	}

	bool start()
	{
		return DONE(plx_eth_start(eth));
	}

	bool open_and_start(const std::string &address, const Settings &with = Settings())
	{
		return open(address, with) && start();
	}

	bool stop()
	{
		return DONE(plx_eth_stop(eth));
	}

	void close()
	{
		plx_eth_close(eth);
		plx_pool_cache_destroy(cache);
		if (pool) {
			EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
		}
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
		eth = nullptr;
		cache = nullptr;
		pool = nullptr;
		ctx = nullptr;
	}

	/* Whether every packet is in the pool, where nobody but a stopped device had one. */
	void expect_all_packets_back()
	{
		plx_pool_cache_destroy(cache);
		cache = nullptr;
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
		EXPECT_TRUE(DONE(plx_pool_cache_create(pool, &cache)));
	}

	/* An empty packet. */
	plx_packet *take(uint16_t headroom)
	{
		plx_packet *packet = nullptr;

		if (plx_pool_get(cache, &packet, 1) != 1) {
			ADD_FAILURE() << "the pool is empty";
			return nullptr;
		}
		plx_packet_prepare(packet, headroom);
		return packet;
	}

	plx_packet *take()
	{
		return take(plx_pool_headroom(pool));
	}

	/*
	 * A frame of segments of the given sizes, the last of which goes on as far as is needed;
	 * a segment holds @headroom bytes of headroom.
	 */
	plx_packet *make(
		const frame_label &label, const std::vector<uint16_t> &sizes, uint16_t headroom)
	{
		uint8_t data[FRAME_MAX];
		plx_packet *first = nullptr, **link = &first;
		size_t at = 0, piece = 0;

		frame_build(data, &label);
		while (at < label.size) {
			size_t left = label.size - at;
			size_t size = piece < sizes.size() ? sizes[piece] : left;
			plx_packet *segment = take(headroom);
			uint8_t *room;

			if (!segment)
				break;
			size = std::min(
				{size, left, (size_t)(segment->buf_len - segment->data_off)});
			room = plx_packet_append(segment, (uint16_t)size);
			memcpy(room, data + at, size);
			at += size;
			piece++;
			*link = segment;
			link = &segment->next;
		}
		if (first) {
			first->len = label.size;
			first->segments = (uint16_t)piece;
		}
		return first;
	}

	plx_packet *make(const frame_label &label)
	{
		return make(label, {}, plx_pool_headroom(pool));
	}

	/* Send all; a ring that is full makes us try again. */
	bool send(std::vector<plx_packet *> frames)
	{
		const auto deadline = std::chrono::steady_clock::now() + kPatience;
		size_t sent = 0;

		while (sent < frames.size()) {
			int taken = plx_eth_tx_burst(plx_eth_txq(eth, 0), &frames[sent],
				(unsigned)(frames.size() - sent));

			if (!done(taken, "plx_eth_tx_burst"))
				return false;
			sent += (size_t)taken;
			if (std::chrono::steady_clock::now() > deadline) {
				ADD_FAILURE() << "the ring stays full";
				return false;
			}
		}
		return true;
	}

	uint64_t counter(const std::string &name)
	{
		return counter_of(eth, name);
	}

	plx_eth_stats stats()
	{
		plx_eth_stats stats;

		plx_eth_get_stats(eth, &stats);
		return stats;
	}
};

/* What a test sends: no two have the same number, so that what comes late is told apart. */
inline frame_label next_label(uint16_t size, uint8_t port = 0)
{
	static uint32_t run;
	frame_label label = {};

	label.run = __atomic_add_fetch(&run, 1, __ATOMIC_RELAXED);
	label.number = label.run;
	label.size = size;
	label.port = port;
	return label;
}

/* One frame that arrived. */
struct Arrival {
	frame_label label;
	unsigned segments;
	std::vector<uint8_t> data;
};

/* Take a frame apart as the documentation describes it. */
inline Arrival dissect(const plx_packet *packet, uint16_t data_size)
{
	Arrival arrival = {};
	const plx_packet *segment = packet;

	for (; segment; segment = segment->next) {
		EXPECT_GT(segment->data_len, 0);
		EXPECT_LE(segment->data_len, data_size);
		EXPECT_LE(segment->data_off + segment->data_len, segment->buf_len);
		arrival.data.insert(arrival.data.end(), plx_packet_data(segment),
			plx_packet_data(segment) + segment->data_len);
		arrival.segments++;
	}
	EXPECT_EQ(packet->len, arrival.data.size());
	EXPECT_EQ(packet->segments, arrival.segments);
	return arrival;
}

/*
 * Receive until frames with all of the labels have come, in that order. What came late from before
 * is passed over; anything else is a failure.
 */
inline std::vector<Arrival> receive(Port &port, const std::vector<frame_label> &labels)
{
	const auto deadline = std::chrono::steady_clock::now() + kPatience;
	std::vector<Arrival> arrivals;

	while (arrivals.size() < labels.size()) {
		plx_packet *packets[16];
		int received = plx_eth_rx_burst(plx_eth_rxq(port.eth, 0), packets, 16);

		if (!done(received, "plx_eth_rx_burst"))
			return arrivals;
		for (int i = 0; i < received; i++) {
			Arrival arrival = dissect(packets[i], plx_pool_data_size(port.pool));

			plx_packet_free(packets[i]);
			EXPECT_EQ(frame_read(arrival.data.data(), (uint32_t)arrival.data.size(),
					  &arrival.label),
				FRAME_GOOD);
			if (arrival.label.run < labels[0].run)
				continue;
			if (arrivals.size() == labels.size()) {
				ADD_FAILURE() << "more came than was sent";
				return arrivals;
			}
			EXPECT_EQ(arrival.label.run, labels[arrivals.size()].run);
			EXPECT_EQ(arrival.label.size, labels[arrivals.size()].size);
			arrivals.push_back(arrival);
		}
		if (std::chrono::steady_clock::now() > deadline) {
			ADD_FAILURE() << arrivals.size() << " of " << labels.size()
				      << " frames have come";
			return arrivals;
		}
	}
	return arrivals;
}

/* Send frames of the sizes and see them arrive. */
inline std::vector<Arrival> exchange(Port &from, Port &to, const std::vector<uint16_t> &sizes)
{
	std::vector<plx_packet *> frames;
	std::vector<frame_label> labels;

	for (uint16_t size : sizes) {
		labels.push_back(next_label(size));
		frames.push_back(from.make(labels.back()));
	}
	if (!from.send(frames))
		return {};
	return receive(to, labels);
}

/* What is left for main(). */
inline int test_two_nics(int argc, char **argv)
{
	::testing::InitGoogleTest(&argc, argv);
	if (argc != 3) {
		fprintf(stderr, "give the addresses of two NICs\n");
		return 2;
	}
	address_a = argv[1];
	address_b = argv[2];
	return RUN_ALL_TESTS();
}

#endif
