/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_machine.h"

#include <ifaddrs.h>
#include <net/if.h>

/* Moving functions between drivers, and what stands in the way. */

namespace
{

/* A function that virtio-pci has, in a machine that has vfio-pci too. */
class PciBind : public Pci
{
      protected:
	void SetUp() override
	{
		machine.add_driver("vfio-pci");
		machine.add_function(NIC, "0x1af4", "0x1041", 12);
		machine.set_driver(NIC, "virtio-pci");
		machine.native[NIC] = "virtio-pci";
	}

	void expect_untouched()
	{
		EXPECT_EQ(machine.driver(NIC), "virtio-pci");
		EXPECT_EQ(machine.driver_override(NIC), "");
		EXPECT_FALSE(std::filesystem::exists(machine.note(NIC)));
	}
};

TEST_F(PciBind, FunctionGoesThereAndBack)
{
	ASSERT_EQ(bind(), 0) << plx_error();
	EXPECT_EQ(machine.driver(NIC), "vfio-pci");
	EXPECT_EQ(machine.driver_override(NIC), "vfio-pci");
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
	EXPECT_EQ(machine.stores, (std::vector<std::string>{"driver_override vfio-pci",
					  "unbind 0000:00:03.0", "drivers_probe 0000:00:03.0"}));
	ASSERT_EQ(unbind(), 0) << plx_error();
	expect_untouched();
}

TEST_F(PciBind, SecondBindChangesNothing)
{
	ASSERT_EQ(bind(), 0);
	machine.stores.clear();
	EXPECT_EQ(bind(), 0);
	EXPECT_TRUE(machine.stores.empty());
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
}

TEST_F(PciBind, FunctionWithoutADriverIsLeftWithoutOneAgain)
{
	machine.set_driver(NIC, "");
	ASSERT_EQ(bind(), 0) << plx_error();
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "none");
	ASSERT_EQ(unbind(), 0) << plx_error();
	EXPECT_EQ(machine.driver(NIC), "");
	EXPECT_EQ(machine.driver_override(NIC), "");
	EXPECT_FALSE(std::filesystem::exists(machine.note(NIC)));
}

TEST_F(PciBind, DriverOfABindIsNotTheOneToRemember)
{
	machine.add_driver("uio_pci_generic");
	ASSERT_EQ(bind(), 0);
	ASSERT_EQ(bind("uio_pci_generic"), 0) << plx_error();
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
	ASSERT_EQ(unbind(), 0);
	EXPECT_EQ(machine.driver(NIC), "virtio-pci");
}

TEST_F(PciBind, OutdatedNoteIsReplaced)
{
	PciMachine::write(machine.note(NIC), "e1000e\n");
	ASSERT_EQ(bind(), 0);
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
}

TEST_F(PciBind, WithoutANoteTheKernelChooses)
{
	ASSERT_EQ(bind(), 0);
	std::filesystem::remove(machine.note(NIC));
	ASSERT_EQ(unbind(), 0) << plx_error();
	EXPECT_EQ(machine.driver(NIC), "virtio-pci");
	EXPECT_EQ(machine.stores.back(), "drivers_probe 0000:00:03.0");
}

TEST_F(PciBind, DriverThatIsNotLoadedIsNamedWithItsRemedy)
{
	machine.remove_driver("vfio-pci");
	EXPECT_EQ(bind(), -ENOENT);
	EXPECT_TRUE(error_says("modprobe vfio-pci")) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	expect_untouched();
}

TEST_F(PciBind, NamesThatNoDriverHasAreRefused)
{
	for (const char *name : {"", ".", "..", "../vfio-pci", "a/b"})
		EXPECT_EQ(bind(name), -EINVAL) << name;
	EXPECT_EQ(bind(nullptr), -EINVAL);
	EXPECT_EQ(bind(std::string(100, 'x').c_str()), -EINVAL);
	EXPECT_TRUE(machine.stores.empty());
}

TEST_F(PciBind, UnknownFlagsAreRefused)
{
	EXPECT_EQ(bind("vfio-pci", PLX_PCI_BIND_FORCE | 0x80), -EINVAL);
	EXPECT_TRUE(machine.stores.empty());
}

TEST_F(PciBind, UnknownFunctionIsNoDevice)
{
	EXPECT_EQ(bind("vfio-pci", 0, "0000:00:09.0"), -ENODEV);
	EXPECT_EQ(unbind("0000:00:09.0"), -ENODEV);
}

