/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_fixture.h"

/* What an open device can do, and windows of its regions. */

namespace
{

class VfioDevice : public Vfio
{
};

INSTANTIATE_TEST_SUITE_P(EachWay, VfioDevice, testing::Values("group", "iommufd"), way_of);

TEST_P(VfioDevice, SparseAreasAreTheOnesThatMayBeMapped)
{
	VfioKernel::Region &r = kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX];

	r.sparse = {{0, 0x1000}, {0x3000, 0x1000}, {0x3000, 0x2000}, {0x1000, 0}, {UINT64_MAX, 2}};
	plx_vfio_device *device = must_open();
	const plx_vfio_region &region = device->region[VFIO_PCI_BAR4_REGION_INDEX];

	/* Without those that leave the region or hold nothing. */
	ASSERT_EQ(region.areas, 2u);
	EXPECT_EQ(region.area[1].offset, 0x3000u);
	EXPECT_EQ(region.area[1].size, 0x1000u);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, MoreSparseAreasThanFitAreReachedByCalls)
{
	VfioKernel::Device &d = kernel.device["0000:00:03.0"];

	kernel.set_region(
		d, VFIO_PCI_BAR4_REGION_INDEX, 0x20000, d.region[VFIO_PCI_BAR4_REGION_INDEX].flags);
	for (uint64_t i = 0; i < 12; i++)
		d.region[VFIO_PCI_BAR4_REGION_INDEX].sparse.push_back({i * 0x2000, 0x1000});
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].areas, (unsigned)PLX_VFIO_AREAS);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, AnnouncedAreasThatAreNotThereAreNotRead)
{
	kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX].announced_areas =
		UINT32_MAX;
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].areas, 0u);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, DescriptionThatDoesNotFitForbidsMapping)
{
	kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX].longer_by = 8192;
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->region[VFIO_PCI_BAR4_REGION_INDEX].areas, 0u);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, MappableMsixTableLeavesTheWholeRegion)
{
	kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR1_REGION_INDEX].msix_mappable = true;
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->region[VFIO_PCI_BAR1_REGION_INDEX].areas, 1u);
	EXPECT_EQ(device->region[VFIO_PCI_BAR1_REGION_INDEX].area[0].size, 0x1000u);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, RegistersAreReadAndWrittenInTheirRegion)
{
	plx_vfio_device *device = must_open();
	uint16_t vendor = 0;
	uint32_t value = htole32(0x12345678);

	EXPECT_EQ(device->ops->read(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, &vendor, 2), 0);
	EXPECT_EQ(le16toh(vendor), 0x1af4);
	EXPECT_EQ(device->ops->write(device, VFIO_PCI_BAR4_REGION_INDEX, 0x10, &value, 4), 0);
	EXPECT_EQ(
		kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX].bytes[0x10], 0x78);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, AccessOutsideARegionDoesNotReachTheKernel)
{
	plx_vfio_device *device = must_open();
	uint32_t value = 0;
	unsigned before = kernel.calls;

	EXPECT_EQ(
		device->ops->read(device, VFIO_PCI_BAR4_REGION_INDEX, 0x3ffe, &value, 4), -EINVAL);
	EXPECT_EQ(device->ops->read(device, VFIO_PCI_BAR4_REGION_INDEX, UINT64_MAX, &value, 4),
		-EINVAL);
	EXPECT_EQ(device->ops->write(device, VFIO_PCI_BAR2_REGION_INDEX, 0, &value, 1), -EINVAL);
	EXPECT_EQ(device->ops->write(device, 77, 0, &value, 1), -EINVAL);
	EXPECT_EQ(kernel.calls, before);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, ShortOrFailedTransferIsAnError)
{
	plx_vfio_device *device = must_open();
	uint32_t value = 0;

	kernel.transfer_limit = 2;
	EXPECT_EQ(device->ops->read(device, VFIO_PCI_BAR4_REGION_INDEX, 0, &value, 4), -EIO);
	EXPECT_EQ(device->ops->write(device, VFIO_PCI_BAR4_REGION_INDEX, 0, &value, 4), -EIO);
	kernel.transfer_limit = -1;
	kernel.device["0000:00:03.0"].removed = true;
	EXPECT_EQ(device->ops->read(device, VFIO_PCI_BAR4_REGION_INDEX, 0, &value, 4), -ENODEV);
	EXPECT_EQ(device->ops->write(device, VFIO_PCI_BAR4_REGION_INDEX, 0, &value, 4), -ENODEV);
	EXPECT_NE(std::string(plx_error()).find("removed"), std::string::npos) << plx_error();
	kernel.device["0000:00:03.0"].removed = false;
	plx_vfio_close(device);
}

