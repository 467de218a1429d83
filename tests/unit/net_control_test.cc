/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_control.h"

/* What an application can tell a running port, and what it hears of it (virtio 1.4, 5.1.9.5). */

namespace
{

class Control : public ControlFixture, public ::testing::WithParamInterface<ControlLayout>
{
      protected:
	void SetUp() override
	{
		ControlFixture::SetUp();
		use(GetParam());
	}

	bool legacy() const
	{
		return GetParam() == CTRL_LEGACY || GetParam() == CTRL_APART;
	}
};

TEST_P(Control, ReceiveModesAreSwitchedOnAndOff)
{
	run();
	for (bool on : {true, false, true}) {
		for (unsigned mode = 0; mode < PLX_ETH_RX_MODES; mode++)
			ASSERT_EQ(plx_eth_set_rx_mode(eth, (enum plx_eth_rx_mode)mode, on), 0)
				<< plx_error();
		EXPECT_EQ(state().promiscuous, on);
		EXPECT_EQ(state().all_multicast, on);
		EXPECT_EQ(state().all_unicast, on);
		EXPECT_EQ(state().no_multicast, on);
		EXPECT_EQ(state().no_unicast, on);
		EXPECT_EQ(state().no_broadcast, on);
	}
	EXPECT_EQ(plx_eth_set_rx_mode(eth, (enum plx_eth_rx_mode)6, true), -EINVAL);
	EXPECT_EQ(counter("ctrl.commands"), 18u);
}

TEST_P(Control, MacTablesHoldWhatTheyAreGiven)
{
	static const uint8_t ports[][6] = {
		{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}};
	static const uint8_t groups[][6] = {{1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}};
	struct plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;

	run();
	table.unicast = ports;
	table.multicast = groups;
	for (uint16_t unicast : {3, 0}) {
		for (uint16_t multicast : {0, 2}) {
			table.unicast_count = unicast;
			table.multicast_count = multicast;
			ASSERT_EQ(plx_eth_set_mac_table(eth, &table), 0) << plx_error();
			EXPECT_EQ(state().unicast, unicast);
			EXPECT_EQ(state().multicast, multicast);
		}
	}
	table.unicast = groups;
	table.unicast_count = 1;
	EXPECT_EQ(plx_eth_set_mac_table(eth, &table), -EINVAL);
	table.unicast_count = PLX_ETH_MAC_TABLE_MAX;
	EXPECT_EQ(plx_eth_set_mac_table(eth, &table), -EINVAL);
	EXPECT_TRUE(error_says("too long")) << plx_error();
}

TEST_P(Control, LongestMacTableFits)
{
	std::vector<std::array<uint8_t, 6>> ports(PLX_ETH_MAC_TABLE_MAX, {2, 0, 0, 0, 0, 9});
	struct plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;

	run();
	table.unicast = (const uint8_t(*)[6])ports.data();
	table.unicast_count = PLX_ETH_MAC_TABLE_MAX;
	ASSERT_EQ(plx_eth_set_mac_table(eth, &table), 0) << plx_error();
	EXPECT_EQ(state().unicast, (uint32_t)PLX_ETH_MAC_TABLE_MAX);
}

TEST_P(Control, MacAddressIsThatOfThePortFromThenOn)
{
	const uint8_t mac[6] = {2, 1, 2, 3, 4, 5}, group[6] = {3, 1, 2, 3, 4, 5};
	struct plx_eth_info info;

	run();
	ASSERT_EQ(plx_eth_set_mac(eth, mac), 0) << plx_error();
	EXPECT_EQ(std::memcmp(state().mac, mac, 6), 0);
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, mac, 6), 0);
	EXPECT_EQ(plx_eth_set_mac(eth, group), -EINVAL);
}

TEST_P(Control, VlansAreLetInOneByOne)
{
	eth_config.offloads = PLX_ETH_OFFLOAD_VLAN_FILTER;
	run();
	for (uint16_t id : {0, 7, 4095, 7})
		ASSERT_EQ(plx_eth_set_vlan(eth, id, true), 0) << plx_error();
	EXPECT_EQ(state().vlans, 3u);
	ASSERT_EQ(plx_eth_set_vlan(eth, 7, false), 0);
	EXPECT_EQ(state().vlans, 2u);
	EXPECT_EQ(plx_eth_set_vlan(eth, 4096, true), -EINVAL);
}

