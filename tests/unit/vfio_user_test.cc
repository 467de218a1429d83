/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user_rig.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

using ::testing::Contains;
using ::testing::HasSubstr;

/* A card in another thread, driven over the socket: what works, and how it comes back. */

class VfioUser : public VfioUserFixture
{
};

TEST_F(VfioUser, MovesFramesOverEitherRing)
{
	for (const char *options :
		{"", ",packed=off", ",event_idx=off", ",packed=off,event_idx=off", ",legacy=off"}) {
		serve();
		ASSERT_NO_FATAL_FAILURE(start(options)) << options;
		ASSERT_NO_FATAL_FAILURE(pass(100)) << options;
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		EXPECT_GT(server->stats().doorbells, 0u) << "no notification went by eventfd";
		close();
	}
}

TEST_F(VfioUser, DrivesTheLegacyInterface)
{
	serve("emu:net,dev.legacy=only");
	eth_config.rx_ring = eth_config.tx_ring = 256;
	ASSERT_NO_FATAL_FAILURE(start());
	ASSERT_NO_FATAL_FAILURE(pass(50));
}

TEST_F(VfioUser, RunsManyQueuesAndTheControlQueue)
{
	serve("emu:net,dev.queues=40");
	eth_config.queue_pairs = 40;
	pool_config.count = 16384;
	ASSERT_NO_FATAL_FAILURE(start());
	ASSERT_NO_FATAL_FAILURE(pass(50));
	EXPECT_EQ(plx_eth_set_rx_mode(eth, PLX_ETH_PROMISCUOUS, true), 0) << plx_error();
}

TEST_F(VfioUser, ToldOfMemoryThatComesAndGoesWhileItRuns)
{
	struct plx_pool *other;

	serve();
	ASSERT_NO_FATAL_FAILURE(start());
	uint64_t before = server->stats().memory_bytes;
	pool_config.count = 65536;
	ASSERT_EQ(plx_pool_create(ctx, &pool_config, &other), 0) << plx_error();
	EXPECT_GT(server->stats().memory_bytes, before);
	ASSERT_EQ(plx_pool_destroy(other), 0);
	EXPECT_EQ(server->stats().memory_bytes, before);
	ASSERT_NO_FATAL_FAILURE(pass(20));
}

TEST_F(VfioUser, LeavesACardThatTheNextClientFindsReset)
{
	serve();
	for (int i = 0; i < 3; i++) {
		ASSERT_NO_FATAL_FAILURE(start());
		ASSERT_NO_FATAL_FAILURE(pass(20));
		close();
	}
	EXPECT_EQ(server->stats().clients, 3u);
	EXPECT_EQ(server->stats().memory_regions, 0u);
}

TEST_F(VfioUser, TurnsASecondClientAway)
{
	struct plx_eth *second;

	serve();
	ASSERT_NO_FATAL_FAILURE(start());
	EXPECT_EQ(plx_eth_open(ctx, ("vfio-user:" + path).c_str(), &second), -ENODEV);
	expect_error("serves another client already");
	EXPECT_EQ(server->stats().turned_away, 1u);
	ASSERT_NO_FATAL_FAILURE(pass(20));
}

TEST_F(VfioUser, SaysWhoIsNotThere)
{
	EXPECT_EQ(try_open(",wait=0"), -ENODEV);
	expect_error("start the server first");
	path = std::string(200, 'x');
	EXPECT_EQ(try_open(",wait=0"), -EINVAL);
	expect_error("at most 107 characters");
}

/* --- the end of a server --- */

