/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user_rig.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

using ::testing::Contains;
using ::testing::HasSubstr;

/* What a client may say to an emulated card that is served, and what becomes of what it may not. */

class EmuServer : public ::testing::Test
{
      protected:
	char folder[32] = "/tmp/emu_server_XXXXXX";
	std::string path;
	std::unique_ptr<CardServer> server;
	std::unique_ptr<struct plx_vfio_user_wire> wire;
	uint16_t id = 0;

	void SetUp() override
	{
		ASSERT_NE(mkdtemp(folder), nullptr);
		path = std::string(folder) + "/socket";
		server = std::make_unique<CardServer>(path);
		server->start();
	}

	void TearDown() override
	{
		leave();
		server->stop();
		EXPECT_EQ(rmdir(folder), 0) << "files are left in " << folder;
	}

	void leave()
	{
		if (!wire)
			return;
		plx_vfio_user_drop(wire.get());
		(void)plx_socket_part(wire->socket, plx_now() + PLX_MILLISECONDS(5000));
		close(wire->socket);
		wire.reset();
	}

	void come()
	{
		struct sockaddr_un address;

		leave();
		ASSERT_EQ(plx_socket_address(&address, path.c_str()), 0);
		wire = std::make_unique<struct plx_vfio_user_wire>();
		wire->socket = plx_socket_connect(&address, PLX_MILLISECONDS(60000));
		ASSERT_GE(wire->socket, 0);
	}

	void say(const void *bytes, size_t len, const std::vector<int> &fds = {})
	{
		(void)plx_socket_send(wire->socket, bytes, len, fds.data(), (unsigned)fds.size(),
			plx_now() + PLX_MILLISECONDS(1000));
	}

	void command(unsigned number, const void *payload, size_t len,
		const std::vector<int> &fds = {}, uint32_t flags = VFIO_USER_COMMAND)
	{
		struct vfio_user_header header = {++id, (uint16_t)number,
			(uint32_t)(sizeof(struct vfio_user_header) + len), flags, 0};
		std::vector<uint8_t> all(header.size);

		std::memcpy(all.data(), &header, sizeof(header));
		if (len)
			std::memcpy(all.data() + sizeof(header), payload, len);
		say(all.data(), all.size(), fds);
	}

	/* Return: 0, or the error of the answer; -1: it hung up. */
	int answer()
	{
		int ret = plx_vfio_user_receive(wire.get(), plx_now() + PLX_MILLISECONDS(60000));

		EXPECT_NE(ret, 0) << "no answer";
		if (ret <= 0)
			return -1;
		EXPECT_EQ(wire->in.header.id, id);
		EXPECT_EQ(wire->in.header.flags & VFIO_USER_TYPE_MASK, VFIO_USER_REPLY);
		if (!(wire->in.header.flags & VFIO_USER_ERROR))
			return 0;
		EXPECT_EQ(wire->in.header.size, sizeof(wire->in.header));
		EXPECT_NE(wire->in.header.error, 0u);
		return (int)wire->in.header.error;
	}

	template <typename T>
	int ask(unsigned number, const T &payload, const std::vector<int> &fds = {})
	{
		command(number, &payload, sizeof(payload), fds);
		return answer();
	}

	int greet(const char *json = "{\"capabilities\":{\"max_msg_fds\":8}}", uint16_t major = 0,
		uint16_t minor = 0)
	{
		std::vector<uint8_t> payload(4 + (json ? std::strlen(json) + 1 : 0));

		std::memcpy(payload.data(), &major, 2);
		std::memcpy(payload.data() + 2, &minor, 2);
		if (json)
			std::memcpy(payload.data() + 4, json, std::strlen(json) + 1);
		command(VFIO_USER_VERSION, payload.data(), payload.size());
		return answer();
	}

	void meet()
	{
		ASSERT_NO_FATAL_FAILURE(come());
		ASSERT_EQ(greet(), 0);
	}

	static int file(off_t size, bool sealed = true)
	{
		int fd = memfd_create("memory", MFD_ALLOW_SEALING | MFD_CLOEXEC);

		EXPECT_EQ(ftruncate(fd, size), 0);
		if (sealed) {
			EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
		}
		return fd;
	}

	/* The card answers, to this client or to the next. */
	void expect_alive()
	{
		struct vfio_user_device_info info = {16, 0, 0, 0};

		ASSERT_NO_FATAL_FAILURE(meet());
		EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, info), 0);
	}
};

