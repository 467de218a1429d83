/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile.h"

#include <random>
#include <thread>

/*
 * What else a card may do to the driver once it runs, by the numbers of doc/hostile.md: lies that
 * take more than one line, resets that do not end, memory that it should not reach, its removal.
 */

namespace
{

class HostileRun : public HostileFixture, public ::testing::WithParamInterface<Layout>
{
      protected:
	void SetUp() override
	{
		HostileFixture::SetUp();
		use_layout(GetParam());
	}

	/* Where the receive buffers lie, and how long they are. */
	std::vector<std::pair<uint64_t, uint32_t>> receive_buffers()
	{
		std::vector<std::pair<uint64_t, uint32_t>> all;
		auto state = queue_state(0);

		for (unsigned i = 0; i < state.size; i++) {
			uint64_t address = 0;
			uint32_t len = 0;

			EXPECT_EQ(plx_emu_peek(card, state.descriptors + 16 * i, &address, 8), 0);
			EXPECT_EQ(plx_emu_peek(card, state.descriptors + 16 * i + 8, &len, 4), 0);
			all.emplace_back(address, len);
		}
		return all;
	}
};

TEST_P(HostileRun, No7_ResetThatNeverEndsIsFollowedByTheFunctionReset)
{
	begin();
	ignore_resets();
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(count_messages("resetting the PCI function instead"), 1u);
	expect_all_back();
	honest();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

TEST_P(HostileRun, No7_WithoutAnyResetNoBufferComesBackBeforeTheDeviceIsClosed)
{
	begin();
	ignore_resets();
	lies.reset = [] { return false; };
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_NE(
		std::string(plx_error()).find("emu:net: no reset is confirmed"), std::string::npos)
		<< plx_error();
	EXPECT_LE(plx_pool_available(pool), plx_pool_count(pool) - kRing / 2);
	EXPECT_EQ(plx_eth_start(eth), -EIO);
	EXPECT_EQ(try_configure(), -EIO);
	honest();
	close();
	expect_all_back();
}

TEST_P(HostileRun, No7_WhatHasLeftTheBusReachesNoBufferAnyMore)
{
	begin();
	plx_emu_unplug(card);
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(HostileRun, No7_SecondStopDoesNotCallBuffersSafeThatAreNot)
{
	begin();
	ignore_resets();
	lies.reset = [] { return false; };
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_NE(std::string(plx_error()).find("no reset is confirmed"), std::string::npos)
		<< plx_error();
	EXPECT_LT(plx_pool_available(pool), plx_pool_count(pool));
	honest();
	close();
	expect_all_back();
}

TEST_P(HostileRun, No7_SecondStopTriesAgain)
{
	begin();
	ignore_resets();
	lies.reset = [] { return false; };
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_EQ(plx_eth_start(eth), -EIO);
	EXPECT_NE(std::string(plx_error()).find("stop it again, or close it"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_LT(plx_pool_available(pool), plx_pool_count(pool));
	expect_recovery();
}

TEST_P(HostileRun, No17_NeedsResetInMidRunEndsWithAStopAndAStart)
{
	begin();
	plx_emu_need_reset(card);
	Outcome outcome = traffic(40);
	EXPECT_EQ(outcome.received, 0u);
	EXPECT_LE(outcome.sent, kRing);
	/* The legacy interface has no word for it: it loses DRIVER_OK at the most, as below. */
	if (!(GetParam() & OLD)) {
		EXPECT_EQ(receive_until_told(), -EIO);
		EXPECT_NE(std::string(plx_error()).find("a fault of its own"), std::string::npos);
		EXPECT_EQ(send_until_told(), -EIO);
		EXPECT_EQ(counter("rx0.broken"), 1u);
		EXPECT_EQ(counter("tx0.broken"), 1u);
		EXPECT_EQ(count_messages("a fault of its own"), 2u);
	}
	expect_recovery();
}

TEST_P(HostileRun, No17_DriverOkLostInMidRunEndsWithAStopAndAStart)
{
	begin();
	/* The second is as after a reset that the driver knows nothing of. */
	for (int status : {VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, 0}) {
		register_reads(GetParam() & OLD ? VIRTIO_PCI_LEGACY_DEVICE_STATUS
						: VIRTIO_PCI_COMMON_DEVICE_STATUS,
			status);
		EXPECT_EQ(receive_until_told(), -EIO);
		EXPECT_EQ(send_until_told(), -EIO);
		expect_recovery();
	}
}

/* Frames of two buffers each, of which the second is not what it should be. */
TEST_P(HostileRun, No20_IdOutsideTheRingInTheMiddleOfAFrameBreaksTheQueue)
{
	bool second = false;

	plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false); /* each is named */
	pool_config.data_size = 256;
	begin();
	lies.used = [&](unsigned queue, uint32_t *id, uint32_t *) {
		if (!queue && (second = !second) == false)
			*id = kRing;
	};
	Outcome outcome = traffic();
	EXPECT_EQ(outcome.rx, -EIO);
	EXPECT_EQ(outcome.received, 0u);
	EXPECT_EQ(counter("rx0.drop.missing_buffers"), 1u);
	EXPECT_EQ(counter("rx0.broken"), 1u);
	EXPECT_EQ(count_messages("broke the queue"), 1u);
	expect_recovery();
}

/*
 * The order of the ring is lost where no run of buffers shows it: behind the last that was asked
 * for.
 */
TEST_P(HostileRun, No21_BufferOutOfTurnInTheMiddleOfAFrameComesBackOnce)
{
	auto frame = make_frame(600, 1);
	unsigned nth = 0;

	plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false);
	pool_config.data_size = 256;
	begin();
	lies.used = [&](unsigned queue, uint32_t *id, uint32_t *) {
		if (queue || nth > 2)
			return;
		if (nth)
			*id = (*id + (nth == 1 ? 1 : kRing - 1)) % kRing;
		nth++;
	};
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	EXPECT_LE(receive(1).size(), 1u);
	(void)traffic(40);
	expect_recovery();
	EXPECT_EQ(count_messages("came back to a pool"), 0u);
}

TEST_P(HostileRun, No36_BufferWithoutBytesInTheMiddleOfAFrameDropsTheFrame)
{
	bool second = false;

	plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false); /* each is named */
	pool_config.data_size = 256;
	begin();
	lies.used = [&](unsigned queue, uint32_t *, uint32_t *len) {
		if (!queue && (second = !second) == false)
			*len = 0;
	};
	Outcome outcome = traffic();
	EXPECT_EQ(outcome.rx, 0) << outcome.rx_error;
	EXPECT_EQ(counter("rx0.drop.bad_length"), 200u);
	honest();
	expect_traffic();
	expect_recovery();
}

TEST_P(HostileRun, No27_SuppressedNotificationsAreSentAfterAWhile)
{
	for (bool event_idx : {false, true}) {
		plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, event_idx);
		begin();
		if (HasFatalFailure())
			return;
		/* No notification, it says, and it never looks by itself. */
		lies.suppress = [](unsigned, uint16_t *event, uint16_t *flags) {
			*event = is_packed(GetParam()) ? 0 : (uint16_t)(*event + 0x4000);
			*flags = is_packed(GetParam()) ? VIRTQ_PACKED_EVENT_DISABLE
						       : VIRTQ_USED_F_NO_NOTIFY;
		};
		(void)traffic(4); /* it settles into the lie */
		step();
		auto frame = make_frame(60, 1);
		unsigned got = 0, received = 0;

		for (unsigned i = 0; i < 5000 && (!got || !received); i++) {
			(void)plx_emu_inject(card, 0, frame.data(), frame.size());
			(void)send(build(frame));
			step();
			got += !sent().empty();
			received += !receive().empty() && counter("rx0.kicks_forced");
			plx_sleep(PLX_MILLISECONDS(1));
		}
		EXPECT_GT(got, 0u) << "nothing was ever sent";
		EXPECT_GT(received, 0u) << "nothing was ever received";
		EXPECT_GE(counter("tx0.kicks_forced"), 1u);
		expect_recovery();
		close();
	}
}

/* One who waits for an answer sends nothing more that would fill the ring. */
TEST_P(HostileRun, No27_SuppressedFrameIsSentAfterAWhileThoughNothingMoreIs)
{
	const auto last = make_frame(60, 77);
	bool got = false;

	begin();
	lies.suppress = [](unsigned, uint16_t *event, uint16_t *flags) {
		*event = is_packed(GetParam()) ? 0 : (uint16_t)(*event + 0x4000);
		*flags =
			is_packed(GetParam()) ? VIRTQ_PACKED_EVENT_DISABLE : VIRTQ_USED_F_NO_NOTIFY;
	};
	(void)traffic(4); /* it settles into the lie */
	ASSERT_EQ(send(build(last)), 1);
	for (unsigned i = 0; i < 5000 && !got; i++) {
		step();
		for (auto frame = sent(); !frame.empty(); frame = sent())
			got |= frame == last;
		ASSERT_EQ(plx_eth_tx_burst(txq(), nullptr, 0), 0);
		plx_sleep(PLX_MILLISECONDS(1));
	}
	EXPECT_TRUE(got);
	EXPECT_GE(counter("tx0.kicks_forced"), 1u);
	expect_recovery();
}

TEST_P(HostileRun, No28_ValuesThatChangeAllTheTimeDoNoHarm)
{
	const auto began = std::chrono::steady_clock::now();
	bool over = false;
	unsigned broken = 0;
	/* Ten that broke in three seconds are enough; where everything is slow, so is one. */
	auto goes_on = [&] {
		auto time = std::chrono::steady_clock::now() - began;

		return time < (broken ? std::chrono::seconds(3) : std::chrono::seconds(60));
	};

	breaches_allowed = true; /* the card cannot trust its own rings */
	begin();
	std::thread liar([&] {
		std::minstd_rand random(1);

		while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
			unsigned queue = (unsigned)random() % 2;
			plx_emu_queue_state state;

			plx_emu_get_queue(card, queue, &state);
			if (!state.enabled)
				continue;
			/* The used ring with its index, or whole packed descriptors. */
			uint64_t area =
				is_packed(GetParam()) ? state.descriptors : state.device_area;
			uint64_t size = is_packed(GetParam()) ? 16 * kRing : 4 + 8 * kRing;
			uint32_t value = (uint32_t)random() & 0x8083001f;

			(void)plx_emu_poke(
				card, area + 4 * ((uint64_t)random() % (size / 4)), &value, 4);
		}
	});
	while (broken < 10 && goes_on()) {
		Outcome outcome = traffic(20);

		broken += outcome.rx || outcome.tx;
		EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	liar.join();
	EXPECT_GT(broken, 0u) << "the liar was too slow";
	expect_recovery();
}

/* This one is of packed rings alone. */
class HostilePacked : public HostileFixture
{
};

TEST_F(HostilePacked, No32_MoreMarkedUsedThanIsInFlightBreaksTheQueue)
{
	std::vector<struct plx_packet *> held;
	struct plx_packet *packet;
	struct plx_pool_cache *cache;
	auto frame = make_frame(60, 1);
	int got = 0;

	use_layout(PACKED);
	begin();
	/* The application keeps everything, so that the ring cannot be filled again. */
	ASSERT_EQ(plx_pool_cache_create(pool, &cache), 0);
	while (plx_pool_get(cache, &packet, 1))
		held.push_back(packet);
	for (unsigned i = 0; i < 1000 && !counter("rx0.no_buffers"); i++) {
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
		if (plx_eth_rx_burst(rxq(), &packet, 1) == 1)
			held.push_back(packet);
	}
	ASSERT_GT(counter("rx0.no_buffers"), 0u);
	lies.used_extra = [](unsigned queue) { return queue ? 0 : kRing - 1; };
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	while ((got = plx_eth_rx_burst(rxq(), &packet, 1)) == 1)
		held.push_back(packet);
	EXPECT_EQ(got, -EIO);
	EXPECT_NE(std::string(plx_error()).find("more was reported used"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(count_messages("broke the queue"), 1u);
	for (struct plx_packet *one : held)
		plx_pool_put(cache, &one, 1);
	plx_pool_cache_destroy(cache);
	expect_recovery();
}

TEST_P(HostileRun, No34_WorkWithoutEndIsTakenInBurstsOfTheCallersSize)
{
	auto frame = make_frame(60, 1);
	struct plx_packet *packets[4];

	begin();
	for (unsigned i = 0; i < 200; i++) {
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
	}
	for (unsigned i = 0; i < 100; i++) {
		int got = plx_eth_rx_burst(rxq(), packets, 4);

		ASSERT_GE(got, 0);
		ASSERT_LE(got, 4);
		for (int j = 0; j < got; j++)
			plx_packet_free(packets[j]);
		step(); /* there is always more */
	}
}

TEST_P(HostileRun, No37_FrameLongerThanAFrameCanBeIsDropped)
{
	auto frame = make_frame(PLX_EMU_FRAME, 1);

	options += ",mrg_rxbuf=on";
	config.queue_size = 128;
	begin();
	ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
	step();
	EXPECT_TRUE(receive().empty());
	EXPECT_EQ(counter("rx0.drop.bad_length"), 1u);
	expect_traffic();
}

TEST_P(HostileRun, No44_LateWritesHitNothingThatSomebodyElseHas)
{
	std::vector<struct plx_packet *> packets;
	struct plx_pool_cache *cache;
	struct plx_packet *packet;

	begin();
	auto buffers = receive_buffers();
	ignore_resets();
	lies.reset = [] { return false; };
	EXPECT_EQ(plx_eth_stop(eth), -EIO);

	/* The application takes every packet that there is and writes into it. */
	ASSERT_EQ(plx_pool_cache_create(pool, &cache), 0);
	while (plx_pool_get(cache, &packet, 1)) {
		plx_packet_prepare(packet, 0);
		memset(plx_packet_data(packet), 0x11, plx_pool_data_size(pool));
		packets.push_back(packet);
	}
	EXPECT_GT(packets.size(), 0u);
	/* The device never heard that it was over. */
	for (auto &buffer : buffers) {
		std::vector<uint8_t> junk(buffer.second, 0xee);

		EXPECT_EQ(plx_emu_poke(card, buffer.first, junk.data(), junk.size()), 0)
			<< "the memory was unmapped under the device: " << plx_error();
	}
	unsigned hit = 0;
	for (struct plx_packet *one : packets) {
		const uint8_t *data = plx_packet_data(one);

		hit += std::count(data, data + plx_pool_data_size(pool), 0xee) > 0;
		plx_pool_put(cache, &one, 1);
	}
	EXPECT_EQ(hit, 0u) << "packets were handed out that the device still had";
	plx_pool_cache_destroy(cache);
	honest();
	close();
	expect_all_back();
}

TEST_P(HostileRun, No45_DeviceReachesPoolsAndRingsAndNothingElse)
{
	struct plx_memory_usage usage;
	static uint64_t outside;
	uint64_t reached = 0, value = 0;

	begin();
	plx_context_memory(ctx, &usage);
	EXPECT_EQ(plx_emu_peek(card, (uint64_t)(uintptr_t)&outside, &value, 8), -EFAULT);
	EXPECT_EQ(plx_emu_peek(card, (uint64_t)(uintptr_t)&value, &value, 8), -EFAULT);
	/* Around everything that it was given there is an end on either side. */
	uint64_t first = queue_state(0).descriptors & ~UINT64_C(4095);
	while (!plx_emu_peek(card, first - 4096, &value, 8))
		first -= 4096;
	while (!plx_emu_peek(card, first + reached, &value, 8))
		reached += 4096;
	EXPECT_LE(reached, usage.mapped);
}

TEST_P(HostileRun, No45_MemoryThatIsOnlySentFromCannotBeWritten)
{
	auto frame = make_frame(60, 1);
	uint64_t header = 0;
	uint8_t junk = 0xee;

	begin();
	plx_emu_hold(card, 1, true);
	ASSERT_EQ(
		send(build(frame, {}, 0)), 1); /* without headroom: a header of zeros from apart */
	auto state = queue_state(1);
	for (unsigned i = 0; i < state.size && !header; i++) {
		uint64_t address = 0;
		uint32_t len = 0;

		ASSERT_EQ(plx_emu_peek(card, state.descriptors + 16 * i, &address, 8), 0);
		ASSERT_EQ(plx_emu_peek(card, state.descriptors + 16 * i + 8, &len, 4), 0);
		if (len == 10 || len == 12)
			header = address;
	}
	ASSERT_NE(header, 0u);
	EXPECT_EQ(plx_emu_peek(card, header, &junk, 1), 0);
	EXPECT_EQ(plx_emu_poke(card, header, &junk, 1), -EFAULT);
	plx_emu_hold(card, 1, false);
	step();
	EXPECT_EQ(sent(), frame);
}

TEST_P(HostileRun, No46_RemovalInMidRunIsSurvived)
{
	for (bool silent : {false, true}) {
		config.gone_silent = silent;
		begin();
		if (HasFatalFailure())
			return;
		struct plx_eth_info info;

		plx_eth_get_info(eth, &info);
		EXPECT_TRUE(info.link_up);
		plx_emu_unplug(card);
		Outcome outcome = traffic(100);
		plx_eth_get_info(eth, &info);
		EXPECT_FALSE(info.link_up);

		EXPECT_LE(outcome.sent, kRing);
		EXPECT_EQ(outcome.received, 0u);
		EXPECT_EQ(receive_until_told(), -ENODEV);
		EXPECT_NE(std::string(plx_error()).find("the device is gone"), std::string::npos);
		EXPECT_EQ(send_until_told(), -ENODEV);
		EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		close();
	}
}

INSTANTIATE_TEST_SUITE_P(Layouts, HostileRun, ::testing::ValuesIn(kLayouts),
	[](const auto &info) { return std::string(layout_name(info.param)); });

} // namespace
