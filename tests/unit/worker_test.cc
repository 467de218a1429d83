/* SPDX-License-Identifier: BSD-3-Clause */
#include "../count.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cmath>
#include <csignal>
#include <fstream>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <pollux/worker.h>

extern "C" {
#include "base/clock.h"
}

namespace
{

using namespace std::chrono_literals;

std::vector<unsigned> allowed_cores()
{
	std::vector<unsigned> cores;
	cpu_set_t set;

	EXPECT_EQ(sched_getaffinity(getpid(), sizeof(set), &set), 0);
	for (unsigned core = 0; core < CPU_SETSIZE; core++)
		if (CPU_ISSET(core, &set))
			cores.push_back(core);
	return cores;
}

/* The machine must offer one core; what needs another is looked at where there is one. */
unsigned last_core()
{
	return allowed_cores().back();
}

unsigned threads()
{
	return count_entries("/proc/self/task");
}

unsigned thread_stacks()
{
	std::ifstream maps("/proc/self/maps");
	std::string line;
	unsigned count = 0;

	while (std::getline(maps, line))
		count += line.find("---p") != std::string::npos;
	return count;
}

/* One round that counts itself and returns what it is told. */
struct Round {
	std::atomic<int> result{0};
	std::atomic<uint64_t> calls{0};

	static int run(void *arg)
	{
		Round *self = static_cast<Round *>(arg);

		self->calls.fetch_add(1, std::memory_order_relaxed);
		return self->result.load(std::memory_order_relaxed);
	}

	void wait_for(uint64_t count) const
	{
		while (calls.load() < count)
			std::this_thread::yield();
	}
};

TEST(Worker, RunsOnItsCoreOnly)
{
	struct Seen {
		std::atomic<unsigned> rounds{0}, elsewhere{0};
		unsigned core;
		cpu_set_t affinity;

		static int look(void *arg)
		{
			Seen *self = static_cast<Seen *>(arg);

			if (sched_getcpu() != (int)self->core)
				self->elsewhere++;
			if (!self->rounds++)
				sched_getaffinity(0, sizeof(self->affinity), &self->affinity);
			return 0;
		}
	};

	for (unsigned core : allowed_cores()) {
		plx_worker *worker = nullptr;
		Seen seen;

		seen.core = core;
		ASSERT_EQ(plx_worker_start(core, Seen::look, &seen, &worker), 0) << plx_error();
		while (seen.rounds < 1000)
			std::this_thread::yield();
		EXPECT_EQ(plx_worker_stop(worker), 0);
		EXPECT_EQ(seen.elsewhere, 0u);
		EXPECT_EQ(CPU_COUNT(&seen.affinity), 1);
		EXPECT_TRUE(CPU_ISSET(core, &seen.affinity));
	}
}

TEST(Worker, HasANameThatTellsItsCore)
{
	struct Named {
		std::atomic<bool> done{false};
		char name[16] = "";

		static int ask(void *arg)
		{
			Named *self = static_cast<Named *>(arg);

			if (!self->done) {
				pthread_getname_np(pthread_self(), self->name, sizeof(self->name));
				self->done = true;
			}
			return 0;
		}
	} named;
	plx_worker *worker = nullptr;
	unsigned core = last_core();

	ASSERT_EQ(plx_worker_start(core, Named::ask, &named, &worker), 0);
	while (!named.done)
		std::this_thread::yield();
	EXPECT_EQ(plx_worker_stop(worker), 0);
	EXPECT_EQ(named.name, "plx-worker-" + std::to_string(core));
}

TEST(Worker, LeavesTheCallersAffinityAndSignalsAlone)
{
	cpu_set_t before, after;
	sigset_t mask_before, mask_after;
	plx_worker *worker = nullptr;
	Round round;

	ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
	pthread_sigmask(SIG_BLOCK, nullptr, &mask_before);
	ASSERT_EQ(plx_worker_start(last_core(), Round::run, &round, &worker), 0);
	ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
	pthread_sigmask(SIG_BLOCK, nullptr, &mask_after);
	EXPECT_TRUE(CPU_EQUAL(&before, &after));
	for (int number = 1; number < 32; number++)
		EXPECT_EQ(sigismember(&mask_before, number), sigismember(&mask_after, number));
	EXPECT_EQ(plx_worker_stop(worker), 0);
}

std::atomic<int> signals;
std::atomic<pid_t> signalled;

void note_signal(int)
{
	signalled = gettid();
	signals++;
}

TEST(Worker, SignalsOfTheProcessNeverReachIt)
{
	struct sigaction action = {}, old;
	plx_worker *worker = nullptr;
	sigset_t one, before;
	Round round;

	action.sa_handler = note_signal;
	ASSERT_EQ(sigaction(SIGUSR1, &action, &old), 0);
	ASSERT_EQ(plx_worker_start(last_core(), Round::run, &round, &worker), 0);

	/* With the program's only other thread closed to it, the signal would go to the worker. */
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &one, &before);
	ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
	std::this_thread::sleep_for(20ms);
	EXPECT_EQ(signals, 0);

	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	while (!signals)
		std::this_thread::yield();
	EXPECT_EQ(signalled, gettid());
	EXPECT_EQ(signals, 1);
	EXPECT_EQ(plx_worker_stop(worker), 0);
	sigaction(SIGUSR1, &old, nullptr);
}

