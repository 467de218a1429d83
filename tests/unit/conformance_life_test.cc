/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance_life.h"

/*
 * What the registers saw of a driver's life. The card notes each breach of a rule that it knows;
 * emu_breach_test.cc and its like commit every one of them and so show that it would have. What
 * stands here beyond that looks at the accesses themselves.
 */

namespace
{

/* The registers of an interface (virtio 1.4, 4.1.4.3 and 4.1.4.10). */
struct Register {
	uint64_t offset;
	size_t width;
	bool writable;
};

const std::vector<Register> modern_registers = {{0x00, 4, true}, {0x04, 4, false}, {0x08, 4, true},
	{0x0c, 4, true}, {0x10, 2, true}, {0x12, 2, false}, {0x14, 1, true}, {0x15, 1, false},
	{0x16, 2, true}, {0x18, 2, true}, {0x1a, 2, true}, {0x1c, 2, true}, {0x1e, 2, false},
	{0x20, 4, true}, {0x24, 4, true}, {0x28, 4, true}, {0x2c, 4, true}, {0x30, 4, true},
	{0x34, 4, true}};

const std::vector<Register> legacy_registers = {{0x00, 4, false}, {0x04, 4, true}, {0x08, 4, true},
	{0x0c, 2, false}, {0x0e, 2, true}, {0x10, 2, true}, {0x12, 1, true}, {0x13, 1, false},
	{0x14, 2, true}, {0x16, 2, true}};

TEST_P(Life, BreaksNoRuleThatTheCardKnows)
{
	EXPECT_EQ(record().breaches, 0u);
}

/* That they came unaltered, the life itself has seen. */
TEST_P(Life, CarriesEveryFrameBothWays)
{
	const struct plx_emu_stats &stats = record().stats;

	EXPECT_GE(stats.tx_frames, 1000u);
	EXPECT_GE(stats.rx_frames, 1000u);
	EXPECT_EQ(stats.tx_malformed, 0u);
	EXPECT_EQ(stats.rx_bad_buffer, 0u);
}

TEST_P(Life, GoesThroughTheStepsInTheirOrder)
{
	const std::string steps = legacy ? "W0 r W1 r W3 o A Q r W7 N"
				  : config.handshake == PLX_EMU_DEVICE_OK
					  ? "W0 r W1 o A r W3 r A Q r W7 r Wf r N"
					  : "W0 r W1 r W3 o A r Wb r Q r Wf r N";

	for (const auto &epoch : epochs()) {
		std::string seen, last;

		for (const Event &e : epoch) {
			std::string next = letter(e);

			if (next.empty() || next == last)
				continue;
			seen += (seen.empty() ? "" : " ") + next;
			last = next;
		}
		EXPECT_TRUE(seen == steps || seen == "W0 r") << seen;
	}
}

TEST_P(Life, OnlyAddsBitsToTheStatus)
{
	for (const auto &epoch : epochs()) {
		uint8_t status = 0;

		for (const Event &e : epoch) {
			if (!is_status(e) || !e.write)
				continue;
			uint8_t added = (uint8_t)(e.value & ~status);

			EXPECT_EQ(e.value & status, status);
			EXPECT_EQ(added & (added - 1), 0) << "one step at a time";
			EXPECT_EQ(e.value & ~(uint64_t)live, 0u);
			status = (uint8_t)e.value;
		}
		EXPECT_TRUE(status == live || !status);
	}
}

TEST_P(Life, WaitsForEachReset)
{
	for (const auto &epoch : epochs()) {
		ASSERT_GE(epoch.size(), 2u);
		EXPECT_TRUE(is_status(epoch[1]) && !epoch[1].write && !epoch[1].value);
	}
}

TEST_P(Life, AcceptsWhatIsOfferedAndDecidesOnce)
{
	for (const auto &epoch : epochs()) {
		std::map<uint64_t, uint64_t> offer, accept; /* by word */
		uint64_t offer_word = 0, accept_word = 0;
		uint8_t locked = legacy || config.handshake == PLX_EMU_DEVICE_OK
					 ? VIRTIO_STATUS_DRIVER_OK
					 : VIRTIO_STATUS_FEATURES_OK;
		uint8_t status = 0;

		for (const Event &e : epoch) {
			if (is_status(e) && e.write)
				status = (uint8_t)e.value;
			if (is_device_features(e))
				offer[offer_word] = e.value;
			if (is_driver_features(e)) {
				accept[accept_word] = e.value;
				EXPECT_FALSE(status & locked) << "features are decided by then";
			}
			if (legacy || e.place != Place::Common || !e.write)
				continue;
			if (e.offset == VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT)
				offer_word = e.value;
			if (e.offset == VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT)
				accept_word = e.value;
		}
		for (auto [word, bits] : accept)
			EXPECT_EQ(bits & ~offer[word], 0u) << "word " << word;
	}
}

TEST_P(Life, AccessesRegistersInTheirOwnWidth)
{
	const auto &registers = legacy ? legacy_registers : modern_registers;

	for (const Event &e : record().events) {
		if (e.place != Place::Common)
			continue;
		auto found = std::find_if(registers.begin(), registers.end(),
			[&](const Register &r) { return r.offset == e.offset; });
		ASSERT_NE(found, registers.end()) << std::hex << e.offset;
		EXPECT_EQ(found->width, e.len) << std::hex << e.offset;
		EXPECT_TRUE(found->writable || !e.write) << std::hex << e.offset;
	}
}

TEST_P(Life, TouchesNothingButTheStructuresItNeeds)
{
	for (const Event &e : record().events) {
		EXPECT_NE(e.place, Place::Nowhere) << std::hex << e.offset;
		EXPECT_NE(e.place, Place::Isr) << "nothing here waits for interrupts";
		if (e.place == Place::ConfigSpace && e.write) {
			EXPECT_EQ(e.offset, (uint64_t)PCI_COMMAND);
		}
	}
}

TEST_P(Life, NeverMapsAnInterrupt)
{
	EXPECT_EQ(record().interrupts, 0u);
	for (const Event &e : record().events) {
		bool vector = legacy ? false
				     : e.offset == VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR ||
					       e.offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR;

		EXPECT_FALSE(e.place == Place::Common && e.write && vector);
	}
}

TEST_P(Life, OnlyReadsFieldsOfOfferedFeatures)
{
	unsigned reads = 0;

	for (const Event &e : record().events) {
		if (e.place != Place::Device)
			continue;
		reads++;
		EXPECT_FALSE(e.write) << "device configuration is never written";
		/* From the MAC address to the hash types, without a gap. */
		EXPECT_LT(e.offset, (uint64_t)VIRTIO_NET_CFG_TUNNEL_TYPES);
		if (!legacy) {
			std::set<uint64_t> wide = {VIRTIO_NET_CFG_SPEED, VIRTIO_NET_CFG_HASH_TYPES};
			std::set<uint64_t> narrow = {
				VIRTIO_NET_CFG_DUPLEX, VIRTIO_NET_CFG_RSS_MAX_KEY_SIZE};
			bool byte = e.offset < VIRTIO_NET_CFG_STATUS || narrow.count(e.offset);

			EXPECT_EQ(e.len, wide.count(e.offset) ? 4u : byte ? 1u : 2u);
		}
	}
	EXPECT_GT(reads, 0u);
}

TEST_P(Life, ProgramsAQueueWholeBeforeItIsEnabled)
{
	static const std::set<uint64_t> fields = {0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34};

	if (legacy)
		return; /* one register there, which GoesThroughTheStepsInTheirOrder has seen */
	for (const auto &epoch : epochs()) {
		std::map<uint64_t, std::set<uint64_t>> written; /* by queue */
		std::set<uint64_t> enabled;
		uint64_t queue = 0;

		for (const Event &e : epoch) {
			if (e.place != Place::Common || !e.write)
				continue;
			if (e.offset == VIRTIO_PCI_COMMON_QUEUE_SELECT)
				queue = e.value;
			if (!is_queue_register(e))
				continue;
			EXPECT_FALSE(enabled.count(queue)) << "queue " << queue << " is in use";
			if (e.offset == VIRTIO_PCI_COMMON_QUEUE_SIZE) {
				EXPECT_NE(e.value, 0u);
				EXPECT_TRUE(packed || !(e.value & (e.value - 1))) << e.value;
			}
			if (e.offset != VIRTIO_PCI_COMMON_QUEUE_ENABLE) {
				written[queue].insert(e.offset);
				continue;
			}
			EXPECT_EQ(e.value, 1u);
			EXPECT_EQ(written[queue], fields);
			enabled.insert(queue);
		}
		EXPECT_TRUE(epoch.size() == 2 || enabled == (std::set<uint64_t>{0, 1, 2}));
	}
}

TEST_P(Life, NotifiesOnceLiveAndNamesTheQueue)
{
	unsigned kicks[2] = {};

	for (const auto &epoch : epochs()) {
		uint8_t status = 0;

		for (const Event &e : epoch) {
			if (is_status(e) && e.write)
				status = (uint8_t)e.value;
			if (e.place != Place::Notify)
				continue;
			EXPECT_EQ(status, live);
			EXPECT_TRUE(e.write);
			EXPECT_EQ(e.len, 2u);
			ASSERT_LT(e.value, 2u);
			/* The card gives each queue a doorbell of its own, four bytes apart. */
			EXPECT_EQ(e.offset, legacy ? VIRTIO_PCI_LEGACY_QUEUE_NOTIFY : 4 * e.value);
			kicks[e.value]++;
		}
	}
	EXPECT_GT(kicks[0], 0u);
	EXPECT_GT(kicks[1], 0u);
}

const std::set<unsigned> no_event_idx = {VIRTIO_F_EVENT_IDX};
const std::set<unsigned> no_any_layout = {VIRTIO_F_ANY_LAYOUT};

const Variant variants[] = {
	{"split", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, no_event_idx, 2048, 0,
		0},
	{"split_event_idx", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 0,
		0},
	{"split_merged", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 256, 0, 0},
	{"split_free", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 7, 0},
	{"packed", "", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, no_event_idx, 2048, 0, 0},
	{"packed_event_idx", "", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 0, 0},
	{"packed_merged", "", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 256, 0, 0},
	{"packed_free", "", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 7, 0},
	{"packed_odd", "", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 0, 99},
	{"legacy", ",legacy=on", PLX_EMU_TRANSITIONAL, PLX_EMU_FEATURES_OK, {}, 2048, 0, 0},
	{"legacy_apart", "", PLX_EMU_LEGACY_ONLY, PLX_EMU_FEATURES_OK, no_any_layout, 2048, 0, 0},
	{"legacy_merged", ",legacy=on", PLX_EMU_TRANSITIONAL, PLX_EMU_FEATURES_OK, {}, 256, 0, 0},
	{"legacy_free", ",legacy=on", PLX_EMU_TRANSITIONAL, PLX_EMU_FEATURES_OK, {}, 2048, 7, 0},
	{"device_ok", ",handshake=device-ok,packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_DEVICE_OK, {},
		2048, 0, 0},
	{"device_ok_packed", ",handshake=device-ok", PLX_EMU_MODERN_ONLY, PLX_EMU_DEVICE_OK, {},
		2048, 0, 0},
};

INSTANTIATE_TEST_SUITE_P(Agreed, Life, ::testing::ValuesIn(variants),
	[](const auto &info) { return std::string(info.param.name); });

} // namespace
