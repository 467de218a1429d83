/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_EMU_DRIVER_H
#define TESTS_UNIT_EMU_DRIVER_H

/*
 * A throw-away driver that the tests of lib/emu drive a device with, register by register. It
 * shares nothing with the real one and trusts the device, which is what is being tested.
 */

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

extern "C" {
#include "base/barrier.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "emu/emu.h"
#include "mem/mem.h"
#include "virtio/virtio_reg.h"
}

namespace emu
{

constexpr uint64_t bit(unsigned n)
{
	return uint64_t{1} << (n % 64);
}

/* Memory that the device may reach, given back at the end. */
class Dma
{
      public:
	Dma(plx_mem *mem, size_t size, unsigned flags = 0) : mem_(mem), size_(size)
	{
		EXPECT_EQ(0, plx_mem_alloc(mem, size, 4096, -1, flags, &address_)) << plx_error();
	}
	~Dma()
	{
		plx_mem_free(mem_, address_);
	}
	Dma(const Dma &) = delete;
	Dma &operator=(const Dma &) = delete;
	uint8_t *bytes() const
	{
		return static_cast<uint8_t *>(address_);
	}
	uint64_t iova() const
	{
		return plx_mem_iova(mem_, address_);
	}
	size_t size() const
	{
		return size_;
	}

      private:
	plx_mem *mem_;
	void *address_ = nullptr;
	size_t size_;
};

struct Piece {
	uint64_t iova;
	uint32_t len;
	bool write;
};

struct Used {
	uint32_t id;
	uint32_t len;
};

class Driver;

/* A split ring of one queue. */
class Ring
{
      public:
	Ring(Driver &driver, unsigned index, unsigned size);

	/* Make a chain available, without telling of it. Returns its head. */
	uint16_t add(const std::vector<Piece> &pieces, bool indirect = false);
	/* Let the device see what was added; true when it wants to be notified. */
	bool publish();
	/* The next chain that the device gave back. */
	std::optional<Used> used();
	uint64_t desc_iova() const
	{
		return memory_->iova();
	}
	uint64_t avail_iova() const
	{
		return memory_->iova() + avail_at_;
	}
	uint64_t used_iova() const
	{
		return memory_->iova() + used_at_;
	}
	virtq_desc *desc() const
	{
		return reinterpret_cast<virtq_desc *>(memory_->bytes());
	}
	virtq_avail *avail() const
	{
		return reinterpret_cast<virtq_avail *>(memory_->bytes() + avail_at_);
	}
	virtq_used *used_ring() const
	{
		return reinterpret_cast<virtq_used *>(memory_->bytes() + used_at_);
	}
	void ask_for_interrupt(uint16_t after)
	{
		plx_shared16_write(&avail()->ring[size], after);
	}
	const unsigned index;
	const unsigned size;
	uint16_t next = 0; /* available entries so far */

      private:
	struct Chain {
		uint16_t head;
		std::vector<uint16_t> descs;
		uint32_t writable;
		std::shared_ptr<Dma> table;
	};
	void write_desc(virtq_desc *desc, const Piece &piece, uint16_t flags, uint16_t link);
	void release(const Chain &chain);

	Driver &driver_;
	std::unique_ptr<Dma> memory_;
	size_t avail_at_, used_at_;
	uint16_t published_ = 0, seen_ = 0;
	std::deque<uint16_t> free_;
	std::deque<Chain> exposed_;
	std::deque<Used> batch_;
};

class Driver
{
      public:
	struct Window {
		unsigned bar = 0;
		uint32_t offset = 0;
		uint32_t length = 0;
	};

	Driver(plx_vfio_device *device, plx_mem *memory) : dev(device), mem(memory)
	{
		probe();
	}

	template <typename T> T get(const Window &window, uint64_t offset)
	{
		T value{};

		EXPECT_EQ(0, dev->ops->read(dev, window.bar, window.offset + offset, &value,
				     sizeof(value)));
		return value;
	}
	template <typename T> void set(const Window &window, uint64_t offset, T value)
	{
		EXPECT_EQ(0, dev->ops->write(dev, window.bar, window.offset + offset, &value,
				     sizeof(value)));
	}
	template <typename T> T config(uint64_t offset)
	{
		T value{};

		EXPECT_EQ(0, dev->ops->read(dev, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value,
				     sizeof(value)));
		return value;
	}
	template <typename T> void set_config(uint64_t offset, T value)
	{
		EXPECT_EQ(0, dev->ops->write(dev, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value,
				     sizeof(value)));
	}

