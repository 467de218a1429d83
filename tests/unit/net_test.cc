/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

extern "C" {
#include "base/wide.h"
}

/* What the network driver does with frames and buffers, on a card that keeps to the standard. */

namespace
{

enum Layout { SPLIT, PACKED, LEGACY };

/* How the card and the driver may agree; each case runs under all of them. */
struct Variant {
	const char *name;
	const char *options; /* of the driver */
	bool in_order;
	bool event_idx;
	uint16_t data_size;
	Layout layout;
	bool any_layout; /* of the legacy interface: the header may lie with the frame */
};

class Net : public NetFixture, public ::testing::WithParamInterface<Variant>
{
      protected:
	void SetUp() override
	{
		NetFixture::SetUp();
		plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, GetParam().in_order);
		plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, GetParam().event_idx);
		plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, GetParam().any_layout);
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam().layout == PACKED);
		if (GetParam().layout == LEGACY)
			config.interface = PLX_EMU_TRANSITIONAL;
		pool_config.data_size = GetParam().data_size;
		start(GetParam().options);
		if (HasFatalFailure())
			return;
	}
};

TEST_P(Net, SendsFramesOfEverySizeUnaltered)
{
	for (size_t size = 60; size <= 1514; size++) {
		std::vector<size_t> pieces;
		auto frame = make_frame(size, (unsigned)size);

		for (size_t left = size; left;) {
			pieces.push_back(std::min<size_t>(left, pool_config.data_size));
			left -= pieces.back();
		}
		ASSERT_EQ(send(build(frame, pieces)), 1) << plx_error();
		step();
		ASSERT_EQ(sent(), frame);
	}
	EXPECT_EQ(counter("tx0.packets"), 1455u);
}

TEST_P(Net, ReceivesFramesOfEverySizeUnaltered)
{
	for (size_t size = 60; size <= 1514; size++) {
		auto frame = make_frame(size, (unsigned)size);

		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), size), 0);
		step();
		auto frames = receive();
		ASSERT_EQ(frames.size(), 1u) << size;
		ASSERT_EQ(frames[0], frame);
	}
	EXPECT_EQ(counter("rx0.packets"), 1455u);
}

/* They came back shorter by the header, since that had moved out of the data. */
TEST_P(Net, BuffersAreAsLongAfterTheyWereReceivedInto)
{
	auto frame = make_frame(100, 1);
	struct plx_packet *packets[20];
	int received = 0;

	for (unsigned i = 0; i < 20; i++)
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	while (received < 20) {
		int n = plx_eth_rx_burst(rxq(), packets + received, 20 - (unsigned)received);

		ASSERT_GT(n, 0);
		received += n;
	}
	for (struct plx_packet *packet : packets) {
		EXPECT_EQ(packet->buf_len, pool_config.headroom + pool_config.data_size);
		plx_packet_free(packet);
	}
}

TEST_P(Net, ReceivesBurstsInOrderWithoutLoss)
{
	unsigned next = 0, seen = 0;

	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < round % 40; i++, next++) {
			auto frame = make_frame(60 + next % 1000, next);
			ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		}
		step();
		for (auto &frame : receive(1 + round % 32)) {
			ASSERT_EQ(frame, make_frame(60 + seen % 1000, seen));
			seen++;
		}
		step();
	}
	for (auto &frame : receive()) {
		ASSERT_EQ(frame, make_frame(60 + seen % 1000, seen));
		seen++;
	}
	EXPECT_EQ(seen, next);
}

TEST_P(Net, SendsChainsAsOneFrame)
{
	auto frame = make_frame(200, 5);

	ASSERT_EQ(send(build(frame, {14, 1, 85, 100})), 1);
	step();
	EXPECT_EQ(sent(), frame);
}

