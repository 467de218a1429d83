/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_fixture.h"

#include <fcntl.h>

using ::testing::Contains;
using ::testing::HasSubstr;

/* Backends that lie, hang, and die: nothing is lost by it, and each is told of in words. */

static constexpr uint64_t BIT(unsigned bit)
{
	return UINT64_C(1) << bit;
}

#define P(feature) BIT(VHOST_USER_PROTOCOL_F_##feature)

static const uint64_t everything = P(MQ) | P(REPLY_ACK) | P(CONFIG) | P(INFLIGHT_SHMFD) |
				   P(RESET_DEVICE) | P(CONFIGURE_MEM_SLOTS) | P(STATUS);

class VhostBad : public VhostFixture
{
      protected:
	/* Spoil the first answer to @request. */
	void spoil(uint32_t request, std::function<VhostBackend::Fate()> how)
	{
		auto done = std::make_shared<bool>(false);

		backend->hook = [=](unsigned, const VhostBackend::Message &message) {
			if (*done || message.header.request != request)
				return VhostBackend::SERVE;
			*done = true;
			return how();
		};
	}
};

/* --- nonsense --- */

struct Nonsense {
	const char *name;
	const char *words; /* of the error */
	int err;
	std::function<VhostBackend::Fate(VhostBackend *backend, uint32_t request)> how;
};

static std::vector<uint8_t> message(
	uint32_t request, uint32_t flags, uint32_t size, size_t bytes = SIZE_MAX)
{
	struct vhost_user_header header = {request, flags, size};
	std::vector<uint8_t> all(sizeof(header) + (bytes == SIZE_MAX ? size : bytes));

	std::memcpy(all.data(), &header, sizeof(header));
	return all;
}

static VhostBackend::Fate say(VhostBackend *backend, const std::vector<uint8_t> &bytes,
	VhostBackend::Fate then = VhostBackend::ANSWERED, unsigned fds = 0)
{
	std::vector<int> files;

	for (unsigned i = 0; i < fds; i++)
		files.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
	backend->send(bytes.data(), bytes.size(), files);
	for (int each : files)
		close(each);
	return then;
}

static const Nonsense nonsense[] = {
	{"text", "another version", -EPROTO,
		[](VhostBackend *b, uint32_t) {
			std::string text =
				"HTTP/1.1 400 Bad Request\r\nServer: of another kind\r\n";
			return say(b, std::vector<uint8_t>(text.begin(), text.end()));
		}},
	{"zeros", "another version", -EPROTO,
		[](VhostBackend *b, uint32_t) { return say(b, std::vector<uint8_t>(64)); }},
	{"half_a_header", "hung up", -ENODEV,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8, 0), VhostBackend::DIE);
		}},
	{"a_header_of_five_bytes", "hung up", -ENODEV,
		[](VhostBackend *b, uint32_t) {
			return say(b, std::vector<uint8_t>(5), VhostBackend::DIE);
		}},
	{"half_a_payload", "hung up", -ENODEV,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8, 3), VhostBackend::DIE);
		}},
	{"half_a_payload_and_silence", "did not answer", -ETIMEDOUT,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 5, 8, 3)); }},
	{"silence", "did not answer", -ETIMEDOUT,
		[](VhostBackend *, uint32_t) { return VhostBackend::IGNORE; }},
	{"too_little", "size is wrong", -EPROTO,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 5, 4)); }},
	{"too_much", "size is wrong", -EPROTO,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 5, 12)); }},
	{"four_gigabytes", "size is wrong", -EPROTO,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 5, UINT32_MAX, 64)); }},
	{"another_request", "answers something else", -EPROTO,
		[](VhostBackend *b, uint32_t) { return say(b, message(77, 5, 8)); }},
	{"a_question", "answers something else", -EPROTO,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 1, 8)); }},
	{"another_version", "another version", -EPROTO,
		[](VhostBackend *b, uint32_t r) { return say(b, message(r, 6, 8)); }},
	{"a_descriptor", "nobody asked for", -EPROTO,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8), VhostBackend::ANSWERED, 1);
		}},
	{"eight_descriptors", "nobody asked for", -EPROTO,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8), VhostBackend::ANSWERED, 8);
		}},
	{"nine_descriptors", "too many descriptors", -EPROTO,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8), VhostBackend::ANSWERED, 9);
		}},
	{"thirty_descriptors_and_death", "", 0,
		[](VhostBackend *b, uint32_t r) {
			return say(b, message(r, 5, 8), VhostBackend::DIE, 30);
		}},
};

