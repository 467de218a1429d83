/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_HOSTILE_H
#define PLX_TESTS_HOSTILE_H

#include "net_fixture.h"

#include <algorithm>
#include <chrono>
#include <map>

/*
 * The network driver on a card that lies. The numbers are those of doc/hostile.md.
 *
 * Whatever the card does, each test ends in the same way: within its time, with every packet back
 * in its pool, and without a rule of the standard broken by the driver.
 */
enum Layout {
	SPLIT = 1,
	PACKED = 2,
	LEGACY = 4,
	APART = 8, /* legacy without ANY_LAYOUT: each header in a descriptor of its own */
	SPLIT_IN_ORDER = 16,
	PACKED_IN_ORDER = 32,
	NARROW = 64, /* with one of the modern ones: without the paths for wide registers */
	MODERN = SPLIT | PACKED,
	OLD = LEGACY | APART,
	IN_ORDER = SPLIT_IN_ORDER | PACKED_IN_ORDER,
	ANY = MODERN | OLD,
	EVERY = ANY | IN_ORDER, /* those in order as well, once the device runs */
};

inline bool is_packed(Layout layout)
{
	return layout & (PACKED | PACKED_IN_ORDER);
}

inline const char *layout_name(Layout layout)
{
	return layout == (SPLIT | NARROW)            ? "split_narrow"
	       : layout == (SPLIT_IN_ORDER | NARROW) ? "split_in_order_narrow"
	       : layout == (PACKED | NARROW)         ? "packed_narrow"
	       : layout & NARROW                     ? "packed_in_order_narrow"
	       : layout == SPLIT                     ? "split"
	       : layout == PACKED                    ? "packed"
	       : layout == LEGACY                    ? "legacy"
	       : layout == SPLIT_IN_ORDER            ? "split_in_order"
	       : layout == PACKED_IN_ORDER           ? "packed_in_order"
						     : "legacy_apart";
}

const Layout kLayouts[] = {SPLIT, PACKED, LEGACY, APART, SPLIT_IN_ORDER, PACKED_IN_ORDER,
	Layout(SPLIT | NARROW), Layout(SPLIT_IN_ORDER | NARROW), Layout(PACKED | NARROW),
	Layout(PACKED_IN_ORDER | NARROW)};

/* Every case that a table's entry makes: one for each layout that it is about. */
template <typename Entry> struct Case {
	const Entry *entry;
	Layout layout;
};

template <typename Entry, size_t count>
std::vector<Case<Entry>> each_layout(const Entry (&table)[count])
{
	std::vector<Case<Entry>> all;

	for (const Entry &entry : table)
		for (Layout layout : kLayouts)
			if (entry.layouts & layout)
				all.push_back({&entry, layout});
	return all;
}

template <typename Entry> std::string case_name(const ::testing::TestParamInfo<Case<Entry>> &info)
{
	return "No" + std::to_string(info.param.entry->number) + "_" + info.param.entry->name +
	       "_" + layout_name(info.param.layout);
}

template <typename Entry> void PrintTo(const Case<Entry> &one, std::ostream *to)
{
	*to << "number " << one.entry->number << " over a " << layout_name(one.layout) << " ring";
}

class HostileFixture : public NetFixture
{
      public:
	static constexpr unsigned kRing = 16;
	using NetFixture::config; /* for the tables of lies */

	/* What the card does instead of the truth. */
	struct Lies {
		std::function<void(plx_emu_place, uint64_t, unsigned, uint64_t *)> read;
		std::function<bool(plx_emu_place, uint64_t, uint64_t)> write;
		std::function<bool()> reset;
		std::function<void(unsigned, uint32_t *, uint32_t *)> used;
		std::function<void(unsigned, uint16_t *)> used_index;
		std::function<unsigned(unsigned)> used_extra;
		std::function<void(unsigned, uint16_t *, uint16_t *)> suppress;
		std::function<void(uint8_t *)> header;
	} lies;

	std::vector<uint8_t> status_writes;
	std::chrono::steady_clock::time_point began;

