/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile.h"

/*
 * A card that takes what it is given and leaves it at that: number 29 of doc/hostile.md.
 */

namespace
{

class HostileStall : public HostileFixture, public ::testing::WithParamInterface<Layout>
{
      protected:
	void SetUp() override
	{
		HostileFixture::SetUp();
		use_layout(GetParam());
	}
};

TEST_P(HostileStall, No29_TransmitThatNeverCompletesFillsTheRingAndNoMore)
{
	auto frame = make_frame(60, 1);
	unsigned taken = 0;

	begin();
	plx_emu_hold(card, 1, true);
	for (unsigned i = 0; i < 100; i++) {
		taken += send(build(frame)) == 1;
		step();
	}
	EXPECT_GT(taken, 0u);
	EXPECT_LE(taken, kRing);
	EXPECT_GT(counter("tx0.full"), 0u);
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_P(HostileStall, No29_TransmitThatNeverCompletesIsToldOnce)
{
	auto until = [&](uint64_t stalls, uint64_t nanoseconds) {
		uint64_t deadline = plx_now() + nanoseconds;

		while (counter("tx0.stalled") < stalls && plx_now() < deadline)
			EXPECT_EQ(plx_eth_tx_burst(txq(), nullptr, 0), 0) << plx_error();
		return counter("tx0.stalled");
	};

	limits.stall = PLX_MILLISECONDS(20);
	begin();
	EXPECT_EQ(until(1, PLX_MILLISECONDS(100)), 0u) << "nothing is in flight";
	for (unsigned round = 0; round < 2; round++) {
		/* Traffic of a machine that stands still for a moment counts as well. */
		const uint64_t stalls = counter("tx0.stalled") + 1;
		const unsigned told = count_messages("has finished nothing") + 1;

		plx_emu_hold(card, 1, true);
		ASSERT_EQ(send(build(make_frame(60, 1))), 1);
		step();
		EXPECT_EQ(until(stalls, PLX_MILLISECONDS(60000)), stalls);
		EXPECT_EQ(until(stalls + 1, PLX_MILLISECONDS(100)), stalls) << "told twice";
		EXPECT_EQ(count_messages("has finished nothing"), told);
		plx_emu_hold(card, 1, false);
		step();
		while (!sent().empty())
			;
		expect_traffic();
	}
	EXPECT_EQ(counter("rx0.broken") + counter("tx0.broken"), 0u);
}

INSTANTIATE_TEST_SUITE_P(Layouts, HostileStall, ::testing::Values(SPLIT, PACKED, LEGACY, APART),
	[](const auto &info) { return std::string(layout_name(info.param)); });

} // namespace
