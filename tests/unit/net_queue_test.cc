/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

/*
 * One queue stopped, resized and started while others run (virtio 1.4, 2.6.1), and doorbells that
 * say more than a queue's number (2.9, 4.1.5.2).
 */

namespace
{

constexpr uint16_t kRx0 = 0, kRx1 = 2;

class NetQueue : public NetFixture, public ::testing::WithParamInterface<bool>
{
      protected:
	struct Lies {
		NetQueue *test;
		unsigned busy = 0;     /* reads of queue_reset that still say 1 */
		unsigned asked = 0;    /* reads of queue_reset */
		uint16_t answer = 1;   /* while it is busy */
		bool enabled = false;  /* queue_enable stays as it was */
		unsigned refusals = 0; /* of queue_enable */
	} lies = {this};

	void SetUp() override
	{
		NetFixture::SetUp();
		if (HasFatalFailure())
			return;
		config.pairs = 2;
		config.queue_size = 256;
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam());
		eth_config.queue_pairs = 2;
		limits.reset = PLX_MILLISECONDS(20);
		/* The hooks have one argument for all. */
		config.hooks.arg = &lies;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			static_cast<Lies *>(arg)->test->breaches.push_back(
				std::string(rule) + ": " + text);
		};
		config.hooks.read = [](void *arg, enum plx_emu_place place, uint64_t offset,
					    unsigned, uint64_t *value) {
			auto *l = static_cast<Lies *>(arg);

			if (place != PLX_EMU_COMMON)
				return;
			if (offset == VIRTIO_PCI_COMMON_QUEUE_RESET) {
				l->asked++;
				if (l->busy) {
					l->busy--;
					*value = l->answer;
				}
			}
			if (offset == VIRTIO_PCI_COMMON_QUEUE_ENABLE && l->enabled)
				*value = 1;
		};
	}

	void run(const char *options = "")
	{
		start(options);
		step();
	}

	int stop(enum plx_eth_direction direction, unsigned index)
	{
		return plx_eth_stop_queue(eth, direction, index);
	}

	int start_again(enum plx_eth_direction direction, unsigned index, uint16_t entries = 0)
	{
		int err = plx_eth_start_queue(eth, direction, index, entries);

		if (!err)
			step();
		return err;
	}

	std::vector<std::vector<uint8_t>> receive_from(unsigned pair)
	{
		std::vector<std::vector<uint8_t>> frames;
		struct plx_packet *packet;

		while (plx_eth_rx_burst(plx_eth_rxq(eth, pair), &packet, 1) == 1) {
			frames.push_back(bytes_of(packet));
			plx_packet_free(packet);
		}
		return frames;
	}

	int send_on(unsigned pair, const std::vector<uint8_t> &frame)
	{
		struct plx_packet *packet = build(frame);
		int ret = plx_eth_tx_burst(plx_eth_txq(eth, pair), &packet, 1);

		if (ret <= 0)
			plx_packet_free(packet);
		return ret;
	}

	/* A frame in each direction of a pair. */
	void passes(unsigned pair, unsigned seed)
	{
		auto frame = make_frame(60 + seed, seed);
		std::vector<uint8_t> out(2048);

		ASSERT_EQ(send_on(pair, frame), 1) << plx_error();
		step();
		out.resize(plx_emu_take(card, pair, out.data(), out.size()));
		EXPECT_EQ(out, frame);
		ASSERT_EQ(plx_emu_inject(card, pair, frame.data(), frame.size()), 0);
		step();
		EXPECT_EQ(receive_from(pair), std::vector<std::vector<uint8_t>>{frame});
	}
};

TEST_P(NetQueue, AStoppedQueueGivesItsBuffersBackWhileTheOtherRuns)
{
	run();
	uint64_t before = plx_pool_available(pool);
	auto frame = make_frame(100, 7);

	/* One frame was received and not fetched, others are free for more. */
	plx_emu_inject(card, 1, frame.data(), frame.size());
	step();
	ASSERT_EQ(stop(PLX_ETH_RX, 1), 0) << plx_error();
	EXPECT_EQ(plx_pool_available(pool), before + 256);
	struct plx_packet *none;
	EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(eth, 1), &none, 1), -ESHUTDOWN);
	for (unsigned i = 0; i < 600; i++)
		passes(0, i);
	ASSERT_EQ(start_again(PLX_ETH_RX, 1), 0) << plx_error();
	for (unsigned i = 0; i < 600; i++)
		passes(1, i);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	expect_all_back();
}

TEST_P(NetQueue, FramesThatWaitToBeSentComeBackOnce)
{
	run();
	uint64_t before = plx_pool_available(pool);

	plx_emu_hold(card, 3, true);
	for (unsigned i = 0; i < 50; i++)
		ASSERT_EQ(send_on(1, make_frame(60, i)), 1);
	ASSERT_EQ(stop(PLX_ETH_TX, 1), 0) << plx_error();
	EXPECT_EQ(plx_pool_available(pool), before);
	struct plx_packet *packet = build(make_frame(60, 1));
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 1), &packet, 1), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_tx_prepare(plx_eth_txq(eth, 1), &packet, 1), -ESHUTDOWN);
	plx_packet_free(packet);
	plx_emu_hold(card, 3, false);
	passes(0, 1);
	ASSERT_EQ(start_again(PLX_ETH_TX, 1), 0) << plx_error();
	/* What waited before the stop was never sent. */
	for (unsigned i = 0; i < 600; i++)
		passes(1, i);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	expect_all_back();
}

