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
	Device &add_device(const std::string &name, int number)
	{
		Device &d = device[name];
		uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;

		group[number];
		d.group = number;
		d.node = "vfio" + std::to_string(device.size());
		set_region(d, VFIO_PCI_BAR0_REGION_INDEX, 0x40, rw);
		set_region(d, VFIO_PCI_BAR1_REGION_INDEX, 0x1000, rw | VFIO_REGION_INFO_FLAG_MMAP);
		set_region(d, VFIO_PCI_BAR4_REGION_INDEX, 0x4000, rw | VFIO_REGION_INFO_FLAG_MMAP);
		set_region(d, VFIO_PCI_CONFIG_REGION_INDEX, 0x1000, rw);
		d.region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[0] = 0xf4;
		d.region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[1] = 0x1a;
		d.region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[4] = 2;
		return d;
	}

	void set_region(Device &d, unsigned index, uint64_t size, uint32_t flags)
	{
		Region &r = d.region[index];
		size_t len = std::max<uint64_t>(size, 4096);

		if (r.bytes) {
			munmap(r.bytes, std::max<uint64_t>(r.size, 4096));
			close(r.memory);
		}
		r.size = size;
		r.flags = flags;
		r.memory = memfd_create("region", MFD_CLOEXEC);
		if (ftruncate(r.memory, (off_t)len))
			abort();
		r.bytes = (uint8_t *)mmap(
			nullptr, len, PROT_READ | PROT_WRITE, MAP_SHARED, r.memory, 0);
	}

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

	static const plx_vfio_sys *sys()
	{
		static const plx_vfio_sys table = {
			[](const char *path, int flags) { return current->do_open(path, flags); },
			[](int fd) { return current->do_close(fd); },
			[](int fd, unsigned long request, void *arg) {
				return current->do_ioctl(fd, request, arg);
			},
			[](int fd, void *data, size_t len, off_t offset) {
				return current->transfer(fd, data, nullptr, len, offset);
			},
			[](int fd, const void *data, size_t len, off_t offset) {
				return current->transfer(fd, nullptr, data, len, offset);
			},
			[](void *, size_t len, int prot, int flags, int fd, off_t offset) {
				return current->do_mmap(len, prot, flags, fd, offset);
			},
			[](void *address, size_t len) { return current->do_munmap(address, len); },
			[](const char *, struct stat *status) {
				*status = {};
				status->st_uid = current->node_owner;
				status->st_mode = S_IFCHR | current->node_mode;
				return 0;
			},
		};

		return &table;
	}

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

	int joined() const
	{
		return (int)std::count_if(
			group.begin(), group.end(), [](auto &g) { return g.second.joined; });
	}

	bool joined_noiommu() const
	{
		return std::any_of(group.begin(), group.end(),
			[](auto &g) { return g.second.joined && g.second.noiommu; });
	}

	bool has_attached(int number) const
	{
		return std::any_of(device.begin(), device.end(), [number](auto &d) {
			return d.second.group == number && d.second.attached;
		});
	}

	/* What every group behind an IOMMU can address. */
	std::vector<vfio_iova_range> ranges() const
	{
		std::vector<vfio_iova_range> all = {{0, UINT64_MAX}};

		for (auto &[number, g] : group) {
			std::vector<vfio_iova_range> both;

			if (!g.joined && !has_attached(number))
				continue;
			for (auto &a : all)
				for (auto &b : g.ranges) {
					uint64_t start = std::max<uint64_t>(a.start, b.start);
					uint64_t end = std::min<uint64_t>(a.end, b.end);

					if (start <= end)
						both.push_back({start, end});
				}
			all = both;
		}
		return all;
	}

	int do_open(const std::string &path, int flags)
	{
		EXPECT_TRUE(flags & O_CLOEXEC) << path;
		if (fails() || path == fail_path)
			return refuse(fail_errno);
		if (!module)
			return refuse(ENOENT);
		if (path == "/dev/vfio/vfio")
			return add_node({Node::CONTAINER, -1, ""});
		if (path == "/dev/iommu")
			return add_node({Node::IOMMUFD, -1, ""});
		for (auto &[name, d] : device)
			if (path == "/dev/vfio/devices/" + d.node)
				return add_node({Node::DEVICE, d.group, name, false});
		for (auto &[number, g] : group) {
			if (path != (g.noiommu ? "/dev/vfio/noiommu-" : "/dev/vfio/") +
					    std::to_string(number))
				continue;
			if (g.opened)
				return refuse(EBUSY);
			g.opened = true;
			return add_node({Node::GROUP, number, ""});
		}
		return refuse(ENOENT);
	}

	int leave(Group &g)
	{
		if (!g.joined)
			return refuse(EINVAL);
		for (auto &[name, d] : device)
			if (&group[d.group] == &g && d.opened)
				return refuse(EBUSY);
		g.joined = false;
		if (!joined()) {
			EXPECT_TRUE(mapping.empty()) << "the last group left with memory mapped";
			iommu = false;
			mapping.clear();
		}
		return 0;
	}

	int do_close(int fd)
	{
		auto found = node.find(fd);

		if (found == node.end()) {
			ADD_FAILURE() << "closed " << fd << ", which is not open";
			return refuse(EBADF);
		}
		switch (found->second.kind) {
		case Node::CONTAINER:
			journal.push_back("close container");
			break;
		case Node::GROUP:
			journal.push_back("close group " + std::to_string(found->second.number));
			(void)leave(group[found->second.number]);
			group[found->second.number].opened = false;
			break;
		case Node::IOMMUFD:
			journal.push_back("close iommufd");
			EXPECT_TRUE(mapping.empty()) << "iommufd was closed with memory mapped";
			space = 0;
			break;
		case Node::DEVICE:
			if (!found->second.bound)
				break;
			journal.push_back("close " + found->second.name);
			device[found->second.name].opened--;
			device[found->second.name].attached = false;
			device[found->second.name].region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[4] &=
				~4;
		}
		node.erase(found);
		return 0;
	}

	int do_ioctl(int fd, unsigned long request, void *arg)
	{
		auto found = node.find(fd);

		if (found == node.end()) {
			ADD_FAILURE() << "ioctl on " << fd << ", which is not open";
			return refuse(EBADF);
		}
		if (fails() || request == fail_request)
			return refuse(fail_errno);
		switch (found->second.kind) {
		case Node::CONTAINER:
			return container_ioctl(request, arg);
		case Node::GROUP:
			return group_ioctl(found->second.number, request, arg);
		case Node::IOMMUFD:
			return iommufd_ioctl(request, arg);
		default:
			if (request == VFIO_DEVICE_BIND_IOMMUFD)
				return bind(found->second, *(vfio_device_bind_iommufd *)arg);
			if (!found->second.bound)
				return refuse(EINVAL);
			return device_ioctl(
				device[found->second.name], found->second.name, request, arg);
		}
	}

	int bind(Node &n, vfio_device_bind_iommufd &bind)
	{
		Device &d = device[n.name];

		EXPECT_EQ(bind.argsz, sizeof(bind));
		if (n.bound || d.opened || bind.flags)
			return refuse(EINVAL);
		if (group[d.group].opened)
			return refuse(EBUSY);
		if (!group[d.group].viable)
			return refuse(EPERM);
		if (!node.count(bind.iommufd) || node[bind.iommufd].kind != Node::IOMMUFD)
			return refuse(EBADF);
		n.bound = true;
		d.opened++;
		return 0;
	}

	int attach(Device &d, const std::string &name, vfio_device_attach_iommufd_pt &attach)
	{
		EXPECT_EQ(attach.argsz, sizeof(attach));
		if (!space || attach.pt_id != space || d.attached)
			return refuse(EINVAL);
		for (auto &entry : mapping)
			if (!reaches(group[d.group].ranges, entry.second))
				return refuse(EADDRINUSE);
		d.attached = true;
		journal.push_back("attach " + name);
		return 0;
	}

	int detach(Device &d, const std::string &name)
	{
		if (!d.attached)
			return refuse(EINVAL);
		d.attached = false;
		journal.push_back("detach " + name);
		return 0;
	}

	int iommufd_ioctl(unsigned long request, void *arg)
	{
		switch (request) {
		case IOMMU_IOAS_ALLOC: {
			auto *alloc = (iommu_ioas_alloc *)arg;

			EXPECT_EQ(alloc->size, sizeof(*alloc));
			EXPECT_EQ(space, 0u) << "one address space is enough";
			alloc->out_ioas_id = space = 7;
			return 0;
		}
		case IOMMU_DESTROY: {
			auto *destroy = (iommu_destroy *)arg;

			if (!space || destroy->id != space)
				return refuse(ENOENT);
			for (auto &[name, d] : device)
				if (d.attached)
					return refuse(EBUSY);
			EXPECT_TRUE(mapping.empty()) << "destroyed with memory mapped";
			space = 0;
			journal.push_back("destroy space");
			return 0;
		}
		case IOMMU_IOAS_IOVA_RANGES:
			return iova_ranges(*(iommu_ioas_iova_ranges *)arg);
		case IOMMU_IOAS_MAP: {
			auto *map = (iommu_ioas_map *)arg;

			EXPECT_EQ(map->size, sizeof(*map));
			return map_space(
				map->ioas_id, map->flags, map->user_va, map->iova, map->length);
		}
		case IOMMU_IOAS_MAP_FILE: {
			auto *map = (iommu_ioas_map_file *)arg;

			EXPECT_EQ(map->size, sizeof(*map));
			if (!maps_files)
				return refuse(ENOTTY);
			EXPECT_EQ(map->start, 0u);
			EXPECT_EQ(lseek(map->fd, 0, SEEK_END), (off_t)map->length);
			mapped_files++;
			return map_space(map->ioas_id, map->flags, 0, map->iova, map->length);
		}
		case IOMMU_IOAS_UNMAP: {
			auto *unmap = (iommu_ioas_unmap *)arg;
			vfio_iommu_type1_dma_unmap as_type1 = {};
			int err;

			as_type1.iova = unmap->iova;
			as_type1.size = unmap->length;
			err = unmap->ioas_id == space ? unmap_dma(as_type1) : refuse(ENOENT);
			unmap->length = as_type1.size;
			return err;
		}
		}
		return refuse(ENOTTY);
	}

	int iova_ranges(iommu_ioas_iova_ranges &answer)
	{
		auto all = ranges();
		auto *to = (iommu_iova_range *)(uintptr_t)answer.allowed_iovas;
		uint32_t room = answer.num_iovas;

		if (answer.ioas_id != space || answer.reserved)
			return refuse(EINVAL);
		answer.num_iovas = announced_ranges ? announced_ranges : (uint32_t)all.size();
		answer.out_iova_alignment = 4096;
		if (room < all.size())
			return refuse(EMSGSIZE);
		for (auto &range : all)
			*to++ = {range.start, range.end};
		return 0;
	}

	/* Noted as type 1 would have it. */
	int map_space(uint32_t id, uint32_t flags, uint64_t address, uint64_t iova, uint64_t length)
	{
		vfio_iommu_type1_dma_map map = {};

		if (id != space || !(flags & IOMMU_IOAS_MAP_FIXED_IOVA))
			return refuse(EINVAL);
		map.flags = (flags & IOMMU_IOAS_MAP_READABLE ? VFIO_DMA_MAP_FLAG_READ : 0) |
			    (flags & IOMMU_IOAS_MAP_WRITEABLE ? VFIO_DMA_MAP_FLAG_WRITE : 0);
		map.vaddr = address;
		map.iova = iova;
		map.size = length;
		return map_dma(map);
	}

	int container_ioctl(unsigned long request, void *arg)
	{
		switch (request) {
		case VFIO_GET_API_VERSION:
			return version;
		case VFIO_CHECK_EXTENSION:
			return (uintptr_t)arg == VFIO_NOIOMMU_IOMMU
				       ? unsafe_mode
				       : type1 && (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
		case VFIO_SET_IOMMU:
			if (!joined() || iommu ||
				(uintptr_t)arg != (joined_noiommu() ? VFIO_NOIOMMU_IOMMU
								    : VFIO_TYPE1v2_IOMMU))
				return refuse(EINVAL);
			iommu = true;
			journal.push_back("set iommu");
			return 0;
		}
		if (!iommu)
			return refuse(EINVAL);
		EXPECT_FALSE(joined_noiommu()) << "there is no IOMMU to ask";
		switch (request) {
		case VFIO_IOMMU_GET_INFO:
			return iommu_info((vfio_iommu_type1_info *)arg);
		case VFIO_IOMMU_MAP_DMA:
			return map_dma(*(vfio_iommu_type1_dma_map *)arg);
		case VFIO_IOMMU_UNMAP_DMA:
			return unmap_dma(*(vfio_iommu_type1_dma_unmap *)arg);
		}
		return refuse(ENOTTY);
	}

	/* Puts capabilities behind a description; each names its successor. */
	static void chain(
		uint8_t *answer, uint32_t at, const std::vector<std::vector<uint8_t>> &all)
	{
		for (size_t i = 0; i < all.size(); i++) {
			uint32_t next = at + (uint32_t)all[i].size();
			auto *header = (vfio_info_cap_header *)(answer + at);

			memcpy(answer + at, all[i].data(), all[i].size());
			header->next = i + 1 < all.size() ? next : 0;
			at = next;
		}
	}

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

	int iommu_info(vfio_iommu_type1_info *info)
	{
		auto all = ranges();
		vfio_iommu_type1_info_cap_migration migration = {};
		vfio_iommu_type1_info_cap_iova_range head = {};
		vfio_iommu_type1_info_dma_avail avail = {};

		info->flags = VFIO_IOMMU_INFO_PGSIZES;
		info->iova_pgsizes = 0x40201000;
		if (says_ranges) {
			head.nr_iovas = (uint32_t)all.size();
			avail.avail = dma_avail;
			info->flags |= VFIO_IOMMU_INFO_CAPS;
			info->cap_offset = sizeof(*info);
			chain((uint8_t *)info, sizeof(*info),
				{capability(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, migration,
					 std::vector<uint8_t>()),
					capability(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, avail,
						std::vector<uint8_t>()),
					capability(
						VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, head, all)});
		}
		if (spoil_iommu_info)
			spoil_iommu_info((uint8_t *)info, info);
		return 0;
	}

	static bool reaches(
		const std::vector<vfio_iova_range> &ranges, const vfio_iommu_type1_dma_map &map)
	{
		return std::any_of(ranges.begin(), ranges.end(), [&](auto &r) {
			return map.iova >= r.start && map.iova + map.size - 1 <= r.end;
		});
	}

	int map_dma(const vfio_iommu_type1_dma_map &map)
	{
		uint64_t pinned = 0;

		for (auto &[iova, m] : mapping) {
			pinned += m.size;
			if (map.iova < iova + m.size && iova < map.iova + map.size)
				return refuse(EEXIST);
		}
		if (!reaches(ranges(), map) || !map.size || map.size % 4096 || map.iova % 4096)
			return refuse(EINVAL);
		if (mapping.size() >= dma_avail)
			return refuse(ENOSPC);
		if (pinned + map.size > pin_limit)
			return refuse(ENOMEM);
		mapping[map.iova] = map;
		journal.push_back("map");
		return 0;
	}

	int unmap_dma(vfio_iommu_type1_dma_unmap &unmap)
	{
		auto found = mapping.find(unmap.iova);

		journal.push_back("unmap");
		if (found == mapping.end() || found->second.size != unmap.size)
			return refuse(EINVAL);
		mapping.erase(found);
		if (unmaps_short)
			unmap.size = 0;
		return 0;
	}

	int group_ioctl(int number, unsigned long request, void *arg)
	{
		Group &g = group[number];

		switch (request) {
		case VFIO_GROUP_GET_STATUS:
			((vfio_group_status *)arg)->flags = g.viable ? VFIO_GROUP_FLAGS_VIABLE : 0;
			return 0;
		case VFIO_GROUP_SET_CONTAINER:
			if (g.joined || node[*(int *)arg].kind != Node::CONTAINER)
				return refuse(EINVAL);
			if (!g.viable)
				return refuse(EPERM);
			for (auto &entry : mapping)
				if (!reaches(g.ranges, entry.second))
					return refuse(EINVAL);
			g.joined = true;
			return 0;
		case VFIO_GROUP_UNSET_CONTAINER:
			journal.push_back("unset group " + std::to_string(number));
			return leave(g);
		case VFIO_GROUP_GET_DEVICE_FD:
			return get_device(number, (const char *)arg);
		}
		return refuse(ENOTTY);
	}

	int get_device(int number, const char *name)
	{
		auto found = device.find(name);

		if (found == device.end() || found->second.group != number)
			return refuse(ENODEV);
		if (!group[number].joined || !iommu)
			return refuse(EINVAL);
		found->second.opened++;
		return add_node({Node::DEVICE, number, name});
	}

	int device_ioctl(Device &d, const std::string &name, unsigned long request, void *arg)
	{
		switch (request) {
		case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
			return attach(d, name, *(vfio_device_attach_iommufd_pt *)arg);
		case VFIO_DEVICE_DETACH_IOMMUFD_PT:
			return detach(d, name);
		case VFIO_DEVICE_GET_INFO: {
			auto *info = (vfio_device_info *)arg;

			info->flags = (d.is_pci ? VFIO_DEVICE_FLAGS_PCI : 0) |
				      (d.can_reset ? VFIO_DEVICE_FLAGS_RESET : 0);
			info->num_regions = d.num_regions;
			info->num_irqs = d.num_irqs;
			return 0;
		}
		case VFIO_DEVICE_GET_REGION_INFO:
			return region_info(d, (vfio_region_info *)arg);
		case VFIO_DEVICE_GET_IRQ_INFO: {
			auto *info = (vfio_irq_info *)arg;

			if (info->index >= VFIO_PCI_NUM_IRQS ||
				(info->index == VFIO_PCI_ERR_IRQ_INDEX && !d.express))
				return refuse(EINVAL);
			info->flags = VFIO_IRQ_INFO_EVENTFD;
			info->count = d.irqs[info->index];
			return 0;
		}
		case VFIO_DEVICE_SET_IRQS:
			return set_irqs(d, (vfio_irq_set *)arg);
		case VFIO_DEVICE_RESET:
			if (!d.can_reset)
				return refuse(EINVAL);
			d.resets++;
			d.region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[4] = 0;
			journal.push_back("reset " + name);
			return 0;
		}
		return refuse(ENOTTY);
	}

	int region_info(const Device &d, vfio_region_info *info)
	{
		vfio_region_info_cap_sparse_mmap head = {};
		std::vector<std::vector<uint8_t>> all;
		struct msix {
			vfio_info_cap_header header;
		};

		if (info->index >= VFIO_PCI_NUM_REGIONS ||
			(info->index == VFIO_PCI_VGA_REGION_INDEX && !d.vga))
			return refuse(EINVAL);
		const Region &r = d.region[info->index];

		info->size = r.size;
		info->flags = r.flags;
		info->offset = (uint64_t)info->index << 40;
		head.nr_areas = r.announced_areas ? r.announced_areas : (uint32_t)r.sparse.size();
		if (r.msix_mappable)
			all.push_back(capability(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, msix{},
				std::vector<uint8_t>()));
		if (!r.sparse.empty() || r.announced_areas)
			all.push_back(capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP, head, r.sparse));
		if (r.longer_by) {
			info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
			info->argsz += r.longer_by;
			info->cap_offset = 0;
		} else if (!all.empty()) {
			info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
			info->cap_offset = sizeof(*info);
			chain((uint8_t *)info, sizeof(*info), all);
		}
		return 0;
	}

	int set_irqs(Device &d, vfio_irq_set *set)
	{
		int32_t fd;

		if (!(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER) ||
			set->index >= VFIO_PCI_NUM_IRQS ||
			set->start + set->count > d.irqs[set->index])
			return refuse(EINVAL);
		if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
			for (unsigned i = 0; i < d.irqs[set->index]; i++)
				d.eventfd.erase({set->index, i});
			return set->count ? refuse(EINVAL) : 0;
		}
		if (set->argsz != sizeof(*set) + set->count * sizeof(fd))
			return refuse(EINVAL);
		for (unsigned i = 0; i < set->count; i++) {
			memcpy(&fd, set->data + i * sizeof(fd), sizeof(fd));
			d.eventfd[{set->index, set->start + i}] = fd;
		}
		return 0;
	}

	ssize_t transfer(int fd, void *in, const void *out, size_t len, off_t offset)
	{
		Device &d = device[node.at(fd).name];
		Region &r = d.region[offset >> 40];
		uint64_t at = (uint64_t)offset & ((1ULL << 40) - 1);
		bool was_master = d.bus_master();

		if (fails())
			return refuse(fail_errno);
		if (d.removed)
			return refuse(ENODEV);
		if (at + len > r.size) {
			ADD_FAILURE() << "access beyond a region";
			return refuse(EINVAL);
		}
		if (transfer_limit >= 0)
			len = std::min(len, (size_t)transfer_limit);
		if (in)
			memcpy(in, r.bytes + at, len);
		else
			memcpy(r.bytes + at, out, len);
		if (was_master != d.bus_master())
			journal.push_back(std::string("bus master ") +
					  (was_master ? "off " : "on ") + node.at(fd).name);
		EXPECT_TRUE(iommu || d.attached || !d.bus_master())
			<< "a bus master without an IOMMU before it";
		return (ssize_t)len;
	}

	void *do_mmap(size_t len, int prot, int flags, int fd, off_t offset)
	{
		Region &r = device[node.at(fd).name].region[offset >> 40];
		off_t at = offset & (off_t)((1ULL << 40) - 1);
		void *address;

		EXPECT_EQ(flags, MAP_SHARED);
		EXPECT_EQ(at % 4096, 0);
		EXPECT_EQ(len % 4096, 0u);
		if (fails()) {
			errno = fail_errno;
			return MAP_FAILED;
		}
		if (!(r.flags & VFIO_REGION_INFO_FLAG_MMAP) ||
			(uint64_t)at + len > std::max<uint64_t>(r.size, 4096)) {
			errno = EINVAL;
			return MAP_FAILED;
		}
		address = mmap(nullptr, len, prot, MAP_SHARED, r.memory, at);
		if (address != MAP_FAILED)
			window[address] = len;
		return address;
	}

	int do_munmap(void *address, size_t len)
	{
		auto found = window.find(address);

		if (found == window.end() || found->second != len) {
			ADD_FAILURE() << "unmapped what was not mapped";
			return refuse(EINVAL);
		}
		window.erase(found);
		return munmap(address, len);
	}
};

#endif
