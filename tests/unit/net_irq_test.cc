/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

#include <atomic>
#include <poll.h>
#include <random>
#include <set>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

/* Sleeping on receive queues: how interrupts come to be, and that none is lost. */

namespace
{

/* Waits for edges of eventfds, as the header says. */
class Waiter
{
      public:
	Waiter() : epoll_(epoll_create1(EPOLL_CLOEXEC))
	{
	}

	~Waiter()
	{
		::close(epoll_);
	}

	void add(int fd)
	{
		struct epoll_event event = {};

		event.events = EPOLLIN | EPOLLET;
		event.data.fd = fd;
		ASSERT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event), 0);
	}

	/* Those that fired since the last call. */
	std::set<int> fired(int milliseconds = 0)
	{
		struct epoll_event events[16];
		std::set<int> fds;
		int n = epoll_wait(epoll_, events, 16, milliseconds);

		for (int i = 0; i < n; i++)
			fds.insert(events[i].data.fd);
		return fds;
	}

	bool woken(int milliseconds = 0)
	{
		return !fired(milliseconds).empty();
	}

      private:
	int epoll_;
};

class IrqFixture : public NetFixture
{
      protected:
	void start_with(uint16_t vectors, uint16_t pairs, const char *options = "")
	{
		config.vectors = vectors;
		config.pairs = pairs;
		eth_config.queue_pairs = pairs;
		eth_config.interrupts = true;
		start(options);
	}

	void inject(unsigned pair, unsigned seed = 1, unsigned count = 1)
	{
		auto frame = make_frame(60, seed);

		for (unsigned i = 0; i < count; i++)
			ASSERT_EQ(plx_emu_inject(card, pair, frame.data(), frame.size()), 0);
		step();
	}

	int rx_fd(unsigned queue)
	{
		return plx_eth_rx_event_fd(eth, queue);
	}

	unsigned receive_from(unsigned queue)
	{
		struct plx_packet *packets[64];
		unsigned total = 0;
		int n;

		while ((n = plx_eth_rx_burst(plx_eth_rxq(eth, queue), packets, 64)) > 0) {
			for (int i = 0; i < n; i++)
				plx_packet_free(packets[i]);
			total += (unsigned)n;
		}
		return total;
	}

	int arm(unsigned queue = 0)
	{
		return plx_eth_rx_arm(plx_eth_rxq(eth, queue));
	}
};

/* --- on every ring, by every way to interrupt --- */

struct Way {
	const char *name;
	const char *options;
	bool event_idx;
	uint16_t vectors;
	bool legacy;
};

class Sleeping : public IrqFixture, public ::testing::WithParamInterface<Way>
{
      protected:
	void SetUp() override
	{
		IrqFixture::SetUp();
		plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, GetParam().event_idx);
		if (GetParam().legacy)
			config.interface = PLX_EMU_TRANSITIONAL;
	}

	void begin()
	{
		start_with(GetParam().vectors, 1, GetParam().options);
		if (!HasFatalFailure())
			waiter.add(rx_fd(0));
	}

	Waiter waiter;
};

TEST_P(Sleeping, FrameThatComesWhileArmedInterrupts)
{
	begin();
	ASSERT_FALSE(waiter.woken() && waiter.woken()) << "an edge comes once";
	for (unsigned round = 0; round < 1000; round++) {
		ASSERT_EQ(arm(), 0) << plx_error();
		ASSERT_FALSE(waiter.woken());
		inject(0, round);
		ASSERT_TRUE(waiter.woken()) << "round " << round;
		ASSERT_EQ(receive_from(0), 1u);
	}
	EXPECT_EQ(counter("rx0.armed"), 1000u);
	EXPECT_EQ(counter("rx0.arm_late"), 0u);
}

TEST_P(Sleeping, FrameThatCameBeforeArmingIsReported)
{
	begin();
	(void)waiter.woken();
	inject(0);
	EXPECT_FALSE(waiter.woken()) << "nobody asked for it";
	EXPECT_EQ(arm(), 1);
	EXPECT_EQ(receive_from(0), 1u);
	EXPECT_EQ(arm(), 0);
	EXPECT_EQ(counter("rx0.arm_late"), 1u);
}

TEST_P(Sleeping, NothingInterruptsOnceItIsDisarmed)
{
	begin();
	for (unsigned round = 0; round < 300; round++) {
		ASSERT_EQ(arm(), 0);
		plx_eth_rx_disarm(rxq());
		(void)waiter.woken();
		inject(0, round, 7);
		ASSERT_FALSE(waiter.woken()) << "round " << round;
		ASSERT_EQ(receive_from(0), 7u);
	}
}

