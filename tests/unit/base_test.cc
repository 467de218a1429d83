/* SPDX-License-Identifier: BSD-3-Clause */
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <regex>
#include <string>
#include <sys/time.h>
#include <thread>
#include <vector>

extern "C" {
#include "base/barrier.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "base/shared.h"
}

namespace
{

TEST(Error, KeepsTheLastReasonOfTheThread)
{
	EXPECT_EQ(plx_fail(EINVAL, "device %d has no %s", 3, "queues"), -EINVAL);
	EXPECT_STREQ(plx_error(), "device 3 has no queues");
	std::thread([] {
		EXPECT_STREQ(plx_error(), "");
		EXPECT_EQ(plx_fail(ENODEV, "other"), -ENODEV);
		EXPECT_STREQ(plx_error(), "other");
	}).join();
	EXPECT_STREQ(plx_error(), "device 3 has no queues");
}

TEST(Error, MaySayMoreOfTheReasonBefore)
{
	(void)plx_fail(EIO, "register 0x10 does not answer");
	EXPECT_EQ(plx_fail(EIO, "0000:00:03.0: %s: plug it in", plx_error()), -EIO);
	EXPECT_STREQ(plx_error(), "0000:00:03.0: register 0x10 does not answer: plug it in");
}

TEST(Error, LeavesErrnoToBeReadAfterIt)
{
	errno = EBUSY;
	EXPECT_EQ(plx_fail(errno, "cannot open: %m"), -EBUSY);
	EXPECT_STREQ(plx_error(), "cannot open: Device or resource busy");
}

TEST(Error, CutsWhatIsTooLong)
{
	std::string text(5000, 'x');

	(void)plx_fail(EIO, "%s", text.c_str());
	EXPECT_GT(strlen(plx_error()), 500u);
	EXPECT_LT(strlen(plx_error()), 1024u);
	/* Also when the text is built on itself, again and again. */
	for (int i = 0; i < 10; i++)
		(void)plx_fail(EIO, "%s and %s", plx_error(), plx_error());
	EXPECT_LT(strlen(plx_error()), 1024u);
	EXPECT_EQ(plx_error()[0], 'x');
}

struct Messages {
	std::vector<std::pair<plx_log_level, std::string>> all;

	static void take(void *arg, plx_log_level level, const char *message)
	{
		static_cast<Messages *>(arg)->all.emplace_back(level, message);
	}
};

TEST(Log, DeliversWhatIsWanted)
{
	Messages messages;
	struct plx_log log = {Messages::take, &messages, PLX_LOG_WARNING};

	plx_log(&log, PLX_LOG_ERROR, "%s %d", "one", 1);
	plx_log(&log, PLX_LOG_WARNING, "two");
	plx_log(&log, PLX_LOG_INFO, "three");
	plx_log(&log, PLX_LOG_DEBUG, "four");
	ASSERT_EQ(messages.all.size(), 2u);
	EXPECT_EQ(messages.all[0].first, PLX_LOG_ERROR);
	EXPECT_EQ(messages.all[0].second, "one 1");
	EXPECT_EQ(messages.all[1].second, "two");
}

TEST(Log, IsSilentWithoutAListener)
{
	struct plx_log log = {nullptr, nullptr, PLX_LOG_DEBUG};

	plx_log(&log, PLX_LOG_ERROR, "nobody hears");
	plx_log(nullptr, PLX_LOG_ERROR, "nobody hears");
}

TEST(Log, CutsWhatIsTooLong)
{
	Messages messages;
	struct plx_log log = {Messages::take, &messages, PLX_LOG_WARNING};

	plx_log(&log, PLX_LOG_ERROR, "%s", std::string(5000, 'x').c_str());
	ASSERT_EQ(messages.all.size(), 1u);
	EXPECT_GT(messages.all[0].second.size(), 200u);
	EXPECT_LT(messages.all[0].second.size(), 1024u);
}

TEST(Bits, PowersOfTwo)
{
	EXPECT_FALSE(plx_is_power_of_two(0));
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t value = UINT64_C(1) << bit;

		EXPECT_TRUE(plx_is_power_of_two(value));
		EXPECT_EQ(plx_is_power_of_two(value + 1), value == 1);
	}
	EXPECT_FALSE(plx_is_power_of_two(UINT64_MAX));
}

