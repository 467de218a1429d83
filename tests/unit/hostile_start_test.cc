/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile.h"

#include <ostream>
#include <set>

/*
 * What a card may do to the driver until it runs, by the numbers of doc/hostile.md. What it may do
 * afterwards is in hostile_test.cc.
 */

namespace
{

enum Stage { OPEN, CONFIGURE, START };

/* A lie that the driver must refuse, at which call, and how it says so. */
struct Refusal {
	unsigned number;
	const char *name;
	unsigned layouts;
	Stage stage;
	int error;
	const char *says;
	std::function<void(HostileFixture &)> tell; /* before the card is plugged in */
};

using Tell = std::function<void(HostileFixture &)>;
using Bytes = std::map<uint64_t, uint8_t>;

/* Bytes of a virtio capability, from its first one on. */
Tell capability(uint8_t type, Bytes bytes)
{
	return [=](HostileFixture &t) {
		uint8_t at = t.capability(type);
		Bytes absolute;

		for (auto byte : bytes)
			absolute[at + byte.first] = byte.second;
		t.config_space_reads(absolute);
	};
}

Bytes offset(uint32_t value)
{
	return {{8, (uint8_t)value}, {9, (uint8_t)(value >> 8)}, {10, (uint8_t)(value >> 16)},
		{11, (uint8_t)(value >> 24)}};
}

Bytes length(uint32_t value)
{
	return {{12, (uint8_t)value}, {13, (uint8_t)(value >> 8)}, {14, (uint8_t)(value >> 16)},
		{15, (uint8_t)(value >> 24)}};
}

Bytes both(Bytes one, const Bytes &other)
{
	one.insert(other.begin(), other.end());
	return one;
}

Tell common_reads(uint64_t at, uint64_t value)
{
	return [=](HostileFixture &t) { t.register_reads(at, value); };
}

Tell offers(unsigned bit, bool on)
{
	return [=](HostileFixture &t) { plx_emu_config_offer(&t.config, bit, on); };
}

Tell vetoes(plx_emu_veto veto)
{
	return [=](HostileFixture &t) { t.config.veto = veto; };
}

void status_never_reads_0(HostileFixture &t)
{
	t.lies.read = [](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
		if (HostileFixture::is_status(place, at))
			*is |= VIRTIO_STATUS_ACKNOWLEDGE;
	};
}

/* The status changes on its own as soon as the driver has set @bit. */
Tell status_once(uint8_t bit, uint8_t set, uint8_t clear)
{
	return [=](HostileFixture &t) {
		t.lies.read = [=](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
			if (HostileFixture::is_status(place, at) && (*is & bit))
				*is = (*is | set) & (uint8_t)~clear;
		};
	};
}

/* The configuration is another one at each look. */
void never_settles(HostileFixture &t)
{
	auto count = std::make_shared<uint8_t>(0);

	t.lies.read = [=](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
		if ((place == PLX_EMU_COMMON && at == VIRTIO_PCI_COMMON_CONFIG_GENERATION) ||
			place == PLX_EMU_DEVICE_CONFIG)
			*is = ++*count & 0x7f;
	};
}

void needs_merging_and_has_none(HostileFixture &t)
{
	plx_emu_config_offer(&t.config, VIRTIO_NET_F_MRG_RXBUF, false);
	t.device_config_reads({{VIRTIO_NET_CFG_MTU, 0xff}, {VIRTIO_NET_CFG_MTU + 1, 0xff}});
}

const uint8_t kCommon = VIRTIO_PCI_CAP_COMMON_CFG, kNotify = VIRTIO_PCI_CAP_NOTIFY_CFG,
	      kDevice = VIRTIO_PCI_CAP_DEVICE_CFG, kIsr = VIRTIO_PCI_CAP_ISR_CFG,
	      kWindow = VIRTIO_PCI_CAP_PCI_CFG;

const Refusal refusals[] = {
	{1, "CapabilityListLoops", MODERN, OPEN, -EPROTO, "capability list loops",
		[](HostileFixture &t) {
			uint8_t at = t.capability(kWindow);

			t.config_space_reads({{at + 1u, t.capability(kCommon)}});
		}},
	{1, "CapabilityPointsAtItself", MODERN, OPEN, -EPROTO, "capability list loops",
		[](HostileFixture &t) {
			uint8_t at = t.capability(kCommon);

			t.config_space_reads({{at + 1u, at}});
		}},
	{1, "CapabilityListLeadsIntoTheHeader", MODERN, OPEN, -EPROTO, "leads into the header",
		[](HostileFixture &t) {
			t.config_space_reads({{0x34, 0x10}});
		}},
	{1, "CapabilityListLeadsNowhere", MODERN, OPEN, -ENOTSUP, "no legacy interface",
		[](HostileFixture &t) {
			t.config_space_reads({{0x34, 0xfc}});
		}},
	{2, "BarIsReserved", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, {{4, 6}})},
	{2, "BarIsReservedForNotifications", MODERN, OPEN, -EPROTO, "notification",
		capability(kNotify, {{4, 0xff}})},
	{2, "BarIsAbsent", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, {{4, 3}})},
	{2, "CapabilityIsTooShort", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, {{2, 8}})},
	{2, "NotificationCapabilityHasNoMultiplier", MODERN, OPEN, -EPROTO, "notification",
		capability(kNotify, {{2, 16}})},
	{2, "CommonConfigurationIsMisaligned", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, offset(0x0002))},
	{2, "NotificationsAreMisaligned", MODERN, OPEN, -EPROTO, "notification",
		capability(kNotify, offset(0x3001))},
	{2, "DeviceConfigurationIsMisaligned", MODERN, OPEN, -EPROTO, "too short",
		capability(kDevice, offset(0x2002))},
	{3, "OffsetAndLengthOverflow", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, both(offset(0xfffffff0), length(0x1000)))},
	{3, "StructureEndsBehindItsBar", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, offset(0x3fe0))},
	{3, "NotificationsLieBehindTheirBar", MODERN, OPEN, -EPROTO, "notification",
		capability(kNotify, offset(0x4000))},
	{4, "CommonConfigurationIsTooShort", MODERN, OPEN, -EPROTO, "common configuration",
		capability(kCommon, length(0x20))},
	{4, "DeviceConfigurationIsTooShort", MODERN, OPEN, -EPROTO, "too short",
		capability(kDevice, length(4))},
	{5, "DoorbellLiesOutside", MODERN, START, -EPROTO, "doorbell of queue 0",
		common_reads(VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 0xffff)},
	{5, "MultiplierLeadsOutside", MODERN, START, -EPROTO, "doorbell of queue 1",
		capability(kNotify, {{16, 0xff}, {17, 0xff}, {18, 0xff}, {19, 0xff}})},
	{5, "DoorbellIsMisaligned", MODERN, START, -EPROTO, "doorbell of queue 1",
		capability(kNotify, {{16, 1}, {17, 0}})},
	{7, "ResetNeverEnds", ANY, OPEN, -EIO, "does not finish its reset", status_never_reads_0},
	{7, "QueuesAreEnabledAfterTheReset", MODERN, START, -EPROTO, "enabled right after a reset",
		common_reads(VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1)},
	{7, "QueuesAreActiveAfterTheReset", OLD, START, -EPROTO, "active right after a reset",
		common_reads(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, 0x1234)},
	{8, "FeaturesAreRefused", MODERN, START, -EPROTO, "decline some with NAME=off",
		vetoes(PLX_EMU_VETO_FEATURES)},
	{10, "Version1IsMissing", MODERN, CONFIGURE, -ENOTSUP, "say legacy=on",
		offers(VIRTIO_F_VERSION_1, false)},
	{10, "AccessPlatformIsMissing", MODERN, CONFIGURE, -ENOTSUP, "iommu_platform=on",
		offers(VIRTIO_F_ACCESS_PLATFORM, false)},
	{11, "QueueHasNoEntries", MODERN, OPEN, -EPROTO, "has no queue 0",
		common_reads(VIRTIO_PCI_COMMON_QUEUE_SIZE, 0)},
	{11, "QueueHasNoEntries", OLD, OPEN, -EPROTO, "has no queue 0",
		common_reads(VIRTIO_PCI_LEGACY_QUEUE_SIZE, 0)},
	{11, "QueueHasMoreEntriesThanThereAreIndexes", MODERN, OPEN, -EPROTO, "no size of a",
		common_reads(VIRTIO_PCI_COMMON_QUEUE_SIZE, 40960)},
	{11, "QueueHasMoreEntriesThanThereAreIndexes", OLD, OPEN, -EPROTO, "no size of a",
		common_reads(VIRTIO_PCI_LEGACY_QUEUE_SIZE, 40960)},
	{11, "QueueSizeIsNoPowerOfTwo", SPLIT, CONFIGURE, -EPROTO, "no size of a",
		common_reads(VIRTIO_PCI_COMMON_QUEUE_SIZE, 300)},
	{11, "QueueSizeIsNoPowerOfTwo", OLD, CONFIGURE, -EPROTO, "no size of a",
		common_reads(VIRTIO_PCI_LEGACY_QUEUE_SIZE, 300)},
	{13, "ConfigurationNeverSettles", ANY, OPEN, -EPROTO, "never settles", never_settles},
	{14, "MtuNeedsALongerRing", ANY, CONFIGURE, -EINVAL, "ask for a longer ring",
		[](HostileFixture &t) {
			t.device_config_reads(
				{{VIRTIO_NET_CFG_MTU, 0xff}, {VIRTIO_NET_CFG_MTU + 1, 0xff}});
		}},
	{14, "MtuNeedsBuffersThatAreNotThere", ANY, CONFIGURE, -EINVAL, "data_size 65565",
		needs_merging_and_has_none},
	{17, "NeedsResetAfterDriver", MODERN, OPEN, -EPROTO,
		"asks for a reset at the step 'DRIVER'",
		status_once(VIRTIO_STATUS_ACKNOWLEDGE, VIRTIO_STATUS_NEEDS_RESET, 0)},
	{17, "NeedsResetAfterFeaturesOk", MODERN, START, -EPROTO, "'FEATURES_OK re-read'",
		status_once(VIRTIO_STATUS_FEATURES_OK, VIRTIO_STATUS_NEEDS_RESET, 0)},
	{17, "NeedsResetAfterDriverOk", MODERN, START, -EPROTO, "'DRIVER_OK re-read'",
		vetoes(PLX_EMU_VETO_CONFIG)},
	{17, "DriverOkIsLost", MODERN, START, -EPROTO, "refuses the configuration",
		status_once(VIRTIO_STATUS_DRIVER_OK, 0, VIRTIO_STATUS_DRIVER_OK)},
};

