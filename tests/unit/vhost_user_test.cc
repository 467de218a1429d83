/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_fixture.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

using ::testing::Contains;
using ::testing::HasSubstr;

static constexpr uint64_t BIT(unsigned bit)
{
	return UINT64_C(1) << bit;
}

#define P(feature) BIT(VHOST_USER_PROTOCOL_F_##feature)

static const uint64_t everything = P(MQ) | P(REPLY_ACK) | P(MTU) | P(CONFIG) | P(INFLIGHT_SHMFD) |
				   P(RESET_DEVICE) | P(CONFIGURE_MEM_SLOTS) | P(STATUS);

/* --- frames through every kind of session --- */

struct Kind {
	const char *name;
	bool extended; /* VHOST_USER_F_PROTOCOL_FEATURES */
	uint64_t protocol;
	const char *options;
};

class VhostSession : public VhostFixture, public ::testing::WithParamInterface<Kind>
{
};

static const Kind kinds[] = {
	{"bare_packed", false, 0, ""},
	{"bare_split", false, 0, ",packed=off"},
	{"extended_without_any", true, 0, ""},
	{"reply_ack_packed", true, P(REPLY_ACK), ""},
	{"reply_ack_split", true, P(REPLY_ACK), ",packed=off"},
	{"split_without_event_index", true, P(REPLY_ACK), ",packed=off,event_idx=off"},
	{"packed_without_event_index", true, P(REPLY_ACK), ",event_idx=off"},
	{"split_mergeable", true, P(REPLY_ACK), ",packed=off,mrg_rxbuf=on"},
	{"packed_mergeable", true, P(REPLY_ACK), ",mrg_rxbuf=on"},
	{"status", true, P(REPLY_ACK) | P(STATUS), ""},
	{"status_unacknowledged", true, P(STATUS), ""},
	{"inflight", true, P(INFLIGHT_SHMFD), ""},
	{"reset_device", true, P(REPLY_ACK) | P(RESET_DEVICE), ""},
	{"slots", true, P(REPLY_ACK) | P(CONFIGURE_MEM_SLOTS), ""},
	{"everything_packed", true, everything, ""},
	{"everything_split", true, everything, ",packed=off"},
};

