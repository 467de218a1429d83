/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_fixture.h"

#include <sys/resource.h>
#include <thread>

/* The kernel's ways to a device: opening, memory, closing. vfio_device_test.cc has open ones. */

namespace
{

class VfioGroup : public Vfio
{
};

class VfioIommufd : public Vfio
{
};

class VfioNoiommu : public Vfio
{
};

INSTANTIATE_TEST_SUITE_P(Without, VfioNoiommu, testing::Values("noiommu"), way_of);
INSTANTIATE_TEST_SUITE_P(EachWay, Vfio, testing::Values("group", "iommufd"), way_of);
INSTANTIATE_TEST_SUITE_P(By, VfioGroup, testing::Values("group"), way_of);
INSTANTIATE_TEST_SUITE_P(By, VfioIommufd, testing::Values("iommufd"), way_of);

TEST_P(Vfio, NothingIsOpenedBeforeTheFirstDevice)
{
	EXPECT_EQ(kernel.calls, 0u);
}

TEST_P(Vfio, OpenDeviceKnowsItsRegionsAndInterrupts)
{
	plx_vfio_device *device = must_open();

	EXPECT_STREQ(device->name, "0000:00:03.0");
	EXPECT_EQ(device->ops->name, GetParam());
	EXPECT_EQ(device->numa_node, 1);
	EXPECT_TRUE(device->dma_translated);
	EXPECT_EQ(device->regions, (unsigned)VFIO_PCI_NUM_REGIONS);
	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].size, 0x4000u);
	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].areas, 1u);
	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].area[0].size, 0x4000u);
	EXPECT_EQ(device->region[VFIO_PCI_BAR0_REGION_INDEX].areas, 0u);
	EXPECT_EQ(device->region[VFIO_PCI_BAR2_REGION_INDEX].size, 0u);
	EXPECT_EQ(device->region[VFIO_PCI_VGA_REGION_INDEX].size, 0u);
	EXPECT_EQ(device->irqs[VFIO_PCI_MSIX_IRQ_INDEX], 4u);
	plx_vfio_close(device);
}

TEST_P(Vfio, BusMasteringComesOnLastAndGoesOffFirst)
{
	void *address = must_alloc(MiB);
	plx_vfio_device *device = must_open();

	EXPECT_TRUE(kernel.device["0000:00:03.0"].bus_master());
	EXPECT_EQ(kernel.journal,
		(std::vector<std::string>{by_group() ? "set iommu" : "attach 0000:00:03.0", "map",
			"bus master on 0000:00:03.0"}));
	kernel.journal.clear();
	plx_vfio_close(device);
	EXPECT_EQ(kernel.journal, by_group()
					  ? (std::vector<std::string>{"bus master off 0000:00:03.0",
						    "close 0000:00:03.0", "unmap", "unset group 12",
						    "close group 12", "close container"})
					  : (std::vector<std::string>{"bus master off 0000:00:03.0",
						    "detach 0000:00:03.0", "close 0000:00:03.0",
						    "unmap", "destroy space", "close iommufd"}));
	plx_mem_free(mem, address);
	EXPECT_TRUE(messages.empty()) << messages[0];
}

TEST_P(Vfio, TheRestOfTheCommandRegisterIsLeftAlone)
{
	plx_vfio_device *device = must_open();

	EXPECT_EQ(kernel.device["0000:00:03.0"].command(), 6);
	plx_vfio_close(device);
	EXPECT_EQ(kernel.device["0000:00:03.0"].command(), 2);
}

TEST_P(Vfio, MemoryMadeBeforeAndAfterTheDeviceIsMapped)
{
	void *before = must_alloc(MiB);
	plx_vfio_device *device = must_open();
	void *after = must_alloc(3 * MiB, PLX_MEM_READ_ONLY);

	for (void *address : {before, after}) {
		auto found = kernel.mapping.find(plx_mem_iova(mem, address));

		ASSERT_NE(found, kernel.mapping.end());
		EXPECT_EQ(found->second.vaddr, (uintptr_t)address);
		EXPECT_EQ(found->second.flags,
			address == before ? VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE
					  : VFIO_DMA_MAP_FLAG_READ);
	}
	/* One call for each contiguous piece, however long. */
	EXPECT_EQ(kernel.mapping.size(), 2u);
	plx_mem_free(mem, after);
	EXPECT_EQ(kernel.mapping.size(), 1u);
	plx_mem_free(mem, before);
	plx_vfio_close(device);
}

