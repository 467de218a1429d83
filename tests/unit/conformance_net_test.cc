/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance.h"

/*
 * What the network driver puts in front of frames, and what it makes of its device
 * (virtio 1.4, 5.1).
 */

namespace
{

struct Variant {
	const char *name;
	const char *options;
	enum plx_emu_interface interface;
	unsigned header; /* bytes */
};

void PrintTo(const Variant &variant, std::ostream *to)
{
	*to << variant.name;
}

class NetFrames : public ConformanceFixture, public ::testing::WithParamInterface<Variant>
{
      protected:
	void SetUp() override
	{
		ConformanceFixture::SetUp();
		config.interface = GetParam().interface;
	}

	void run()
	{
		start(GetParam().options);
	}
};

TEST_P(NetFrames, HeaderOfASentFrameIsZeros)
{
	auto frame = make_frame(100, 1);

	run();
	for (std::vector<size_t> pieces : {std::vector<size_t>{100}, {40, 60}}) {
		struct plx_packet *packet = build(frame, pieces);
		uint8_t *data = plx_packet_data(packet);

		std::memset(data - 64, 0xff, 64);
		plx_emu_hold(card, 1, true);
		ASSERT_EQ(send(packet), 1);
		for (unsigned i = 1; i <= GetParam().header; i++)
			EXPECT_EQ(data[-(int)i], 0) << i;
		EXPECT_EQ(data[-(int)GetParam().header - 1], 0xff)
			<< "the header is no longer than that";
		plx_emu_hold(card, 1, false);
		step();
		EXPECT_EQ(sent(), frame);
	}
}

TEST_P(NetFrames, HeadersOfBothDirectionsHaveOneSize)
{
	auto frame = make_frame(100, 1);
	struct plx_emu_queue_state queue;
	struct plx_packet *packet;
	uint64_t buffer;

	run();
	plx_emu_get_queue(card, 0, &queue);
	ASSERT_EQ(plx_emu_peek(card, queue.descriptors, &buffer, sizeof(buffer)), 0);
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	ASSERT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), 1);
	EXPECT_EQ(plx_packet_data_iova(packet) - buffer, GetParam().header);
	EXPECT_EQ(bytes_of(packet), frame);
	plx_packet_free(packet);
}

/* With nothing negotiated that fills them, the fields of a received header mean nothing. */
TEST_P(NetFrames, HeaderOfAReceivedFrameIsNotBelieved)
{
	auto frame = make_frame(100, 1);
	struct plx_packet *packet;

	on_rx_header = [](uint8_t *header, size_t) {
		header[0] = 0xf0;                 /* flags that nobody knows */
		std::memset(header + 2, 0xff, 8); /* hdr_len, gso_size, csum_start, csum_offset */
	};
	run();
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	ASSERT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), 1);
	EXPECT_EQ(bytes_of(packet), frame);
	EXPECT_EQ(packet->received, 0u) << "no checksum was found good";
	EXPECT_EQ(packet->offload, 0u);
	plx_packet_free(packet);
}

TEST_P(NetFrames, BytesBeyondTheUsedLengthAreNoPartOfAFrame)
{
	auto frame = make_frame(100, 1);

	on_used = [](unsigned queue, uint32_t *len) { *len -= queue ? 0 : 30; };
	run();
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	auto frames = receive();
	frame.resize(70);
	EXPECT_EQ(frames, std::vector<std::vector<uint8_t>>{frame});
}

TEST_P(NetFrames, SegmentIsADescriptor)
{
	plx_emu_config_offer(&config, VIRTIO_F_INDIRECT_DESC, false);
	for (unsigned segments : {1u, 2u, 4u}) {
		auto frame = make_frame(64, segments);
		unsigned taken = 0;

		run();
		plx_emu_hold(card, 1, true);
		while (taken < 1000 &&
			send(build(frame, std::vector<size_t>(segments, 64 / segments))) == 1)
			taken++;
		EXPECT_EQ(taken, 256u / segments);
		close();
	}
}

/* Two are not worth a table, and a table has an end. */
TEST_P(NetFrames, SegmentsOfATableAreOneDescriptor)
{
	config.queue_size = 64;
	for (unsigned segments : {1u, 2u, 3u, 16u, 17u}) {
		auto frame = make_frame(68, segments);
		std::vector<size_t> pieces(segments, 68 / segments);
		bool table = segments >= 3 && segments <= 16;
		unsigned taken = 0;

		pieces[0] += 68 % segments;
		run();
		plx_emu_hold(card, 1, true);
		while (taken < 1000 && send(build(frame, pieces)) == 1)
			taken++;
		EXPECT_EQ(taken, 64u / (table ? 1 : segments)) << segments;
		plx_emu_hold(card, 1, false);
		step();
		for (unsigned i = 0; i < taken; i++)
			ASSERT_EQ(sent(), frame);
		close();
	}
}

TEST_P(NetFrames, FrameIsTakenWholeOrNotAtAll)
{
	auto frame = make_frame(60, 1), chain = make_frame(90, 2);
	unsigned count = 0;

	plx_emu_config_offer(&config, VIRTIO_F_INDIRECT_DESC, false);
	run();
	plx_emu_hold(card, 1, true);
	for (; count < 254; count++)
		ASSERT_EQ(send(build(frame)), 1);
	EXPECT_EQ(send(build(chain, {30, 30, 30})), 0) << "there is room for two of its three";
	EXPECT_EQ(send(build(chain, {45, 45})), 1);
	plx_emu_hold(card, 1, false);
	step();
	for (unsigned i = 0; i < count; i++)
		ASSERT_EQ(sent(), frame);
	EXPECT_EQ(sent(), chain);
	EXPECT_TRUE(sent().empty());
}

