/* SPDX-License-Identifier: BSD-3-Clause */
#include "embedding_port.h"

#include <cerrno>
#include <set>

/*
 * Pollux as a guest in a program: contexts, threads, and what it gives back. Run with the addresses
 * of two NICs that a hub joins, bound to vfio-pci.
 */

namespace
{

const std::vector<uint16_t> kSomeSizes = {60, 61, 64, 127, 128, 129, 500, 1000, 1513, 1514};

struct Pair : ::testing::Test {
	Port a, b;

	bool open(const Settings &settings = Settings())
	{
		return a.open_and_start(address_a, settings) &&
		       b.open_and_start(address_b, settings);
	}

	/* Whether the devices work, whatever came before. */
	void expect_traffic()
	{
		EXPECT_EQ(exchange(a, b, kSomeSizes).size(), kSomeSizes.size());
		EXPECT_EQ(exchange(b, a, kSomeSizes).size(), kSomeSizes.size());
	}
};

/* --- contexts and threads --- */

TEST_F(Pair, TwoContextsWithADeviceEachExchangeFrames)
{
	ASSERT_TRUE(open());
	expect_traffic();
	EXPECT_EQ(a.stats().rx_packets, kSomeSizes.size());
	EXPECT_EQ(a.stats().tx_packets, kSomeSizes.size());
	EXPECT_EQ(a.stats().rx_bytes, b.stats().tx_bytes);
	EXPECT_EQ(a.stats().rx_dropped + a.stats().tx_dropped, 0u);
}

TEST_F(Pair, OneContextWithBothDevicesExchangesFrames)
{
	plx_eth *second = nullptr;
	Settings settings;

	settings.pool.count = 4096;
	ASSERT_TRUE(a.open_and_start(address_a, settings));
	ASSERT_TRUE(DONE(plx_eth_open(a.ctx, address_b.c_str(), &second)));
	ASSERT_TRUE(DONE(plx_eth_configure(second, &a.settings.eth)));
	ASSERT_TRUE(DONE(plx_eth_start(second)));

	plx_packet *frame = a.make(next_label(100));
	ASSERT_TRUE(a.send({frame}));
	const auto deadline = std::chrono::steady_clock::now() + kPatience;
	int received = 0;

	while (!received && std::chrono::steady_clock::now() < deadline)
		received = plx_eth_rx_burst(plx_eth_rxq(second, 0), &frame, 1);
	EXPECT_EQ(received, 1);
	if (received == 1)
		plx_packet_free(frame);
	plx_eth_close(second);
}

TEST_F(Pair, OpenedUsedAndClosedAHundredTimesByTwoThreadsAtOnce)
{
	for (int i = 0; i < 100 && !HasFailure(); i++) {
		std::thread first([this] { EXPECT_TRUE(a.open_and_start(address_a)); });
		std::thread second([this] { EXPECT_TRUE(b.open_and_start(address_b)); });

		first.join();
		second.join();
		if (HasFailure())
			break;
		std::thread there([this] { exchange(a, b, {60, 1514}); });
		there.join();
		std::thread back([this] { exchange(b, a, {1514, 60}); });
		back.join();
		std::thread third([this] { a.close(); });
		std::thread fourth([this] { b.close(); });

		third.join();
		fourth.join();
	}
}

TEST_F(Pair, BothDirectionsAtOnceFromThreadsOfTheProgram)
{
	ASSERT_TRUE(open());
	constexpr int kFrames = 500;
	auto stream = [](Port &from, Port &to) {
		for (int i = 0; i < kFrames / 10 && !HasFailure(); i++)
			exchange(from, to, kSomeSizes);
	};
	/* A queue has one user at a time, and each of these four queues has one. */
	std::thread there(stream, std::ref(a), std::ref(b));

	stream(b, a);
	there.join();
	EXPECT_EQ(a.stats().tx_packets, (uint64_t)kFrames);
	EXPECT_EQ(b.stats().tx_packets, (uint64_t)kFrames);
}

TEST_F(Pair, AContextWithAnOpenDeviceIsNotDestroyed)
{
	ASSERT_TRUE(open());
	EXPECT_EQ(plx_context_destroy(a.ctx), -EBUSY);
	EXPECT_STRNE(plx_error(), "");
	expect_traffic();
	EXPECT_TRUE(a.stop());
	EXPECT_EQ(plx_context_destroy(a.ctx), -EBUSY);
	EXPECT_TRUE(a.start());
	expect_traffic();
}

TEST_F(Pair, APoolThatADeviceReceivesIntoIsNotDestroyed)
{
	ASSERT_TRUE(open());
	EXPECT_EQ(plx_pool_destroy(a.pool), -EBUSY);
	expect_traffic();
}

TEST_F(Pair, RingsOfSeveralSizesExchangeFrames)
{
	std::vector<uint16_t> sizes = {32, 64, 256};

	/* Sizes that are no power of two wrap at another place (virtio 1.4, 2.8.10.1). */
	if (is_packed())
		sizes = {33, 100, 255};
	for (uint16_t entries : sizes) {
		Settings settings;

		settings.eth.rx_ring = settings.eth.tx_ring = entries;
		ASSERT_TRUE(open(settings));
		for (int i = 0; i < 30; i++)
			expect_traffic();
		a.close();
		b.close();
	}
}

/* --- conservation --- */

TEST_F(Pair, AfterStopEveryPacketIsInItsPool)
{
	ASSERT_TRUE(open());
	expect_traffic();
	ASSERT_TRUE(a.stop());
	ASSERT_TRUE(b.stop());
	a.expect_all_packets_back();
	b.expect_all_packets_back();
}

TEST_F(Pair, StopWithBuffersInFlightReturnsEachOnce)
{
	ASSERT_TRUE(open());
	for (int i = 0; i < 10; i++) {
		std::vector<plx_packet *> frames;

		for (int n = 0; n < 100; n++)
			frames.push_back(a.make(next_label(1514)));
		ASSERT_TRUE(a.send(frames));
		/* In this order: first the sender in the middle of sending, then the receiver. */
		ASSERT_TRUE(i % 2 ? a.stop() && b.stop() : b.stop() && a.stop());
		a.expect_all_packets_back();
		b.expect_all_packets_back();
		ASSERT_TRUE(a.start());
		ASSERT_TRUE(b.start());
	}
	expect_traffic();
}

TEST_F(Pair, PacketsThatTheProgramHoldsStayItsOwnAcrossAStop)
{
	std::set<plx_packet *> held;
	plx_packet *packets[32];

	ASSERT_TRUE(open());
	ASSERT_EQ(plx_pool_get(a.cache, packets, 32), 32u);
	held.insert(packets, packets + 32);
	ASSERT_TRUE(a.stop());
	ASSERT_TRUE(a.start());
	expect_traffic();
	ASSERT_TRUE(a.stop());
	plx_pool_cache_destroy(a.cache);
	a.cache = nullptr;
	EXPECT_EQ(plx_pool_available(a.pool), plx_pool_count(a.pool) - 32);
	EXPECT_EQ(held.size(), 32u);
	plx_pool_return(packets, 32);
}

TEST_F(Pair, StartedAndStoppedFiftyTimes)
{
	ASSERT_TRUE(open());
	for (int i = 0; i < 50 && !HasFailure(); i++) {
		exchange(a, b, {60, 1514});
		ASSERT_TRUE(a.stop());
		a.expect_all_packets_back();
		ASSERT_TRUE(a.start());
		exchange(b, a, {1514, 60});
	}
}

TEST_F(Pair, CloseWithoutStopReturnsEverything)
{
	ASSERT_TRUE(open());
	expect_traffic();
	ASSERT_TRUE(a.send({a.make(next_label(1514)), a.make(next_label(60))}));
	/* The port itself looks whether its packets came back. */
	a.close();
	b.close();
	ASSERT_TRUE(open());
	expect_traffic();
}

/* --- frames of several segments --- */

TEST_F(Pair, FramesOfSeveralSegmentsArriveWhole)
{
	const std::vector<std::vector<uint16_t>> cuts = {
		{14}, {1}, {13, 1}, {60}, {100, 200, 300}, {1, 1, 1, 1, 1, 1, 1, 1}, {1513}};
	std::vector<plx_packet *> frames;
	std::vector<frame_label> labels;

	ASSERT_TRUE(open());
	for (const auto &cut : cuts) {
		labels.push_back(next_label(1514));
		frames.push_back(a.make(labels.back(), cut, plx_pool_headroom(a.pool)));
	}
	ASSERT_TRUE(a.send(frames));
	EXPECT_EQ(receive(b, labels).size(), labels.size());
	EXPECT_EQ(a.stats().tx_packets, labels.size());
	EXPECT_EQ(a.stats().tx_bytes, labels.size() * 1514);
}

TEST_F(Pair, AFrameOfThirtyTwoSegmentsArrivesWhole)
{
	ASSERT_TRUE(open());
	frame_label label = next_label(32 * 47);
	plx_packet *frame = a.make(label, std::vector<uint16_t>(32, 47), plx_pool_headroom(a.pool));

	ASSERT_EQ(frame->segments, 32);
	ASSERT_TRUE(a.send({frame}));
	EXPECT_EQ(receive(b, {label}).size(), 1u);
}

TEST_F(Pair, FramesWithoutHeadroomArriveWhole)
{
	std::vector<plx_packet *> frames;
	std::vector<frame_label> labels;

	ASSERT_TRUE(open());
	for (uint16_t headroom : {0, 1, 5, 11, 12, 13}) {
		for (const auto &cut : std::vector<std::vector<uint16_t>>{{}, {100, 100}}) {
			labels.push_back(next_label(1000));
			frames.push_back(a.make(labels.back(), cut, headroom));
		}
	}
	ASSERT_TRUE(a.send(frames));
	EXPECT_EQ(receive(b, labels).size(), labels.size());
}

struct SmallBuffers : Pair {
	/* The receiver's buffers hold so much that the longest frames need many. */
	bool open_small(uint16_t data_size)
	{
		Settings small;

		small.pool.data_size = data_size;
		small.pool.count = 4096;
		return a.open_and_start(address_a) && b.open_and_start(address_b, small);
	}

