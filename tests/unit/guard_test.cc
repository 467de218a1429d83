/* SPDX-License-Identifier: BSD-3-Clause */
extern "C" {
#include "vfio/alarm.h"
#include "vfio/guard.h"
#include "vfio/vfio.h"
}

#include <pollux/pollux.h>

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <thread>

namespace
{

const size_t kPage = (size_t)sysconf(_SC_PAGESIZE);
const size_t kRegion = 4 * kPage;

/*
 * A card whose registers are a file: cut short, the file's mapping raises SIGBUS as that of
 * registers does that are gone.
 */
struct FakeCard {
	struct plx_vfio_device device = {}; /* first, since the seam knows it by its address */
	int file = memfd_create("registers", MFD_CLOEXEC);
	int asked[VFIO_PCI_NUM_IRQS] = {-1, -1, -1, -1, -1};
	bool refuses = false;

	FakeCard()
	{
		static struct plx_vfio_ops ops;

		ops.map = [](struct plx_vfio_device *d, unsigned, uint64_t offset, size_t len,
				  void **address) {
			*address = mmap(nullptr, len, PROT_READ | PROT_WRITE, MAP_SHARED,
				of(d).file, (off_t)offset);
			return *address == MAP_FAILED ? -ENOMEM : 0;
		};
		ops.unmap = [](struct plx_vfio_device *, void *address, size_t len) {
			EXPECT_EQ(munmap(address, len), 0);
		};
		ops.set_irqs = [](struct plx_vfio_device *d, unsigned index, unsigned,
				       unsigned count, const int32_t *fds) {
			if (of(d).refuses)
				return -EINVAL;
			of(d).asked[index] = count ? fds[0] : -1;
			return 0;
		};
		EXPECT_EQ(ftruncate(file, (off_t)kRegion), 0);
		std::strcpy(device.name, "card");
		device.ops = &ops;
		device.regions = 1;
		device.region[0].size = kRegion;
		device.region[0].flags = VFIO_REGION_INFO_FLAG_MMAP;
		device.region[0].areas = 1;
		device.region[0].area[0].size = kRegion;
	}
	~FakeCard()
	{
		close(file);
	}
	static FakeCard &of(struct plx_vfio_device *d)
	{
		return *reinterpret_cast<FakeCard *>(d);
	}
	void vanish()
	{
		EXPECT_EQ(ftruncate(file, 0), 0);
	}
};

class Guard : public ::testing::Test
{
      protected:
	FakeCard card;
	struct plx_mmio window = {};

	/* A sanitizer has a handler of its own, and would end the process in another way. */
	static void SetUpTestSuite()
	{
		signal(SIGBUS, SIG_DFL);
	}

	void SetUp() override
	{
		ASSERT_EQ(plx_guard_install(), 0) << plx_error();
		ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0) << plx_error();
		plx_mmio_write32(&window, 0, 0x12345678);
	}
	void TearDown() override
	{
		plx_mmio_close(&window);
		EXPECT_EQ(plx_guard_remove(), 0) << plx_error();
		EXPECT_EQ(plx_guard_remove(), -EINVAL);
	}
};

TEST_F(Guard, RegistersThatVanishReadAsOnesAndWritesAreLost)
{
	EXPECT_EQ(plx_mmio_read32(&window, 0), 0x12345678u);
	card.vanish();
	EXPECT_EQ(plx_mmio_read32(&window, 0), 0xffffffffu);
	plx_mmio_write8(&window, 0, 0);
	plx_mmio_write16(&window, 2, 0);
	EXPECT_EQ(plx_mmio_read8(&window, 0), 0xff) << "what was written does not come back";
	EXPECT_EQ(plx_mmio_read16(&window, 2), 0xffff);
}

TEST_F(Guard, WriteIsSurvivedAsWellAsARead)
{
	card.vanish();
	plx_mmio_write16(&window, 0, 7);
	EXPECT_EQ(plx_mmio_read16(&window, 0), 0xffff);
}

