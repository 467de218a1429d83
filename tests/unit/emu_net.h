/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_EMU_NET_H
#define TESTS_UNIT_EMU_NET_H

#include "emu_driver.h"

#include <algorithm>
#include <map>
#include <string>

namespace emu
{

using Frame = std::vector<uint8_t>;

inline Frame frame_of(size_t len, uint8_t seed = 1)
{
	Frame frame(len);

	for (size_t i = 0; i < len; i++)
		frame[i] = static_cast<uint8_t>(seed * 31 + i * 7);
	return frame;
}

/* A whole card: one driver with rings and buffers for one or more pairs. */
class Net
{
      public:
	static constexpr unsigned kHeader = VIRTIO_NET_HDR_SIZE;

	Net(Driver &card, uint64_t features, unsigned pairs = 1, unsigned ring_size = 64,
		unsigned buffer_size = 2048)
	    : driver(card), size(ring_size), buffer_len(buffer_size)
	{
		ok = driver.negotiate(features);
		if (!ok)
			return;
		for (unsigned i = 0; i < pairs; i++) {
			rx.push_back(driver.setup(2 * i, size));
			tx.push_back(driver.setup(2 * i + 1, size));
			rx_memory.push_back(
				std::make_unique<Dma>(driver.mem, size_t{size} * buffer_len));
			tx_memory.push_back(
				std::make_unique<Dma>(driver.mem, size_t{size} * buffer_len));
		}
		if (driver.has(VIRTIO_NET_F_CTRL_VQ)) {
			control =
				driver.setup(driver.has(VIRTIO_NET_F_MQ) ? control_index() : 2, 16);
			command = std::make_unique<Dma>(driver.mem, 4096);
		}
		slot_of.resize(2 * pairs);
		tx_next.resize(pairs);
		driver.live();
	}
	unsigned control_index()
	{
		return 2u * driver.get<uint16_t>(driver.device, VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS);
	}
	/* Make receive buffers available, @count of them from the first on. */
	void fill(unsigned count, unsigned pair = 0)
	{
		for (unsigned i = 0; i < count; i++)
			post(pair, i);
		driver.submit(*rx[pair]);
	}
	void post(unsigned pair, unsigned slot)
	{
		uint16_t head = rx[pair]->add(
			{{rx_memory[pair]->iova() + slot * buffer_len, buffer_len, true}});

		slot_of[2 * pair][head] = slot;
	}
	/* Send a frame behind a header of zeros, cut into @pieces after the header. */
	uint16_t send(const Frame &frame, unsigned pair = 0, unsigned pieces = 0,
		bool indirect = false, const Frame &header = Frame(kHeader))
	{
		unsigned slot = tx_next[pair]++ % size;
		uint8_t *at = tx_memory[pair]->bytes() + slot * buffer_len;
		uint64_t iova = tx_memory[pair]->iova() + slot * buffer_len;
		std::vector<Piece> list;

		memcpy(at, header.data(), header.size());
		memcpy(at + header.size(), frame.data(), frame.size());
		if (!pieces) {
			list = {{iova, static_cast<uint32_t>(header.size() + frame.size()), false}};
		} else {
			size_t step = frame.size() / pieces, done = 0;

			list = {{iova, static_cast<uint32_t>(header.size()), false}};
			for (unsigned i = 0; i < pieces; i++) {
				size_t len = i + 1 < pieces ? step : frame.size() - done;

				list.push_back({iova + header.size() + done,
					static_cast<uint32_t>(len), false});
				done += len;
			}
		}
		uint16_t head = tx[pair]->add(list, indirect);
		driver.submit(*tx[pair]);
		return head;
	}
	/* The next frame, put together from its buffers, which are posted again. */
	std::optional<Frame> receive(unsigned pair = 0)
	{
		std::optional<Used> used = rx[pair]->used();

		if (!used)
			return std::nullopt;
		Frame frame;
		unsigned buffers = 1;

		for (unsigned i = 0; i < buffers; i++) {
			if (i)
				used = rx[pair]->used();
			if (!used)
				return std::nullopt;
			unsigned slot = slot_of[2 * pair].at(static_cast<uint16_t>(used->id));
			const uint8_t *at = rx_memory[pair]->bytes() + slot * buffer_len;
			unsigned skip = i ? 0 : kHeader;

			if (!i) {
				buffers = at[10] | at[11] << 8;
				header.assign(at, at + kHeader);
			}
			frame.insert(frame.end(), at + skip, at + used->len);
			reposts.push_back(slot);
		}
		num_buffers = buffers;
		if (repost)
			for (unsigned slot : reposts)
				post(pair, slot);
		reposts.clear();
		if (repost)
			driver.submit(*rx[pair]);
		return frame;
	}
	/* Put a command to the control queue. */
	uint16_t ask(uint8_t class_, uint8_t what, const Frame &data)
	{
		command->bytes()[0] = class_;
		command->bytes()[1] = what;
		std::copy(data.begin(), data.end(), command->bytes() + 2);
		command->bytes()[4095] = 0xee;
		uint16_t head = control->add(
			{{command->iova(), static_cast<uint32_t>(2 + data.size()), false},
				{command->iova() + 4095, 1, true}});
		driver.submit(*control);
		return head;
	}
	uint8_t ack() const
	{
		return command->bytes()[4095];
	}

