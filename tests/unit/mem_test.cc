/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

#include <algorithm>
#include <map>
#include <random>
#include <sys/resource.h>
#include <thread>

/* Allocations and mappers, on pages of 4 KiB; segment_test.cc has the other pages. */

namespace
{

TEST_F(MemTest, ReservesAddressesAndNothingElse)
{
	struct rusage before, after;
	unsigned files = open_files();

	getrusage(RUSAGE_SELF, &before);
	create(0, 0);
	getrusage(RUSAGE_SELF, &after);
	EXPECT_EQ(usage().reserved, 64 * GiB);
	EXPECT_EQ(usage().mapped, 0u);
	EXPECT_EQ(usage().used, 0u);
	EXPECT_EQ(open_files(), files);
	EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 1024);
}

TEST_F(MemTest, RejectsConfigurationsThatCannotBe)
{
	for (uint64_t page_size : {uint64_t{1}, 64 * KiB, 4 * MiB, 512 * GiB}) {
		plx_mem_config config = {0, page_size, nullptr};

		EXPECT_EQ(plx_mem_create(&config, &mem), -EINVAL);
		EXPECT_TRUE(error_says("4 KiB")) << plx_error();
	}
	plx_mem_config config = {UINT64_MAX, 0, nullptr};
	EXPECT_EQ(plx_mem_create(&config, &mem), -EINVAL);
	EXPECT_EQ(mem, nullptr);
}

TEST_F(MemTest, SaysWhatHelpsWhenAddressesAreLimited)
{
	plx_mem_config config = {UINT64_C(1) << 46, 0, nullptr};
	struct rlimit old, small;

	ASSERT_EQ(getrlimit(RLIMIT_AS, &old), 0);
	small = {UINT64_C(1) << 45, old.rlim_max};
	ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
	EXPECT_EQ(plx_mem_create(&config, &mem), -ENOMEM);
	setrlimit(RLIMIT_AS, &old);
	EXPECT_TRUE(error_says("address_space")) << plx_error();
}

TEST_F(MemTest, AllocatesZeroedAlignedMemory)
{
	create();
	for (size_t align = 1; align <= 2 * MiB; align *= 2) {
		for (size_t size :
			{size_t{1}, size_t{64}, size_t{4097}, size_t{12288}, size_t{3 * MiB}}) {
			uint8_t *address = alloc(size, align);

			EXPECT_EQ((uintptr_t)address % align, 0u);
			EXPECT_EQ(plx_mem_iova(mem, address) % align, 0u);
			EXPECT_TRUE(is_all(address, size, 0));
			memset(address, 0xff, size);
			plx_mem_free(mem, address);
		}
	}
	EXPECT_EQ(usage().mapped, 0u);
}

TEST_F(MemTest, RejectsRequestsThatCannotBe)
{
	create();
	EXPECT_EQ(alloc_error(0), -EINVAL);
	EXPECT_EQ(alloc_error(64, 0), -EINVAL);
	EXPECT_EQ(alloc_error(64, 3), -EINVAL);
	EXPECT_EQ(alloc_error(64, 4 * MiB), -EINVAL);
	EXPECT_EQ(alloc_error(64, 64, -2), -EINVAL);
	EXPECT_EQ(alloc_error(64, 64, -1, 4), -EINVAL);
	EXPECT_EQ(alloc_error(GiB + 1), -ENOMEM);
	EXPECT_TRUE(error_says("address_space")) << plx_error();
	EXPECT_EQ(alloc_error(SIZE_MAX), -ENOMEM);
	EXPECT_EQ(usage().mapped, 0u);
}

TEST_F(MemTest, SmallRequestsShareASegment)
{
	std::vector<uint8_t *> rings;

	create();
	for (int i = 0; i < 16; i++)
		rings.push_back(alloc(12 * KiB, 4096));
	EXPECT_EQ(usage().mapped, 2 * MiB);
	EXPECT_EQ(usage().used, 16 * 12 * KiB);
	EXPECT_EQ(usage().page_4k, 2 * MiB);
	for (uint8_t *ring : rings)
		plx_mem_free(mem, ring);
	EXPECT_EQ(usage().mapped, 0u);
}

