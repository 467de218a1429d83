/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user_rig.h"

#include <fcntl.h>
#include <sys/mman.h>

using ::testing::HasSubstr;

/* Servers that lie, hang, and die: nothing is lost by it, and each is told of in words. */

class VfioUserBad : public VfioUserFixture
{
      protected:
	void SetUp() override
	{
		VfioUserFixture::SetUp();
		interpose();
	}

	/* A new middleman, and no client with the old one. */
	void renew()
	{
		close();
		interpose();
	}

	using Spoiler = std::function<Middleman::Fate(struct plx_vfio_user_message *message)>;

	/* Spoil answer number @which to @command. */
	void spoil(unsigned command, unsigned which, Spoiler how)
	{
		auto seen = std::make_shared<unsigned>(0);

		middle->hook = [=](bool from_server, struct plx_vfio_user_message *message) {
			if (!from_server || message->header.command != command ||
				(*seen)++ != which)
				return Middleman::PASS;
			return how(message);
		};
	}
};

/* --- nonsense --- */

struct Nonsense {
	const char *name;
	const char *words; /* of the error */
	int err;           /* 0: any */
	std::function<Middleman::Fate(Middleman *middle, struct plx_vfio_user_message *message)>
		how;
};

static Middleman::Fate with_files(Middleman *m, struct plx_vfio_user_message *message, unsigned n)
{
	std::vector<int> files(n);

	for (int &each : files)
		each = open("/dev/null", O_RDONLY | O_CLOEXEC);
	m->say(message->header, message->payload, plx_vfio_user_payload_size(message), files);
	for (int each : files)
		close(each);
	return Middleman::DROP;
}

static Middleman::Fate cut(
	Middleman *m, struct plx_vfio_user_message *message, size_t len, Middleman::Fate then)
{
	m->say(&message->header, len);
	return then;
}

static const Nonsense nonsense[] = {
	{"text", "of its size", -EPROTO,
		[](Middleman *m, auto *) {
			std::string text = "HTTP/1.1 400 Bad Request\r\n";
			m->say(text.data(), text.size());
			return Middleman::HANG;
		}},
	{"zeros", "of its size", -EPROTO,
		[](Middleman *m, auto *) {
			uint8_t zeros[64] = {};
			m->say(zeros, sizeof(zeros));
			return Middleman::HANG;
		}},
	{"five_bytes_and_death", "hung up", -ENODEV,
		[](Middleman *m, auto *message) { return cut(m, message, 5, Middleman::DIE); }},
	{"half_a_payload_and_death", "hung up", -ENODEV,
		[](Middleman *m, auto *message) {
			message->header.size += 8;
			return cut(m, message, message->header.size - 9, Middleman::DIE);
		}},
	{"half_a_payload_and_silence", "did not answer", -ETIMEDOUT,
		[](Middleman *m, auto *message) {
			message->header.size += 8;
			return cut(m, message, message->header.size - 9, Middleman::HANG);
		}},
	{"death", "hung up", -ENODEV, [](Middleman *, auto *) { return Middleman::DIE; }},
	{"silence", "did not answer", -ETIMEDOUT,
		[](Middleman *, auto *) { return Middleman::HANG; }},
	{"four_gigabytes", "of its size", -EPROTO,
		[](Middleman *m, auto *message) {
			message->header.size = UINT32_MAX;
			return cut(m, message, 64, Middleman::HANG);
		}},
	{"less_than_a_header", "of its size", -EPROTO,
		[](Middleman *m, auto *message) {
			message->header.size = 15;
			return cut(m, message, 64, Middleman::HANG);
		}},
	{"another_id", "answers something else", -EPROTO,
		[](Middleman *, auto *message) {
			message->header.id ^= 0x4000;
			return Middleman::PASS;
		}},
	{"another_command", "answers something else", -EPROTO,
		[](Middleman *, auto *message) {
			message->header.command = VFIO_USER_DEVICE_RESET;
			return Middleman::PASS;
		}},
	{"a_command_of_its_own", "no command that a server may send", -EPROTO,
		[](Middleman *, auto *message) {
			message->header.flags = VFIO_USER_COMMAND;
			return Middleman::PASS;
		}},
	{"neither_command_nor_answer", "neither command nor answer", -EPROTO,
		[](Middleman *, auto *message) {
			message->header.flags = 7;
			return Middleman::PASS;
		}},
	{"a_refusal_with_data", "a refusal carries nothing", -EPROTO,
		[](Middleman *m, auto *message) {
			message->header.flags |= VFIO_USER_ERROR;
			message->header.size = sizeof(message->header) + 8;
			m->say(message->header, message->payload, 8);
			return Middleman::DROP;
		}},
	{"far_too_much", "size is wrong", -EPROTO,
		[](Middleman *m, auto *message) {
			std::vector<uint8_t> much(60000, 0x20);

			message->header.size = (uint32_t)(sizeof(message->header) + much.size());
			if (message->header.command == VFIO_USER_VERSION)
				message->header.size = sizeof(message->header) + 3;
			m->say(message->header, much.data(),
				message->header.size - sizeof(message->header));
			return Middleman::DROP;
		}},
	{"seventy_descriptors", "so many descriptors", -EPROTO,
		[](Middleman *m, auto *message) { return with_files(m, message, 70); }},
	{"two_descriptors", "nobody asked for", -EPROTO,
		[](Middleman *m, auto *message) { return with_files(m, message, 2); }},
};

