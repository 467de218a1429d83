/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_control.h"

#include <chrono>

/*
 * A card that lies where it is controlled: in the number of its queues, in its answers, and in what
 * it has to say. The numbers are those of doc/hostile.md. Frames go on in all cases.
 */

namespace
{

class HostileControl : public ControlFixture, public ::testing::WithParamInterface<ControlLayout>
{
      protected:
	void SetUp() override
	{
		ControlFixture::SetUp();
		use(GetParam());
	}

	void TearDown() override
	{
		ack.reset();
		close();
		if (pool)
			expect_all_back();
		ControlFixture::TearDown();
	}

	/* The number of pairs in the card's configuration always reads as @value. */
	void claim_pairs(uint16_t value)
	{
		claimed_ = value;
		config.hooks.read = [](void *arg, plx_emu_place place, uint64_t offset,
					    unsigned len, uint64_t *is) {
			auto *test =
				static_cast<HostileControl *>(static_cast<ControlFixture *>(arg));

			for (unsigned i = 0; place == PLX_EMU_DEVICE_CONFIG && i < len; i++) {
				uint64_t at = offset + i - VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS;

				if (at > 1)
					continue;
				*is &= ~(UINT64_C(0xff) << 8 * i);
				*is |= (uint64_t)(test->claimed_ >> 8 * at & 0xff) << 8 * i;
			}
		};
	}

	int set_promiscuous()
	{
		return plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true);
	}

	/* The queue is retired: every further command fails at once, and a restart mends it. */
	void expect_retired()
	{
		/* Each would wait for 20 milliseconds otherwise. */
		auto began = std::chrono::steady_clock::now();
		size_t sent_before = commands.size();

		for (unsigned i = 0; i < 1000; i++)
			EXPECT_EQ(set_promiscuous(), -EIO);
		EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15));
		EXPECT_EQ(commands.size(), sent_before);
		expect_traffic();
		ack.reset();
		restart();
		EXPECT_EQ(set_promiscuous(), 0) << plx_error();
		EXPECT_TRUE(state().promiscuous);
		expect_traffic();
	}

      private:
	uint16_t claimed_ = 0;
};

TEST_P(HostileControl, No12_ImpossibleNumberOfQueuePairsIsTakenForOne)
{
	for (uint16_t pairs : {0x0000, 0x8000, 0xffff}) {
		claim_pairs(pairs);
		run();
		plx_eth_info info;
		plx_eth_get_info(eth, &info);
		EXPECT_EQ(info.max_queue_pairs, 1) << pairs;
		EXPECT_EQ(set_promiscuous(), 0) << plx_error();
		expect_traffic();
		close();
	}
	EXPECT_EQ(messages.size(), 3u);
}

