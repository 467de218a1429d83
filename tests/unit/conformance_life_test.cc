/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance.h"

#include <algorithm>
#include <ostream>
#include <set>

/*
 * A driver's whole life on the emulated card, in each way in which the two may agree, and what the
 * registers saw of it. The card notes each breach of a rule that it knows; emu_breach_test.cc and its
 * like commit every one of them and so show that it would have. What stands here beyond that looks
 * at the accesses themselves.
 */

namespace
{

struct Variant {
	const char *name;
	const char *options; /* of the driver */
	enum plx_emu_interface interface;
	enum plx_emu_handshake handshake;
	std::set<unsigned> withheld; /* features that the card does not offer */
	uint16_t data_size;
	uint64_t seed;  /* other than 0: the card takes all the freedom that it has */
	uint16_t ring; /* entries; 0: as the card likes it */
};

void PrintTo(const Variant &variant, std::ostream *to)
{
	*to << variant.name;
}

/* Where a register is, whichever interface it belongs to. */
enum class Place { ConfigSpace, Common, Isr, Device, Notify, Nowhere };

struct Event {
	bool write;
	Place place;
	uint64_t offset;
	size_t len;
	uint64_t value;
};

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

class Life : public ConformanceFixture, public ::testing::WithParamInterface<Variant>
{
      protected:
	bool legacy = false;
	bool packed = false;
	uint64_t status_at = VIRTIO_PCI_COMMON_DEVICE_STATUS;
	uint8_t live = 0x0f; /* the status of a device in use */

	void SetUp() override
	{
		ConformanceFixture::SetUp();
		config.interface = GetParam().interface;
		config.handshake = GetParam().handshake;
		config.seed = GetParam().seed;
		config.junk_len = config.interface != PLX_EMU_MODERN_ONLY;
		for (unsigned bit : GetParam().withheld)
			plx_emu_config_offer(&config, bit, false);
		pool_config.data_size = GetParam().data_size;
		eth_config.rx_ring = eth_config.tx_ring = GetParam().ring;
		packed = std::string(GetParam().name).find("packed") != std::string::npos;
		legacy = config.interface != PLX_EMU_MODERN_ONLY;
		if (legacy) {
			status_at = VIRTIO_PCI_LEGACY_DEVICE_STATUS;
			live = 0x07;
		}
		live_through();
	}

	/* --- the life --- */

	using Frames = std::multiset<std::vector<uint8_t>>;

	void settle()
	{
		for (unsigned i = 0; i < (config.seed ? 20 : 1); i++)
			step();
	}

	/* Pieces of at most a buffer's size, and at least so many. */
	std::vector<size_t> cut(size_t size, size_t pieces)
	{
		std::vector<size_t> lengths;

		for (size_t left = size; left; left -= lengths.back()) {
			size_t most = pieces > 1 ? size / pieces : size;

			lengths.push_back(std::min({left, most, (size_t)pool_config.data_size}));
		}
		return lengths;
	}

	void send_in_all_shapes(Frames *expected)
	{
		for (size_t size : {60, 61, 256, 257, 1000, 1513, 1514})
			for (size_t pieces : {1, 2, 5}) {
				for (uint16_t headroom : {0, 9, 12, 128}) {
					auto frame = make_frame(size, (unsigned)(size + pieces));

					ASSERT_EQ(send(build(frame, cut(size, pieces), headroom)), 1)
						<< plx_error();
					expected->insert(frame);
				}
				settle();
			}
	}

	/* More than the ring holds, so that it is full now and then and goes round. */
	void send_in_bursts(Frames *expected, Frames *seen)
	{
		for (unsigned round = 0; round < 4; round++) {
			std::vector<struct plx_packet *> packets;
			unsigned done = 0;

			for (unsigned i = 0; i < 300; i++) {
				auto frame = make_frame(60 + i % 100, round * 300 + i);

				packets.push_back(build(frame));
				expected->insert(frame);
			}
			for (unsigned tries = 0; done < 300 && tries < 100; tries++) {
				int sent = plx_eth_tx_burst(
					txq(), packets.data() + done, std::min(300 - done, 64u + round));

				ASSERT_GE(sent, 0) << plx_error();
				done += (unsigned)sent;
				settle();
				take(seen);
			}
			ASSERT_EQ(done, 300u);
		}
	}