TEST_P(Vfio, IovasLieWithinWhatTheIommuAllows)
{
	kernel.group[12].ranges = {{0x40000000, 0x7fffffff}};
	plx_vfio_device *device = must_open();
	void *address = must_alloc(MiB);
	uint64_t iova = plx_mem_iova(mem, address);

	EXPECT_GE(iova, 0x40000000u);
	EXPECT_LE(iova + MiB - 1, 0x7fffffffu);
	plx_mem_free(mem, address);
	plx_vfio_close(device);
}

TEST_P(VfioGroup, KernelThatNamesNoRangesGetsIovasOf39Bits)
{
	kernel.says_ranges = false;
	plx_vfio_device *device = must_open();
	void *address = must_alloc(MiB);

	EXPECT_LT(plx_mem_iova(mem, address), UINT64_C(1) << 39);
	plx_mem_free(mem, address);
	plx_vfio_close(device);
}

TEST_P(VfioGroup, DevicesOfOneGroupShareItsDescriptor)
{
	kernel.add_device("0000:00:03.1", 12);
	plx_vfio_device *first = must_open(), *second = must_open("0000:00:03.1");

	EXPECT_EQ(kernel.open_descriptors(), 4u);
	plx_vfio_close(first);
	EXPECT_EQ(kernel.open_descriptors(), 3u);
	EXPECT_TRUE(kernel.device["0000:00:03.1"].bus_master());
	plx_vfio_close(second);
}

TEST_P(Vfio, GroupsOfOneContainerShareItsMappings)
{
	kernel.add_device("0000:00:04.0", 13);
	void *address = must_alloc(MiB);
	plx_vfio_device *first = must_open(), *second = must_open("0000:00:04.0", 13);

	EXPECT_EQ(kernel.mapping.size(), 1u);
	plx_vfio_close(first);
	EXPECT_EQ(kernel.mapping.size(), 1u) << "the second device still needs the memory";
	plx_vfio_close(second);
	EXPECT_EQ(kernel.mapping.size(), 0u);
	plx_mem_free(mem, address);
	EXPECT_TRUE(messages.empty()) << messages[0];
}

TEST_P(Vfio, ContainerCanBeUsedAgainAfterTheLastDevice)
{
	void *address = must_alloc(MiB);

	for (int i = 0; i < 3; i++) {
		plx_vfio_device *device = must_open();

		EXPECT_EQ(kernel.mapping.size(), 1u);
		plx_vfio_close(device);
		EXPECT_TRUE(kernel.is_clean());
	}
	plx_mem_free(mem, address);
}

TEST_P(Vfio, LaterGroupMovesMemoryThatIsNotInUse)
{
	kernel.add_device("0000:00:04.0", 13);
	kernel.group[13].ranges = {{0x40000000, 0x7fffffff}};
	plx_vfio_device *first = must_open(), *second = must_open("0000:00:04.0", 13);
	void *address = must_alloc(MiB);

	EXPECT_LE(plx_mem_iova(mem, address) + MiB - 1, 0x7fffffffu);
	plx_mem_free(mem, address);
	plx_vfio_close(second);
	plx_vfio_close(first);
}

TEST_P(Vfio, LaterGroupThatCannotReachTheReservationIsRefused)
{
	kernel.add_device("0000:00:04.0", 13);
	plx_vfio_device *first = must_open();
	void *address = must_alloc(MiB);
	uint64_t iova = plx_mem_iova(mem, address);

	/*
	 * It reaches what is mapped, so that the kernel has nothing against it, but not what may
	 * come.
	 */
	kernel.group[13].ranges = {{iova, iova + 16 * MiB - 1}};
	expect_refused(ERANGE, "does not reach the context's memory", "0000:00:04.0", 13);
	EXPECT_FALSE(kernel.is_behind_iommu("0000:00:04.0"));
	plx_mem_free(mem, address);
	plx_vfio_close(first);
}

TEST_P(Vfio, LaterGroupThatCannotReachMappedMemoryIsRefused)
{
	kernel.add_device("0000:00:04.0", 13);
	plx_vfio_device *first = must_open();
	void *address = must_alloc(MiB);

	kernel.group[13].ranges = {{0, 0xfff}};
	expect_refused(EINVAL, "cannot address the memory", "0000:00:04.0", 13);
	plx_mem_free(mem, address);
	plx_vfio_close(first);
}