TEST_P(Control, VlanFilterIsThereOnlyForWhoAsksForIt)
{
	run();
	EXPECT_EQ(plx_eth_set_vlan(eth, 7, true), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_VLAN")) << plx_error();
	EXPECT_TRUE(error_says("the application does not ask for it")) << plx_error();
	EXPECT_TRUE(commands.empty());
}

TEST_P(Control, AnnouncementIsReportedOnceAndAcknowledged)
{
	eth_config.announce = true;
	run();
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	plx_emu_announce(card);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_ANNOUNCE);
	EXPECT_EQ(plx_eth_poll_events(eth), 0) << "it is one request";
	ASSERT_EQ(plx_eth_ack_announce(eth), 0) << plx_error();
	EXPECT_EQ(state().announce_acks, 1u);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	plx_emu_announce(card);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_ANNOUNCE);
}

TEST_P(Control, LinkChangesAreEvents)
{
	struct plx_eth_link link;

	run();
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	plx_emu_set_link(card, false);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
	ASSERT_EQ(plx_eth_get_link(eth, &link), 0);
	EXPECT_FALSE(link.up);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	plx_emu_set_link(card, true);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
}

TEST_P(Control, NeedForAResetIsAnEventAndARestartMendsIt)
{
	run();
	plx_emu_need_reset(card);
	/* The legacy interface has no word for it. */
	EXPECT_EQ(plx_eth_poll_events(eth), legacy() ? 0 : PLX_ETH_EVENT_NEEDS_RESET);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	restart();
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
}

TEST_P(Control, RemovalIsAnEvent)
{
	run();
	plx_emu_unplug(card);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_GONE);
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), -ENODEV);
	plx_eth_stop(eth);
}

TEST_P(Control, QueuePairsAreInUseAfterTheStart)
{
	run(4);
	EXPECT_EQ(state().pairs, 4);
	for (unsigned i = 0; i < 4; i++) {
		auto frame = make_frame(100, i);
		struct plx_packet *packet = build(frame);

		ASSERT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, i), &packet, 1), 1) << plx_error();
		ASSERT_EQ(plx_emu_inject(card, i, frame.data(), frame.size()), 0);
		step();
		std::vector<uint8_t> got(2048);
		got.resize(plx_emu_take(card, i, got.data(), got.size()));
		EXPECT_EQ(got, frame);
		ASSERT_EQ(plx_eth_rx_burst(plx_eth_rxq(eth, i), &packet, 1), 1);
		EXPECT_EQ(bytes_of(packet), frame);
		plx_packet_free(packet);
	}
	EXPECT_EQ(plx_eth_txq(eth, 4), nullptr);
}

TEST_P(Control, QueuePairsCanBeTakenOutOfUse)
{
	struct plx_packet *packet;

	run(4);
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 2), 0) << plx_error();
	EXPECT_EQ(state().pairs, 2);
	packet = build(make_frame(60, 1));
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 2), &packet, 1), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 1), &packet, 1), 1);
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 3), 0);
	packet = build(make_frame(60, 1));
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 2), &packet, 1), 1);
	for (uint16_t pairs : {0, 5})
		EXPECT_EQ(plx_eth_set_queue_pairs(eth, pairs), -EINVAL);
	step();
}

TEST_P(Control, RefusedQueuePairsLeaveThingsAsTheyAre)
{
	struct plx_packet *packet;

	run(2);
	ack = VIRTIO_NET_ERR;
	EXPECT_EQ(plx_eth_set_queue_pairs(eth, 1), -EPERM);
	EXPECT_TRUE(error_says("refuses the command for the number of queue pairs")) << plx_error();
	packet = build(make_frame(60, 1));
	plx_eth_info info;
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(info.queue_pairs, 2);
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 1), &packet, 1), 1);
	breaches_allowed = true; /* the card did use one pair, whatever it said */
	step();
}