/* One buffer's frame begins where the headroom ends, if the header in front of it finds room. */
TEST_F(NetFixture, PlacesTheHeaderInTheHeadroom)
{
	const int header = 12;

	for (uint16_t headroom : {0, 11, 12, 64, 128}) {
		for (bool merge : {false, true}) {
			auto frame = make_frame(100, headroom);
			struct plx_packet *packet;

			pool_config.headroom = headroom;
			start(merge ? ",mrg_rxbuf=on" : "");
			ASSERT_FALSE(HasFatalFailure());
			ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
			step();
			ASSERT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), 1);
			EXPECT_EQ(packet->data_off,
				merge || headroom < header ? headroom + header : headroom);
			EXPECT_EQ(bytes_of(packet), frame);
			plx_packet_free(packet);
			close();
			EXPECT_EQ(plx_pool_destroy(pool), 0);
			pool = nullptr;
		}
	}
}

TEST_P(Net, SendsFramesThatHaveNoHeadroom)
{
	auto frame = make_frame(100, 9);

	ASSERT_EQ(send(build(frame, {}, 0)), 1);
	ASSERT_EQ(send(build(frame, {40, 60}, 11)), 1);
	step();
	EXPECT_EQ(sent(), frame);
	EXPECT_EQ(sent(), frame);
}

TEST_P(Net, TakesNoMoreThanTheRingHolds)
{
	std::vector<struct plx_packet *> packets;
	auto frame = make_frame(60, 1);
	int taken;

	plx_emu_hold(card, 1, true);
	for (unsigned i = 0; i < 300; i++)
		packets.push_back(build(frame));
	taken = plx_eth_tx_burst(txq(), packets.data(), 300);
	EXPECT_GT(taken, 0);
	EXPECT_LE(taken, 256);
	EXPECT_EQ(counter("tx0.full"), 1u);
	for (size_t i = (size_t)taken; i < packets.size(); i++)
		plx_packet_free(packets[i]);
	plx_emu_hold(card, 1, false);
	step();
	for (int i = 0; i < taken; i++)
		ASSERT_EQ(sent(), frame);
	EXPECT_EQ(send(build(frame)), 1) << "there is room again";
}

TEST_P(Net, ABurstOfNoFramesFreesWhatWasSent)
{
	struct plx_pool *queues = pool, *others;

	/* Of another pool nothing is kept. */
	ASSERT_EQ(plx_pool_create(ctx, &pool_config, &others), 0) << plx_error();
	pool = others;
	for (unsigned i = 0; i < 100; i++)
		ASSERT_EQ(send(build(make_frame(60, i))), 1);
	step();
	EXPECT_EQ(plx_pool_available(others), plx_pool_count(others) - 100);
	EXPECT_EQ(plx_eth_tx_burst(txq(), nullptr, 0), 0);
	expect_all_back();
	EXPECT_EQ(plx_pool_destroy(others), 0) << plx_error();
	pool = queues;
}

/* Each port of a bridge sends what others' pools lent it, in turns. */
TEST_P(Net, SendsFramesOfTwoPoolsInTurns)
{
	struct plx_pool *pools[] = {pool, nullptr};

	ASSERT_EQ(plx_pool_create(ctx, &pool_config, &pools[1]), 0) << plx_error();
	for (unsigned i = 0; i < 2000; i++) {
		pool = pools[i / 3 % 2];
		auto frame = make_frame(60 + i % 100, i);
		std::vector<struct plx_packet *> burst;

		for (unsigned j = 0; j < 1 + i % 20; j++) {
			/* Now and then they come mixed. */
			pool = pools[(i / 3 + (i % 7 == 0 && j > 2)) % 2];
			burst.push_back(build(frame));
		}
		ASSERT_EQ(plx_eth_tx_burst(txq(), burst.data(), (unsigned)burst.size()),
			(int)burst.size());
		if (i % 2)
			step();
		while (i % 2 && !sent().empty())
			;
	}
	step();
	ASSERT_EQ(plx_eth_stop(eth), 0);
	for (struct plx_pool *one : pools) {
		pool = one;
		expect_all_back();
	}
	EXPECT_EQ(plx_pool_destroy(pools[1]), 0) << plx_error();
	pool = pools[0];
}