class VfioUserNonsense : public VfioUserBad, public ::testing::WithParamInterface<Nonsense>
{
};

TEST_P(VfioUserNonsense, IsToldInASentenceAndLeavesNothingOpen)
{
	for (unsigned command : {VFIO_USER_VERSION, VFIO_USER_DEVICE_GET_INFO,
		     VFIO_USER_DEVICE_GET_REGION_INFO, VFIO_USER_DEVICE_GET_IRQ_INFO,
		     VFIO_USER_DMA_MAP, VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE}) {
		renew();
		spoil(command, 0, [&](struct plx_vfio_user_message *message) {
			return GetParam().how(middle.get(), message);
		});
		/* Only who waits for nothing has a short deadline: others may be slow. */
		bool silent = GetParam().err == -ETIMEDOUT;
		int err = live(silent ? ",timeout=300,wait=5000" : ",timeout=20000,wait=5000");
		ASSERT_LT(err, 0) << plx_vfio_user_command_name(command);
		/* A register that is lost reads as ones, and whoever reads it says so. */
		EXPECT_EQ(err, GetParam().err)
			<< plx_vfio_user_command_name(command) << ": " << plx_error();
		expect_error(GetParam().words);
	}
}

INSTANTIATE_TEST_SUITE_P(All, VfioUserNonsense, ::testing::ValuesIn(nonsense),
	[](const auto &info) { return std::string(info.param.name); });

/* --- what is claimed --- */

TEST_F(VfioUserBad, RefusesVersionsThatAreNotKnown)
{
	for (uint32_t version : {1u, 3u << 16, 0xffffffffu}) {
		renew();
		spoil(VFIO_USER_VERSION, 0, [=](struct plx_vfio_user_message *message) {
			std::memcpy(message->payload, &version, sizeof(version));
			return Middleman::PASS;
		});
		EXPECT_EQ(try_open(), -ENOTSUP);
		expect_error("the server speaks version");
	}
}

TEST_F(VfioUserBad, RefusesCapabilitiesThatAreNone)
{
	static const char *const texts[] = {
		"{",
		"[]",
		"7",
		"nonsense",
		"{\"capabilities\": 3}",
		"{\"capabilities\": {\"max_msg_fds\": \"many\"}}",
		"{\"capabilities\": {\"max_msg_fds\": -1}}",
		"{\"capabilities\": {\"max_data_xfer_size\": 1.5}}",
		"{\"capabilities\": {\"max_data_xfer_size\": 0}}",
		"{\"capabilities\": {\"max_dma_maps\": 0}}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}}",
	};

	for (const char *text : texts) {
		for (bool ends : {true, false}) {
			renew();
			spoil(VFIO_USER_VERSION, 0, [=](struct plx_vfio_user_message *message) {
				size_t len = std::strlen(text) + ends;

				message->header.size =
					(uint32_t)(sizeof(message->header) + 4 + len);
				std::memcpy(message->payload + 4, text, len);
				return Middleman::PASS;
			});
			EXPECT_EQ(try_open(), -EPROTO) << text;
		}
	}
}