class VhostNonsense : public VhostBad, public ::testing::WithParamInterface<Nonsense>
{
};

TEST_P(VhostNonsense, IsToldInASentenceAndLeavesNothingOpen)
{
	/* A question at opening, one at the start, and an acknowledgement. */
	for (uint32_t request :
		{VHOST_USER_GET_FEATURES, VHOST_USER_GET_PROTOCOL_FEATURES, VHOST_USER_GET_STATUS,
			VHOST_USER_SET_OWNER, VHOST_USER_SET_FEATURES, VHOST_USER_SET_VRING_KICK}) {
		backend->protocol = P(REPLY_ACK) | P(STATUS);
		new_backend();
		/*
		 * What is sent before an acknowledgement was agreed on would answer the next
		 * question.
		 */
		spoil(request, [=] { return GetParam().how(backend.get(), request); });
		/* Only who waits for nothing has a short deadline: others may be slow. */
		bool silent = GetParam().err == -ETIMEDOUT;
		int err = live(silent ? ",timeout=300,wait=60000" : ",timeout=60000,wait=60000");
		ASSERT_LT(err, 0) << "request " << request;
		if (GetParam().err) {
			EXPECT_EQ(err, GetParam().err) << "request " << request << plx_error();
			expect_error(GetParam().words);
		}
		close();
		if (pool)
			expect_all_back();
	}
}

INSTANTIATE_TEST_SUITE_P(All, VhostNonsense, ::testing::ValuesIn(nonsense),
	[](const auto &info) { return std::string(info.param.name); });

TEST_F(VhostBad, WantsADescriptorWithTheInflightRecord)
{
	const struct vhost_user_inflight inflight = {4096, 0, 2, 64, 0};

	for (uint32_t size : {24, 20}) {
		backend->protocol = P(REPLY_ACK) | P(INFLIGHT_SHMFD);
		new_backend();
		spoil(VHOST_USER_GET_INFLIGHT_FD, [=] {
			backend->answer(VHOST_USER_GET_INFLIGHT_FD, &inflight, size);
			return VhostBackend::ANSWERED;
		});
		EXPECT_EQ(live(",timeout=60000"), -EPROTO);
		expect_error("its descriptor is missing");
		close();
	}
}

TEST_F(VhostBad, RefusesAConfigurationThatIsOfferedAndNotGiven)
{
	backend->protocol |= P(CONFIG);
	backend->features |= BIT(5 /* MAC */);
	backend->config_size = 2;
	backend->start();
	EXPECT_EQ(try_open(), -EPROTO);
	expect_error("does not give");
}

TEST_F(VhostBad, RefusesABackendWithoutQueuesOrMemory)
{
	backend->protocol |= P(MQ) | P(CONFIGURE_MEM_SLOTS);
	backend->pairs = 0;
	backend->start();
	EXPECT_EQ(try_open(), -EPROTO);
	expect_error("no queues");
	backend->pairs = 1;
	backend->slots = 0;
	EXPECT_EQ(try_open(), -EPROTO);
	expect_error("no room for memory");
}

TEST_F(VhostBad, TakesNoMoreQueuesAndSlotsThanThereCanBe)
{
	backend->protocol |= P(MQ) | P(CONFIGURE_MEM_SLOTS);
	backend->slots = UINT64_MAX;
	spoil(VHOST_USER_GET_QUEUE_NUM, [this] {
		backend->answer_u64(VHOST_USER_GET_QUEUE_NUM, UINT64_MAX);
		return VhostBackend::ANSWERED;
	});
	start();
	pass(20);
}