	void expect_chains(uint16_t data_size)
	{
		constexpr unsigned kHeader = 12; /* virtio 1.4, 5.1.6: struct virtio_net_hdr */
		std::vector<uint16_t> sizes = kSomeSizes;

		for (unsigned whole = 1; whole * data_size <= 1514; whole++)
			for (int more : {-1, 0, 1})
				sizes.push_back((uint16_t)(whole * data_size - kHeader + more));
		ASSERT_TRUE(open_small(data_size));
		/* One at a time: QEMU's hub changes the order of what has to wait for buffers. */
		for (uint16_t size : sizes) {
			auto arrivals = exchange(a, b, {size});

			ASSERT_EQ(arrivals.size(), 1u);
			EXPECT_EQ(
				arrivals[0].segments, (size + kHeader + data_size - 1) / data_size)
				<< size;
		}
		EXPECT_EQ(b.stats().rx_packets, sizes.size());
		EXPECT_EQ(b.stats().rx_dropped, 0u);
	}
};

TEST_F(SmallBuffers, BuffersOf256BytesTakeChains)
{
	expect_chains(256);
}

TEST_F(SmallBuffers, BuffersOf128BytesTakeChains)
{
	expect_chains(128);
}

TEST_F(SmallBuffers, AChainIsSentOnAsItCame)
{
	ASSERT_TRUE(open_small(256));
	const frame_label label = next_label(1514);
	const auto deadline = std::chrono::steady_clock::now() + kPatience;
	plx_packet *chain = nullptr;
	int received = 0;

	ASSERT_TRUE(a.send({a.make(label)}));
	while (!received && std::chrono::steady_clock::now() < deadline)
		received = plx_eth_rx_burst(plx_eth_rxq(b.eth, 0), &chain, 1);
	ASSERT_EQ(received, 1);
	ASSERT_GT(chain->segments, 1);
	ASSERT_TRUE(b.send({chain}));
	EXPECT_EQ(receive(a, {label}).size(), 1u);
}

TEST_F(SmallBuffers, ChainsUnderWayReturnToTheirPoolAtAStop)
{
	ASSERT_TRUE(open_small(256));
	for (int i = 0; i < 5; i++) {
		std::vector<plx_packet *> frames;

		for (int n = 0; n < 50; n++)
			frames.push_back(a.make(next_label(1514)));
		ASSERT_TRUE(a.send(frames));
		ASSERT_TRUE(b.stop());
		b.expect_all_packets_back();
		ASSERT_TRUE(b.start());
	}
	EXPECT_EQ(exchange(a, b, kSomeSizes).size(), kSomeSizes.size());
}

TEST_F(SmallBuffers, AreRefusedWhereFramesCannotBeSpread)
{
	Settings small;

	small.pool.data_size = 256;
	small.options = ",mrg_rxbuf=off";
	ASSERT_TRUE(DONE(plx_context_create(nullptr, &a.ctx)));
	ASSERT_TRUE(DONE(plx_pool_create(a.ctx, &small.pool, &a.pool)));
	ASSERT_TRUE(DONE(plx_eth_open(a.ctx, (address_a + small.options).c_str(), &a.eth)));
	small.eth.pool = a.pool;
	EXPECT_EQ(plx_eth_configure(a.eth, &small.eth), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("data_size"), std::string::npos) << plx_error();
}

/* --- frames that cannot be sent --- */

struct BadFrames : Pair {
	/* The frame is taken, counted under the name, and everything is back; the next one goes. */
	void expect_dropped(plx_packet *frame, const std::string &counter)
	{
		const uint64_t before = a.counter(counter);
		const plx_eth_stats stats = a.stats();

		EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(a.eth, 0), &frame, 1), 1);
		EXPECT_EQ(a.counter(counter), before + 1);
		EXPECT_EQ(a.stats().tx_dropped, stats.tx_dropped + 1);
		EXPECT_EQ(a.stats().tx_packets, stats.tx_packets);
		EXPECT_EQ(a.stats().tx_bytes, stats.tx_bytes);
		EXPECT_EQ(exchange(a, b, {100}).size(), 1u);
		ASSERT_TRUE(a.stop());
		a.expect_all_packets_back();
		ASSERT_TRUE(a.start());
	}

	/* Segments of 100 bytes, linked. */
	plx_packet *chain(unsigned segments)
	{
		plx_packet *first = nullptr, **link = &first;

		for (unsigned i = 0; i < segments; i++) {
			plx_packet *segment = a.take();

			memset(plx_packet_append(segment, 100), 0, 100);
			*link = segment;
			link = &segment->next;
		}
		first->segments = (uint16_t)segments;
		first->len = segments * 100;
		return first;
	}
};