TEST(Bits, Alignment)
{
	EXPECT_EQ(plx_align_up(0, 64), 0u);
	EXPECT_EQ(plx_align_up(1, 64), 64u);
	EXPECT_EQ(plx_align_up(64, 64), 64u);
	EXPECT_EQ(plx_align_up(65, 64), 128u);
	EXPECT_EQ(plx_align_down(127, 64), 64u);
	EXPECT_EQ(plx_align_down(UINT64_MAX, UINT64_C(1) << 30), 0xffffffffc0000000u);
	EXPECT_EQ(plx_align_up(0xffffffffbfffffffu, UINT64_C(1) << 30), 0xffffffffc0000000u);
}

TEST(Bits, RangesFitWithoutOverflow)
{
	EXPECT_TRUE(plx_range_fits(0, 0, 0));
	EXPECT_TRUE(plx_range_fits(10, 0, 10));
	EXPECT_TRUE(plx_range_fits(4, 6, 10));
	EXPECT_FALSE(plx_range_fits(4, 7, 10));
	EXPECT_FALSE(plx_range_fits(11, 0, 10));
	EXPECT_FALSE(plx_range_fits(8, UINT64_MAX, 10));
	EXPECT_FALSE(plx_range_fits(UINT64_MAX, 2, 10));
	EXPECT_TRUE(plx_range_fits(0, UINT64_MAX, UINT64_MAX));
}

TEST(Shared, ValuesAreLittleEndianInMemory)
{
	union {
		uint8_t bytes[8];
		struct plx_shared16 half;
		struct plx_shared32 word;
		struct plx_shared64 twin;
	} memory = {{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08}};

	EXPECT_EQ(plx_shared16_read(&memory.half), 0x0201);
	EXPECT_EQ(plx_shared16_read_acquire(&memory.half), 0x0201);
	EXPECT_EQ(plx_shared32_read(&memory.word), 0x04030201u);
	EXPECT_EQ(plx_shared64_read(&memory.twin), 0x0807060504030201u);
	plx_shared64_write(&memory.twin, 0x1122334455667788);
	EXPECT_EQ(memory.bytes[0], 0x88);
	EXPECT_EQ(memory.bytes[7], 0x11);
	plx_shared32_write(&memory.word, 0xa1b2c3d4);
	EXPECT_EQ(memory.bytes[0], 0xd4);
	EXPECT_EQ(memory.bytes[3], 0xa1);
	EXPECT_EQ(memory.bytes[4], 0x44);
	plx_shared16_write(&memory.half, 0xbeef);
	EXPECT_EQ(memory.bytes[0], 0xef);
	plx_shared16_write_release(&memory.half, 0xcafe);
	EXPECT_EQ(memory.bytes[1], 0xca);
	EXPECT_EQ(memory.bytes[2], 0xb2);
	memory.half = plx_shared16(0x1234);
	EXPECT_EQ(memory.bytes[0], 0x34);
	memory.word = plx_shared32(0x12345678);
	EXPECT_EQ(memory.bytes[3], 0x12);
	memory.twin = plx_shared64(0x123456789abcdef0);
	EXPECT_EQ(memory.bytes[0], 0xf0);
	EXPECT_EQ(memory.bytes[7], 0x12);
}

TEST(Shared, FieldsAddNothingToWhatTheyHold)
{
	static_assert(sizeof(struct plx_shared16) == 2 && alignof(struct plx_shared16) == 2,
		"as on the wire");
	static_assert(sizeof(struct plx_shared32) == 4 && alignof(struct plx_shared32) == 4,
		"as on the wire");
	static_assert(sizeof(struct plx_shared64) == 8 && alignof(struct plx_shared64) == 8,
		"as on the wire");
}

TEST(Shared, AReleasedIndexShowsWhatWasWrittenBefore)
{
	constexpr unsigned rounds = 20000;
	struct plx_shared16 index = {0};
	struct plx_shared32 value = {0};
	struct plx_shared16 seen = {0};
	unsigned stale = 0;

	std::thread writer([&] {
		for (unsigned i = 1; i <= rounds; i++) {
			plx_shared32_write(&value, i);
			plx_shared16_write_release(&index, (uint16_t)i);
			while (plx_shared16_read_acquire(&seen) != (uint16_t)i)
				std::this_thread::yield();
		}
	});
	for (unsigned i = 1; i <= rounds; i++) {
		while (plx_shared16_read_acquire(&index) != (uint16_t)i)
			std::this_thread::yield();
		stale += plx_shared32_read(&value) != i;
		plx_shared16_write_release(&seen, (uint16_t)i);
	}
	writer.join();
	EXPECT_EQ(stale, 0u);
}