TEST_F(VfioUser, ReturnsEveryBufferWhenTheServerEndsAndMovesOnWithTheNext)
{
	serve();
	ASSERT_EQ(try_open(",wait=10000"), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	for (int life = 0; life < 5; life++) {
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		ASSERT_NO_FATAL_FAILURE(pass(50));
		forget_server();
		EXPECT_EQ(poll_until_error(), -ENODEV);
		expect_error("the device is gone");
		/* At times the next one is there before the device is stopped. */
		if (life % 2)
			serve();
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		expect_all_back();
		if (life % 2 == 0)
			serve();
	}
}

TEST_F(VfioUser, SaysThatAServerHasNotComeBackAndStartsOnceItHas)
{
	serve();
	ASSERT_NO_FATAL_FAILURE(start(",wait=20,timeout=60000"));
	forget_server();
	uint64_t began = plx_now();
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_LT(plx_now() - began, PLX_MILLISECONDS(30000));
	EXPECT_EQ(plx_eth_start(eth), -ENODEV);
	expect_error("start the server first");
	expect_all_back();
	serve();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	ASSERT_NO_FATAL_FAILURE(pass(20));
}

TEST_F(VfioUser, DoesNotStartOnACardThatLacksWhatWasAccepted)
{
	serve();
	ASSERT_NO_FATAL_FAILURE(start());
	serve("emu:net,dev.packed=off");
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	expect_error("no longer offers F_RING_PACKED");
}

TEST_F(VfioUser, RefusesAServerThatComesBackWithAnotherDevice)
{
	serve();
	ASSERT_NO_FATAL_FAILURE(start(",wait=0"));
	serve("emu:net,dev.legacy=on");
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	expect_error("has another device");
}

/* --- the seam --- */

class VfioUserSeam : public VfioUserFixture
{
      protected:
	struct plx_mem *mem = nullptr;
	struct plx_vfio_device *device = nullptr;
	struct plx_log log = {};

	void SetUp() override
	{
		VfioUserFixture::SetUp();
		struct plx_mem_config config = {UINT64_C(1) << 30, 4096, nullptr};
		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
	}

	void TearDown() override
	{
		plx_vfio_close(device);
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
		VfioUserFixture::TearDown();
	}

	int try_open_seam(const std::string &options = "")
	{
		struct plx_address address;
		int err = plx_address_parse(&address, ("vfio-user:" + path + options).c_str());

		if (!err)
			err = plx_vfio_user_open(mem, &log, &address, &device);
		plx_address_free(&address);
		return err;
	}

	uint32_t config32(uint64_t offset)
	{
		uint32_t value = 0;

		EXPECT_EQ(
			device->ops->read(device, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, 4),
			0)
			<< plx_error();
		return value;
	}

	static uint64_t take(int fd)
	{
		struct pollfd polled = {fd, POLLIN, 0};
		eventfd_t value = 0;

		if (poll(&polled, 1, 5000) > 0)
			(void)eventfd_read(fd, &value);
		return value;
	}
};

TEST_F(VfioUserSeam, ReadsWhatTheCardHas)
{
	serve();
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	EXPECT_EQ(config32(0), 0x10411af4u);
	EXPECT_EQ(device->region[4].size, 0x4000u);
	EXPECT_EQ(device->irqs[VFIO_PCI_MSIX_IRQ_INDEX], 4u);
	EXPECT_FALSE(device->dma_translated);
}

TEST_F(VfioUserSeam, RefusesWhatIsNotWithinARegionWithoutAMessage)
{
	uint32_t value;

	serve();
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	uint64_t before = server->stats().messages;
	EXPECT_EQ(device->ops->read(device, 4, 0x3ffe, &value, 4), -EINVAL);
	EXPECT_EQ(device->ops->read(device, 2, 0, &value, 4), -EINVAL);
	EXPECT_EQ(device->ops->write(device, 99, 0, &value, 4), -EINVAL);
	EXPECT_EQ(server->stats().messages, before);
}

TEST_F(VfioUserSeam, PointsInterruptsAtEventfdsAndAwayFromThem)
{
	int32_t fds[4] = {eventfd(0, EFD_NONBLOCK), -1, eventfd(0, EFD_NONBLOCK), -1};

	serve();
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	ASSERT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4, fds), 0)
		<< plx_error();
	for (int vector : {0, 1, 2})
		plx_emu_interrupt(server->card(), vector);
	EXPECT_EQ(take(fds[0]), 1u);
	EXPECT_EQ(take(fds[2]), 1u);
	std::swap(fds[0], fds[1]);
	ASSERT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 2, fds), 0)
		<< plx_error();
	for (int vector : {0, 1, 1})
		plx_emu_interrupt(server->card(), vector);
	EXPECT_EQ(take(fds[1]), 2u);
	ASSERT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr), 0)
		<< plx_error();
	plx_emu_interrupt(server->card(), 2);
	eventfd_t value;
	EXPECT_EQ(eventfd_read(fds[2], &value), -1);
	EXPECT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 3, 2, fds), -EINVAL);
	::close(fds[1]);
	::close(fds[2]);
}

TEST_F(VfioUserSeam, SetsMoreInterruptsThanOneMessageCarries)
{
	std::vector<int32_t> fds(82);

	for (int32_t &fd : fds)
		fd = eventfd(0, EFD_NONBLOCK);
	serve("emu:net,dev.queues=40");
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	ASSERT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 82, fds.data()), 0)
		<< plx_error();
	for (int vector : {0, 63, 64, 81}) {
		plx_emu_interrupt(server->card(), vector);
		EXPECT_EQ(take(fds[(size_t)vector]), 1u);
	}
	for (int32_t fd : fds)
		::close(fd);
}

