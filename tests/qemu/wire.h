/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_QEMU_WIRE_H
#define PLX_TESTS_QEMU_WIRE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace qemu
{

using Frame = std::vector<uint8_t>;

/* For local experiments: nobody else sends such frames. */
constexpr uint16_t kEthertype = 0x88b5;

constexpr size_t kFrameLeast = 60, kFrameMost = 1514;

/* A frame with a number and a checksum, from and to addresses of nobody. */
Frame make_frame(uint32_t number, size_t length);

/*
 * Return: the number of a frame as make_frame() made it; nothing for any other or an altered one.
 */
std::optional<uint32_t> read_frame(const Frame &frame);

/* Lengths of numbered frames: 1455 in a row have each length from the least to the most once. */
size_t length_of(uint32_t number);

/*
 * The frames of one direction, as the receiving end sees them: each number once, in order. What is
 * wrong is kept as a sentence.
 */
class Sequence
{
      public:
	/* Return: whether the frame is the next one, or, with gaps allowed, a later one. */
	bool take(const Frame &frame, bool gaps = false);
	/* From here on frames come through several queues, and may overtake each other. */
	void come_several_ways()
	{
		several_ways_ = true;
	}
	uint32_t next() const
	{
		return next_;
	}
	uint32_t seen() const
	{
		return seen_;
	}
	const std::string &fault() const
	{
		return fault_;
	}

      private:
	uint32_t next_ = 0, seen_ = 0;
	std::string fault_;
	bool several_ways_ = false;
	std::set<uint32_t> early_;

	void take_early(uint32_t number);
};

/* The other end of a network device. No call blocks. */
class Link
{
      public:
	virtual ~Link() = default;
	virtual void send(const Frame &frame) = 0;
	/* Push on. Return: bytes that still wait here. */
	virtual size_t flush() = 0;
	/* Everything that came. */
	virtual std::vector<Frame> receive() = 0;
};

/*
 * That of QEMU's "-netdev socket": each frame has its length in front, in 4 bytes. Nothing is lost
 * on it: what QEMU does not read waits.
 */
class Wire : public Link
{
      public:
	Wire() = default;
	Wire(const Wire &) = delete;
	Wire &operator=(const Wire &) = delete;
	~Wire() override;

	/* Return: QEMU's end, the caller's to close; -1 with errno. */
	int open();
	void send(const Frame &frame) override;
	size_t flush() override;
	std::vector<Frame> receive() override;

      private:
	int fd_ = -1;
	std::vector<uint8_t> out_, in_;
};

} // namespace qemu

#endif