TEST_F(EmuServer, AgreesOnTheLowerMinorVersion)
{
	for (uint16_t minor : {0, 1, 2, 3, 65535}) {
		uint16_t agreed;

		ASSERT_NO_FATAL_FAILURE(come());
		ASSERT_EQ(greet("{}", 0, minor), 0);
		std::memcpy(&agreed, wire->in.payload + 2, sizeof(agreed));
		EXPECT_EQ(agreed, std::min<uint16_t>(minor, 2));
		EXPECT_EQ(wire->in.payload[plx_vfio_user_payload_size(&wire->in) - 1], 0);
	}
}

TEST_F(EmuServer, HangsUpOnWhoDoesNotGreet)
{
	struct vfio_user_device_info info = {16, 0, 0, 0};

	ASSERT_NO_FATAL_FAILURE(come());
	EXPECT_EQ(greet("{}", 1), ENOTSUP);
	EXPECT_EQ(answer(), -1);
	ASSERT_NO_FATAL_FAILURE(come());
	EXPECT_EQ(greet("{]"), EINVAL);
	EXPECT_EQ(answer(), -1);
	ASSERT_NO_FATAL_FAILURE(come());
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, info), EINVAL);
	EXPECT_EQ(answer(), -1);
	EXPECT_EQ(server->stats().dropped, 3u);
	EXPECT_EQ(server->stats().clients, 0u);
	expect_alive();
	EXPECT_EQ(greet(), EINVAL) << "greeted twice";
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, info), 0) << "and is still heard";
}

TEST_F(EmuServer, HangsUpOnWhatHasNoEndThatCouldBeKnown)
{
	const struct {
		std::vector<uint8_t> bytes;
		const char *words;
	} cases[] = {
		{std::vector<uint8_t>(64), "no size of a message"},
		{std::vector<uint8_t>(64, 0xff), "no size of a message"},
		{{'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P', '/', '1', '.', '1', '\r', '\n'},
			"no size of a message"},
		{{1, 0, 4, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, "no command"},
		{{1, 0, 4, 0, 16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "no command"},
	};

	for (const auto &c : cases) {
		ASSERT_NO_FATAL_FAILURE(meet());
		say(c.bytes.data(), c.bytes.size());
		EXPECT_EQ(answer(), -1);
		EXPECT_THAT(server->messages(), Contains(HasSubstr(c.words)));
	}
	expect_alive();
}

TEST_F(EmuServer, HangsUpOnWhoStopsInTheMiddleOrNeverBegins)
{
	struct vfio_user_header header = {1, VFIO_USER_DEVICE_GET_INFO, 32, 0, 0};

	ASSERT_NO_FATAL_FAILURE(meet());
	say(&header, sizeof(header));
	EXPECT_EQ(answer(), -1);
	EXPECT_THAT(server->messages(), Contains(HasSubstr("in the middle of a message")));
	ASSERT_NO_FATAL_FAILURE(come());
	EXPECT_EQ(answer(), -1);
	EXPECT_THAT(server->messages(), Contains(HasSubstr("did not greet in time")));
	expect_alive();
}

TEST_F(EmuServer, HangsUpOnWhoDoesNotReadItsAnswers)
{
	struct vfio_user_region_access access = {0, 7, 4096};
	uint64_t end = plx_now() + PLX_MILLISECONDS(60000);

	ASSERT_NO_FATAL_FAILURE(meet());
	for (unsigned i = 0; i < 100; i++)
		command(VFIO_USER_REGION_READ, &access, sizeof(access));
	while (!server->stats().dropped && plx_now() < end)
		usleep(1000);
	EXPECT_THAT(server->messages(), Contains(HasSubstr("does not read its answers")));
	expect_alive();
}

TEST_F(EmuServer, RefusesEachCommandOfAWrongSize)
{
	std::vector<uint8_t> junk(200, 0);

	ASSERT_NO_FATAL_FAILURE(meet());
	for (unsigned number = 2; number < 40; number++)
		for (size_t len : {0, 1, 3, 15, 17, 19, 21, 33, 200}) {
			if (number == VFIO_USER_DEVICE_RESET && !len)
				continue;
			command(number, junk.data(), len);
			EXPECT_GT(answer(), 0) << number << " with " << len << " bytes";
		}
	EXPECT_EQ(server->stats().messages, 1u);
	expect_alive();
}

TEST_F(EmuServer, RefusesDescriptorsThatNobodyAskedFor)
{
	struct vfio_user_device_info info = {16, 0, 0, 0};
	int fd = file(4096);

	ASSERT_NO_FATAL_FAILURE(meet());
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, info, {fd}), EINVAL);
	EXPECT_EQ(ask(VFIO_USER_DMA_MAP, vfio_user_dma_map{32, 3, 0, 0x10000, 4096}, {fd, fd}),
		EINVAL);
	command(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), std::vector<int>(65, fd));
	EXPECT_EQ(answer(), -1);
	expect_alive();
	close(fd);
}

