/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The pages behind DMA memory: of which size, from where, and what becomes of every failure. */

namespace
{

/* What the kernel is made to answer. */
struct {
	int no_huge_files;           /* errno of memfd_create() for huge pages */
	int no_files;                /* errno of every memfd_create() */
	int no_size;                 /* errno of ftruncate() */
	int no_huge_populate;        /* errno of MADV_POPULATE_WRITE on huge pages */
	int no_populate;             /* the same on any page */
	unsigned populated;          /* calls of MADV_POPULATE_WRITE */
	std::vector<unsigned> flags; /* of each memfd_create() */
} kernel;

bool is_huge_file;

int refuse(int err)
{
	errno = err;
	return -1;
}

} // namespace

/* These stand in front of the C library's. */
extern "C" int memfd_create(const char *name, unsigned flags) noexcept
{
	kernel.flags.push_back(flags);
	is_huge_file = flags & MFD_HUGETLB;
	if (kernel.no_files)
		return refuse(kernel.no_files);
	if (kernel.no_huge_files && is_huge_file)
		return refuse(kernel.no_huge_files);
	return (int)syscall(SYS_memfd_create, name, flags);
}

extern "C" int ftruncate(int fd, off_t length) noexcept
{
	return kernel.no_size ? refuse(kernel.no_size) : (int)syscall(SYS_ftruncate, fd, length);
}

extern "C" int madvise(void *address, size_t length, int advice) noexcept
{
	if (advice == MADV_POPULATE_WRITE) {
		kernel.populated++;
		if (kernel.no_populate)
			return refuse(kernel.no_populate);
		if (kernel.no_huge_populate && is_huge_file)
			return refuse(kernel.no_huge_populate);
	}
	return (int)syscall(SYS_madvise, address, length, advice);
}

namespace
{

/* Adds huge pages to the machine and takes them away again. */
class HugePages
{
      public:
	HugePages(uint64_t page_size, unsigned count)
	    : directory_("/sys/kernel/mm/hugepages/hugepages-" + std::to_string(page_size / KiB) +
			 "kB/"),
	      before_(lasting())
	{
		write(before_ + count);
		added_ = lasting() - before_;
		enough_ = added_ >= (long)count;
	}

	~HugePages()
	{
		/* Not what was there before: another process may have added its own since. */
		if (added_ > 0)
			write(lasting() - added_);
	}

	HugePages(const HugePages &) = delete;
	HugePages &operator=(const HugePages &) = delete;

	bool enough() const
	{
		return enough_;
	}

	long free() const
	{
		return read("free_hugepages") - read("resv_hugepages");
	}

	/* What the kernel may make of plain memory when these are used up. */
	long spare() const
	{
		return read("nr_overcommit_hugepages");
	}

      private:
	std::string directory_;
	long before_, added_ = 0;
	bool enough_ = false;

	/* Without those that the kernel lends and takes back by itself. */
	long lasting() const
	{
		return read("nr_hugepages") - read("surplus_hugepages");
	}

	long read(const char *name) const
	{
		std::ifstream file(directory_ + name);
		long value = 0;

		file >> value;
		return value;
	}

	void write(long value) const
	{
		std::ofstream(directory_ + "nr_hugepages") << value;
	}
};

#define NEED_HUGE_PAGES(pages, page_size, count)                                                   \
	HugePages pages(page_size, count);                                                         \
	if (!pages.enough())                                                                       \
	GTEST_SKIP() << "cannot add " << (count) << " huge pages to this machine: run as root, "   \
		     << "with memory to spare"

/* Without what a sanitizer adds, since its shadow has page faults of its own. */
__attribute__((no_sanitize("address", "thread"))) void touch(volatile uint8_t *bytes, size_t len)
{
	for (size_t offset = 0; offset < len; offset += 4096)
		bytes[offset] = 1;
}

class SegmentTest : public MemTest
{
      protected:
	void SetUp() override
	{
		kernel = {};
	}

	void TearDown() override
	{
		kernel = {};
		MemTest::TearDown();
	}

