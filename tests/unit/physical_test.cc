/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* DMA memory for devices without an IOMMU: IOVAs are physical addresses, page by page. */

namespace
{

/* What the kernel is made to answer. */
struct {
	bool no_huge_pages;
	bool tells_nothing; /* of physical addresses */
	bool in_a_row;      /* the pages follow each other */
	bool asked_for_huge;
} kernel;

/* Where 2 MiB of virtual addresses lie: from the top downward, unless all is in a row. */
uint64_t physical_of(uint64_t address)
{
	uint64_t unit = address / kPage2M % 4096;

	return (kernel.in_a_row ? 8192 + unit : 8192 - unit) * kPage2M + address % kPage2M;
}

} // namespace

/*
 * These stand in front of the C library's. Huge pages are ordinary ones, so that a machine without
 * them will do.
 */
extern "C" int memfd_create(const char *name, unsigned flags) noexcept
{
	kernel.asked_for_huge = flags & MFD_HUGETLB;
	if (kernel.asked_for_huge && kernel.no_huge_pages) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_memfd_create, name, flags & (MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

extern "C" ssize_t pread64(int, void *data, size_t len, off64_t offset)
{
	uint64_t entry = UINT64_C(1) << 63;

	if (!kernel.tells_nothing)
		entry |= physical_of((uint64_t)offset / sizeof(entry) * kPage4K) / kPage4K;
	memcpy(data, &entry, len);
	return (ssize_t)len;
}

namespace
{

class PhysicalTest : public MemTest
{
      protected:
	void SetUp() override
	{
		kernel = {};
		create(GiB, 0);
		ASSERT_EQ(plx_mem_take_physical(mem), 0) << plx_error();
		taken = true;
	}

	void TearDown() override
	{
		if (taken)
			plx_mem_leave_physical(mem);
		MemTest::TearDown();
	}

	bool taken = false;
};

TEST_F(PhysicalTest, IovaIsThePhysicalAddress)
{
	uint8_t *first = alloc(8192), *second = alloc(kPage2M - 4096);

	for (uint8_t *address : {first, first + 8191, second, second + kPage2M - 4097})
		EXPECT_EQ(plx_mem_iova(mem, address), physical_of((uintptr_t)address));
	EXPECT_TRUE(kernel.asked_for_huge);
	plx_mem_free(mem, second);
	plx_mem_free(mem, first);
}

TEST_F(PhysicalTest, WhatIsHandedOutIsInOnePiece)
{
	std::vector<uint8_t *> all;
	void *room = nullptr;

	/* Several pages with room, none of which follows another. */
	ASSERT_EQ(plx_mem_alloc(mem, 16 * MiB - 64, 64, -1, PLX_MEM_IN_PIECES, &room), 0);
	all.push_back(alloc(64));
	plx_mem_free(mem, room);
	for (size_t size : {900 * KiB, 900 * KiB, 900 * KiB, 300 * KiB, 2048 * KiB, 700 * KiB})
		all.push_back(alloc(size));
	for (size_t i = 1; i < all.size(); i++)
		EXPECT_EQ(
			(uintptr_t)all[i] / kPage2M, ((uintptr_t)all[i] + 300 * KiB - 1) / kPage2M);
	EXPECT_TRUE(plx_mem_is_whole(mem, all[5], 2048 * KiB));
	EXPECT_EQ(usage().mapped, 16 * MiB) << "the room was not used";
	for (uint8_t *address : all)
		plx_mem_free(mem, address);
}

TEST_F(PhysicalTest, LargerPieceNeedsPagesThatFollowEachOther)
{
	EXPECT_EQ(alloc_error(3 * MiB), -ENOMEM);
	EXPECT_NE(std::string(plx_error()).find("in one piece"), std::string::npos) << plx_error();
	EXPECT_EQ(usage().mapped, 0u);
	kernel.in_a_row = true;
	uint8_t *address = alloc(3 * MiB);
	EXPECT_EQ(
		plx_mem_iova(mem, address + 3 * MiB - 1), plx_mem_iova(mem, address) + 3 * MiB - 1);
	plx_mem_free(mem, address);
}

TEST_F(PhysicalTest, PoolLeavesOutPacketsThatLieAcrossASeam)
{
	for (uint16_t data_size : {64, 2048, 9000, 60000}) {
		plx_pool_config config = PLX_POOL_CONFIG_INIT;
		plx_pool_cache *cache;
		plx_pool *pool;

		config.count = 2000;
		config.data_size = data_size;
		ASSERT_EQ(plx_pool_create_in(mem, &config, &pool), 0) << plx_error();
		ASSERT_EQ(plx_pool_cache_create(pool, &cache), 0);
		EXPECT_EQ(plx_pool_available(pool), 2000u);
		struct plx_pool_map map = plx_pool_map(pool);
		plx_pool_map_advance(&map, 100);
		std::vector<plx_packet *> packets(2000);
		for (size_t i = 0; i < packets.size(); i += 125)
			ASSERT_EQ(plx_pool_get(cache, &packets[i], 125), 125u);
		for (plx_packet *packet : packets) {
			uint8_t *buffer = (uint8_t *)plx_packet_buffer(packet);

			EXPECT_EQ(packet->iova, physical_of((uintptr_t)buffer));
			EXPECT_TRUE(plx_mem_is_whole(mem, buffer, packet->buf_len));
			EXPECT_EQ(plx_pool_map_iova(&map, packet), packet->iova + 100);
			EXPECT_EQ(plx_pool_map_buffer(&map, packet), buffer);
		}
		plx_pool_return(packets.data(), (uint32_t)packets.size());
		plx_pool_cache_destroy(cache);
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
	}
}

TEST_F(PhysicalTest, OtherKindsOfDeviceStayOutUntilAllIsGone)
{
	FakeMapper mapper;
	uint8_t *address = alloc(4096);

	EXPECT_EQ(attach(mapper), -EBUSY);
	EXPECT_NE(std::string(plx_error()).find("physical addresses"), std::string::npos);
	plx_mem_leave_physical(mem);
	taken = false;
	EXPECT_EQ(attach(mapper), -EBUSY) << "the memory is still what it was";
	plx_mem_free(mem, address);
	EXPECT_EQ(attach(mapper), 0) << plx_error();
	EXPECT_EQ(plx_mem_take_physical(mem), -EBUSY);
	detach(mapper);
	address = alloc(4096);
	EXPECT_EQ(plx_mem_take_physical(mem), -EBUSY);
	EXPECT_NE(std::string(plx_error()).find("before making pools"), std::string::npos);
	plx_mem_free(mem, address);
	EXPECT_EQ(plx_mem_take_physical(mem), 0) << plx_error();
	taken = true;
}

TEST_F(PhysicalTest, SmallPagesWillNotDo)
{
	kernel.no_huge_pages = true;
	EXPECT_EQ(alloc_error(4096), -ENOMEM);
	EXPECT_NE(std::string(plx_error()).find("smaller ones will not do without an IOMMU"),
		std::string::npos)
		<< plx_error();
	EXPECT_NE(
		std::string(plx_error()).find("hugeadm --pool-pages-min 2MB:+"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(usage().mapped, 0u);
}

TEST_F(PhysicalTest, WithoutTheRightToKnowAddressesThereIsNoMemory)
{
	kernel.tells_nothing = true;
	EXPECT_EQ(alloc_error(4096), -EPERM);
	EXPECT_NE(std::string(plx_error()).find("CAP_SYS_ADMIN"), std::string::npos) << plx_error();
	EXPECT_EQ(usage().mapped, 0u);
}

TEST(Physical, DemandForPagesOf4KCountsAs2M)
{
	plx_mem_config config = {GiB, kPage4K, nullptr};
	void *address = nullptr;
	plx_mem *mem;

	kernel = {};
	ASSERT_EQ(plx_mem_create(&config, &mem), 0);
	ASSERT_EQ(plx_mem_take_physical(mem), 0);
	ASSERT_EQ(plx_mem_alloc(mem, 64, 64, -1, 0, &address), 0) << plx_error();
	EXPECT_TRUE(kernel.asked_for_huge);
	EXPECT_EQ(plx_mem_destroy(mem), -EBUSY);
	plx_mem_free(mem, address);
	plx_mem_leave_physical(mem);
	EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
}

} // namespace
