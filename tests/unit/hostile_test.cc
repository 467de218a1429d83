/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile.h"

/*
 * Lies about rings and frames that a card may tell the driver once it runs, by the numbers of
 * doc/hostile.md: one function each. Those that take more are in hostile_run_test.cc. What a card
 * may do before that is in hostile_start_test.cc, and what it may leave undone in
 * hostile_stall_test.cc.
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

} // namespace