TEST_F(EmuServer, MapsWholePagesOfSafeFilesOnce)
{
	const struct {
		struct vfio_user_dma_map map;
		int error;
	} cases[] = {
		{{31, 3, 0, 0x10000, 0x1000}, EINVAL},
		{{32, 0, 0, 0x10000, 0x1000}, EINVAL},
		{{32, 2, 0, 0x10000, 0x1000}, EINVAL},
		{{32, 7, 0, 0x10000, 0x1000}, EINVAL},
		{{32, 3, 0, 0x10000, 0}, EINVAL},
		{{32, 3, 0, 0x10000, 0x1001}, EINVAL},
		{{32, 3, 1, 0x10000, 0x1000}, EINVAL},
		{{32, 3, 0, 0x10001, 0x1000}, EINVAL},
		{{32, 3, 0, UINT64_MAX - 0xfff, 0x1000}, 0},
		{{32, 3, 0, UINT64_MAX - 0xfff, 0x2000}, EINVAL},
		{{32, 3, 0, 0x10000, UINT64_MAX - 0xfff}, EINVAL},
		{{32, 3, UINT64_MAX - 0xfff, 0x10000, 0x1000}, EINVAL},
		{{32, 3, 0x3000, 0x10000, 0x2000}, EPERM},
		{{32, 3, 0, 0x10000, 0x4000}, 0},
		{{32, 1, 0, 0x12000, 0x1000}, EEXIST},
		{{32, 1, 0, 0xf000, 0x2000}, EEXIST},
		{{32, 1, 0x2000, 0x14000, 0x1000}, 0},
	};
	int fd = file(0x4000), unsafe = file(0x4000, false);

	ASSERT_NO_FATAL_FAILURE(meet());
	for (const auto &c : cases) {
		int error = ask(VFIO_USER_DMA_MAP, c.map, {fd});

		/* The very end of all addresses is no place for memory. */
		if (c.map.address == UINT64_MAX - 0xfff && !c.error)
			EXPECT_TRUE(error == 0 || error == EINVAL);
		else
			EXPECT_EQ(error, c.error) << std::hex << c.map.address << " " << c.map.size;
	}
	EXPECT_EQ(ask(VFIO_USER_DMA_MAP, vfio_user_dma_map{32, 3, 0, 0x100000, 0x1000}, {unsafe}),
		EPERM);
	EXPECT_EQ(ask(VFIO_USER_DMA_UNMAP, vfio_user_dma_unmap{24, 0, 0x10000, 0x1000}), ENOENT);
	EXPECT_EQ(ask(VFIO_USER_DMA_UNMAP, vfio_user_dma_unmap{24, 1, 0x10000, 0x4000}), EINVAL);
	EXPECT_EQ(ask(VFIO_USER_DMA_UNMAP, vfio_user_dma_unmap{24, 0, 0x10000, 0x4000}), 0);
	EXPECT_EQ(ask(VFIO_USER_DMA_UNMAP, vfio_user_dma_unmap{24, 0, 0x10000, 0x4000}), ENOENT);
	close(fd);
	close(unsafe);
	leave();
	EXPECT_EQ(server->stats().memory_regions, 0u);
}

TEST_F(EmuServer, RefusesMoreMemoryThanItKeepsAccountOf)
{
	int fd = file(0x1000), error = 0;
	unsigned count = 0;

	ASSERT_NO_FATAL_FAILURE(meet());
	while (!error && count < 5000)
		error = ask(VFIO_USER_DMA_MAP,
			vfio_user_dma_map{32, 1, 0, 0x10000 + 0x2000ull * count++, 0x1000}, {fd});
	EXPECT_EQ(error, ENOSPC);
	EXPECT_EQ(count, 4097u);
	close(fd);
	expect_alive();
}

