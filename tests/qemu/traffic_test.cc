/* SPDX-License-Identifier: BSD-3-Clause */
#include "qemu_net.h"

#include <tuple>

namespace qemu
{
namespace
{

/* Frames in both directions at once: none may be lost, altered, doubled or overtaken. */

enum Ring { SPLIT, PACKED, LEGACY, LEGACY_APART };

constexpr const char *kRingNames[] = {"split", "packed", "legacy", "legacy_apart"};

std::string ring_properties(Ring ring)
{
	return property("disable-legacy", ring == SPLIT || ring == PACKED) +
	       property("disable-modern", ring == LEGACY || ring == LEGACY_APART) +
	       property("packed", ring == PACKED) + property("any_layout", ring != LEGACY_APART);
}

/* What the counters know at the end of @count frames each way. */
#define EXPECT_COUNTED(count)                                                                      \
	do {                                                                                       \
		struct plx_eth_stats stats_;                                                       \
		plx_eth_get_stats(eth, &stats_);                                                   \
		EXPECT_EQ(stats_.rx_packets, (uint64_t)(count));                                   \
		EXPECT_EQ(stats_.tx_packets, (uint64_t)(count));                                   \
		EXPECT_EQ(stats_.rx_dropped, 0u);                                                  \
		EXPECT_EQ(stats_.tx_dropped, 0u);                                                  \
		EXPECT_EQ(counter("rx0.broken"), 0u);                                              \
		EXPECT_EQ(counter("tx0.broken"), 0u);                                              \
	} while (0)

/* --- what the rings can do --- */

using Choice = std::tuple<Ring, bool, bool, bool, bool>;

class EveryRing : public QemuNet, public ::testing::WithParamInterface<Choice>
{
};

TEST_P(EveryRing, LosesNothing)
{
	auto [ring, mergeable, event_idx, indirect, low] = GetParam();

	memory_at = low ? Qtest::kLow : Qtest::kHigh;
	if (mergeable)
		pool_config.data_size = 512;
	boot(ring_properties(ring) + property("mrg_rxbuf", mergeable) +
		property("event_idx", event_idx) + property("indirect_desc", indirect));
	start();
	EXPECT_EQ(accepted(VIRTIO_NET_F_MRG_RXBUF), mergeable);
	EXPECT_EQ(accepted(VIRTIO_F_EVENT_IDX), event_idx);
	EXPECT_EQ(accepted(VIRTIO_F_RING_PACKED), ring == PACKED);
	EXPECT_EQ(accepted(VIRTIO_F_ANY_LAYOUT), ring == LEGACY);
	exchange(600);
	EXPECT_COUNTED(600);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

std::string name_of(const ::testing::TestParamInfo<Choice> &info)
{
	auto [ring, mergeable, event_idx, indirect, low] = info.param;

	return std::string(kRingNames[ring]) + (mergeable ? "_mrg_rxbuf" : "") +
	       (event_idx ? "_event_idx" : "") + (indirect ? "_indirect_desc" : "") +
	       (low ? "_low_memory" : "");
}

INSTANTIATE_TEST_SUITE_P(Qemu, EveryRing,
	::testing::Combine(::testing::Values(SPLIT, PACKED, LEGACY, LEGACY_APART),
		::testing::Bool(), ::testing::Bool(), ::testing::Bool(), ::testing::Bool()),
	name_of);

/* --- lengths --- */

class Lengths : public QemuNet, public ::testing::WithParamInterface<Ring>
{
};

TEST_P(Lengths, FromTheShortestFrameToTheLongestAllComeThrough)
{
	constexpr uint32_t all = kFrameMost - kFrameLeast + 1;

	boot(ring_properties(GetParam()));
	start();
	exchange(all);
	EXPECT_COUNTED(all);
}

/* QEMU spreads a frame over as many buffers as it needs. */
TEST_P(Lengths, FramesLongerThanABufferAreMergedFromMany)
{
	boot(ring_properties(GetParam()) + ",host_mtu=9000");
	start();
	ASSERT_TRUE(accepted(VIRTIO_NET_F_MRG_RXBUF));
	EXPECT_EQ(info().mtu, 9000);
	for (size_t length : {2036, 2037, 2048, 4084, 4085, 9014}) {
		fixed_length = length;
		exchange(100);
	}
	EXPECT_COUNTED(600);
}

TEST_P(Lengths, TheLongestFrameThatVirtioHasComesThrough)
{
	pool_config.data_size = 4096;
	boot(ring_properties(GetParam()) + ",host_mtu=65535");
	start();
	fixed_length = 65549;
	exchange(50);
	EXPECT_COUNTED(50);
}

TEST_P(Lengths, WithoutMergingABufferHoldsTheLongestFrame)
{
	pool_config.data_size = 9030; /* of 9000 bytes, with its headers and a tag */
	pool_config.count = 1024;
	boot(ring_properties(GetParam()) + ",mrg_rxbuf=off,host_mtu=9000");
	start();
	EXPECT_FALSE(accepted(VIRTIO_NET_F_MRG_RXBUF));
	fixed_length = 9014;
	exchange(200);
	EXPECT_COUNTED(200);
}

TEST_P(Lengths, FrameThatIsTooLongForTheDeviceIsDroppedHere)
{
	struct plx_packet *packet;

	boot(ring_properties(GetParam()) + ",host_mtu=1000");
	start();
	packet = build(make_frame(0, 1400), 0);
	ASSERT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1), 1);
	EXPECT_EQ(counter("tx0.drop.bad_length"), 1u);
	fixed_length = 1014;
	exchange(10);
}

INSTANTIATE_TEST_SUITE_P(Qemu, Lengths, ::testing::Values(SPLIT, PACKED, LEGACY, LEGACY_APART),
	[](const auto &info) { return std::string(kRingNames[info.param]); });

/* --- sizes --- */

struct Sizes {
	Ring ring;
	unsigned device_rx; /* entries of QEMU's receive queue; of the other it has 256 */
	uint16_t rx, tx;    /* what is asked for */
};

class RingSizes : public QemuNet, public ::testing::WithParamInterface<Sizes>
{
};

TEST_P(RingSizes, AreThoseThatWereAskedFor)
{
	const Sizes &sizes = GetParam();

	boot(ring_properties(sizes.ring) + ",rx_queue_size=" + std::to_string(sizes.device_rx));
	eth_config.rx_ring = sizes.rx;
	eth_config.tx_ring = sizes.tx;
	start();
	EXPECT_EQ(info().max_rx_ring, sizes.device_rx);
	EXPECT_EQ(queue_in_device(0), std::make_pair(sizes.rx ? sizes.rx : sizes.device_rx, true));
	EXPECT_EQ(queue_in_device(1), std::make_pair(sizes.tx ? sizes.tx : 256u, true));
	/* Around each ring more than twice. */
	exchange(2500);
	EXPECT_COUNTED(2500);
}

std::vector<Sizes> sizes()
{
	std::vector<Sizes> all;

	for (Ring ring : {SPLIT, PACKED})
		for (unsigned device_rx : {256, 512, 1024}) {
			all.push_back({ring, device_rx, 0, 0});
			for (uint16_t rx = 64; rx <= device_rx; rx = (uint16_t)(2 * rx))
				all.push_back({ring, device_rx, rx, std::min<uint16_t>(rx, 256)});
		}
	/* Only packed rings may have any number of entries (virtio 1.4, 2.8.10.1). */
	all.push_back({PACKED, 256, 100, 33});
	all.push_back({PACKED, 1024, 1000, 255});
	/* The legacy interface leaves no choice. */
	for (Ring ring : {LEGACY, LEGACY_APART})
		for (unsigned device_rx : {256, 512, 1024})
			all.push_back({ring, device_rx, 0, 0});
	return all;
}

INSTANTIATE_TEST_SUITE_P(Qemu, RingSizes, ::testing::ValuesIn(sizes()), [](const auto &info) {
	return std::string(kRingNames[info.param.ring]) + "_" +
	       std::to_string(info.param.device_rx) + "_" + std::to_string(info.param.rx) + "_" +
	       std::to_string(info.param.tx);
});

} // namespace
} // namespace qemu
