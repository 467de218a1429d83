/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VFIO_KERNEL_H
#define PLX_TESTS_VFIO_KERNEL_H

extern "C" {
#include "base/error.h"
#include "vfio/iommufd_uapi.h"
#include "vfio/vfio_priv.h"
}

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

/*
 * A kernel that knows VFIO and nothing else: containers, groups, iommufd, and PCI devices whose
 * regions are memory. It refuses what Linux refuses, writes down what matters, and fails any one
 * call on demand.
 */
class VfioKernel
{
      public:
	struct Region {
		uint64_t size = 0;
		uint32_t flags = 0;
		std::vector<vfio_region_sparse_mmap_area> sparse;
		bool msix_mappable = false;
		uint32_t announced_areas = 0; /* when it is not the truth */
		uint32_t longer_by = 0; /* bytes that the description needs and does not get */
		int memory = -1;
		uint8_t *bytes = nullptr;
	};

	struct Device {
		int group = 0;
		std::string node;      /* in /dev/vfio/devices */
		bool attached = false; /* to the address space */
		bool is_pci = true;
		bool can_reset = true;
		bool express = true;
		bool vga = false;
		bool removed = false;
		uint32_t num_regions = VFIO_PCI_NUM_REGIONS;
		uint32_t num_irqs = VFIO_PCI_NUM_IRQS;
		Region region[VFIO_PCI_NUM_REGIONS];
		uint32_t irqs[VFIO_PCI_NUM_IRQS] = {1, 1, 4, 1, 1};
		std::map<std::pair<unsigned, unsigned>, int32_t> eventfd;
		int opened = 0;
		int resets = 0;

		uint16_t command() const
		{
			uint16_t value;

			memcpy(&value, region[VFIO_PCI_CONFIG_REGION_INDEX].bytes + 4,
				sizeof(value));
			return value;
		}
		bool bus_master() const
		{
			return command() & 4;
		}
	};

	struct Group {
		bool viable = true;
		bool noiommu = false; /* made by the mode without an IOMMU */
		bool opened = false;
		bool joined = false;
		std::vector<vfio_iova_range> ranges = {
			{0, 0xfedfffff}, {0xfef00000, (1ULL << 39) - 1}};
	};

	/* The machine. */
	bool module = true;
	bool maps_files = false; /* as Linux 6.13 and later */
	int version = VFIO_API_VERSION;
	bool type1 = true;
	bool unsafe_mode = true;
	bool says_ranges = true;
	uint32_t dma_avail = 65535;
	uint64_t pin_limit = UINT64_MAX;
	bool unmaps_short = false;
	uint32_t announced_ranges = 0; /* by iommufd, when it is not the truth */
	std::function<void(uint8_t *answer, vfio_iommu_type1_info *info)> spoil_iommu_info;
	std::map<int, Group> group;
	std::map<std::string, Device> device;
	uid_t node_owner = 0;
	mode_t node_mode = 0600;

	/* What happened. */
	std::vector<std::string> journal;
	std::map<uint64_t, vfio_iommu_type1_dma_map> mapping;
	unsigned mapped_files = 0;
	std::map<void *, size_t> window;
	unsigned calls = 0;
	unsigned fail_call = 0; /* 1 for the first; 0 for none */
	std::string fail_path;
	unsigned long fail_request = 0;
	int fail_errno = EIO;
	ssize_t transfer_limit = -1;

	VfioKernel()
	{
		current = this;
	}
	~VfioKernel()
	{
		for (auto &[name, d] : device)
			for (auto &r : d.region)
				if (r.bytes) {
					munmap(r.bytes, std::max<uint64_t>(r.size, 4096));
					close(r.memory);
				}
		current = nullptr;
	}

	/* A network function as QEMU shows it: registers in BAR 4, MSI-X in BAR 1. */
	Device &add_device(const std::string &name, int number);
	void set_region(Device &d, unsigned index, uint64_t size, uint32_t flags);

	size_t open_descriptors() const
	{
		return node.size();
	}