TEST_F(BadFrames, AnEmptyOneIsDropped)
{
	ASSERT_TRUE(open());
	expect_dropped(a.take(), "tx0.drop.bad_segments");
}

TEST_F(BadFrames, OneWithAnEmptySegmentIsDropped)
{
	ASSERT_TRUE(open());
	plx_packet *frame = chain(3);

	frame->next->data_len = 0;
	frame->len = 200;
	expect_dropped(frame, "tx0.drop.bad_segments");
}

TEST_F(BadFrames, OneWithFewerSegmentsThanItSaysIsDropped)
{
	ASSERT_TRUE(open());
	plx_packet *frame = chain(3);

	frame->segments = 4;
	expect_dropped(frame, "tx0.drop.bad_segments");
}

TEST_F(BadFrames, OneWithMoreSegmentsThanItSaysIsDropped)
{
	ASSERT_TRUE(open());
	plx_packet *frame = chain(3), *last = frame->next->next;

	/* What is beyond the count is not the frame's, and stays the program's. */
	frame->segments = 2;
	plx_packet *sent = frame;
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(a.eth, 0), &sent, 1), 1);
	EXPECT_EQ(a.counter("tx0.drop.bad_segments"), 1u);
	plx_packet_free(last);
	ASSERT_TRUE(a.stop());
	a.expect_all_packets_back();
}