TEST_F(Guard, EveryWindowOfTheDeviceIsGoneAndNoOtherDevices)
{
	FakeCard other;
	struct plx_mmio second = {}, stranger = {};

	ASSERT_EQ(plx_mmio_open(&second, &card.device, 0, 2 * kPage, 2 * kPage), 0);
	ASSERT_EQ(plx_mmio_open(&stranger, &other.device, 0, 0, 64), 0);
	plx_mmio_write32(&stranger, 0, 42);
	card.vanish();
	EXPECT_EQ(plx_mmio_read32(&second, kPage), 0xffffffffu) << "its second page";
	EXPECT_EQ(plx_mmio_read32(&second, 0), 0xffffffffu);
	EXPECT_EQ(plx_mmio_read32(&window, 0), 0xffffffffu);
	EXPECT_EQ(plx_mmio_read32(&stranger, 0), 42u);
	plx_mmio_close(&second);
	plx_mmio_close(&stranger);
}

TEST_F(Guard, HoldsInEachThread)
{
	std::vector<std::thread> threads;
	std::atomic<unsigned> ones{0};

	card.vanish();
	for (unsigned i = 0; i < 8; i++)
		threads.emplace_back([&] {
			for (unsigned n = 0; n < 1000; n++) {
				plx_mmio_write32(&window, 4, n);
				ones += plx_mmio_read32(&window, 4) == 0xffffffffu;
			}
		});
	for (auto &thread : threads)
		thread.join();
	EXPECT_EQ(ones, 8000u);
}

TEST_F(Guard, WindowsComeAndGoWhileOthersVanish)
{
	std::atomic<bool> ended{false};
	std::thread busy([&] {
		while (!ended) {
			FakeCard other;
			struct plx_mmio some[4] = {};

			for (auto &one : some)
				ASSERT_EQ(plx_mmio_open(&one, &other.device, 0, 0, 64), 0);
			for (auto &one : some)
				plx_mmio_close(&one);
		}
	});
	for (unsigned i = 0; i < 300; i++) {
		FakeCard victim;
		struct plx_mmio one = {};

		ASSERT_EQ(plx_mmio_open(&one, &victim.device, 0, 0, 64), 0);
		victim.vanish();
		EXPECT_EQ(plx_mmio_read32(&one, 0), 0xffffffffu);
		plx_mmio_close(&one);
	}
	ended = true;
	busy.join();
}

/* Return: whether an access to memory of nobody's is met by the death of the process. */
void touch_the_end_of_a_file()
{
	int file = memfd_create("other", MFD_CLOEXEC);
	auto *at = static_cast<volatile uint8_t *>(
		mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file, 0));

	(void)*at;
}