TEST_F(VhostBad, DoesNotTrustARingThatStopsInAnothersPlace)
{
	start(",timeout=60000");
	spoil(VHOST_USER_GET_VRING_BASE, [=] {
		const struct vhost_user_vring_state state = {7, 0};

		backend->answer(VHOST_USER_GET_VRING_BASE, &state, sizeof(state));
		return VhostBackend::ANSWERED;
	});
	/* It is asked to let go altogether, and does. */
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_THAT(messages, Contains(HasSubstr("stopped ring 7 instead of 0")));
	expect_all_back();
}

/* --- death and silence at every message in turn --- */

class VhostSweep : public VhostBad, public ::testing::WithParamInterface<uint64_t>
{
      protected:
	static bool wants_answer(const VhostBackend::Message &message)
	{
		switch (message.header.request) {
		case VHOST_USER_GET_FEATURES:
		case VHOST_USER_GET_PROTOCOL_FEATURES:
		case VHOST_USER_GET_QUEUE_NUM:
		case VHOST_USER_GET_MAX_MEM_SLOTS:
		case VHOST_USER_GET_VRING_BASE:
		case VHOST_USER_GET_INFLIGHT_FD:
		case VHOST_USER_GET_CONFIG:
		case VHOST_USER_GET_STATUS:
			return true;
		default:
			return message.header.flags & VHOST_USER_NEED_REPLY;
		}
	}

	/* With a limit this short a busy machine may need several tries. */
	template <typename Step> void retry(Step step)
	{
		int err, tries = 0;

		do
			err = step();
		while (err == -ETIMEDOUT && ++tries < 1000);
		ASSERT_EQ(err, 0) << plx_error();
	}

	void sweep(VhostBackend::Fate fate, const char *options)
	{
		bool reached = true;

		for (unsigned at = 0; reached; at++) {
			auto seen = std::make_shared<std::atomic<bool>>(false);

			SCOPED_TRACE("message " + std::to_string(at));
			backend->protocol = GetParam();
			new_backend();
			backend->hook = [=](unsigned, const VhostBackend::Message &message) {
				if (*seen || backend->heard().size() <= at)
					return VhostBackend::SERVE;
				*seen = true;
				/* Silence is the answer to what wants none. */
				return fate == VhostBackend::DIE || wants_answer(message)
					       ? fate
					       : VhostBackend::SERVE;
			};
			int err = live(options);
			reached = *seen;
			/* The last messages are those of the stop, which death makes certain. */
			if (reached && err && eth) {
				EXPECT_NE(std::string(plx_error()), "");
				/* It begins anew, with the same device. */
				retry([&] { return try_configure(); });
				retry([&] { return plx_eth_start(eth); });
				pass(10);
			}
			close();
			if (pool)
				expect_all_back();
			EXPECT_LE(backend->regions(), 8u);
		}
	}
};

TEST_P(VhostSweep, SurvivesABackendThatDiesAtEachMessageInTurn)
{
	sweep(VhostBackend::DIE, ",timeout=60000,wait=60000");
}

TEST_P(VhostSweep, SurvivesABackendThatFallsSilentAtEachMessageInTurn)
{
	sweep(VhostBackend::IGNORE, ",timeout=100,wait=60000");
}

INSTANTIATE_TEST_SUITE_P(Protocols, VhostSweep,
	::testing::Values(uint64_t{0}, P(REPLY_ACK), P(REPLY_ACK) | P(STATUS), everything));

/* --- death while frames move --- */