TEST_P(Vfio, SameDeviceOpensOnlyOnce)
{
	plx_vfio_device *device = must_open();

	expect_refused(EBUSY, "open already");
	plx_vfio_close(device);
}

TEST_P(Vfio, WithoutTheModuleTheRemedyIsModprobe)
{
	kernel.module = false;
	expect_refused(ENOENT, by_group() ? "modprobe vfio-pci" : "modprobe iommufd");
}

TEST_P(VfioGroup, NodeWithoutAModuleBehindItCountsAsNoModule)
{
	kernel.fail_path = "/dev/vfio/vfio";
	kernel.fail_errno = ENODEV;
	expect_refused(ENOENT, "modprobe vfio-pci");
}

TEST_P(VfioGroup, GroupWithoutANodeIsNotBound)
{
	expect_refused(ENOENT, "pollux bind 0000:00:07.0", "0000:00:07.0", 99);
}

TEST_P(VfioGroup, DeniedNodeIsNamedWithItsOwner)
{
	kernel.fail_path = "/dev/vfio/12";
	kernel.fail_errno = EACCES;
	kernel.node_owner = 107;
	expect_refused(EACCES, "/dev/vfio/12, which has mode 0600 and belongs to user 107");
}

TEST_P(VfioGroup, GroupOfAnotherProcessIsBusy)
{
	kernel.group[12].opened = true;
	expect_refused(EBUSY, "/dev/vfio/12 is busy");
}

TEST_P(VfioIommufd, DevicesShareOneAddressSpace)
{
	kernel.add_device("0000:00:03.1", 12);
	plx_vfio_device *first = must_open(), *second = must_open("0000:00:03.1");

	EXPECT_EQ(kernel.open_descriptors(), 3u);
	plx_vfio_close(first);
	EXPECT_TRUE(kernel.device["0000:00:03.1"].bus_master());
	EXPECT_TRUE(kernel.is_behind_iommu("0000:00:03.1"));
	plx_vfio_close(second);
}

TEST_P(VfioIommufd, MemoryIsMappedByItsFileWhereTheKernelCan)
{
	void *address = must_alloc(MiB);

	kernel.maps_files = true;
	plx_vfio_device *device = must_open();
	void *after = must_alloc(3 * MiB, PLX_MEM_READ_ONLY);

	EXPECT_EQ(kernel.mapped_files, 2u);
	EXPECT_EQ(kernel.mapping.at(plx_mem_iova(mem, address)).flags,
		(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE));
	EXPECT_EQ(kernel.mapping.at(plx_mem_iova(mem, after)).flags,
		(uint32_t)VFIO_DMA_MAP_FLAG_READ);
	plx_mem_free(mem, after);
	plx_mem_free(mem, address);
	plx_vfio_close(device);
	EXPECT_TRUE(messages.empty()) << messages[0];
}

TEST_P(VfioIommufd, DeviceWithoutItsOwnFileIsRefusedWithTheOtherWay)
{
	expect_refused(ENOENT, "take vfio=group", "0000:00:07.0", 99);
}

TEST_P(VfioIommufd, DeviceThatIsOpenElsewhereIsBusy)
{
	kernel.device["0000:00:03.0"].opened = 1;
	expect_refused(EBUSY, "/dev/vfio/devices/vfio1 is busy");
	kernel.device["0000:00:03.0"].opened = 0;
}

TEST_P(VfioIommufd, DeviceWhoseGroupIsOpenIsBusy)
{
	kernel.group[12].opened = true;
	expect_refused(EBUSY, "through /dev/vfio/12");
	kernel.group[12].opened = false;
}

TEST_P(VfioIommufd, GroupWithAnotherDriverIsRefused)
{
	kernel.group[12].viable = false;
	expect_refused(EPERM, "another driver or program owns a device of IOMMU group 12");
}

TEST_P(VfioIommufd, KernelThatBindsNothingIsRefusedWithTheOtherWay)
{
	kernel.fail_request = VFIO_DEVICE_BIND_IOMMUFD;
	kernel.fail_errno = ENOTTY;
	expect_refused(ENOTSUP, "take vfio=group");
}

TEST_P(VfioIommufd, DeniedFileIsNamedWithItsOwner)
{
	kernel.fail_path = "/dev/vfio/devices/vfio1";
	kernel.fail_errno = EACCES;
	kernel.node_owner = 107;
	expect_refused(
		EACCES, "/dev/vfio/devices/vfio1, which has mode 0600 and belongs to user 107");
}