TEST_P(Control, StartFailsWhenQueuePairsAreRefused)
{
	config.pairs = eth_config.queue_pairs = 2;
	ASSERT_EQ(try_open(options.c_str()), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ack = VIRTIO_NET_ERR;
	EXPECT_EQ(plx_eth_start(eth), -EPERM);
	EXPECT_TRUE(error_says("refuses the command")) << plx_error();
	expect_all_back();
	ack.reset();
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
}

TEST_P(Control, PairsBeyondThoseOfTheDeviceAreRefused)
{
	config.pairs = 2;
	eth_config.queue_pairs = 3;
	ASSERT_EQ(try_open(options.c_str()), 0);
	EXPECT_EQ(try_configure(), -EINVAL);
	EXPECT_TRUE(error_says("1 to 2")) << plx_error();
}

TEST_P(Control, WhatWasSetIsSetAgainByEachStart)
{
	const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	static const uint8_t ports[][6] = {{2, 0, 0, 0, 0, 1}};
	struct plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;

	eth_config.offloads = PLX_ETH_OFFLOAD_VLAN_FILTER;
	run(2);
	table.unicast = ports;
	table.unicast_count = 1;
	ASSERT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_ALL_MULTICAST, true), 0);
	ASSERT_EQ(plx_eth_set_mac(eth, mac), 0);
	ASSERT_EQ(plx_eth_set_mac_table(eth, &table), 0);
	ASSERT_EQ(plx_eth_set_vlan(eth, 100, true), 0);
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 1), 0);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), 0)
		<< "of a stopped device it is noted: " << plx_error();
	EXPECT_FALSE(state().promiscuous);
	EXPECT_EQ(state().vlans, 0u) << "the reset took it";
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_TRUE(state().promiscuous);
	EXPECT_TRUE(state().all_multicast);
	EXPECT_EQ(std::memcmp(state().mac, mac, 6), 0);
	EXPECT_EQ(state().unicast, 1u);
	EXPECT_EQ(state().vlans, 1u);
	EXPECT_EQ(state().pairs, 1);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	ASSERT_EQ(try_configure(), 0) << "which forgets it";
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_FALSE(state().promiscuous);
	EXPECT_EQ(state().vlans, 0u);
	EXPECT_EQ(state().pairs, 2);
}

TEST_P(Control, StartFailsWhenWhatWasSetIsRefused)
{
	run();
	ASSERT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), 0);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	ack = VIRTIO_NET_ERR;
	EXPECT_EQ(plx_eth_start(eth), -EPERM);
	EXPECT_TRUE(error_says("promiscuous mode")) << plx_error();
	expect_all_back();
	ack.reset();
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_TRUE(state().promiscuous);
}

TEST_P(Control, CallsOutOfOrderAreRefused)
{
	ASSERT_EQ(try_open(options.c_str()), 0);
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), -EINVAL);
	ASSERT_EQ(try_configure(), 0);
	EXPECT_EQ(plx_eth_poll_events(eth), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_ack_announce(eth), -ESHUTDOWN);
}

TEST_P(Control, WithoutAControlQueueEachCallNamesTheFeature)
{
	const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;
	uint32_t packets, usecs;
	int result;

	eth_config.announce = true;
	eth_config.offloads = PLX_ETH_OFFLOAD_VLAN_FILTER;
	plx_emu_config_offer(&config, VIRTIO_NET_F_CTRL_VQ, false);
	run();
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_RX:")) << plx_error();
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_NO_UNICAST, true), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_RX_EXTRA")) << plx_error();
	EXPECT_EQ(plx_eth_set_mac_table(eth, &table), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_RX:")) << plx_error();
	EXPECT_EQ(plx_eth_set_mac(eth, mac), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_MAC_ADDR")) << plx_error();
	EXPECT_EQ(plx_eth_set_vlan(eth, 1, true), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_VLAN")) << plx_error();
	EXPECT_EQ(plx_eth_set_queue_pairs(eth, 1), -ENOTSUP);
	EXPECT_TRUE(error_says("F_MQ")) << plx_error();
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -ENOTSUP);
	EXPECT_TRUE(error_says("F_RSS")) << plx_error();
	EXPECT_EQ(plx_eth_set_hash(eth, &rss), -ENOTSUP);
	EXPECT_TRUE(error_says("F_HASH_REPORT")) << plx_error();
	EXPECT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_RX, PLX_ETH_ALL_QUEUES, 1, 1), -ENOTSUP);
	EXPECT_TRUE(error_says("F_NOTF_COAL")) << plx_error();
	EXPECT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 0, &packets, &usecs), -ENOTSUP);
	EXPECT_TRUE(error_says("F_VQ_NOTF_COAL")) << plx_error();
	EXPECT_EQ(plx_eth_set_rx_offloads(eth, 0), -ENOTSUP);
	EXPECT_TRUE(error_says("F_CTRL_GUEST_OFFLOADS")) << plx_error();
	EXPECT_EQ(plx_eth_ack_announce(eth), -ENOTSUP);
	EXPECT_TRUE(error_says("F_GUEST_ANNOUNCE")) << plx_error();
	device_stats(&result);
	EXPECT_EQ(result, -ENOTSUP);
	EXPECT_TRUE(error_says("F_DEVICE_STATS")) << plx_error();
}

INSTANTIATE_TEST_SUITE_P(Layouts, Control,
	::testing::Values(CTRL_SPLIT, CTRL_PACKED, CTRL_LEGACY, CTRL_APART),
	[](const auto &info) { return std::string(control_layout_name(info.param)); });

