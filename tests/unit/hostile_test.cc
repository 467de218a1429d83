/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile.h"

#include <ostream>
#include <random>
#include <thread>

/*
 * What a card may do to the driver once it runs, by the numbers of doc/hostile.md. What it may do
 * before that is in hostile_start_test.cc, and what it may leave undone in hostile_stall_test.cc.
 */

namespace
{

enum Outcome {
	BREAK,    /* the queue answers -EIO from then on, and one message says why */
	DROP,     /* frames are lost and counted; traffic goes on */
	IGNORED,  /* nothing happens */
	SURVIVED, /* it cannot be told from the truth; nothing worse than lost frames happens */
};

enum Side { RX, TX };

struct Lie {
	unsigned number;
	const char *name;
	unsigned layouts;
	Side side;
	Outcome outcome;
	const char *sign; /* BREAK: in plx_error(); DROP: the counter */
	const char *options;
	std::function<void(HostileFixture &)> tell;
};

/* --- lies about used entries --- */

std::function<void(HostileFixture &)> used_id(unsigned queue, std::function<uint32_t(uint32_t)> id)
{
	return [=](HostileFixture &t) {
		t.lies.used = [=](unsigned index, uint32_t *is, uint32_t *) {
			if (index == queue)
				*is = id(*is);
		};
	};
}

std::function<void(HostileFixture &)> used_len(unsigned queue, uint32_t len)
{
	return [=](HostileFixture &t) {
		t.lies.used = [=](unsigned index, uint32_t *, uint32_t *is) {
			if (index == queue)
				*is = len;
		};
	};
}

std::function<void(HostileFixture &)> used_index(unsigned queue, int shift)
{
	return [=](HostileFixture &t) {
		t.lies.used_index = [=](unsigned index, uint16_t *is) {
			if (index == queue)
				*is = (uint16_t)(*is + shift);
		};
	};
}

std::function<void(HostileFixture &)> used_extra(unsigned queue, unsigned count)
{
	return [=](HostileFixture &t) {
		t.lies.used_extra = [=](unsigned index) { return index == queue ? count : 0; };
	};
}

std::function<void(HostileFixture &)> used_twice(unsigned queue)
{
	return [=](HostileFixture &t) {
		auto last = std::make_shared<uint32_t>(UINT32_MAX);

		t.lies.used = [=](unsigned index, uint32_t *id, uint32_t *) {
			if (index != queue)
				return;
			if (*last != UINT32_MAX)
				*id = *last;
			*last = *id;
		};
	};
}

/* --- lies about frames --- */

std::function<void(HostileFixture &)> header(std::map<unsigned, uint8_t> bytes)
{
	return [=](HostileFixture &t) {
		t.lies.header = [=](uint8_t *is) {
			for (auto byte : bytes)
				is[byte.first] = byte.second;
		};
	};
}

/* --- what is written over --- */

void write_over_descriptors(HostileFixture &t)
{
	for (unsigned queue : {0u, 1u}) {
		auto state = t.queue_state(queue);

		/* Address and length; the rest of a packed descriptor is the device's to write. */
		for (unsigned i = 0; i < state.size; i++) {
			t.poke<uint64_t>(state.descriptors + 16 * i, UINT64_C(0x5a5a5a5a5a5a));
			t.poke<uint32_t>(state.descriptors + 16 * i + 8, 0xffffffff);
		}
	}
}

void write_over_links(HostileFixture &t)
{
	for (unsigned queue : {0u, 1u}) {
		auto state = t.queue_state(queue);

		for (unsigned i = 0; i < state.size; i++)
			t.poke<uint32_t>(state.descriptors + 16 * i + 12, 0xffff0001); /* NEXT */
	}
}

void write_over_available(HostileFixture &t)
{
	for (unsigned queue : {0u, 1u}) {
		auto state = t.queue_state(queue);

		for (unsigned i = 0; i < state.size; i++)
			t.poke<uint16_t>(state.driver_area + 4 + 2 * i, 0xffff);
	}
}

/* As a backend does that was started anew and kept nothing. */
void restart_used_index(HostileFixture &t)
{
	auto base = std::make_shared<int>(-1);

	t.lies.used_index = [=](unsigned queue, uint16_t *index) {
		if (queue)
			return;
		if (*base < 0)
			*base = *index - 1;
		*index = (uint16_t)(*index - *base);
	};
}

const unsigned kUsedRing = SPLIT | OLD | SPLIT_IN_ORDER;
const unsigned kUsedRingSent = SPLIT | OLD; /* in order, the index says it all */
const unsigned kSize = HostileFixture::kRing;
const char *const kMerge = ",mrg_rxbuf=on";

const Lie lie_table[] = {
	{19, "UsedIndexRunsAhead", kUsedRing, RX, BREAK, "more was reported used", "",
		used_index(0, 100)},
	{19, "UsedIndexRunsAheadOnTransmit", kUsedRing, TX, BREAK, "more was reported used", "",
		used_index(1, 100)},
	{19, "UsedIndexGoesBack", kUsedRing, RX, BREAK, "more was reported used", "",
		used_index(0, -5)},
	{19, "UsedIndexGoesBackOnTransmit", kUsedRing, TX, BREAK, "more was reported used", "",
		used_index(1, -20)},
	{19, "UsedIndexIsALittleAhead", kUsedRing, RX, SURVIVED, "", "", used_index(0, 1)},
	{20, "IdIsTheSizeOfTheRing", kUsedRing, RX, BREAK, "outside the ring", "",
		used_id(0, [](uint32_t) { return kSize; })},
	{20, "IdIsTheSizeOfTheRingOnTransmit", kUsedRingSent, TX, BREAK, "outside the ring", "",
		used_id(1, [](uint32_t) { return kSize; })},
	{20, "IdIsRightInItsLow16BitsOnly", kUsedRing, RX, BREAK, "outside the ring", "",
		used_id(0, [](uint32_t id) { return id | 0x10000; })},
	{20, "IdIsRightInItsLow16BitsOnlyOnTransmit", kUsedRingSent, TX, BREAK, "outside the ring",
		"", used_id(1, [](uint32_t id) { return id | 0x10000; })},
	{20, "IdIsNotReadOnTransmitInOrder", SPLIT_IN_ORDER, TX, IGNORED, "", "",
		used_id(1, [](uint32_t) { return kSize; })},
	{20, "IdIsAllOnes", kUsedRing, RX, BREAK, "outside the ring", "",
		used_id(0, [](uint32_t) { return UINT32_MAX; })},
	{21, "IdComesTwice", SPLIT | OLD, RX, BREAK, "not in flight", "", used_twice(0)},
	{21, "IdComesTwiceOnTransmit", SPLIT | OLD, TX, BREAK, "not in flight", "", used_twice(1)},
	{21, "IdIsNotInFlight", SPLIT | OLD, TX, BREAK, "not in flight", "",
		used_id(1, [](uint32_t id) { return (id + kSize / 2) % kSize; })},
	{21, "IdIsTheSecondOfAChain", APART, RX, BREAK, "not in flight", "",
		used_id(0, [](uint32_t id) { return id + 1; })},
	{21, "IdIsTheSecondOfAChainOnTransmit", APART, TX, BREAK, "not in flight", "",
		used_id(1, [](uint32_t id) { return id + 1; })},
	{22, "LengthIsOneMoreThanWasPosted", EVERY, RX, BREAK, "more bytes were written", "",
		used_len(0, 2049)},
	{22, "LengthIsAllOnes", EVERY, RX, BREAK, "more bytes were written", "",
		used_len(0, UINT32_MAX)},
	{22, "LengthIsOneMoreThanWasPostedWithMerging", EVERY, RX, BREAK, "more bytes were written",
		kMerge, used_len(0, 2049)},
	{23, "LengthIsZero", EVERY, RX, DROP, "rx0.drop.short_header", "", used_len(0, 0)},
	{23, "LengthIsHalfAHeader", EVERY, RX, DROP, "rx0.drop.short_header", "", used_len(0, 5)},
	{23, "LengthIsTheHeaderAlone", EVERY, RX, DROP, "rx0.drop.short_header", "",
		used_len(0, 10)},
	{23, "LengthIsZeroWithMerging", EVERY, RX, DROP, "rx0.drop.short_header", kMerge,
		used_len(0, 0)},
	{24, "TransmitLengthIsJunk", EVERY, TX, IGNORED, "", "", used_len(1, 0xbad1e9)},
	{24, "TransmitLengthIsAllOnes", EVERY, TX, IGNORED, "", "", used_len(1, UINT32_MAX)},
	{25, "DescriptorsAreWrittenOver", EVERY, RX, IGNORED, "", "", write_over_descriptors},
	{25, "LinksAreWrittenOver", kUsedRing, RX, IGNORED, "", "", write_over_links},
	{26, "AvailableRingIsWrittenOver", kUsedRing, RX, IGNORED, "", "", write_over_available},
	{30, "BatchReachesBeyondWhatIsInFlight", PACKED_IN_ORDER, TX, BREAK, "not in the order", "",
		used_id(1, [](uint32_t id) { return (id + kSize / 2) % kSize; })},
	{30, "BatchReachesBeyondTheUsedIndex", SPLIT_IN_ORDER, RX, BREAK, "not in the order", "",
		used_id(0, [](uint32_t id) { return (id + 2) % kSize; })},
	{30, "BatchEndsOneTooLate", PACKED_IN_ORDER, RX, SURVIVED, "", "",
		used_id(0, [](uint32_t id) { return (id + 1) % kSize; })},
	{30, "BatchEndsOneTooEarlyInAPackedRing", PACKED_IN_ORDER, TX, SURVIVED, "", "",
		used_id(1, [](uint32_t id) { return (id + kSize - 1) % kSize; })},
	{30, "BatchEndsOneTooEarly", SPLIT_IN_ORDER, RX, BREAK, "not in the order", "",
		used_id(0, [](uint32_t id) { return (id + kSize - 1) % kSize; })},
	{30, "BatchEndsWhereTheLastOneDid", PACKED_IN_ORDER, TX, BREAK, "not in the order", "",
		used_twice(1)},
	{30, "BatchEndIsNotReadOnTransmit", SPLIT_IN_ORDER, TX, IGNORED, "", "", used_twice(1)},
	{30, "BatchEndsWhereTheLastOneDidOnReceive", SPLIT_IN_ORDER, RX, BREAK, "not in the order",
		"", used_twice(0)},
	{31, "PackedIdIsTheSizeOfTheRing", PACKED, RX, BREAK, "outside the ring", "",
		used_id(0, [](uint32_t) { return kSize; })},
	{31, "PackedIdIsTheSizeOfTheRingOnTransmit", PACKED, TX, BREAK, "outside the ring", "",
		used_id(1, [](uint32_t) { return kSize; })},
	{31, "PackedIdIsAllOnes", PACKED, RX, BREAK, "outside the ring", "",
		used_id(0, [](uint32_t) { return UINT16_MAX; })},
	{31, "PackedIdComesTwice", PACKED, RX, BREAK, "not in flight", "", used_twice(0)},
	{31, "PackedIdComesTwiceOnTransmit", PACKED, TX, BREAK, "not in flight", "", used_twice(1)},
	{31, "PackedIdIsNotInFlight", PACKED, TX, BREAK, "not in flight", "",
		used_id(1, [](uint32_t id) { return (id + kSize / 2) % kSize; })},
	{32, "WhatIsInFlightIsMarkedUsed", PACKED, RX, SURVIVED, "", "", used_extra(0, 3)},
	{32, "WholeRingIsMarkedUsedManyTimes", PACKED, RX, SURVIVED, "", "",
		used_extra(0, 10 * kSize)},
	{32, "WhatIsInFlightIsMarkedUsedOnTransmit", PACKED, TX, SURVIVED, "", "",
		used_extra(1, kSize)},
	{35, "UsedIndexStartsAnew", kUsedRing, RX, BREAK, "more was reported used", "",
		restart_used_index},
	{36, "NumBuffersIsZero", EVERY, RX, DROP, "rx0.drop.bad_num_buffers", kMerge,
		header({{10, 0}, {11, 0}})},
	{36, "NumBuffersIsMoreThanTheRing", EVERY, RX, DROP, "rx0.drop.bad_num_buffers", kMerge,
		header({{10, kSize + 1}, {11, 0}})},
	{36, "NumBuffersIsAllOnes", EVERY, RX, DROP, "rx0.drop.bad_num_buffers", kMerge,
		header({{10, 0xff}, {11, 0xff}})},
	{36, "NumBuffersAreMissing", EVERY, RX, DROP, "rx0.drop.missing_buffers", kMerge,
		header({{10, kSize}, {11, 0}})},
	{36, "NumBuffersIsReadOnlyWithMerging", MODERN, RX, IGNORED, "", "",
		header({{10, 0xff}, {11, 0xff}})},
	{38, "ChecksumLiesBehindTheFrame", EVERY, RX, IGNORED, "", "",
		header({{0, 1}, {6, 0xff}, {7, 0xff}, {8, 0xff}, {9, 0xff}})},
	{39, "SegmentationMakesNoSense", EVERY, RX, IGNORED, "", "",
		header({{1, 0x7f}, {2, 0xff}, {3, 0xff}, {4, 0}, {5, 0}})},
};

class Hostile : public HostileFixture, public ::testing::WithParamInterface<Case<Lie>>
{
      protected:
	void SetUp() override
	{
		HostileFixture::SetUp();
		use_layout(GetParam().layout);
		options += GetParam().entry->options;
	}