/* An interface of this machine that is up and has an address; almost always "lo". */
std::string interface_with_address()
{
	std::string name;
	ifaddrs *list;

	if (getifaddrs(&list))
		return "";
	for (ifaddrs *entry = list; entry && name.empty(); entry = entry->ifa_next)
		if (entry->ifa_addr && entry->ifa_addr->sa_family == AF_INET &&
			entry->ifa_flags & IFF_UP)
			name = entry->ifa_name;
	freeifaddrs(list);
	return name;
}

TEST_F(PciBind, InterfaceWithAnAddressIsNotTakenAway)
{
	std::string interface = interface_with_address();

	if (interface.empty())
		GTEST_SKIP() << "no interface of this machine has an address";
	machine.add_interface(NIC, interface, "virtio0");
	EXPECT_EQ(bind(), -EBUSY);
	EXPECT_TRUE(error_says(interface)) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	expect_untouched();
	EXPECT_EQ(bind("vfio-pci", PLX_PCI_BIND_FORCE), 0) << plx_error();
}

TEST_F(PciBind, InterfaceOfTheDefaultRouteIsNotTakenAway)
{
	const char *head =
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow"
		"\tIRTT\n";
	auto route = [&](const char *destination, const char *flags, const char *mask) {
		PciMachine::write(machine.top / "proc/net/route",
			std::string(head) + "plxtest0\t" + destination + "\t0101A8C0\t" + flags +
				"\t0\t0\t0\t" + mask + "\t0\t0\t0\n");
	};

	machine.add_interface(NIC, "plxtest0");
	route("00000000", "0003", "00000000");
	EXPECT_EQ(bind(), -EBUSY);
	EXPECT_TRUE(error_says("default route")) << plx_error();
	expect_untouched();
	route("0001A8C0", "0001", "00FFFFFF");
	EXPECT_EQ(bind(), 0) << plx_error();
}

TEST_F(PciBind, InterfaceOfTheDefaultIpv6RouteIsNotTakenAway)
{
	const std::string zero(32, '0');
	auto route = [&](const char *prefix, const char *flags) {
		PciMachine::write(machine.top / "proc/net/ipv6_route",
			zero + " " + prefix + " " + zero + " 00 fe80" + std::string(27, '0') +
				"1 00000400 00000001 00000000 " + flags + " plxtest0\n");
	};

	machine.add_interface(NIC, "plxtest0");
	route("00", "00000003");
	EXPECT_EQ(bind(), -EBUSY);
	EXPECT_TRUE(error_says("default route")) << plx_error();
	/* The kernel keeps a default route that only refuses. */
	route("00", "00200201");
	EXPECT_EQ(bind(), 0) << plx_error();
	EXPECT_EQ(unbind(), 0);
	route("40", "00000003");
	EXPECT_EQ(bind(), 0) << plx_error();
}

TEST_F(PciBind, InterfaceUnderABridgeIsNotTakenAway)
{
	machine.add_interface(NIC, "plxtest0");
	std::filesystem::create_symlink("../br0", machine.top / "sys/class/net/plxtest0/upper_br0");
	EXPECT_EQ(bind(), -EBUSY);
	EXPECT_TRUE(error_says("br0 stands on its interface plxtest0")) << plx_error();
	expect_untouched();
	EXPECT_EQ(bind("vfio-pci", PLX_PCI_BIND_FORCE), 0);
}

TEST_F(PciBind, IdleInterfaceIsTaken)
{
	machine.add_interface(NIC, "plxtest0", "virtio0");
	EXPECT_EQ(bind(), 0) << plx_error();
}

TEST_F(PciBind, DriverThatRefusesGivesTheFormerOneItsFunctionBack)
{
	machine.refuses.insert("vfio-pci");
	EXPECT_EQ(bind(), -EIO);
	EXPECT_TRUE(error_says("vfio-pci did not take it")) << plx_error();
	EXPECT_TRUE(error_says("virtio-pci has it as before")) << plx_error();
	expect_untouched();

	machine.set_driver(NIC, "");
	EXPECT_EQ(bind(), -EIO);
	EXPECT_TRUE(error_says("no driver has it, as before")) << plx_error();
	EXPECT_EQ(machine.driver(NIC), "");
}