TEST_F(BadFrames, OneOfNoSegmentsIsDropped)
{
	ASSERT_TRUE(open());
	plx_packet *frame = chain(1);

	frame->segments = 0;
	expect_dropped(frame, "tx0.drop.bad_segments");
}

TEST_F(BadFrames, OneOfTooManySegmentsIsDropped)
{
	ASSERT_TRUE(open());
	expect_dropped(chain(33), "tx0.drop.bad_segments");
}

TEST_F(BadFrames, OneThatIsTooLongIsDropped)
{
	Settings large;

	large.pool.data_size = 4096;
	ASSERT_TRUE(open(large));
	plx_packet *frame = chain(17);

	frame->len = 0;
	for (plx_packet *segment = frame; segment; segment = segment->next) {
		segment->data_len = 4096;
		frame->len += 4096;
	}
	expect_dropped(frame, "tx0.drop.bad_length");
}

TEST_F(BadFrames, BetweenGoodOnesTheyDisturbNothing)
{
	std::vector<plx_packet *> frames;
	std::vector<frame_label> labels;

	ASSERT_TRUE(open());
	for (int i = 0; i < 20; i++) {
		labels.push_back(next_label(200));
		frames.push_back(a.make(labels.back()));
		frames.push_back(i % 2 ? a.take() : chain(33));
		if (frames.size() < 16)
			continue;
		ASSERT_TRUE(a.send(frames));
		frames.clear();
	}
	ASSERT_TRUE(a.send(frames));
	EXPECT_EQ(receive(b, labels).size(), labels.size());
	EXPECT_EQ(a.stats().tx_packets, 20u);
	EXPECT_EQ(a.stats().tx_dropped, 20u);
}

} // namespace

int main(int argc, char **argv)
{
	return test_two_nics(argc, argv);
}