TEST_F(EmuServer, DescribesWhatIsThereAndNothingElse)
{
	struct vfio_region_info region = {};
	struct vfio_irq_info irq = {};

	ASSERT_NO_FATAL_FAILURE(meet());
	for (uint32_t index : {9u, 10u, UINT32_MAX}) {
		region.argsz = irq.argsz = 4096;
		region.index = irq.index = index;
		EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_INFO, region), EINVAL);
		EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_IRQ_INFO, irq), EINVAL);
	}
	region.index = irq.index = 2;
	region.argsz = irq.argsz = 15;
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_INFO, region), EINVAL);
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_IRQ_INFO, irq), EINVAL);
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, vfio_user_device_info{15, 0, 0, 0}), EINVAL);
}

/* What does not fit is not sent, and how much it would be is told. */
TEST_F(EmuServer, GivesDoorbellsWhereThereIsRoomForThem)
{
	struct vfio_user_io_fds info = {16, 0, 4, 0};

	ASSERT_NO_FATAL_FAILURE(meet());
	ASSERT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_IO_FDS, info), 0);
	EXPECT_EQ(plx_vfio_user_payload_size(&wire->in), 16u);
	std::memcpy(&info, wire->in.payload, sizeof(info));
	EXPECT_EQ(info.count, 3u);
	EXPECT_EQ(info.argsz, 16u + 3 * 40);
	info.count = 0;
	ASSERT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_IO_FDS, info), 0);
	EXPECT_EQ(plx_vfio_user_payload_size(&wire->in), 16u + 3 * 40);
	EXPECT_EQ(wire->in.fds, 3u);
	info = {4096, 0, 1, 0};
	ASSERT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_IO_FDS, info), 0);
	EXPECT_EQ(wire->in.fds, 0u);
	info = {4096, 0, 99, 0};
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_IO_FDS, info), EINVAL);
	info = {4096, 1, 4, 0};
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_REGION_IO_FDS, info), EINVAL);
}

TEST_F(EmuServer, AccessesRegistersOfTheirOwnWidth)
{
	const struct {
		struct vfio_user_region_access access;
		bool good;
	} cases[] = {
		{{0, 7, 4096}, true},
		{{0, 7, 4097}, false},
		{{4095, 7, 1}, true},
		{{4096, 7, 1}, false},
		{{UINT64_MAX, 7, 1}, false},
		{{0, 7, 0}, false},
		{{0, 4, 4}, true},
		{{2, 4, 4}, false},
		{{0, 4, 3}, false},
		{{0, 4, 16}, false},
		{{0x3ffc, 4, 4}, true},
		{{0x4000, 4, 4}, false},
		{{0, 4, UINT32_MAX}, false},
		{{0, 99, 4}, false},
		{{0, 0, 4}, false},
		{{0, 8, 1}, false},
	};

	ASSERT_NO_FATAL_FAILURE(meet());
	for (const auto &c : cases) {
		EXPECT_EQ(ask(VFIO_USER_REGION_READ, c.access) == 0, c.good)
			<< c.access.region << ": " << c.access.count << " at " << c.access.offset;
		if (c.good) {
			EXPECT_EQ(plx_vfio_user_payload_size(&wire->in), 16u + c.access.count);
		}
	}
	/* A writing says as many bytes as it has. */
	uint8_t bytes[24] = {};
	struct vfio_user_region_access access = {0, 4, 4};
	std::memcpy(bytes, &access, sizeof(access));
	command(VFIO_USER_REGION_WRITE, bytes, 20);
	EXPECT_EQ(answer(), 0);
	command(VFIO_USER_REGION_WRITE, bytes, 24);
	EXPECT_EQ(answer(), EINVAL);
	command(VFIO_USER_REGION_WRITE, bytes, 16);
	EXPECT_EQ(answer(), EINVAL);
}