TEST_F(MemTest, NeighboursNeverShareACacheLine)
{
	std::vector<uint8_t *> all;

	create();
	for (size_t size = 1; size < 200; size++)
		all.push_back(alloc(size, 1));
	std::sort(all.begin(), all.end());
	for (size_t i = 1; i < all.size(); i++)
		EXPECT_GE(all[i] - all[i - 1], 64);
	for (uint8_t *address : all) {
		EXPECT_EQ((uintptr_t)address % 64, 0u);
		plx_mem_free(mem, address);
	}
}

TEST_F(MemTest, ClearsWhatWasUsedBefore)
{
	uint8_t *keeper, *first, *second;

	create();
	keeper = alloc(64);
	first = alloc(64 * KiB);
	memset(first, 0xa5, 64 * KiB);
	plx_mem_free(mem, first);
	second = alloc(256 * KiB);
	ASSERT_EQ(second, first);
	EXPECT_TRUE(is_all(second, 256 * KiB, 0));
	plx_mem_free(mem, second);
	plx_mem_free(mem, keeper);
}

TEST_F(MemTest, FreedAddressesAreUsedAgain)
{
	uint8_t *first;

	create(6 * MiB);
	first = alloc(4 * MiB);
	plx_mem_free(mem, first);
	for (int i = 0; i < 50; i++) {
		uint8_t *again = alloc(4 * MiB);

		ASSERT_EQ(again, first);
		plx_mem_free(mem, again);
	}
}

TEST_F(MemTest, FillsGapsBetweenSegments)
{
	uint8_t *a, *b, *c, *wide, *again;

	create(32 * MiB);
	a = alloc(4 * MiB);
	b = alloc(4 * MiB);
	c = alloc(4 * MiB);
	plx_mem_free(mem, b);
	wide = alloc(6 * MiB);
	EXPECT_GT(wide, c);
	again = alloc(4 * MiB);
	EXPECT_EQ(again, b);
	for (uint8_t *address : {a, again, c, wide})
		plx_mem_free(mem, address);
}

TEST_F(MemTest, FullAddressSpaceIsAnErrorThatSaysSo)
{
	uint8_t *all;

	create(8 * MiB);
	all = alloc(8 * MiB);
	EXPECT_EQ(alloc_error(64), -ENOMEM);
	EXPECT_TRUE(error_says("address_space")) << plx_error();
	plx_mem_free(mem, all);
	EXPECT_EQ(alloc_error(64), 0);
}

TEST_F(MemTest, ReadOnlyMemoryHasSegmentsOfItsOwn)
{
	FakeMapper mapper;
	uint8_t *plain, *read_only;

	create();
	ASSERT_EQ(attach(mapper), 0);
	plain = alloc(64);
	read_only = alloc(64, 64, -1, PLX_MEM_READ_ONLY);
	ASSERT_EQ(mapper.mapped.size(), 2u);
	for (const plx_mem_segment &segment : mapper.mapped) {
		uint8_t *start = static_cast<uint8_t *>(segment.address);
		bool holds = read_only >= start && read_only < start + segment.length;

		EXPECT_EQ(segment.read_only, holds);
	}
	*read_only = 1; /* for devices only: the program writes it */
	plx_mem_free(mem, plain);
	plx_mem_free(mem, read_only);
	detach(mapper);
}

TEST_F(MemTest, FreeingWhatIsNotAllocatedIsLoggedAndHarmless)
{
	uint8_t *address;
	int local;

	create();
	address = alloc(4096);
	plx_mem_free(mem, nullptr);
	EXPECT_TRUE(log.messages.empty());
	plx_mem_free(mem, address + 64);
	plx_mem_free(mem, &local);
	EXPECT_EQ(log.messages.size(), 2u);
	EXPECT_EQ(usage().used, 4096u);
	plx_mem_free(mem, address);
	plx_mem_free(mem, address);
	EXPECT_EQ(log.messages.size(), 3u);
}