/* One frame of the port's own in a ring that never ran empty kept all others out of runs. */
TEST_F(NetFixture, APoolThatAllIsSentFromGetsTheQueuesCache)
{
	struct plx_pool *own, *others;

	for (bool packed : {false, true}) {
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, packed);
		start();
		ASSERT_FALSE(HasFatalFailure());
		own = pool;
		ASSERT_EQ(plx_pool_create(ctx, &pool_config, &others), 0) << plx_error();
		ASSERT_EQ(send(build(make_frame(60, 1))), 1);
		pool = others;
		for (unsigned i = 0; i < 1000; i++) {
			ASSERT_EQ(send(build(make_frame(60, 1))), 1);
			step();
			(void)sent();
		}
		EXPECT_EQ(plx_pool_destroy(others), -EBUSY);
		expect_error("has 1 caches");
		ASSERT_EQ(plx_eth_stop(eth), 0);
		expect_all_back();
		pool = own;
		expect_all_back();
		EXPECT_EQ(plx_pool_destroy(others), 0) << plx_error();
		close();
	}
}

TEST_P(Net, FramesThatCannotBeSentAreDroppedAndCounted)
{
	auto frame = make_frame(60, 1);
	struct plx_packet *empty = build(frame), *hole = build(frame, {30, 15, 15});
	struct plx_packet *lied = build(frame, {30, 30}), *unended = build(frame, {30, 30});

	empty->data_len = 0;
	hole->next->data_len = 0;
	lied->segments = 3;
	EXPECT_EQ(send(empty), 1);
	EXPECT_EQ(send(hole), 1);
	EXPECT_EQ(send(lied), 1);
	/* One segment says it is the last and is not: only what it speaks of is its own. */
	struct plx_packet *rest = unended->next;
	unended->segments = 1;
	unended->data_len = 0;
	EXPECT_EQ(send(unended), 1);
	plx_packet_free(rest);
	EXPECT_EQ(send(build(make_frame(1515, 1),
			  GetParam().data_size < 1515
				  ? std::vector<size_t>{200, 200, 200, 200, 200, 200, 200, 115}
				  : std::vector<size_t>{1515})),
		1);
	step();
	EXPECT_TRUE(sent().empty());
	EXPECT_EQ(counter("tx0.drop.bad_segments"), 4u);
	EXPECT_EQ(counter("tx0.drop.bad_length"), 1u);
	EXPECT_EQ(counter("tx0.packets"), 0u);
	plx_eth_stop(eth);
	expect_all_back();
}

/* Alone it was dropped, and in a run it was sent. */
TEST_P(Net, FrameOfOneSegmentMayHoldALinkFromItsLastLife)
{
	auto frame = make_frame(60, 1);

	for (uint16_t headroom : {0, 128}) {
		struct plx_packet *packet = build(frame, {}, headroom), *other = build(frame);

		packet->next = other;
		EXPECT_EQ(plx_eth_tx_prepare(txq(), &packet, 1), 1) << plx_error();
		ASSERT_EQ(send(packet), 1);
		step();
		EXPECT_EQ(sent(), frame) << headroom;
		plx_packet_free(other);
	}
	plx_eth_stop(eth);
	expect_all_back();
}

TEST_P(Net, TaggedFramesMayBeFourBytesLonger)
{
	if (GetParam().data_size < 1518)
		return;
	auto frame = make_frame(1518, 3);

	frame[12] = 0x81;
	frame[13] = 0x00;
	EXPECT_EQ(send(build(frame)), 1);
	step();
	EXPECT_EQ(sent(), frame);
}

TEST_P(Net, StopGivesEveryBufferBackOnce)
{
	for (unsigned round = 0; round < 20; round++) {
		auto frame = make_frame(60, round);

		plx_emu_hold(card, 1, true);
		for (unsigned i = 0; i < 100; i++)
			ASSERT_EQ(send(build(frame)), 1);
		for (unsigned i = 0; i < 10 * round; i++)
			plx_emu_inject(card, 0, frame.data(), frame.size());
		step();
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		struct plx_packet *none;
		EXPECT_EQ(plx_eth_rx_burst(rxq(), &none, 1), -ESHUTDOWN);
		EXPECT_EQ(plx_eth_tx_burst(txq(), &none, 1), -ESHUTDOWN);
		plx_emu_hold(card, 1, false);
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		step();
	}
}

