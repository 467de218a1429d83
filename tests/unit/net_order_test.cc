/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

#include <algorithm>

/*
 * What happens to bursts when a device leaves the order in the middle of one, or breaks the queue.
 */

namespace
{

enum Layout { SPLIT, SPLIT_NARROW, PACKED, PACKED_NARROW };

bool is_narrow(Layout layout)
{
	return layout == SPLIT_NARROW || layout == PACKED_NARROW;
}

class Order : public NetFixture, public ::testing::WithParamInterface<Layout>
{
      protected:
	static bool lie;
	static unsigned kicks;

	void SetUp() override
	{
		NetFixture::SetUp();
		lie = false;
		kicks = 0;
		plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false);
		plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, false);
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam() >= PACKED);
		eth_config.tx_ring = eth_config.rx_ring = 16;
	}

	static const char *options()
	{
		return is_narrow(GetParam()) ? ",simd=off" : "";
	}

	std::vector<struct plx_packet *> frames(unsigned count, unsigned first)
	{
		std::vector<struct plx_packet *> burst;

		for (unsigned i = 0; i < count; i++)
			burst.push_back(build(make_frame(100 + first + i, first + i)));
		return burst;
	}

	int transmit(std::vector<struct plx_packet *> &burst)
	{
		int taken = plx_eth_tx_burst(txq(), burst.data(), (unsigned)burst.size());

		for (size_t i = taken < 0 ? 0 : (size_t)taken; i < burst.size(); i++)
			plx_packet_free(burst[i]);
		return taken;
	}

	std::vector<std::vector<uint8_t>> all_sent()
	{
		std::vector<std::vector<uint8_t>> all;

		for (auto frame = sent(); !frame.empty(); frame = sent())
			all.push_back(frame);
		std::sort(all.begin(), all.end());
		return all;
	}
};

bool Order::lie;
unsigned Order::kicks;

/*
 * The order was gone when a chain had looked for room, and a run was posted over what was in
 * flight.
 */
TEST_P(Order, LostWhileAChainLooksForRoomNoRunIsPosted)
{
	std::vector<std::vector<uint8_t>> want;
	std::vector<struct plx_packet *> burst;
	int taken;

	/* An honest device returns two buffers the other way round. */
	config.hooks.used = [](void *, unsigned queue, uint32_t *id, uint32_t *) {
		if (queue == 1 && lie)
			*id = *id == 2 ? 3 : *id == 3 ? 2 : *id;
	};
	lie = true;
	start(options());
	burst = frames(12, 0);
	for (unsigned i = 0; i < 12; i++)
		want.push_back(make_frame(100 + i, i));
	ASSERT_EQ(transmit(burst), 12);
	step();
	lie = false;
	burst = frames(3, 20);
	burst.insert(burst.begin(), build(make_frame(300, 50), {50, 50, 50, 50, 100}));
	want.push_back(make_frame(300, 50));
	for (unsigned i = 20; i < 23; i++)
		want.push_back(make_frame(100 + i, i));
	taken = transmit(burst);
	ASSERT_GT(taken, 0) << plx_error();
	want.resize(12 + (size_t)taken);
	step();
	EXPECT_EQ(plx_eth_tx_burst(txq(), nullptr, 0), 0) << plx_error();
	std::sort(want.begin(), want.end());
	EXPECT_EQ(all_sent(), want);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

/* The burst that found the queue broken still posted its frames and rang. */
TEST_P(Order, BrokenTransmitQueueIsNotTouchedByTheBurstThatFindsOut)
{
	std::vector<struct plx_packet *> burst;

	breaches_allowed = true;
	config.hooks.used = [](void *, unsigned queue, uint32_t *id, uint32_t *) {
		if (queue == 1 && lie)
			*id = 0xffff;
	};
	config.hooks.event = [](void *, const struct plx_emu_event *event) {
		if (event->kind == PLX_EMU_KICK && event->index == 1)
			kicks++;
	};
	start(options());
	burst = frames(10, 0);
	ASSERT_EQ(transmit(burst), 10);
	lie = true;
	step();
	EXPECT_EQ(all_sent().size(), 10u);
	kicks = 0;
	burst = frames(8, 20);
	EXPECT_EQ(transmit(burst), -EIO);
	EXPECT_EQ(kicks, 0u);
	step();
	EXPECT_TRUE(all_sent().empty());
	burst = frames(8, 40);
	EXPECT_EQ(transmit(burst), -EIO);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

/* After the break what had been seen of the ring before was read once more. */
TEST_P(Order, BrokenReceiveQueueIsNotReadAgain)
{
	auto frame = make_frame(100, 1);
	struct plx_packet *packets[16];

	breaches_allowed = true;
	config.hooks.used = [](void *, unsigned queue, uint32_t *id, uint32_t *) {
		if (queue == 0 && lie)
			*id = 0xffff;
	};
	start(options());
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	lie = true;
	for (unsigned i = 0; i < 4; i++)
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	ASSERT_EQ(plx_eth_rx_burst(rxq(), packets, 16), 1) << "what came before is good";
	plx_packet_free(packets[0]);
	EXPECT_EQ(plx_eth_rx_burst(rxq(), packets, 16), -EIO);
	EXPECT_EQ(counter("rx0.packets"), 1u);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

INSTANTIATE_TEST_SUITE_P(Layouts, Order,
	::testing::Values(SPLIT, SPLIT_NARROW, PACKED, PACKED_NARROW),
	[](const ::testing::TestParamInfo<Layout> &info) {
		return std::string(info.param >= PACKED ? "Packed" : "Split") +
		       (is_narrow(info.param) ? "Narrow" : "");
	});

} // namespace