TEST_F(Guard, OtherFaultsEndTheProcessAsEver)
{
	EXPECT_EXIT(touch_the_end_of_a_file(), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EXIT(
		{
			kill(getpid(), SIGBUS);
			pause();
		},
		::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(Guard, WindowThatWasClosedIsNobodysAnyMore)
{
	auto close_and_touch = [this] {
		struct plx_mmio one = {};

		if (plx_mmio_open(&one, &card.device, 0, 0, 64))
			exit(0);
		void *at = one.map;
		plx_mmio_close(&one);
		mmap(at, kPage, PROT_READ, MAP_SHARED | MAP_FIXED,
			memfd_create("other", MFD_CLOEXEC), 0);
		(void)*static_cast<volatile uint8_t *>(at);
		exit(0);
	};
	EXPECT_EXIT(close_and_touch(), ::testing::KilledBySignal(SIGBUS), "");
}

sigjmp_buf out;
void *faulted;

TEST(GuardChain, HandlerBeforeItHearsOfOtherFaultsAndIsThereAgainAfterwards)
{
	struct sigaction before = {}, now = {}, original = {};
	FakeCard card;
	struct plx_mmio window = {};

	before.sa_flags = SA_SIGINFO;
	before.sa_sigaction = [](int, siginfo_t *info, void *) {
		faulted = info->si_addr;
		siglongjmp(out, 1);
	};
	ASSERT_EQ(sigaction(SIGBUS, &before, &original), 0);
	ASSERT_EQ(plx_guard_install(), 0);
	ASSERT_EQ(plx_guard_install(), 0) << "as often as one likes";
	ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	card.vanish();
	EXPECT_EQ(plx_mmio_read8(&window, 0), 0xff);
	EXPECT_EQ(faulted, nullptr) << "it did not hear of the registers";
	if (!sigsetjmp(out, 1))
		touch_the_end_of_a_file();
	EXPECT_NE(faulted, nullptr);
	plx_mmio_close(&window);
	EXPECT_EQ(plx_guard_remove(), 0);
	EXPECT_EQ(plx_guard_remove(), 0);
	ASSERT_EQ(sigaction(SIGBUS, &original, &now), 0);
	EXPECT_EQ(now.sa_sigaction, before.sa_sigaction);
}

/* What a handler of the host saw. */
struct {
	std::atomic<unsigned> calls;
	int number;
	bool usr1_waits, bus_waits;
} host;

void note_call(int number)
{
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, nullptr, &blocked);
	host.calls++;
	host.number = number;
	host.usr1_waits = sigismember(&blocked, SIGUSR1);
	host.bus_waits = sigismember(&blocked, SIGBUS);
}

/* A handler of the host's, behind a guard that has a card to watch over. */
class GuardedHost : public ::testing::Test
{
      protected:
	struct sigaction original = {};
	FakeCard card;
	struct plx_mmio window = {};

	void begin(void (*handler)(int), int flags, int blocked = 0)
	{
		struct sigaction action = {};

		action.sa_handler = handler;
		action.sa_flags = flags;
		if (blocked)
			sigaddset(&action.sa_mask, blocked);
		host.calls = 0;
		ASSERT_EQ(sigaction(SIGBUS, &action, &original), 0);
		ASSERT_EQ(plx_guard_install(), 0);
		ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	}

	/* Return: the handler that is there when the guard is gone. */
	struct sigaction end()
	{
		struct sigaction now = {};

		plx_mmio_close(&window);
		EXPECT_EQ(plx_guard_remove(), 0);
		EXPECT_EQ(sigaction(SIGBUS, &original, &now), 0);
		return now;
	}

	void expect_guarded()
	{
		card.vanish();
		EXPECT_EQ(plx_mmio_read8(&window, 0), 0xff);
	}
};

TEST_F(GuardedHost, HandlerOfANumberAloneHearsOfOtherFaults)
{
	begin(
		[](int number) {
			note_call(number);
			siglongjmp(out, 1);
		},
		0);
	expect_guarded();
	EXPECT_EQ(host.calls, 0u);
	if (!sigsetjmp(out, 1))
		touch_the_end_of_a_file();
	EXPECT_EQ(host.calls, 1u);
	EXPECT_EQ(host.number, SIGBUS);
	EXPECT_NE(end().sa_handler, SIG_DFL);
}

TEST_F(GuardedHost, SignalsOfItsMaskWaitWhileItsHandlerRuns)
{
	struct sigaction after;
	sigset_t blocked;

	begin(note_call, 0, SIGUSR1);
	raise(SIGBUS);
	EXPECT_EQ(host.calls, 1u);
	EXPECT_TRUE(host.usr1_waits);
	EXPECT_TRUE(host.bus_waits);
	sigprocmask(SIG_SETMASK, nullptr, &blocked);
	EXPECT_FALSE(sigismember(&blocked, SIGUSR1));
	expect_guarded();
	after = end();
	EXPECT_TRUE(sigismember(&after.sa_mask, SIGUSR1));
}

TEST_F(GuardedHost, HandlerThatMayBeInterruptedByItsOwnSignalIs)
{
	begin(note_call, SA_NODEFER);
	raise(SIGBUS);
	EXPECT_EQ(host.calls, 1u);
	EXPECT_FALSE(host.bus_waits);
	EXPECT_FALSE(host.usr1_waits);
	expect_guarded();
	end();
}

TEST_F(GuardedHost, HandlerForASingleSignalIsCalledOnceAndTheRegistersStayGuarded)
{
	begin(note_call, SA_RESETHAND);
	raise(SIGBUS);
	EXPECT_EQ(host.calls, 1u);
	expect_guarded();
	EXPECT_EXIT(raise(SIGBUS), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EXIT(touch_the_end_of_a_file(), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EQ(end().sa_handler, SIG_DFL) << "as the kernel would have left it";
}

TEST_F(GuardedHost, HandlerForASingleSignalThatDidNotComeIsPutBack)
{
	begin(note_call, SA_RESETHAND);
	expect_guarded();
	EXPECT_EQ(end().sa_handler, note_call);
	EXPECT_EQ(host.calls, 0u);
}

TEST_F(GuardedHost, SignalThatItIgnoresIsIgnoredAndAFaultIsNot)
{
	begin(SIG_IGN, 0);
	raise(SIGBUS);
	expect_guarded();
	EXPECT_EXIT(touch_the_end_of_a_file(), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EQ(end().sa_handler, SIG_IGN);
}

/* The kernel asks for no flag before it takes SIG_IGN and SIG_DFL for what they are. */
TEST_F(GuardedHost, SignalThatItIgnoresIsIgnoredWhicheverFlagsStandBesideThat)
{
	begin(SIG_IGN, SA_SIGINFO | SA_RESETHAND);
	raise(SIGBUS);
	raise(SIGBUS);
	expect_guarded();
	EXPECT_EXIT(touch_the_end_of_a_file(), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EQ(end().sa_handler, SIG_IGN);
}

TEST_F(GuardedHost, NoHandlerIsNoneWhicheverFlagsStandBesideThat)
{
	begin(SIG_DFL, SA_SIGINFO);
	expect_guarded();
	EXPECT_EXIT(raise(SIGBUS), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EXIT(touch_the_end_of_a_file(), ::testing::KilledBySignal(SIGBUS), "");
	EXPECT_EQ(end().sa_handler, SIG_DFL);
}

/* As the kernel tells of a page of memory that broke and that nobody has touched since. */
void tell_of_broken_memory()
{
	siginfo_t info = {};

	info.si_signo = SIGBUS;
	info.si_code = BUS_MCEERR_AO;
	info.si_addr = &info;
	ASSERT_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info), 0);
}

TEST_F(GuardedHost, MemoryThatNobodyTouchedEndsTheProcessAsEver)
{
	begin(SIG_DFL, 0);
	EXPECT_EXIT(
		{
			tell_of_broken_memory();
			_exit(0);
		},
		::testing::KilledBySignal(SIGBUS), "");
	expect_guarded();
	end();
}

TEST_F(GuardedHost, MemoryThatNobodyTouchedIsIgnoredByWhoIgnoresTheSignal)
{
	begin(SIG_IGN, 0);
	tell_of_broken_memory();
	expect_guarded();
	EXPECT_EQ(end().sa_handler, SIG_IGN);
}

TEST(GuardChain, DeviceThatWasOpenedBeforeItIsGuardedAsWell)
{
	FakeCard card;
	struct plx_mmio window = {};

	ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	ASSERT_EQ(plx_guard_install(), 0);
	card.vanish();
	EXPECT_EQ(plx_mmio_read8(&window, 0), 0xff);
	plx_mmio_close(&window);
	EXPECT_EQ(plx_guard_remove(), 0);
}

TEST(GuardChain, WindowWithoutRoomIsToldOfAndTheNextOneHasItAgain)
{
	/* Nobody looks at what lies there. */
	auto place = [](unsigned i) { return reinterpret_cast<void *>(kPage * (i + 1)); };
	std::vector<std::string> said;
	const struct plx_log log = {[](void *arg, enum plx_log_level, const char *text) {
					    static_cast<std::vector<std::string> *>(arg)->push_back(
						    text);
				    },
		&said, PLX_LOG_WARNING};
	FakeCard card;
	struct plx_mmio window = {};
	bool gone = false;
	unsigned count = 0;

	card.device.log = &log;
	ASSERT_EQ(plx_guard_install(), 0);
	while (count < 100000 && plx_guard_watch(place(count), kPage, &gone))
		count++;
	EXPECT_EQ(count, 4096u) << "what pollux/guard.h says";
	ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	ASSERT_EQ(said.size(), 1u);
	EXPECT_NE(said[0].find("the guard has no room for another window"), std::string::npos);
	plx_mmio_write32(&window, 0, 7);
	EXPECT_EQ(plx_mmio_read32(&window, 0), 7u) << "it works all the same";
	EXPECT_EXIT(
		{
			card.vanish();
			(void)plx_mmio_read8(&window, 0);
		},
		::testing::KilledBySignal(SIGBUS), "");
	plx_mmio_close(&window);
	card.device.gone = false;
	EXPECT_EQ(ftruncate(card.file, (off_t)kRegion), 0);
	plx_guard_release(place(17));
	ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	EXPECT_EQ(said.size(), 1u);
	card.vanish();
	EXPECT_EQ(plx_mmio_read8(&window, 0), 0xff);
	plx_mmio_close(&window);
	for (unsigned i = 0; i < count; i++)
		plx_guard_release(place(i));
	EXPECT_EQ(plx_guard_remove(), 0);
	EXPECT_FALSE(gone);
}

TEST(GuardChain, StaysWhenAnotherHandlerCameBehindIt)
{
	struct sigaction mine = {}, guards = {};

	ASSERT_EQ(plx_guard_install(), 0);
	mine.sa_handler = [](int) {};
	ASSERT_EQ(sigaction(SIGBUS, &mine, &guards), 0);
	EXPECT_EQ(plx_guard_remove(), -EBUSY);
	ASSERT_EQ(sigaction(SIGBUS, &guards, nullptr), 0);
	EXPECT_EQ(plx_guard_remove(), 0);
}

TEST(GuardChain, WithoutAGuardNothingIsWatched)
{
	FakeCard card;
	struct plx_mmio window = {};

	ASSERT_EQ(plx_mmio_open(&window, &card.device, 0, 0, 64), 0);
	EXPECT_EXIT(
		{
			card.vanish();
			(void)plx_mmio_read8(&window, 0);
		},
		::testing::KilledBySignal(SIGBUS), "");
	plx_mmio_close(&window);
}

/* --- what VFIO has to say --- */

TEST(Alarm, TellsEachThingOnceHoweverOftenItWasSaid)
{
	FakeCard card;
	struct plx_vfio_alarm alarm;

	card.device.irqs[VFIO_PCI_REQ_IRQ_INDEX] = 1;
	card.device.irqs[VFIO_PCI_ERR_IRQ_INDEX] = 1;
	plx_vfio_alarm_set(&alarm, &card.device);
	EXPECT_EQ(plx_vfio_alarm_look(&alarm), 0u);
	for (unsigned i = 0; i < 3; i++)
		ASSERT_EQ(eventfd_write(card.asked[VFIO_PCI_REQ_IRQ_INDEX], 1), 0);
	EXPECT_EQ(plx_vfio_alarm_look(&alarm), (unsigned)PLX_VFIO_WANTED);
	EXPECT_EQ(plx_vfio_alarm_look(&alarm), 0u);
	ASSERT_EQ(eventfd_write(card.asked[VFIO_PCI_ERR_IRQ_INDEX], 1), 0);
	EXPECT_EQ(plx_vfio_alarm_look(&alarm), (unsigned)PLX_VFIO_ERRED);
	plx_vfio_alarm_clear(&alarm, &card.device);
	EXPECT_EQ(card.asked[VFIO_PCI_REQ_IRQ_INDEX], -1) << "the kernel was told";
	EXPECT_EQ(card.asked[VFIO_PCI_ERR_IRQ_INDEX], -1);
	EXPECT_EQ(plx_vfio_alarm_look(&alarm), 0u);
}

TEST(Alarm, DeviceWithoutThemOrThatRefusesThemIsDoneWithout)
{
	FakeCard card;
	struct plx_vfio_alarm alarm;

	for (bool refuses : {false, true}) {
		card.refuses = refuses;
		card.device.irqs[VFIO_PCI_REQ_IRQ_INDEX] = refuses;
		plx_vfio_alarm_set(&alarm, &card.device);
		EXPECT_EQ(plx_vfio_alarm_look(&alarm), 0u);
		EXPECT_EQ(alarm.wanted, -1);
		plx_vfio_alarm_clear(&alarm, &card.device);
	}
}

} /* namespace */