/* The index of a split ring has 16 bits, and the places of a packed one have a wrap bit. */
TEST_P(Sleeping, InterruptsComeAllAroundTheRingAndItsIndices)
{
	begin();
	for (unsigned round = 0; round < 2200; round++) {
		ASSERT_EQ(arm(), 0);
		(void)waiter.woken();
		inject(0, round, 31);
		ASSERT_TRUE(waiter.woken()) << "round " << round;
		ASSERT_EQ(receive_from(0), 31u);
	}
}

TEST_P(Sleeping, ArmingFillsTheRingForWhatMayCome)
{
	begin();
	inject(0, 1, 50);
	ASSERT_EQ(receive_from(0), 50u);
	ASSERT_EQ(arm(), 0);
	inject(0, 1, GetParam().legacy ? 128 : 256);
	EXPECT_EQ(receive_from(0), GetParam().legacy ? 128u : 256u);
}

TEST_P(Sleeping, InterruptsGoOnAfterAStopAndAStart)
{
	begin();
	for (unsigned run = 0; run < 5; run++) {
		EXPECT_EQ(arm(), 0);
		inject(0);
		EXPECT_TRUE(waiter.woken());
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		EXPECT_EQ(arm(), -ESHUTDOWN);
		plx_eth_rx_disarm(rxq());
		EXPECT_EQ(rx_fd(0), -ESHUTDOWN);
		EXPECT_EQ(plx_eth_config_event_fd(eth), -ESHUTDOWN);
		expect_all_back();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
		(void)waiter.woken();
	}
}

TEST_P(Sleeping, No16_SpuriousInterruptsCostAPollAndNoMore)
{
	int vector = GetParam().vectors ? GetParam().vectors > 1 : -1;

	begin();
	for (unsigned round = 0; round < 100; round++) {
		ASSERT_EQ(arm(), 0);
		plx_emu_interrupt(card, vector);
		EXPECT_TRUE(waiter.woken());
		EXPECT_EQ(receive_from(0), 0u);
	}
	ASSERT_EQ(arm(), 0);
	inject(0);
	EXPECT_TRUE(waiter.woken());
	EXPECT_EQ(receive_from(0), 1u);
}

TEST_P(Sleeping, QueueOfADeviceThatIsGoneIsNotSleptOn)
{
	begin();
	EXPECT_EQ(arm(), 0);
	plx_emu_unplug(card);
	/* Longer than the device is taken at its word. */
	usleep(20000);
	EXPECT_EQ(arm(), 1);
	EXPECT_EQ(receive_from(0), 0u);
	EXPECT_EQ(plx_eth_rx_burst(rxq(), nullptr, 0), -ENODEV);
	EXPECT_EQ(arm(), 1);
	(void)plx_eth_stop(eth);
}

/*
 * A thread of the test sends single frames at random moments to a card that runs by itself; the
 * driver sleeps whenever nothing is there. No sleep may last until its bound, which is far away.
 */
TEST_P(Sleeping, NoWakeUpIsLost)
{
	const unsigned frames = 8000;
	std::atomic<bool> failed{false};
	unsigned received = 0, slept = 0;

	config.thread = true;
	begin();
	std::thread sender([&] {
		std::minstd_rand random(GetParam().vectors + 7);
		auto frame = make_frame(60, 1);

		for (unsigned sent = 0; sent < frames && !failed;) {
			for (volatile unsigned spin = random() % 4000; spin; spin = spin - 1)
				;
			if (random() % 64 == 0)
				usleep(200);
			/* A card that cannot take more is told it again. */
			sent += plx_emu_inject(card, 0, frame.data(), frame.size()) == 0;
		}
	});
	while (received < frames) {
		unsigned got = receive_from(0);
		int armed;

		received += got;
		if (got)
			continue;
		armed = arm();
		if (armed < 0) {
			ADD_FAILURE() << plx_error();
			break;
		}
		if (armed)
			continue;
		slept++;
		if (!waiter.woken(60000)) {
			ADD_FAILURE() << "slept on after " << received << " frames";
			break;
		}
	}
	failed = true;
	sender.join();
	EXPECT_EQ(received, frames);
	EXPECT_GT(slept, 10u);
	RecordProperty("slept", (int)slept);
}

