/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_virtio.h"

#include <gtest/gtest.h>

#include <string>

/* What the standard's sequence looks like from the device, and what each refusal does to it. */

namespace
{

using Writes = std::vector<uint8_t>;

struct Driver {
	std::vector<std::string> calls;
	int set_up_result = 0;
	int fill_result = 0;
	FakeVirtio *device = nullptr;
	uint8_t status_at_fill = 0;
	uint8_t status_at_go_live = 0;
};

const struct plx_handshake_driver driver_ops = {
	[](void *arg) {
		auto *d = static_cast<Driver *>(arg);
		d->calls.push_back("set_up");
		return d->set_up_result;
	},
	[](void *arg) {
		auto *d = static_cast<Driver *>(arg);
		d->calls.push_back("fill");
		d->status_at_fill = d->device->status;
		return d->fill_result;
	},
	[](void *arg) {
		auto *d = static_cast<Driver *>(arg);
		d->calls.push_back("go_live");
		d->status_at_go_live = d->device->status;
	},
};

class Handshake : public ::testing::Test
{
      protected:
	FakeVirtio device{nullptr};
	Driver driver;

	void SetUp() override
	{
		driver.device = &device;
	}

	void probe_and_decide()
	{
		ASSERT_EQ(plx_handshake_probe(&device.virtio), 0) << plx_error();
		ASSERT_EQ(plx_negotiation_decide(&device.virtio.negotiation, "fake"), 0)
			<< plx_error();
	}

	int start()
	{
		return plx_handshake_start(&device.virtio, &driver_ops, &driver);
	}
};

TEST_F(Handshake, WritesTheSequenceOfTheStandard)
{
	probe_and_decide();
	EXPECT_EQ(device.take_writes(), (Writes{0, 1, 3}));
	ASSERT_EQ(start(), 0) << plx_error();
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0xf}));
	EXPECT_EQ(driver.calls, (std::vector<std::string>{"set_up", "fill", "go_live"}));
	EXPECT_EQ(driver.status_at_fill, 0xb) << "buffers come before DRIVER_OK";
	EXPECT_EQ(driver.status_at_go_live, 0xf) << "notifications come after it";
	EXPECT_TRUE(plx_features_equal(&device.written, &device.virtio.negotiation.accepted));
	EXPECT_FALSE(device.virtio.reset_confirmed);
}

TEST_F(Handshake, StartsAgainFromAResetAfterAStop)
{
	probe_and_decide();
	ASSERT_EQ(start(), 0);
	device.take_writes();
	ASSERT_EQ(plx_virtio_quiesce(&device.virtio), 0);
	EXPECT_TRUE(device.virtio.reset_confirmed);
	EXPECT_EQ(device.take_writes(), (Writes{0}));
	ASSERT_EQ(start(), 0) << plx_error();
	EXPECT_EQ(device.take_writes(), (Writes{0, 1, 3, 0xb, 0xf}));
}

TEST_F(Handshake, RefusedFeaturesEndInFailedAndNameTheStepAndTheSet)
{
	probe_and_decide();
	device.take_writes();
	device.refuse_features = true;
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0x83}));
	EXPECT_TRUE(driver.calls.empty());
	EXPECT_NE(std::string(plx_error()).find("FEATURES_OK"), std::string::npos) << plx_error();
	EXPECT_NE(std::string(plx_error()).find("F_VERSION_1"), std::string::npos) << plx_error();
}

TEST_F(Handshake, RefusalPointsAtAccessPlatformWhenItWasDeclined)
{
	plx_features_add(&device.offered, VIRTIO_F_ACCESS_PLATFORM);
	device.virtio.negotiation.wish[VIRTIO_F_ACCESS_PLATFORM] = PLX_FEATURE_OFF;
	probe_and_decide();
	device.refuse_features = true;
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("F_ACCESS_PLATFORM"), std::string::npos)
		<< plx_error();
}

TEST_F(Handshake, FailedSetUpEndsInFailed)
{
	probe_and_decide();
	device.take_writes();
	driver.set_up_result = -ENOMEM;
	EXPECT_EQ(start(), -ENOMEM);
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0x8b}));
	EXPECT_TRUE(device.virtio.reset_confirmed) << "it never went live: its memory may be freed";
	driver.set_up_result = 0;
	ASSERT_EQ(start(), 0) << plx_error();
	EXPECT_EQ(device.take_writes(), (Writes{0, 1, 3, 0xb, 0xf})) << "FAILED is left by a reset";
}

TEST_F(Handshake, FailedFillEndsInFailed)
{
	probe_and_decide();
	device.take_writes();
	driver.fill_result = -ENOBUFS;
	EXPECT_EQ(start(), -ENOBUFS);
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0x8b}));
}

