/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_CONFORMANCE_LIFE_H
#define PLX_TESTS_CONFORMANCE_LIFE_H

#include "conformance.h"

#include <algorithm>
#include <ostream>

/*
 * A driver's whole life on the emulated card, in any of the ways in which the two may agree:
 * opened, started, traffic in all shapes, stopped and started twice, and closed as it runs.
 * Afterwards there is a record of what the registers saw.
 */

struct Variant {
	const char *name;
	const char *options; /* of the driver */
	enum plx_emu_interface interface;
	enum plx_emu_handshake handshake;
	std::set<unsigned> withheld; /* features that the card does not offer */
	uint16_t data_size;
	uint64_t seed; /* other than 0: the card takes all the freedom that it has */
	uint16_t ring; /* entries; 0: as the card likes it */
};

inline void PrintTo(const Variant &variant, std::ostream *to)
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

struct Record {
	std::vector<Event> events;
	struct plx_emu_stats stats;
	uint64_t breaches;
	unsigned interrupts; /* times that the driver set some up */
};

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
		if (!records().count(GetParam().name))
			live_through();
		ASSERT_TRUE(records().count(GetParam().name)) << "it did not get to its end";
	}

	const Record &record() const
	{
		return records()[GetParam().name];
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

					ASSERT_EQ(
						send(build(frame, cut(size, pieces), headroom)), 1)
						<< plx_error();
					expected->insert(frame);
				}
				settle();
			}
	}

	/* More than the ring holds, so that it is full now and then and goes round. */
	void send_in_bursts(Frames *expected, Frames *seen)
	{
		for (unsigned round = 0; round < 2; round++) {
			std::vector<struct plx_packet *> packets;
			unsigned done = 0;

			for (unsigned i = 0; i < 300; i++) {
				auto frame = make_frame(60 + i % 100, round * 300 + i);

				packets.push_back(build(frame));
				expected->insert(frame);
			}
			for (unsigned tries = 0; done < 300 && tries < 100; tries++) {
				int sent = plx_eth_tx_burst(txq(), packets.data() + done,
					std::min(300 - done, 64u + round));

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

		for (unsigned round = 0; round < 41; round++) {
			for (unsigned i = 0; i < round % 40; i++) {
				auto frame =
					make_frame(60 + (round * 37 + i * 11) % 1455, round + i);

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
		if (!HasFailure())
			write_down(&records()[GetParam().name]);
	}

	/* --- what was seen of it --- */

	Event modern_event(const Access &a)
	{
		static const std::pair<uint8_t, Place> places[] = {
			{VIRTIO_PCI_CAP_COMMON_CFG, Place::Common},
			{VIRTIO_PCI_CAP_ISR_CFG, Place::Isr},
			{VIRTIO_PCI_CAP_DEVICE_CFG, Place::Device},
			{VIRTIO_PCI_CAP_NOTIFY_CFG, Place::Notify}};

		for (auto [type, place] : places)
			for (const Structure &s : structures_)
				if (s.type == type && a.region == s.bar && a.offset >= s.offset &&
					a.offset + a.len <= (uint64_t)s.offset + s.length)
					return {a.write, place, a.offset - s.offset, a.len,
						a.value};
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

	void write_down(Record *r)
	{
		structures_ = tap->structures();
		for (const Access &a : tap->log)
			r->events.push_back(a.region == VFIO_PCI_CONFIG_REGION_INDEX
						    ? Event{a.write, Place::ConfigSpace, a.offset,
							      a.len, a.value}
					    : legacy ? legacy_event(a)
						     : modern_event(a));
		plx_emu_get_stats(card, &r->stats);
		r->breaches = plx_emu_breaches(card, nullptr);
		r->interrupts = tap->interrupts;
	}

	bool is_status(const Event &e) const
	{
		return e.place == Place::Common && e.offset == status_at;
	}

	/* The events from each reset on, up to the next. */
	std::vector<std::vector<Event>> epochs()
	{
		std::vector<std::vector<Event>> all;

		for (const Event &e : record().events) {
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

	static std::map<std::string, Record> &records()
	{
		static std::map<std::string, Record> all;

		return all;
	}
};

#endif