class HostileStart : public HostileFixture, public ::testing::WithParamInterface<Case<Refusal>>
{
      protected:
	void SetUp() override
	{
		HostileFixture::SetUp();
		use_layout(GetParam().layout);
	}

	/* Go through the calls until one fails. Return: its error. */
	int advance(Stage &stage)
	{
		int err = try_open(options.c_str());

		stage = OPEN;
		if (err)
			return err;
		stage = CONFIGURE;
		err = try_configure();
		if (err)
			return err;
		stage = START;
		return plx_eth_start(eth);
	}

	/* A card that says another status than it has cannot judge what is written to it. */
	void forgive_status()
	{
		breaches.erase(std::remove_if(breaches.begin(), breaches.end(),
				       [](const std::string &breach) {
					       return breach.compare(0, 7, "STATUS-") == 0;
				       }),
			breaches.end());
	}

	/* The last word to the device, but for a reset. */
	uint8_t last_status()
	{
		for (size_t i = status_writes.size(); i--;)
			if (status_writes[i])
				return status_writes[i];
		return 0;
	}
};

TEST_P(HostileStart, IsRefused)
{
	const Refusal &refusal = *GetParam().entry;
	struct plx_emu_config plain = config;
	Stage stage = OPEN;

	refusal.tell(*this);
	EXPECT_EQ(advance(stage), refusal.error) << plx_error();
	EXPECT_EQ(stage, refusal.stage);
	EXPECT_NE(std::string(plx_error()).find(refusal.says), std::string::npos) << plx_error();
	EXPECT_NE(std::string(plx_error()).find("emu:net"), std::string::npos) << plx_error();
	if (refusal.stage == START) {
		EXPECT_TRUE(last_status() & VIRTIO_STATUS_FAILED) << (unsigned)last_status();
		expect_all_back();
	}
	if (refusal.number == 7 || refusal.number == 17)
		forgive_status();
	/* A card that tells the truth is driven. */
	close();
	honest();
	config = plain;
	begin();
}