TEST_F(MemTest, DestroyRefusesWhileInUse)
{
	FakeMapper mapper;
	uint8_t *address;

	create();
	address = alloc(64);
	EXPECT_EQ(plx_mem_destroy(mem), -EBUSY);
	EXPECT_TRUE(error_says("1 pieces")) << plx_error();
	plx_mem_free(mem, address);
	ASSERT_EQ(attach(mapper), 0);
	EXPECT_EQ(plx_mem_destroy(mem), -EBUSY);
	EXPECT_TRUE(error_says("close every device")) << plx_error();
	EXPECT_EQ(alloc_error(64), 0);
	detach(mapper);
}

TEST_F(MemTest, MappersHearOfEverySegment)
{
	FakeMapper early, late;
	uint8_t *a, *b;

	create();
	ASSERT_EQ(attach(early), 0);
	EXPECT_EQ(attach(early), -EINVAL);
	a = alloc(4 * MiB);
	ASSERT_EQ(attach(late), 0);
	b = alloc(4 * MiB);
	for (FakeMapper *mapper : {&early, &late}) {
		ASSERT_EQ(mapper->mapped.size(), 2u);
		for (const plx_mem_segment &segment : mapper->mapped) {
			EXPECT_TRUE(segment.address == a || segment.address == b);
			EXPECT_EQ(segment.iova, plx_mem_iova(mem, segment.address));
			EXPECT_EQ(segment.length, 4 * MiB);
			EXPECT_EQ(segment.page_size, 4 * KiB);
		}
	}
	detach(early);
	EXPECT_TRUE(early.mapped.empty());
	plx_mem_free(mem, a);
	plx_mem_free(mem, b);
	EXPECT_TRUE(late.mapped.empty());
	detach(late);
	EXPECT_EQ(early.strangers + late.strangers, 0);
}

TEST_F(MemTest, AMapperThatFailsANewSegmentLeavesNothingMapped)
{
	constexpr size_t count = 4;

	create();
	for (size_t failing = 0; failing < count; failing++) {
		std::vector<FakeMapper> mappers(count);
		uint8_t *kept, *next;
		unsigned files;

		for (FakeMapper &mapper : mappers)
			ASSERT_EQ(attach(mapper), 0);
		kept = alloc(2 * MiB);
		files = open_files();
		mappers[failing].fail_at = mappers[failing].calls;

		EXPECT_EQ(alloc_error(4 * MiB), -EDOM);
		EXPECT_STREQ(plx_error(), "the fake mapper was told to fail");
		for (FakeMapper &mapper : mappers) {
			EXPECT_EQ(mapper.mapped.size(), 1u);
			EXPECT_EQ(mapper.strangers, 0);
		}
		EXPECT_EQ(usage().mapped, 2 * MiB);
		EXPECT_EQ(open_files(), files);

		next = alloc(4 * MiB);
		EXPECT_EQ(next, kept + 2 * MiB);
		plx_mem_free(mem, next);
		plx_mem_free(mem, kept);
		for (FakeMapper &mapper : mappers)
			detach(mapper);
	}
}

TEST_F(MemTest, AMapperThatFailsToAttachLeavesNothingMapped)
{
	constexpr int count = 4;
	uint8_t *segments[count];

	create();
	for (uint8_t *&segment : segments)
		segment = alloc(2 * MiB);
	for (int failing = 0; failing < count; failing++) {
		FakeMapper mapper;

		mapper.fail_at = failing;
		EXPECT_EQ(attach(mapper), -EDOM);
		EXPECT_EQ(mapper.calls, failing + 1);
		EXPECT_TRUE(mapper.mapped.empty());
		EXPECT_EQ(mapper.strangers, 0);
		/* It is not attached: nothing is told to it, and it may try again. */
		plx_mem_free(mem, alloc(8 * MiB));
		EXPECT_EQ(mapper.calls, failing + 1);
		EXPECT_EQ(attach(mapper), 0) << plx_error();
		EXPECT_EQ(mapper.mapped.size(), (size_t)count);
		detach(mapper);
	}
	for (uint8_t *segment : segments)
		plx_mem_free(mem, segment);
}