TEST_F(VhostBad, ReturnsEveryBufferWhenTheBackendDiesAndMovesOnWithTheNext)
{
	for (const char *options : {"", ",packed=off", ",event_idx=off"}) {
		if (eth)
			close();
		new_backend();
		ASSERT_EQ(try_open(options + std::string(",wait=10000")), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		for (int life = 0; life < 10; life++) {
			ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
			pass(100);
			/* Some are under way when it happens. */
			backend->frozen = life % 2;
			for (unsigned i = 0; i < 10; i++) {
				struct plx_packet *packet = build(i, 60);

				ASSERT_EQ(plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1), 1);
			}
			new_backend();
			EXPECT_EQ(poll_until_error(), -ENODEV);
			expect_error("the device is gone");
			ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
			expect_all_back();
		}
	}
}

TEST_F(VhostBad, SendsNothingToABackendThatIsGone)
{
	int taken = 0;

	start();
	backend->stop();
	for (unsigned i = 0; i < 1000000 && taken >= 0; i++) {
		struct plx_packet *packet = build(i, 60);

		taken = plx_eth_tx_burst(plx_eth_txq(eth, 0), &packet, 1);
		if (taken < 1)
			plx_packet_free(packet);
	}
	EXPECT_EQ(taken, -ENODEV);
	EXPECT_EQ(plx_eth_stop(eth), 0);
	expect_all_back();
}

/* It once said -EIO, and nothing in words. */
TEST_F(VhostBad, TellsWhoOnlyLooksAfterWhatWasSentThatTheBackendIsGone)
{
	auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
	int err = 0;

	start();
	backend->stop();
	while (!err && std::chrono::steady_clock::now() < deadline)
		err = plx_eth_tx_burst(plx_eth_txq(eth, 0), nullptr, 0);
	EXPECT_EQ(err, -ENODEV);
	expect_error("the device is gone");
}

TEST_F(VhostBad, ComesBackToAServerToo)
{
	backend->client = true;
	start(",server=on,wait=30000");
	for (int life = 0; life < 5; life++) {
		pass(50);
		new_backend();
		EXPECT_EQ(poll_until_error(), -ENODEV);
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}
}

TEST_F(VhostBad, SaysThatABackendHasNotComeBack)
{
	struct plx_eth_info info;

	start(",wait=20");
	backend->stop();
	plx_eth_get_info(eth, &info);
	EXPECT_FALSE(info.link_up);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	plx_eth_get_info(eth, &info);
	EXPECT_FALSE(info.link_up);
	EXPECT_EQ(plx_eth_start(eth), -ENODEV);
	expect_error("nobody listens");
	expect_all_back();
	backend->start();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	pass(20);
}

TEST_F(VhostBad, DoesNotStartWhenTheNextBackendLacksWhatWasAccepted)
{
	start();
	backend->features &= ~BIT(VIRTIO_F_RING_PACKED);
	new_backend();
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	expect_error("no longer offers F_RING_PACKED");
}

TEST_F(VhostBad, HearsOfAFaultThatTheBackendReports)
{
	start();
	pass(20);
	backend->report_fault();
	EXPECT_EQ(poll_until_error(), -EIO);
	expect_error("a fault of its own");
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	pass(20);
}

/* --- a backend that is in the way --- */

TEST_F(VhostBad, KeepsTheBuffersOfABackendThatNeitherStopsNorHangsUp)
{
	start(",timeout=1000");
	pass(20);
	backend->sticky = true;
	spoil(VHOST_USER_GET_VRING_BASE, [] { return VhostBackend::HANG; });
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	expect_error("neither stops its rings nor hangs up");
	EXPECT_LT(plx_pool_available(pool), plx_pool_count(pool));
	EXPECT_EQ(plx_eth_start(eth), -EIO);
	close();
	expect_all_back();
	EXPECT_THAT(messages, Contains(HasSubstr("may still use the buffers")));
}

TEST_F(VhostBad, TakesTheBuffersOfABackendThatHangsUpWhenItIsAskedTo)
{
	start(",timeout=1000");
	pass(20);
	spoil(VHOST_USER_GET_VRING_BASE, [] { return VhostBackend::IGNORE; });
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_THAT(messages, Contains(HasSubstr("hanging up instead")));
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	pass(20);
}
