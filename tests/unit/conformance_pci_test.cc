/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance.h"

extern "C" {
#include "pci/pci.h"
}

/*
 * How the driver finds its way in configuration space (virtio 1.4, 4.1.2 and 4.1.4): a card that
 * lists its structures in every way that the standard allows, and some more.
 */

namespace
{

class Capabilities : public ConformanceFixture
{
      protected:
	/* Lets a test rewrite the list of the card's structures. */
	void rewrite(std::function<void(std::vector<Structure> &)> edit)
	{
		prepare = [edit](Tap &t) {
			std::vector<Structure> list = t.structures();

			edit(list);
			t.show_capabilities(list);
		};
	}

	void expect_driven()
	{
		start();
		if (!HasFatalFailure())
			expect_traffic();
	}

	/* All accesses to the card's registers lie in the card's own structures. */
	void expect_only_known_places()
	{
		for (const Access &a : tap->log) {
			bool known = a.region == VFIO_PCI_CONFIG_REGION_INDEX;

			for (const Structure &s : tap->structures())
				known |= a.region == s.bar && a.offset >= s.offset &&
					 a.offset + a.len <= (uint64_t)s.offset + s.length;
			EXPECT_TRUE(known) << "region " << a.region << " at " << a.offset;
		}
	}

	/* Nothing was written to configuration space but the command register. */
	void expect_capabilities_untouched()
	{
		for (const Access &a : tap->log)
			EXPECT_TRUE(!a.write || a.region != VFIO_PCI_CONFIG_REGION_INDEX ||
				    a.offset == PCI_COMMAND)
				<< a.offset;
	}