INSTANTIATE_TEST_SUITE_P(, Sleeping,
	::testing::Values(Way{"SplitFlags", ",packed=off", false, 2, false},
		Way{"SplitEvents", ",packed=off", true, 2, false},
		Way{"PackedFlags", "", false, 2, false}, Way{"PackedEvents", "", true, 2, false},
		Way{"SplitOneVector", ",packed=off", true, 1, false},
		Way{"PackedOneVector", "", true, 1, false},
		Way{"SplitLine", ",packed=off", false, 0, false},
		Way{"SplitEventsLine", ",packed=off", true, 0, false},
		Way{"PackedLine", "", true, 0, false},
		Way{"LegacyVectors", ",legacy=on", true, 2, true},
		Way{"LegacyLine", ",legacy=on", false, 0, true}),
	[](const ::testing::TestParamInfo<Way> &info) { return info.param.name; });

/* --- who has which vector --- */

class Vectors : public IrqFixture
{
      protected:
	Waiter waiter;

	/* Which of the queues' eventfds fire for a frame on one. */
	std::set<int> fire(unsigned queue)
	{
		for (unsigned i = 0; i < eth_config.queue_pairs; i++)
			EXPECT_EQ(arm(i), 0) << plx_error();
		(void)waiter.fired();
		inject(queue);
		auto fired = waiter.fired();
		EXPECT_EQ(receive_from(queue), 1u);
		return fired;
	}
};

TEST_F(Vectors, EachQueueAndTheConfigurationHaveTheirOwnWhereThereAreEnough)
{
	std::set<int> fds;

	start_with(PLX_EMU_VECTORS, 4);
	for (unsigned i = 0; i < 4; i++)
		fds.insert(rx_fd(i));
	fds.insert(plx_eth_config_event_fd(eth));
	EXPECT_EQ(fds.size(), 5u);
	for (int fd : fds) {
		ASSERT_GE(fd, 0) << plx_error();
		waiter.add(fd);
	}
	for (unsigned i = 0; i < 4; i++)
		EXPECT_EQ(fire(i), std::set<int>{rx_fd(i)}) << "queue " << i;
	plx_emu_set_link(card, false);
	EXPECT_EQ(waiter.fired(), std::set<int>{plx_eth_config_event_fd(eth)});
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
}

TEST_F(Vectors, QueuesShareWhereThereAreFewer)
{
	start_with(3, 4);
	EXPECT_EQ(rx_fd(0), rx_fd(2));
	EXPECT_EQ(rx_fd(1), rx_fd(3));
	EXPECT_NE(rx_fd(0), rx_fd(1));
	EXPECT_NE(rx_fd(0), plx_eth_config_event_fd(eth));
	EXPECT_NE(rx_fd(1), plx_eth_config_event_fd(eth));
	waiter.add(rx_fd(0));
	waiter.add(rx_fd(1));
	for (unsigned i = 0; i < 4; i++)
		EXPECT_EQ(fire(i), std::set<int>{rx_fd(i)}) << "queue " << i;
}

TEST_F(Vectors, OneIsForAll)
{
	start_with(1, 3);
	EXPECT_EQ(rx_fd(0), rx_fd(1));
	EXPECT_EQ(rx_fd(0), rx_fd(2));
	EXPECT_EQ(rx_fd(0), plx_eth_config_event_fd(eth));
	waiter.add(rx_fd(0));
	for (unsigned i = 0; i < 3; i++)
		EXPECT_EQ(fire(i).size(), 1u);
	plx_emu_set_link(card, false);
	EXPECT_TRUE(waiter.woken());
}

TEST_F(Vectors, WithNoneTheLineIsForAll)
{
	start_with(0, 3);
	EXPECT_EQ(rx_fd(0), rx_fd(2));
	EXPECT_EQ(rx_fd(0), plx_eth_config_event_fd(eth));
	waiter.add(rx_fd(0));
	for (unsigned i = 0; i < 3; i++)
		EXPECT_EQ(fire(i).size(), 1u);
	EXPECT_EQ(arm(0), 0);
	(void)waiter.woken();
	plx_emu_set_link(card, false);
	EXPECT_TRUE(waiter.woken());
	EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
}