TEST_P(Net, CountersOutliveAStopAndBeginAnewWithAStart)
{
	uint64_t kicks;

	ASSERT_EQ(send(build(make_frame(60, 1))), 1);
	step();
	kicks = counter("tx0.kicks");
	EXPECT_GT(kicks, 0u);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(counter("tx0.kicks"), kicks);
	EXPECT_EQ(counter("tx0.packets"), 1u);
	EXPECT_EQ(counter("tx0.broken"), 0u);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_EQ(counter("tx0.kicks"), 0u);
	EXPECT_EQ(counter("tx0.packets"), 0u);
}

TEST_P(Net, TrafficGoesOnAfterARestart)
{
	for (unsigned round = 0; round < 5; round++) {
		auto frame = make_frame(300, round);

		ASSERT_EQ(send(build(frame, {100, 200})), 1);
		plx_emu_inject(card, 0, frame.data(), frame.size());
		step();
		ASSERT_EQ(sent(), frame);
		ASSERT_EQ(receive(), std::vector<std::vector<uint8_t>>{frame});
		ASSERT_EQ(plx_eth_stop(eth), 0);
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
}

TEST_P(Net, EmptyPoolCostsFramesAndNothingElse)
{
	std::vector<struct plx_packet *> held(pool_config.count);
	struct plx_pool_cache *cache;
	auto frame = make_frame(60, 1);
	unsigned taken = 0;

	ASSERT_EQ(plx_pool_cache_create(pool, &cache), 0);
	while (plx_pool_get(cache, &held[taken], 1))
		taken++;
	for (unsigned i = 0; i < 3000; i++) {
		(void)plx_emu_inject(card, 0, frame.data(), frame.size());
		step();
		for (auto &got : receive())
			ASSERT_EQ(got, frame);
	}
	for (unsigned i = 0; i < taken; i++)
		plx_pool_put(cache, &held[i], 1);
	plx_pool_cache_destroy(cache);
	for (unsigned i = 0; i < 100; i++) {
		(void)receive();
		step();
	}
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	EXPECT_EQ(receive().size(), 1u);
	plx_eth_stop(eth);
	expect_all_back();
}

/* Options, IN_ORDER, EVENT_IDX, bytes of a packet, layout, ANY_LAYOUT. */
const Variant variants[] = {
	{"split", "", false, false, 2048, SPLIT, false},
	{"split_event_idx", "", false, true, 2048, SPLIT, false},
	{"split_merged", ",mrg_rxbuf=on", false, true, 2048, SPLIT, false},
	{"split_merged_small", "", false, true, 256, SPLIT, false},
	{"split_in_order", "", true, false, 2048, SPLIT, false},
	{"split_narrow", ",simd=off", false, false, 2048, SPLIT, false},
	{"split_event_idx_narrow", ",simd=off", false, true, 2048, SPLIT, false},
	{"split_in_order_narrow", ",simd=off", true, false, 2048, SPLIT, false},
	{"packed", "", false, false, 2048, PACKED, false},
	{"packed_event_idx", "", false, true, 2048, PACKED, false},
	{"packed_merged", ",mrg_rxbuf=on", false, true, 2048, PACKED, false},
	{"packed_merged_small", "", false, true, 256, PACKED, false},
	{"packed_in_order", "", true, false, 2048, PACKED, false},
	{"packed_narrow", ",simd=off", false, false, 2048, PACKED, false},
	{"packed_event_idx_narrow", ",simd=off", false, true, 2048, PACKED, false},
	{"packed_in_order_narrow", ",simd=off", true, false, 2048, PACKED, false},
	{"legacy", ",legacy=on", false, false, 2048, LEGACY, true},
	{"legacy_narrow", ",legacy=on,simd=off", false, false, 2048, LEGACY, true},
	{"legacy_event_idx", ",legacy=on", false, true, 2048, LEGACY, true},
	{"legacy_merged", ",legacy=on,mrg_rxbuf=on", false, true, 2048, LEGACY, true},
	{"legacy_merged_small", ",legacy=on", false, false, 256, LEGACY, true},
	{"legacy_apart", ",legacy=on", false, false, 2048, LEGACY, false},
	{"legacy_apart_event_idx", ",legacy=on", false, true, 2048, LEGACY, false},
	{"legacy_apart_merged", ",legacy=on,mrg_rxbuf=on", false, true, 2048, LEGACY, false},
	{"legacy_apart_merged_small", ",legacy=on", false, true, 256, LEGACY, false},
};

INSTANTIATE_TEST_SUITE_P(Layouts, Net, ::testing::ValuesIn(variants),
	[](const auto &info) { return std::string(info.param.name); });

/* --- configuration --- */

class NetConfig : public NetFixture
{
      protected:
	void SetUp() override
	{
		NetFixture::SetUp();
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, false);
	}
};