	uint8_t status()
	{
		return get<uint8_t>(common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
	}
	void set_status(uint8_t value)
	{
		set<uint8_t>(common, VIRTIO_PCI_COMMON_DEVICE_STATUS, value);
	}
	void add_status(uint8_t value)
	{
		set_status(status() | value);
	}
	void reset()
	{
		set_status(0);
		EXPECT_EQ(0, status());
	}
	uint64_t offered(unsigned pair = 0)
	{
		uint64_t value = 0;

		for (unsigned i = 0; i < 2; i++) {
			set<uint32_t>(
				common, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 2 * pair + i);
			value |= uint64_t{get<uint32_t>(common, VIRTIO_PCI_COMMON_DEVICE_FEATURE)}
				 << 32 * i;
		}
		return value;
	}
	void accept(uint64_t features)
	{
		accepted = features;
		for (unsigned i = 0; i < 2; i++) {
			set<uint32_t>(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, i);
			set<uint32_t>(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE,
				static_cast<uint32_t>(features >> 32 * i));
		}
	}
	/* Reset, and go as far as the driver may go without features. */
	void hello()
	{
		reset();
		add_status(VIRTIO_STATUS_ACKNOWLEDGE);
		add_status(VIRTIO_STATUS_DRIVER);
	}
	/* As far as FEATURES_OK; true when it stays. */
	bool negotiate(uint64_t features)
	{
		hello();
		accept(features);
		add_status(VIRTIO_STATUS_FEATURES_OK);
		return status() & VIRTIO_STATUS_FEATURES_OK;
	}
	bool has(unsigned feature) const
	{
		return accepted & bit(feature);
	}
	void select(unsigned queue)
	{
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_SELECT, static_cast<uint16_t>(queue));
	}
	void set_address(uint64_t field, uint64_t iova)
	{
		set<uint32_t>(common, field, static_cast<uint32_t>(iova));
		set<uint32_t>(common, field + 4, static_cast<uint32_t>(iova >> 32));
	}
	void set_addresses(const Ring &ring)
	{
		set_address(VIRTIO_PCI_COMMON_QUEUE_DESC, ring.desc_iova());
		set_address(VIRTIO_PCI_COMMON_QUEUE_DRIVER, ring.avail_iova());
		set_address(VIRTIO_PCI_COMMON_QUEUE_DEVICE, ring.used_iova());
	}
	void enable()
	{
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1);
	}
	std::unique_ptr<Ring> setup(unsigned queue, unsigned size)
	{
		auto ring = std::make_unique<Ring>(*this, queue, size);

		select(queue);
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_SIZE, static_cast<uint16_t>(size));
		set_addresses(*ring);
		enable();
		return ring;
	}
	void live()
	{
		add_status(VIRTIO_STATUS_DRIVER_OK);
	}
	void kick(unsigned queue)
	{
		set<uint16_t>(notify, queue * notify_multiplier, static_cast<uint16_t>(queue));
	}
	/* Publish, and notify if the device wants it. */
	void submit(Ring &ring)
	{
		if (ring.publish())
			kick(ring.index);
	}

	plx_vfio_device *dev;
	plx_mem *mem;
	Window common, notify, isr, device, pci_cfg;
	uint32_t notify_multiplier = 0;
	uint8_t pci_cfg_cap = 0, msix_cap = 0;
	uint64_t accepted = 0;

      private:
	void probe()
	{
		for (uint8_t at = config<uint8_t>(0x34); at; at = config<uint8_t>(at + 1u)) {
			uint8_t id = config<uint8_t>(at);

			if (id == 0x11)
				msix_cap = at;
			if (id != 0x09)
				continue;
			Window window = {config<uint8_t>(at + 4u), config<uint32_t>(at + 8u),
				config<uint32_t>(at + 12u)};
			switch (config<uint8_t>(at + 3u)) {
			case VIRTIO_PCI_CAP_COMMON_CFG:
				common = window;
				break;
			case VIRTIO_PCI_CAP_NOTIFY_CFG:
				notify = window;
				notify_multiplier = config<uint32_t>(at + 16u);
				break;
			case VIRTIO_PCI_CAP_ISR_CFG:
				isr = window;
				break;
			case VIRTIO_PCI_CAP_DEVICE_CFG:
				device = window;
				break;
			case VIRTIO_PCI_CAP_PCI_CFG:
				pci_cfg_cap = at;
				break;
			}
		}
	}
};

