/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_kernel.h"

/* Who may open what, and what a device says of itself; see vfio_kernel_iommu.cc for the rest. */

VfioKernel::Device &VfioKernel::add_device(const std::string &name, int number)
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

void VfioKernel::set_region(Device &d, unsigned index, uint64_t size, uint32_t flags)
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
	r.bytes = (uint8_t *)mmap(nullptr, len, PROT_READ | PROT_WRITE, MAP_SHARED, r.memory, 0);
}

const plx_vfio_sys *VfioKernel::sys()
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

int VfioKernel::do_open(const std::string &path, int flags)
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
		if (path !=
			(g.noiommu ? "/dev/vfio/noiommu-" : "/dev/vfio/") + std::to_string(number))
			continue;
		if (g.opened)
			return refuse(EBUSY);
		g.opened = true;
		return add_node({Node::GROUP, number, ""});
	}
	return refuse(ENOENT);
}

int VfioKernel::do_close(int fd)
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
		device[found->second.name].region[VFIO_PCI_CONFIG_REGION_INDEX].bytes[4] &= ~4;
	}
	node.erase(found);
	return 0;
}

int VfioKernel::do_ioctl(int fd, unsigned long request, void *arg)
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
		return device_ioctl(device[found->second.name], found->second.name, request, arg);
	}
}

int VfioKernel::bind(Node &n, vfio_device_bind_iommufd &bind)
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

int VfioKernel::device_ioctl(Device &d, const std::string &name, unsigned long request, void *arg)
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

int VfioKernel::region_info(const Device &d, vfio_region_info *info)
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
		all.push_back(capability(
			VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, msix{}, std::vector<uint8_t>()));
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

int VfioKernel::set_irqs(Device &d, vfio_irq_set *set)
{
	int32_t fd;

	if (!(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER) || set->index >= VFIO_PCI_NUM_IRQS ||
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

void VfioKernel::chain(uint8_t *answer, uint32_t at, const std::vector<std::vector<uint8_t>> &all)
{
	for (size_t i = 0; i < all.size(); i++) {
		uint32_t next = at + (uint32_t)all[i].size();
		auto *header = (vfio_info_cap_header *)(answer + at);

		memcpy(answer + at, all[i].data(), all[i].size());
		header->next = i + 1 < all.size() ? next : 0;
		at = next;
	}
}

ssize_t VfioKernel::transfer(int fd, void *in, const void *out, size_t len, off_t offset)
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
		journal.push_back(std::string("bus master ") + (was_master ? "off " : "on ") +
				  node.at(fd).name);
	EXPECT_TRUE(iommu || d.attached || !d.bus_master())
		<< "a bus master without an IOMMU before it";
	return (ssize_t)len;
}

void *VfioKernel::do_mmap(size_t len, int prot, int flags, int fd, off_t offset)
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

int VfioKernel::do_munmap(void *address, size_t len)
{
	auto found = window.find(address);

	if (found == window.end() || found->second != len) {
		ADD_FAILURE() << "unmapped what was not mapped";
		return refuse(EINVAL);
	}
	window.erase(found);
	return munmap(address, len);
}