TEST_F(Handshake, RefusedDriverOkIsFailedAndReset)
{
	probe_and_decide();
	device.take_writes();
	device.refuse_driver_ok = true;
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0xf, 0x8b, 0}));
	EXPECT_TRUE(device.virtio.reset_confirmed);
	EXPECT_NE(std::string(plx_error()).find("DRIVER_OK"), std::string::npos) << plx_error();
}

/* Writing back what the device shows makes it live before its time. */
TEST_F(Handshake, DeviceThatClaimsDriverOkEarlyIsResetBeforeItsQueuesAreFreed)
{
	probe_and_decide();
	device.take_writes();
	device.claims = VIRTIO_STATUS_DRIVER_OK;
	device.status |= device.claims;
	driver.set_up_result = -ENOMEM;
	EXPECT_EQ(start(), -ENOMEM);
	EXPECT_EQ(device.take_writes(), (Writes{0xf, 0x8f, 0}));
	EXPECT_EQ(device.function_resets, 0u);
	EXPECT_TRUE(device.virtio.reset_confirmed);
	device.never_resets = device.function_reset_fails = true;
	EXPECT_EQ(start(), -ENOMEM);
	EXPECT_FALSE(device.virtio.reset_confirmed) << "it may still use its queues";
}

/* The last look of the proposal's handshake is at both bits. */
TEST_F(Handshake, DriverOkThatIsLostWithDeviceOkIsNoticed)
{
	device.virtio.handshake = &plx_handshake_device_ok;
	device.forgets_driver_ok_at = VIRTIO_STATUS_DEVICE_OK;
	probe_and_decide();
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("DEVICE_OK re-read"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(driver.calls, (std::vector<std::string>{"set_up", "fill"}))
		<< "nothing was notified";
	EXPECT_TRUE(device.virtio.reset_confirmed);
}

TEST_F(Handshake, NeedsResetAfterDriverOkIsNoticed)
{
	probe_and_decide();
	device.take_writes();
	device.needs_reset_when = VIRTIO_STATUS_DRIVER_OK;
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_EQ(device.take_writes(), (Writes{0xb, 0xf, 0xcf, 0}));
	EXPECT_EQ(driver.calls, (std::vector<std::string>{"set_up", "fill"}))
		<< "nothing was notified";
}

TEST_F(Handshake, NeedsResetDuringNegotiationStopsIt)
{
	device.needs_reset_when = VIRTIO_STATUS_DRIVER;
	probe_and_decide();
	device.take_writes();
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_EQ(device.take_writes(), (Writes{0xc3}));
}

TEST_F(Handshake, ResetThatNeverEndsIsBoundedAndFallsBackToTheFunctionReset)
{
	device.never_resets = true;
	EXPECT_EQ(plx_handshake_probe(&device.virtio), -EIO);
	EXPECT_EQ(device.function_resets, 1u);
	EXPECT_TRUE(device.virtio.reset_confirmed);
}

TEST_F(Handshake, StopWithoutAnyConfirmationSaysSo)
{
	probe_and_decide();
	ASSERT_EQ(start(), 0);
	device.never_resets = true;
	device.function_reset_fails = true;
	EXPECT_EQ(plx_virtio_quiesce(&device.virtio), -EIO);
	EXPECT_FALSE(device.virtio.reset_confirmed);
}

TEST_F(Handshake, DeviceThatIsGoneIsSaidToBeGone)
{
	device.gone = true;
	EXPECT_EQ(plx_handshake_probe(&device.virtio), -ENODEV);
	device.gone = false;
	probe_and_decide();
	device.gone = true;
	EXPECT_EQ(start(), -ENODEV);
}

TEST_F(Handshake, FeaturesThatVanishAfterAResetAreRefused)
{
	plx_features_add(&device.offered, VIRTIO_F_EVENT_IDX);
	probe_and_decide();
	ASSERT_EQ(start(), 0);
	ASSERT_EQ(plx_virtio_quiesce(&device.virtio), 0);
	plx_features_remove(&device.offered, VIRTIO_F_EVENT_IDX);
	EXPECT_EQ(start(), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("F_EVENT_IDX"), std::string::npos) << plx_error();
}

TEST_F(Handshake, TraceTellsEveryStatusAccess)
{
	struct Line {
		plx_trace_kind kind;
		uint64_t value;
	};
	std::vector<std::pair<plx_trace_kind, uint64_t>> lines;

	probe_and_decide();
	ASSERT_EQ(start(), 0);
	plx_trace_visit(
		&device.virtio.trace,
		[](void *arg, const struct plx_trace_entry *entry) {
			auto *out = static_cast<decltype(lines) *>(arg);
			if (entry->kind == PLX_TRACE_STATUS_WRITE ||
				entry->kind == PLX_TRACE_STATUS_READ)
				out->emplace_back(entry->kind, entry->value);
			return 0;
		},
		&lines);
	const auto W = PLX_TRACE_STATUS_WRITE;
	const auto R = PLX_TRACE_STATUS_READ;
	EXPECT_EQ(lines, (decltype(lines){{W, 0}, {R, 0}, {R, 0}, {W, 1}, {R, 1}, {W, 3}, {R, 3},
				 {W, 0xb}, {R, 0xb}, {R, 0xb}, {W, 0xf}, {R, 0xf}}));
}

TEST_F(Handshake, TraceKeepsOnlyItsLastLines)
{
	unsigned lines = 0;

	for (unsigned i = 0; i < 200; i++)
		ASSERT_EQ(plx_handshake_probe(&device.virtio), 0);
	plx_trace_visit(
		&device.virtio.trace,
		[](void *arg, const struct plx_trace_entry *) {
			++*static_cast<unsigned *>(arg);
			return 0;
		},
		&lines);
	EXPECT_EQ(lines, (unsigned)PLX_TRACE_LINES);
}

/* --- device configuration --- */

TEST_F(Handshake, ConfigurationIsReadAgainUntilItSettles)
{
	struct plx_virtio_field field = {2, 2, 0};

	device.config = {0, 0, 0x34, 0x12};
	device.generation_changes = 7;
	EXPECT_EQ(plx_virtio_read_config(&device.virtio, &field, 1), 0) << plx_error();
	EXPECT_EQ(field.value, 0x1234u);
}

TEST_F(Handshake, ConfigurationThatNeverSettlesIsGivenUp)
{
	struct plx_virtio_field field = {0, 4, 0};

	device.config = {0, 0, 0, 0};
	device.generation_changes = 1000;
	EXPECT_EQ(plx_virtio_read_config(&device.virtio, &field, 1), -EPROTO);
	EXPECT_EQ(device.generation_changes, 1000u - 2 * device.virtio.limits.generation_tries);
}

TEST_F(Handshake, ConfigurationThatIsTooShortIsNotRead)
{
	struct plx_virtio_field field = {2, 4, 0};

	device.config = {1, 2, 3, 4};
	EXPECT_EQ(plx_virtio_read_config(&device.virtio, &field, 1), -EPROTO);
}

/* --- features --- */

TEST(Features, AllOffersAreMetWithKnownBitsOnly)
{
	struct plx_negotiation n;
	struct plx_features all = {{~UINT64_C(0), ~UINT64_C(0)}};

	plx_negotiation_init(&n, &plx_common_features);
	n.offered = all;
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_TRUE(plx_features_has(&n.accepted, VIRTIO_F_VERSION_1));
	EXPECT_FALSE(plx_features_has(&n.accepted, VIRTIO_F_BAD_FEATURE));
	EXPECT_FALSE(plx_features_has(&n.accepted, 44));
	EXPECT_FALSE(plx_features_has(&n.accepted, 127));
}

TEST(Features, NothingIsAcceptedThatWasNotOffered)
{
	struct plx_negotiation n;

	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
		plx_negotiation_init(&n, &plx_common_features);
		plx_features_add(&n.offered, bit);
		ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
		EXPECT_EQ(n.accepted.word[0] & ~n.offered.word[0], 0u);
		EXPECT_EQ(n.accepted.word[1] & ~n.offered.word[1], 0u);
	}
}