TEST_F(VfioUserSeam, ResetReconnectsWithMemoryAndInterrupts)
{
	int32_t fd = eventfd(0, EFD_NONBLOCK);
	uint32_t value;
	void *memory;

	serve();
	ASSERT_EQ(try_open_seam(",wait=10"), 0) << plx_error();
	ASSERT_EQ(plx_mem_alloc(mem, 4096, 64, -1, 0, &memory), 0);
	ASSERT_EQ(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 1, 1, &fd), 0);
	::close(dup(fd));
	EXPECT_EQ(device->ops->check(device), 0);
	EXPECT_EQ(device->ops->fault(device), 0);
	forget_server();
	EXPECT_EQ(device->ops->check(device), -ENODEV);
	EXPECT_EQ(device->ops->fault(device), -ENODEV);
	expect_error("the server has ended");
	EXPECT_EQ(device->ops->read(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, &value, 4), -ENODEV);
	EXPECT_EQ(device->ops->reset(device), -ENODEV);
	expect_error("start the server first");
	serve();
	ASSERT_EQ(device->ops->reset(device), 0) << plx_error();
	EXPECT_EQ(device->ops->fault(device), 0);
	EXPECT_EQ(config32(0), 0x10411af4u);
	EXPECT_GT(server->stats().memory_bytes, 0u);
	plx_emu_interrupt(server->card(), 1);
	EXPECT_EQ(take(fd), 1u);
	plx_mem_free(mem, memory);
	EXPECT_EQ(server->stats().memory_regions, 0u);
	::close(fd);
}

/* What the thread sanitizer would find is that it reads what a reset changes. */
TEST_F(VfioUserSeam, AnyThreadMayAskWhetherItIsThereWhileAResetReconnects)
{
	std::atomic<bool> ending{false};
	std::atomic<unsigned> others{0};

	serve();
	ASSERT_EQ(try_open_seam(",wait=10"), 0) << plx_error();
	std::thread asks([&] {
		while (!ending) {
			int ret = device->ops->check(device);

			others += ret && ret != -ENODEV;
		}
	});
	for (unsigned i = 0; i < 20; i++) {
		forget_server();
		EXPECT_EQ(device->ops->reset(device), -ENODEV);
		serve();
		EXPECT_EQ(device->ops->reset(device), 0) << plx_error();
	}
	ending = true;
	asks.join();
	EXPECT_EQ(others, 0u);
	EXPECT_EQ(device->ops->check(device), 0);
	forget_server();
	EXPECT_EQ(device->ops->check(device), -ENODEV);
}

TEST_F(VfioUserSeam, PeeksWithoutWaiting)
{
	uint8_t value = 0;
	int err = -EAGAIN;

	serve();
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	EXPECT_EQ(device->ops->peek(device, VFIO_PCI_CONFIG_REGION_INDEX, 1, &value, 1), -EAGAIN);
	for (int i = 0; err == -EAGAIN && i < 20000; i++) {
		usleep(100);
		err = device->ops->peek(device, VFIO_PCI_CONFIG_REGION_INDEX, 1, &value, 1);
	}
	EXPECT_EQ(err, 0) << plx_error();
	EXPECT_EQ(value, 0x1a);
	/* Others may ask in between. */
	EXPECT_EQ(config32(0), 0x10411af4u);
	/* What was asked for is another register's. */
	EXPECT_EQ(device->ops->peek(device, VFIO_PCI_CONFIG_REGION_INDEX, 2, &value, 1), -EAGAIN);
	forget_server();
	EXPECT_EQ(device->ops->peek(device, VFIO_PCI_CONFIG_REGION_INDEX, 2, &value, 1), -ENODEV);
}

/* --- regions with files, and memory by message, for which the middleman stands in --- */

class VfioUserMiddle : public VfioUserSeam
{
      protected:
	void SetUp() override
	{
		VfioUserSeam::SetUp();
		interpose();
	}

