/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_PCI_MACHINE_H
#define PLX_TESTS_PCI_MACHINE_H

extern "C" {
#include "base/error.h"
#include "pci/pci.h"
}

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <vector>

/*
 * A machine's sysfs, procfs and state directory in a temporary folder, and of its kernel the part
 * that moves PCI functions between drivers when their attributes are written.
 */
class PciMachine
{
      public:
	using Path = std::filesystem::path;

	Path top;
	struct plx_pci_root root = {};

	/* The kernel's side. */
	std::map<std::string, std::string> native; /* which driver knows the function by its IDs */
	std::set<std::string> refuses;             /* drivers whose probe fails */
	std::vector<std::string> stores;           /* every write, as "attribute value" */
	unsigned fail_store = 0;                   /* 1 for the first; 0 for none */
	bool fail_all_later = false;
	int fail_errno = EIO;

	PciMachine()
	{
		char name[] = "/tmp/pollux-pci-XXXXXX";

		if (!mkdtemp(name))
			abort();
		top = name;
		sysfs = top / "sys";
		procfs = top / "proc";
		state = top / "run" / "pollux";
		std::filesystem::create_directories(sysfs / "bus/pci/devices");
		std::filesystem::create_directories(sysfs / "class/net");
		std::filesystem::create_directories(procfs / "net");
		std::filesystem::create_directories(top / "run");
		root.sysfs = sysfs.c_str();
		root.procfs = procfs.c_str();
		root.state = state.c_str();
		root.store = [](const char *path, const char *value) {
			return current->store(path, value);
		};
		current = this;
	}
	~PciMachine()
	{
		current = nullptr;
		std::filesystem::remove_all(top);
	}

	static void write(const Path &path, const std::string &text)
	{
		std::filesystem::create_directories(path.parent_path());
		std::ofstream(path) << text;
	}

	static std::string read(const Path &path)
	{
		std::ifstream file(path);
		std::string line;

		std::getline(file, line);
		return line;
	}

	Path function(const std::string &name) const
	{
		return sysfs / "bus/pci/devices" / name;
	}

	Path note(const std::string &name) const
	{
		return state / "bind" / name;
	}

	void add_driver(const std::string &driver)
	{
		std::filesystem::create_directories(sysfs / "bus/pci/drivers" / driver);
	}

	void remove_driver(const std::string &driver)
	{
		std::filesystem::remove_all(sysfs / "bus/pci/drivers" / driver);
	}

	void add_function(const std::string &name, const std::string &vendor = "0x1af4",
		const std::string &device = "0x1041", int group = -1)
	{
		Path path = function(name);

		write(path / "vendor", vendor + "\n");
		write(path / "device", device + "\n");
		write(path / "subsystem_vendor", "0x1af4\n");
		write(path / "subsystem_device", "0x1100\n");
		write(path / "class", "0x020000\n");
		write(path / "revision", "0x01\n");
		write(path / "numa_node", "-1\n");
		write(path / "driver_override", "(null)\n");
		if (group >= 0)
			join_group(name, group);
	}

	void join_group(const std::string &name, int group)
	{
		Path path = sysfs / "kernel/iommu_groups" / std::to_string(group);

		std::filesystem::create_directories(path / "devices");
		std::filesystem::create_directory_symlink(path, function(name) / "iommu_group");
		std::filesystem::create_directory_symlink(function(name), path / "devices" / name);
	}

	void set_driver(const std::string &name, const std::string &driver)
	{
		std::filesystem::remove(function(name) / "driver");
		if (!driver.empty()) {
			add_driver(driver);
			std::filesystem::create_directory_symlink(
				sysfs / "bus/pci/drivers" / driver, function(name) / "driver");
		}
	}

	/* @below is "virtio3" for the interface of a virtio device. */
	void add_interface(const std::string &name, const std::string &interface,
		const std::string &below = "")
	{
		Path path = function(name) / below / "net" / interface;

		std::filesystem::create_directories(path);
		std::filesystem::create_directory_symlink(path, sysfs / "class/net" / interface);
	}

	std::string driver(const std::string &name) const
	{
		Path link = function(name) / "driver";

		if (!std::filesystem::is_symlink(link))
			return "";
		return std::filesystem::read_symlink(link).filename();
	}