INSTANTIATE_TEST_SUITE_P(
	Numbers, HostileStart, ::testing::ValuesIn(each_layout(refusals)), case_name<Refusal>);

/* --- what looks strange and is allowed, or harmless --- */

struct Oddity {
	unsigned number;
	const char *name;
	unsigned layouts;
	Tell tell;
};

/* The first capability for the common configuration cannot be used, a later one can. */
void second_capability_is_good(HostileFixture &t)
{
	uint8_t first = t.capability(kCommon), second = t.capability(kIsr);

	t.config_space_reads({{first + 4u, 6}, {second + 3u, kCommon}, {second + 8u, 0},
		{second + 9u, 0}, {second + 10u, 0}, {second + 11u, 0}});
}

/* Whatever depends on these is on offer without them. */
void offers_all_but_what_it_takes(HostileFixture &t)
{
	t.config.features[0] |= ~UINT64_C(0);
	t.config.features[1] |= ~UINT64_C(0);
	for (unsigned bit : {VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CTRL_VQ})
		plx_emu_config_offer(&t.config, bit, false);
}

void offers_everything(HostileFixture &t)
{
	t.config.features[0] |= ~UINT64_C(0);
	t.config.features[1] |= ~UINT64_C(0);
}

const Oddity oddities[] = {
	{2, "UnusableCapabilityIsSkipped", MODERN, second_capability_is_good},
	{2, "UnknownCapabilityIsSkipped", MODERN, capability(kWindow, {{3, 0x77}})},
	{2, "ShortCapabilityIsSkipped", MODERN, capability(kWindow, {{2, 4}})},
	{2, "LongerCapabilityIsTaken", MODERN, capability(kCommon, {{2, 64}})},
	{3, "LengthBehindTheBarIsNotMapped", MODERN, capability(kCommon, length(0xffffffff))},
	{3, "LengthOfTheConfigurationBehindTheBarIsNotMapped", MODERN,
		capability(kDevice, length(0xffffffff))},
	{9, "FeaturesWithoutWhatTheyTakeAreLeft", ANY, offers_all_but_what_it_takes},
	{9, "EveryBitThatThereIsIsOnOffer", ANY, offers_everything},
};