TEST_P(VhostSession, MovesFramesAndGivesEveryBufferBack)
{
	if (!GetParam().extended)
		backend->features &= ~BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	backend->protocol = GetParam().protocol;
	start(GetParam().options);
	for (int run = 0; run < 3; run++) {
		pass(100);
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		EXPECT_EQ(backend->in_use(), 0u);
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
	EXPECT_EQ(backend->sessions, 1u);
	close();
	expect_all_back();
}

INSTANTIATE_TEST_SUITE_P(Kinds, VhostSession, ::testing::ValuesIn(kinds),
	[](const auto &info) { return std::string(info.param.name); });

class VhostUser : public VhostFixture
{
};

TEST_F(VhostUser, SendsAChainAndReceivesItOverSeveralBuffers)
{
	pool_config.data_size = 512;
	start(",mrg_rxbuf=on");
	for (size_t len : {60, 511, 512, 1024, 1400})
		pass(10, 0, len);
}

TEST_F(VhostUser, UsesEveryRingSize)
{
	pool_config.count = 4096;
	start();
	for (uint16_t size : {2, 64, 256, 1024}) {
		SCOPED_TRACE("a ring of " + std::to_string(size));
		ASSERT_EQ(plx_eth_stop(eth), 0);
		eth_config.rx_ring = eth_config.tx_ring = size;
		ASSERT_EQ(try_configure(), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		pass(100);
	}
}

/* --- sleeping --- */

class VhostSleep : public VhostFixture, public ::testing::WithParamInterface<bool>
{
      protected:
	int wait_for(int fd, int milliseconds)
	{
		struct pollfd polled = {fd, POLLIN, 0};
		eventfd_t count;
		int ret = poll(&polled, 1, milliseconds);

		if (ret > 0)
			(void)eventfd_read(fd, &count);
		return ret;
	}
};

TEST_P(VhostSleep, EveryFrameWakesWhoSleeps)
{
	backend->features |= BIT(22 /* MQ */);
	backend->protocol |= P(MQ);
	backend->pairs = eth_config.queue_pairs = 2;
	eth_config.interrupts = true;
	start(GetParam() ? ",event_idx=off,dev.queues=2"
			 : ",event_idx=off,packed=off,dev.queues=2");
	int fd = plx_eth_rx_event_fd(eth, 0);
	struct plx_eth_rxq *rxq = plx_eth_rxq(eth, 0);

	ASSERT_GE(fd, 0) << plx_error();
	EXPECT_NE(fd, plx_eth_rx_event_fd(eth, 1));
	EXPECT_EQ(plx_eth_config_event_fd(eth), -ENOTSUP);
	pass(200);
	EXPECT_EQ(backend->calls, 0u) << "nobody slept";
	for (unsigned number = 0; number < 300; number++) {
		struct plx_packet *packet = build(number, 60);
		int got = 0;

		ASSERT_EQ(plx_eth_rx_arm(rxq), 0) << plx_error();
		ASSERT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1), 1) << plx_error();
		ASSERT_EQ(wait_for(fd, 60000), 1) << "frame " << number << " woke nobody";
		while (!got)
			got = plx_eth_rx_burst(rxq, &packet, 1);
		ASSERT_EQ(got, 1) << plx_error();
		check(packet, number, 60);
		plx_packet_free(packet);
		plx_eth_rx_disarm(rxq);
	}
	EXPECT_EQ(backend->calls, 300u);
	pass(100, 1);
	EXPECT_EQ(wait_for(plx_eth_rx_event_fd(eth, 1), 0), 0);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

INSTANTIATE_TEST_SUITE_P(Rings, VhostSleep, ::testing::Bool(),
	[](const auto &info) { return info.param ? "Packed" : "Split"; });

/* --- what is said, and when --- */

TEST_F(VhostUser, TurnsDriverOkIntoTheMessagesOfEachRingAndAResetIntoTheirEnd)
{
	start();
	/* Four for the greeting, then the features, the memory and seven for each ring. */
	const std::vector<uint32_t> ring = {VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
		VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_ERR, VHOST_USER_SET_VRING_CALL,
		VHOST_USER_SET_VRING_KICK};
	std::vector<uint32_t> wanted = {VHOST_USER_GET_FEATURES, VHOST_USER_GET_PROTOCOL_FEATURES,
		VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_SET_OWNER, VHOST_USER_GET_FEATURES,
		VHOST_USER_SET_FEATURES, VHOST_USER_SET_MEM_TABLE};

	wanted.insert(wanted.end(), ring.begin(), ring.end());
	wanted.insert(wanted.end(), ring.begin(), ring.end());
	wanted.insert(wanted.end(), {VHOST_USER_SET_VRING_ENABLE, VHOST_USER_SET_VRING_ENABLE});
	EXPECT_EQ(backend->heard(), wanted);
	EXPECT_EQ(backend->in_use(), 2u);
	ASSERT_EQ(plx_eth_stop(eth), 0);
	wanted.insert(wanted.end(), {VHOST_USER_GET_VRING_BASE, VHOST_USER_GET_VRING_BASE});
	EXPECT_EQ(backend->heard(), wanted);
}

TEST_F(VhostUser, NeverShowsTheTransportsOwnFeaturesToTheDriver)
{
	backend->features |= BIT(VHOST_USER_F_LOG_ALL) | BIT(VIRTIO_F_ACCESS_PLATFORM);
	start();
	plx_device_features(
		plx_eth_device(eth),
		[](void *, const struct plx_feature *f) {
			if (f->bit == VHOST_USER_F_LOG_ALL ||
				f->bit == VHOST_USER_F_PROTOCOL_FEATURES ||
				f->bit == VIRTIO_F_ACCESS_PLATFORM)
				EXPECT_FALSE(f->offered) << f->name;
			return 0;
		},
		nullptr);
	EXPECT_TRUE(backend->accepted() & BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	EXPECT_FALSE(
		backend->accepted() & (BIT(VHOST_USER_F_LOG_ALL) | BIT(VIRTIO_F_ACCESS_PLATFORM)));
}

TEST_F(VhostUser, TakesTheBackendsConfigurationWhereItHasOne)
{
	struct plx_eth_info info;
	const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

	backend->protocol |= P(CONFIG);
	backend->features |= BIT(5 /* MAC */) | BIT(3 /* MTU */) | BIT(16 /* STATUS */);
	std::memcpy(backend->config, mac, 6);
	backend->config[6] = 0; /* no link */
	backend->config[10] = 0xdc;
	backend->config[11] = 0x05;
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, mac, 6), 0);
	EXPECT_EQ(info.mtu, 1500);
	EXPECT_FALSE(info.link_up);
}