TEST_F(PciBind, EachWriteOfABindMayFail)
{
	unsigned n;

	for (n = 1; n <= 3; n++) {
		SCOPED_TRACE("write " + std::to_string(n));
		machine.stores.clear();
		machine.fail_store = n;
		EXPECT_EQ(bind(), -EIO);
		EXPECT_STRNE(plx_error(), "");
		EXPECT_EQ(n > 1, error_says("virtio-pci has it as before")) << plx_error();
		expect_untouched();
	}
	machine.fail_store = 0;
	EXPECT_EQ(bind(), 0) << plx_error();
}

/* The writes after the probe bring the function back, even when one of them fails as well. */
TEST_F(PciBind, EachWriteThatUndoesABindMayFail)
{
	unsigned n;

	machine.refuses.insert("vfio-pci");
	EXPECT_EQ(bind(), -EIO);
	ASSERT_EQ(machine.stores.size(), 6u);
	for (n = 4; n <= 6; n++) {
		SCOPED_TRACE("write " + std::to_string(n));
		machine.stores.clear();
		machine.fail_store = n;
		EXPECT_EQ(bind(), -EIO);
		EXPECT_TRUE(error_says("virtio-pci has it as before")) << plx_error();
		EXPECT_EQ(machine.driver(NIC), "virtio-pci");
		EXPECT_FALSE(std::filesystem::exists(machine.note(NIC)));
	}
}

TEST_F(PciBind, OverrideThatWasSetDoesNotKeepTheFormerDriverAway)
{
	PciMachine::write(machine.function(NIC) / "driver_override", "vfio-pci\n");
	machine.refuses.insert("vfio-pci");
	EXPECT_EQ(bind(), -EIO);
	EXPECT_EQ(machine.driver(NIC), "virtio-pci");
	EXPECT_EQ(machine.driver_override(NIC), "vfio-pci") << "as it was";
}

TEST_F(PciBind, DriverThatCannotBeGivenBackIsStillNoted)
{
	machine.refuses.insert("vfio-pci");
	machine.fail_store = 4;
	machine.fail_all_later = true;
	EXPECT_EQ(bind(), -EIO);
	EXPECT_TRUE(error_says("pollux unbind")) << plx_error();
	machine.fail_store = 0;
	EXPECT_EQ(unbind(), 0) << plx_error();
	expect_untouched();
}

TEST_F(PciBind, RightsAreTheReasonWhenTheyAre)
{
	machine.fail_store = 1;
	machine.fail_errno = EACCES;
	EXPECT_EQ(bind(), -EACCES);
	EXPECT_TRUE(error_says("run as root")) << plx_error();
	expect_untouched();
}

TEST_F(PciBind, NothingHappensWhenTheNoteCannotBeWritten)
{
	PciMachine::write(machine.root.state, "a file where a directory should be");
	EXPECT_LT(bind(), 0);
	EXPECT_TRUE(error_says("cannot note")) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	EXPECT_EQ(machine.driver(NIC), "virtio-pci");
}

TEST_F(PciBind, OpenFunctionIsNotUnbound)
{
	ASSERT_EQ(bind(), 0);
	machine.add_process(4242, "testpmd", "/dev/vfio/12");
	machine.stores.clear();
	EXPECT_EQ(unbind(), -EBUSY);
	EXPECT_TRUE(error_says("process 4242 (testpmd)")) << plx_error();
	machine.add_driver("uio_pci_generic");
	EXPECT_EQ(bind("uio_pci_generic", PLX_PCI_BIND_FORCE), -EBUSY);
	EXPECT_TRUE(machine.stores.empty()) << "the kernel would hang in any of them";
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
	std::filesystem::remove_all(machine.top / "proc/4242");
	EXPECT_EQ(unbind(), 0) << plx_error();
}

TEST_F(PciBind, FunctionOpenThroughItsDeviceNodeIsNotUnbound)
{
	ASSERT_EQ(bind(), 0);
	std::filesystem::create_directories(machine.function(NIC) / "vfio-dev/vfio3");
	machine.add_process(7, "qemu", "/dev/vfio/devices/vfio3");
	EXPECT_EQ(unbind(), -EBUSY);
	EXPECT_TRUE(error_says("process 7 (qemu)")) << plx_error();
}