TEST_F(Vectors, QueueThatIsStoppedAndStartedAloneInterruptsAgain)
{
	start_with(PLX_EMU_VECTORS, 2, ",ring_reset=on");
	waiter.add(rx_fd(0));
	waiter.add(rx_fd(1));
	for (unsigned round = 0; round < 3; round++) {
		EXPECT_EQ(fire(1), std::set<int>{rx_fd(1)});
		ASSERT_EQ(plx_eth_stop_queue(eth, PLX_ETH_RX, 1), 0) << plx_error();
		EXPECT_EQ(arm(1), -ESHUTDOWN);
		plx_eth_rx_disarm(plx_eth_rxq(eth, 1));
		ASSERT_EQ(plx_eth_start_queue(eth, PLX_ETH_RX, 1, 0), 0) << plx_error();
	}
	EXPECT_EQ(fire(0), std::set<int>{rx_fd(0)});
	EXPECT_EQ(fire(1), std::set<int>{rx_fd(1)});
}

/* Two threads that share an eventfd, and neither takes what is the other's. */
TEST_F(Vectors, WhoSharesAnEventfdIsWokenWhateverOthersDo)
{
	Waiter other;

	start_with(1, 2);
	waiter.add(rx_fd(0));
	other.add(rx_fd(1));
	(void)waiter.woken();
	(void)other.woken();
	for (unsigned round = 0; round < 100; round++) {
		ASSERT_EQ(arm(0), 0);
		ASSERT_EQ(arm(1), 0);
		inject(1);
		/* The first is woken for nothing, looks, and arms again before the second runs. */
		ASSERT_TRUE(waiter.woken());
		ASSERT_EQ(receive_from(0), 0u);
		ASSERT_EQ(arm(0), 0);
		ASSERT_TRUE(other.woken());
		ASSERT_EQ(receive_from(1), 1u);
	}
}

TEST_F(Vectors, No15_LineStaysQuietFromOneInterruptUntilTheNextArming)
{
	eventfd_t count = 0;

	start_with(0, 1);
	ASSERT_EQ(arm(), 0);
	for (unsigned i = 0; i < 1000; i++)
		plx_emu_interrupt(card, -1);
	ASSERT_EQ(eventfd_read(rx_fd(0), &count), 0);
	EXPECT_EQ(count, 1u) << "VFIO masks the line, and nobody unmasked it";
	ASSERT_EQ(arm(), 0);
	inject(0);
	ASSERT_EQ(eventfd_read(rx_fd(0), &count), 0);
	EXPECT_EQ(count, 1u);
	EXPECT_EQ(receive_from(0), 1u);
}

/* Registers of vectors, which take no vector that is listed. */
class Refusing : public Vectors
{
      protected:
	static std::set<uint64_t> refused;
	static bool refuse_config;

	void SetUp() override
	{
		Vectors::SetUp();
		refused.clear();
		refuse_config = false;
		config.hooks.write = [](void *, enum plx_emu_place place, uint64_t offset, unsigned,
					     uint64_t *value) {
			if (place != PLX_EMU_COMMON)
				return true;
			if (offset == VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR && refuse_config)
				return false;
			return offset != VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR ||
			       !refused.count(*value);
		};
	}
};
std::set<uint64_t> Refusing::refused;
bool Refusing::refuse_config;

TEST_F(Refusing, QueueWhoseVectorIsRefusedSharesTheFirst)
{
	refused = {2};
	start_with(PLX_EMU_VECTORS, 3);
	EXPECT_EQ(rx_fd(1), plx_eth_config_event_fd(eth));
	EXPECT_NE(rx_fd(0), rx_fd(1));
	EXPECT_NE(rx_fd(2), rx_fd(1));
	for (unsigned i = 0; i < 3; i++)
		waiter.add(rx_fd(i));
	for (unsigned i = 0; i < 3; i++)
		EXPECT_EQ(fire(i), std::set<int>{rx_fd(i)}) << "queue " << i;
}

TEST_F(Refusing, DeviceThatRefusesEveryVectorIsNotStarted)
{
	refused = {0, 1, 2, 3};
	config.pairs = eth_config.queue_pairs = 2;
	eth_config.interrupts = true;
	ASSERT_EQ(try_open(), 0);
	ASSERT_EQ(try_configure(), 0);
	EXPECT_EQ(plx_eth_start(eth), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("refuses to interrupt for queue 0"),
		std::string::npos)
		<< plx_error();
	expect_all_back();
	EXPECT_EQ(rx_fd(0), -ESHUTDOWN);
	/* It may have been a shortage that has passed. */
	refused.clear();
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_GE(rx_fd(1), 0);
}

TEST_F(Refusing, ConfigurationWithoutAVectorIsToldOf)
{
	refuse_config = true;
	start_with(PLX_EMU_VECTORS, 1);
	EXPECT_EQ(plx_eth_config_event_fd(eth), -ENOTSUP);
	waiter.add(rx_fd(0));
	EXPECT_EQ(fire(0).size(), 1u);
}