TEST_P(NetQueue, TheRingMayHaveAnotherSizeAfterwards)
{
	run();
	for (uint16_t entries : {16, 256, 2, 128}) {
		for (enum plx_eth_direction direction : {PLX_ETH_RX, PLX_ETH_TX}) {
			ASSERT_EQ(stop(direction, 0), 0) << plx_error();
			ASSERT_EQ(start_again(direction, 0, entries), 0) << plx_error();
		}
		for (unsigned i = 0; i < 300; i++)
			passes(0, i);
		passes(1, entries);
	}
	uint64_t before = plx_pool_available(pool);
	ASSERT_EQ(stop(PLX_ETH_RX, 0), 0);
	/* Those of its cache come back with those of the ring, of which half may be out. */
	EXPECT_GE(plx_pool_available(pool), before + 128 / 2);
	EXPECT_EQ(plx_eth_start_queue(eth, PLX_ETH_RX, 0, 512), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("512"), std::string::npos);
	ASSERT_EQ(start_again(PLX_ETH_RX, 0), 0) << plx_error();
	passes(0, 1);
}

TEST_P(NetQueue, ABrokenQueueIsMendedAlone)
{
	struct plx_packet *packet;
	auto frame = make_frame(60, 1);

	config.hooks.used = [](void *arg, unsigned queue, uint32_t *id, uint32_t *) {
		if (queue == kRx0 && static_cast<Lies *>(arg)->refusals)
			*id = 0xffff;
	};
	run();
	lies.refusals = 1;
	plx_emu_inject(card, 0, frame.data(), frame.size());
	step();
	EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(eth, 0), &packet, 1), -EIO);
	lies.refusals = 0;
	passes(1, 3);
	ASSERT_EQ(stop(PLX_ETH_RX, 0), 0) << plx_error();
	ASSERT_EQ(start_again(PLX_ETH_RX, 0), 0) << plx_error();
	passes(0, 4);
}

TEST_P(NetQueue, TheResetIsWaitedFor)
{
	run();
	lies.busy = 5;
	ASSERT_EQ(stop(PLX_ETH_RX, 1), 0) << plx_error();
	EXPECT_EQ(lies.asked, 6u);
	ASSERT_EQ(start_again(PLX_ETH_RX, 1), 0) << plx_error();
	passes(1, 1);
}

TEST_P(NetQueue, WithoutConfirmationTheBuffersStayUntilTheDeviceIsStopped)
{
	run();
	uint64_t before = plx_pool_available(pool);

	lies.busy = UINT32_MAX;
	EXPECT_EQ(stop(PLX_ETH_RX, 1), -EIO);
	EXPECT_EQ(plx_pool_available(pool), before);
	struct plx_packet *none;
	EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(eth, 1), &none, 1), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_start_queue(eth, PLX_ETH_RX, 1, 0), -EIO);
	passes(0, 1);
	/* It may be tried again. */
	lies.busy = 0;
	ASSERT_EQ(stop(PLX_ETH_RX, 1), 0) << plx_error();
	EXPECT_EQ(plx_pool_available(pool), before + 256);
	lies.enabled = true;
	EXPECT_EQ(stop(PLX_ETH_TX, 1), -EIO);
	lies.enabled = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	step();
	passes(1, 2);
}

TEST_P(NetQueue, ADeviceThatIsGoneIsTold)
{
	run();
	lies.busy = 1;
	lies.answer = UINT16_MAX;
	EXPECT_EQ(stop(PLX_ETH_TX, 0), -ENODEV);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	expect_all_back();
}

TEST_P(NetQueue, OnlyARunningQueueIsStoppedAndOnlyAStoppedOneStarted)
{
	run();
	EXPECT_EQ(plx_eth_start_queue(eth, PLX_ETH_TX, 0, 0), -EALREADY);
	ASSERT_EQ(stop(PLX_ETH_TX, 0), 0);
	EXPECT_EQ(stop(PLX_ETH_TX, 0), -EALREADY);
	EXPECT_EQ(stop(PLX_ETH_TX, 2), -EINVAL);
	EXPECT_EQ(plx_eth_start_queue(eth, PLX_ETH_RX, 2, 0), -EINVAL);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	EXPECT_EQ(stop(PLX_ETH_TX, 1), -ESHUTDOWN);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	step();
	passes(0, 1);
}