	bool is_clean() const
	{
		return node.empty() && mapping.empty() && window.empty() && !space;
	}

	/* Whether an IOMMU that somebody manages stands before the device. */
	bool is_behind_iommu(const std::string &name) const
	{
		const Device &d = device.at(name);

		return d.attached || group.at(d.group).joined;
	}

	size_t position(const std::string &event) const
	{
		auto found = std::find(journal.begin(), journal.end(), event);

		EXPECT_NE(found, journal.end()) << event << " never happened";
		return (size_t)(found - journal.begin());
	}

	static const plx_vfio_sys *sys();

      private:
	struct Node {
		enum { CONTAINER, GROUP, DEVICE, IOMMUFD } kind;
		int number;        /* of a group */
		std::string name;  /* of a device */
		bool bound = true; /* a device's own file is not, until it is bound to an iommufd */
	};

	static inline VfioKernel *current;

	std::map<int, Node> node;
	int next_fd = 1000;
	bool iommu = false;
	uint32_t space = 0; /* the address space of iommufd; 0 while there is none */

	static int refuse(int err)
	{
		errno = err;
		return -1;
	}

	bool fails()
	{
		return ++calls == fail_call;
	}

	int add_node(Node n)
	{
		node[next_fd] = n;
		return next_fd++;
	}

	/* --- vfio_kernel.cc: files, and the devices behind them --- */

	int do_open(const std::string &path, int flags);
	int do_close(int fd);
	int do_ioctl(int fd, unsigned long request, void *arg);
	ssize_t transfer(int fd, void *in, const void *out, size_t len, off_t offset);
	void *do_mmap(size_t len, int prot, int flags, int fd, off_t offset);
	int do_munmap(void *address, size_t len);

	int bind(Node &n, vfio_device_bind_iommufd &bind);
	int device_ioctl(Device &d, const std::string &name, unsigned long request, void *arg);
	int region_info(const Device &d, vfio_region_info *info);
	int set_irqs(Device &d, vfio_irq_set *set);

	/* --- vfio_kernel_iommu.cc: containers, groups, iommufd, and what is mapped --- */

	int container_ioctl(unsigned long request, void *arg);
	int iommu_info(vfio_iommu_type1_info *info);

	int group_ioctl(int number, unsigned long request, void *arg);
	int get_device(int number, const char *name);
	int leave(Group &g);
	int joined() const;
	bool joined_noiommu() const;

	int iommufd_ioctl(unsigned long request, void *arg);
	int iova_ranges(iommu_ioas_iova_ranges &answer);
	int map_space(
		uint32_t id, uint32_t flags, uint64_t address, uint64_t iova, uint64_t length);
	int attach(Device &d, const std::string &name, vfio_device_attach_iommufd_pt &attach);
	int detach(Device &d, const std::string &name);
	bool has_attached(int number) const;

	std::vector<vfio_iova_range> ranges() const;
	static bool reaches(
		const std::vector<vfio_iova_range> &ranges, const vfio_iommu_type1_dma_map &map);
	int map_dma(const vfio_iommu_type1_dma_map &map);
	int unmap_dma(vfio_iommu_type1_dma_unmap &unmap);

	/* --- capabilities, which both have --- */

	/* Puts them behind a description; each names its successor. */
	static void chain(
		uint8_t *answer, uint32_t at, const std::vector<std::vector<uint8_t>> &all);

	template <typename Head, typename Item>
	static std::vector<uint8_t> capability(
		uint16_t id, Head head, const std::vector<Item> &items)
	{
		std::vector<uint8_t> bytes(sizeof(head) + items.size() * sizeof(Item));

		head.header = {id, 1, 0};
		memcpy(bytes.data(), &head, sizeof(head));
		if (!items.empty())
			memcpy(bytes.data() + sizeof(head), items.data(),
				items.size() * sizeof(Item));
		bytes.resize((bytes.size() + 7) & ~(size_t)7);
		return bytes;
	}
};

#endif