TEST_F(EmuServer, SetsInterruptsAsTheyAreThereAndNoOthers)
{
	const uint32_t events = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint32_t none = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	const struct {
		uint32_t argsz, flags, index, start, count;
		unsigned fds;
		int error;
	} cases[] = {
		{20, events, 2, 0, 4, 4, 0},
		{20, events, 2, 0, 4, 3, EINVAL},
		{20, events, 2, 0, 5, 5, EINVAL},
		{20, events, 2, 4, 1, 1, EINVAL},
		{20, events, 2, UINT32_MAX, 2, 2, EINVAL},
		{20, events, 2, 1, UINT32_MAX, 0, EINVAL},
		{20, events, 2, 1, 3, 0, 0},
		{20, events, 2, 0, 0, 0, EINVAL},
		{20, events, 9, 0, 1, 1, EINVAL},
		{20, events, UINT32_MAX, 0, 1, 1, EINVAL},
		{19, events, 2, 0, 1, 1, EINVAL},
		{20, none, 2, 0, 0, 0, 0},
		{20, none, 2, 0, 0, 1, EINVAL},
		{20, none, 2, 0, 1, 0, EINVAL},
		{20, 0, 2, 0, 0, 0, EINVAL},
		{20, UINT32_MAX, 2, 0, 1, 1, EINVAL},
	};

	ASSERT_NO_FATAL_FAILURE(meet());
	for (const auto &c : cases) {
		uint32_t set[5] = {c.argsz, c.flags, c.index, c.start, c.count};

		command(VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), std::vector<int>(c.fds, fd));
		EXPECT_EQ(answer(), c.error)
			<< c.flags << " " << c.index << " " << c.start << " " << c.count;
	}
	close(fd);
}

/* Nobody reads it, and it must not stop the card. */
TEST_F(EmuServer, IsNotStoppedByAnEventfdThatIsFull)
{
	uint32_t set[5] = {20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 1};
	int fd = eventfd(0, EFD_CLOEXEC);

	ASSERT_EQ(eventfd_write(fd, UINT64_MAX - 1), 0);
	ASSERT_NO_FATAL_FAILURE(meet());
	command(VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), {fd});
	ASSERT_EQ(answer(), 0);
	plx_emu_interrupt(server->card(), 0);
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, vfio_user_device_info{16, 0, 0, 0}), 0);
	close(fd);
}

/* A pipe that nobody reads would end the process that writes to it. */
TEST_F(EmuServer, TakesNothingButAnEventfdForOne)
{
	uint32_t set[5] = {20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 1};
	int ends[2];

	ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
	ASSERT_NO_FATAL_FAILURE(meet());
	command(VFIO_USER_DEVICE_SET_IRQS, set, sizeof(set), {ends[1]});
	EXPECT_EQ(answer(), EINVAL);
	close(ends[0]);
	close(ends[1]);
	plx_emu_interrupt(server->card(), 0);
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, vfio_user_device_info{16, 0, 0, 0}), 0);
}

TEST_F(EmuServer, AnswersNothingWhereNoAnswerIsWanted)
{
	struct vfio_user_device_info info = {16, 0, 0, 0};

	ASSERT_NO_FATAL_FAILURE(meet());
	command(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), {}, VFIO_USER_NO_REPLY);
	command(99, &info, sizeof(info), {}, VFIO_USER_NO_REPLY);
	EXPECT_EQ(ask(VFIO_USER_DEVICE_GET_INFO, info), 0);
}

TEST_F(EmuServer, FindsNoFaultWithADriverWhoseProcessDies)
{
	ASSERT_NO_FATAL_FAILURE(meet());
	int fd = file(0x4000);
	ASSERT_EQ(ask(VFIO_USER_DMA_MAP, vfio_user_dma_map{32, 3, 0, 0x10000, 0x4000}, {fd}), 0);
	close(fd);
	leave();
	expect_alive();
	EXPECT_TRUE(server->breaches().empty());
}