class HostileOddity : public HostileFixture, public ::testing::WithParamInterface<Case<Oddity>>
{
};

TEST_P(HostileOddity, IsNoReasonToRefuse)
{
	use_layout(GetParam().layout);
	bool packed = GetParam().layout == PACKED, any_layout = GetParam().layout != APART;

	GetParam().entry->tell(*this);
	plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, packed);
	plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, any_layout);
	begin();
}

INSTANTIATE_TEST_SUITE_P(
	Numbers, HostileOddity, ::testing::ValuesIn(each_layout(oddities)), case_name<Oddity>);

/* --- what takes more than one line --- */

class HostileProbe : public HostileFixture, public ::testing::WithParamInterface<Layout>
{
      protected:
	void SetUp() override
	{
		HostileFixture::SetUp();
		use_layout(GetParam());
	}

	struct plx_eth_info info()
	{
		struct plx_eth_info info;

		plx_eth_get_info(eth, &info);
		return info;
	}

	static bool says_gone(const std::string &sentence)
	{
		return sentence.compare(0, 9, "emu:net: ") == 0 &&
		       (sentence.find("is gone: its registers read all ones at the step") !=
				       std::string::npos ||
			       sentence.find("was it removed?") != std::string::npos);
	}
};

/* The card is pulled out at each of its registers in turn. */
TEST_P(HostileProbe, No6_AllOnesAreTakenForARemovalWhereverTheyBegin)
{
	for (bool silent : {false, true}) {
		std::set<int> errors;
		int err = -1;

		config.gone_silent = silent;
		for (config.gone_after = 1; err && config.gone_after < 10000; config.gone_after++) {
			err = try_open(options.c_str());
			if (!err)
				err = try_configure();
			if (!err)
				err = plx_eth_start(eth);
			if (err) {
				errors.insert(err);
				EXPECT_TRUE(says_gone(plx_error()))
					<< config.gone_after << ": " << plx_error();
			}
			close();
			if (pool)
				expect_all_back();
		}
		EXPECT_EQ(err, 0) << plx_error();
		EXPECT_GT(config.gone_after, 30u);
		for (int error : errors)
			EXPECT_EQ(error, -ENODEV) << "a removal was taken for something else";
	}
}

