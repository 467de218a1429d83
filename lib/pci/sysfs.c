/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci/pci_priv.h"

#include "base/error.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct plx_pci_root plx_pci_root = {
	.sysfs = "/sys",
	.procfs = "/proc",
	.state = "/run/pollux",
};

int plx_pci_path(char path[PATH_MAX], const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(path, PATH_MAX, format, args);
	va_end(args);
	if (len < 0 || len >= PATH_MAX)
		return plx_fail(ENAMETOOLONG, "a path is longer than %d bytes: %s", PATH_MAX, path);
	return 0;
}

int plx_pci_function_path(
	char path[PATH_MAX], const struct plx_pci_root *root, const struct plx_pci_address *address)
{
	char name[PLX_PCI_ADDRESS_LEN];

	return plx_pci_path(
		path, "%s/bus/pci/devices/%s", root->sysfs, plx_pci_address_format(address, name));
}

int plx_pci_read_text(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	int err;

	if (fd < 0)
		return -errno;
	got = read(fd, text, len - 1);
	err = errno;
	(void)close(fd);
	if (got < 0)
		return -err;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int plx_pci_read_link(const char *path, char *name, size_t len)
{
	char target[PATH_MAX];
	ssize_t got = readlink(path, target, sizeof(target) - 1);
	const char *last;
	size_t kept;

	if (got < 0)
		return -errno;
	target[got] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	kept = strnlen(last, len - 1);
	memcpy(name, last, kept);
	name[kept] = '\0';
	return 0;
}

void plx_pci_read_driver(const char *path, char driver[PLX_PCI_NAME_LEN])
{
	char link[PATH_MAX];

	if (plx_pci_path(link, "%s/driver", path) ||
		plx_pci_read_link(link, driver, PLX_PCI_NAME_LEN))
		driver[0] = '\0';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int plx_pci_each_entry(const char *path, plx_pci_name_fn *visit, void *arg)
{
	struct dirent **entry;
	int i, count, result = 0;

	count = scandir(path, &entry, NULL, by_name);
	if (count < 0)
		return -errno;
	for (i = 0; i < count; i++) {
		const char *name = entry[i]->d_name;

		if (!result && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			result = visit(arg, name);
		free(entry[i]);
	}
	free(entry);
	return result;
}

struct interface_walk {
	const char *path; /* of the function */
	plx_pci_name_fn *visit;
	void *arg;
};

/* A directory that does not exist has no entries. */
static int each_if_any(const char *path, plx_pci_name_fn *visit, void *arg)
{
	int err = plx_pci_each_entry(path, visit, arg);

	return err == -ENOENT ? 0 : err;
}

static int visit_virtio(void *arg, const char *name)
{
	const struct interface_walk *walk = arg;
	char path[PATH_MAX];
	int err;

	if (strncmp(name, "virtio", 6) != 0)
		return 0;
	err = plx_pci_path(path, "%s/%s/net", walk->path, name);
	return err ? err : each_if_any(path, walk->visit, walk->arg);
}

int plx_pci_each_interface(const struct plx_pci_root *root, const struct plx_pci_address *address,
	plx_pci_name_fn *visit, void *arg)
{
	char function[PATH_MAX], path[PATH_MAX];
	struct interface_walk walk = {.path = function, .visit = visit, .arg = arg};
	int err;

	err = plx_pci_function_path(function, root, address);
	if (err)
		return err;
	err = plx_pci_path(path, "%s/net", function);
	if (err)
		return err;
	err = each_if_any(path, visit, arg);
	if (err)
		return err;
	return each_if_any(function, visit_virtio, &walk);
}

/* Only names that fit whole are kept. */
static int add_interface(void *arg, const char *name)
{
	char *list = arg;
	size_t used = strlen(list), room = PLX_PCI_NAME_LEN - used;

	if ((size_t)snprintf(list + used, room, "%s%s", used ? " " : "", name) >= room)
		list[used] = '\0';
	return 0;
}

/* A number in an attribute. Return: 0; -errno; -EPROTO when it is none. */
static int read_number(const char *function, const char *attribute, long *value)
{
	char path[PATH_MAX], text[32], *end;
	int err = plx_pci_path(path, "%s/%s", function, attribute);

	if (err)
		return err;
	err = plx_pci_read_text(path, text, sizeof(text));
	if (err)
		return err;
	*value = strtol(text, &end, 0);
	return end == text || *end ? -EPROTO : 0;
}

static long read_number_or(const char *function, const char *attribute, long otherwise)
{
	long value;

	return read_number(function, attribute, &value) ? otherwise : value;
}

static int read_iommu_group(const char *function)
{
	char path[PATH_MAX], name[PLX_PCI_NAME_LEN], *end;
	long group;

	if (plx_pci_path(path, "%s/iommu_group", function) ||
		plx_pci_read_link(path, name, sizeof(name)))
		return -1;
	group = strtol(name, &end, 10);
	return end == name || *end || group < 0 || group > INT_MAX ? -1 : (int)group;
}

static int not_readable(const struct plx_pci_address *address, const char *path, int err)
{
	char name[PLX_PCI_ADDRESS_LEN];

	(void)plx_pci_address_format(address, name);
	/* ENODEV: it went away between opening and reading. */
	if (err == ENOENT || err == ENODEV)
		return plx_fail(ENODEV,
			"%s: there is no such PCI function; `pollux status` lists them", name);
	return plx_fail(
		err, "%s: cannot read what the kernel says in %s: %s", name, path, strerror(err));
}

int plx_pci_lookup_in(const struct plx_pci_root *root, const struct plx_pci_address *address,
	struct plx_pci_function *function)
{
	long vendor, device, class_code;
	char path[PATH_MAX];
	int err;

	err = plx_pci_function_path(path, root, address);
	if (err)
		return err;
	err = read_number(path, "vendor", &vendor);
	if (!err)
		err = read_number(path, "device", &device);
	if (!err)
		err = read_number(path, "class", &class_code);
	if (err)
		return not_readable(address, path, -err);

	*function = (struct plx_pci_function){
		.address = *address,
		.vendor = (uint16_t)vendor,
		.device = (uint16_t)device,
		.subsystem_vendor = (uint16_t)read_number_or(path, "subsystem_vendor", 0),
		.subsystem_device = (uint16_t)read_number_or(path, "subsystem_device", 0),
		.class_code = (uint32_t)class_code,
		.revision = (uint8_t)read_number_or(path, "revision", 0),
		.numa_node = (int)read_number_or(path, "numa_node", -1),
		.iommu_group = read_iommu_group(path),
	};
	plx_pci_read_driver(path, function->driver);
	function->holds_group = plx_pci_holds_group(path, function->driver);
	/* Interfaces that vanish meanwhile are gone: nothing more to say of them. */
	(void)plx_pci_each_interface(root, address, add_interface, function->interfaces);
	return 0;
}

struct scan {
	struct plx_pci_address *address;
	size_t count, room;
};

static int collect(void *arg, const char *name)
{
	struct scan *scan = arg;
	struct plx_pci_address address;

	if (plx_pci_address_parse(name, &address))
		return 0;
	if (scan->count == scan->room) {
		size_t room = scan->room ? 2 * scan->room : 64;
		void *grown = reallocarray(scan->address, room, sizeof(*scan->address));

		if (!grown)
			return plx_fail(ENOMEM, "no memory to list the PCI functions");
		scan->address = grown;
		scan->room = room;
	}
	scan->address[scan->count++] = address;
	return 0;
}

static uint64_t address_key(const struct plx_pci_address *address)
{
	return (uint64_t)address->domain << 16 | address->bus << 8 | address->device << 3 |
	       address->function;
}

static int by_address(const void *a, const void *b)
{
	uint64_t left = address_key(a), right = address_key(b);

	return (left > right) - (left < right);
}

int plx_pci_scan_in(const struct plx_pci_root *root, plx_pci_visit_fn *visit, void *arg)
{
	struct plx_pci_function function;
	struct scan scan = {0};
	char path[PATH_MAX];
	size_t i;
	int err;

	err = plx_pci_path(path, "%s/bus/pci/devices", root->sysfs);
	if (err)
		return err;
	err = plx_pci_each_entry(path, collect, &scan);
	if (err == -ENOENT)
		err = 0;
	else if (err && err != -ENOMEM)
		err = plx_fail(
			-err, "cannot list the PCI functions in %s: %s", path, strerror(-err));
	if (scan.count)
		qsort(scan.address, scan.count, sizeof(*scan.address), by_address);
	for (i = 0; i < scan.count && !err; i++) {
		err = plx_pci_lookup_in(root, &scan.address[i], &function);
		if (!err)
			err = visit(arg, &function);
		else if (err == -ENODEV)
			err = 0; /* Removed since it was listed. */
	}
	free(scan.address);
	return err;
}

int plx_pci_scan(plx_pci_visit_fn *visit, void *arg)
{
	return plx_pci_scan_in(&plx_pci_root, visit, arg);
}

int plx_pci_lookup(const struct plx_pci_address *address, struct plx_pci_function *function)
{
	return plx_pci_lookup_in(&plx_pci_root, address, function);
}
