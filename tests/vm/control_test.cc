/* SPDX-License-Identifier: BSD-3-Clause */
#include "embedding_port.h"

#include <array>

/*
 * The control queue against QEMU's own filter: what a port is told to let in arrives, and the rest
 * does not. And queues that QEMU is made to forget one at a time. Frames go from one NIC over a hub
 * to the other.
 */

namespace
{

using Mac = std::array<uint8_t, 6>;

constexpr Mac kStranger = {0x52, 0x54, 0, 0x77, 0, 1}, kOther = {0x52, 0x54, 0, 0x77, 0, 2},
	      kGroup = {0x01, 0, 0x5e, 0, 0, 5}, kOtherGroup = {0x33, 0x33, 0, 0, 0, 5},
	      kAll = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr int kUntagged = -1;

class Control : public ::testing::Test
{
      protected:
	Port sender, port;
	Mac own = {};

	bool open(uint32_t offloads = 0)
	{
		Settings settings;
		plx_eth_info info;

		settings.eth.offloads = offloads;
		if (!sender.open_and_start(address_a) || !port.open(address_b, settings))
			return false;
		if (!port.start())
			return false;
		plx_eth_get_info(port.eth, &info);
		std::copy(info.mac, info.mac + 6, own.begin());
		return DONE(plx_eth_set_rx_mode(port.eth, PLX_ETH_PROMISCUOUS, false)) &&
		       DONE(plx_eth_set_rx_mode(port.eth, PLX_ETH_ALL_MULTICAST, false));
	}

	/*
	 * Whether a frame to @to arrives. The frame that follows it goes to @known, which is let
	 * in, so that nobody waits for what does not come.
	 */
	bool passes(const Mac &to, int vlan, const Mac &known)
	{
		uint32_t number = next_label(0).run, last = next_label(0).run;

		if (!sender.send({frame(to, vlan, number), frame(known, kUntagged, last)}))
			return false;
		return arrives(number, last);
	}

	bool passes(const Mac &to, int vlan = kUntagged)
	{
		return passes(to, vlan, kAll);
	}

      private:
	plx_packet *frame(const Mac &to, int vlan, uint32_t number)
	{
		static const Mac from = {0x52, 0x54, 0, 0x99, 0, 1};
		std::vector<uint8_t> data(to.begin(), to.end());
		plx_packet *packet = sender.take();

		data.insert(data.end(), from.begin(), from.end());
		if (vlan >= 0)
			data.insert(data.end(), {0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan});
		data.insert(data.end(), {FRAME_ETHERTYPE >> 8, FRAME_ETHERTYPE & 0xff});
		data.resize(FRAME_MIN);
		frame_put32(data.data() + FRAME_MIN - 4, number);
		std::copy(data.begin(), data.end(), plx_packet_append(packet, FRAME_MIN));
		return packet;
	}