/* --- what only the modern interface has --- */

class ControlModern : public ControlFixture, public ::testing::WithParamInterface<ControlLayout>
{
      protected:
	void SetUp() override
	{
		ControlFixture::SetUp();
		use(GetParam());
	}

	/* A UDP frame of IPv4, the flow of which is told by @port. */
	static std::vector<uint8_t> flow(uint16_t port)
	{
		std::vector<uint8_t> frame = make_frame(100, 3);

		frame[12] = 0x08;
		frame[13] = 0x00;
		frame[14] = 0x45;
		frame[20] = frame[21] = 0;
		frame[23] = 17;
		frame[34] = (uint8_t)(port >> 8);
		frame[35] = (uint8_t)port;
		return frame;
	}

	/* Where the next frame came out. */
	int received_on(const std::vector<uint8_t> &frame)
	{
		int where = -1;

		EXPECT_EQ(plx_emu_inject(card, PLX_EMU_ANY_PAIR, frame.data(), frame.size()), 0);
		step();
		for (unsigned i = 0; i < eth_config.queue_pairs; i++) {
			struct plx_packet *packet;

			if (plx_eth_rx_burst(plx_eth_rxq(eth, i), &packet, 1) != 1)
				continue;
			EXPECT_EQ(where, -1);
			EXPECT_EQ(bytes_of(packet), frame);
			plx_packet_free(packet);
			where = (int)i;
		}
		return where;
	}
};

TEST_P(ControlModern, FlowsAreSpreadOverTheQueuesByTheirHash)
{
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;
	std::map<int, unsigned> seen;

	run(4);
	ASSERT_EQ(plx_eth_set_rss(eth, &rss), 0) << plx_error();
	EXPECT_EQ(state().rss_table_len, 64);
	EXPECT_EQ(state().hash_types, 0x3fu);
	EXPECT_EQ(state().hash_key_len, 40);
	for (uint16_t port = 0; port < 200; port++) {
		int first = received_on(flow(port));

		EXPECT_EQ(received_on(flow(port)), first) << "a flow stays where it is";
		seen[first]++;
	}
	ASSERT_EQ(seen.size(), 4u);
	for (auto &one : seen)
		EXPECT_GT(one.second, 20u);
}

TEST_P(ControlModern, TableAndKeyOfTheApplicationAreUsed)
{
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;
	const uint16_t table[] = {1, 2};
	/* The hash is the first word of the key for each bit: with zeros it is 0. */
	const uint8_t key[40] = {};

	run(4);
	rss.key = key;
	rss.key_len = sizeof(key);
	rss.table = table;
	rss.table_len = 2;
	rss.unclassified = 3;
	rss.hash_types = PLX_ETH_HASH_IPV4;
	ASSERT_EQ(plx_eth_set_rss(eth, &rss), 0) << plx_error();
	EXPECT_EQ(received_on(flow(9)), 1);
	EXPECT_EQ(received_on(make_frame(60, 1)), 3) << "which has no hash";
	restart();
	EXPECT_EQ(received_on(flow(9)), 1) << "it is remembered";
}

TEST_P(ControlModern, RssThatTheDeviceCannotDoIsRefusedBeforeItIsAsked)
{
	std::vector<uint16_t> table(256, 0);
	const uint8_t key[64] = {};

	run(2);
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;
	rss.hash_types = PLX_ETH_HASH_IP_EX;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL);
	EXPECT_TRUE(error_says("hash types 0x40")) << plx_error();
	rss = PLX_ETH_RSS_INIT;
	rss.table = table.data();
	rss.table_len = 3;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL) << "no power of two";
	rss.table_len = 256;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL) << "longer than the card's";
	EXPECT_TRUE(error_says("128 at most")) << plx_error();
	rss.table_len = 128;
	table[100] = 2;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL) << "there is no queue 2";
	EXPECT_TRUE(error_says("entry 100")) << plx_error();
	table[100] = 1;
	rss.unclassified = 2;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL);
	rss.unclassified = 0;
	rss.key = key;
	rss.key_len = sizeof(key);
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), -EINVAL);
	EXPECT_TRUE(error_says("40 at most")) << plx_error();
	EXPECT_TRUE(commands.empty());
	rss.key_len = 40;
	EXPECT_EQ(plx_eth_set_rss(eth, &rss), 0) << plx_error();
}