TEST_P(NetFrames, ChainLongerThanTheRingIsDropped)
{
	auto frame = make_frame(60, 1);

	if (GetParam().interface != PLX_EMU_MODERN_ONLY)
		config.queue_size = 4; /* nobody chooses there */
	else
		eth_config.tx_ring = 4;
	run();
	EXPECT_EQ(send(build(frame, {12, 12, 12, 12, 12})), 1);
	EXPECT_EQ(counter("tx0.drop.bad_segments"), 1u);
	EXPECT_EQ(send(build(frame, {15, 15, 15, 15})), 1);
	step();
	EXPECT_EQ(sent(), frame);
	EXPECT_TRUE(sent().empty());
}

const Variant variants[] = {
	{"split", ",packed=off", PLX_EMU_MODERN_ONLY, VIRTIO_NET_HDR_SIZE},
	{"packed", "", PLX_EMU_MODERN_ONLY, VIRTIO_NET_HDR_SIZE},
	{"legacy", "", PLX_EMU_LEGACY_ONLY, VIRTIO_NET_HDR_SIZE_LEGACY},
};

INSTANTIATE_TEST_SUITE_P(Interfaces, NetFrames, ::testing::ValuesIn(variants),
	[](const auto &info) { return std::string(info.param.name); });

/* --- the port --- */

class NetPort : public ConformanceFixture
{
      protected:
	struct plx_eth_info info = {};

	void run()
	{
		start();
		plx_eth_get_info(eth, &info);
	}
};

TEST_F(NetPort, TakesTheFeaturesOfItsConfiguration)
{
	run();
	for (unsigned bit : {VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS})
		EXPECT_TRUE(accepted(bit)) << bit;
	EXPECT_EQ(std::memcmp(info.mac, config.mac, 6), 0);
	EXPECT_EQ(info.mtu, config.mtu);
}

TEST_F(NetPort, HasALocalAddressWhenItIsGivenNone)
{
	plx_emu_config_offer(&config, VIRTIO_NET_F_MAC, false);
	run();
	EXPECT_EQ(info.mac[0] & 3, 2) << "local, and no group";
}

TEST_F(NetPort, IsUpWhenNobodySays)
{
	plx_emu_config_offer(&config, VIRTIO_NET_F_STATUS, false);
	run();
	plx_emu_set_link(card, false);
	plx_eth_get_info(eth, &info);
	EXPECT_TRUE(info.link_up);
}

TEST_F(NetPort, TakesItsLinkFromTheStatus)
{
	run();
	for (bool up : {false, true, false}) {
		plx_emu_set_link(card, up);
		plx_eth_get_info(eth, &info);
		EXPECT_EQ(info.link_up, up);
	}
}

TEST_F(NetPort, SendsNothingLongerThanTheMtu)
{
	config.mtu = 1400;
	run();
	EXPECT_EQ(send(build(make_frame(1414, 1))), 1);
	EXPECT_EQ(send(build(make_frame(1415, 2))), 1);
	EXPECT_EQ(send(build(make_frame(1415, 3), {700, 715})), 1);
	step();
	EXPECT_EQ(sent(), make_frame(1414, 1));
	EXPECT_TRUE(sent().empty());
	EXPECT_EQ(counter("tx0.drop.bad_length"), 2u);
}

/* In one buffer, or in as many as a ring has. */
TEST_F(NetPort, HasBuffersForAFrameOfTheMtu)
{
	auto frame = make_frame(9014, 1);

	config.mtu = 9000;
	for (uint16_t size : {9030, 2048, 64}) {
		pool_config.data_size = size;
		run();
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
		EXPECT_EQ(receive(), std::vector<std::vector<uint8_t>>{frame}) << size;
		EXPECT_EQ(accepted(VIRTIO_NET_F_MRG_RXBUF), size < 9030);
		close();
		ASSERT_EQ(plx_pool_destroy(pool), 0);
		pool = nullptr;
	}
	plx_emu_config_offer(&config, VIRTIO_NET_F_MRG_RXBUF, false);
	ASSERT_EQ(try_open(), 0);
	EXPECT_EQ(try_configure(), -EINVAL) << "nothing merges them";
	EXPECT_TRUE(error_says("data_size 9030")) << plx_error();
}

TEST_F(NetPort, RefusesARingThatHoldsNoFrameOfTheMtu)
{
	pool_config.data_size = 256;
	ASSERT_EQ(try_open(",packed=off"), 0);
	for (uint16_t ring : {1, 2, 4}) {
		eth_config.rx_ring = ring;
		EXPECT_EQ(try_configure(), -EINVAL) << ring;
		EXPECT_TRUE(error_says("longer ring")) << plx_error();
	}
	eth_config.rx_ring = 8;
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	auto frame = make_frame(1514, 1);
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	EXPECT_EQ(receive(), std::vector<std::vector<uint8_t>>{frame});
}

} // namespace