/*
 * Closely, so that both sides go on at the same time, but not when there is only one core for both.
 */
unsigned wait_beyond(const std::atomic<unsigned> &flag, unsigned value)
{
	unsigned now;

	for (unsigned tries = 0; (now = flag.load(std::memory_order_acquire)) == value; tries++) {
		if (tries < 1000)
			plx_cpu_relax();
		else
			std::this_thread::yield();
	}
	return now;
}

/*
 * Each side stores its own flag and then loads the other's. Without a full barrier between, both
 * may load the old value, and on x86 they soon do.
 */
TEST(Barrier, AnEarlierStoreIsSeenBeforeALaterLoad)
{
	constexpr unsigned rounds = 40000, enough = UINT_MAX;
	const uint64_t deadline = plx_now() + PLX_MILLISECONDS(1000); /* the machine may be busy */
	struct alignas(64) Flag {
		std::atomic<unsigned> value{0};
	} mine, others, go, done;
	unsigned other_saw = 0, both_missed = 0;

	std::thread other([&] {
		for (unsigned i = 1; wait_beyond(go.value, i - 1) != enough; i++) {
			others.value.store(i, std::memory_order_relaxed);
			plx_barrier_full();
			other_saw = mine.value.load(std::memory_order_relaxed);
			done.value.store(i, std::memory_order_release);
		}
	});
	for (unsigned i = 1; i <= rounds && plx_now() < deadline; i++) {
		go.value.store(i, std::memory_order_release);
		/* The word takes its time to the other core: meet it at all moments around that. */
		for (volatile unsigned delay = i % 200; delay; delay = delay - 1)
			;
		mine.value.store(i, std::memory_order_relaxed);
		plx_barrier_full();
		unsigned saw = others.value.load(std::memory_order_relaxed);
		wait_beyond(done.value, i - 1);
		both_missed += saw != i && other_saw != i;
	}
	go.value.store(enough, std::memory_order_release);
	other.join();
	EXPECT_EQ(both_missed, 0u);
}

TEST(Clock, NowNeverGoesBackAndCyclesCount)
{
	uint64_t now = plx_now(), cycles = plx_cycles();

	for (int i = 0; i < 1000; i++) {
		uint64_t later = plx_now();

		ASSERT_GE(later, now);
		now = later;
	}
	EXPECT_GT(plx_cycles(), cycles);
}

void nothing(int)
{
}

TEST(Clock, SleepIsNotCutShortBySignals)
{
	struct itimerval often = {{0, 500}, {0, 500}}, never = {};
	struct sigaction action = {}, old;
	uint64_t begin;

	action.sa_handler = nothing;
	ASSERT_EQ(sigaction(SIGALRM, &action, &old), 0);
	ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
	begin = plx_now();
	plx_sleep(PLX_MILLISECONDS(20));
	EXPECT_GE(plx_now() - begin, PLX_MILLISECONDS(20));
	setitimer(ITIMER_REAL, &never, nullptr);
	sigaction(SIGALRM, &old, nullptr);
}

TEST(Wait, EndsAfterTheDeadlineAndLooksOnceMore)
{
	unsigned looks = 0;

	/* One that loses the processor for long looks less often, and then another one is asked. */
	for (unsigned tries = 0; tries < 1000 && looks <= 10; tries++) {
		struct plx_wait wait = plx_wait_for(PLX_MILLISECONDS(10));
		uint64_t begin = plx_now(), last = begin;

		looks = 1;
		while (plx_wait_again(&wait)) {
			looks++;
			last = plx_now();
		}
		/* The last look came after the deadline. */
		EXPECT_GE(last - begin, PLX_MILLISECONDS(10));
		EXPECT_LT(looks, 200u); /* it slept in between */
		EXPECT_FALSE(plx_wait_again(&wait));
	}
	EXPECT_GT(looks, 10u);
}