/* The control queue would lie behind queues that are not there. */
TEST_P(HostileControl, No12_ControlQueueThatIsNotThereEndsTheStart)
{
	claim_pairs(0x7fff);
	eth_config.queue_pairs = 2;
	config.pairs = 2;
	ASSERT_EQ(try_open(options.c_str()), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	EXPECT_TRUE(error_says("no queue 65534")) << plx_error();
}

TEST_P(HostileControl, No12_QueuePairsThatAreNotThereEndTheStart)
{
	claim_pairs(100);
	eth_config.queue_pairs = 8;
	config.pairs = 2;
	ASSERT_EQ(try_open(options.c_str()), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	EXPECT_TRUE(error_says("no queue 5")) << plx_error();
}

TEST_P(HostileControl, No29_CommandThatNeverCompletesEndsAtItsDeadline)
{
	run();
	plx_emu_hold(card, 2, true);
	EXPECT_EQ(set_promiscuous(), -EIO);
	EXPECT_TRUE(error_says("within 20 ms")) << plx_error();
	EXPECT_EQ(counter("ctrl.unanswered"), 1u);
	plx_emu_hold(card, 2, false);
	expect_retired();
}

TEST_P(HostileControl, No40_AcknowledgementIsUnknown)
{
	run();
	for (int answer : {0x02, 0x7f, 0xff}) {
		ack = answer;
		EXPECT_EQ(set_promiscuous(), -EPROTO) << answer;
	}
	EXPECT_EQ(counter("ctrl.refused"), 3u);
	ack = VIRTIO_NET_ERR;
	EXPECT_EQ(set_promiscuous(), -EPERM);
	ack.reset();
	EXPECT_EQ(set_promiscuous(), 0) << "the queue itself is well";
	expect_traffic();
}

TEST_P(HostileControl, No40_AcknowledgementIsNotWritten)
{
	run();
	ack = -1;
	EXPECT_EQ(set_promiscuous(), -EPROTO);
	EXPECT_TRUE(error_says("no acknowledgement")) << plx_error();
	ack.reset();
	EXPECT_EQ(set_promiscuous(), 0);
}

/* What comes when nobody waits any more is written where nothing else lies. */
TEST_P(HostileControl, No40_AnswerComesAfterTheDeadline)
{
	run();
	plx_emu_hold(card, 2, true);
	EXPECT_EQ(set_promiscuous(), -EIO);
	plx_emu_hold(card, 2, false);
	step();
	EXPECT_EQ(commands.size(), 1u) << "the card got round to it";
	EXPECT_EQ(set_promiscuous(), -EIO) << "and is not asked again";
	expect_traffic();
	expect_retired();
}

TEST_P(HostileControl, No40_UsedEntryOfACommandIsALie)
{
	static const uint32_t ids[] = {32, 0xffffffff, 0x10000};
	static uint32_t lie;

	config.hooks.used = [](void *, unsigned queue, uint32_t *id, uint32_t *) {
		if (queue == 2 && lie)
			*id = lie;
	};
	/* A packed ring has 16 bits for it. */
	for (unsigned i = 0; i < (GetParam() == CTRL_PACKED ? 2u : 3u); i++) {
		lie = 0;
		run();
		lie = ids[i];
		EXPECT_EQ(set_promiscuous(), -EIO) << lie;
		EXPECT_EQ(counter("ctrl.broken"), 1u);
		lie = 0;
		expect_retired();
		close();
	}
}

TEST_P(HostileControl, No41_StormOfLinkChangesIsOneEvent)
{
	run();
	for (unsigned i = 0; i < 1001; i++)
		plx_emu_set_link(card, i % 2);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	for (unsigned i = 0; i < 1000; i++)
		plx_emu_set_link(card, i % 2);
	plx_emu_set_link(card, false);
	EXPECT_EQ(plx_eth_poll_events(eth), 0) << "it is as it was at the last look";
}

TEST_P(HostileControl, No41_StormOfAnnouncementsIsOneEvent)
{
	eth_config.announce = true;
	run();
	for (unsigned i = 0; i < 1000; i++)
		plx_emu_announce(card);
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_ANNOUNCE);
	for (unsigned i = 0; i < 1000; i++) {
		plx_emu_announce(card);
		EXPECT_EQ(plx_eth_poll_events(eth), 0) << "until it is acknowledged";
	}
	EXPECT_EQ(plx_eth_ack_announce(eth), 0);
	expect_traffic();
}

INSTANTIATE_TEST_SUITE_P(Layouts, HostileControl,
	::testing::Values(CTRL_SPLIT, CTRL_PACKED, CTRL_LEGACY, CTRL_APART),
	[](const auto &info) { return std::string(control_layout_name(info.param)); });

/* Statistics that do not hold together; the modern interface alone has them. */
class HostileStats : public ControlFixture
{
};

TEST_F(HostileStats, No40_ResultIsShorterThanItsAnswer)
{
	static uint32_t len;
	uint32_t packets = 5, usecs = 5;
	int result = 0;

	use(CTRL_SPLIT);
	config.hooks.used = [](void *, unsigned queue, uint32_t *, uint32_t *is) {
		if (queue == 2 && len)
			*is = len;
	};
	run();
	for (uint32_t is : {1, 3, 8}) {
		len = is;
		EXPECT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 0, &packets, &usecs), -EPROTO);
		EXPECT_EQ(packets, 5u);
		device_stats(&result);
		EXPECT_EQ(result, -EPROTO) << is;
	}
	len = 0;
	EXPECT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 0, &packets, &usecs), 0);
}

} // namespace