TEST_P(VfioIommufd, MoreRangesThanThereIsRoomForAreRefused)
{
	kernel.announced_ranges = 1u << 20;
	expect_refused(EPROTO, "announces 1048576 IOVA ranges");
}

TEST_P(VfioIommufd, NoRangeAtAllIsRefused)
{
	kernel.group[12].ranges = {};
	expect_refused(ERANGE, "share no range of IOVAs");
}

TEST_P(VfioIommufd, GroupAndIommufdServeTwoDevicesOfOneContext)
{
	void *address = must_alloc(MiB);
	plx_vfio_device *first = must_open(), *second = nullptr;
	plx_vfio_target target = {};

	kernel.add_device("0000:00:04.0", 13);
	snprintf(target.name, sizeof(target.name), "0000:00:04.0");
	target.group = 13;
	/* The made-up kernel has one table of mappings, where Linux has one for each owner. */
	auto of_iommufd = kernel.mapping;
	kernel.mapping.clear();
	EXPECT_EQ(plx_vfio_group_open(container, &target, &second), 0) << plx_error();
	EXPECT_EQ(kernel.mapping.size(), 1u);
	plx_vfio_close(second);
	kernel.mapping = of_iommufd;
	plx_vfio_close(first);
	plx_mem_free(mem, address);
}

TEST_P(VfioNoiommu, DeviceMakesTheMemoryPhysicalAndIsWarnedOf)
{
	plx_vfio_device *device = must_open();
	void *address = nullptr;

	EXPECT_STREQ(device->ops->name, "noiommu");
	EXPECT_FALSE(device->dma_translated);
	EXPECT_TRUE(plx_mem_is_physical(mem));
	EXPECT_TRUE(kernel.device["0000:00:03.0"].bus_master());
	ASSERT_EQ(messages.size(), 1u);
	EXPECT_NE(messages[0].find("NO IOMMU stands before it"), std::string::npos) << messages[0];
	plx_vfio_close(device);
	EXPECT_FALSE(kernel.device["0000:00:03.0"].bus_master());
	EXPECT_FALSE(plx_mem_is_physical(mem));
	address = must_alloc(MiB);
	plx_mem_free(mem, address);
}

TEST_P(VfioNoiommu, TwoDevicesShareAContainer)
{
	kernel.add_device("0000:00:04.0", 13);
	kernel.group[13].noiommu = true;
	plx_vfio_device *first = must_open(), *second = must_open("0000:00:04.0", 13);

	plx_vfio_close(first);
	EXPECT_TRUE(plx_mem_is_physical(mem));
	plx_vfio_close(second);
	EXPECT_FALSE(plx_mem_is_physical(mem));
}

TEST_P(VfioNoiommu, MemoryOfAnotherKindIsInTheWay)
{
	void *address = must_alloc(MiB);

	expect_refused(EBUSY, "in a context of its own");
	EXPECT_FALSE(kernel.is_behind_iommu("0000:00:03.0"));
	plx_mem_free(mem, address);
}

TEST_P(VfioNoiommu, ModeThatWasSwitchedOffNamesItsParameter)
{
	kernel.unsafe_mode = false;
	expect_refused(ENOTSUP, "enable_unsafe_noiommu_mode");
}

TEST_P(VfioNoiommu, EachCallOfOpeningMayFail)
{
	plx_vfio_device *device = nullptr;
	unsigned n, needed;

	ASSERT_EQ(open(&device), 0);
	needed = kernel.calls;
	plx_vfio_close(device);
	for (n = 1; n <= needed; n++) {
		SCOPED_TRACE("call " + std::to_string(n));
		kernel.calls = 0;
		kernel.fail_call = n;
		EXPECT_LT(open(&device), 0);
		EXPECT_TRUE(kernel.is_clean());
		EXPECT_FALSE(plx_mem_is_physical(mem));
		EXPECT_FALSE(kernel.device["0000:00:03.0"].bus_master());
	}
	kernel.fail_call = 0;
}

TEST_P(VfioGroup, UnviableGroupIsRefused)
{
	kernel.group[12].viable = false;
	expect_refused(EPERM, "IOMMU group 12 is not viable");
}