TEST_P(ControlModern, RssAloneBringsAllPairsIntoUse)
{
	plx_emu_config_offer(&config, VIRTIO_NET_F_MQ, false);
	run(4);
	EXPECT_EQ(state().pairs, 4);
	EXPECT_EQ(state().rss_tx_queues, 4);
	std::map<int, unsigned> seen;
	for (uint16_t port = 0; port < 100; port++)
		seen[received_on(flow(port))]++;
	EXPECT_EQ(seen.size(), 4u);
}

TEST_P(ControlModern, QueuePairsEndTheSteeringByAHash)
{
	struct plx_eth_rss rss = PLX_ETH_RSS_INIT;

	run(4);
	ASSERT_EQ(plx_eth_set_rss(eth, &rss), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 2), 0) << plx_error();
	EXPECT_EQ(state().pairs, 2);
	restart();
	EXPECT_EQ(state().pairs, 2);
	EXPECT_EQ(state().rss_table_len, 0);
}

TEST_P(ControlModern, CoalescingIsSetForAllQueuesAndForOne)
{
	struct plx_emu_coalescing is;
	uint32_t packets = 0, usecs = 0;

	run(2);
	ASSERT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_RX, PLX_ETH_ALL_QUEUES, 8, 100), 0);
	ASSERT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_TX, PLX_ETH_ALL_QUEUES, 16, 200), 0);
	ASSERT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_RX, 1, 32, 300), 0) << plx_error();
	for (unsigned round = 0; round < 2; round++) {
		const uint32_t expected[4][2] = {{8, 100}, {16, 200}, {32, 300}, {16, 200}};

		for (unsigned queue = 0; queue < 4; queue++) {
			plx_emu_get_coalescing(card, queue, &is);
			EXPECT_EQ(is.max_packets, expected[queue][0]) << queue;
			EXPECT_EQ(is.max_usecs, expected[queue][1]) << queue;
		}
		ASSERT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 1, &packets, &usecs), 0)
			<< plx_error();
		EXPECT_EQ(packets, 32u);
		EXPECT_EQ(usecs, 300u);
		restart();
	}
	EXPECT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_TX, 2, 1, 1), -EINVAL);
	EXPECT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, PLX_ETH_ALL_QUEUES, &packets, &usecs),
		-EINVAL);
}

TEST_P(ControlModern, RefusedAnswerIsNotUsed)
{
	uint32_t packets = 77, usecs = 77;

	run();
	ack = VIRTIO_NET_ERR;
	EXPECT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 0, &packets, &usecs), -EPERM);
	EXPECT_EQ(packets, 77u);
	EXPECT_EQ(usecs, 77u);
}

TEST_P(ControlModern, DeviceStatisticsComeFromTheDevice)
{
	auto frame = make_frame(100, 1);

	run(2);
	for (unsigned i = 0; i < 3; i++) {
		ASSERT_EQ(send(build(frame)), 1);
		ASSERT_EQ(plx_emu_inject(card, 1, frame.data(), frame.size()), 0);
	}
	step();
	auto stats = device_stats();
	EXPECT_EQ(stats.at("device.tx0.packets"), 3u);
	EXPECT_EQ(stats.at("device.tx0.bytes"), 300u);
	EXPECT_EQ(stats.at("device.tx1.packets"), 0u);
	EXPECT_EQ(stats.at("device.rx1.packets"), 3u);
	EXPECT_EQ(stats.at("device.rx0.packets"), 0u);
	EXPECT_EQ(stats.at("device.ctrl.commands"), stats.at("device.ctrl.ok"));
}

TEST_P(ControlModern, SpeedAndDuplexAreKnownOrSaidNotToBe)
{
	struct plx_eth_link link;

	config.speed = 25000;
	run();
	ASSERT_EQ(plx_eth_get_link(eth, &link), 0) << plx_error();
	EXPECT_TRUE(link.up);
	EXPECT_EQ(link.speed, 25000u);
	EXPECT_EQ(link.duplex, PLX_ETH_DUPLEX_FULL);
	close();
	config.speed = 0x80000000u;
	config.duplex = 0xff;
	run();
	ASSERT_EQ(plx_eth_get_link(eth, &link), 0) << plx_error();
	EXPECT_EQ(link.speed, PLX_ETH_SPEED_UNKNOWN);
	EXPECT_EQ(link.duplex, PLX_ETH_DUPLEX_UNKNOWN);
}

INSTANTIATE_TEST_SUITE_P(Layouts, ControlModern, ::testing::Values(CTRL_SPLIT, CTRL_PACKED),
	[](const auto &info) { return std::string(control_layout_name(info.param)); });

} // namespace
