/* SPDX-License-Identifier: BSD-3-Clause */
#include "qemu_net.h"

namespace qemu
{
namespace
{

/*
 * Every combination of what QEMU's device lets one choose, on each of its interfaces: what it
 * offers, what is accepted of that, what the device holds then, and that it starts and stops.
 */

/* What QEMU offers, and through which of its interfaces the driver has it. */
enum Interface { MODERN, TRANSITIONAL, TRANSITIONAL_BY_LEGACY, LEGACY };

constexpr const char *kInterfaceNames[] = {
	"modern", "transitional", "transitional_by_legacy", "legacy"};

struct Choice {
	Interface interface;
	unsigned on; /* properties, by their place below */
};

struct Property {
	const char *name;
	unsigned bit;
};

constexpr Property kProperties[] = {
	{"packed", VIRTIO_F_RING_PACKED},
	{"mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
	{"event_idx", VIRTIO_F_EVENT_IDX},
	{"indirect_desc", VIRTIO_F_INDIRECT_DESC},
	{"mq", VIRTIO_NET_F_MQ},
	{"rss", VIRTIO_NET_F_RSS},
	{"host_mtu", VIRTIO_NET_F_MTU},
	{"iommu_platform", VIRTIO_F_ACCESS_PLATFORM},
};
constexpr unsigned kCount = 8;
enum : unsigned { kMergeable = 1, kMtu = 6, kPlatform = 7 };
constexpr uint16_t kHostMtu = 1400;

bool by_legacy(Interface interface)
{
	return interface == TRANSITIONAL_BY_LEGACY || interface == LEGACY;
}

/* QEMU has iommu_platform only for devices without a legacy interface. */
std::vector<Choice> every_choice()
{
	std::vector<Choice> all;

	for (Interface interface : {MODERN, TRANSITIONAL, TRANSITIONAL_BY_LEGACY, LEGACY})
		for (unsigned on = 0; on < 1u << kCount; on++)
			if (interface == MODERN || !(on >> kPlatform & 1))
				all.push_back({interface, on});
	return all;
}

std::string name_of(const ::testing::TestParamInfo<Choice> &info)
{
	std::string name = kInterfaceNames[info.param.interface];

	for (unsigned i = 0; i < kCount; i++)
		if (info.param.on >> i & 1)
			name += std::string("_") + kProperties[i].name;
	return name;
}

class EveryCombination : public QemuNet, public ::testing::WithParamInterface<Choice>
{
      protected:
	bool has(unsigned property)
	{
		return GetParam().on >> property & 1;
	}

	std::string properties()
	{
		std::string text = property("disable-legacy", GetParam().interface == MODERN) +
				   property("disable-modern", GetParam().interface == LEGACY);

		for (unsigned i = 0; i < kCount; i++)
			if (i != kMtu)
				text += property(kProperties[i].name, has(i));
		return text + ",host_mtu=" + std::to_string(has(kMtu) ? kHostMtu : 0);
	}

	void expect_features()
	{
		uint64_t accepted_bits = 0;

		for (unsigned i = 0; i < kCount; i++)
			EXPECT_EQ(offered(kProperties[i].bit),
				has(i) && (kProperties[i].bit < 32 ||
						  !by_legacy(GetParam().interface)))
				<< kProperties[i].name;
		for (const struct plx_feature &feature : features()) {
			EXPECT_LE(feature.accepted, feature.offered) << feature.name;
			if (feature.accepted && feature.bit < 64)
				accepted_bits |= UINT64_C(1) << feature.bit;
		}
		for (unsigned bit : {VIRTIO_F_RING_PACKED, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1,
			     VIRTIO_F_ACCESS_PLATFORM, VIRTIO_NET_F_MTU, VIRTIO_NET_F_MAC,
			     VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MRG_RXBUF})
			EXPECT_EQ(accepted(bit), offered(bit)) << bit;
		EXPECT_FALSE(accepted(VIRTIO_F_BAD_FEATURE));
		EXPECT_EQ(features_in_device(), accepted_bits);
	}

	void expect_configuration()
	{
		const uint8_t mac[6] = {2, 0, 0, 0, 0, 7};
		struct plx_eth_info i = info();

		EXPECT_EQ(memcmp(i.mac, mac, sizeof(mac)), 0);
		EXPECT_EQ(i.mtu, has(kMtu) ? kHostMtu : 1500);
		EXPECT_TRUE(i.link_up);
		EXPECT_EQ(i.max_queue_pairs, 1);
		EXPECT_EQ(i.max_rx_ring, 256);
		EXPECT_EQ(i.max_tx_ring, 256);
	}
};

TEST_P(EveryCombination, StartsAndStops)
{
	Interface interface = GetParam().interface;

	/* Merging is accepted only when a frame does not fit one buffer. */
	if (has(kMergeable))
		pool_config.data_size = 512;
	boot(properties());
	start(interface == TRANSITIONAL_BY_LEGACY ? ",legacy=on" : "");
	EXPECT_EQ(registers().legacy, by_legacy(interface));
	expect_features();
	expect_configuration();
	for (uint16_t queue : {0, 1})
		EXPECT_EQ(queue_in_device(queue), std::make_pair(256u, true)) << queue;
	exchange(8);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_FALSE(queue_in_device(0).second);
	expect_all_back();
}

INSTANTIATE_TEST_SUITE_P(Qemu, EveryCombination, ::testing::ValuesIn(every_choice()), name_of);

} // namespace
} // namespace qemu