inline Ring::Ring(Driver &driver, unsigned number, unsigned entries)
    : index(number), size(entries), driver_(driver)
{
	avail_at_ = 16 * size;
	used_at_ = (avail_at_ + 6 + 2 * size + 4095) & ~size_t{4095};
	memory_ = std::make_unique<Dma>(driver.mem, used_at_ + 6 + 8 * size);
	for (unsigned i = 0; i < size; i++)
		free_.push_back(static_cast<uint16_t>(i));
}

inline void Ring::write_desc(virtq_desc *desc, const Piece &piece, uint16_t flags, uint16_t link)
{
	plx_shared64_write(&desc->addr, piece.iova);
	plx_shared32_write(&desc->len, piece.len);
	plx_shared16_write(&desc->flags,
		static_cast<uint16_t>(flags | (piece.write ? VIRTQ_DESC_F_WRITE : 0)));
	plx_shared16_write(&desc->next, link);
}

inline uint16_t Ring::add(const std::vector<Piece> &pieces, bool indirect)
{
	Chain chain{};
	size_t count = indirect ? 1 : pieces.size();

	if (free_.size() < count) {
		ADD_FAILURE() << "the ring of queue " << index << " is full";
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		chain.descs.push_back(free_.front());
		free_.pop_front();
	}
	for (const Piece &piece : pieces)
		chain.writable += piece.write ? piece.len : 0;
	chain.head = chain.descs[0];
	if (indirect)
		chain.table = std::make_shared<Dma>(driver_.mem, 16 * pieces.size());
	for (size_t i = 0; i < pieces.size(); i++) {
		bool last = i + 1 == pieces.size();
		virtq_desc *at = indirect ? reinterpret_cast<virtq_desc *>(chain.table->bytes()) + i
					  : desc() + chain.descs[i];
		size_t link = last ? 0 : indirect ? i + 1 : chain.descs[i + 1];

		write_desc(
			at, pieces[i], last ? 0 : VIRTQ_DESC_F_NEXT, static_cast<uint16_t>(link));
	}
	if (indirect)
		write_desc(desc() + chain.head,
			{chain.table->iova(), static_cast<uint32_t>(16 * pieces.size()), false},
			VIRTQ_DESC_F_INDIRECT, 0);
	plx_shared16_write(&avail()->ring[next % size], chain.head);
	next++;
	exposed_.push_back(chain);
	return chain.head;
}

inline bool Ring::publish()
{
	uint16_t before = published_;

	published_ = next;
	plx_shared16_write_release(&avail()->idx, next);
	plx_barrier_full();
	if (driver_.has(VIRTIO_F_EVENT_IDX)) {
		uint16_t event =
			static_cast<uint16_t>(plx_shared32_read(&used_ring()->ring[size].id));

		return static_cast<uint16_t>(next - event - 1) <
		       static_cast<uint16_t>(next - before);
	}
	return !plx_shared16_read(&used_ring()->flags);
}

inline void Ring::release(const Chain &chain)
{
	for (uint16_t desc : chain.descs)
		free_.push_back(desc);
}

inline std::optional<Used> Ring::used()
{
	if (batch_.empty() && plx_shared16_read_acquire(&used_ring()->idx) != seen_) {
		const virtq_used_elem *elem = &used_ring()->ring[seen_ % size];
		Used last = {plx_shared32_read(&elem->id), plx_shared32_read(&elem->len)};
		bool in_order = driver_.has(VIRTIO_F_IN_ORDER);

		for (auto chain = exposed_.begin(); chain != exposed_.end();) {
			bool hit = chain->head == last.id;

			if (!hit && !in_order) {
				++chain;
				continue;
			}
			batch_.push_back(hit ? last : Used{chain->head, chain->writable});
			release(*chain);
			chain = exposed_.erase(chain);
			seen_++;
			if (hit)
				break;
		}
		EXPECT_FALSE(batch_.empty()) << "used entry " << last.id << " names no chain";
	}
	if (batch_.empty())
		return std::nullopt;
	Used front = batch_.front();
	batch_.pop_front();
	return front;
}

} // namespace emu

#endif