	static Structure *of_type(std::vector<Structure> &list, uint8_t type)
	{
		for (Structure &s : list)
			if (s.type == type)
				return &s;
		return nullptr;
	}
};

TEST_F(Capabilities, ReservedTypesAreSkipped)
{
	rewrite([](std::vector<Structure> &list) {
		for (uint8_t type : {0, 6, 7, 10, 0x7f, 0xff})
			list.insert(list.begin(), {type, 4, 0x3000, 0x1000});
	});
	expect_driven();
	expect_only_known_places();
}

TEST_F(Capabilities, FirstOfEachTypeIsTaken)
{
	rewrite([](std::vector<Structure> &list) {
		for (Structure s : std::vector<Structure>(list)) {
			s.offset = (s.offset + 0x1000) % 0x4000;
			list.push_back(s);
		}
	});
	expect_driven();
}

TEST_F(Capabilities, FirstUsableOfEachTypeIsTaken)
{
	rewrite([](std::vector<Structure> &list) {
		std::vector<Structure> unusable;

		for (Structure s : list) {
			unusable.push_back(s);
			unusable.back().bar = 3; /* the card has none */
			unusable.push_back(s);
			unusable.back().length = 1; /* too short, but for what has one byte */
			if (s.type == VIRTIO_PCI_CAP_DEVICE_CFG)
				unusable.back().length = 0;
			unusable.push_back(s);
			unusable.back().offset = 0x3ffff; /* behind the BAR's end */
		}
		list.erase(std::remove_if(list.begin(), list.end(),
				   [](auto &s) { return s.type == VIRTIO_PCI_CAP_PCI_CFG; }),
			list.end());
		unusable.erase(std::remove_if(unusable.begin(), unusable.end(),
				       [](auto &s) {
					       return s.type != VIRTIO_PCI_CAP_COMMON_CFG &&
						      s.type != VIRTIO_PCI_CAP_NOTIFY_CFG;
				       }),
			unusable.end());
		list.insert(list.begin(), unusable.begin(), unusable.end());
	});
	expect_driven();
	expect_only_known_places();
}

TEST_F(Capabilities, LongerCapabilityIsAccepted)
{
	for (uint8_t more : {1, 4, 20}) {
		rewrite([=](std::vector<Structure> &list) {
			for (Structure &s : list)
				s.cap_len = (uint8_t)(s.cap_len + more);
		});
		expect_driven();
		close();
	}
}

TEST_F(Capabilities, ReservedBarIsSkipped)
{
	for (uint8_t bar : {6, 7, 0x7f, 0xff}) {
		rewrite([=](std::vector<Structure> &list) {
			for (uint8_t type :
				{VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_CAP_COMMON_CFG}) {
				Structure s = *of_type(list, type);

				s.bar = bar;
				list.insert(list.begin(), s);
			}
		});
		expect_driven();
		expect_only_known_places();
		close();
	}
}

TEST_F(Capabilities, LengthBeyondTheBarIsAccepted)
{
	rewrite([](std::vector<Structure> &list) {
		for (Structure &s : list)
			s.length = 0xffffffff;
	});
	expect_driven();
	expect_only_known_places();
}

TEST_F(Capabilities, OnlyWhatIsNeededIsMapped)
{
	prepare = [](Tap &t) {
		std::vector<Structure> list = t.structures();

		for (Structure &s : list)
			s.length = 0x4000 - s.offset;
		t.show_capabilities(list);
		/* It could all be mapped; that the card then refuses is of no interest here. */
		t.device.region[4].flags |= VFIO_REGION_INFO_FLAG_MMAP;
		t.device.region[4].areas = 1;
		t.device.region[4].area[0] = {0, t.device.region[4].size};
	};
	EXPECT_NE(try_open(), 0);
	ASSERT_EQ(tap->maps.size(), 1u);
	EXPECT_EQ(tap->maps[0].first, window(VIRTIO_PCI_CAP_COMMON_CFG)->offset);
	EXPECT_EQ(tap->maps[0].second, 4096u) << "one page, as few as there can be";
}

TEST_F(Capabilities, LengthThatIsTooShortIsNoticed)
{
	for (uint8_t type : {VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG}) {
		rewrite([=](std::vector<Structure> &list) { of_type(list, type)->length = 1; });
		EXPECT_EQ(try_open(), -EPROTO);
		EXPECT_TRUE(error_says("virtio capabilities lack")) << plx_error();
		close();
	}
}

TEST_F(Capabilities, AreNeverWritten)
{
	expect_driven();
	ASSERT_EQ(plx_eth_stop(eth), 0);
	expect_capabilities_untouched();
}

TEST_F(Capabilities, VendorDataIsLeftAlone)
{
	rewrite([](std::vector<Structure> &list) {
		list.insert(list.begin(), {VIRTIO_PCI_CAP_VENDOR_CFG, 4, 0, 0x4000, 32});
		list.push_back({VIRTIO_PCI_CAP_VENDOR_CFG, 4, 0, 0x4000, 32});
	});
	expect_driven();
	expect_only_known_places();
	expect_capabilities_untouched();
}

TEST_F(Capabilities, DeviceConfigurationMayBeLargerThanIsKnown)
{
	for (uint32_t length : {0x100u, 0x1000u, 0x2000u, 0xffffffffu}) {
		rewrite([=](std::vector<Structure> &list) {
			of_type(list, VIRTIO_PCI_CAP_DEVICE_CFG)->length = length;
		});
		expect_driven();
		close();
	}
}

TEST_F(Capabilities, DeviceConfigurationNeedsOnlyTheFieldsInUse)
{
	/* Each is the last field of those that are left, and ends there. */
	const struct {
		uint32_t length;
		std::vector<unsigned> withheld;
	} cases[] = {{24, {}}, {17, {VIRTIO_NET_F_RSS, VIRTIO_NET_F_HASH_REPORT}},
		{12, {VIRTIO_NET_F_SPEED_DUPLEX}}, {10, {VIRTIO_NET_F_MTU}}, {8, {VIRTIO_NET_F_MQ}},
		{6, {VIRTIO_NET_F_STATUS}}, {0, {VIRTIO_NET_F_MAC}}};

	for (const auto &c : cases) {
		for (unsigned bit : c.withheld)
			plx_emu_config_offer(&config, bit, false);
		rewrite([&](std::vector<Structure> &list) {
			of_type(list, VIRTIO_PCI_CAP_DEVICE_CFG)->length = c.length;
		});
		expect_driven();
		close();
		rewrite([&](std::vector<Structure> &list) {
			of_type(list, VIRTIO_PCI_CAP_DEVICE_CFG)->length = c.length - 1;
		});
		if (c.length > 8) {
			EXPECT_EQ(try_open(), -EPROTO);
			EXPECT_TRUE(error_says("too short")) << plx_error();
			close();
		}
	}
}

TEST_F(Capabilities, AnySizeOfTheMsixTableWillDo)
{
	for (uint16_t size : {0x000, 0x001, 0x07ff}) {
		prepare = [=](Tap &t) {
			uint8_t at = PCI_STD_HEADER_SIZEOF; /* where the card has it */
			uint8_t id = PCI_CAP_ID_MSIX;

			t.show(at, &id, 1);
			t.show(at + PCI_MSIX_FLAGS, &size, 2);
		};
		expect_driven();
		close();
	}
	/* And so does a card that has none. */
	rewrite([](std::vector<Structure> &) {});
	expect_driven();
}

TEST_F(Capabilities, AnyRevisionIsDriven)
{
	for (uint8_t revision : {0, 1, 2, 0x80, 0xff}) {
		prepare = [=](Tap &t) { t.show(PCI_REVISION_ID, &revision, 1); };
		expect_driven();
		close();
	}
}

TEST_F(Capabilities, AnySubsystemIsDriven)
{
	for (uint16_t id : {0x0000, 0x0001, 0x1af4, 0x8086, 0xffff}) {
		prepare = [=](Tap &t) {
			t.show(PCI_SUBSYSTEM_VENDOR_ID, &id, 2);
			t.show(PCI_SUBSYSTEM_ID, &id, 2);
		};
		expect_driven();
		close();
	}
}

/* --- which devices there are (4.1.2) --- */

struct plx_pci_function function(uint16_t vendor, uint16_t device, uint16_t subsystem)
{
	struct plx_pci_function f = {};