TEST_F(VfioUserBad, TakesAServerThatSaysNothingOfItself)
{
	for (const char *text : {"", "{}", "{\"capabilities\": {}}",
		     "{\"capabilities\": {\"migration\": {\"pgsize\": 4096}, \"twin_socket\": {}}}"}) {
		renew();
		spoil(VFIO_USER_VERSION, 0, [=](struct plx_vfio_user_message *message) {
			size_t len = *text ? std::strlen(text) + 1 : 0;

			message->header.size = (uint32_t)(sizeof(message->header) + 4 + len);
			std::memcpy(message->payload + 4, text, len);
			return Middleman::PASS;
		});
		EXPECT_EQ(live(""), 0) << plx_error();
	}
}

TEST_F(VfioUserBad, RefusesADeviceThatIsNoneOrIsAbsurd)
{
	static const struct {
		struct vfio_user_device_info info;
		int err;
	} cases[] = {
		{{16, VFIO_DEVICE_FLAGS_RESET, 9, 5}, -ENOTSUP},
		{{16, VFIO_DEVICE_FLAGS_PCI, 7, 5}, -ENOTSUP},
		{{16, VFIO_DEVICE_FLAGS_PCI, UINT32_MAX, 5}, -EPROTO},
		{{16, VFIO_DEVICE_FLAGS_PCI, 9, UINT32_MAX}, -EPROTO},
	};

	for (const auto &c : cases) {
		renew();
		spoil(VFIO_USER_DEVICE_GET_INFO, 0, [&](struct plx_vfio_user_message *message) {
			std::memcpy(message->payload, &c.info, sizeof(c.info));
			return Middleman::PASS;
		});
		EXPECT_EQ(try_open(), c.err) << plx_error();
	}
}

TEST_F(VfioUserBad, SurvivesRegionsOfEverySize)
{
	for (uint64_t size : {UINT64_C(0), UINT64_C(1), UINT64_C(0x100), UINT64_C(1) << 40,
		     UINT64_C(1) << 41, UINT64_MAX})
		for (unsigned region : {4u, 7u})
			for (uint64_t offset : {UINT64_C(0), UINT64_MAX}) {
				renew();
				spoil(VFIO_USER_DEVICE_GET_REGION_INFO, region,
					[=](struct plx_vfio_user_message *message) {
						struct vfio_region_info info;

						std::memcpy(&info, message->payload, sizeof(info));
						info.size = size;
						info.offset = offset;
						std::memcpy(message->payload, &info, sizeof(info));
						return Middleman::PASS;
					});
				/* It may work; it must not hurt. */
				(void)live(",timeout=5000");
			}
}

TEST_F(VfioUserBad, SurvivesCapabilityChainsThatLeadAstray)
{
	for (uint32_t offset : {0u, 8u, 31u, 32u, 33u, 4096u, UINT32_MAX})
		for (uint32_t areas : {0u, 1u, 2u, 1000u, UINT32_MAX}) {
			int fd = memfd_create("region", MFD_ALLOW_SEALING | MFD_CLOEXEC);

			ASSERT_EQ(ftruncate(fd, 0x4000), 0);
			ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
			renew();
			spoil(VFIO_USER_DEVICE_GET_REGION_INFO, 2,
				[=](struct plx_vfio_user_message *message) {
					struct SparseRegion reply = {};

					reply.info.argsz = sizeof(reply);
					reply.info.index = 2;
					reply.info.size = 0x4000;
					reply.info.flags = 15;
					reply.info.cap_offset = offset;
					reply.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
					reply.header.next = 32;
					reply.nr_areas = areas;
					reply.area[0] = {UINT64_MAX - 100, 200};
					reply.area[1] = {0x3000, 0x2000};
					message->header.size =
						sizeof(message->header) + sizeof(reply);
					middle->say(message->header, &reply, sizeof(reply), {fd});
					return Middleman::DROP;
				});
			EXPECT_EQ(live(""), 0) << plx_error();
			::close(fd);
		}
}