/* A path by what was agreed on, whatever the CPU has to offer for it. */
static std::string narrow(const std::string &path)
{
	return path.substr(0, path.find(", AVX-512"));
}

TEST_F(NetConfig, MergingIsDeclinedWhenAFrameFitsOneBuffer)
{
	struct plx_eth_info info;

	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(narrow(info.rx_path), "split, one buffer, in order");
	EXPECT_EQ(narrow(info.tx_path), "split, in order, indirect");
}

TEST_F(NetConfig, OrderIsNotBuiltOnWithoutAPromise)
{
	struct plx_eth_info info;

	plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false);
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(narrow(info.rx_path), "split, one buffer");
	EXPECT_EQ(narrow(info.tx_path), "split, indirect");
}

TEST_F(NetConfig, PathForWideRegistersIsTakenWhereTheCpuHasThemUnlessTheUserForbidsIt)
{
	struct plx_eth_info info;

	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::string(info.rx_path) != narrow(info.rx_path), plx_cpu_is_wide());
	EXPECT_EQ(std::string(info.tx_path) != narrow(info.tx_path), plx_cpu_is_wide());
	close();
	start(",simd=off");
	plx_eth_get_info(eth, &info);
	EXPECT_STREQ(info.rx_path, "split, one buffer, in order");
	EXPECT_STREQ(info.tx_path, "split, in order, indirect");
	close();
	EXPECT_EQ(try_open(",simd=on"), -EINVAL);
}

TEST_F(NetConfig, PackedRingIsUsedWhereItIsOffered)
{
	struct plx_eth_info info;

	plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, true);
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(narrow(info.rx_path), "packed, one buffer, in order");
	EXPECT_EQ(narrow(info.tx_path), "packed, in order, indirect");
}

TEST_F(NetConfig, MergingIsUsedWhenAFrameDoesNotFit)
{
	struct plx_eth_info info;

	pool_config.data_size = 1024;
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_STREQ(info.rx_path, "split, mergeable, in order");
}

TEST_F(NetConfig, BuffersTooSmallWithoutMergingAreRefusedWithTheSize)
{
	pool_config.data_size = 1024;
	plx_emu_config_offer(&config, VIRTIO_NET_F_MRG_RXBUF, false);
	ASSERT_EQ(try_open(), 0);
	EXPECT_EQ(try_configure(), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("data_size 1530"), std::string::npos)
		<< plx_error();
}

TEST_F(NetConfig, RingThatIsNotOfferedIsRefused)
{
	ASSERT_EQ(try_open(), 0);
	for (uint16_t ring : {512, 100}) {
		eth_config.rx_ring = ring;
		EXPECT_EQ(try_configure(), -EINVAL);
		EXPECT_NE(std::string(plx_error()).find("256"), std::string::npos) << plx_error();
	}
}

TEST_F(NetConfig, PoolTooSmallForTheRingIsRefusedAndNothingIsLost)
{
	pool_config.count = 100;
	ASSERT_EQ(try_open(), 0);
	ASSERT_EQ(try_configure(), 0);
	EXPECT_EQ(plx_eth_start(eth), -ENOBUFS);
	expect_all_back();
	eth_config.rx_ring = 64;
	ASSERT_EQ(try_configure(), 0);
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
}