TEST(Worker, ACoreOutOfReachIsRefusedWithTheOnesThatAre)
{
	plx_worker *worker = nullptr;
	Round round;

	for (unsigned core : {8191u, 8192u, 1000000u, UINT32_MAX}) {
		EXPECT_EQ(plx_worker_start(core, Round::run, &round, &worker), -EINVAL);
		EXPECT_NE(std::string(plx_error()).find("core " + std::to_string(core)),
			std::string::npos)
			<< plx_error();
	}
	EXPECT_EQ(worker, nullptr);
	EXPECT_EQ(round.calls, 0u);
}

TEST(Worker, TheAllowedCoresAreNamedAsRanges)
{
	std::vector<unsigned> cores = allowed_cores();
	plx_worker *worker = nullptr;
	cpu_set_t old, one;
	std::string expected;

	/* Written another way than the code under test does. */
	for (size_t i = 0, j; i < cores.size(); i = j) {
		for (j = i + 1; j < cores.size() && cores[j] == cores[j - 1] + 1;)
			j++;
		expected += (i ? "," : "") + std::to_string(cores[i]);
		if (j > i + 1)
			expected += "-" + std::to_string(cores[j - 1]);
	}
	ASSERT_EQ(plx_worker_start(8191, nullptr, nullptr, &worker), -EINVAL);
	EXPECT_TRUE(std::string(plx_error()).find("may use " + expected) != std::string::npos)
		<< plx_error();

	/* As under taskset: the other cores exist, but are not ours. */
	ASSERT_EQ(sched_getaffinity(0, sizeof(old), &old), 0);
	CPU_ZERO(&one);
	CPU_SET(cores[0], &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	for (size_t i = 1; i < cores.size(); i++) {
		EXPECT_EQ(plx_worker_start(cores[i], Round::run, nullptr, &worker), -EINVAL);
		EXPECT_TRUE(std::string(plx_error()).find("may use " + std::to_string(cores[0])) !=
			    std::string::npos)
			<< plx_error();
	}
	ASSERT_EQ(sched_setaffinity(0, sizeof(old), &old), 0);
}

TEST(Worker, TellsTheCoresThatMayBeUsed)
{
	cpu_set_t mask;
	std::vector<unsigned> cores(CPU_SETSIZE);
	int count = plx_worker_cores(cores.data(), CPU_SETSIZE);

	ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
	ASSERT_GE(count, CPU_COUNT(&mask)) << plx_error();
	cores.resize((size_t)count);
	EXPECT_TRUE(std::is_sorted(cores.begin(), cores.end()));
	for (unsigned core = 0; core < CPU_SETSIZE; core++)
		if (CPU_ISSET(core, &mask)) {
			EXPECT_EQ(std::count(cores.begin(), cores.end(), core), 1) << core;
		}
	/* Without room it still says how many. */
	EXPECT_EQ(plx_worker_cores(nullptr, 0), count);
}

TEST(Worker, AThreadPinnedElsewhereMayStartOne)
{
	std::vector<unsigned> cores = allowed_cores();
	Round round;

	/* The process's cores count, not the one that this thread was narrowed to. */
	std::thread([&] {
		plx_worker *worker = nullptr;
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(cores.front(), &one);
		ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
		ASSERT_EQ(plx_worker_start(cores.back(), Round::run, &round, &worker), 0)
			<< plx_error();
		EXPECT_EQ(plx_worker_stop(worker), 0);
	}).join();
}

TEST(Worker, AccountsForEveryRoundAndCycle)
{
	plx_worker *worker = nullptr;
	plx_worker_stats stats, later;
	Round round;

	uint64_t begin = plx_cycles();
	ASSERT_EQ(plx_worker_start(last_core(), Round::run, &round, &worker), 0);
	round.wait_for(10000);
	plx_worker_get_stats(worker, &stats);
	EXPECT_GE(stats.rounds, 9999u);
	EXPECT_EQ(stats.work, 0u);
	EXPECT_EQ(stats.busy_cycles, 0u);
	EXPECT_GT(stats.idle_cycles, 0u);

	round.result = 7;
	round.wait_for(round.calls + 10000);
	plx_worker_get_stats(worker, &later);
	uint64_t end = plx_cycles();
	EXPECT_GT(later.rounds, stats.rounds);
	EXPECT_GT(later.busy_cycles, 0u);
	EXPECT_GE(later.work, 7 * 9999u);
	EXPECT_EQ(later.work % 7, 0u);
	/* No round is timed twice and none before the start. */
	EXPECT_LE(later.busy_cycles + later.idle_cycles, end - begin);
	EXPECT_EQ(plx_worker_stop(worker), 0);
}

TEST(Worker, FiguresOfAnEndedWorkerAddUp)
{
	struct Script {
		unsigned round = 0;
		std::atomic<uint64_t> last{0};

		/* 600 rounds idle, 400 busy with 3, then an end. */
		static int step(void *arg)
		{
			Script *self = static_cast<Script *>(arg);

			self->last = plx_cycles();
			if (self->round == 1000)
				return -EPIPE;
			return self->round++ % 5 < 3 ? 0 : 3;
		}
	} script;
	plx_worker *worker = nullptr;
	plx_worker_stats stats;

	uint64_t begin = plx_cycles();
	ASSERT_EQ(plx_worker_start(last_core(), Script::step, &script, &worker), 0);
	while (plx_worker_running(worker))
		std::this_thread::yield();
	plx_worker_get_stats(worker, &stats);
	EXPECT_EQ(stats.rounds, 1001u);
	EXPECT_EQ(stats.idle_rounds, 601u);
	EXPECT_EQ(stats.work, 1200u);
	EXPECT_GT(stats.busy_cycles, 0u);
	EXPECT_GT(stats.idle_cycles, 0u);
	EXPECT_LE(stats.busy_cycles + stats.idle_cycles, plx_cycles() - begin);
	EXPECT_EQ(plx_worker_stop(worker), -EPIPE);
}

TEST(Worker, CyclesAreSplitByWhatTheyWereSpentOn)
{
	struct Slow {
		unsigned round = 0;
		uint64_t time[2] = {}; /* of busy and idle rounds, as they see it themselves */

		/* Idle rounds take 100 us, busy ones 20 us, and what others take from them. */
		static int step(void *arg)
		{
			Slow *self = static_cast<Slow *>(arg);
			bool idle = self->round % 2;
			uint64_t begin = plx_now(), end = begin + (idle ? 100000 : 20000), now;

			if (self->round++ == 400)
				return -ECANCELED;
			while ((now = plx_now()) < end)
				;
			self->time[idle] += now - begin;
			return idle ? 0 : 1;
		}
	} slow;
	plx_worker *worker = nullptr;
	plx_worker_stats stats;

	uint64_t begin = plx_cycles();
	ASSERT_EQ(plx_worker_start(last_core(), Slow::step, &slow, &worker), 0);
	while (plx_worker_running(worker))
		std::this_thread::sleep_for(1ms);
	double all = (double)(plx_cycles() - begin);
	plx_worker_get_stats(worker, &stats);
	EXPECT_EQ(plx_worker_stop(worker), -ECANCELED);
	/* Of a nanosecond, and a little less: the two clocks need not agree altogether. */
	double cycles = (double)plx_cycles_per_second() * 0.99e-9;
	double busy = (double)slow.time[0] * cycles, idle = (double)slow.time[1] * cycles;
	EXPECT_GE((double)stats.busy_cycles, busy);
	EXPECT_GE((double)stats.idle_cycles, idle);
	EXPECT_LE((double)stats.busy_cycles, all - idle);
	EXPECT_LE((double)stats.idle_cycles, all - busy);
}

TEST(Worker, StopsAfterThePresentRound)
{
	struct Long {
		std::atomic<unsigned> begun{0}, ended{0};

		static int run(void *arg)
		{
			Long *self = static_cast<Long *>(arg);

			self->begun++;
			std::this_thread::sleep_for(50ms);
			self->ended++;
			return 1;
		}
	};
	unsigned more = UINT_MAX;

	/* Whoever loses the processor just before it asks finds that more have begun. */
	for (unsigned tries = 0; tries < 100 && more > 1; tries++) {
		plx_worker *worker = nullptr;
		Long rounds;

		ASSERT_EQ(plx_worker_start(last_core(), Long::run, &rounds, &worker), 0);
		while (!rounds.begun)
			std::this_thread::yield();
		unsigned begun = rounds.begun;
		EXPECT_EQ(plx_worker_stop(worker), 0);
		/* The round that ran came to its end, and at most one more had begun by then. */
		EXPECT_EQ(rounds.begun, rounds.ended);
		more = rounds.begun - begun;
	}
	EXPECT_LE(more, 1u);
}

TEST(Worker, AFunctionEndsItsWorkerWithAnError)
{
	plx_worker *worker = nullptr;
	Round round;

	ASSERT_EQ(plx_worker_start(last_core(), Round::run, &round, &worker), 0);
	EXPECT_EQ(plx_worker_running(worker), 1);
	round.result = -ENODEV;
	while (plx_worker_running(worker))
		std::this_thread::yield();
	uint64_t calls = round.calls;
	std::this_thread::sleep_for(5ms);
	EXPECT_EQ(round.calls, calls);
	EXPECT_EQ(plx_worker_stop(worker), -ENODEV);
}

TEST(Worker, CannotWaitForItself)
{
	struct Suicide {
		std::atomic<plx_worker *> worker{nullptr};
		std::atomic<int> answer{0};

		static int run(void *arg)
		{
			Suicide *self = static_cast<Suicide *>(arg);

			if (self->worker.load() && !self->answer)
				self->answer = plx_worker_stop(self->worker);
			return 0;
		}
	} suicide;
	plx_worker *worker = nullptr;

	ASSERT_EQ(plx_worker_start(last_core(), Suicide::run, &suicide, &worker), 0);
	suicide.worker = worker;
	while (!suicide.answer)
		std::this_thread::yield();
	EXPECT_EQ(suicide.answer, -EDEADLK);
	EXPECT_EQ(plx_worker_running(worker), 1);
	EXPECT_EQ(plx_worker_stop(worker), 0);
}

TEST(Worker, StoppingNothingIsFine)
{
	EXPECT_EQ(plx_worker_stop(nullptr), 0);
}

TEST(Worker, LeavesNothingBehind)
{
	unsigned threads_before = threads(), stacks_before = 0;

	for (int i = 0; i < 100; i++) {
		plx_worker *worker = nullptr;
		Round round;

		ASSERT_EQ(plx_worker_start(last_core(), Round::run, &round, &worker), 0)
			<< plx_error();
		EXPECT_EQ(plx_worker_stop(worker), 0);
		if (i == 10)
			stacks_before = thread_stacks();
	}
	EXPECT_EQ(threads(), threads_before);
	/* The C library keeps a few stacks for the next threads; a leak would keep them all. */
	EXPECT_LT(thread_stacks(), stacks_before + 20);
}

TEST(Cycles, RateAgreesWithTheClock)
{
	uint64_t rate = plx_cycles_per_second();
	double quotient = 0;

	/* Not if another has the processor between a look at one clock and one at the other. */
	for (unsigned tries = 0; tries < 100 && std::abs(quotient - 1.0) > 0.005; tries++) {
		uint64_t cycles = plx_cycles(), now = plx_now();

		plx_sleep(PLX_MILLISECONDS(200));
		quotient = (double)rate * (double)(plx_now() - now) * 1e-9 /
			   (double)(plx_cycles() - cycles);
	}
	EXPECT_NEAR(quotient, 1.0, 0.005);
}

TEST(Cycles, RateIsOneForAllThreads)
{
	std::vector<uint64_t> rates(8);
	std::vector<std::thread> askers;

	for (uint64_t &rate : rates)
		askers.emplace_back([&rate] { rate = plx_cycles_per_second(); });
	for (std::thread &asker : askers)
		asker.join();
	for (uint64_t rate : rates)
		EXPECT_EQ(rate, plx_cycles_per_second());
}

} // namespace
