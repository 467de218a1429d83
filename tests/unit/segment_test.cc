/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
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

/*
 * Adds huge pages to the machine and takes them away again. Other programs may take them meanwhile,
 * and give some of their own back, so that no figure of the machine's says what this process holds.
 */
class HugePages
{
      public:
	HugePages(uint64_t page_size, unsigned count)
	    : directory_("/sys/kernel/mm/hugepages/hugepages-" + std::to_string(page_size / KiB) +
			 "kB/"),
	      count_(count)
	{
		enough_ = add();
	}

	/* As many once more. Return: whether they came. */
	bool add()
	{
		long before = lasting();

		write(before + count_);
		long came = lasting() - before;
		added_ += came > 0 ? came : 0;
		return came >= count_;
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
	long count_, added_ = 0;
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

/*
 * Bytes on huge pages that this process holds. A page goes back to the machine with the last
 * mapping and the last descriptor of its file, and the files of these tests are nobody else's: what
 * neither figure has is not lost.
 */
struct Held {
	uint64_t mapped = 0, in_files = 0;

	bool operator==(const Held &other) const
	{
		return mapped == other.mapped && in_files == other.in_files;
	}
	Held operator+(uint64_t bytes) const
	{
		return {mapped + bytes, in_files + bytes};
	}
};

std::ostream &operator<<(std::ostream &out, const Held &held)
{
	return out << held.mapped << " bytes mapped and " << held.in_files << " in files";
}

Held held()
{
	std::ifstream status("/proc/self/status");
	std::string line;
	Held held;

	while (std::getline(status, line))
		if (line.rfind("HugetlbPages:", 0) == 0)
			held.mapped = std::stoull(line.substr(sizeof("HugetlbPages:"))) * KiB;
	for (int fd = 0; fd < 1024; fd++) {
		struct statfs system;
		struct stat file;

		if (!fstatfs(fd, &system) && system.f_type == HUGETLBFS_MAGIC && !fstat(fd, &file))
			held.in_files += (uint64_t)file.st_blocks * 512;
	}
	return held;
}

/* Tries when other programs take the huge pages that were added. */
constexpr int kTries = 20;

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

	/* Memory on huge pages, of a room of its own. */
	uint8_t *alloc_huge(
		HugePages &pages, uint64_t config, size_t size, uint64_t address_space = GiB)
	{
		for (int i = 0;; i++) {
			void *address = nullptr;

			log.messages.clear();
			create(address_space, config);
			int err = plx_mem_alloc(mem, size, 64, -1, 0, &address);
			if ((!err && !usage().page_4k) || i == kTries || !pages.add()) {
				EXPECT_EQ(err, 0) << plx_error();
				EXPECT_EQ(usage().page_4k, 0u);
				return static_cast<uint8_t *>(address);
			}
			if (!err)
				plx_mem_free(mem, address);
			EXPECT_EQ(plx_mem_destroy(mem), 0);
		}
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
	Held before = held();
	uint8_t *address;

	address = alloc_huge(pages, 0, 5 * MiB);
	EXPECT_EQ(usage().page_2m, 6 * MiB);
	EXPECT_EQ(held(), before + 6 * MiB);
	EXPECT_TRUE(log.messages.empty());
	EXPECT_TRUE(is_all(address, 5 * MiB, 0));
	EXPECT_NE(smaps_field(address, "VmFlags").find(" ht"), std::string::npos);
	plx_mem_free(mem, address);
	EXPECT_EQ(held(), before);
}

TEST_F(SegmentTest, TakesPagesOf1GAndSharesThem)
{
	NEED_HUGE_PAGES(pages, kPage1G, 1);
	uint8_t *large, *small;

	large = alloc_huge(pages, kPage1G, GiB - MiB, 8 * GiB);
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

	/* However many the machine has: when none is left, the rest must come on pages of 4 KiB. */
	all.push_back(alloc_huge(pages, 0, 4 * MiB, 64 * GiB));
	all.push_back(alloc(4 * MiB));
	while (!usage().page_4k && all.size() < 16000)
		all.push_back(alloc(4 * MiB));
	seen = usage();
	EXPECT_GE(seen.page_2m, 4 * MiB);
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
	long wanted = pages.spare() + 3, free;
	int err = 0, tries = 0;
	/* It counts what is missing at a moment: one at which others take and give nothing. */
	do {
		free = pages.free();
		err = alloc_error((uint64_t)(free + wanted) * 2 * MiB);
	} while (pages.free() != free && ++tries < kTries);
	ASSERT_EQ(err, -ENOMEM);
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
	Held before = held();
	unsigned files, maps;

	create(GiB, 0);
	files = open_files();
	maps = mappings();
	for (int err : {ENOMEM, EFAULT, EHWPOISON}) {
		uint8_t *address;

		kernel.no_huge_populate = err;
		kernel.populated = 0;
		address = alloc(4 * MiB);
		/* Once in vain, and then for the small ones. */
		for (int i = 0; kernel.populated != 2 && i < kTries && pages.add(); i++) {
			plx_mem_free(mem, address);
			kernel.populated = 0;
			address = alloc(4 * MiB);
		}
		EXPECT_EQ(kernel.populated, 2u);
		EXPECT_EQ(usage().page_4k, 4 * MiB);
		EXPECT_EQ(held(), before);
		EXPECT_TRUE(is_all(address, 4 * MiB, 0));
		plx_mem_free(mem, address);
		expect_nothing_left(files, maps);
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

	kernel.no_populate = EINVAL;
	address = alloc_huge(pages, kPage2M, 8 * MiB);
	EXPECT_EQ(usage().page_2m, 8 * MiB);
	EXPECT_TRUE(is_all(address, 8 * MiB, 0));
	plx_mem_free(mem, address);
}

TEST_F(SegmentTest, LeaksNoHugePages)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	Held before = held();
	unsigned files = open_files(), maps = mappings();

	for (int i = 0; i < 100; i++) {
		uint8_t *address = alloc_huge(pages, kPage2M, 4 * MiB);

		plx_mem_free(mem, address);
		ASSERT_EQ(held(), before);
		ASSERT_EQ(plx_mem_destroy(mem), 0);
		mem = nullptr;
	}
	EXPECT_EQ(open_files(), files);
	EXPECT_EQ(mappings(), maps);
}

/* What the other tests rely on: a page that is kept by a file or a mapping alone is found. */
TEST_F(SegmentTest, HugePagesThatAreStillHeldAreFound)
{
	NEED_HUGE_PAGES(pages, kPage2M, 4);
	Held before = held();
	void *map = MAP_FAILED;
	int fd = -1;

	/* A file without a page is refused when others have taken the pages. */
	for (int i = 0; map == MAP_FAILED && i < kTries; i++) {
		if (i)
			pages.add();
		close(fd);
		fd = memfd_create("held", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
		ASSERT_EQ(ftruncate(fd, 2 * MiB), 0);
		map = mmap(nullptr, 2 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	ASSERT_NE(map, MAP_FAILED);
	touch(static_cast<uint8_t *>(map), 1);
	EXPECT_EQ(held(), before + 2 * MiB);
	munmap(map, 2 * MiB);
	EXPECT_EQ(held().in_files, before.in_files + 2 * MiB) << "by the file";
	EXPECT_EQ(held().mapped, before.mapped);
	map = mmap(nullptr, 2 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	touch(static_cast<uint8_t *>(map), 1);
	close(fd);
	EXPECT_EQ(held().mapped, before.mapped + 2 * MiB) << "by the mapping";
	EXPECT_EQ(held().in_files, before.in_files);
	munmap(map, 2 * MiB);
	EXPECT_EQ(held(), before);
}

} // namespace
