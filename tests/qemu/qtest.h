/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_QTEST_H
#define PLX_TESTS_QTEST_H

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace qemu
{

/* How a machine differs from the others. */
struct MachineConfig {
	std::vector<std::string> arguments;
	std::vector<std::pair<int, int>> files; /* ours, and the number that QEMU has it under */
};

/*
 * A QEMU without a guest: its CPU halts at once, and its devices are worked from here, by the
 * protocol of -qtest over a socket. Its memory is a file that is mapped here, too.
 *
 * It ends with the object, and with this process. Once it did not answer it is gone for good, and
 * every access fails at once: no wait is longer than the limit.
 */
class Qtest
{
      public:
	/*
	 * Guest-physical addresses of the two pieces of memory, one below and one above the
	 * devices.
	 */
	static constexpr uint64_t kLow = 0, kHigh = UINT64_C(4) << 30, kHalf = UINT64_C(2) << 30;

	Qtest() = default;
	Qtest(const Qtest &) = delete;
	Qtest &operator=(const Qtest &) = delete;
	~Qtest();

	/* Return: whether it runs and answers. */
	bool start(const MachineConfig &config);
	/* At once, as a crash would; what it said stays. */
	void kill();
	/* It lives and does nothing. */
	void freeze();
	bool gone() const
	{
		return gone_;
	}
	/* How long it may take to answer. */
	void set_limit(int milliseconds)
	{
		limit_ = milliseconds;
	}
	/* Everything that it complained of. */
	std::string said() const;

	/* One access of 1, 2, 4 or 8 bytes (to a port, 1, 2 or 4). Return: 0; -ENODEV. */
	int in(uint16_t port, unsigned width, uint64_t *value);
	int out(uint16_t port, unsigned width, uint64_t value);
	int read(uint64_t address, unsigned width, uint64_t *value);
	int write(uint64_t address, unsigned width, uint64_t value);

	/* Plug or pull the cable of a network device. */
	bool set_link(const std::string &name, bool up);

	/* Where in the file of its memory an address lies; there must be memory. */
	static uint64_t offset_of(uint64_t address)
	{
		return address < kHalf ? address : address - kHigh + kHalf;
	}
	int memory_file() const
	{
		return memory_file_;
	}

      private:
	/* A socket to it, and what came and was not read yet. */
	struct Channel {
		int fd = -1;
		std::string pending;
	};
	pid_t pid_ = -1;
	Channel protocol_, monitor_;
	int memory_file_ = -1, errors_ = -1;
	int limit_ = 10000;
	bool gone_ = true;
	bool greeted_ = false; /* the monitor takes commands */

	bool spawn(const MachineConfig &config);
	bool send(const Channel &channel, const std::string &text);
	bool read_line(Channel *channel, std::string *line);
	bool command(const std::string &text);
	int ask(const std::string &command, uint64_t *value);
	int lose();
};

} // namespace qemu

#endif