	/* The MSI-X BAR gets a file of the middleman's. */
	void give_file(int fd, uint64_t area_offset, uint64_t area_size)
	{
		middle->hook = [=](bool from_server, struct plx_vfio_user_message *message) {
			struct SparseRegion reply = {};

			if (!from_server ||
				message->header.command != VFIO_USER_DEVICE_GET_REGION_INFO)
				return Middleman::PASS;
			std::memcpy(&reply.info, message->payload, sizeof(reply.info));
			if (reply.info.index != 1)
				return Middleman::PASS;
			reply.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
			reply.info.argsz = sizeof(reply);
			reply.info.cap_offset = sizeof(reply.info);
			reply.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
			reply.header.version = 1;
			reply.nr_areas = 1;
			reply.area[0] = {area_offset, area_size};
			message->header.size = sizeof(message->header) + sizeof(reply);
			std::memcpy(message->payload, &reply, sizeof(reply));
			middle->say(message->header, message->payload, sizeof(reply), {fd});
			return Middleman::DROP;
		};
	}

	static int file(off_t size, bool sealed)
	{
		int fd = memfd_create("region", MFD_ALLOW_SEALING | MFD_CLOEXEC);

		EXPECT_EQ(ftruncate(fd, size), 0);
		if (sealed) {
			EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
		}
		return fd;
	}
};

TEST_F(VfioUserMiddle, MapsASealedFileWhereItMay)
{
	struct plx_mmio window, other;
	int fd = file(0x2000, true);
	uint32_t value = 0x12345678;

	ASSERT_EQ(pwrite(fd, &value, sizeof(value), 0x1004), 4);
	give_file(fd, 0x1000, 0x1000);
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	ASSERT_EQ(plx_mmio_open(&window, device, 1, 0x1000, 16), 0) << plx_error();
	ASSERT_EQ(plx_mmio_open(&other, device, 1, 0, 16), 0) << plx_error();
	EXPECT_NE(window.address, nullptr);
	EXPECT_EQ(other.address, nullptr) << "it is not in the area";
	EXPECT_EQ(plx_mmio_read32(&window, 4), 0x12345678u);
	EXPECT_EQ(plx_mmio_read32(&other, 4), 0u);
	plx_mmio_write32(&window, 8, 42);
	EXPECT_EQ(pread(fd, &value, sizeof(value), 0x1008), 4);
	EXPECT_EQ(value, 42u);

	/* The next session's file comes under it. */
	int next = file(0x2000, true);
	value = 77;
	ASSERT_EQ(pwrite(next, &value, sizeof(value), 0x1004), 4);
	forget_server();
	EXPECT_EQ(device->ops->reset(device), -ENODEV);
	give_file(next, 0x1000, 0x1000);
	serve();
	ASSERT_EQ(device->ops->reset(device), 0) << plx_error();
	EXPECT_EQ(plx_mmio_read32(&window, 4), 77u);
	plx_mmio_close(&window);
	plx_mmio_close(&other);
	::close(fd);
	::close(next);
}

TEST_F(VfioUserMiddle, DoesNotMapWhatCouldBeCutShort)
{
	struct Case {
		off_t size;
		bool sealed;
	};

	for (const Case &c : {Case{0x2000, false}, Case{0x1000, true}}) {
		struct plx_mmio window;
		int fd = file(c.size, c.sealed);

		give_file(fd, 0x1000, 0x1000);
		ASSERT_EQ(try_open_seam(), 0) << plx_error();
		ASSERT_EQ(plx_mmio_open(&window, device, 1, 0x1000, 16), 0) << plx_error();
		EXPECT_EQ(window.address, nullptr);
		EXPECT_EQ(plx_mmio_read32(&window, 4), 0u);
		plx_mmio_close(&window);
		plx_vfio_close(device);
		device = nullptr;
		::close(fd);
	}
}