TEST_F(MemTest, LeaksNothing)
{
	unsigned files = open_files(), maps = mappings();

	for (int i = 0; i < 1000; i++) {
		create(GiB);
		uint8_t *first = alloc(12 * KiB), *second = alloc(64);
		plx_mem_free(mem, first);
		plx_mem_free(mem, second);
		ASSERT_EQ(plx_mem_destroy(mem), 0);
	}
	mem = nullptr;
	EXPECT_EQ(open_files(), files);
	EXPECT_EQ(mappings(), maps);
}

/* Against a plain list: nothing overlaps, all is zero when it comes and unharmed when it goes. */
TEST_F(MemTest, AgreesWithAModelOverRandomRequests)
{
	struct Piece {
		size_t size;
		uint8_t mark;
	};
	std::map<uint8_t *, Piece> model;
	std::mt19937 random(20240229);
	FakeMapper mapper;
	uint64_t used = 0;

	create(64 * MiB);
	ASSERT_EQ(attach(mapper), 0);
	for (int step = 0; step < 4000; step++) {
		if (model.size() < 60 && random() % 5 < 3) {
			size_t size = 1 + random() % (random() % 8 ? 20000 : 3000000);
			size_t align = 1u << random() % 13;
			unsigned flags = random() % 4 ? 0 : PLX_MEM_READ_ONLY;
			void *address;
			int err = plx_mem_alloc(mem, size, align, -1, flags, &address);

			if (err == -ENOMEM)
				continue; /* the address space is small on purpose */
			ASSERT_EQ(err, 0) << plx_error();
			uint8_t *bytes = static_cast<uint8_t *>(address);
			ASSERT_EQ((uintptr_t)bytes % align, 0u);
			ASSERT_TRUE(is_all(bytes, size, 0));
			auto after = model.lower_bound(bytes);
			ASSERT_TRUE(after == model.end() || bytes + size <= after->first);
			ASSERT_TRUE(
				after == model.begin() ||
				std::prev(after)->first + std::prev(after)->second.size <= bytes);
			Piece piece = {size, (uint8_t)(1 + step % 255)};
			memset(bytes, piece.mark, size);
			model[bytes] = piece;
			used += (size + 63) / 64 * 64;
		} else if (!model.empty()) {
			auto it = std::next(model.begin(), random() % model.size());

			ASSERT_TRUE(is_all(it->first, it->second.size, it->second.mark));
			used -= (it->second.size + 63) / 64 * 64;
			plx_mem_free(mem, it->first);
			model.erase(it);
		}
		ASSERT_EQ(usage().used, used);
	}
	for (const auto &piece : model)
		plx_mem_free(mem, piece.first);
	EXPECT_EQ(usage().mapped, 0u);
	EXPECT_TRUE(mapper.mapped.empty());
	EXPECT_EQ(mapper.strangers, 0);
	detach(mapper);
}

TEST_F(MemTest, AnyThreadMayCall)
{
	create(GiB);
	auto work = [this](uint8_t mark) {
		for (int i = 0; i < 300; i++) {
			uint8_t *address = alloc(32 * KiB);

			ASSERT_TRUE(is_all(address, 32 * KiB, 0));
			memset(address, mark, 32 * KiB);
			std::this_thread::yield();
			ASSERT_TRUE(is_all(address, 32 * KiB, mark));
			plx_mem_free(mem, address);
		}
	};
	std::thread one(work, 1), two(work, 2);
	one.join();
	two.join();
	EXPECT_EQ(usage().mapped, 0u);
}

} // namespace