	void take(Frames *seen)
	{
		for (auto frame = sent(); !frame.empty(); frame = sent())
			seen->insert(frame);
	}

	void receive_all(Frames *expected)
	{
		Frames seen;

		for (unsigned round = 0; round < 60; round++) {
			for (unsigned i = 0; i < round % 40; i++) {
				auto frame = make_frame(60 + (round * 37 + i * 11) % 1455, round + i);

				ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
				expected->insert(frame);
			}
			settle();
			for (auto &frame : receive(1 + round % 32))
				seen.insert(frame);
		}
		settle();
		for (auto &frame : receive())
			seen.insert(frame);
		EXPECT_EQ(seen, *expected);
	}

	void traffic()
	{
		Frames out, in, seen;

		send_in_all_shapes(&out);
		take(&seen);
		send_in_bursts(&out, &seen);
		EXPECT_EQ(seen, out);
		receive_all(&in);
	}

	void live_through()
	{
		struct plx_eth_info info;
		auto frame = make_frame(60, 1);

		start(GetParam().options);
		ASSERT_FALSE(HasFatalFailure());
		traffic();
		plx_emu_set_link(card, false);
		plx_eth_get_info(eth, &info);
		EXPECT_FALSE(info.link_up);
		plx_emu_set_link(card, true);
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		traffic();
		/* Stopped while both sides have all hands full. */
		plx_emu_hold(card, 1, true);
		for (unsigned i = 0; i < 40; i++) {
			ASSERT_EQ(send(build(frame)), 1);
			(void)plx_emu_inject(card, 0, frame.data(), frame.size());
		}
		settle();
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		ASSERT_EQ(send(build(frame)), 1);
		settle();
		/* Closed as it runs. */
		plx_eth_close(eth);
		eth = nullptr;
		expect_all_back();
	}

	/* --- what was seen of it --- */

	Event modern_event(const Access &a)
	{
		static const std::pair<uint8_t, Place> places[] = {
			{VIRTIO_PCI_CAP_COMMON_CFG, Place::Common}, {VIRTIO_PCI_CAP_ISR_CFG, Place::Isr},
			{VIRTIO_PCI_CAP_DEVICE_CFG, Place::Device},
			{VIRTIO_PCI_CAP_NOTIFY_CFG, Place::Notify}};

		for (auto [type, place] : places)
			for (const Structure &s : structures_)
				if (s.type == type && a.region == s.bar && a.offset >= s.offset &&
					a.offset + a.len <= (uint64_t)s.offset + s.length)
					return {a.write, place, a.offset - s.offset, a.len, a.value};
		return {a.write, Place::Nowhere, a.offset, a.len, a.value};
	}

	Event legacy_event(const Access &a)
	{
		Place place = Place::Common;

		if (a.region != VFIO_PCI_BAR0_REGION_INDEX)
			place = Place::Nowhere;
		else if (a.offset >= VIRTIO_PCI_LEGACY_CONFIG)
			return {a.write, Place::Device, a.offset - VIRTIO_PCI_LEGACY_CONFIG, a.len,
				a.value};
		else if (a.offset == VIRTIO_PCI_LEGACY_QUEUE_NOTIFY)
			place = Place::Notify;
		else if (a.offset == VIRTIO_PCI_LEGACY_ISR_STATUS)
			place = Place::Isr;
		return {a.write, place, a.offset, a.len, a.value};
	}

	std::vector<Event> events()
	{
		std::vector<Event> all;

		structures_ = tap->structures();
		for (const Access &a : tap->log)
			all.push_back(a.region == VFIO_PCI_CONFIG_REGION_INDEX
					      ? Event{a.write, Place::ConfigSpace, a.offset, a.len, a.value}
				      : legacy ? legacy_event(a)
					       : modern_event(a));
		EXPECT_GT(all.size(), 100u);
		return all;
	}

	bool is_status(const Event &e) const
	{
		return e.place == Place::Common && e.offset == status_at;
	}

	/* The events from each reset on, up to the next. */
	std::vector<std::vector<Event>> epochs()
	{
		std::vector<std::vector<Event>> all;

		for (const Event &e : events()) {
			if (is_status(e) && e.write && !e.value)
				all.emplace_back();
			if (!all.empty())
				all.back().push_back(e);
		}
		/* open and start; stop and start, twice; the last stop, which close brings */
		EXPECT_EQ(all.size(), 6u);
		return all;
	}

