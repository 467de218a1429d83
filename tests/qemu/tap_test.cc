/* SPDX-License-Identifier: BSD-3-Clause */
#include "qemu_net.h"

#include <cstring>
#include <fstream>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace qemu
{
namespace
{

/*
 * QEMU's device with a TAP of the host at its other end, in a network namespace of this program's
 * own: only so does it have several queue pairs, and offers what needs the kernel (checksums and
 * segmentation).
 */

constexpr char kName[] = "plxqemu0";
constexpr int kFirstQueueFile = 20;
constexpr int kRoom = 4 << 20;

/* The host's end of a TAP: frames of numbered kind on a packet socket. */
class TapLink : public Link
{
      public:
	~TapLink() override
	{
		for (int fd : queues_)
			close(fd);
		if (socket_ >= 0)
			close(socket_);
	}

	/* Return: whether there is a TAP with so many queues, which is up. */
	bool open(unsigned queues)
	{
		struct sockaddr_ll address = {};
		struct ifreq request = {};

		for (unsigned i = 0; i < queues; i++) {
			request = {};
			(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", kName);
			request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
						    (queues > 1 ? IFF_MULTI_QUEUE : 0));
			queues_.push_back(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
			if (queues_.back() < 0 || ioctl(queues_.back(), TUNSETIFF, &request))
				return false;
		}
		socket_ = socket(
			AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(kEthertype));
		if (socket_ < 0 || ioctl(socket_, SIOCGIFFLAGS, &request))
			return false;
		/*
		 * What is sent while this program is busy waits here, and all of it must have room.
		 */
		(void)setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &kRoom, sizeof(kRoom));
		request.ifr_flags |= IFF_UP;
		if (ioctl(socket_, SIOCSIFFLAGS, &request))
			return false;
		address.sll_family = AF_PACKET;
		address.sll_protocol = htons(kEthertype);
		address.sll_ifindex = (int)if_nametoindex(kName);
		return !bind(
			socket_, reinterpret_cast<struct sockaddr *>(&address), sizeof(address));
	}

	std::vector<std::pair<int, int>> files() const
	{
		std::vector<std::pair<int, int>> all;

		for (size_t i = 0; i < queues_.size(); i++)
			all.emplace_back(queues_[i], kFirstQueueFile + (int)i);
		return all;
	}

	void send(const Frame &frame) override
	{
		EXPECT_EQ(::send(socket_, frame.data(), frame.size(), 0), (ssize_t)frame.size())
			<< strerror(errno);
	}
	size_t flush() override
	{
		return 0;
	}
	std::vector<Frame> receive() override
	{
		std::vector<Frame> frames;
		Frame frame(65536);
		ssize_t length;

		while ((length = recv(socket_, frame.data(), frame.size(), 0)) > 0)
			frames.emplace_back(frame.begin(), frame.begin() + length);
		return frames;
	}

      private:
	int socket_ = -1;
	std::vector<int> queues_;
};

class Tap : public QemuNet, public ::testing::WithParamInterface<std::tuple<unsigned, bool, bool>>
{
      protected:
	TapLink tap;

	/* Root may have a namespace at once, others as root of a user namespace of their own. */
	static void SetUpTestSuite()
	{
		unsigned user = getuid();

		if (unshare(CLONE_NEWNET)) {
			if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
				refusal = strerror(errno);
				return;
			}
			std::ofstream("/proc/self/uid_map") << "0 " << user << " 1\n";
		}
		/* Else the host greets its neighbours on each new interface. */
		for (const char *which : {"all", "default"})
			std::ofstream(
				"/proc/sys/net/ipv6/conf/" + std::string(which) + "/disable_ipv6")
				<< "1";
	}
	static std::string refusal;

	void SetUp() override
	{
		if (!refusal.empty())
			GTEST_SKIP() << "no network namespace is to be had here: " << refusal;
		if (access("/dev/net/tun", R_OK | W_OK))
			GTEST_SKIP() << "/dev/net/tun: " << strerror(errno);
		QemuNet::SetUp();
		link = &tap;
	}
	void TearDown() override
	{
		if (ctx)
			QemuNet::TearDown();
	}

	void boot_on_tap(unsigned pairs, const std::string &properties)
	{
		std::string numbers;

		ASSERT_TRUE(tap.open(pairs)) << strerror(errno);
		for (const auto &[ours, theirs] : tap.files())
			numbers += (numbers.empty() ? "" : ":") + std::to_string(theirs);
		boot_on("tap,id=n0,vhost=off," + std::string(pairs > 1 ? "fds=" : "fd=") + numbers,
			properties, tap.files());
	}
};

std::string Tap::refusal;

TEST_P(Tap, WithSeveralQueuePairsIsDrivenByThoseThatTheDriverHas)
{
	auto [pairs, legacy, packed] = GetParam();

	boot_on_tap(pairs, property("disable-legacy", !legacy) +
				   property("disable-modern", legacy) + property("packed", packed) +
				   ",mq=on,vectors=" + std::to_string(2 * pairs + 2));
	ASSERT_EQ(try_open(), 0) << plx_error();
	EXPECT_TRUE(offered(VIRTIO_NET_F_MQ));
	EXPECT_TRUE(offered(VIRTIO_NET_F_CSUM));
	EXPECT_TRUE(offered(VIRTIO_NET_F_HOST_TSO4));
	EXPECT_EQ(configuration(VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2), pairs);
	ASSERT_GE(info().max_queue_pairs, 1u);
	ASSERT_LE(info().max_queue_pairs, pairs);
	pool_config.count += 512u * pairs; /* each pair fills a ring of its own */
	eth_config.queue_pairs = (uint16_t)(info().max_queue_pairs + 1);
	EXPECT_EQ(try_configure(), -EINVAL);
	eth_config.queue_pairs = info().max_queue_pairs;
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	for (unsigned queue = 0; queue < 2u * eth_config.queue_pairs; queue++)
		EXPECT_TRUE(queue_in_device((uint16_t)queue).second) << queue;
	if (eth_config.queue_pairs > 1)
		received.come_several_ways();
	/* Below what a TAP holds; it drops the rest. */
	for (unsigned i = 0; i < 20; i++)
		exchange(50);
	ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
	expect_all_back();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	exchange(50);
}

std::string name_of(const ::testing::TestParamInfo<Tap::ParamType> &info)
{
	auto [pairs, legacy, packed] = info.param;

	return std::string(legacy   ? "legacy_"
			   : packed ? "packed_"
				    : "split_") +
	       std::to_string(pairs);
}

INSTANTIATE_TEST_SUITE_P(Qemu, Tap,
	::testing::Values(std::make_tuple(1u, false, false), std::make_tuple(1u, false, true),
		std::make_tuple(1u, true, false), std::make_tuple(2u, false, false),
		std::make_tuple(2u, true, false), std::make_tuple(4u, false, false),
		std::make_tuple(4u, false, true), std::make_tuple(8u, false, true),
		std::make_tuple(8u, true, false)),
	name_of);

} // namespace
} // namespace qemu
