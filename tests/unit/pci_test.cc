/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_machine.h"

#include <cstring>

/* Addresses, what sysfs says, and configuration space. Binding is in pci_bind_test.cc. */

namespace
{

TEST(PciAddress, EachWayOfWritingItIsRead)
{
	struct {
		const char *text;
		plx_pci_address address;
		const char *formatted;
	} const all[] = {
		{"0000:00:03.0", {0, 0, 3, 0}, "0000:00:03.0"},
		{"00:03.0", {0, 0, 3, 0}, "0000:00:03.0"},
		{"pci:0000:00:03.0", {0, 0, 3, 0}, "0000:00:03.0"},
		{"pci:ff:1f.7", {0, 255, 31, 7}, "0000:ff:1f.7"},
		{"ABCD:eF:1f.7", {0xabcd, 0xef, 31, 7}, "abcd:ef:1f.7"},
		{"10000:e1:00.0", {0x10000, 0xe1, 0, 0}, "10000:e1:00.0"},
		{"ffffffff:00:00.1", {0xffffffff, 0, 0, 1}, "ffffffff:00:00.1"},
		{"0:3.0", {0, 0, 3, 0}, "0000:00:03.0"},
	};
	char text[PLX_PCI_ADDRESS_LEN];

	for (auto &each : all) {
		plx_pci_address address = address_of(each.text);

		EXPECT_EQ(address.domain, each.address.domain) << each.text;
		EXPECT_EQ(address.bus, each.address.bus) << each.text;
		EXPECT_EQ(address.device, each.address.device) << each.text;
		EXPECT_EQ(address.function, each.address.function) << each.text;
		EXPECT_STREQ(plx_pci_address_format(&address, text), each.formatted);
	}
}

TEST(PciAddress, WhatIsNoAddressIsRefused)
{
	const char *const all[] = {"", "eth0", "pci:", ":", "::.", "00:03", "00:03.", "00:03.8",
		"00:03.00", "00:20.0", "100:00.0", "000:03.0", "0000:000:03.0", "100000000:00:03.0",
		"0000:00:03.0 ", " 0000:00:03.0", "0000:00:03.0\n", "0000:00:03.0,queues=2",
		"0000:00:3g.0", "0x00:03.0", "-1:03.0", "+0:03.0", ":00:03.0", "0000:00:03:0",
		"0000.00.03.0", "0:0000:00:03.0", "pci:pci:00:03.0", "vfio-user:/run/sock"};
	plx_pci_address address = {9, 9, 9, 7};

	for (const char *text : all) {
		EXPECT_EQ(plx_pci_address_parse(text, &address), -EINVAL) << text;
		EXPECT_TRUE(error_says("0000:00:03.0"));
		EXPECT_EQ(address.domain, 9u) << text;
	}
	EXPECT_EQ(plx_pci_address_parse(nullptr, &address), -EINVAL);
}

TEST(PciVirtio, DeviceIdTellsModernAndTransitionalDevices)
{
	plx_pci_function function = {};

	function.vendor = 0x1af4;
	function.subsystem_device = 2;
	for (auto [device, id] : {std::pair{0x1041, 1u}, {0x1042, 2u}, {0x107f, 63u}, {0x1000, 2u},
		     {0x103f, 2u}, {0x0fff, 0u}, {0x1080, 0u}, {0x1110, 0u}}) {
		function.device = (uint16_t)device;
		EXPECT_EQ(plx_pci_virtio_id(&function), id) << std::hex << device;
		EXPECT_EQ(plx_pci_is_virtio(&function), id != 0) << std::hex << device;
	}
	function.vendor = 0x8086;
	function.device = 0x1041;
	EXPECT_FALSE(plx_pci_is_virtio(&function));
	EXPECT_EQ(plx_pci_virtio_id(&function), 0u);
}

TEST_F(Pci, ScanIsInTheOrderOfAddresses)
{
	for (const char *name : {"10000:00:00.0", "ffff:00:00.0", "0000:00:1f.0", "0000:0a:00.0",
		     "0000:00:02.0", "0000:00:02.1"})
		machine.add_function(name);
	EXPECT_EQ(scan(), 0);
	EXPECT_EQ(seen, (std::vector<std::string>{"0000:00:02.0", "0000:00:02.1", "0000:00:1f.0",
				"0000:0a:00.0", "ffff:00:00.0", "10000:00:00.0"}));
}

TEST_F(Pci, ScanSkipsFunctionsThatVanish)
{
	machine.add_function("0000:00:01.0");
	machine.add_function("0000:00:03.0");
	/* Listed, but gone when it is looked at; and one whose files go one by one. */
	std::filesystem::create_symlink("/nowhere", machine.function("0000:00:02.0"));
	std::filesystem::create_directory(machine.function("0000:00:04.0"));
	PciMachine::write(machine.function("0000:00:04.0") / "vendor", "0x1af4\n");
	std::filesystem::create_directory(machine.function("not-an-address"));
	EXPECT_EQ(scan(), 0);
	EXPECT_EQ(seen, (std::vector<std::string>{"0000:00:01.0", "0000:00:03.0"}));
}

TEST_F(Pci, MachineWithoutPciHasNoFunctions)
{
	std::filesystem::remove_all(machine.top / "sys");
	EXPECT_EQ(scan(), 0);
	EXPECT_TRUE(seen.empty());
}

TEST_F(Pci, ScanEndsWithWhatTheVisitorReturns)
{
	for (const char *name : {"0000:00:02.0", "0000:00:1f.6", "0000:01:00.0"})
		machine.add_function(name);
	EXPECT_EQ(scan(), 42);
	EXPECT_EQ(seen.size(), 2u);
}

TEST_F(Pci, LookupReadsWhatTheKernelSays)
{
	machine.add_function(NIC, "0x1af4", "0x1000", 12);
	machine.set_driver(NIC, "virtio-pci");
	machine.add_interface(NIC, "eth7", "virtio3");
	machine.add_interface(NIC, "eth1");
	PciMachine::write(machine.function(NIC) / "numa_node", "1\n");
	plx_pci_function function = lookup();

	EXPECT_EQ(function.address.device, 3);
	EXPECT_EQ(function.vendor, 0x1af4);
	EXPECT_EQ(function.device, 0x1000);
	EXPECT_EQ(function.subsystem_vendor, 0x1af4);
	EXPECT_EQ(function.subsystem_device, 0x1100);
	EXPECT_EQ(function.class_code, 0x020000u);
	EXPECT_EQ(function.revision, 1);
	EXPECT_EQ(function.numa_node, 1);
	EXPECT_EQ(function.iommu_group, 12);
	EXPECT_STREQ(function.driver, "virtio-pci");
	EXPECT_STREQ(function.interfaces, "eth1 eth7");
}

TEST_F(Pci, WhatAFunctionDoesNotHaveIsEmpty)
{
	machine.add_function(NIC);
	for (const char *file : {"revision", "numa_node", "subsystem_vendor", "driver_override"})
		std::filesystem::remove(machine.function(NIC) / file);
	plx_pci_function function = lookup();

	EXPECT_EQ(function.numa_node, -1);
	EXPECT_EQ(function.iommu_group, -1);
	EXPECT_EQ(function.revision, 0);
	EXPECT_STREQ(function.driver, "");
	EXPECT_STREQ(function.interfaces, "");
}

TEST_F(Pci, OnlyADriverThatMayDoDmaHoldsItsGroup)
{
	machine.add_function(NIC);
	EXPECT_FALSE(lookup().holds_group);
	for (const char *driver : {"vfio-pci", "pci-stub", "pcieport"}) {
		machine.set_driver(NIC, driver);
		EXPECT_FALSE(lookup().holds_group) << driver;
	}
	machine.set_driver(NIC, "mlx5_vfio_pci");
	EXPECT_TRUE(lookup().holds_group);
	std::filesystem::create_directories(machine.function(NIC) / "vfio-dev/vfio0");
	EXPECT_FALSE(lookup().holds_group) << "a variant of vfio-pci";
}

TEST_F(Pci, InterfaceNamesThatDoNotFitAreLeftOutWhole)
{
	machine.add_function(NIC);
	for (char c = 'a'; c < 'h'; c++)
		machine.add_interface(NIC, std::string("interface-") + c);
	EXPECT_STREQ(
		lookup().interfaces, "interface-a interface-b interface-c interface-d interface-e");
}

TEST_F(Pci, UnknownAddressIsNoDevice)
{
	plx_pci_address address = address_of(NIC);
	plx_pci_function function;

	EXPECT_EQ(plx_pci_lookup_in(&machine.root, &address, &function), -ENODEV);
	EXPECT_TRUE(error_says(NIC)) << plx_error();
}

TEST_F(Pci, AttributeThatIsNoNumberIsAnError)
{
	plx_pci_address address = address_of(NIC);
	plx_pci_function function;

	machine.add_function(NIC, "virtio");
	EXPECT_EQ(plx_pci_lookup_in(&machine.root, &address, &function), -EPROTO);
	EXPECT_TRUE(error_says(NIC)) << plx_error();
}

/* A device that is nothing but 256 bytes of configuration space. */
struct ConfigDevice {
	plx_vfio_device device = {};
	uint8_t config[256] = {};
	bool gone = false;
	std::vector<std::pair<uint64_t, size_t>> reads;