	bool arrives(uint32_t number, uint32_t last)
	{
		const auto deadline = std::chrono::steady_clock::now() + kPatience;
		bool found = false;

		while (std::chrono::steady_clock::now() < deadline) {
			plx_packet *packet;
			uint32_t got;

			if (plx_eth_rx_burst(plx_eth_rxq(port.eth, 0), &packet, 1) != 1)
				continue;
			got = frame_get32(plx_packet_data(packet) + FRAME_MIN - 4);
			plx_packet_free(packet);
			found |= got == number;
			if (got == last)
				return found;
		}
		ADD_FAILURE() << "the frame that is let in does not come";
		return false;
	}
};

TEST_F(Control, OnlyFramesToThePortArriveWhenItIsNotPromiscuous)
{
	ASSERT_TRUE(open());
	EXPECT_TRUE(passes(own));
	EXPECT_TRUE(passes(kAll));
	EXPECT_FALSE(passes(kStranger));
	EXPECT_FALSE(passes(kGroup));
	ASSERT_TRUE(DONE(plx_eth_set_rx_mode(port.eth, PLX_ETH_PROMISCUOUS, true)));
	EXPECT_TRUE(passes(kStranger));
	EXPECT_TRUE(passes(kGroup));
	ASSERT_TRUE(DONE(plx_eth_set_rx_mode(port.eth, PLX_ETH_PROMISCUOUS, false)));
	EXPECT_FALSE(passes(kStranger));
}

TEST_F(Control, EachReceiveModeLetsInOrKeepsOutItsKind)
{
	ASSERT_TRUE(open());
	const struct {
		plx_eth_rx_mode mode;
		Mac to;
		bool let_in;
		Mac known;
	} cases[] = {
		{PLX_ETH_ALL_MULTICAST, kGroup, true, kAll},
		{PLX_ETH_ALL_UNICAST, kStranger, true, kAll},
		{PLX_ETH_NO_UNICAST, own, false, kAll},
		{PLX_ETH_NO_BROADCAST, kAll, false, own},
	};

	for (const auto &each : cases) {
		EXPECT_EQ(passes(each.to, kUntagged, each.known), !each.let_in) << each.mode;
		ASSERT_TRUE(DONE(plx_eth_set_rx_mode(port.eth, each.mode, true)));
		EXPECT_EQ(passes(each.to, kUntagged, each.known), each.let_in) << each.mode;
		ASSERT_TRUE(DONE(plx_eth_set_rx_mode(port.eth, each.mode, false)));
		EXPECT_EQ(passes(each.to, kUntagged, each.known), !each.let_in) << each.mode;
	}
}

TEST_F(Control, FramesToTheAddressesOfTheTableArriveUntilItIsReplaced)
{
	const uint8_t one[6] = {0x52, 0x54, 0, 0x77, 0, 1}, group[6] = {0x01, 0, 0x5e, 0, 0, 5};
	plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT, none = PLX_ETH_MAC_TABLE_INIT;

	ASSERT_TRUE(open());
	table.unicast = &one;
	table.multicast = &group;
	table.unicast_count = table.multicast_count = 1;
	ASSERT_TRUE(DONE(plx_eth_set_mac_table(port.eth, &table)));
	EXPECT_TRUE(passes(own));
	EXPECT_TRUE(passes(kStranger));
	EXPECT_TRUE(passes(kGroup));
	EXPECT_FALSE(passes(kOther));
	EXPECT_FALSE(passes(kOtherGroup));
	ASSERT_TRUE(DONE(plx_eth_set_mac_table(port.eth, &none)));
	EXPECT_FALSE(passes(kStranger));
	EXPECT_FALSE(passes(kGroup));
}

TEST_F(Control, TheAddressOfThePortCanBeChanged)
{
	ASSERT_TRUE(open());
	ASSERT_TRUE(DONE(plx_eth_set_mac(port.eth, kStranger.data())));
	EXPECT_TRUE(passes(kStranger));
	EXPECT_FALSE(passes(own));
}

TEST_F(Control, OnlyVlansThatWereLetInArrive)
{
	ASSERT_TRUE(open(PLX_ETH_OFFLOAD_VLAN_FILTER));
	EXPECT_TRUE(passes(own));
	EXPECT_FALSE(passes(own, 5));
	ASSERT_TRUE(DONE(plx_eth_set_vlan(port.eth, 5, true)));
	ASSERT_TRUE(DONE(plx_eth_set_vlan(port.eth, 4094, true)));
	EXPECT_TRUE(passes(own, 5));
	EXPECT_TRUE(passes(own, 4094));
	EXPECT_FALSE(passes(own, 6));
	EXPECT_FALSE(passes(kStranger, 5)) << "a VLAN lets nobody else's frames in";
	ASSERT_TRUE(DONE(plx_eth_set_vlan(port.eth, 5, false)));
	EXPECT_FALSE(passes(own, 5));
	EXPECT_TRUE(passes(own, 4094));
}

TEST_F(Control, EveryVlanArrivesWhereNobodyAskedForTheFilter)
{
	ASSERT_TRUE(open());
	EXPECT_TRUE(passes(own, 5));
	EXPECT_TRUE(passes(own, 4094));
}

TEST_F(Control, WhatWasSetHoldsAfterAnotherStart)
{
	const uint8_t one[6] = {0x52, 0x54, 0, 0x77, 0, 1};
	plx_eth_mac_table table = PLX_ETH_MAC_TABLE_INIT;

	ASSERT_TRUE(open(PLX_ETH_OFFLOAD_VLAN_FILTER));
	table.unicast = &one;
	table.unicast_count = 1;
	ASSERT_TRUE(DONE(plx_eth_set_mac_table(port.eth, &table)));
	ASSERT_TRUE(DONE(plx_eth_set_vlan(port.eth, 5, true)));
	ASSERT_TRUE(port.stop());
	ASSERT_TRUE(port.start());
	EXPECT_TRUE(passes(kStranger, 5));
	EXPECT_FALSE(passes(kStranger, 6));
	EXPECT_FALSE(passes(kOther));
}

/* virtio 1.4, 2.6.1, by QEMU, with rings of other sizes each time. */
TEST_F(Control, OneQueueIsStoppedResizedAndStartedWhileTheOtherRuns)
{
	ASSERT_TRUE(open());
	for (uint16_t entries : {64, 256, 16}) {
		plx_packet *packet;

		ASSERT_TRUE(DONE(plx_eth_stop_queue(port.eth, PLX_ETH_RX, 0)));
		EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(port.eth, 0), &packet, 1), -ESHUTDOWN);
		ASSERT_TRUE(DONE(plx_eth_stop_queue(sender.eth, PLX_ETH_TX, 0)));
		ASSERT_TRUE(DONE(plx_eth_start_queue(sender.eth, PLX_ETH_TX, 0, entries)));
		ASSERT_TRUE(DONE(plx_eth_start_queue(port.eth, PLX_ETH_RX, 0, entries)));
		/* More often than the ring has entries. */
		for (unsigned i = 0; i < 300; i++)
			ASSERT_TRUE(passes(own)) << i << " on a ring of " << entries;
		EXPECT_FALSE(passes(kStranger));
	}
}

} // namespace

int main(int argc, char **argv)
{
	return test_two_nics(argc, argv);
}