TEST_F(PciBind, WhoUsesAFunctionIsToldWithoutTakingIt)
{
	plx_pci_address address = address_of(NIC);

	EXPECT_EQ(plx_pci_check_unused_in(&machine.root, &address), 0) << plx_error();
	ASSERT_EQ(bind(), 0);
	machine.stores.clear();
	machine.add_process(4242, "testpmd", "/dev/vfio/" + std::to_string(lookup().iommu_group));
	EXPECT_EQ(plx_pci_check_unused_in(&machine.root, &address), -EBUSY);
	EXPECT_TRUE(error_says("process 4242 (testpmd)")) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	address = address_of("0000:00:1e.0");
	EXPECT_EQ(plx_pci_check_unused_in(&machine.root, &address), -ENODEV);
}

TEST_F(PciBind, ProcessesThatHoldOtherGroupsAreNoHindrance)
{
	ASSERT_EQ(bind(), 0);
	machine.add_process(7, "qemu", "/dev/vfio/123");
	machine.add_process(8, "dpdk", "/dev/vfio/1");
	machine.add_process(9, "spdk", "/dev/vfio/vfio");
	EXPECT_EQ(unbind(), 0) << plx_error();
}

TEST_F(PciBind, FunctionThatWasNeverBoundHasNothingToGiveBack)
{
	EXPECT_EQ(unbind(), -EINVAL);
	EXPECT_TRUE(error_says("nothing to give back")) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	expect_untouched();
}

TEST_F(PciBind, FormerDriverThatIsNoLongerLoadedIsNamed)
{
	ASSERT_EQ(bind(), 0);
	machine.remove_driver("virtio-pci");
	EXPECT_EQ(unbind(), -EIO);
	EXPECT_TRUE(error_says("modprobe virtio-pci")) << plx_error();
	EXPECT_EQ(PciMachine::read(machine.note(NIC)), "virtio-pci");
	machine.add_driver("virtio-pci");
	EXPECT_EQ(unbind(), 0) << plx_error();
	expect_untouched();
}

TEST_F(PciBind, FunctionThatCameBackByItselfNeedsNoMore)
{
	ASSERT_EQ(bind(), 0);
	PciMachine::write(machine.function(NIC) / "driver_override", "(null)\n");
	machine.set_driver(NIC, "virtio-pci");
	machine.stores.clear();
	EXPECT_EQ(unbind(), 0) << plx_error();
	EXPECT_TRUE(machine.stores.empty());
	expect_untouched();
}

TEST_F(PciBind, FunctionThatItsFormerDriverHasIsNotTakenFromIt)
{
	ASSERT_EQ(bind(), 0);
	ASSERT_EQ(bind("virtio-pci"), 0) << plx_error();
	machine.stores.clear();
	EXPECT_EQ(unbind(), 0) << plx_error();
	EXPECT_EQ(machine.stores, std::vector<std::string>{"driver_override "});
	expect_untouched();
}

TEST_F(PciBind, DamagedNoteIsNotFollowed)
{
	ASSERT_EQ(bind(), 0);
	machine.stores.clear();
	for (const char *text : {"", "../../../etc", ".."}) {
		PciMachine::write(machine.note(NIC), text);
		EXPECT_EQ(unbind(), -EPROTO) << text;
	}
	EXPECT_TRUE(machine.stores.empty());
}

TEST_F(PciBind, EachWriteOfAnUnbindMayFail)
{
	unsigned n;

	for (n = 1; n <= 3; n++) {
		SCOPED_TRACE("write " + std::to_string(n));
		machine.fail_store = 0;
		ASSERT_EQ(bind(), 0) << plx_error();
		machine.stores.clear();
		machine.fail_store = n;
		/* A failing "bind" of the third write is made up for by a probe. */
		EXPECT_EQ(unbind(), n < 3 ? -EIO : 0) << plx_error();
		if (n < 3) {
			EXPECT_STRNE(plx_error(), "");
			EXPECT_EQ(machine.driver(NIC), "vfio-pci") << "as it was";
			EXPECT_EQ(machine.driver_override(NIC), "vfio-pci");
			machine.fail_store = 0;
			EXPECT_EQ(unbind(), 0) << plx_error();
		}
		expect_untouched();
	}
}