TEST_P(HostileProbe, No9_FeaturesThatVanishAfterAResetAreRefused)
{
	plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, true);
	begin();
	lies.read = [](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
		if ((place == PLX_EMU_COMMON && at == VIRTIO_PCI_COMMON_DEVICE_FEATURE) ||
			(place == PLX_EMU_LEGACY && at == VIRTIO_PCI_LEGACY_DEVICE_FEATURES))
			*is &= ~(UINT64_C(1) << VIRTIO_F_EVENT_IDX);
	};
	ASSERT_EQ(plx_eth_stop(eth), 0);
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("no longer offers F_EVENT_IDX"), std::string::npos)
		<< plx_error();
	EXPECT_TRUE(status_writes.back() & VIRTIO_STATUS_FAILED);
	expect_all_back();
	honest();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

TEST_P(HostileProbe, No9_FeaturesThatAppearAfterAResetAreLeft)
{
	plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, false);
	begin();
	lies.read = [](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
		if ((place == PLX_EMU_COMMON && at == VIRTIO_PCI_COMMON_DEVICE_FEATURE) ||
			(place == PLX_EMU_LEGACY && at == VIRTIO_PCI_LEGACY_DEVICE_FEATURES))
			*is = UINT32_MAX;
	};
	ASSERT_EQ(plx_eth_stop(eth), 0);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

/* The driver builds what it was told last; the card has less, and nothing of it works. */
TEST_P(HostileProbe, No11_LargerSizeAtASecondLookDoesNoHarm)
{
	unsigned looks = 0;

	breaches_allowed = true; /* it takes the card at its word */
	lies.read = [&](plx_emu_place place, uint64_t at, unsigned, uint64_t *is) {
		bool size = (place == PLX_EMU_COMMON && at == VIRTIO_PCI_COMMON_QUEUE_SIZE) ||
			    (place == PLX_EMU_LEGACY && at == VIRTIO_PCI_LEGACY_QUEUE_SIZE);

		if (size && looks++ > 1)
			*is = 512;
	};
	ASSERT_EQ(try_open(options.c_str()), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	if (!plx_eth_start(eth))
		(void)traffic(40);
	EXPECT_GT(looks, 2u);
	expect_recovery();
}

TEST_P(HostileProbe, No14_AddressesThatNoPortCanHaveAreReplaced)
{
	const Bytes bad[] = {
		{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}},
		{{0, 0xff}, {1, 0xff}, {2, 0xff}, {3, 0xff}, {4, 0xff}, {5, 0xff}},
		{{0, 1}},
	};

	for (const Bytes &bytes : bad) {
		device_config_reads(bytes);
		begin();
		EXPECT_EQ(info().mac[0] & 3, 2) << "not a local unicast address";
		EXPECT_EQ(count_messages("an address that no port can have"), 1u);
		messages.clear();
		close();
	}
}

TEST_P(HostileProbe, No14_ImpossibleMtuIsReplaced)
{
	for (uint8_t mtu : {0, 1, 67}) {
		device_config_reads({{VIRTIO_NET_CFG_MTU, mtu}, {VIRTIO_NET_CFG_MTU + 1, 0}});
		begin();
		EXPECT_EQ(info().mtu, 1500);
		EXPECT_EQ(count_messages("an MTU of"), 1u);
		messages.clear();
		close();
	}
}

TEST_P(HostileProbe, No14_LargestMtuIsMetWithMergedBuffers)
{
	config.queue_size = 128;
	device_config_reads({{VIRTIO_NET_CFG_MTU, 0xff}, {VIRTIO_NET_CFG_MTU + 1, 0xff}});
	begin();
	EXPECT_EQ(info().mtu, 65535);
	EXPECT_NE(std::string(info().rx_path).find("mergeable"), std::string::npos);
}

/* virtio 1.4, 4.1.4.3.1: registers behind the structure's end are not there. */
TEST_P(HostileProbe, No4_ShortCommonConfigurationCannotResetSingleQueues)
{
	const char *why = options.empty() ? "too short" : "not through the legacy interface";

	uint8_t at = capability(kCommon) + VIRTIO_PCI_CAP_LENGTH;

	config_space_reads({{at, VIRTIO_PCI_COMMON_SIZE_1_0}, {at + 1u, 0}});
	begin();
	EXPECT_EQ(plx_eth_stop_queue(eth, PLX_ETH_RX, 0), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find(why), std::string::npos) << plx_error();
}

INSTANTIATE_TEST_SUITE_P(Layouts, HostileProbe, ::testing::Values(SPLIT, PACKED, LEGACY, APART),
	[](const auto &info) { return std::string(layout_name(info.param)); });

} // namespace