TEST_P(Vfio, MachineWithoutInterruptRemappingIsRefused)
{
	kernel.fail_request = by_group() ? VFIO_SET_IOMMU : VFIO_DEVICE_BIND_IOMMUFD;
	kernel.fail_errno = EPERM;
	expect_refused(EPERM, "remap interrupts");
}

TEST_P(VfioGroup, OtherVersionOfTheInterfaceIsRefused)
{
	kernel.version = 7;
	expect_refused(ENOTSUP, "version 7");
}

TEST_P(VfioGroup, WithoutType1TheRemedyIsItsModule)
{
	kernel.type1 = false;
	expect_refused(ENOTSUP, "modprobe vfio_iommu_type1");
}

TEST_P(VfioGroup, DeviceThatVfioDoesNotHaveIsNotBound)
{
	expect_refused(ENODEV, "pollux bind 0000:00:03.7", "0000:00:03.7");
}

TEST_P(VfioGroup, DeviceBeingResetAsksToTryAgain)
{
	kernel.fail_request = VFIO_GROUP_GET_DEVICE_FD;
	kernel.fail_errno = EAGAIN;
	expect_refused(EAGAIN, "try again");
}

TEST_P(Vfio, DeviceThatIsNotPciIsRefused)
{
	kernel.device["0000:00:03.0"].is_pci = false;
	expect_refused(ENOTSUP, "PCI");
	kernel.device["0000:00:03.0"].is_pci = true;
	kernel.device["0000:00:03.0"].num_regions = VFIO_PCI_CONFIG_REGION_INDEX;
	expect_refused(ENOTSUP, "PCI");
}

TEST_P(Vfio, RemovedDeviceIsRefused)
{
	memset(kernel.device["0000:00:03.0"].region[VFIO_PCI_CONFIG_REGION_INDEX].bytes, 0xff, 64);
	/*
	 * All ones is also what the model calls a bus master: let nothing be joined to it before.
	 */
	plx_vfio_device *device = nullptr;

	EXPECT_EQ(open(&device), -ENODEV);
	EXPECT_NE(std::string(plx_error()).find("all ones"), std::string::npos) << plx_error();
}

TEST_P(Vfio, ConventionalPciDeviceHasNoErrorInterrupt)
{
	kernel.device["0000:00:03.0"].express = false;
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->irqs[VFIO_PCI_ERR_IRQ_INDEX], 0u);
	EXPECT_EQ(device->irqs[VFIO_PCI_REQ_IRQ_INDEX], 1u);
	plx_vfio_close(device);
}

TEST_P(Vfio, MoreRegionsThanPciDefinesAreIgnored)
{
	kernel.device["0000:00:03.0"].num_regions = 40;
	kernel.device["0000:00:03.0"].num_irqs = 40;
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->regions, (unsigned)VFIO_PCI_NUM_REGIONS);
	plx_vfio_close(device);
}

/* Every call on the way to an open device fails once; nothing may be left of the attempt. */
TEST_P(Vfio, EachCallOfOpeningMayFail)
{
	void *address = must_alloc(MiB);
	plx_vfio_device *device = nullptr;
	unsigned n, needed;

	/* Once before, to learn what the kernel has. */
	plx_vfio_close(must_open());
	kernel.calls = 0;
	ASSERT_EQ(open(&device), 0);
	needed = kernel.calls;
	plx_vfio_close(device);
	ASSERT_GT(needed, 20u);
	for (n = 1; n <= needed; n++) {
		SCOPED_TRACE("call " + std::to_string(n));
		device = nullptr;
		kernel.calls = 0;
		kernel.fail_call = n;
		forget_error();
		EXPECT_LT(open(&device), 0);
		EXPECT_EQ(device, nullptr);
		EXPECT_STRNE(plx_error(), "");
		EXPECT_TRUE(kernel.is_clean());
		EXPECT_FALSE(kernel.is_behind_iommu("0000:00:03.0"));
		EXPECT_FALSE(kernel.device["0000:00:03.0"].bus_master());
	}
	kernel.fail_call = 0;
	device = must_open();
	plx_vfio_close(device);
	plx_mem_free(mem, address);
}

