/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <chrono>
#include <fstream>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace emu
{
namespace
{

/* A device with a TAP of the host, in a network namespace of this program's own. */

constexpr uint16_t kEthertype = 0x88b5; /* for local experiments */
constexpr char kName[] = "plxtap0";

/* A frame of our own, from or to anybody. */
Frame experiment(size_t len, uint8_t seed)
{
	Frame frame = frame_of(len, seed);

	std::fill_n(frame.begin(), 6, 0xff);
	std::fill_n(frame.begin() + 6, 6, 0x02);
	frame[12] = kEthertype >> 8;
	frame[13] = kEthertype & 0xff;
	return frame;
}

bool is_experiment(const Frame &frame)
{
	return frame.size() > 14 && (frame[12] << 8 | frame[13]) == kEthertype;
}

class EmuTapTest : public EmuTest
{
      protected:
	static void SetUpTestSuite()
	{
		unsigned user = getuid();

		/*
		 * Root may have one at once; others as root of a user namespace, if the kernel lets
		 * them.
		 */
		if (!unshare(CLONE_NEWNET))
			return;
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
			refusal = strerror(errno);
		else
			std::ofstream("/proc/self/uid_map") << "0 " << user << " 1\n";
	}
	void SetUp() override
	{
		if (!refusal.empty())
			GTEST_SKIP() << "no network namespace is to be had here: " << refusal;
		if (access("/dev/net/tun", R_OK | W_OK))
			GTEST_SKIP() << "/dev/net/tun: " << strerror(errno);
		EmuTest::SetUp();
		config.peer = "tap:plxtap0";
		socket_ = socket(
			AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(kEthertype));
		ASSERT_GE(socket_, 0) << strerror(errno);
	}
	void TearDown() override
	{
		if (socket_ < 0)
			return;
		EmuTest::TearDown();
		close(socket_);
	}
	void set_link(bool up)
	{
		ifreq request{};

		strcpy(request.ifr_name, kName);
		ASSERT_EQ(0, ioctl(socket_, SIOCGIFFLAGS, &request)) << strerror(errno);
		request.ifr_flags = static_cast<short>(
			up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
		ASSERT_EQ(0, ioctl(socket_, SIOCSIFFLAGS, &request)) << strerror(errno);
	}
	/* The host's side of the cable. */
	void host_sends(const Frame &frame)
	{
		sockaddr_ll to{};

		to.sll_family = AF_PACKET;
		to.sll_ifindex = static_cast<int>(if_nametoindex(kName));
		EXPECT_EQ(static_cast<ssize_t>(frame.size()),
			sendto(socket_, frame.data(), frame.size(), 0,
				reinterpret_cast<sockaddr *>(&to), sizeof(to)))
			<< strerror(errno);
	}
	std::optional<Frame> host_receives()
	{
		Frame frame(2048);
		ssize_t len = recv(socket_, frame.data(), frame.size(), 0);

		if (len < 0)
			return std::nullopt;
		frame.resize(static_cast<size_t>(len));
		return frame;
	}
	/* The host sends frames of its own as well. */
	std::optional<Frame> receive()
	{
		for (;;) {
			std::optional<Frame> frame = net->receive();

			if (!frame || is_experiment(*frame))
				return frame;
		}
	}

	static std::string refusal;
	int socket_ = -1;
};

std::string EmuTapTest::refusal;

TEST_F(EmuTapTest, HostGetsWhatTheDriverSends)
{
	run();
	set_link(true);
	net->send(experiment(60, 1));
	net->send(experiment(1514, 2));
	settle();
	EXPECT_EQ(experiment(60, 1), host_receives());
	EXPECT_EQ(experiment(1514, 2), host_receives());
	EXPECT_EQ(0u, stats().tx_refused);
}

TEST_F(EmuTapTest, DriverGetsWhatTheHostSends)
{
	run();
	set_link(true);
	net->fill(64);
	host_sends(experiment(60, 3));
	host_sends(experiment(1514, 4));
	settle();
	EXPECT_EQ(experiment(60, 3), receive());
	settle();
	EXPECT_EQ(experiment(1514, 4), receive());
}

TEST_F(EmuTapTest, FramesAreRefusedWhileTheLinkIsDown)
{
	run();
	net->send(experiment(60, 1));
	settle();
	EXPECT_EQ(1u, stats().tx_refused);
	set_link(true);
	net->send(experiment(60, 2));
	settle();
	EXPECT_EQ(1u, stats().tx_refused);
	EXPECT_EQ(experiment(60, 2), host_receives());
}

TEST_F(EmuTapTest, InterfaceGoesWithTheDevice)
{
	make();
	EXPECT_NE(0u, if_nametoindex(kName));
	driver.reset();
	plx_emu_destroy(device);
	device = nullptr;
	EXPECT_EQ(0u, if_nametoindex(kName));
}

TEST_F(EmuTapTest, SleepingDeviceWakesUpForTheHostsFrame)
{
	config.thread = true;
	run();
	set_link(true);
	net->fill(64);
	for (unsigned i = 0; i < 10; i++) {
		auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
		std::optional<Frame> frame;

		std::this_thread::sleep_for(std::chrono::milliseconds(5));
		host_sends(experiment(100, static_cast<uint8_t>(i)));
		while (!(frame = receive()) && std::chrono::steady_clock::now() < end)
			std::this_thread::yield();
		EXPECT_EQ(experiment(100, static_cast<uint8_t>(i)), frame);
	}
}

TEST_F(EmuTapTest, ThreadSleepsWhenTheInterfaceIsDeleted)
{
	config.thread = true;
	run();
	set_link(true);
	net->fill(64);
	ASSERT_EQ(0, system("ip link delete plxtap0"));
	std::this_thread::sleep_for(std::chrono::milliseconds(50));
	clock_t before = clock();

	std::this_thread::sleep_for(std::chrono::milliseconds(200));
	EXPECT_LT(clock() - before, CLOCKS_PER_SEC / 20) << "the thread spins";
	net->send(experiment(60, 1));
	for (unsigned i = 0; i < 6000 && !stats().tx_refused; i++)
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
	EXPECT_EQ(1u, stats().tx_refused);
}

TEST_F(EmuTapTest, NameInUseIsRefusedWithAReason)
{
	make();
	EXPECT_EQ(-EBUSY, plx_emu_create(mem, nullptr, &config, &other));
	EXPECT_NE(nullptr, strstr(plx_error(), "in use")) << plx_error();
	config.peer = "tap:lo";
	EXPECT_EQ(-EINVAL, plx_emu_create(mem, nullptr, &config, &other));
	EXPECT_NE(nullptr, strstr(plx_error(), "no TAP")) << plx_error();
	config.peer = "tap:sixteen-letters-";
	EXPECT_EQ(-EINVAL, plx_emu_create(mem, nullptr, &config, &other));
	EXPECT_NE(nullptr, strstr(plx_error(), "15 letters")) << plx_error();
}

TEST_F(EmuTapTest, MissingRightIsNamed)
{
	std::string reason;
	int err = 0;

	/* Rights are a thread's own. */
	std::thread([&] {
		__user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
		__user_cap_data_struct none[2] = {};

		ASSERT_EQ(0, syscall(SYS_capset, &header, none));
		err = plx_emu_create(mem, nullptr, &config, &other);
		reason = plx_error();
	}).join();
	EXPECT_EQ(-EPERM, err);
	EXPECT_NE(std::string::npos, reason.find("CAP_NET_ADMIN")) << reason;
}

} // namespace
} // namespace emu