TEST(Wait, LooksTwiceEvenWithoutTime)
{
	struct plx_wait wait = plx_wait_for(0);

	EXPECT_TRUE(plx_wait_again(&wait));
	EXPECT_FALSE(plx_wait_again(&wait));
}

class Options : public ::testing::Test
{
      protected:
	struct plx_address address = {};

	void TearDown() override
	{
		plx_address_free(&address);
	}

	int parse(const char *text)
	{
		plx_address_free(&address);
		return plx_address_parse(&address, text);
	}
};

TEST_F(Options, SchemeAndPlace)
{
	const struct {
		const char *text, *scheme, *place;
	} cases[] = {
		{"0000:00:03.0", "pci", "0000:00:03.0"},
		{"00:03.0", "pci", "00:03.0"},
		{"cafe:00:03.0", "pci", "cafe:00:03.0"},
		{"pci:0000:00:03.0", "pci", "0000:00:03.0"},
		{"emu:net", "emu", "net"},
		{"vhost-user:/run/a:b.sock", "vhost-user", "/run/a:b.sock"},
		{"vfio-user:/tmp/x", "vfio-user", "/tmp/x"},
		{"/dev/thing", "pci", "/dev/thing"},
		{"a/b:c", "pci", "a/b:c"},
	};

	for (const auto &each : cases) {
		ASSERT_EQ(parse(each.text), 0) << each.text;
		EXPECT_STREQ(address.scheme, each.scheme) << each.text;
		EXPECT_STREQ(address.place, each.place) << each.text;
		EXPECT_EQ(address.count, 0u);
		EXPECT_EQ(plx_address_finish(&address), 0);
	}
}

TEST_F(Options, RejectsWhatIsNoAddress)
{
	for (const char *text : {"", ",", "emu:", "emu:,a=b", "emu:net,", "emu:net,,a=b",
		     "emu:net,a", "emu:net,=b", "emu:net,a=b,"}) {
		EXPECT_EQ(parse(text), -EINVAL) << text;
		EXPECT_EQ(address.text, nullptr);
	}
	EXPECT_EQ(parse(nullptr), -EINVAL);
	EXPECT_EQ(address.text, nullptr);
	EXPECT_EQ(parse("emu:net,queue"), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("'queue'"), std::string::npos) << plx_error();
}

TEST_F(Options, TakesEachKind)
{
	static const char *const layouts[] = {"split", "packed", nullptr};
	const char *text = "untouched";
	uint64_t number = 99;
	unsigned choice = 99;
	bool yes = false;

	ASSERT_EQ(parse("emu:net,name=a=b,queues=4,layout=packed,mrg=on,empty="), 0);
	EXPECT_EQ(plx_address_text(&address, "absent", &text), 0);
	EXPECT_STREQ(text, "untouched");
	EXPECT_EQ(plx_address_text(&address, "name", &text), 1);
	EXPECT_STREQ(text, "a=b");
	EXPECT_EQ(plx_address_text(&address, "empty", &text), 1);
	EXPECT_STREQ(text, "");
	EXPECT_EQ(plx_address_number(&address, "queues", 1, 8, &number), 1);
	EXPECT_EQ(number, 4u);
	EXPECT_EQ(plx_address_choice(&address, "layout", layouts, &choice), 1);
	EXPECT_EQ(choice, 1u);
	EXPECT_EQ(plx_address_bool(&address, "mrg", &yes), 1);
	EXPECT_TRUE(yes);
	EXPECT_EQ(plx_address_finish(&address), 0);
}

TEST_F(Options, BooleansHaveThreeSpellings)
{
	const struct {
		const char *text;
		bool value;
	} cases[] = {{"on", true}, {"yes", true}, {"1", true}, {"off", false}, {"no", false},
		{"0", false}};

	for (const auto &each : cases) {
		bool value = !each.value;

		ASSERT_EQ(parse((std::string("emu:net,x=") + each.text).c_str()), 0);
		EXPECT_EQ(plx_address_bool(&address, "x", &value), 1);
		EXPECT_EQ(value, each.value) << each.text;
	}
	for (const char *text : {"emu:net,x=", "emu:net,x=On", "emu:net,x=2", "emu:net,x=onn"}) {
		bool value = true;

		ASSERT_EQ(parse(text), 0);
		EXPECT_EQ(plx_address_bool(&address, "x", &value), -EINVAL) << text;
		EXPECT_TRUE(value);
	}
}