	void expect_nothing_left(unsigned files, unsigned maps)
	{
		EXPECT_EQ(usage().mapped, 0u);
		EXPECT_EQ(open_files(), files);
		EXPECT_EQ(mappings(), maps);
	}
};

/* The kernel would end some process to find the pages; it must not come to that. */
TEST_F(SegmentTest, MoreThanTheMachineHasIsAnError)
{
	uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096;

	create(2 * total);
	kernel.no_populate = ENOMEM; /* lest a mistake does what must not be done */
	EXPECT_EQ(alloc_error(total + GiB), -ENOMEM);
	EXPECT_EQ(kernel.populated, 0u);
	EXPECT_TRUE(error_says("available")) << plx_error();
	EXPECT_EQ(usage().mapped, 0u);
}

TEST_F(SegmentTest, PagesAreThereBeforeTheFirstTouch)
{
	constexpr size_t size = 16 * MiB;
	struct rusage before, after;
	uint8_t *address;

	create();
	address = alloc(size);
	getrusage(RUSAGE_SELF, &before);
	touch(address, size);
	getrusage(RUSAGE_SELF, &after);
	EXPECT_LT(after.ru_minflt - before.ru_minflt, 100);
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, ASegmentIsAFileThatNobodyCanCutShort)
{
	FakeMapper mapper;
	uint8_t *address;
	char byte = 0;
	int fd;

	create();
	ASSERT_EQ(attach(mapper), 0);
	address = alloc(64);
	address[0] = 42;
	fd = mapper.mapped[0].fd;
	EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
	EXPECT_EQ(byte, 42);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(ftruncate(fd, 0), -1);
	EXPECT_EQ(ftruncate(fd, 4 * MiB), -1);
	plx_mem_free(mem, address);
	EXPECT_EQ(fcntl(fd, F_GETFD), -1);
	detach(mapper);
}

TEST_F(SegmentTest, TrafficIsNotInCoreFiles)
{
	uint8_t *address;

	create();
	address = alloc(64);
	EXPECT_NE(smaps_field(address, "VmFlags").find(" dd"), std::string::npos);
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, AForkedChildGetsNoCopy)
{
	uint8_t *address;
	int status;

	create();
	address = alloc(64);
	pid_t child = fork();
	if (!child) {
		address[0] = 7;
		_exit(0);
	}
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(address[0], 7);
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, PlacementLeavesTheThreadsPolicyAlone)
{
	unsigned long before[16] = {0}, after[16] = {0};
	int mode_before, mode_after;
	uint8_t *address;

	create();
	ASSERT_EQ(get_mempolicy(&mode_before, before, 1024, nullptr, 0), 0);
	address = alloc(4 * MiB, 64, 0);
	ASSERT_EQ(get_mempolicy(&mode_after, after, 1024, nullptr, 0), 0);
	EXPECT_EQ(mode_before, mode_after);
	EXPECT_TRUE(std::equal(before, before + 16, after));
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, ANodeThatDoesNotExistIsNamed)
{
	create();
	EXPECT_EQ(alloc_error(64, 64, 4095), -EINVAL);
	EXPECT_TRUE(error_says("node 4095")) << plx_error();
}

TEST_F(SegmentTest, TriesPagesFromLargeToSmall)
{
	const unsigned common = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	const unsigned page_2m = common | MFD_HUGETLB | MFD_HUGE_2MB;
	const unsigned page_1g = common | MFD_HUGETLB | MFD_HUGE_1GB;
	const struct {
		uint64_t config, size;
		std::vector<unsigned> flags;
	} cases[] = {
		{0, 64, {page_2m, common}},
		{0, GiB - MiB, {page_2m, common}},
		{0, GiB, {page_1g, page_2m, common}},
		{0, GiB + 1, {page_2m, common}}, /* would waste nearly half */
		{0, 8 * GiB - GiB / 2, {page_1g, page_2m, common}},
		{0, 4 * GiB - GiB / 2, {page_2m, common}}, /* would waste an eighth */
		{kPage4K, GiB, {common}},
		{kPage2M, GiB, {page_2m}},
		{kPage1G, 64, {page_1g}},
	};

	for (const auto &each : cases) {
		create(16 * GiB, each.config);
		kernel.flags.clear();
		kernel.no_files = ENFILE;
		EXPECT_EQ(alloc_error(each.size), -ENOMEM);
		EXPECT_EQ(kernel.flags, each.flags);
		EXPECT_EQ(plx_mem_destroy(mem), 0);
		mem = nullptr;
	}
}

TEST_F(SegmentTest, TakesHugePagesWhenThereAreSome)
{
	NEED_HUGE_PAGES(pages, kPage2M, 8);
	long before = pages.free();
	uint8_t *address;

	create(GiB, 0);
	address = alloc(5 * MiB);
	EXPECT_EQ(usage().page_2m, 6 * MiB);
	EXPECT_EQ(usage().page_4k, 0u);
	EXPECT_EQ(pages.free(), before - 3);
	EXPECT_TRUE(log.messages.empty());
	EXPECT_TRUE(is_all(address, 5 * MiB, 0));
	EXPECT_NE(smaps_field(address, "VmFlags").find(" ht"), std::string::npos);
	plx_mem_free(mem, address);
	EXPECT_EQ(pages.free(), before);
}

TEST_F(SegmentTest, TakesPagesOf1GAndSharesThem)
{
	NEED_HUGE_PAGES(pages, kPage1G, 1);
	uint8_t *large, *small;

	create(8 * GiB, kPage1G);
	large = alloc(GiB - MiB);
	small = alloc(64);
	EXPECT_EQ(usage().mapped, GiB);
	EXPECT_EQ(usage().page_1g, GiB);
	EXPECT_EQ((uintptr_t)large % GiB, 0u);
	EXPECT_EQ(plx_mem_iova(mem, large) % GiB, 0u);
	EXPECT_EQ(small, large + GiB - MiB);
	plx_mem_free(mem, large);
	plx_mem_free(mem, small);
	EXPECT_EQ(usage().page_1g, 0u);
}

TEST_F(SegmentTest, HugePagesFallShortInTheMiddleOfALife)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	std::vector<uint8_t *> all;
	plx_memory_usage seen;

