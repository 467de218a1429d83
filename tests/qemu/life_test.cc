/* SPDX-License-Identifier: BSD-3-Clause */
#include "qemu_net.h"

#include <chrono>
#include <cstring>
#include <thread>

namespace qemu
{
namespace
{

/* From open to close: the handshake, restarts, resets in mid-run, and a device that dies. */

struct Kind {
	const char *name;
	const char *properties;
	bool legacy;
};

constexpr Kind kKinds[] = {
	{"split", ",disable-legacy=on", false},
	{"packed", ",disable-legacy=on,packed=on", false},
	{"legacy", ",disable-modern=on,disable-legacy=off", true},
	{"legacy_apart", ",disable-modern=on,disable-legacy=off,any_layout=off", true},
};

/* The golden sequences: each status written, and read back. */
constexpr char kModern[] = "w00 r00 r00 w01 r01 w03 r03 w0b r0b r0b w0f r0f";
constexpr char kLegacy[] = "w00 r00 r00 w01 r01 w03 r03 w07";
constexpr char kStop[] = "w00 r00";

const std::string kModernOnly = ",disable-legacy=on", kTransitional = ",disable-legacy=off",
		  kLegacyOnly = ",disable-modern=on,disable-legacy=off",
		  kPlatform = ",disable-legacy=on,iommu_platform=on";

class Life : public QemuNet, public ::testing::WithParamInterface<Kind>
{
      protected:
	bool error_says(const std::string &text)
	{
		return std::string(plx_error()).find(text) != std::string::npos;
	}
};

TEST_P(Life, WritesAndReadsTheStatusesOfItsTable)
{
	const std::string start_ = GetParam().legacy ? kLegacy : kModern, stop_ = kStop;

	boot(GetParam().properties);
	start();
	EXPECT_EQ(statuses, start_);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(statuses, start_ + " " + stop_);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_EQ(statuses, start_ + " " + stop_ + " " + start_);
	EXPECT_EQ(traced_statuses(), statuses);
	exchange(10);
}

TEST_P(Life, GoesOnAfterEveryRestart)
{
	boot(GetParam().properties);
	start();
	for (unsigned i = 0; i < 20; i++) {
		exchange(50);
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
	exchange(50);
}

TEST_P(Life, GoesOnAfterItWasClosedAndOpened)
{
	boot(GetParam().properties);
	for (unsigned i = 0; i < 5; i++) {
		start();
		ASSERT_FALSE(HasFatalFailure());
		exchange(50);
		close();
		EXPECT_FALSE(device->is_open());
		expect_all_back();
	}
}

/* Others can reconfigure it between stop and start. */
TEST_P(Life, GoesOnWithOtherBuffersAfterItWasConfiguredAgain)
{
	boot(std::string(GetParam().properties) + ",host_mtu=4000");
	start();
	fixed_length = 4014;
	exchange(50);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	plx_pool_cache_destroy(cache);
	cache = nullptr;
	ASSERT_EQ(plx_pool_destroy(pool), 0) << plx_error();
	pool = nullptr;
	pool_config.data_size = 4096;
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_FALSE(accepted(VIRTIO_NET_F_MRG_RXBUF));
	exchange(50);
}

/* After a stop the device writes nothing, however much still comes. */
TEST_P(Life, ResetWithFramesInFlightGivesEveryBufferBackForGood)
{
	std::vector<struct plx_packet *> packets(pool_config.count);
	constexpr int mark = 0x5a;

	boot(GetParam().properties);
	start();
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i <= round; i++)
			ASSERT_GE(pump(sent + 1000, injected + 1000, true), 0) << plx_error();
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		for (struct plx_packet *&packet : packets) {
			ASSERT_EQ(plx_pool_get(cache, &packet, 1), 1u);
			memset(plx_packet_buffer(packet), mark, packet->buf_len);
		}
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
		for (struct plx_packet *packet : packets) {
			const uint8_t *bytes = plx_packet_buffer(packet);

			EXPECT_TRUE(
				bytes[0] == mark && !memcmp(bytes, bytes + 1, packet->buf_len - 1u))
				<< "it wrote after it was stopped";
			plx_packet_prepare(packet, 0);
			plx_packet_free(packet);
		}
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
	exchange(100, true);
}

TEST_P(Life, TellsOfTheLink)
{
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);

	boot(GetParam().properties);
	start();
	for (bool up : {false, true}) {
		ASSERT_TRUE(machine.set_link("net0", up)) << machine.said();
		while (info().link_up != up)
			ASSERT_LT(std::chrono::steady_clock::now(), end);
	}
	exchange(10);
}

/* --- a device that dies --- */

/* However far it came: an error with a reason, no wait without end, and every buffer back. */
class Death : public Life
{
      protected:
	static constexpr auto kBound = std::chrono::seconds(60);
	std::chrono::steady_clock::time_point began;