TEST_F(Options, NumbersAreDecimalAndInRange)
{
	for (const char *text : {"", "-1", "+1", " 1", "1 ", "0x10", "1k", "9", "0",
		     "18446744073709551616", "99999999999999999999999"}) {
		uint64_t number = 42;

		ASSERT_EQ(parse((std::string("emu:net,n=") + text).c_str()), 0);
		EXPECT_EQ(plx_address_number(&address, "n", 1, 8, &number), -EINVAL) << text;
		EXPECT_EQ(number, 42u);
		EXPECT_NE(std::string(plx_error()).find("from 1 to 8"), std::string::npos);
	}
	uint64_t number = 0;
	ASSERT_EQ(parse("emu:net,n=18446744073709551615"), 0);
	EXPECT_EQ(plx_address_number(&address, "n", 0, UINT64_MAX, &number), 1);
	EXPECT_EQ(number, UINT64_MAX);
}

TEST_F(Options, AWrongChoiceIsToldTheRightOnes)
{
	static const char *const layouts[] = {"split", "packed", nullptr};
	unsigned choice = 99;

	ASSERT_EQ(parse("emu:net,layout=pack"), 0);
	EXPECT_EQ(plx_address_choice(&address, "layout", layouts, &choice), -EINVAL);
	EXPECT_EQ(choice, 99u);
	EXPECT_NE(std::string(plx_error()).find("split, packed"), std::string::npos) << plx_error();
}

TEST_F(Options, WhatNobodyTookIsRefusedWithWhatIsKnown)
{
	const char *text;

	ASSERT_EQ(parse("emu:net,queus=4"), 0);
	EXPECT_EQ(plx_address_text(&address, "queues", &text), 0);
	EXPECT_EQ(plx_address_text(&address, "mac", &text), 0);
	EXPECT_EQ(plx_address_finish(&address), -EINVAL);
	EXPECT_STREQ(plx_error(), "'queus' is not an option of emu:net: it knows queues, mac");
}

TEST_F(Options, WhatIsKnownIsToldInWholeWordsWhenThereIsTooMuchOfIt)
{
	const char *text;
	std::string last;

	ASSERT_EQ(parse("emu:net,queus=4"), 0);
	for (unsigned i = 0; i < 100; i++) {
		std::string key = "option_" + std::to_string(i);

		EXPECT_EQ(plx_address_text(&address, key.c_str(), &text), 0);
	}
	EXPECT_EQ(plx_address_finish(&address), -EINVAL);
	last = plx_error();
	ASSERT_GT(last.size(), 400u);
	EXPECT_TRUE(std::regex_search(
		last, std::regex("option_3, option_4, .*, option_\\d\\d, and others$")))
		<< last;
}

TEST_F(Options, AnOptionGivenTwiceIsRefused)
{
	const char *text;

	ASSERT_EQ(parse("emu:net,a=1,a=2"), 0);
	EXPECT_EQ(plx_address_text(&address, "a", &text), -EINVAL);
	EXPECT_NE(std::string(plx_error()).find("twice"), std::string::npos);
}

TEST_F(Options, MoreOptionsThanThereIsRoomForAreRefused)
{
	std::string text = "emu:net";

	for (int i = 0; i < PLX_ADDRESS_OPTIONS; i++)
		text += ",o" + std::to_string(i) + "=1";
	EXPECT_EQ(parse(text.c_str()), 0);
	EXPECT_EQ(address.count, (unsigned)PLX_ADDRESS_OPTIONS);
	EXPECT_EQ(parse((text + ",one=more").c_str()), -EINVAL);
}

TEST_F(Options, ALongListOfKnownOptionsIsCutNotOverrun)
{
	const char *text;

	ASSERT_EQ(parse("emu:net,wrong=1"), 0);
	for (int i = 0; i < 200; i++)
		EXPECT_EQ(plx_address_text(&address, ("option" + std::to_string(i)).c_str(), &text),
			0);
	EXPECT_LT(strlen(address.known), sizeof(address.known));
	EXPECT_EQ(plx_address_finish(&address), -EINVAL);
}

} // namespace
