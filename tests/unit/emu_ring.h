/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_EMU_RING_H
#define TESTS_UNIT_EMU_RING_H

/*
 * The driver's side of both ring layouts, for the tests of lib/emu. They share nothing with the
 * real ones and trust the device, which is what is being tested.
 */

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

extern "C" {
#include "base/barrier.h"
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

/* The ring of one queue. */
class Ring
{
      public:
	Ring(plx_mem *memory, uint64_t accepted, unsigned number, unsigned entries)
	    : index(number), size(entries), mem_(memory), features_(accepted)
	{
	}
	virtual ~Ring() = default;

	/* Make a buffer available, without telling of it. Returns what names it when it is used. */
	virtual uint16_t add(const std::vector<Piece> &pieces, bool indirect = false) = 0;
	/* Let the device see what was added; true when it wants to be notified. */
	virtual bool publish() = 0;
	/* The next buffer that the device gave back. */
	std::optional<Used> used()
	{
		if (batch_.empty())
			reap();
		if (batch_.empty())
			return std::nullopt;
		Used front = batch_.front();
		batch_.pop_front();
		return front;
	}
	/* What a notification tells besides the queue: where the next buffer will stand. */
	virtual uint16_t next_data() const = 0;
	/*
	 * Interrupt when the buffer that has this number from the start, each of one descriptor, is
	 * used; needs the event index.
	 */
	virtual void interrupt_after(unsigned number) = 0;
	virtual void interrupts(bool on) = 0;

	virtual uint64_t driver_iova() const = 0;
	virtual uint64_t device_iova() const = 0;
	uint64_t desc_iova() const
	{
		return memory_->iova();
	}
	const unsigned index;
	const unsigned size;

      protected:
	struct Buffer {
		uint16_t id;
		std::vector<uint16_t> slots;
		uint32_t writable;
		std::shared_ptr<Dma> table;
	};
	bool has(unsigned feature) const
	{
		return features_ & bit(feature);
	}
	static uint32_t writable(const std::vector<Piece> &pieces)
	{
		uint32_t sum = 0;

		for (const Piece &piece : pieces)
			sum += piece.write ? piece.len : 0;
		return sum;
	}
	/* Take all buffers that @last stands for; returns the descriptors that are free again. */
	unsigned take_used(const Used &last)
	{
		unsigned slots = 0;

		for (auto buffer = exposed_.begin(); buffer != exposed_.end();) {
			bool hit = buffer->id == last.id;

			if (!hit && !has(VIRTIO_F_IN_ORDER)) {
				++buffer;
				continue;
			}
			batch_.push_back(hit ? last : Used{buffer->id, buffer->writable});
			slots += static_cast<unsigned>(buffer->slots.size());
			release(*buffer);
			buffer = exposed_.erase(buffer);
			if (hit)
				return slots;
		}
		ADD_FAILURE() << "queue " << index << ": used entry " << last.id
			      << " names no buffer";
		return slots;
	}
	virtual void reap() = 0;
	virtual void release(const Buffer &buffer) = 0;

	plx_mem *mem_;
	uint64_t features_;
	std::unique_ptr<Dma> memory_;
	std::deque<Buffer> exposed_;
	std::deque<Used> batch_;
};

class SplitRing final : public Ring
{
      public:
	SplitRing(plx_mem *memory, uint64_t accepted, unsigned number, unsigned entries)
	    : Ring(memory, accepted, number, entries), avail_at_(16 * entries),
	      used_at_((avail_at_ + 6 + 2 * entries + 4095) & ~size_t{4095})
	{
		memory_ = std::make_unique<Dma>(memory, used_at_ + 6 + 8 * entries);
		for (unsigned i = 0; i < entries; i++)
			free_.push_back(static_cast<uint16_t>(i));
	}
	uint16_t add(const std::vector<Piece> &pieces, bool indirect = false) override
	{
		size_t count = indirect ? 1 : pieces.size();
		Buffer buffer{};

		if (free_.size() < count) {
			ADD_FAILURE() << "the ring of queue " << index << " is full";
			return 0;
		}
		for (size_t i = 0; i < count; i++) {
			buffer.slots.push_back(free_.front());
			free_.pop_front();
		}
		buffer.writable = writable(pieces);
		buffer.id = buffer.slots[0];
		if (indirect)
			buffer.table = std::make_shared<Dma>(mem_, 16 * pieces.size());
		for (size_t i = 0; i < pieces.size(); i++) {
			bool last = i + 1 == pieces.size();
			virtq_desc *at =
				indirect ? reinterpret_cast<virtq_desc *>(buffer.table->bytes()) + i
					 : desc() + buffer.slots[i];
			size_t link = last ? 0 : indirect ? i + 1 : buffer.slots[i + 1];

			write(at, pieces[i], last ? 0 : VIRTQ_DESC_F_NEXT,
				static_cast<uint16_t>(link));
		}
		if (indirect)
			write(desc() + buffer.id,
				{buffer.table->iova(), static_cast<uint32_t>(16 * pieces.size()),
					false},
				VIRTQ_DESC_F_INDIRECT, 0);
		plx_shared16_write(&avail()->ring[next % size], buffer.id);
		next++;
		exposed_.push_back(buffer);
		return buffer.id;
	}
	bool publish() override
	{
		uint16_t before = published_;

		published_ = next;
		plx_shared16_write_release(&avail()->idx, next);
		plx_barrier_full();
		if (has(VIRTIO_F_EVENT_IDX)) {
			uint16_t event = static_cast<uint16_t>(
				plx_shared32_read(&used_ring()->ring[size].id));

			return static_cast<uint16_t>(next - event - 1) <
			       static_cast<uint16_t>(next - before);
		}
		return !plx_shared16_read(&used_ring()->flags);
	}
	uint16_t next_data() const override
	{
		return next;
	}
	void interrupt_after(unsigned number) override
	{
		plx_shared16_write(&avail()->ring[size], static_cast<uint16_t>(number));
	}
	void interrupts(bool on) override
	{
		plx_shared16_write(&avail()->flags, on ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT);
	}
	uint64_t driver_iova() const override
	{
		return memory_->iova() + avail_at_;
	}
	uint64_t device_iova() const override
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
	uint16_t next = 0; /* available entries so far */

      private:
	void write(virtq_desc *desc, const Piece &piece, uint16_t flags, uint16_t link)
	{
		plx_shared64_write(&desc->addr, piece.iova);
		plx_shared32_write(&desc->len, piece.len);
		plx_shared16_write(&desc->flags,
			static_cast<uint16_t>(flags | (piece.write ? VIRTQ_DESC_F_WRITE : 0)));
		plx_shared16_write(&desc->next, link);
	}
	void release(const Buffer &buffer) override
	{
		for (uint16_t slot : buffer.slots)
			free_.push_back(slot);
	}
	void reap() override
	{
		if (plx_shared16_read_acquire(&used_ring()->idx) == seen_)
			return;
		const virtq_used_elem *elem = &used_ring()->ring[seen_ % size];

		(void)take_used({plx_shared32_read(&elem->id), plx_shared32_read(&elem->len)});
		seen_ = static_cast<uint16_t>(seen_ + batch_.size());
	}

	size_t avail_at_, used_at_;
	uint16_t published_ = 0, seen_ = 0;
	std::deque<uint16_t> free_;
};

/* Buffer IDs count down from the highest, so that they are no index of anything. */
class PackedRing final : public Ring
{
      public:
	PackedRing(plx_mem *memory, uint64_t accepted, unsigned number, unsigned entries)
	    : Ring(memory, accepted, number, entries), free_(entries)
	{
		memory_ = std::make_unique<Dma>(memory, 16 * entries + 8);
		for (unsigned i = 0; i < entries; i++)
			ids_.push_back(static_cast<uint16_t>(0xffff - i));
	}
	uint16_t add(const std::vector<Piece> &pieces, bool indirect = false) override
	{
		std::vector<Piece> list = pieces;
		Buffer buffer{};

		if (indirect) {
			buffer.table = std::make_shared<Dma>(mem_, 16 * pieces.size());
			auto *table = reinterpret_cast<virtq_packed_desc *>(buffer.table->bytes());

			for (size_t i = 0; i < pieces.size(); i++) {
				write(&table[i], pieces[i], 0);
				plx_shared16_write(
					&table[i].flags, pieces[i].write ? VIRTQ_DESC_F_WRITE : 0);
			}
			list = {{buffer.table->iova(), static_cast<uint32_t>(16 * pieces.size()),
				false}};
		}
		if (free_ < list.size()) {
			ADD_FAILURE() << "the ring of queue " << index << " is full";
			return 0;
		}
		free_ -= list.size();
		buffer.id = ids_.front();
		ids_.pop_front();
		buffer.writable = writable(pieces);
		for (size_t i = 0; i < list.size(); i++) {
			bool last = i + 1 == list.size();
			uint16_t flags = static_cast<uint16_t>(
				mark(avail_) | (last ? 0 : VIRTQ_DESC_F_NEXT) |
				(list[i].write ? VIRTQ_DESC_F_WRITE : 0) |
				(indirect ? VIRTQ_DESC_F_INDIRECT : 0));

			/* Only the last descriptor must have the ID. */
			write(at(avail_), list[i], last ? buffer.id : 0);
			buffer.slots.push_back(static_cast<uint16_t>(avail_ % size));
			if (i)
				plx_shared16_write(&at(avail_)->flags, flags);
			else
				heads_.push_back({avail_, flags});
			avail_++;
		}
		exposed_.push_back(buffer);
		return buffer.id;
	}
	bool publish() override
	{
		uint64_t before = published_;

		for (const Head &head : heads_)
			plx_shared16_write_release(&at(head.position)->flags, head.flags);
		heads_.clear();
		published_ = avail_;
		plx_barrier_full();
		uint16_t flags = plx_shared16_read_acquire(&device_event()->flags);

		if (flags != VIRTQ_PACKED_EVENT_DESC)
			return flags == VIRTQ_PACKED_EVENT_ENABLE;
		EXPECT_TRUE(has(VIRTIO_F_EVENT_IDX));
		uint16_t event = plx_shared16_read(&device_event()->off_wrap);

		for (uint64_t i = before; i < avail_; i++)
			if (off_wrap(i) == event)
				return true;
		return false;
	}
	uint16_t next_data() const override
	{
		return off_wrap(avail_);
	}
	void interrupt_after(unsigned number) override
	{
		plx_shared16_write(&driver_event()->off_wrap, off_wrap(number));
		plx_shared16_write_release(&driver_event()->flags, VIRTQ_PACKED_EVENT_DESC);
	}
	void interrupts(bool on) override
	{
		plx_shared16_write(&driver_event()->flags,
			on ? VIRTQ_PACKED_EVENT_ENABLE : VIRTQ_PACKED_EVENT_DISABLE);
	}
	uint64_t driver_iova() const override
	{
		return memory_->iova() + 16 * size;
	}
	uint64_t device_iova() const override
	{
		return driver_iova() + 4;
	}
	virtq_packed_desc *desc() const
	{
		return reinterpret_cast<virtq_packed_desc *>(memory_->bytes());
	}
	virtq_packed_event *driver_event() const
	{
		return reinterpret_cast<virtq_packed_event *>(memory_->bytes() + 16 * size);
	}
	virtq_packed_event *device_event() const
	{
		return driver_event() + 1;
	}
	/* The flags that make a descriptor available, counted in descriptors from the start. */
	uint16_t mark(uint64_t position) const
	{
		return wrap(position) ? VIRTQ_PACKED_DESC_F_AVAIL : VIRTQ_PACKED_DESC_F_USED;
	}
	uint16_t off_wrap(uint64_t position) const
	{
		return static_cast<uint16_t>(
			position % size | (wrap(position) ? VIRTQ_PACKED_EVENT_WRAP : 0));
	}

      private:
	struct Head {
		uint64_t position;
		uint16_t flags;
	};
	bool wrap(uint64_t position) const
	{
		return position / size % 2 == 0;
	}
	virtq_packed_desc *at(uint64_t position) const
	{
		return &desc()[position % size];
	}
	static void write(virtq_packed_desc *desc, const Piece &piece, uint16_t id)
	{
		plx_shared64_write(&desc->addr, piece.iova);
		plx_shared32_write(&desc->len, piece.len);
		plx_shared16_write(&desc->id, id);
	}
	void release(const Buffer &buffer) override
	{
		free_ += buffer.slots.size();
		ids_.push_back(buffer.id);
	}
	void reap() override
	{
		constexpr uint16_t both = VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED;
		uint16_t flags = plx_shared16_read_acquire(&at(used_)->flags);

		if ((flags & both) != (wrap(used_) ? both : 0) || free_ == size)
			return;
		uint32_t len = plx_shared32_read(&at(used_)->len);

		used_ += take_used(
			{plx_shared16_read(&at(used_)->id), flags & VIRTQ_DESC_F_WRITE ? len : 0});
	}

	uint64_t avail_ = 0, published_ = 0, used_ = 0; /* descriptors from the start */
	size_t free_;
	std::deque<uint16_t> ids_;
	std::vector<Head> heads_;
};

} // namespace emu

#endif