/* The same for a second group, whose failure must not disturb the first. */
TEST_P(Vfio, EachCallOfOpeningASecondGroupMayFail)
{
	void *address = must_alloc(MiB);
	plx_vfio_device *first = must_open(), *second = nullptr;
	unsigned n, needed;

	kernel.add_device("0000:00:04.0", 13);
	kernel.calls = 0;
	ASSERT_EQ(open(&second, "0000:00:04.0", 13), 0);
	needed = kernel.calls;
	plx_vfio_close(second);
	for (n = 1; n <= needed; n++) {
		SCOPED_TRACE("call " + std::to_string(n));
		kernel.calls = 0;
		kernel.fail_call = n;
		forget_error();
		EXPECT_LT(open(&second, "0000:00:04.0", 13), 0);
		EXPECT_STRNE(plx_error(), "");
		EXPECT_EQ(kernel.open_descriptors(), by_group() ? 3u : 2u);
		EXPECT_FALSE(kernel.is_behind_iommu("0000:00:04.0"));
		EXPECT_EQ(kernel.mapping.size(), 1u);
		EXPECT_TRUE(kernel.device["0000:00:03.0"].bus_master());
	}
	kernel.fail_call = 0;
	plx_vfio_close(first);
	plx_mem_free(mem, address);
}

/* Closing has no one to tell: it goes on to the end and leaves nothing open. */
TEST_P(Vfio, EachCallOfClosingMayFail)
{
	unsigned n, needed = 4;

	for (n = 1; n <= needed; n++) {
		SCOPED_TRACE("call " + std::to_string(n));
		plx_vfio_device *device = must_open();

		kernel.calls = 0;
		kernel.fail_call = n;
		plx_vfio_close(device);
		EXPECT_LE(kernel.calls, needed);
		kernel.fail_call = 0;
		EXPECT_TRUE(kernel.is_clean());
		EXPECT_FALSE(kernel.is_behind_iommu("0000:00:03.0"));
	}
}

TEST_P(Vfio, RemovedDeviceStillCloses)
{
	plx_vfio_device *device = must_open();

	kernel.device["0000:00:03.0"].removed = true;
	plx_vfio_close(device);
	EXPECT_TRUE(kernel.is_clean());
}

TEST_P(Vfio, FailedUnmapIsLogged)
{
	void *address = must_alloc(MiB);
	plx_vfio_device *device = must_open();

	kernel.unmaps_short = true;
	plx_mem_free(mem, address);
	ASSERT_EQ(messages.size(), 1u);
	EXPECT_NE(messages[0].find("unmapped 0 bytes"), std::string::npos) << messages[0];

	address = must_alloc(MiB);
	kernel.fail_request = unmap_request();
	plx_mem_free(mem, address);
	EXPECT_EQ(messages.size(), 2u);
	kernel.fail_request = 0;
	kernel.mapping.clear();
	plx_vfio_close(device);
}

TEST_P(Vfio, GroupThatTheKernelTookOutByItselfIsNotMissed)
{
	plx_vfio_device *device = must_open();

	kernel.fail_request = VFIO_GROUP_UNSET_CONTAINER;
	kernel.fail_errno = EINVAL;
	plx_vfio_close(device);
	EXPECT_TRUE(messages.empty()) << messages[0];
}

TEST_P(Vfio, GroupThatStaysInTheContainerIsLogged)
{
	plx_vfio_device *device = must_open();

	kernel.fail_request = VFIO_GROUP_UNSET_CONTAINER;
	kernel.fail_errno = EBUSY;
	plx_vfio_close(device);
	ASSERT_EQ(messages.size(), by_group() ? 1u : 0u);
	if (by_group())
		EXPECT_NE(messages[0].find("still mapped"), std::string::npos) << messages[0];
}

TEST_P(Vfio, TooSmallMemlockLimitNamesBothFiguresAndTheRemedies)
{
	rlimit before, low = {4 * MiB, 4 * MiB};
	void *address = must_alloc(MiB), *more = nullptr;
	plx_vfio_device *device = must_open();

	ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low.rlim_max = before.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	kernel.pin_limit = 4 * MiB;
	EXPECT_EQ(plx_mem_alloc(mem, 8 * MiB, 4096, -1, 0, &more), -ENOMEM);
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	for (const char *words :
		{"RLIMIT_MEMLOCK is 4 MiB", "ulimit -l", "/etc/security/limits.d", "LimitMEMLOCK="})
		EXPECT_NE(std::string(plx_error()).find(words), std::string::npos) << plx_error();
	plx_mem_free(mem, address);
	plx_vfio_close(device);
}