	Driver &driver;
	const unsigned size;
	const unsigned buffer_len;
	bool ok = false;
	bool repost = true;
	unsigned num_buffers = 0;
	Frame header;
	std::vector<std::unique_ptr<Ring>> rx, tx;
	std::unique_ptr<Ring> control;
	std::vector<std::unique_ptr<Dma>> rx_memory, tx_memory;
	std::unique_ptr<Dma> command;

      private:
	std::vector<std::map<uint16_t, unsigned>> slot_of;
	std::vector<unsigned> tx_next;
	std::vector<unsigned> reposts;
};

constexpr uint64_t kBase = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_ACCESS_PLATFORM);

/*
 * A device in steps, its memory, and a driver. The driver must be faultless unless a test says so.
 */
class EmuTest : public testing::Test
{
      protected:
	void SetUp() override
	{
		plx_mem_config memory{};

		memory.address_space = uint64_t{1} << 30;
		memory.page_size = 4096;
		ASSERT_EQ(0, plx_mem_create(&memory, &mem)) << plx_error();
		plx_emu_config_init(&config);
	}
	void TearDown() override
	{
		if (device && !faulty) {
			EXPECT_EQ("", breaches());
		}
		discard();
		plx_emu_destroy(other);
		kept.clear();
		EXPECT_EQ(0, plx_mem_destroy(mem)) << plx_error();
	}
	void make()
	{
		ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &device)) << plx_error();
		driver = std::make_unique<Driver>(plx_emu_device(device), mem);
	}
	/* The device and its driver, so that others may be made. */
	void discard()
	{
		net.reset();
		driver.reset();
		plx_emu_destroy(device);
		device = nullptr;
	}
	/* A running card. */
	void run(uint64_t features = 0, unsigned pairs = 1, unsigned size = 64,
		unsigned buffer = 2048)
	{
		if (!device)
			make();
		net = std::make_unique<Net>(*driver, kBase | features, pairs, size, buffer);
		ASSERT_TRUE(net->ok) << breaches();
	}
	void settle()
	{
		for (unsigned i = 0; i < 10000 && plx_emu_step(device); i++)
			;
		/* A seeded device may look around for a while before it sleeps. */
		for (unsigned i = 0; config.seed && i < 20; i++)
			while (plx_emu_step(device))
				;
	}
	std::string breaches()
	{
		plx_emu_breach list[16];
		unsigned count = plx_emu_breach_list(device, list, 16);
		std::string text;

		for (unsigned i = 0; i < std::min(count, 16u); i++)
			text += std::string(list[i].rule) + ": " + list[i].text + "\n";
		return text;
	}
	plx_emu_stats stats()
	{
		plx_emu_stats all;

		plx_emu_get_stats(device, &all);
		return all;
	}
	plx_emu_net_state state()
	{
		plx_emu_net_state all;

		plx_emu_get_net_state(device, &all);
		return all;
	}
	Dma &dma(size_t size, unsigned flags = 0)
	{
		kept.push_back(std::make_unique<Dma>(mem, size, flags));
		return *kept.back();
	}

	plx_mem *mem = nullptr;
	plx_emu_config config;
	plx_emu *device = nullptr, *other = nullptr;
	std::unique_ptr<Driver> driver;
	std::unique_ptr<Net> net;
	std::vector<std::unique_ptr<Dma>> kept;
	bool faulty = false;
};

} // namespace emu

#endif