/* Before the answer to a DMA_MAP or a reading, the server wants something itself. */
TEST_F(VfioUserMiddle, AnswersDmaByMessageWithinWhatIsMapped)
{
	struct Want {
		uint16_t command;
		uint64_t offset;
		uint64_t count;
		uint64_t data; /* bytes that go along */
		uint32_t error;
	};
	static const Want wants[] = {
		{VFIO_USER_DMA_READ, 0, 64, 0, 0},
		{VFIO_USER_DMA_READ, 4000, 96, 0, 0},
		{VFIO_USER_DMA_READ, UINT64_C(1) << 30, 64, 0, EFAULT},
		{VFIO_USER_DMA_READ, UINT64_MAX - 10, 20, 0, EFAULT},
		{VFIO_USER_DMA_READ, 0, UINT64_MAX, 0, EINVAL},
		{VFIO_USER_DMA_READ, 0, 65537, 0, EINVAL},
		{VFIO_USER_DMA_READ, 0, 8, 8, EINVAL},
		{VFIO_USER_DMA_WRITE, 128, 16, 16, 0},
		{VFIO_USER_DMA_WRITE, UINT64_C(1) << 30, 16, 16, EFAULT},
		{VFIO_USER_DMA_WRITE, 0, 16, 8, EINVAL},
		{VFIO_USER_DMA_WRITE, 0, UINT64_MAX, 16, EINVAL},
	};
	std::vector<uint32_t> errors;
	std::vector<uint8_t> read_back;
	uint64_t iova = 0;
	void *memory;

	middle->hook = [&](bool from_server, struct plx_vfio_user_message *message) {
		uint32_t type = message->header.flags & VFIO_USER_TYPE_MASK;

		if (!from_server && type == VFIO_USER_REPLY) {
			errors.push_back(message->header.error);
			if (errors.size() == 1)
				read_back.assign(message->payload + 16, message->payload + 80);
			return Middleman::DROP;
		}
		if (!iova || from_server || message->header.command != VFIO_USER_REGION_READ)
			return Middleman::PASS;
		for (const Want &want : wants) {
			std::vector<uint8_t> payload(16 + want.data, 0x5a);
			struct vfio_user_dma_access access = {iova + want.offset, want.count};
			struct vfio_user_header header = {7, want.command,
				(uint32_t)(16 + payload.size()), VFIO_USER_COMMAND, 0};

			std::memcpy(payload.data(), &access, sizeof(access));
			middle->say(header, payload.data(), payload.size());
		}
		return Middleman::PASS;
	};
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	ASSERT_EQ(plx_mem_alloc(mem, 4096, 4096, -1, 0, &memory), 0) << plx_error();
	std::memset(memory, 0x11, 4096);
	iova = plx_mem_iova(mem, memory);
	EXPECT_EQ(config32(0), 0x10411af4u);
	/* All answers are under way before the reading's was asked for a second time. */
	EXPECT_EQ(config32(0), 0x10411af4u);
	plx_vfio_close(device);
	device = nullptr;
	middle.reset();
	ASSERT_GE(errors.size(), std::size(wants));
	for (size_t i = 0; i < std::size(wants); i++)
		EXPECT_EQ(errors[i], wants[i].error) << "want " << i;
	EXPECT_EQ(read_back, std::vector<uint8_t>(64, 0x11));
	EXPECT_EQ(((uint8_t *)memory)[127], 0x11);
	EXPECT_EQ(((uint8_t *)memory)[128], 0x5a);
	EXPECT_EQ(((uint8_t *)memory)[143], 0x5a);
	EXPECT_EQ(((uint8_t *)memory)[144], 0x11);
	plx_mem_free(mem, memory);
}

TEST_F(VfioUserMiddle, LetsNobodyWriteWhatIsOnlySentFrom)
{
	uint32_t error = 0, flags = 0;
	uint64_t iova = 0;
	void *memory;

	middle->hook = [&](bool from_server, struct plx_vfio_user_message *message) {
		uint32_t type = message->header.flags & VFIO_USER_TYPE_MASK;
		struct vfio_user_dma_access access = {iova, 8};
		uint8_t payload[24] = {};

		if (!from_server && type == VFIO_USER_REPLY) {
			error = message->header.error;
			return Middleman::DROP;
		}
		if (!from_server && message->header.command == VFIO_USER_DMA_MAP)
			flags = ((struct vfio_user_dma_map *)message->payload)->flags;
		if (!iova || from_server || message->header.command != VFIO_USER_REGION_READ)
			return Middleman::PASS;
		std::memcpy(payload, &access, sizeof(access));
		middle->say({7, VFIO_USER_DMA_WRITE, 40, VFIO_USER_COMMAND, 0}, payload, 24);
		return Middleman::PASS;
	};
	ASSERT_EQ(try_open_seam(), 0) << plx_error();
	ASSERT_EQ(plx_mem_alloc(mem, 4096, 4096, -1, PLX_MEM_READ_ONLY, &memory), 0);
	EXPECT_EQ(flags, VFIO_USER_DMA_READABLE);
	iova = plx_mem_iova(mem, memory);
	EXPECT_EQ(config32(0), 0x10411af4u);
	EXPECT_EQ(config32(0), 0x10411af4u);
	plx_vfio_close(device);
	device = nullptr;
	middle.reset();
	EXPECT_EQ(error, (uint32_t)EFAULT);
	plx_mem_free(mem, memory);
}
