/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

#include <algorithm>
#include <ostream>
#include <random>
#include <set>

/*
 * The network driver on a card that takes all the freedom it has: it uses buffers in whatever order
 * it likes, several at once, and looks when it likes. Plain frames and frames of several segments
 * are mixed, on rings so small that each place is used again and again.
 */

namespace
{

struct Ring {
	bool packed;
	uint16_t size;
	const char *options; /* of the driver */
};

void PrintTo(const Ring &ring, std::ostream *to)
{
	*to << (ring.packed ? "packed " : "split ") << ring.size;
}

class Disorder : public NetFixture, public ::testing::WithParamInterface<Ring>
{
      protected:
	static constexpr unsigned kSeeds = 20, kRounds = 120, kBurst = 12, kPatience = 20000;
	static constexpr size_t kLeast = 60, kMost = 760, kPiece = 200;

	std::mt19937 random;
	unsigned next = 0;
	/* Frames that are on their way: a card without IN_ORDER may change their order. */
	std::multiset<std::vector<uint8_t>> sending, arriving;

	void SetUp() override
	{
		NetFixture::SetUp();
		plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, false);
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam().packed);
		config.queue_size = GetParam().size;
		pool_config.data_size = 256;
	}

	std::vector<uint8_t> new_frame()
	{
		size_t len = kLeast + random() % (kMost - kLeast + 1);
		std::vector<uint8_t> frame = make_frame(len, next);

		/* Alike in nothing, so that no frame passes for another. */
		std::memcpy(frame.data(), &next, sizeof(next));
		next++;
		return frame;
	}

	/* Half of what fits is plain; the rest has segments, or no room for a header. */
	struct plx_packet *new_packet(const std::vector<uint8_t> &frame)
	{
		std::vector<size_t> pieces;

		if (frame.size() <= kPiece && random() % 2)
			return build(frame);
		for (size_t left = frame.size(); left;) {
			size_t most = std::min(left, kPiece);

			pieces.push_back(left > kPiece ? most : 1 + random() % most);
			left -= pieces.back();
			if (pieces.size() == 4 && left) {
				pieces.back() += left;
				break;
			}
		}
		return build(frame, pieces, random() % 4 ? 40 : 0);
	}

	void send_burst()
	{
		std::vector<std::vector<uint8_t>> frames;
		std::vector<struct plx_packet *> packets;
		int taken;

		for (unsigned left = 1 + random() % kBurst; left; left--) {
			frames.push_back(new_frame());
			if (random() % 2)
				frames.back().resize(kLeast + random() % (kPiece - kLeast));
			packets.push_back(new_packet(frames.back()));
		}
		taken = plx_eth_tx_burst(txq(), packets.data(), (unsigned)packets.size());
		ASSERT_GE(taken, 0) << plx_error();
		sending.insert(frames.begin(), frames.begin() + taken);
		for (size_t i = (size_t)taken; i < packets.size(); i++)
			plx_packet_free(packets[i]);
	}

	void inject_burst()
	{
		for (unsigned left = random() % kBurst; left; left--) {
			std::vector<uint8_t> frame = new_frame();

			ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
			arriving.insert(frame);
		}
	}

	static void cross_off(
		std::multiset<std::vector<uint8_t>> *due, const std::vector<uint8_t> &frame)
	{
		auto it = due->find(frame);

		ASSERT_NE(it, due->end())
			<< "a frame of " << frame.size() << " bytes came twice, or altered";
		due->erase(it);
	}

	void look()
	{
		std::vector<uint8_t> frame(kMost);

		for (size_t len; (len = plx_emu_take(card, 0, frame.data(), kMost)) > 0;)
			ASSERT_NO_FATAL_FAILURE(
				cross_off(&sending, std::vector<uint8_t>(frame.begin(),
							    frame.begin() + (ptrdiff_t)len)));
		for (const auto &received : receive(1 + random() % 40))
			ASSERT_NO_FATAL_FAILURE(cross_off(&arriving, received));
		ASSERT_EQ(last_result, 0) << plx_error();
	}

	void step_some()
	{
		for (unsigned left = random() % 4; left; left--)
			(void)plx_emu_step(card);
	}

	/* Traffic both ways, and then nothing but what is still on its way. */
	void play()
	{
		for (unsigned round = 0; round < kRounds; round++) {
			ASSERT_NO_FATAL_FAILURE(send_burst());
			if (random() % 4 == 0)
				ASSERT_NO_FATAL_FAILURE(inject_burst());
			step_some();
			ASSERT_NO_FATAL_FAILURE(look());
		}
	}

	void settle()
	{
		for (unsigned i = 0; i < kPatience && !(sending.empty() && arriving.empty()); i++) {
			(void)plx_emu_step(card);
			ASSERT_NO_FATAL_FAILURE(look());
			ASSERT_GE(plx_eth_tx_burst(txq(), nullptr, 0), 0) << plx_error();
		}
		EXPECT_EQ(sending.size(), 0u) << "frames never reached the card";
		EXPECT_EQ(arriving.size(), 0u) << "frames never reached the driver";
	}

	/* In the middle of all; what was on its way is gone, and its packets are not. */
	void stop_and_start()
	{
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		sending.clear();
		arriving.clear();
		while (!sent().empty())
			;
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	void run(unsigned seed)
	{
		random.seed(seed);
		config.seed = seed;
		sending.clear();
		arriving.clear();
		ASSERT_NO_FATAL_FAILURE(start(GetParam().options));
		for (unsigned life = 0; life < 2; life++) {
			ASSERT_NO_FATAL_FAILURE(play());
			ASSERT_NO_FATAL_FAILURE(stop_and_start());
			ASSERT_NO_FATAL_FAILURE(play());
			ASSERT_NO_FATAL_FAILURE(settle());
			ASSERT_NO_FATAL_FAILURE(stop_and_start());
		}
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		close();
	}
};

TEST_P(Disorder, EveryFrameArrivesOnceAndUnalteredAndEveryPacketComesBack)
{
	for (unsigned seed = 1; seed <= kSeeds && !HasFailure(); seed++) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		run(seed);
	}
}

INSTANTIATE_TEST_SUITE_P(Rings, Disorder,
	::testing::Values(Ring{false, 8, ""}, Ring{false, 16, ""}, Ring{false, 64, ""},
		Ring{false, 64, ",simd=off"}, Ring{true, 8, ""}, Ring{true, 16, ""},
		Ring{true, 64, ""}, Ring{true, 64, ",simd=off"}),
	[](const ::testing::TestParamInfo<Ring> &info) {
		return (info.param.packed ? "Packed" : "Split") + std::to_string(info.param.size) +
		       (*info.param.options ? "Narrow" : "");
	});

} // namespace
