/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_control.h"

/*
 * plx_eth_reset(): a device that broke is brought back with all that it was told, and no buffer
 * gets lost on the way.
 */
class Reset : public ControlFixture, public ::testing::WithParamInterface<ControlLayout>
{
      protected:
	struct Lies {
		enum plx_emu_place place;
		uint64_t offset;
		uint64_t value;
		bool on;
	} lie = {PLX_EMU_COMMON, 0, 0, false};
	bool unknown_id = false;

	void SetUp() override
	{
		ControlFixture::SetUp();
		use(GetParam());
		config.hooks.read = [](void *arg, enum plx_emu_place place, uint64_t offset,
					    unsigned, uint64_t *value) {
			const Lies &lie = of(arg)->lie;

			if (lie.on && place == lie.place && offset == lie.offset)
				*value = lie.value;
		};
		config.hooks.used = [](void *arg, unsigned queue, uint32_t *id, uint32_t *) {
			if (of(arg)->unknown_id && queue == 0)
				*id = 0x7fff;
		};
	}

	static Reset *of(void *arg)
	{
		return static_cast<Reset *>(static_cast<ControlFixture *>(arg));
	}

	bool modern()
	{
		return GetParam() == CTRL_SPLIT || GetParam() == CTRL_PACKED;
	}

	/* Leave buffers everywhere: posted, arrived and unseen, sent and not finished. */
	void fill_the_device()
	{
		auto frame = make_frame(200, 3);

		plx_emu_hold(card, 1, true);
		for (unsigned i = 0; i < 5; i++) {
			ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
			ASSERT_EQ(send(build(frame)), 1) << plx_error();
		}
		step();
	}

	/* One frame each way. */
	void traffic_flows()
	{
		auto frame = make_frame(321, 9);

		step();
		ASSERT_EQ(send(build(frame)), 1) << plx_error();
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
		EXPECT_EQ(sent(), frame);
		auto received = receive();
		ASSERT_EQ(received.size(), 1u) << plx_error();
		EXPECT_EQ(received[0], frame);
	}

	int rx_error()
	{
		struct plx_packet *packet;
		int got = 0;

		for (unsigned i = 0; i < 10000000 && got >= 0; i++) {
			got = plx_eth_rx_burst(rxq(), &packet, 1);
			if (got > 0)
				plx_packet_free(packet);
		}
		return got;
	}
};

TEST_P(Reset, GivesEveryBufferBackOnceAndTrafficFlowsAgain)
{
	run();
	fill_the_device();
	plx_emu_need_reset(card);
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	plx_emu_hold(card, 1, false);
	traffic_flows();
	EXPECT_EQ(sent().size(), 0u) << "nothing of what was in flight is sent a second time";
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(Reset, FollowsOnABurstsErrorAndAnEvent)
{
	if (!modern())
		return; /* the legacy interface has no word for it */
	run();
	plx_emu_need_reset(card);
	EXPECT_EQ(rx_error(), -EIO);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_NEEDS_RESET | PLX_ETH_EVENT_BROKEN);
	EXPECT_EQ(plx_eth_poll_events(eth), 0) << "each is told once";
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	traffic_flows();
}

TEST_P(Reset, MendsAQueueThatTheDeviceBroke)
{
	auto frame = make_frame(100, 1);

	run();
	unknown_id = true;
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	EXPECT_EQ(plx_eth_poll_events(eth), 0) << "nobody has looked at the ring yet";
	EXPECT_EQ(rx_error(), -EIO);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_BROKEN);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	unknown_id = false;
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	traffic_flows();
	EXPECT_EQ(counter("rx0.broken"), 1u);
}

TEST_P(Reset, CountsOn)
{
	struct plx_eth_stats stats;

	run();
	traffic_flows();
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	traffic_flows();
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	plx_eth_get_stats(eth, &stats);
	EXPECT_EQ(stats.rx_packets, 2u);
	EXPECT_EQ(stats.tx_packets, 2u);
	EXPECT_GE(counter("tx0.kicks"), 2u);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	ASSERT_EQ(plx_eth_start(eth), 0);
	plx_eth_get_stats(eth, &stats);
	EXPECT_EQ(stats.rx_packets, 0u) << "a start begins anew";
}

TEST_P(Reset, SetsAgainWhatWasSet)
{
	const uint8_t unicast[2][6] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};
	const uint8_t multicast[1][6] = {{1, 0, 0x5e, 0, 0, 1}};
	const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;
	struct plx_eth_info info;

	eth_config.offloads = PLX_ETH_OFFLOAD_VLAN_FILTER | PLX_ETH_OFFLOAD_RX_CSUM;
	run(4);
	table.unicast = unicast;
	table.unicast_count = 2;
	table.multicast = multicast;
	table.multicast_count = 1;
	ASSERT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_NO_BROADCAST, true), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_mac_table(eth, &table), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_mac(eth, mac), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_vlan(eth, 7, true), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_vlan(eth, 8, true), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_vlan(eth, 7, false), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 3), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_rx_offloads(eth, 0), 0) << plx_error();
	plx_emu_need_reset(card);
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();

	auto is = state();
	EXPECT_TRUE(is.promiscuous);
	EXPECT_TRUE(is.no_broadcast);
	EXPECT_FALSE(is.all_multicast);
	EXPECT_EQ(is.unicast, 2u);
	EXPECT_EQ(is.multicast, 1u);
	EXPECT_EQ(std::memcmp(is.mac, mac, 6), 0);
	EXPECT_EQ(is.vlans, 1u);
	EXPECT_EQ(is.pairs, 3);
	EXPECT_EQ(is.guest_offloads, 0u);
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(info.queue_pairs, 3);
	EXPECT_EQ(std::memcmp(info.mac, mac, 6), 0);
}