	f.vendor = vendor;
	f.device = device;
	f.subsystem_device = subsystem;
	return f;
}

TEST(Discovery, ModernDeviceIsKnownByItsId)
{
	for (unsigned type = 0; type < 0x40; type++)
		for (uint8_t revision : {0, 1, 0xff})
			for (uint16_t subsystem : {0, 1, 0x1100, 0xffff}) {
				auto f = function(
					VIRTIO_PCI_VENDOR, (uint16_t)(0x1040 + type), subsystem);

				f.revision = revision;
				f.subsystem_vendor = subsystem;
				EXPECT_EQ(plx_pci_virtio_id(&f), type);
			}
}

TEST(Discovery, TransitionalDeviceIsKnownByItsId)
{
	const std::pair<uint16_t, unsigned> types[] = {{0x1000, VIRTIO_ID_NET},
		{0x1001, VIRTIO_ID_BLOCK}, {0x1002, VIRTIO_ID_BALLOON}, {0x1003, VIRTIO_ID_CONSOLE},
		{0x1004, VIRTIO_ID_SCSI}, {0x1005, VIRTIO_ID_RNG}, {0x1009, VIRTIO_ID_9P}};

	for (auto [device, type] : types)
		for (uint8_t revision : {0, 1, 0xff}) {
			/* The subsystem says the same (4.1.2.3). */
			auto f = function(VIRTIO_PCI_VENDOR, device, (uint16_t)type);

			f.revision = revision;
			EXPECT_EQ(plx_pci_virtio_id(&f), type) << std::hex << device;
		}
}

TEST(Discovery, OtherVendorsAreOtherDevices)
{
	for (uint16_t vendor : {0x0000, 0x1af3, 0x1af5, 0x8086, 0xffff})
		for (uint16_t device : {0x1000, 0x1041}) {
			auto f = function(vendor, device, 1);

			EXPECT_EQ(plx_pci_virtio_id(&f), 0u);
			EXPECT_FALSE(plx_pci_is_virtio(&f));
		}
}

} // namespace