TEST_P(VfioDevice, ResetTurnsBusMasteringOnAgain)
{
	plx_vfio_device *device = must_open();

	EXPECT_EQ(device->ops->reset(device), 0) << plx_error();
	EXPECT_EQ(kernel.device["0000:00:03.0"].resets, 1);
	EXPECT_TRUE(kernel.device["0000:00:03.0"].bus_master());
	EXPECT_LT(kernel.position("reset 0000:00:03.0"), kernel.journal.size());
	plx_vfio_close(device);
}

TEST_P(VfioDevice, ResetThatFailsOrIsNotThereSaysSo)
{
	plx_vfio_device *device = must_open();

	kernel.fail_request = VFIO_DEVICE_RESET;
	EXPECT_EQ(device->ops->reset(device), -EIO);
	kernel.fail_request = 0;
	plx_vfio_close(device);
	kernel.device["0000:00:03.0"].can_reset = false;
	device = must_open();
	EXPECT_EQ(device->ops->reset(device), -ENOTSUP);
	EXPECT_EQ(kernel.device["0000:00:03.0"].resets, 0);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, InterruptsPointAtEventfds)
{
	plx_vfio_device *device = must_open();
	auto &eventfd = kernel.device["0000:00:03.0"].eventfd;
	const int32_t fds[] = {41, -1, 43};
	auto at = [&](unsigned i) { return eventfd[{VFIO_PCI_MSIX_IRQ_INDEX, i}]; };

	EXPECT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 1, 3, fds), 0);
	EXPECT_EQ(at(1), 41);
	EXPECT_EQ(at(2), -1);
	EXPECT_EQ(at(3), 43);
	EXPECT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr), 0);
	EXPECT_EQ(eventfd.count({VFIO_PCI_MSIX_IRQ_INDEX, 1}), 0u);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, InterruptsThatTheDeviceDoesNotHaveAreRefused)
{
	plx_vfio_device *device = must_open();
	const int32_t fds[8] = {};
	auto set = device->ops->set_irqs;
	unsigned before = kernel.calls;

	EXPECT_EQ(set(device, VFIO_PCI_MSIX_IRQ_INDEX, 2, 3, fds), -EINVAL);
	EXPECT_EQ(set(device, VFIO_PCI_MSIX_IRQ_INDEX, UINT32_MAX, 1, fds), -EINVAL);
	EXPECT_EQ(set(device, VFIO_PCI_NUM_IRQS, 0, 1, fds), -EINVAL);
	EXPECT_EQ(set(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, nullptr), -EINVAL);
	EXPECT_EQ(set(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, fds), -EINVAL);
	EXPECT_EQ(kernel.calls, before);
	kernel.fail_request = VFIO_DEVICE_SET_IRQS;
	EXPECT_EQ(set(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, fds), -EIO);
	kernel.fail_request = 0;
	plx_vfio_close(device);
}

/* A window is used in the same way, mapped or not. */
void exercise(const plx_mmio &mmio, uint8_t *behind)
{
	plx_mmio_write8(&mmio, 1, 0x5a);
	EXPECT_EQ(behind[1], 0x5a);
	EXPECT_EQ(plx_mmio_read8(&mmio, 1), 0x5a);
	plx_mmio_write16(&mmio, 2, 0x1234);
	EXPECT_EQ(behind[2], 0x34);
	EXPECT_EQ(plx_mmio_read16(&mmio, 2), 0x1234);
	plx_mmio_write32(&mmio, 4, 0xdeadbeef);
	EXPECT_EQ(behind[7], 0xde);
	EXPECT_EQ(plx_mmio_read32(&mmio, 4), 0xdeadbeef);
}

TEST_P(VfioDevice, WindowWithinAnAreaIsMappedByWholePages)
{
	plx_vfio_device *device = must_open();
	plx_mmio mmio;

	ASSERT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, 0x1ff8, 0x10), 0);
	ASSERT_NE(mmio.address, nullptr);
	EXPECT_EQ(mmio.map_len, 0x2000u);
	exercise(mmio,
		kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX].bytes + 0x1ff8);
	plx_mmio_close(&mmio);
	EXPECT_TRUE(kernel.window.empty());
	plx_vfio_close(device);
}