TEST_F(VfioUserBad, TakesNoDoorbellThatIsNone)
{
	static const struct vfio_user_ioeventfd entries[] = {
		{0x3000, 2, 1, 0, 1, 0, 0},          /* no such descriptor */
		{0x3000, 2, UINT32_MAX, 0, 1, 0, 0}, /* nor this */
		{0x3fff, 2, 0, 0, 1, 0, 0},          /* over the end */
		{UINT64_MAX, 2, 0, 0, 1, 0, 0},      /* far over it */
		{0x3000, 3, 0, 0, 1, 0, 0},          /* no width */
		{0x3000, UINT64_MAX, 0, 0, 1, 0, 0}, /* nor this */
		{0x3000, 2, 0, 1, 1, 0, 0},          /* another mechanism */
		{0x3000, 2, 0, 0, 0xff, 0, 0},       /* flags that are not known */
	};

	for (const auto &entry : entries) {
		renew();
		spoil(VFIO_USER_DEVICE_GET_REGION_IO_FDS, 1,
			[&](struct plx_vfio_user_message *message) {
				struct vfio_user_io_fds info = {56, 0, 4, 1};
				uint8_t payload[56];
				int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

				std::memcpy(payload, &info, sizeof(info));
				std::memcpy(payload + 16, &entry, sizeof(entry));
				message->header.size = sizeof(message->header) + 56;
				middle->say(message->header, payload, 56, {fd});
				::close(fd);
				return Middleman::DROP;
			});
		ASSERT_NO_FATAL_FAILURE(start());
		ASSERT_NO_FATAL_FAILURE(pass(10));
	}
}

TEST_F(VfioUserBad, SurvivesCountsOfDoorbellsThatAreNotThere)
{
	for (uint32_t count : {0u, 1u, 2u, 1000u, UINT32_MAX}) {
		renew();
		spoil(VFIO_USER_DEVICE_GET_REGION_IO_FDS, 1,
			[=](struct plx_vfio_user_message *message) {
				struct vfio_user_io_fds info = {UINT32_MAX, 0, 4, count};

				std::memcpy(message->payload, &info, sizeof(info));
				return Middleman::PASS;
			});
		ASSERT_NO_FATAL_FAILURE(start());
		ASSERT_NO_FATAL_FAILURE(pass(10));
	}
}

TEST_F(VfioUserBad, RefusesAnswersOfAnotherRegister)
{
	for (unsigned at : {0u, 8u, 12u}) {
		renew();
		spoil(VFIO_USER_REGION_READ, 5, [=](struct plx_vfio_user_message *message) {
			message->payload[at] ^= 1;
			return Middleman::PASS;
		});
		EXPECT_EQ(live(""), -EPROTO);
		expect_error("another register");
	}
}

TEST_F(VfioUserBad, NamesWhatTheServerRefuses)
{
	for (unsigned command : {VFIO_USER_VERSION, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_DMA_MAP}) {
		for (uint32_t error : {0u, (uint32_t)EPERM, UINT32_MAX}) {
			renew();
			spoil(command, 0, [=](struct plx_vfio_user_message *message) {
				message->header.flags |= VFIO_USER_ERROR;
				message->header.error = error;
				message->header.size = sizeof(message->header);
				return Middleman::PASS;
			});
			EXPECT_EQ(live(""), error == EPERM ? -EPERM : -EIO) << plx_error();
			expect_error(plx_vfio_user_command_name(command));
		}
	}
}

TEST_F(VfioUserBad, TakesMoreInterruptsThanThereCanBeForNonsense)
{
	spoil(VFIO_USER_DEVICE_GET_IRQ_INFO, 2, [](struct plx_vfio_user_message *message) {
		struct vfio_irq_info info = {16, VFIO_IRQ_INFO_EVENTFD, 2, UINT32_MAX};

		std::memcpy(message->payload, &info, sizeof(info));
		return Middleman::PASS;
	});
	EXPECT_EQ(try_open(), -EPROTO);
	expect_error("no device has so many");
}

/* --- while frames move --- */