	void SetUp() override
	{
		NetFixture::SetUp();
		config.queue_size = kRing;
		config.hooks.arg = this;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			of(arg)->breaches.push_back(std::string(rule) + ": " + text);
		};
		config.hooks.event = [](void *arg, const struct plx_emu_event *event) {
			if (event->kind == PLX_EMU_WRITE && is_status(event->place, event->index))
				of(arg)->status_writes.push_back((uint8_t)event->value);
		};
		install();
		limits.reset = PLX_MILLISECONDS(50);
		began = std::chrono::steady_clock::now();
	}

	void TearDown() override
	{
		honest();
		close();
		if (pool)
			expect_all_back();
		EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(120));
		NetFixture::TearDown();
	}

	void honest()
	{
		lies = Lies();
	}

	void use_layout(Layout layout)
	{
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, is_packed(layout));
		plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, layout & IN_ORDER);
		plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, layout != APART);
		config.interface = layout & OLD ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
		options = layout & OLD ? ",legacy=on" : layout & NARROW ? ",simd=off" : "";
	}
	std::string options;

	/* --- the card --- */

	static bool is_status(plx_emu_place place, uint64_t offset)
	{
		return place == PLX_EMU_LEGACY   ? offset == VIRTIO_PCI_LEGACY_DEVICE_STATUS
		       : place == PLX_EMU_COMMON ? offset == VIRTIO_PCI_COMMON_DEVICE_STATUS
						 : false;
	}

	/* A register of the common configuration, or of the legacy one, always reads as @value. */
	void register_reads(uint64_t offset, uint64_t value)
	{
		lies.read = [=](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
			if ((place == PLX_EMU_COMMON || place == PLX_EMU_LEGACY) && at == offset)
				*is = value;
		};
	}

	/* Bytes of configuration space are what they are not. */
	void config_space_reads(const std::map<uint64_t, uint8_t> &bytes)
	{
		lies.read = [=](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
			auto byte = bytes.find(at);

			if (place == PLX_EMU_PCI_CONFIG && byte != bytes.end())
				*is = byte->second;
		};
	}

	/* So do bytes of the device configuration, whatever the width of the access. */
	void device_config_reads(const std::map<uint64_t, uint8_t> &bytes)
	{
		lies.read = [=](plx_emu_place place, uint64_t at, unsigned len, uint64_t *is) {
			for (unsigned i = 0; place == PLX_EMU_DEVICE_CONFIG && i < len; i++) {
				auto byte = bytes.find(at + i);

				if (byte == bytes.end())
					continue;
				*is &= ~(UINT64_C(0xff) << 8 * i);
				*is |= (uint64_t)byte->second << 8 * i;
			}
		};
	}

	/* Writes of 0 to the status go unheard: no reset ever happens. */
	void ignore_resets()
	{
		lies.write = [](plx_emu_place place, uint64_t offset, uint64_t value) {
			return !is_status(place, offset) || value;
		};
	}

	plx_emu_queue_state queue_state(unsigned queue)
	{
		plx_emu_queue_state state;

		plx_emu_get_queue(card, queue, &state);
		EXPECT_TRUE(state.enabled);
		return state;
	}

	template <typename T> void poke(uint64_t iova, T value)
	{
		EXPECT_EQ(plx_emu_poke(card, iova, &value, sizeof(value)), 0) << plx_error();
	}

	/* Where a virtio capability of such a card lies in configuration space. */
	uint8_t capability(uint8_t type)
	{
		struct plx_emu_config plain = config;
		struct plx_emu *other;
		uint8_t at = 0;

		plain.hooks = {};
		EXPECT_EQ(plx_emu_create(ctx->mem, nullptr, &plain, &other), 0);
		at = config_byte(plx_emu_device(other), 0x34);
		while (at && (config_byte(plx_emu_device(other), at) != 9 ||
				     config_byte(plx_emu_device(other), at + 3u) != type))
			at = config_byte(plx_emu_device(other), at + 1u);
		plx_emu_destroy(other);
		return at;
	}

	/* --- the driver --- */

	void begin()
	{
		start(options.c_str());
		if (!HasFatalFailure())
			expect_traffic();
	}

	struct Outcome {
		unsigned sent = 0, got_sent = 0;
		unsigned injected = 0, received = 0;
		unsigned wrong = 0; /* frames that are not what they were */
		int rx = 0, tx = 0; /* the first error of a burst */
		std::string rx_error, tx_error;
	};

	/* So many frames each way, in bursts of a quarter of the ring. */
	Outcome traffic(unsigned frames = 200, size_t size = 300)
	{
		Outcome outcome;
		auto frame = make_frame(size, 7);

		for (unsigned i = 0; i < frames; i++) {
			outcome.injected += !plx_emu_inject(card, 0, frame.data(), frame.size());
			send_one(outcome, frame);
			if (i % 4 == 3 || i + 1 == frames)
				settle(outcome, frame);
		}
		for (unsigned i = 0; i < 4; i++)
			settle(outcome, frame);
		return outcome;
	}

	/* All that is sent arrives, and all that arrives is received. */
	void expect_traffic()
	{
		Outcome outcome = traffic();

		EXPECT_EQ(outcome.rx, 0) << outcome.rx_error;
		EXPECT_EQ(outcome.tx, 0) << outcome.tx_error;
		EXPECT_EQ(outcome.sent, 200u);
		EXPECT_EQ(outcome.got_sent, 200u);
		EXPECT_EQ(outcome.received, 200u);
		EXPECT_EQ(outcome.wrong, 0u);
	}

	/*
	 * What bursts on queues on which nothing moves end with: a card is asked now and then
	 * whether it is there. Of sending there must be more than the ring takes.
	 */
	int receive_until_told()
	{
		uint64_t deadline = plx_now() + PLX_MILLISECONDS(60000);
		struct plx_packet *packet;
		int ret = 0;

		while (!ret && plx_now() < deadline)
			ret = plx_eth_rx_burst(rxq(), &packet, 1);
		return ret;
	}

	int send_until_told()
	{
		uint64_t deadline = plx_now() + PLX_MILLISECONDS(60000);
		struct plx_packet *packet = build(make_frame(60, 1));
		int ret = 0;

		while (ret >= 0 && plx_now() < deadline) {
			ret = plx_eth_tx_burst(txq(), &packet, 1);
			if (ret == 1)
				packet = build(make_frame(60, 1));
		}
		plx_packet_free(packet);
		return ret;
	}

	unsigned count_messages(const std::string &part)
	{
		return (unsigned)std::count_if(
			messages.begin(), messages.end(), [&](const std::string &message) {
				return message.find(part) != std::string::npos;
			});
	}

	/* A stop and a start later it is as if nothing had happened. */
	void expect_recovery()
	{
		honest();
		uint64_t broken = counter("rx0.broken");
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		EXPECT_EQ(counter("rx0.broken"), broken);
		while (!sent().empty())
			;
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		expect_traffic();
	}

      private:
	static HostileFixture *of(void *arg)
	{
		return static_cast<HostileFixture *>(arg);
	}

	static uint8_t config_byte(struct plx_vfio_device *device, uint64_t at)
	{
		uint8_t value = 0;

		EXPECT_EQ(
			device->ops->read(device, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, 1), 0);
		return value;
	}

	void install()
	{
		plx_emu_hooks &hooks = config.hooks;

		hooks.read = [](void *arg, plx_emu_place place, uint64_t offset, unsigned len,
				     uint64_t *value) {
			if (of(arg)->lies.read)
				of(arg)->lies.read(place, offset, len, value);
		};
		hooks.write = [](void *arg, plx_emu_place place, uint64_t offset, unsigned,
				      uint64_t *value) {
			return !of(arg)->lies.write || of(arg)->lies.write(place, offset, *value);
		};
		hooks.reset = [](void *arg) {
			return !of(arg)->lies.reset || of(arg)->lies.reset();
		};
		hooks.used = [](void *arg, unsigned queue, uint32_t *id, uint32_t *len) {
			if (of(arg)->lies.used)
				of(arg)->lies.used(queue, id, len);
		};
		hooks.used_index = [](void *arg, unsigned queue, uint16_t *index) {
			if (of(arg)->lies.used_index)
				of(arg)->lies.used_index(queue, index);
		};
		hooks.used_extra = [](void *arg, unsigned queue) {
			return of(arg)->lies.used_extra ? of(arg)->lies.used_extra(queue) : 0;
		};
		hooks.suppress = [](void *arg, unsigned queue, uint16_t *event, uint16_t *flags) {
			if (of(arg)->lies.suppress)
				of(arg)->lies.suppress(queue, event, flags);
		};
		hooks.rx_header = [](void *arg, unsigned, uint8_t *header, size_t) {
			if (of(arg)->lies.header)
				of(arg)->lies.header(header);
		};
	}

	void send_one(Outcome &outcome, const std::vector<uint8_t> &frame)
	{
		std::vector<size_t> pieces;

		for (size_t left = frame.size(); left; left -= pieces.back())
			pieces.push_back(std::min<size_t>(left, pool_config.data_size));
		int ret = send(build(frame, pieces));

		outcome.sent += ret == 1;
		if (ret >= 0 || outcome.tx)
			return;
		outcome.tx = ret;
		outcome.tx_error = plx_error();
	}

	/* The card works, and the driver takes what there is. */
	void settle(Outcome &outcome, const std::vector<uint8_t> &frame)
	{
		std::vector<uint8_t> got;

		step();
		while (!(got = sent()).empty()) {
			outcome.got_sent++;
			outcome.wrong += got != frame;
		}
		for (auto &one : receive()) {
			outcome.received++;
			outcome.wrong += one != frame;
		}
		if (last_result < 0 && !outcome.rx) {
			outcome.rx = last_result;
			outcome.rx_error = plx_error();
		}
		step();
	}
};

#endif