TEST_P(VfioDevice, WindowThatMayNotBeMappedIsReachedByCalls)
{
	kernel.device["0000:00:03.0"].region[VFIO_PCI_BAR4_REGION_INDEX].sparse = {
		{0x1000, 0x1000}};
	plx_vfio_device *device = must_open();
	const std::pair<unsigned, uint64_t> windows[] = {{VFIO_PCI_BAR0_REGION_INDEX, 0},
		{VFIO_PCI_BAR4_REGION_INDEX, 0}, {VFIO_PCI_BAR4_REGION_INDEX, 0x1ff8}};

	for (auto [region, offset] : windows) {
		plx_mmio mmio;

		ASSERT_EQ(plx_mmio_open(&mmio, device, region, offset, 0x10), 0);
		EXPECT_EQ(mmio.address, nullptr);
		exercise(mmio, kernel.device["0000:00:03.0"].region[region].bytes + offset);
		plx_mmio_close(&mmio);
	}
	EXPECT_TRUE(kernel.window.empty());
	plx_vfio_close(device);
}

TEST_P(VfioDevice, LastPageOfAShortRegionIsMapped)
{
	VfioKernel::Device &d = kernel.device["0000:00:03.0"];

	kernel.set_region(
		d, VFIO_PCI_BAR1_REGION_INDEX, 0x80, d.region[VFIO_PCI_BAR1_REGION_INDEX].flags);
	plx_vfio_device *device = must_open();
	plx_mmio mmio;

	ASSERT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR1_REGION_INDEX, 0x20, 0x60), 0);
	EXPECT_NE(mmio.address, nullptr);
	exercise(mmio, d.region[VFIO_PCI_BAR1_REGION_INDEX].bytes + 0x20);
	plx_mmio_close(&mmio);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, WindowBeyondItsRegionIsRefused)
{
	plx_vfio_device *device = must_open();
	plx_mmio mmio;

	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, 0x3ff8, 0x10), -EINVAL);
	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, UINT64_MAX - 3, 8),
		-EINVAL);
	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, 8, UINT64_MAX), -EINVAL);
	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, 0, 0), -EINVAL);
	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR3_REGION_INDEX, 0, 4), -EINVAL);
	EXPECT_EQ(plx_mmio_open(&mmio, device, 77, 0, 4), -EINVAL);
	plx_vfio_close(device);
}

TEST_P(VfioDevice, FailedMappingOfAWindowIsAnError)
{
	plx_vfio_device *device = must_open();
	plx_mmio mmio;

	kernel.calls = 0;
	kernel.fail_call = 1;
	kernel.fail_errno = ENOMEM;
	EXPECT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR4_REGION_INDEX, 0, 0x10), -ENOMEM);
	EXPECT_NE(std::string(plx_error()).find("cannot map"), std::string::npos) << plx_error();
	plx_vfio_close(device);
}

TEST_P(VfioDevice, RemovedDeviceReadsAsAllOnesThroughAWindow)
{
	plx_vfio_device *device = must_open();
	plx_mmio mmio;

	ASSERT_EQ(plx_mmio_open(&mmio, device, VFIO_PCI_BAR0_REGION_INDEX, 0, 0x40), 0);
	kernel.device["0000:00:03.0"].removed = true;
	EXPECT_EQ(plx_mmio_read8(&mmio, 0), 0xff);
	EXPECT_EQ(plx_mmio_read16(&mmio, 0), 0xffff);
	EXPECT_EQ(plx_mmio_read32(&mmio, 0), 0xffffffff);
	plx_mmio_write32(&mmio, 0, 1);
	plx_mmio_close(&mmio);
	plx_mmio_close(&mmio);
	plx_vfio_close(device);
}

TEST(VfioKernelTable, NamesTheSystemCalls)
{
	int fd = plx_vfio_kernel.open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct stat status;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(plx_vfio_kernel.ioctl(fd, VFIO_GET_API_VERSION, nullptr), -1);
	EXPECT_EQ(errno, ENOTTY);
	EXPECT_EQ(plx_vfio_kernel.stat("/dev/null", &status), 0);
	EXPECT_EQ(plx_vfio_kernel.close(fd), 0);
}

} // namespace