TEST_P(Vfio, EachReasonNotToMapHasItsSentence)
{
	const std::pair<int, const char *> reasons[] = {{EEXIST, "already"},
		{EINVAL, "cannot address"}, {ENOSPC, by_group() ? "dma_entry_limit" : "No space"},
		{EFAULT, "Bad"}};
	plx_vfio_device *device = must_open();
	void *address = nullptr;

	kernel.fail_request = map_request();
	for (auto &[err, words] : reasons) {
		kernel.fail_errno = err;
		EXPECT_EQ(plx_mem_alloc(mem, MiB, 4096, -1, 0, &address), -err);
		EXPECT_NE(std::string(plx_error()).find(words), std::string::npos) << plx_error();
	}
	plx_vfio_close(device);
}

TEST_P(VfioGroup, TooManyMappingsAreRefusedWithTheLimit)
{
	plx_vfio_device *device;
	void *address = nullptr;

	kernel.dma_avail = 0;
	device = must_open();
	EXPECT_EQ(plx_mem_alloc(mem, MiB, 4096, -1, 0, &address), -ENOSPC);
	EXPECT_NE(std::string(plx_error()).find("had 0 left"), std::string::npos) << plx_error();
	plx_vfio_close(device);
}

struct Spoiled {
	const char *name;
	std::function<void(uint8_t *, vfio_iommu_type1_info *)> spoil;
	int err; /* 0: opened with assumed limits */
};

vfio_iommu_type1_info_cap_iova_range *ranges_of(uint8_t *answer, vfio_iommu_type1_info *info)
{
	uint32_t at = info->cap_offset;

	while (((vfio_info_cap_header *)(answer + at))->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
		at = ((vfio_info_cap_header *)(answer + at))->next;
	return (vfio_iommu_type1_info_cap_iova_range *)(answer + at);
}

TEST_P(VfioGroup, CapabilityChainOfTheIommuIsCheckedBeforeItIsFollowed)
{
	const Spoiled all[] = {
		{"beyond the answer", [](uint8_t *, auto *info) { info->cap_offset = 4092; }, 0},
		{"far beyond", [](uint8_t *, auto *info) { info->cap_offset = 0xfffffff8; }, 0},
		{"unaligned", [](uint8_t *, auto *info) { info->cap_offset += 4; }, 0},
		{"a loop",
			[](uint8_t *answer, auto *info) {
				((vfio_info_cap_header *)(answer + info->cap_offset))->next =
					info->cap_offset;
			},
			0},
		{"cut within the ranges",
			[](uint8_t *answer, auto *info) {
				auto *header = (vfio_info_cap_header *)(answer + 4088);

				*header = {VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0};
				info->cap_offset = 4088;
			},
			0},
		{"more ranges than bytes",
			[](uint8_t *answer, auto *info) {
				ranges_of(answer, info)->nr_iovas = 0x20000000;
			},
			EPROTO},
		{"no range at all",
			[](uint8_t *answer, auto *info) { ranges_of(answer, info)->nr_iovas = 0; },
			ERANGE},
		{"a range from end to start",
			[](uint8_t *answer, auto *info) {
				ranges_of(answer, info)->iova_ranges[0] = {0x2000, 0x1000};
			},
			EINVAL},
		{"longer than we take", [](uint8_t *, auto *info) { info->argsz = 1 << 20; },
			E2BIG},
	};

	for (auto &each : all) {
		SCOPED_TRACE(each.name);
		plx_vfio_device *device = nullptr;

		kernel.spoil_iommu_info = each.spoil;
		forget_error();
		EXPECT_EQ(open(&device), -each.err) << plx_error();
		EXPECT_EQ(!each.err, std::string(plx_error()).empty()) << plx_error();
		plx_vfio_close(device);
		EXPECT_TRUE(kernel.is_clean());
	}
}

TEST_P(Vfio, DevicesOpenAndCloseFromManyThreads)
{
	std::vector<std::thread> threads;

	for (int i = 0; i < 4; i++)
		kernel.add_device("0000:00:0" + std::to_string(4 + i) + ".0", 20 + i);
	for (int i = 0; i < 4; i++)
		threads.emplace_back([this, i] {
			std::string name = "0000:00:0" + std::to_string(4 + i) + ".0";

			for (int n = 0; n < 50; n++)
				plx_vfio_close(must_open(name.c_str(), 20 + i));
		});
	for (auto &thread : threads)
		thread.join();
	EXPECT_TRUE(kernel.is_clean());
}

} // namespace