/* One that was given no time at all once never looked at its socket again. */
TEST_F(EmuServer, HearsItsClientHoweverLittleTimeItIsGiven)
{
	static const struct {
		struct vfio_user_header header;
		struct vfio_user_version version;
	} hello = {{1, VFIO_USER_VERSION, sizeof(hello), VFIO_USER_COMMAND, 0}, {0, 0}};
	struct plx_emu_server_stats stats = {};
	struct plx_emu_server *other;
	struct plx_address address;
	struct sockaddr_un at;

	ASSERT_EQ(plx_address_parse(&address, "emu:net"), 0);
	ASSERT_EQ(plx_emu_server_create(nullptr, &address, (path + "2").c_str(), &other), 0);
	plx_address_free(&address);
	for (unsigned i = 0; i < 10000; i++)
		plx_emu_server_run(other, 0);
	ASSERT_EQ(plx_socket_address(&at, (path + "2").c_str()), 0);
	int fd = plx_socket_connect(&at, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(plx_socket_send(fd, &hello, sizeof(hello), nullptr, 0, plx_now()), 0);
	for (unsigned i = 0; i < 10000 && !stats.clients; i++) {
		plx_emu_server_run(other, 0);
		plx_emu_server_get_stats(other, &stats);
	}
	EXPECT_EQ(stats.clients, 1u);
	close(fd);
	plx_emu_server_destroy(other);
}

/*
 * The limit is below every descriptor that is free, so that the card cannot have one more. What is
 * in use stays.
 */
class NoMoreFiles
{
	struct rlimit before = {};

      public:
	NoMoreFiles()
	{
		int free = dup(0);
		struct rlimit now;

		EXPECT_GE(free, 0);
		close(free);
		EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
		now = before;
		now.rlim_cur = (rlim_t)free;
		EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
	}
	~NoMoreFiles()
	{
		EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	}
};

TEST_F(EmuServer, TriesNowAndThenToTakeAClientThatItHasNoDescriptorFor)
{
	const uint64_t pause = PLX_MILLISECONDS(100);
	uint64_t began, took;
	struct plx_emu_server_stats stats;

	{
		struct sockaddr_un address;

		ASSERT_EQ(plx_socket_address(&address, path.c_str()), 0);
		wire = std::make_unique<struct plx_vfio_user_wire>();
		wire->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		ASSERT_GE(wire->socket, 0);
		NoMoreFiles none;
		began = plx_now();
		ASSERT_EQ(connect(wire->socket, (struct sockaddr *)&address, sizeof(address)), 0);
		while (server->stats().not_taken < 4 && plx_now() - began < 600 * pause)
			usleep(10000);
		took = plx_now() - began;
		stats = server->stats();
	}
	EXPECT_GE(stats.not_taken, 4u);
	EXPECT_LE(stats.not_taken, 1 + took / pause + 1) << "it tries at full speed";
	EXPECT_EQ(greet(), 0) << "it is taken once there are descriptors";
	unsigned told = 0;
	for (const std::string &message : server->messages())
		told += message.find("a client waits and cannot be taken") != std::string::npos;
	EXPECT_EQ(told, 1u);
}

/* The pause is no longer than it is, however long the card is to run. */
TEST_F(EmuServer, WakesUpToTakeAClientThatWaits)
{
	struct plx_emu_server_stats stats = {};
	struct plx_emu_server *other;
	struct plx_address address;
	struct sockaddr_un at;

	ASSERT_EQ(plx_address_parse(&address, "emu:net"), 0);
	ASSERT_EQ(plx_emu_server_create(nullptr, &address, (path + "2").c_str(), &other), 0);
	plx_address_free(&address);
	ASSERT_EQ(plx_socket_address(&at, (path + "2").c_str()), 0);
	int fd = plx_socket_connect(&at, 0);
	ASSERT_GE(fd, 0);
	{
		NoMoreFiles none;
		plx_emu_server_run(other, PLX_MILLISECONDS(1000));
		plx_emu_server_get_stats(other, &stats);
	}
	EXPECT_GE(stats.not_taken, 2u);
	close(fd);
	plx_emu_server_destroy(other);
}

TEST_F(EmuServer, TakesThePlaceOfAServerThatDiedAndNotOfOneThatLives)
{
	CardServer second(path);
	struct plx_address address;
	struct plx_emu_server *other;

	ASSERT_EQ(plx_address_parse(&address, "emu:net"), 0);
	EXPECT_EQ(plx_emu_server_create(nullptr, &address, path.c_str(), &other), -EADDRINUSE);
	EXPECT_THAT(plx_error(), HasSubstr("another program listens there"));
	plx_address_free(&address);
	server->stop();
	/* A file that nobody listens at. */
	struct sockaddr_un at;
	ASSERT_EQ(plx_socket_address(&at, path.c_str()), 0);
	int left = plx_socket_listen(&at, 1);
	ASSERT_GE(left, 0);
	close(left);
	second.start();
	second.stop();
}

TEST_F(EmuServer, RefusesOptionsThatNobodyKnowsAndWires)
{
	for (const char *text : {"emu:net,event_idx=off", "emu:net,peer=wire:a", "emu:disk"}) {
		struct plx_address address;
		struct plx_emu_server *other;

		ASSERT_EQ(plx_address_parse(&address, text), 0);
		EXPECT_LT(plx_emu_server_create(nullptr, &address, (path + "2").c_str(), &other), 0)
			<< text;
		plx_address_free(&address);
	}
}