const uint8_t needs_1[] = {1, PLX_FEATURE_END};
const uint8_t needs_2[] = {2, PLX_FEATURE_END};
const uint8_t any_5_6[] = {5, 6, PLX_FEATURE_END};
const struct plx_feature_entry chain[] = {
	{1, "ONE", "one", nullptr, nullptr, nullptr},
	{2, "TWO", "two", nullptr, needs_1, nullptr},
	{3, "THREE", "three", nullptr, needs_2, nullptr},
	{4, "FOUR", "four", nullptr, nullptr, any_5_6},
	{5, "FIVE", "five", nullptr, nullptr, nullptr},
	{6, "SIX", "six", nullptr, nullptr, nullptr},
	{7, "SEVEN", "seven", "cannot be used here", nullptr, nullptr},
};
const struct plx_feature_table chain_table = {chain, 7};

/* As a visitor is told it. */
std::string reason_of(const struct plx_negotiation &n, unsigned bit)
{
	std::pair<unsigned, std::string> found = {bit, ""};

	plx_negotiation_visit(
		&n,
		[](void *arg, const struct plx_feature *feature) {
			auto *out = static_cast<decltype(found) *>(arg);
			if (feature->bit == out->first)
				out->second = feature->why;
			return 0;
		},
		&found);
	return found.second;
}