/* --- what is asked for, and what is not there --- */

TEST_F(Vectors, DeviceWithoutInterruptsIsRefusedToWhoAsksForThem)
{
	config.vectors = 0;
	ASSERT_EQ(try_open(), 0);
	stepper->device.irqs[VFIO_PCI_INTX_IRQ_INDEX] = 0;
	eth_config.interrupts = true;
	EXPECT_EQ(try_configure(), -ENOTSUP);
	EXPECT_NE(std::string(plx_error()).find("has no interrupts"), std::string::npos);
	eth_config.interrupts = false;
	ASSERT_EQ(try_configure(), 0);
	EXPECT_EQ(plx_eth_start(eth), 0) << plx_error();
}

TEST_F(Vectors, WhoDidNotAskGetsNone)
{
	start();
	EXPECT_EQ(rx_fd(0), -EINVAL);
	EXPECT_EQ(plx_eth_config_event_fd(eth), -EINVAL);
	EXPECT_EQ(arm(), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("without interrupts"), std::string::npos);
	plx_eth_rx_disarm(rxq());
	inject(0, 1, 200);
	struct plx_emu_stats stats;
	plx_emu_get_stats(card, &stats);
	EXPECT_EQ(stats.interrupts, 0u);
}

TEST_F(Vectors, QueueThatIsNotThereHasNoEventfd)
{
	start_with(PLX_EMU_VECTORS, 2);
	EXPECT_EQ(rx_fd(2), -EINVAL);
	EXPECT_EQ(rx_fd(UINT32_MAX), -EINVAL);
}

/* --- interrupts that nobody should send --- */

TEST_F(Vectors, No15_StormOfConfigurationInterruptsIsOneEvent)
{
	start_with(PLX_EMU_VECTORS, 1);
	int fd = plx_eth_config_event_fd(eth);
	struct pollfd polled = {fd, POLLIN, 0};
	unsigned looks = 0;
	eventfd_t count;

	for (unsigned i = 0; i < 9999; i++)
		plx_emu_set_link(card, i % 2);
	/* Who reads it is told once, however often it was said. */
	while (poll(&polled, 1, 0) > 0 && looks < 100) {
		ASSERT_EQ(eventfd_read(fd, &count), 0);
		EXPECT_EQ(plx_eth_poll_events(eth), PLX_ETH_EVENT_LINK);
		looks++;
	}
	EXPECT_EQ(looks, 1u);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	for (unsigned i = 0; i < 100000; i++)
		plx_emu_interrupt(card, 0);
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	waiter.add(rx_fd(0));
	EXPECT_EQ(fire(0).size(), 1u);
}

/* Interrupts by every vector just before the driver says DRIVER_OK. */
class Early : public Vectors
{
      protected:
	static Early *self;

	struct plx_vfio_device *device() override
	{
		static struct plx_vfio_ops ops;
		struct plx_vfio_device *device = Vectors::device();

		self = this;
		ops = *device->ops;
		write_ = ops.write;
		ops.write = [](struct plx_vfio_device *d, unsigned region, uint64_t offset,
				    const void *value, size_t len) {
			if (region == 4 && offset == VIRTIO_PCI_COMMON_DEVICE_STATUS &&
				(*static_cast<const uint8_t *>(value) & VIRTIO_STATUS_DRIVER_OK))
				for (int i = 0; i < 200; i++)
					plx_emu_interrupt(self->card, i % 3);
			return self->write_(d, region, offset, value, len);
		};
		device->ops = &ops;
		return device;
	}

      private:
	int (*write_)(struct plx_vfio_device *, unsigned, uint64_t, const void *, size_t) = nullptr;
};
Early *Early::self;

TEST_F(Early, No16_InterruptsBeforeDriverOkAreForgotten)
{
	struct plx_emu_stats stats;

	start_with(3, 2);
	plx_emu_get_stats(card, &stats);
	ASSERT_EQ(stats.interrupts, 200u);
	waiter.add(rx_fd(0));
	waiter.add(rx_fd(1));
	waiter.add(plx_eth_config_event_fd(eth));
	EXPECT_FALSE(waiter.woken());
	EXPECT_EQ(plx_eth_poll_events(eth), 0);
	EXPECT_EQ(fire(0), std::set<int>{rx_fd(0)});
}

} // namespace
