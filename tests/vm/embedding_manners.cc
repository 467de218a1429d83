/* SPDX-License-Identifier: BSD-3-Clause */
#include "embedding_port.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What Pollux does not do to a program that embeds it: print, take signals, start threads, move
 * threads, leave descriptors or memory behind; and how it says no.
 */

namespace
{

/* What a process shows of itself. */
struct Traces {
	std::vector<std::string> signals;
	std::vector<std::string> threads;
	std::vector<std::string> descriptors;
	std::vector<std::string> maps;
	std::vector<int> affinity;
	mode_t mask;
	std::string directory;
};

std::vector<std::string> names_in(const char *path)
{
	std::vector<std::string> names;
	DIR *directory = opendir(path);

	while (const dirent *entry = readdir(directory))
		names.emplace_back(entry->d_name);
	closedir(directory);
	std::sort(names.begin(), names.end());
	return names;
}

std::vector<std::string> descriptors()
{
	std::vector<std::string> list;

	for (const std::string &name : names_in("/proc/self/fd")) {
		char target[4096] = "";
		ssize_t len =
			readlink(("/proc/self/fd/" + name).c_str(), target, sizeof(target) - 1);

		/* Without the one that reads the directory. */
		if (len > 0 && !strstr(target, "/fd"))
			list.push_back(name + " -> " + target);
	}
	return list;
}

std::vector<std::string> signals()
{
	std::vector<std::string> list;
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, nullptr, &blocked);
	for (int number = 1; number < 65; number++) {
		struct sigaction action = {};

		if (sigaction(number, nullptr, &action))
			continue;
		list.push_back(std::to_string(number) + " " +
			       std::to_string((uintptr_t)action.sa_handler) + " " +
			       std::to_string(action.sa_flags) +
			       (sigismember(&blocked, number) ? " blocked" : ""));
	}
	return list;
}

std::vector<std::string> lines_of(const char *path)
{
	std::vector<std::string> lines;
	std::ifstream file(path);

	for (std::string line; std::getline(file, line);)
		lines.push_back(line);
	return lines;
}

Traces look()
{
	Traces traces;
	cpu_set_t cores;

	traces.signals = signals();
	traces.threads = names_in("/proc/self/task");
	traces.descriptors = descriptors();
	sched_getaffinity(0, sizeof(cores), &cores);
	for (int core = 0; core < CPU_SETSIZE; core++)
		if (CPU_ISSET(core, &cores))
			traces.affinity.push_back(core);
	traces.mask = umask(0);
	umask(traces.mask);
	traces.directory = getcwd(std::string(4096, '\0').data(), 4096);
	traces.maps = lines_of("/proc/self/maps");
	return traces;
}

/* Memory files, devices, and address space set aside. */
std::vector<std::string> mappings_of_pollux(const std::vector<std::string> &maps)
{
	std::vector<std::string> list;

	for (const std::string &line : maps) {
		unsigned long long first = 0, end = 0;

		sscanf(line.c_str(), "%llx-%llx", &first, &end);
		if (line.find("memfd:pollux") != std::string::npos ||
			line.find("vfio") != std::string::npos || end - first >= 1ull << 30)
			list.push_back(line);
	}
	return list;
}

/* As it was before the first call of the library. */
const Traces at_start = look();

void handler(int)
{
}

/* Stands in for standard output and standard error while it lives. */
class Silence
{
	int saved[2];
	int file;

      public:
	Silence()
	{
		fflush(stdout);
		fflush(stderr);
		file = memfd_create("output", MFD_CLOEXEC);
		for (int fd : {1, 2}) {
			saved[fd - 1] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
			dup2(file, fd);
		}
	}

	~Silence()
	{
		fflush(stdout);
		fflush(stderr);
		for (int fd : {1, 2}) {
			dup2(saved[fd - 1], fd);
			close(saved[fd - 1]);
		}
		close(file);
	}

	std::string said() const
	{
		char text[4096];
		ssize_t len;

		fflush(stdout);
		fflush(stderr);
		len = pread(file, text, sizeof(text), 0);
		return std::string(text, len > 0 ? (size_t)len : 0);
	}
};

void use_all()
{
	Port a, b;

	if (a.open_and_start(address_a) && b.open_and_start(address_b)) {
		exchange(a, b, {60, 1514});
		exchange(b, a, {60, 1514});
	}
}