TEST_F(PciBind, FilesOfSysfsAreWrittenInOneGo)
{
	PciMachine::Path bus = machine.top / "sys/bus/pci";

	/*
	 * Without a kernel behind the files nobody takes the function, which is what is reported.
	 */
	machine.root.store = nullptr;
	for (const char *file :
		{"drivers_probe", "drivers/virtio-pci/unbind", "drivers/virtio-pci/bind"})
		PciMachine::write(bus / file, "");
	EXPECT_EQ(bind(), -EIO);
	EXPECT_EQ(PciMachine::read(bus / "drivers_probe"), NIC);
	EXPECT_EQ(PciMachine::read(bus / "drivers/virtio-pci/unbind"), NIC);
	std::filesystem::remove(bus / "drivers_probe");
	EXPECT_EQ(bind(), -ENODEV);
	EXPECT_TRUE(error_says("is not there")) << plx_error();
}

class PciReady : public PciBind
{
};

TEST_F(PciReady, ReasonsComeInTheOrderInWhichTheyAreMended)
{
	std::filesystem::remove_all(machine.top / "sys/kernel");
	std::filesystem::remove(machine.function(NIC) / "iommu_group");
	machine.remove_driver("vfio-pci");
	machine.add_interface(NIC, "plxtest0");
	EXPECT_EQ(ready(), -ENOENT);
	EXPECT_TRUE(error_says("modprobe vfio-pci")) << plx_error();

	machine.add_driver("vfio-pci");
	EXPECT_EQ(ready(), -EOPNOTSUPP);
	EXPECT_TRUE(error_says("intel_iommu=on")) << plx_error();

	machine.join_group(NIC, 12);
	machine.add_function("0000:00:04.0", "0x1af4", "0x1041", 12);
	machine.set_driver("0000:00:04.0", "virtio-pci");
	EXPECT_EQ(ready(), -EBUSY);
	EXPECT_TRUE(error_says("virtio-pci has it as plxtest0")) << plx_error();
	EXPECT_TRUE(error_says("pollux bind 0000:00:03.0")) << plx_error();

	machine.set_driver(NIC, "");
	EXPECT_EQ(ready(), -EBUSY);
	EXPECT_TRUE(error_says("no driver has it")) << plx_error();

	machine.set_driver(NIC, "vfio-pci");
	EXPECT_EQ(ready(), -EPERM);
	EXPECT_TRUE(error_says("0000:00:04.0 is in the same IOMMU group 12")) << plx_error();
	EXPECT_TRUE(error_says("virtio-pci")) << plx_error();

	machine.set_driver("0000:00:04.0", "");
	EXPECT_EQ(ready(), 0) << plx_error();
}

TEST_F(PciReady, AFunctionThatIsBeingPluggedInIsNotTakenForOneWithoutAnIommu)
{
	std::filesystem::remove(machine.function(NIC) / "iommu_group");
	machine.set_driver(NIC, "");
	EXPECT_EQ(ready(), -EBUSY);
	EXPECT_TRUE(error_says("no driver has it")) << plx_error();
}

TEST_F(PciReady, DriversThatDoNoDmaShareAGroup)
{
	machine.set_driver(NIC, "vfio-pci");
	machine.add_function("0000:00:04.0", "0x1af4", "0x1041", 12);
	for (const char *driver : {"vfio-pci", "pci-stub", "pcieport", ""}) {
		machine.set_driver("0000:00:04.0", driver);
		EXPECT_EQ(ready(), 0) << driver << ": " << plx_error();
	}
	machine.set_driver("0000:00:04.0", "mlx5_vfio_pci");
	EXPECT_EQ(ready(), -EPERM);
	std::filesystem::create_directories(machine.function("0000:00:04.0") / "vfio-dev/vfio0");
	EXPECT_EQ(ready(), 0) << plx_error();
}

TEST_F(PciReady, HarmlessDriverIsNotEnoughForTheFunctionItself)
{
	machine.set_driver(NIC, "pci-stub");
	EXPECT_EQ(ready(), -EBUSY);
}

TEST_F(PciReady, ModeWithoutAnIommuIsTold)
{
	machine.set_driver(NIC, "vfio-pci");
	PciMachine::write(machine.top / "sys/kernel/iommu_groups/12/name", "vfio-noiommu\n");
	EXPECT_EQ(ready(), 0) << plx_error();
	EXPECT_TRUE(noiommu);
	PciMachine::write(machine.top / "sys/kernel/iommu_groups/12/name", "another\n");
	EXPECT_EQ(ready(), 0) << plx_error();
	EXPECT_FALSE(noiommu);
}

} // namespace