	std::string driver_override(const std::string &name) const
	{
		std::string text = read(function(name) / "driver_override");

		return text == "(null)" ? "" : text;
	}

	/* A process that has a file open. */
	void add_process(int pid, const std::string &command, const std::string &file)
	{
		Path path = procfs / std::to_string(pid);

		write(path / "comm", command + "\n");
		std::filesystem::create_directories(path / "fd");
		std::filesystem::create_symlink("/dev/null", path / "fd" / "0");
		std::filesystem::create_symlink(file, path / "fd" / "7");
	}

      private:
	static inline PciMachine *current;

	Path sysfs, procfs, state;

	int give(const std::string &name, const std::string &driver)
	{
		std::string only = driver_override(name);

		if (!std::filesystem::exists(function(name)) || !this->driver(name).empty())
			return -ENODEV;
		if (only.empty() ? native[name] != driver : only != driver)
			return -ENODEV;
		if (!std::filesystem::exists(sysfs / "bus/pci/drivers" / driver) ||
			refuses.count(driver))
			return -ENODEV;
		set_driver(name, driver);
		return 0;
	}

	int store(const Path &path, std::string value)
	{
		std::string attribute = path.filename(), owner = path.parent_path().filename(),
			    only;
		bool fails = false;

		stores.push_back(attribute + " " + (value == "\n" ? "" : value));
		if (fail_store)
			fails = fail_all_later ? stores.size() >= fail_store
					       : stores.size() == fail_store;
		if (fails)
			return -fail_errno;
		if (!std::filesystem::exists(path.parent_path()))
			return -ENOENT;
		if (attribute == "driver_override") {
			write(path, value == "\n" ? "(null)\n" : value + "\n");
			return 0;
		}
		if (attribute == "unbind") {
			if (driver(value) != owner)
				return -ENODEV;
			set_driver(value, "");
			return 0;
		}
		if (attribute == "bind")
			return give(value, owner);
		if (attribute == "drivers_probe") {
			only = driver_override(value);
			(void)give(value, only.empty() ? native[value] : only);
			return 0;
		}
		ADD_FAILURE() << "an unexpected write to " << path;
		return -EINVAL;
	}
};

inline const char NIC[] = "0000:00:03.0";

inline plx_pci_address address_of(const char *text)
{
	plx_pci_address address = {};

	EXPECT_EQ(plx_pci_address_parse(text, &address), 0) << text;
	return address;
}

inline bool error_says(const std::string &words)
{
	return std::string(plx_error()).find(words) != std::string::npos;
}

class Pci : public testing::Test
{
      protected:
	PciMachine machine;
	std::vector<std::string> seen;

	int scan()
	{
		return plx_pci_scan_in(
			&machine.root,
			[](void *arg, const plx_pci_function *function) {
				auto *names = (std::vector<std::string> *)arg;
				char text[PLX_PCI_ADDRESS_LEN];

				names->push_back(plx_pci_address_format(&function->address, text));
				return names->back() == "0000:00:1f.6" ? 42 : 0;
			},
			&seen);
	}

	plx_pci_function lookup(const char *name = NIC)
	{
		plx_pci_address address = address_of(name);
		plx_pci_function function = {};

		EXPECT_EQ(plx_pci_lookup_in(&machine.root, &address, &function), 0) << plx_error();
		return function;
	}

	int bind(const char *driver = "vfio-pci", unsigned flags = 0, const char *name = NIC)
	{
		plx_pci_address address = address_of(name);

		(void)plx_fail(0, "%s", "");
		return plx_pci_bind_in(&machine.root, &address, driver, flags);
	}

	int unbind(const char *name = NIC)
	{
		plx_pci_address address = address_of(name);

		(void)plx_fail(0, "%s", "");
		return plx_pci_unbind_in(&machine.root, &address);
	}

	bool noiommu = false; /* as ready() told */

	int ready(const char *name = NIC)
	{
		plx_pci_function function = lookup(name);

		(void)plx_fail(0, "%s", "");
		return plx_pci_ready_for_vfio(&machine.root, &function, &noiommu);
	}
};

#endif