/* Everything that is refused, in the order of a device's life. */
void provoke_failures(Port &a)
{
	plx_context_config bad_context = PLX_CONTEXT_CONFIG_INIT;
	plx_pool_config bad_pool = PLX_POOL_CONFIG_INIT;
	plx_context *ctx = nullptr;
	plx_pool *pool = nullptr;
	plx_eth *eth = nullptr;

	bad_context.struct_size = 0;
	EXPECT_EQ(plx_context_create(&bad_context, &ctx), -EINVAL);
	ASSERT_TRUE(DONE(plx_context_create(nullptr, &ctx)));
	bad_pool.data_size = 1;
	EXPECT_EQ(plx_pool_create(ctx, &bad_pool, &pool), -EINVAL);
	EXPECT_EQ(plx_eth_open(ctx, "", &eth), -EINVAL);
	EXPECT_EQ(plx_eth_open(ctx, "nonsense", &eth), -EINVAL);
	EXPECT_EQ(plx_eth_open(ctx, "0000:00:1e.7", &eth), -ENODEV);
	EXPECT_EQ(plx_eth_open(ctx, (address_a + ",nonsense=1").c_str(), &eth), -EBUSY);
	EXPECT_EQ(plx_eth_open(a.ctx, address_a.c_str(), &eth), -EBUSY);
	EXPECT_EQ(plx_eth_start(a.eth), -EBUSY);
	EXPECT_EQ(plx_eth_configure(a.eth, &a.settings.eth), -EBUSY);
	EXPECT_EQ(plx_context_destroy(a.ctx), -EBUSY);
	EXPECT_EQ(plx_pool_destroy(a.pool), -EBUSY);
	EXPECT_EQ(plx_context_destroy(ctx), 0);
}

TEST(Manners, NothingIsPrinted)
{
	Silence silence;

	use_all();
	EXPECT_EQ(silence.said(), "");
}

TEST(Manners, NothingIsPrintedWhenCallsFail)
{
	Silence silence;
	Port a;

	ASSERT_TRUE(a.open_and_start(address_a));
	provoke_failures(a);
	EXPECT_EQ(silence.said(), "");
}

TEST(Manners, SignalsStayTheProgramsBusiness)
{
	struct sigaction ours = {}, before;
	sigset_t blocked, mask;

	use_all();
	EXPECT_EQ(look().signals, at_start.signals);

	ours.sa_handler = handler;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	sigaction(SIGUSR1, &ours, &before);
	sigprocmask(SIG_BLOCK, &blocked, &mask);

	const Traces first = look();
	use_all();
	EXPECT_EQ(look().signals, first.signals);
	{
		Port a;

		ASSERT_TRUE(a.open_and_start(address_a));
		EXPECT_EQ(look().signals, first.signals) << "while a device is in use";
	}
	sigprocmask(SIG_SETMASK, &mask, nullptr);
	sigaction(SIGUSR1, &before, nullptr);
}

TEST(Manners, NoThreadIsStartedAndNoneMoved)
{
	Port a;

	ASSERT_TRUE(a.open_and_start(address_a));
	EXPECT_EQ(look().threads, at_start.threads);
	EXPECT_EQ(look().affinity, at_start.affinity);
	a.close();
	EXPECT_EQ(look().threads, at_start.threads);
	EXPECT_EQ(look().affinity, at_start.affinity);
}

TEST(Manners, NothingIsLeftBehind)
{
	/* The first use may make the heap larger for good. */
	use_all();
	const Traces before = look();

	for (int i = 0; i < 5; i++)
		use_all();
	const Traces after = look();

	EXPECT_EQ(after.descriptors, at_start.descriptors);
	EXPECT_EQ(mappings_of_pollux(after.maps), std::vector<std::string>());
	EXPECT_EQ(after.maps.size(), before.maps.size());
	EXPECT_EQ(after.mask, at_start.mask);
	EXPECT_EQ(after.directory, at_start.directory);
}

TEST(Manners, NothingIsLeftBehindByCallsThatFail)
{
	{
		Port a;

		ASSERT_TRUE(a.open_and_start(address_a));
		provoke_failures(a);
	}
	const Traces before = look();

	for (int i = 0; i < 5; i++) {
		Port a;

		ASSERT_TRUE(a.open_and_start(address_a));
		provoke_failures(a);
	}
	const Traces after = look();

	EXPECT_EQ(after.descriptors, before.descriptors);
	EXPECT_EQ(after.maps.size(), before.maps.size());
}

TEST(Manners, AContextAloneTakesNoDescriptorAndNoMemoryToSpeakOf)
{
	const Traces before = look();
	plx_memory_usage usage;
	plx_context *ctx;

	ASSERT_TRUE(DONE(plx_context_create(nullptr, &ctx)));
	EXPECT_EQ(look().descriptors, before.descriptors);
	EXPECT_EQ(look().threads, before.threads);
	plx_context_memory(ctx, &usage);
	EXPECT_EQ(usage.mapped, 0u);
	EXPECT_EQ(plx_context_destroy(ctx), 0);
}

/* --- how it says no --- */

TEST(Refusals, EachHasAnErrnoAndASentence)
{
	Port a;

	ASSERT_TRUE(a.open_and_start(address_a));
	provoke_failures(a);
	EXPECT_STRNE(plx_error(), "");
	EXPECT_EQ(strchr(plx_error(), '\n'), nullptr);
}