TEST_P(NetQueue, CountersGoOnOverIt)
{
	run();
	passes(0, 1);
	uint64_t kicks = counter("tx0.kicks");
	ASSERT_EQ(stop(PLX_ETH_TX, 0), 0);
	EXPECT_EQ(counter("tx0.kicks"), kicks);
	ASSERT_EQ(start_again(PLX_ETH_TX, 0), 0);
	passes(0, 2);
	EXPECT_GT(counter("tx0.kicks"), kicks);
	EXPECT_EQ(counter("tx0.packets"), 2u);
}

TEST_P(NetQueue, AnEmptyPoolLeavesItStoppedAndNothingLost)
{
	pool_config.count = 256 * 2;
	run();
	ASSERT_EQ(stop(PLX_ETH_RX, 1), 0) << plx_error();
	struct plx_pool_cache *cache;
	std::vector<struct plx_packet *> held(plx_pool_available(pool) - 10);

	ASSERT_EQ(plx_pool_cache_create(pool, &cache), 0);
	for (struct plx_packet *&packet : held)
		ASSERT_EQ(plx_pool_get(cache, &packet, 1), 1u);
	plx_pool_cache_destroy(cache);
	EXPECT_EQ(plx_eth_start_queue(eth, PLX_ETH_RX, 1, 0), -ENOBUFS);
	EXPECT_EQ(plx_pool_available(pool), 10u);
	for (struct plx_packet *packet : held)
		plx_packet_free(packet);
	ASSERT_EQ(start_again(PLX_ETH_RX, 1), 0) << plx_error();
	ASSERT_EQ(plx_eth_stop(eth), 0);
	expect_all_back();
}

TEST_P(NetQueue, PairsInUseAreComplete)
{
	run();
	ASSERT_EQ(stop(PLX_ETH_TX, 1), 0);
	EXPECT_EQ(plx_eth_set_queue_pairs(eth, 2), -EBUSY);
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 1), 0) << plx_error();
	struct plx_packet *packet = build(make_frame(60, 1));
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 1), &packet, 1), -ESHUTDOWN);
	plx_packet_free(packet);
	ASSERT_EQ(start_again(PLX_ETH_TX, 1), 0) << plx_error();
	ASSERT_EQ(plx_eth_set_queue_pairs(eth, 2), 0) << plx_error();
	passes(1, 1);
}

TEST_P(NetQueue, SuspensionLeavesAStoppedQueueAlone)
{
	struct plx_packet *packet;

	plx_emu_config_offer(&config, VIRTIO_F_SUSPEND, true);
	run();
	ASSERT_EQ(stop(PLX_ETH_TX, 0), 0);
	packet = build(make_frame(60, 1));
	ASSERT_EQ(plx_eth_suspend(eth), 0) << plx_error();
	ASSERT_EQ(plx_eth_resume(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1), -ESHUTDOWN);
	plx_packet_free(packet);
	ASSERT_EQ(start_again(PLX_ETH_TX, 0), 0) << plx_error();
	passes(0, 1);
	passes(1, 1);
}

TEST_P(NetQueue, CoalescingOfTheQueueIsSetAgain)
{
	uint32_t packets, usecs;

	run();
	ASSERT_EQ(plx_eth_set_coalescing(eth, PLX_ETH_RX, 1, 9, 90), 0) << plx_error();
	ASSERT_EQ(stop(PLX_ETH_RX, 1), 0);
	ASSERT_EQ(start_again(PLX_ETH_RX, 1), 0) << plx_error();
	ASSERT_EQ(plx_eth_get_coalescing(eth, PLX_ETH_RX, 1, &packets, &usecs), 0) << plx_error();
	EXPECT_EQ(packets, 9u);
	EXPECT_EQ(usecs, 90u);
}

TEST_P(NetQueue, WithoutTheFeatureItIsRefusedWithTheReason)
{
	plx_emu_config_offer(&config, VIRTIO_F_RING_RESET, false);
	run();
	EXPECT_EQ(stop(PLX_ETH_RX, kRx1 / 2), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("not offered"), std::string::npos) << plx_error();
	passes(0, 1);
}

TEST_P(NetQueue, LegacyCannotDoIt)
{
	config.interface = PLX_EMU_TRANSITIONAL;
	eth_config.queue_pairs = 1;
	run(",legacy=on");
	EXPECT_EQ(stop(PLX_ETH_RX, 0), -ENOTSUP);
}

/* The card checks every value that is written to a doorbell. */
TEST_P(NetQueue, DoorbellsCarryWhatTheDeviceAsksFor)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, kind & 1);
		plx_emu_config_offer(&config, VIRTIO_F_NOTIF_CONFIG_DATA, kind & 2);
		run();
		if (HasFatalFailure())
			return;
		for (unsigned i = 0; i < 600; i++) {
			passes(0, i);
			passes(1, i);
		}
		EXPECT_GT(counter("tx0.kicks"), 0u);
		EXPECT_GT(counter("rx1.kicks"), 0u);
		close();
	}
}

INSTANTIATE_TEST_SUITE_P(Layouts, NetQueue, ::testing::Bool(),
	[](const ::testing::TestParamInfo<bool> &info) { return info.param ? "Packed" : "Split"; });

} // namespace