TEST_F(VhostUser, MakesUpTheConfigurationThatABackendLacks)
{
	struct plx_eth_info info;
	const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

	backend->protocol |= P(MTU);
	start(",dev.mac=52:54:00:01:02:03,dev.mtu=9000,dev.queue_size=512,mrg_rxbuf=on");
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, mac, 6), 0);
	EXPECT_EQ(info.mtu, 9000);
	EXPECT_EQ(info.max_rx_ring, 512);
	EXPECT_TRUE(info.link_up);
	/* They are the front end's, and the backend never offered them. */
	EXPECT_FALSE(backend->accepted() & (BIT(3) | BIT(5)));
	EXPECT_EQ(backend->count(VHOST_USER_NET_SET_MTU), 1u);
}

/* --- memory --- */

TEST_F(VhostUser, TellsABackendThatRunsOfMemoryThatComesAndGoes)
{
	struct plx_pool *late;

	for (uint64_t protocol : {P(REPLY_ACK), uint64_t{0}, P(REPLY_ACK) | P(CONFIGURE_MEM_SLOTS),
		     P(CONFIGURE_MEM_SLOTS)}) {
		backend->protocol = protocol;
		new_backend();
		ASSERT_EQ(try_open(), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		pass(20);
		size_t before = backend->regions();
		ASSERT_EQ(plx_pool_create(ctx, &pool_config, &late), 0) << plx_error();
		EXPECT_EQ(backend->regions(), before + 1);
		std::swap(pool, late);
		pass(20);
		std::swap(pool, late);
		ASSERT_EQ(plx_eth_stop(eth), 0);
		ASSERT_EQ(plx_pool_destroy(late), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		pass(20);
		EXPECT_EQ(backend->regions(), before);
		close();
	}
}

TEST_F(VhostUser, RefusesMoreMemoryThanABackendTakes)
{
	std::vector<struct plx_pool *> pools(1);

	start();
	while (!plx_pool_create(ctx, &pool_config, &pools.back()))
		pools.push_back(nullptr);
	expect_error("takes 8 pieces of memory");
	pass(20);
	EXPECT_EQ(backend->regions(), 8u);
	close();
	for (struct plx_pool *each : pools)
		EXPECT_EQ(plx_pool_destroy(each), 0);
}

TEST_F(VhostUser, GivesMoreMemoryToABackendWithSlots)
{
	std::vector<struct plx_pool *> pools(12);

	backend->protocol |= P(CONFIGURE_MEM_SLOTS);
	start();
	for (struct plx_pool *&each : pools)
		ASSERT_EQ(plx_pool_create(ctx, &pool_config, &each), 0) << plx_error();
	pass(20);
	EXPECT_GT(backend->regions(), 12u);
	for (struct plx_pool *each : pools)
		EXPECT_EQ(plx_pool_destroy(each), 0);
	pass(20);
}

/* --- refusals --- */

TEST_F(VhostUser, SaysWhichFeatureABackendLacksThatTheUserDemands)
{
	backend->features &= ~BIT(VIRTIO_F_RING_PACKED);
	backend->start();
	ASSERT_EQ(try_open(",packed=on"), 0) << plx_error();
	EXPECT_EQ(try_configure(), -ENOTSUP);
	expect_error("packed=on cannot be had (not offered)");
}

TEST_F(VhostUser, RefusesABackendThatIsTooOldForTheStandard)
{
	backend->features &= ~(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED));
	backend->start();
	EXPECT_EQ(try_open(), -ENOTSUP);
	expect_error("F_VERSION_1");
}

TEST_F(VhostUser, StopsAtFeaturesOkWhenTheBackendRefusesTheFeatures)
{
	for (uint64_t protocol : {P(REPLY_ACK), P(REPLY_ACK) | P(STATUS)}) {
		backend->protocol = protocol;
		new_backend();
		backend->hook = [](unsigned, const VhostBackend::Message &message) {
			return message.header.request == VHOST_USER_SET_FEATURES
				       ? VhostBackend::REFUSE
				       : VhostBackend::SERVE;
		};
		ASSERT_EQ(try_open(), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		EXPECT_EQ(plx_eth_start(eth), -EPROTO);
		expect_error("FEATURES_OK re-read");
		expect_all_back();
		close();
	}
}

TEST_F(VhostUser, NamesTheMessageThatTheBackendRefuses)
{
	for (uint32_t request :
		{VHOST_USER_SET_MEM_TABLE, VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_ADDR,
			VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_ENABLE}) {
		new_backend();
		backend->hook = [=](unsigned, const VhostBackend::Message &message) {
			return message.header.request == request ? VhostBackend::REFUSE
								 : VhostBackend::SERVE;
		};
		ASSERT_EQ(try_open(), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		EXPECT_EQ(plx_eth_start(eth), -EPROTO);
		expect_error("the backend refuses");
		expect_all_back();
		close();
	}
}

/* --- sockets --- */

TEST_F(VhostUser, SaysThatThereIsNoSocket)
{
	EXPECT_EQ(try_open(",wait=0"), -ENODEV);
	expect_error("there is no such socket");
}

TEST_F(VhostUser, SaysThatNobodyListens)
{
	backend->start();
	backend->stop();
	EXPECT_EQ(try_open(",wait=0"), -ENODEV);
	expect_error("nobody listens");
}

TEST_F(VhostUser, WaitsForABackendThatIsAboutToStart)
{
	std::thread late([this] {
		usleep(100000);
		backend->start();
	});

	EXPECT_EQ(try_open(",wait=30000"), 0) << plx_error();
	late.join();
}

TEST_F(VhostUser, DoesNotTakeAFileForASocket)
{
	FILE *file = fopen(path.c_str(), "w");

	fclose(file);
	EXPECT_LT(try_open(",wait=0"), 0);
	EXPECT_EQ(try_open(",server=on,wait=0"), -EADDRINUSE);
	expect_error("no socket");
	EXPECT_EQ(access(path.c_str(), F_OK), 0) << "the user's file was removed";
}

TEST_F(VhostUser, RefusesAPathThatNoSocketCanHave)
{
	path += std::string(100, 'x');
	EXPECT_EQ(try_open(), -EINVAL);
	expect_error("at most 107 characters");
}

TEST_F(VhostUser, RefusesOptionsThatMakeNoSense)
{
	backend->start();
	for (const char *option : {",server=maybe", ",timeout=0", ",wait=x", ",dev.mac=1",
		     ",dev.mtu=1", ",dev.mac=01:00:00:00:00:00", ",dev.queues=0",
		     ",dev.queue_size=3", ",legacy=on", ",dev.mac=52:54:00:01:02:03:04"})
		EXPECT_EQ(try_open(option), -EINVAL) << option;
}

TEST_F(VhostUser, ListensAndRemovesItsFile)
{
	backend->client = true;
	start(",server=on,wait=30000");
	pass(50);
	EXPECT_EQ(access(path.c_str(), F_OK), 0);
	close();
	EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_F(VhostUser, ReplacesASocketThatItsOwnerLeftBehind)
{
	backend->start();
	backend->stop();
	ASSERT_EQ(access(path.c_str(), F_OK), 0);
	backend->client = true;
	start(",server=on,wait=30000");
	pass(50);
}

TEST_F(VhostUser, LeavesASocketAloneThatIsInUse)
{
	backend->start();
	EXPECT_EQ(try_open(",server=on,wait=0"), -EADDRINUSE);
	expect_error("another program listens");
	EXPECT_EQ(try_open(), 0) << plx_error();
}

TEST_F(VhostUser, DoesNotWaitWithoutEndForABackend)
{
	EXPECT_EQ(try_open(",server=on,wait=50"), -ENODEV);
	expect_error("no backend connected within 50 ms");
}