TEST_F(NetConfig, PoolOfAnotherContextIsRefused)
{
	struct plx_context_config ctx_config = PLX_CONTEXT_CONFIG_INIT;
	struct plx_context *other;
	struct plx_pool *stranger;

	ctx_config.page_size = 4096;
	ASSERT_EQ(plx_context_create(&ctx_config, &other), 0);
	ASSERT_EQ(plx_pool_create(other, nullptr, &stranger), 0);
	ASSERT_EQ(try_open(), 0);
	eth_config.pool = stranger;
	EXPECT_EQ(plx_eth_configure(eth, &eth_config), -EINVAL);
	EXPECT_EQ(plx_pool_destroy(stranger), 0);
	EXPECT_EQ(plx_context_destroy(other), 0);
}

TEST_F(NetConfig, CallsOutOfOrderAreRefused)
{
	ASSERT_EQ(try_open(), 0);
	EXPECT_EQ(plx_eth_start(eth), -EINVAL);
	EXPECT_EQ(plx_eth_stop(eth), 0) << "stopping what is stopped is no error";
	ASSERT_EQ(try_configure(), 0);
	ASSERT_EQ(plx_eth_start(eth), 0);
	EXPECT_EQ(plx_eth_start(eth), -EBUSY);
	EXPECT_EQ(try_configure(), -EBUSY);
	EXPECT_EQ(plx_eth_rxq(eth, 1), nullptr);
	EXPECT_EQ(plx_context_destroy(ctx), -EBUSY);
}

TEST_F(NetConfig, DeviceWithoutAccessPlatformIsRefusedWithTheRemedy)
{
	plx_emu_config_offer(&config, VIRTIO_F_ACCESS_PLATFORM, false);
	ASSERT_EQ(try_open(), 0);
	EXPECT_EQ(try_configure(), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("iommu_platform=on"), std::string::npos)
		<< plx_error();
}

TEST_F(NetConfig, UserMayOverrideAccessPlatform)
{
	plx_emu_config_offer(&config, VIRTIO_F_ACCESS_PLATFORM, false);
	breaches_allowed = true; /* the card says RFEAT-5, and it is right */
	ASSERT_EQ(try_open(",platform=ignore"), 0);
	EXPECT_EQ(try_configure(), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
}

TEST_F(NetConfig, UnknownOptionIsRefusedByName)
{
	EXPECT_EQ(try_open(",mrg_rxbuff=on"), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("mrg_rxbuff"), std::string::npos) << plx_error();
}

TEST_F(NetConfig, LinkAndAddressComeFromTheDevice)
{
	struct plx_eth_info info;

	config.mtu = 1400;
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, config.mac, 6), 0);
	EXPECT_EQ(info.mtu, 1400);
	EXPECT_TRUE(info.link_up);
	plx_emu_set_link(card, false);
	plx_eth_get_info(eth, &info);
	EXPECT_FALSE(info.link_up);
}

TEST_F(NetConfig, EveryOptionalFeatureCanBeMissing)
{
	for (unsigned bit = 0; bit < 128; bit++) {
		struct plx_emu_config whole = config;

		if (bit == VIRTIO_F_VERSION_1 || bit == VIRTIO_F_ACCESS_PLATFORM)
			continue;
		plx_emu_config_offer(&config, bit, false);
		start();
		plx_eth_close(eth);
		eth = nullptr;
		plx_emu_destroy(card);
		card = nullptr;
		config = whole;
	}
}

TEST_F(NetConfig, FindsRoomForAChainWhenMostOfASmallRingWasSent)
{
	const std::vector<uint8_t> frame = make_frame(300, 1);

	eth_config.tx_ring = 8;
	start();
	/* Half of the ring is free, which is plenty for frames of one segment. */
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(send(build(frame)), 1);
	step();
	EXPECT_EQ(send(build(frame, {60, 60, 60, 60, 60})), 1);
	step();
}

} // namespace