	/* However many the machine has. */
	create(64 * GiB, 0);
	/* More than all that are free; the rest must come on pages of 4 KiB. */
	for (long i = (pages.free() + pages.spare()) / 2 + 2; i > 0; i--)
		all.push_back(alloc(4 * MiB));
	seen = usage();
	EXPECT_GE(seen.page_2m, 8 * MiB);
	EXPECT_GE(seen.page_4k, 4 * MiB);
	EXPECT_EQ(seen.mapped, all.size() * 4 * MiB);
	EXPECT_EQ(log.messages.size(), 1u);
	for (uint8_t *address : all)
		plx_mem_free(mem, address);
}

TEST_F(SegmentTest, FallsBackTo4KAndWarnsOnce)
{
	uint8_t *a, *b;

	create(GiB, 0);
	kernel.no_huge_files = ENODEV;
	a = alloc(5 * MiB);
	b = alloc(20 * MiB);
	EXPECT_EQ(usage().page_4k, 26 * MiB);
	ASSERT_EQ(log.messages.size(), 1u);
	EXPECT_NE(log.messages[0].find("hugeadm --pool-pages-min 2MB:+"), std::string::npos)
		<< log.messages[0];
	plx_mem_free(mem, a);
	plx_mem_free(mem, b);
}

TEST_F(SegmentTest, PagesOf4KByChoiceAreNoReasonToWarn)
{
	create(GiB, kPage4K);
	plx_mem_free(mem, alloc(5 * MiB));
	EXPECT_TRUE(log.messages.empty());
}

/* No stand-in here: the kernel itself refuses. */
TEST_F(SegmentTest, ChosenPagesThatAreMissingAreAnErrorWithTheRemedy)
{
	HugePages pages(kPage2M, 0);
	unsigned files, maps;
	long missing = 0;

	create(64 * GiB, kPage2M);
	files = open_files();
	maps = mappings();
	long wanted = pages.spare() + 3;
	ASSERT_EQ(alloc_error((uint64_t)(pages.free() + wanted) * 2 * MiB), -ENOMEM);
	const char *command = strstr(plx_error(), "hugeadm --pool-pages-min 2MB:+");
	ASSERT_NE(command, nullptr) << plx_error();
	EXPECT_EQ(sscanf(command, "hugeadm --pool-pages-min 2MB:+%ld", &missing), 1);
	EXPECT_EQ(missing, wanted);
	EXPECT_TRUE(log.messages.empty());
	expect_nothing_left(files, maps);
}

TEST_F(SegmentTest, HugePagesThatCannotBeFilledGiveWayToSmallOnes)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	long before = pages.free();

	create(GiB, 0);
	for (int err : {ENOMEM, EFAULT, EHWPOISON}) {
		uint8_t *address;

		kernel.no_huge_populate = err;
		address = alloc(4 * MiB);
		EXPECT_EQ(usage().page_4k, 4 * MiB);
		EXPECT_EQ(pages.free(), before);
		EXPECT_TRUE(is_all(address, 4 * MiB, 0));
		plx_mem_free(mem, address);
	}
}

TEST_F(SegmentTest, EveryStepThatFailsIsUndone)
{
	int *const steps[] = {&kernel.no_files, &kernel.no_size, &kernel.no_populate};
	unsigned files, maps;

	create();
	files = open_files();
	maps = mappings();
	for (int *step : steps) {
		*step = ENOMEM;
		EXPECT_EQ(alloc_error(4 * MiB), -ENOMEM);
		EXPECT_TRUE(error_says("4 MiB")) << plx_error();
		expect_nothing_left(files, maps);
		*step = 0;
		EXPECT_EQ(alloc_error(4 * MiB), 0);
		expect_nothing_left(files, maps);
	}
}

TEST_F(SegmentTest, OldKernelsPopulateThroughTheFile)
{
	struct rusage before, after;
	uint8_t *address;

	create();
	kernel.no_populate = EINVAL;
	address = alloc(16 * MiB);
	EXPECT_EQ(kernel.populated, 1u);
	getrusage(RUSAGE_SELF, &before);
	touch(address, 16 * MiB);
	getrusage(RUSAGE_SELF, &after);
	EXPECT_LT(after.ru_minflt - before.ru_minflt, 100);
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, OldKernelsPopulateHugePagesThroughTheFile)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	uint8_t *address;

	create(GiB, kPage2M);
	kernel.no_populate = EINVAL;
	address = alloc(8 * MiB);
	EXPECT_EQ(usage().page_2m, 8 * MiB);
	EXPECT_TRUE(is_all(address, 8 * MiB, 0));
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, LeaksNoHugePages)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	long before = pages.free();
	unsigned files = open_files(), maps = mappings();

	for (int i = 0; i < 100; i++) {
		create(GiB, kPage2M);
		plx_mem_free(mem, alloc(4 * MiB));
		ASSERT_EQ(plx_mem_destroy(mem), 0);
	}
	mem = nullptr;
	EXPECT_EQ(pages.free(), before);
	EXPECT_EQ(open_files(), files);
	EXPECT_EQ(mappings(), maps);
}

} // namespace
