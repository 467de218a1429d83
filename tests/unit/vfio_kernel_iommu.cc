/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_kernel.h"

/* What devices can address: groups in containers, devices in address spaces of iommufd. */

int VfioKernel::joined() const
{
	return (int)std::count_if(
		group.begin(), group.end(), [](auto &g) { return g.second.joined; });
}

bool VfioKernel::joined_noiommu() const
{
	return std::any_of(group.begin(), group.end(),
		[](auto &g) { return g.second.joined && g.second.noiommu; });
}

bool VfioKernel::has_attached(int number) const
{
	return std::any_of(device.begin(), device.end(),
		[number](auto &d) { return d.second.group == number && d.second.attached; });
}

/* What every group behind an IOMMU can address. */
std::vector<vfio_iova_range> VfioKernel::ranges() const
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

int VfioKernel::leave(Group &g)
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

int VfioKernel::attach(Device &d, const std::string &name, vfio_device_attach_iommufd_pt &attach)
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

int VfioKernel::detach(Device &d, const std::string &name)
{
	if (!d.attached)
		return refuse(EINVAL);
	d.attached = false;
	journal.push_back("detach " + name);
	return 0;
}

int VfioKernel::iommufd_ioctl(unsigned long request, void *arg)
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
		return map_space(map->ioas_id, map->flags, map->user_va, map->iova, map->length);
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

int VfioKernel::iova_ranges(iommu_ioas_iova_ranges &answer)
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
int VfioKernel::map_space(
	uint32_t id, uint32_t flags, uint64_t address, uint64_t iova, uint64_t length)
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

int VfioKernel::container_ioctl(unsigned long request, void *arg)
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
			(uintptr_t)arg !=
				(joined_noiommu() ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU))
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

int VfioKernel::iommu_info(vfio_iommu_type1_info *info)
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
				capability(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, head, all)});
	}
	if (spoil_iommu_info)
		spoil_iommu_info((uint8_t *)info, info);
	return 0;
}

bool VfioKernel::reaches(
	const std::vector<vfio_iova_range> &ranges, const vfio_iommu_type1_dma_map &map)
{
	return std::any_of(ranges.begin(), ranges.end(),
		[&](auto &r) { return map.iova >= r.start && map.iova + map.size - 1 <= r.end; });
}

int VfioKernel::map_dma(const vfio_iommu_type1_dma_map &map)
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

int VfioKernel::unmap_dma(vfio_iommu_type1_dma_unmap &unmap)
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

int VfioKernel::group_ioctl(int number, unsigned long request, void *arg)
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

int VfioKernel::get_device(int number, const char *name)
{
	auto found = device.find(name);

	if (found == device.end() || found->second.group != number)
		return refuse(ENODEV);
	if (!group[number].joined || !iommu)
		return refuse(EINVAL);
	found->second.opened++;
	return add_node({Node::DEVICE, number, name});
}