TEST(Features, OneThatIsMissingTakesAllThatDependOnIt)
{
	struct plx_negotiation n;

	plx_negotiation_init(&n, &chain_table);
	n.offered = {{0x7c, 0}}; /* 2 to 6, without 1 */
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_EQ(n.accepted.word[0], 0x70u);
	EXPECT_EQ(reason_of(n, 2), "depends on ONE");
	EXPECT_EQ(reason_of(n, 3), "depends on TWO");
}

TEST(Features, AllOfWhichOneWouldDoAreNamed)
{
	struct plx_negotiation n;

	plx_negotiation_init(&n, &chain_table);
	n.offered = {{1 << 4, 0}};
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_EQ(reason_of(n, 4), "depends on FIVE or SIX");
}

TEST(Features, LegacyInterfaceIsAReasonOfItsOwn)
{
	struct plx_negotiation n;

	plx_negotiation_init(&n, &chain_table);
	plx_negotiation_legacy(&n);
	n.offered = {{~UINT64_C(0), 0}};
	n.wish[VIRTIO_F_RING_PACKED] = PLX_FEATURE_ON;
	EXPECT_EQ(plx_negotiation_decide(&n, "fake"), -ENOTSUP);
	EXPECT_STREQ(plx_error(), "fake: the feature packed=on cannot be had (not through the "
				  "legacy interface): leave the option out");
	EXPECT_EQ(n.accepted.word[0] >> 32, 0u);
	EXPECT_TRUE(plx_features_has(&n.accepted, VIRTIO_F_EVENT_IDX));
}

TEST(Features, WhatTheUserDeclinesIsDeclinedByTheUserAndNotByTheDriver)
{
	struct plx_negotiation n;

	plx_negotiation_init(&n, &chain_table);
	n.offered = {{UINT64_C(1) << VIRTIO_F_EVENT_IDX, 0}};
	n.wish[VIRTIO_F_EVENT_IDX] = PLX_FEATURE_OFF;
	plx_negotiation_decline(&n, VIRTIO_F_EVENT_IDX, "slower");
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_EQ(reason_of(n, VIRTIO_F_EVENT_IDX), "declined by the user");
	EXPECT_EQ(n.accepted.word[0], 0u);
}

TEST(Features, OneOfSeveralIsEnoughForAnyOf)
{
	struct plx_negotiation n;

	plx_negotiation_init(&n, &chain_table);
	n.offered = {{1 << 4 | 1 << 6, 0}};
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_EQ(n.accepted.word[0], (1u << 4 | 1u << 6));
	n.offered = {{1 << 4, 0}};
	ASSERT_EQ(plx_negotiation_decide(&n, "fake"), 0);
	EXPECT_EQ(n.accepted.word[0], 0u);
}

TEST(Features, DemandThatCannotBeMetIsAnError)
{
	struct plx_negotiation n;

	const struct {
		unsigned bit;
		const char *sentence;
	} cases[] = {{2, "two=on cannot be had (depends on ONE): leave the option out"},
		{5, "five=on cannot be had (not offered): leave the option out, or give the device "
		    "the feature"},
		{7, "seven=on cannot be had (cannot be used here): leave the option out"}};

	for (const auto &c : cases) {
		plx_negotiation_init(&n, &chain_table);
		n.offered = {{1 << 2 | 1 << 7, 0}};
		n.wish[c.bit] = PLX_FEATURE_ON;
		EXPECT_EQ(plx_negotiation_decide(&n, "fake"), -ENOTSUP);
		EXPECT_EQ(plx_error(), std::string("fake: the feature ") + c.sentence);
	}
}

TEST(Features, OptionsOfTheAddressAreTaken)
{
	struct plx_negotiation n;
	struct plx_address address;

	plx_negotiation_init(&n, &chain_table);
	ASSERT_EQ(plx_address_parse(&address, "0000:00:03.0,one=off,two=on"), 0);
	ASSERT_EQ(plx_negotiation_options(&n, &address), 0) << plx_error();
	EXPECT_EQ(plx_address_finish(&address), 0) << plx_error();
	EXPECT_EQ(n.wish[1], PLX_FEATURE_OFF);
	EXPECT_EQ(n.wish[2], PLX_FEATURE_ON);
	plx_address_free(&address);
	ASSERT_EQ(plx_address_parse(&address, "0000:00:03.0,one=maybe"), 0);
	EXPECT_EQ(plx_negotiation_options(&n, &address), -EINVAL);
	plx_address_free(&address);
}

TEST(Features, NamesThatDoNotFitAreCutVisibly)
{
	struct plx_negotiation n;
	struct plx_features set = {{0x7e, 0}};
	char text[16];

	plx_negotiation_init(&n, &chain_table);
	EXPECT_STREQ(plx_negotiation_names(&n, &set, text, sizeof(text)) + 12, "...");
	EXPECT_LT(strlen(text), sizeof(text));
}

} // namespace
