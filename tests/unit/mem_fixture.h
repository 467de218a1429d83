/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_MEM_FIXTURE_H
#define TESTS_UNIT_MEM_FIXTURE_H

#include "../count.h"

#include <gtest/gtest.h>

#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

extern "C" {
#include "base/error.h"
#include "mem/mem.h"
#include "mem/pool.h"
}

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;
constexpr uint64_t kPage4K = 4 * KiB, kPage2M = 2 * MiB, kPage1G = GiB;

/* Messages of a room, kept for a look. */
struct Log {
	std::vector<std::string> messages;
	struct plx_log log {
		&Log::take, this, PLX_LOG_WARNING
	};

	static void take(void *arg, plx_log_level, const char *message)
	{
		static_cast<Log *>(arg)->messages.emplace_back(message);
	}
};

/* A mapper that keeps a list of what it maps and fails when told. */
struct FakeMapper {
	plx_mapper mapper{};
	std::vector<plx_mem_segment> mapped;
	int fail_at = -1; /* the call of map(), counted from 0, that fails */
	int calls = 0;
	int strangers = 0; /* unmapped without having been mapped */

	FakeMapper()
	{
		static const plx_mapper_ops ops = {&FakeMapper::map, &FakeMapper::unmap};

		mapper.ops = &ops;
	}

	FakeMapper(const FakeMapper &) = delete;
	FakeMapper &operator=(const FakeMapper &) = delete;

	static FakeMapper *of(plx_mapper *mapper)
	{
		return reinterpret_cast<FakeMapper *>(mapper);
	}

	static int map(plx_mapper *mapper, const plx_mem_segment *segment)
	{
		FakeMapper *self = of(mapper);

		if (self->calls++ == self->fail_at)
			return plx_fail(EDOM, "the fake mapper was told to fail");
		self->mapped.push_back(*segment);
		return 0;
	}

	static void unmap(plx_mapper *mapper, const plx_mem_segment *segment)
	{
		FakeMapper *self = of(mapper);

		for (auto it = self->mapped.begin(); it != self->mapped.end(); ++it) {
			if (it->address == segment->address && it->iova == segment->iova &&
				it->length == segment->length && it->fd == segment->fd) {
				self->mapped.erase(it);
				return;
			}
		}
		self->strangers++;
	}
};

/* One memory on pages of 4 KiB unless a test asks otherwise; its end must be clean. */
class MemTest : public ::testing::Test
{
      protected:
	Log log;
	plx_mem *mem = nullptr;

	void create(uint64_t address_space = GiB, uint64_t page_size = kPage4K)
	{
		plx_mem_config config = {address_space, page_size, &log.log};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
	}

	void TearDown() override
	{
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	uint8_t *alloc(size_t size, size_t align = 64, int node = -1, unsigned flags = 0)
	{
		void *address = nullptr;

		EXPECT_EQ(plx_mem_alloc(mem, size, align, node, flags, &address), 0) << plx_error();
		return static_cast<uint8_t *>(address);
	}

	int alloc_error(size_t size, size_t align = 64, int node = -1, unsigned flags = 0)
	{
		void *address = nullptr;
		int err = plx_mem_alloc(mem, size, align, node, flags, &address);

		if (!err)
			plx_mem_free(mem, address);
		return err;
	}

	plx_memory_usage usage()
	{
		plx_memory_usage usage;

		plx_mem_usage(mem, &usage);
		return usage;
	}

	int attach(FakeMapper &mapper, const std::vector<plx_iova_range> &allowed = {})
	{
		return plx_mem_attach(mem, &mapper.mapper, allowed.data(), allowed.size());
	}

	void detach(FakeMapper &mapper)
	{
		plx_mem_detach(mem, &mapper.mapper);
	}
};

inline bool error_says(const std::string &text)
{
	return std::string(plx_error()).find(text) != std::string::npos;
}

inline bool is_all(const uint8_t *bytes, size_t len, uint8_t value)
{
	return bytes[0] == value && !memcmp(bytes, bytes + 1, len - 1);
}

/* Only what a room could leak: a test's own heap may come and go. */
inline unsigned mappings()
{
	std::ifstream maps("/proc/self/maps");
	std::string line;
	unsigned count = 0;

	while (std::getline(maps, line))
		if (line.find("---p") != std::string::npos ||
			line.find("pollux") != std::string::npos)
			count++;
	return count;
}

/* The value of a line of /proc/self/smaps for the mapping that holds @address. */
inline std::string smaps_field(const void *address, const std::string &field)
{
	std::ifstream smaps("/proc/self/smaps");
	std::string line;
	bool inside = false;

	while (std::getline(smaps, line)) {
		unsigned long long first, last;

		if (sscanf(line.c_str(), "%llx-%llx ", &first, &last) == 2)
			inside = first <= (uintptr_t)address && (uintptr_t)address < last;
		else if (inside && line.rfind(field + ":", 0) == 0)
			return line.substr(field.size() + 1);
	}
	return "";
}

#endif