	static ConfigDevice *of(plx_vfio_device *device)
	{
		return (ConfigDevice *)device;
	}

	static int read(
		plx_vfio_device *device, unsigned region, uint64_t offset, void *value, size_t len)
	{
		EXPECT_EQ(region, (unsigned)VFIO_PCI_CONFIG_REGION_INDEX);
		EXPECT_LE(offset + len, sizeof(config));
		of(device)->reads.push_back({offset, len});
		if (of(device)->gone)
			return -ENODEV;
		memcpy(value, of(device)->config + offset, len);
		return 0;
	}

	ConfigDevice()
	{
		static plx_vfio_ops ops;

		ops.read = read;
		device.ops = &ops;
		strcpy(device.name, NIC);
	}

	/* A list of capabilities at these places, in this order. */
	void list(const std::vector<uint8_t> &places, uint8_t id = 9)
	{
		config[6] |= 0x10;
		config[0x34] = places.empty() ? 0 : places[0];
		for (size_t i = 0; i < places.size(); i++) {
			config[places[i] & 0xfc] = id;
			config[(places[i] & 0xfc) + 1] = i + 1 < places.size() ? places[i + 1] : 0;
		}
	}

	/* Return: how the walk ended; the places it saw. */
	int walk(std::vector<uint8_t> *places)
	{
		plx_pci_capability_walk walk = {};
		uint8_t id, offset;
		int more;

		(void)plx_fail(0, "%s", "");
		while ((more = plx_pci_capability_next(&device, &walk, &id, &offset)) == 1) {
			EXPECT_EQ(id, config[offset]);
			places->push_back(offset);
			if (places->size() > 100)
				return 1;
		}
		return more;
	}
};

TEST(PciConfig, RegistersAreReadInOneAccessAndLittleEndian)
{
	ConfigDevice d;

	memcpy(d.config + 0x10, "\x78\x56\x34\x12", 4);
	EXPECT_EQ(plx_pci_config_read8(&d.device, 0x10), 0x78);
	EXPECT_EQ(plx_pci_config_read16(&d.device, 0x10), 0x5678);
	EXPECT_EQ(plx_pci_config_read32(&d.device, 0x10), 0x12345678u);
	EXPECT_EQ(d.reads.size(), 3u);
}

TEST(PciConfig, GoneDeviceReadsAsAllOnes)
{
	ConfigDevice d;

	d.gone = true;
	EXPECT_EQ(plx_pci_config_read8(&d.device, 0), 0xff);
	EXPECT_EQ(plx_pci_config_read16(&d.device, 0), 0xffff);
	EXPECT_EQ(plx_pci_config_read32(&d.device, 0), 0xffffffff);
}

TEST(PciConfig, CapabilitiesAreWalkedInTheirOrder)
{
	std::vector<uint8_t> places;
	ConfigDevice d;

	d.list({0x98, 0x40, 0xfc, 0x84});
	EXPECT_EQ(d.walk(&places), 0);
	EXPECT_EQ(places, (std::vector<uint8_t>{0x98, 0x40, 0xfc, 0x84}));
}

TEST(PciConfig, ReservedBitsOfAPointerAreMasked)
{
	std::vector<uint8_t> places;
	ConfigDevice d;

	d.list({0x41, 0x83, 0xfe});
	EXPECT_EQ(d.walk(&places), 0);
	EXPECT_EQ(places, (std::vector<uint8_t>{0x40, 0x80, 0xfc}));
}

TEST(PciConfig, DeviceWithoutAListHasNoCapabilities)
{
	std::vector<uint8_t> places;
	ConfigDevice d;

	d.list({0x40});
	d.config[6] = 0;
	EXPECT_EQ(d.walk(&places), 0);
	d.config[6] = 0x10;
	d.config[0x34] = 3;
	EXPECT_EQ(d.walk(&places), 0);
	EXPECT_TRUE(places.empty());
}

TEST(PciConfig, FinishedWalkStaysFinished)
{
	plx_pci_capability_walk walk = {};
	uint8_t id, offset;
	ConfigDevice d;

	d.list({0x40});
	EXPECT_EQ(plx_pci_capability_next(&d.device, &walk, &id, &offset), 1);
	EXPECT_EQ(plx_pci_capability_next(&d.device, &walk, &id, &offset), 0);
	EXPECT_EQ(plx_pci_capability_next(&d.device, &walk, &id, &offset), 0);
}

TEST(PciConfig, ListOfAsManyAsFitIsWalkedWhole)
{
	std::vector<uint8_t> all, places;
	ConfigDevice d;

	for (unsigned place = 0x40; place < 0x100; place += 4)
		all.push_back((uint8_t)place);
	d.list(all);
	EXPECT_EQ(d.walk(&places), 0) << plx_error();
	EXPECT_EQ(places.size(), 48u);
}

TEST(PciConfig, LoopingListEndsInAnError)
{
	std::vector<uint8_t> places;
	ConfigDevice d;

	d.list({0x40, 0x50});
	d.config[0x51] = 0x40;
	EXPECT_EQ(d.walk(&places), -EPROTO);
	EXPECT_TRUE(error_says("loops")) << plx_error();
	EXPECT_LE(places.size(), 48u);
}

TEST(PciConfig, ListThatLeadsIntoTheHeaderIsAnError)
{
	std::vector<uint8_t> places;
	ConfigDevice d;

	d.list({0x40});
	d.config[0x41] = 0x3c;
	EXPECT_EQ(d.walk(&places), -EPROTO);
	EXPECT_EQ(places.size(), 1u);
	EXPECT_TRUE(error_says("0x3c")) << plx_error();
}

TEST(PciConfig, WalkOfAGoneDeviceSaysSo)
{
	plx_pci_capability_walk walk = {};
	std::vector<uint8_t> places;
	uint8_t id, offset;
	ConfigDevice d;

	d.list({0x40, 0x50});
	ASSERT_EQ(plx_pci_capability_next(&d.device, &walk, &id, &offset), 1);
	memset(d.config, 0xff, sizeof(d.config));
	EXPECT_EQ(plx_pci_capability_next(&d.device, &walk, &id, &offset), -ENODEV);
	EXPECT_EQ(d.walk(&places), -ENODEV);
	EXPECT_TRUE(error_says("all ones")) << plx_error();
}

/* This machine itself: whatever it has, the walk and the look-up agree. */
TEST(PciHere, ScanAndLookupAgree)
{
	unsigned count = 0;

	EXPECT_EQ(plx_pci_scan(
			  [](void *arg, const plx_pci_function *function) {
				  plx_pci_function again;

				  ++*(unsigned *)arg;
				  EXPECT_EQ(plx_pci_lookup(&function->address, &again), 0);
				  EXPECT_EQ(function->vendor, again.vendor);
				  EXPECT_STREQ(function->driver, again.driver);
				  return 0;
			  },
			  &count),
		0);
	RecordProperty("functions", (int)count);
}

} // namespace
