/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire.h"

#include <cstring>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

namespace qemu
{
namespace
{

/* Behind the addresses: EtherType, length, number and checksum. */
constexpr size_t kTypeAt = 12, kLengthAt = 14, kNumberAt = 18, kSumAt = 22, kFillAt = 26;

void put32(Frame &frame, size_t at, uint32_t value)
{
	value = htonl(value);
	memcpy(&frame[at], &value, sizeof(value));
}

uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return ntohl(value);
}

/* FNV-1a over everything but itself. */
uint32_t sum_of(const Frame &frame)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < frame.size(); i++)
		if (i < kSumAt || i >= kFillAt)
			sum = (sum ^ frame[i]) * 16777619u;
	return sum;
}

} // namespace

Frame make_frame(uint32_t number, size_t length)
{
	Frame frame(length);
	uint32_t fill = number * 2654435761u + 1;

	for (size_t i = 0; i < kTypeAt; i++)
		frame[i] = 0x02;
	frame[kTypeAt] = kEthertype >> 8;
	frame[kTypeAt + 1] = kEthertype & 0xff;
	put32(frame, kLengthAt, (uint32_t)length);
	put32(frame, kNumberAt, number);
	for (size_t i = kFillAt; i < length; i++) {
		fill = fill * 1664525u + 1013904223u;
		frame[i] = (uint8_t)(fill >> 24);
	}
	put32(frame, kSumAt, sum_of(frame));
	return frame;
}

std::optional<uint32_t> read_frame(const Frame &frame)
{
	if (frame.size() < kFillAt || get32(&frame[kLengthAt]) != frame.size() ||
		get32(&frame[kSumAt]) != sum_of(frame))
		return {};
	return get32(&frame[kNumberAt]);
}

size_t length_of(uint32_t number)
{
	return kFrameLeast + (uint64_t)number * 37 % (kFrameMost - kFrameLeast + 1);
}

bool Sequence::take(const Frame &frame, bool gaps)
{
	std::optional<uint32_t> number = read_frame(frame);

	if (!number)
		fault_ = "a frame of " + std::to_string(frame.size()) + " bytes behind number " +
			 std::to_string(next_) + " was altered";
	else if (several_ways_)
		take_early(*number);
	else if (*number < next_ || (*number > next_ && !gaps))
		fault_ = "frame " + std::to_string(*number) + " came where " +
			 std::to_string(next_) + " was due";
	else
		next_ = *number + 1;
	seen_++;
	return fault_.empty();
}

void Sequence::take_early(uint32_t number)
{
	if (number < next_ || !early_.insert(number).second)
		fault_ = "frame " + std::to_string(number) + " came twice";
	while (early_.erase(next_))
		next_++;
}

Wire::~Wire()
{
	if (fd_ >= 0)
		close(fd_);
}

int Wire::open()
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -1;
	fd_ = pair[0];
	return pair[1];
}

void Wire::send(const Frame &frame)
{
	uint32_t length = htonl((uint32_t)frame.size());
	auto *bytes = reinterpret_cast<const uint8_t *>(&length);

	out_.insert(out_.end(), bytes, bytes + sizeof(length));
	out_.insert(out_.end(), frame.begin(), frame.end());
}

size_t Wire::flush()
{
	ssize_t done = ::send(fd_, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);

	if (done > 0)
		out_.erase(out_.begin(), out_.begin() + done);
	return out_.size();
}

std::vector<Frame> Wire::receive()
{
	std::vector<Frame> frames;
	uint8_t bytes[65536];
	size_t at = 0;
	ssize_t done;

	while ((done = recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		in_.insert(in_.end(), bytes, bytes + done);
	while (in_.size() - at >= 4 && in_.size() - at - 4 >= get32(&in_[at])) {
		auto from = in_.begin() + (ptrdiff_t)at + 4;

		frames.emplace_back(from, from + get32(&in_[at]));
		at += 4 + frames.back().size();
	}
	in_.erase(in_.begin(), in_.begin() + (ptrdiff_t)at);
	return frames;
}

} // namespace qemu