TEST(Refusals, TheReasonBelongsToTheThread)
{
	plx_context *ctx;
	plx_eth *eth;

	ASSERT_TRUE(DONE(plx_context_create(nullptr, &ctx)));
	EXPECT_EQ(plx_eth_open(ctx, "0000:00:1e.7", &eth), -ENODEV);
	const std::string mine = plx_error();
	std::thread([ctx] {
		plx_eth *other;

		EXPECT_STREQ(plx_error(), "");
		EXPECT_EQ(plx_eth_open(ctx, "nonsense", &other), -EINVAL);
	}).join();
	EXPECT_EQ(mine, plx_error());
	EXPECT_NE(mine.find("0000:00:1e.7"), std::string::npos) << mine;
	EXPECT_EQ(plx_context_destroy(ctx), 0);
}

TEST(Refusals, ADeviceOfAnotherContextIsBusy)
{
	Port a;
	plx_context *ctx;
	plx_eth *eth;

	ASSERT_TRUE(a.open_and_start(address_a));
	ASSERT_TRUE(DONE(plx_context_create(nullptr, &ctx)));
	EXPECT_EQ(plx_eth_open(ctx, address_a.c_str(), &eth), -EBUSY);
	a.close();
	EXPECT_TRUE(DONE(plx_eth_open(ctx, address_a.c_str(), &eth)));
	plx_eth_close(eth);
	EXPECT_EQ(plx_context_destroy(ctx), 0);
}

TEST(Refusals, APoolOfAnotherContextIsNotReceivedInto)
{
	Port a, b;

	ASSERT_TRUE(a.open(address_a));
	ASSERT_TRUE(b.open(address_b));
	EXPECT_EQ(plx_eth_configure(a.eth, &b.settings.eth), -EINVAL);
	EXPECT_TRUE(DONE(plx_eth_configure(a.eth, &a.settings.eth)));
	EXPECT_TRUE(a.start());
}

TEST(Refusals, RingsThatTheDeviceDoesNotOfferAreNotConfigured)
{
	Port a;
	plx_eth_info info;

	ASSERT_TRUE(a.open(address_a));
	plx_eth_get_info(a.eth, &info);
	std::vector<unsigned> refused = {info.max_rx_ring + 1u, 2u * info.max_rx_ring, 32768u};

	/* A packed ring may have any size (virtio 1.4, 2.8.10.1). */
	if (!is_packed())
		refused.insert(refused.end(), {3, 100, 255});
	for (unsigned entries : refused) {
		plx_eth_config config = a.settings.eth;

		config.rx_ring = (uint16_t)entries;
		EXPECT_EQ(plx_eth_configure(a.eth, &config), -EINVAL) << entries;
	}
	EXPECT_EQ(plx_eth_start(a.eth), -EINVAL) << "what was refused is not configured";
	EXPECT_TRUE(DONE(plx_eth_configure(a.eth, &a.settings.eth)));
	EXPECT_TRUE(a.start());
}

TEST(Refusals, BurstsOnAStoppedDeviceSayShutdown)
{
	Port a;
	plx_packet *packet;

	ASSERT_TRUE(a.open(address_a));
	packet = a.make(next_label(60));
	EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(a.eth, 0), &packet, 1), -ESHUTDOWN);
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(a.eth, 0), &packet, 1), -ESHUTDOWN);
	ASSERT_TRUE(a.start());
	ASSERT_TRUE(a.stop());
	EXPECT_EQ(plx_eth_tx_burst(plx_eth_txq(a.eth, 0), &packet, 1), -ESHUTDOWN);
	EXPECT_TRUE(a.stop()) << "a second time does nothing";
	plx_packet_free(packet);
}

TEST(Refusals, AStartWithTooFewPacketsGivesAllOfThemBack)
{
	Settings few;
	Port a;

	few.pool.count = 64;
	ASSERT_TRUE(a.open(address_a, few));
	EXPECT_EQ(plx_eth_start(a.eth), -ENOBUFS);
	a.expect_all_packets_back();
	a.settings.eth.rx_ring = 32;
	ASSERT_TRUE(DONE(plx_eth_configure(a.eth, &a.settings.eth)));
	EXPECT_TRUE(a.start());
}

TEST(Refusals, ThereIsNoQueueBeyondTheLast)
{
	Port a;

	ASSERT_TRUE(a.open_and_start(address_a));
	EXPECT_NE(plx_eth_rxq(a.eth, 0), nullptr);
	EXPECT_EQ(plx_eth_rxq(a.eth, 1), nullptr);
	EXPECT_EQ(plx_eth_txq(a.eth, 65535), nullptr);
}

} // namespace