	void SetUp() override
	{
		Life::SetUp();
		limits.reset = PLX_MILLISECONDS(200);
		may_complain = true; /* of the signal */
	}
	/* Return: whether all went well. */
	bool live()
	{
		bool well = !try_open() && !try_configure() && !plx_eth_start(eth) &&
			    !plx_eth_stop(eth);

		if (!well)
			EXPECT_NE(std::string(plx_error()), "");
		return well;
	}
	void expect_end()
	{
		close();
		if (pool)
			expect_all_back();
		EXPECT_LT(std::chrono::steady_clock::now() - began, kBound);
	}
	/* Go on sending for a while, as a program would that knows of nothing. */
	void pump_on()
	{
		for (unsigned i = 0; i < 2000; i++)
			(void)pump(sent + 32, injected + 32, true);
	}
};

TEST_P(Death, AtWhicheverAccessItComesEndsInAnErrorInTime)
{
	unsigned accesses = 0, all, at = 1;

	boot(GetParam().properties);
	device->before = [&](const Access &) { accesses++; };
	began = std::chrono::steady_clock::now();
	ASSERT_TRUE(live()) << plx_error();
	close();
	all = accesses;
	for (; at <= all; at += all / 12) {
		machine.kill();
		device.reset();
		boot(GetParam().properties);
		ASSERT_FALSE(HasFatalFailure());
		accesses = 0;
		device->before = [&](const Access &) {
			if (++accesses == at)
				machine.kill();
		};
		began = std::chrono::steady_clock::now();
		EXPECT_FALSE(live()) << "it died at access " << at << " of " << all;
		expect_end();
	}
}

TEST_P(Death, InMidRunLeavesAStopThatEnds)
{
	boot(GetParam().properties);
	start();
	exchange(100);
	began = std::chrono::steady_clock::now();
	machine.kill();
	pump_on();
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_TRUE(error_says("its buffers are kept until it is closed")) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EIO);
	expect_end();
}

TEST_P(Death, OfADeviceThatIsOnlyStuckIsNoDifferent)
{
	boot(GetParam().properties);
	start();
	exchange(100);
	began = std::chrono::steady_clock::now();
	machine.set_limit(200);
	machine.freeze();
	pump_on();
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	expect_end();
}

std::string kind_name(const ::testing::TestParamInfo<Kind> &info)
{
	return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Qemu, Life, ::testing::ValuesIn(kKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Qemu, Death, ::testing::ValuesIn(kKinds), kind_name);

/* --- refusals --- */

class Refusal : public Life
{
};

/* What QEMU does when a driver leaves bit 33 that it insists on (virtio 1.4, 6.1). */
TEST_P(Refusal, OfTheFeaturesIsSeenAtFeaturesOkAndEndsInFailed)
{
	boot(kPlatform + GetParam().properties);
	ASSERT_EQ(try_open(",access_platform=off"), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_TRUE(offered(VIRTIO_F_ACCESS_PLATFORM));
	ASSERT_FALSE(accepted(VIRTIO_F_ACCESS_PLATFORM));
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	EXPECT_TRUE(error_says("FEATURES_OK")) << plx_error();
	EXPECT_TRUE(error_says("leave out access_platform=off")) << plx_error();
	EXPECT_EQ(statuses, "w00 r00 r00 w01 r01 w03 r03 w0b r03 r03 w83");
	EXPECT_EQ(traced_statuses(), statuses);
	expect_all_back();
	close();
	/* And it lets itself be driven when it gets what it wants. */
	start();
	exchange(10);
}

constexpr Kind kRefused[] = {{"split", "", false}, {"packed", ",packed=on", false}};

INSTANTIATE_TEST_SUITE_P(Qemu, Refusal, ::testing::ValuesIn(kRefused), kind_name);

TEST_F(QemuNet, BehindAnIommuADeviceThatWouldBypassItIsRefused)
{
	translated = true;
	boot(kModernOnly);
	ASSERT_EQ(try_open(), 0) << plx_error();
	EXPECT_EQ(try_configure(), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("iommu_platform=on"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(statuses, "w00 r00 r00 w01 r01 w03 r03 w83");
}

TEST_F(QemuNet, BehindAnIommuADeviceThatHonoursItIsDriven)
{
	translated = true;
	boot(kPlatform);
	start();
	EXPECT_TRUE(accepted(VIRTIO_F_ACCESS_PLATFORM));
	exchange(10);
}

TEST_F(QemuNet, ATransitionalDeviceIsDrivenEitherWayInTurn)
{
	boot(kTransitional);
	for (const char *options :
		{"", ",legacy=on", ",legacy=off", ",legacy=auto", ",legacy=on"}) {
		bool legacy = std::string(options) == ",legacy=on";

		statuses.clear();
		start(options);
		ASSERT_FALSE(HasFatalFailure());
		EXPECT_EQ(registers().legacy, legacy);
		EXPECT_EQ(statuses, legacy ? kLegacy : kModern);
		EXPECT_EQ(accepted(VIRTIO_F_VERSION_1), !legacy);
		exchange(20);
		close();
	}
}

TEST_F(QemuNet, AnInterfaceThatTheDeviceLacksIsRefused)
{
	boot(kModernOnly);
	EXPECT_EQ(try_open(",legacy=on"), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("leave out legacy=on"), std::string::npos);
	EXPECT_FALSE(device->is_open());
	EXPECT_EQ(statuses, "");
}

TEST_F(QemuNet, TheModernInterfaceOfALegacyDeviceIsRefused)
{
	boot(kLegacyOnly);
	EXPECT_EQ(try_open(",legacy=off"), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("say legacy=on"), std::string::npos);
	EXPECT_FALSE(device->is_open());
	EXPECT_EQ(statuses, "");
}

TEST_F(QemuNet, FeaturesThatTheUserForbidsAreLeft)
{
	boot(kModernOnly + ",packed=on,event_idx=on,host_mtu=1400");
	start(",packed=off,event_idx=off,mtu=off,mac=off,status=off");
	for (unsigned bit : {VIRTIO_F_RING_PACKED, VIRTIO_F_EVENT_IDX, VIRTIO_NET_F_MTU,
		     VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS}) {
		EXPECT_TRUE(offered(bit)) << bit;
		EXPECT_FALSE(accepted(bit)) << bit;
	}
	EXPECT_EQ(features_in_device() & UINT64_C(1) << VIRTIO_F_RING_PACKED, 0u);
	EXPECT_EQ(info().mtu, 1500);
	exchange(100);
}

} // namespace
} // namespace qemu