	void expect_broken(const Lie &lie, const HostileFixture::Outcome &outcome)
	{
		const std::string queue = lie.side == RX ? "rx0" : "tx0";
		const std::string error = lie.side == RX ? outcome.rx_error : outcome.tx_error;
		struct plx_packet *packet = build(make_frame(60, 1));

		EXPECT_EQ(lie.side == RX ? outcome.rx : outcome.tx, -EIO);
		EXPECT_EQ(lie.side == RX ? outcome.tx : outcome.rx, 0)
			<< "the other queue broke, too";
		EXPECT_NE(error.find(lie.sign), std::string::npos) << error;
		EXPECT_NE(error.find("emu:net queue"), std::string::npos) << error;
		EXPECT_NE(error.find("stop and start"), std::string::npos) << error;
		EXPECT_EQ(counter(queue + ".broken"), 1u);
		EXPECT_EQ(count_messages("broke the queue"), 1u);
		honest();
		for (unsigned i = 0; i < 10; i++)
			EXPECT_EQ(lie.side == RX ? plx_eth_rx_burst(rxq(), &packet, 1)
						 : plx_eth_tx_burst(txq(), &packet, 1),
				-EIO)
				<< "it was touched again";
		EXPECT_EQ(count_messages("broke the queue"), 1u);
		plx_packet_free(packet);
	}
};

TEST_P(Hostile, IsSurvived)
{
	const Lie &lie = *GetParam().entry;

	breaches_allowed = lie.outcome == SURVIVED; /* a card that is believed gets things wrong */
	begin();
	if (HasFatalFailure())
		return;
	lie.tell(*this);
	HostileFixture::Outcome outcome = traffic();

	if (lie.outcome == BREAK) {
		expect_broken(lie, outcome);
	} else if (lie.outcome == DROP) {
		EXPECT_GT(counter(lie.sign), 0u);
		EXPECT_EQ(outcome.rx, 0) << outcome.rx_error;
		EXPECT_EQ(outcome.tx, 0) << outcome.tx_error;
		honest();
		(void)traffic(
			kRing); /* what was on its way when the card began to tell the truth */
		expect_traffic();
	} else if (lie.outcome == IGNORED) {
		EXPECT_EQ(outcome.rx, 0) << outcome.rx_error;
		EXPECT_EQ(outcome.tx, 0) << outcome.tx_error;
		EXPECT_EQ(outcome.sent, 200u);
		EXPECT_EQ(outcome.got_sent, 200u);
		EXPECT_EQ(outcome.received, 200u);
		EXPECT_EQ(outcome.wrong, 0u);
	}
	expect_recovery();
}

INSTANTIATE_TEST_SUITE_P(
	Numbers, Hostile, ::testing::ValuesIn(each_layout(lie_table)), case_name<Lie>);

/* --- lies that take more than one line --- */

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
	const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(3);
	bool over = false;
	unsigned broken = 0;

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
	while (broken < 10 && std::chrono::steady_clock::now() < deadline) {
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

INSTANTIATE_TEST_SUITE_P(Layouts, HostileRun,
	::testing::Values(SPLIT, PACKED, LEGACY, APART, SPLIT_IN_ORDER, PACKED_IN_ORDER),
	[](const auto &info) { return std::string(layout_name(info.param)); });

} // namespace