TEST_F(VfioUserBad, NoticesAServerThatFallsSilentWhileItRuns)
{
	auto silent = std::make_shared<std::atomic<bool>>(false);

	middle->hook = [=](bool, struct plx_vfio_user_message *) {
		return *silent ? Middleman::HANG : Middleman::PASS;
	};
	ASSERT_NO_FATAL_FAILURE(start(",timeout=4000"));
	ASSERT_NO_FATAL_FAILURE(pass(20));
	*silent = true;
	EXPECT_EQ(poll_until_error(), -ENODEV);
	*silent = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	ASSERT_NO_FATAL_FAILURE(pass(20));
}

TEST_F(VfioUserBad, SecondStopDoesNotCallBuffersSafeThatAreNot)
{
	auto silent = std::make_shared<std::atomic<bool>>(false);

	middle->hook = [=](bool, struct plx_vfio_user_message *) {
		return *silent ? Middleman::HANG : Middleman::PASS;
	};
	ASSERT_NO_FATAL_FAILURE(start(",timeout=3000"));
	ASSERT_NO_FATAL_FAILURE(pass(20));
	uint64_t before = plx_pool_available(pool);

	middle->deaf = true;
	*silent = true;
	/* Nobody else could be met there, from whom something might be learned. */
	ASSERT_EQ(unlink(path.c_str()), 0);
	EXPECT_EQ(poll_until_error(), -ENODEV);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_EQ(plx_eth_stop(eth), -EIO);
		expect_error("neither answers nor hangs up");
		EXPECT_EQ(plx_pool_available(pool), before);
	}
	*silent = false;
	middle->deaf = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_F(VfioUserBad, RefusedResetDoesNotPassForAServerThatIsGone)
{
	auto stubborn = std::make_shared<std::atomic<bool>>(false);

	middle->hook = [=](bool from_server, struct plx_vfio_user_message *message) {
		struct vfio_user_region_access access;

		std::memcpy(&access, message->payload, sizeof(access));
		if (!*stubborn)
			return Middleman::PASS;
		if (from_server && message->header.command == VFIO_USER_DEVICE_RESET) {
			message->header.flags |= VFIO_USER_ERROR;
			message->header.error = ENODEV;
		}
		/* The one register of a byte that is written is the status: it stays as it is. */
		if (!from_server && message->header.command == VFIO_USER_REGION_WRITE &&
			access.count == 1)
			message->payload[sizeof(access)] = 0x0f;
		return Middleman::PASS;
	};
	ASSERT_NO_FATAL_FAILURE(start());
	ASSERT_NO_FATAL_FAILURE(pass(20));
	uint64_t before = plx_pool_available(pool);

	*stubborn = true;
	EXPECT_EQ(plx_eth_stop(eth), -EIO);
	EXPECT_EQ(plx_pool_available(pool), before);
	*stubborn = false;
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
}

TEST_F(VfioUserBad, IsNotHeldUpByAServerThatTalksWithoutEnd)
{
	/* Before an answer comes a thousand refused wishes; the client must come to its answer. */
	middle->hook = [this](bool from_server, struct plx_vfio_user_message *message) {
		struct vfio_user_dma_access access = {1, 8};

		if (!from_server && (message->header.flags & VFIO_USER_TYPE_MASK))
			return Middleman::DROP;
		if (from_server && message->header.command == VFIO_USER_DEVICE_GET_INFO)
			for (unsigned i = 0; i < 100; i++)
				middle->say({7, VFIO_USER_DMA_READ, 32, VFIO_USER_NO_REPLY, 0},
					&access, sizeof(access));
		return Middleman::PASS;
	};
	EXPECT_EQ(live(""), 0) << plx_error();
}

TEST_F(VfioUserBad, DiesAtEachMessageInTurn)
{
	/* Some 400 messages make a life; each is the last one once, in steps. */
	for (unsigned last = 0; last < 400; last += last < 40 ? 1 : 13) {
		auto seen = std::make_shared<unsigned>(0);

		renew();
		middle->hook = [=](bool from_server, struct plx_vfio_user_message *) {
			return from_server && (*seen)++ == last ? Middleman::DIE : Middleman::PASS;
		};
		(void)live(",timeout=2000,wait=0");
		if (eth && pool) {
			close();
			expect_all_back();
		}
	}
}