TEST_P(Reset, SetsSteeringAndCoalescingAgain)
{
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;
	const uint16_t table[4] = {1, 0, 1, 1};
	struct plx_emu_coalescing coalescing;

	if (!modern())
		return;
	run(2);
	rss.table = table;
	rss.table_len = 4;
	rss.unclassified = 1;
	ASSERT_EQ(plx_eth_set_rss(eth, &rss), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_RX, 1, 32, 300), 0) << plx_error();
	plx_emu_need_reset(card);
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	EXPECT_EQ(state().rss_table_len, 4);
	EXPECT_EQ(state().rss_unclassified, 1);
	plx_emu_get_coalescing(card, 2, &coalescing);
	EXPECT_EQ(coalescing.max_packets, 32u);
	EXPECT_EQ(coalescing.max_usecs, 300u);
}

TEST_P(Reset, OfADeviceThatIsGoneFailsUntilItIsClosedAndEveryBufferComesBack)
{
	struct plx_packet *packet;

	run();
	fill_the_device();
	plx_emu_unplug(card);
	EXPECT_EQ(rx_error(), -ENODEV);
	EXPECT_NE(plx_eth_poll_events(eth) & PLX_ETH_EVENT_GONE, 0);
	EXPECT_LT(plx_eth_reset(eth), 0);
	EXPECT_LT(plx_eth_reset(eth), 0) << "and again";
	EXPECT_EQ(plx_eth_rx_burst(rxq(), &packet, 1), -ESHUTDOWN);
	close();
	expect_all_back();
}

TEST_P(Reset, RunsADeviceAgainThatWasSuspendedOrStopped)
{
	run();
	ASSERT_EQ(plx_eth_stop(eth), 0);
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	traffic_flows();
	if (modern()) {
		int err = plx_eth_suspend(eth);

		ASSERT_TRUE(!err || err == -ENOTSUP) << plx_error();
		ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
		traffic_flows();
	}
}

TEST_P(Reset, BeforeItWasConfiguredIsRefused)
{
	ASSERT_EQ(try_open(options.c_str()), 0) << plx_error();
	EXPECT_EQ(plx_eth_reset(eth), -EINVAL);
}

TEST_P(Reset, TwoHundredTimesUnderTrafficLosesNoBuffer)
{
	run();
	for (unsigned i = 0; i < 200; i++) {
		fill_the_device();
		if (HasFailure())
			return;
		plx_emu_need_reset(card);
		ASSERT_EQ(plx_eth_reset(eth), 0) << i << ": " << plx_error();
		plx_emu_hold(card, 1, false);
	}
	traffic_flows();
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(Reset, NamesTheFeatureThatTheDeviceCameBackWithout)
{
	if (!modern())
		return;
	run();
	/* The low word; MRG_RXBUF and CTRL_VQ are in it. */
	lie = {PLX_EMU_COMMON, VIRTIO_PCI_COMMON_DEVICE_FEATURE, 0, true};
	EXPECT_EQ(plx_eth_reset(eth), -EPROTO);
	EXPECT_TRUE(error_says("no longer offers")) << plx_error();
	EXPECT_TRUE(error_says("F_CTRL_VQ")) << plx_error();
	expect_all_back();
	lie.on = false;
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	traffic_flows();
}

TEST_P(Reset, RefusesADeviceThatCameBackWithASmallerMtu)
{
	if (!modern())
		return;
	plx_emu_config_offer(&config, VIRTIO_NET_F_MTU, true);
	config.mtu = 1500;
	run();
	lie = {PLX_EMU_DEVICE_CONFIG, VIRTIO_NET_CFG_MTU, 1400, true};
	EXPECT_EQ(plx_eth_reset(eth), -EPROTO);
	EXPECT_TRUE(error_says("came back with an MTU of 1400 in place of 1500")) << plx_error();
	expect_all_back();
	lie.on = false;
	ASSERT_EQ(plx_eth_reset(eth), 0) << plx_error();
	traffic_flows();
}

TEST_P(Reset, RefusesADeviceThatCameBackWithFewerQueuePairs)
{
	if (!modern())
		return;
	run(4);
	lie = {PLX_EMU_DEVICE_CONFIG, VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2, true};
	EXPECT_EQ(plx_eth_reset(eth), -EPROTO);
	EXPECT_TRUE(error_says("came back with 2 queue pairs in place of 4")) << plx_error();
	expect_all_back();
}

INSTANTIATE_TEST_SUITE_P(Rings, Reset,
	::testing::Values(CTRL_SPLIT, CTRL_PACKED, CTRL_LEGACY, CTRL_APART),
	[](const ::testing::TestParamInfo<ControlLayout> &info) {
		return control_layout_name(info.param);
	});