	/* What a register of a queue is: everything behind its selector but the notification. */
	bool is_queue_register(const Event &e) const
	{
		if (e.place != Place::Common)
			return false;
		return legacy ? e.offset == VIRTIO_PCI_LEGACY_QUEUE_ADDRESS ||
					e.offset == VIRTIO_PCI_LEGACY_QUEUE_SIZE
			      : e.offset >= VIRTIO_PCI_COMMON_QUEUE_SIZE;
	}

	bool is_driver_features(const Event &e) const
	{
		return e.place == Place::Common && e.write &&
		       e.offset == (legacy ? VIRTIO_PCI_LEGACY_DRIVER_FEATURES
					   : VIRTIO_PCI_COMMON_DRIVER_FEATURE);
	}

	bool is_device_features(const Event &e) const
	{
		return e.place == Place::Common && !e.write &&
		       e.offset == (legacy ? VIRTIO_PCI_LEGACY_DEVICE_FEATURES
					   : VIRTIO_PCI_COMMON_DEVICE_FEATURE);
	}

	/* An event as a letter of the sequence of initialisation; nothing for what is free. */
	std::string letter(const Event &e) const
	{
		static const char digit[] = "0123456789abcdef";

		if (is_status(e) && e.write)
			return e.value < 16 ? std::string("W") + digit[e.value] : "W?";
		if (is_status(e))
			return "r";
		if (is_device_features(e))
			return "o";
		if (is_driver_features(e))
			return "A";
		if (is_queue_register(e) && e.write)
			return "Q";
		return e.place == Place::Notify ? "N" : "";
	}

      private:
	std::vector<Structure> structures_;
};

TEST_P(Life, BreaksNoRuleThatTheCardKnows)
{
	struct plx_emu_stats stats;

	plx_emu_get_stats(card, &stats);
	EXPECT_GE(stats.tx_frames, 2000u);
	EXPECT_GE(stats.rx_frames, 1500u);
	EXPECT_EQ(stats.tx_malformed, 0u);
	EXPECT_EQ(stats.rx_bad_buffer, 0u);
	EXPECT_EQ(plx_emu_breaches(card, nullptr), 0u);
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

	for (const Event &e : events()) {
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
	for (const Event &e : events()) {
		EXPECT_NE(e.place, Place::Nowhere) << std::hex << e.offset;
		EXPECT_NE(e.place, Place::Isr) << "nothing here waits for interrupts";
		if (e.place == Place::ConfigSpace && e.write) {
			EXPECT_EQ(e.offset, (uint64_t)PCI_COMMAND);
		}
	}
}

TEST_P(Life, NeverMapsAnInterrupt)
{
	EXPECT_EQ(tap->interrupts, 0u);
	for (const Event &e : events()) {
		bool vector = legacy ? false
				     : e.offset == VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR ||
					       e.offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR;

		EXPECT_FALSE(e.place == Place::Common && e.write && vector);
	}
}

TEST_P(Life, OnlyReadsFieldsOfOfferedFeatures)
{
	unsigned reads = 0;

	for (const Event &e : events()) {
		if (e.place != Place::Device)
			continue;
		reads++;
		EXPECT_FALSE(e.write) << "device configuration is never written";
		bool known = e.offset < 8 || e.offset == VIRTIO_NET_CFG_MTU ||
			     e.offset == VIRTIO_NET_CFG_MTU + 1;
		EXPECT_TRUE(known) << e.offset;
		if (!legacy) {
			EXPECT_EQ(e.len, e.offset < VIRTIO_NET_CFG_STATUS ? 1u : 2u);
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
		EXPECT_TRUE(epoch.size() == 2 || enabled == (std::set<uint64_t>{0, 1}));
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
	{"split", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, no_event_idx, 2048, 0, 0},
	{"split_event_idx", ",packed=off", PLX_EMU_MODERN_ONLY, PLX_EMU_FEATURES_OK, {}, 2048, 0, 0},
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
	{"device_ok_packed", ",handshake=device-ok", PLX_EMU_MODERN_ONLY, PLX_EMU_DEVICE_OK, {}, 2048,
		0, 0},
};

INSTANTIATE_TEST_SUITE_P(Agreed, Life, ::testing::ValuesIn(variants),
	[](const auto &info) { return std::string(info.param.name); });

} // namespace
