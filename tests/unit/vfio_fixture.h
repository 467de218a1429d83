/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VFIO_FIXTURE_H
#define PLX_TESTS_VFIO_FIXTURE_H

#include "vfio_kernel.h"

constexpr uint64_t MiB = 1 << 20;

/*
 * Real memory, on a made-up kernel that has one network function. The parameter is the way to it:
 * by its group, by that without an IOMMU ("noiommu"), or by iommufd.
 */
class Vfio : public testing::TestWithParam<std::string>
{
      protected:
	VfioKernel kernel;
	std::vector<std::string> messages;
	struct plx_log log = {[](void *arg, plx_log_level, const char *message) {
				      ((std::vector<std::string> *)arg)->push_back(message);
			      },
		&messages, PLX_LOG_WARNING};
	plx_mem *mem = nullptr;
	plx_vfio_container *container = nullptr;
	plx_vfio_iommufd *iommufd = nullptr;

	bool by_group() const
	{
		return GetParam() != "iommufd";
	}

	unsigned long map_request() const
	{
		return by_group() ? VFIO_IOMMU_MAP_DMA : IOMMU_IOAS_MAP;
	}

	unsigned long unmap_request() const
	{
		return by_group() ? VFIO_IOMMU_UNMAP_DMA : IOMMU_IOAS_UNMAP;
	}

	void SetUp() override
	{
		plx_mem_config config = {256 * MiB, 4096, &log};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
		ASSERT_EQ(plx_vfio_container_create_on(mem, &log, GetParam() == "noiommu",
				  VfioKernel::sys(), &container),
			0);
		ASSERT_EQ(plx_vfio_iommufd_create_on(mem, &log, VfioKernel::sys(), &iommufd), 0);
		kernel.add_device("0000:00:03.0", 12);
		kernel.group[12].noiommu = GetParam() == "noiommu";
		forget_error();
	}

	void TearDown() override
	{
		EXPECT_TRUE(kernel.is_clean());
		plx_vfio_container_destroy(container);
		plx_vfio_iommufd_destroy(iommufd);
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	/* So that a failure without a sentence shows. */
	static void forget_error()
	{
		(void)plx_fail(0, "%s", "");
	}

	int open(plx_vfio_device **device, const char *name = "0000:00:03.0", int group = 12)
	{
		plx_vfio_target target = {};

		snprintf(target.name, sizeof(target.name), "%s", name);
		target.group = group;
		target.numa_node = 1;
		if (by_group())
			return plx_vfio_group_open(container, &target, device);
		if (kernel.device.count(name))
			snprintf(target.node, sizeof(target.node), "%s",
				kernel.device[name].node.c_str());
		return plx_vfio_iommufd_open(iommufd, &target, device);
	}

	plx_vfio_device *must_open(const char *name = "0000:00:03.0", int group = 12)
	{
		plx_vfio_device *device = nullptr;

		EXPECT_EQ(open(&device, name, group), 0) << plx_error();
		return device;
	}

	void *must_alloc(size_t size, unsigned flags = 0)
	{
		void *address = nullptr;

		EXPECT_EQ(plx_mem_alloc(mem, size, 4096, -1, flags, &address), 0) << plx_error();
		return address;
	}

	/* The open fails with @err, says @words, and leaves nothing behind. */
	void expect_refused(int err, const std::string &words, const char *name = "0000:00:03.0",
		int group = 12)
	{
		plx_vfio_device *device = nullptr;
		size_t open_before = kernel.open_descriptors();

		forget_error();
		EXPECT_EQ(open(&device, name, group), -err) << plx_error();
		EXPECT_EQ(device, nullptr);
		EXPECT_NE(std::string(plx_error()).find(words), std::string::npos) << plx_error();
		EXPECT_NE(std::string(plx_error()).find(name), std::string::npos) << plx_error();
		EXPECT_EQ(kernel.open_descriptors(), open_before);
	}
};

inline std::string way_of(const testing::TestParamInfo<std::string> &info)
{
	return info.param;
}

#endif
