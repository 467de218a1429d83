/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VFIO_USER_RIG_H
#define PLX_TESTS_VFIO_USER_RIG_H

#include "socket_fixture.h"

extern "C" {
#include "base/clock.h"
#include "base/socket.h"
#include "emu/server.h"
#include "vfio/user.h"
#include "vfio/user_wire.h"
}

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

/* What the tests of vfio-user need: a served card, and somebody in the middle who lies for it. */

/* A sparse region with up to two areas, as its description has it. */
struct SparseRegion {
	struct vfio_region_info info;
	struct vfio_info_cap_header header;
	uint32_t nr_areas;
	uint32_t reserved;
	struct vfio_region_sparse_mmap_area area[2];
};

/* An emulated card behind a socket, in a thread of its own. */
class CardServer
{
      public:
	CardServer(const std::string &path_, const std::string &device_ = "emu:net")
	    : path(path_), device(device_)
	{
	}
	~CardServer()
	{
		stop();
	}

	void start()
	{
		struct plx_address address;

		log = {note, this, PLX_LOG_DEBUG};
		ASSERT_EQ(plx_address_parse(&address, device.c_str()), 0) << plx_error();
		int err = plx_emu_server_create(&log, &address, path.c_str(), &server);
		plx_address_free(&address);
		ASSERT_EQ(err, 0) << plx_error();
		ending = false;
		thread = std::thread([this] {
			while (!ending) {
				std::lock_guard<std::mutex> lock(turn);
				plx_emu_server_run(server, PLX_MILLISECONDS(1));
			}
		});
	}

	/* As when its process ends. */
	void stop()
	{
		if (!server)
			return;
		ending = true;
		thread.join();
		for (const auto &breach : breaches())
			noted.push_back(breach);
		plx_emu_server_destroy(server);
		server = nullptr;
	}

	struct plx_emu_server_stats stats()
	{
		std::lock_guard<std::mutex> lock(turn);
		struct plx_emu_server_stats stats;

		plx_emu_server_get_stats(server, &stats);
		return stats;
	}

	struct plx_emu *card()
	{
		return plx_emu_server_device(server);
	}

	/* What the driver did wrong, in the eyes of the card. */
	std::vector<std::string> breaches()
	{
		struct plx_emu_breach list[16];
		std::vector<std::string> all = noted;

		if (!server)
			return all;
		for (unsigned i = 0, n = plx_emu_breach_list(card(), list, 16); i < n && i < 16;
			i++)
			all.push_back(std::string(list[i].rule) + ": " + list[i].text);
		return all;
	}

	std::vector<std::string> messages()
	{
		std::lock_guard<std::mutex> lock(saying);

		return said;
	}

      private:
	static void note(void *arg, enum plx_log_level, const char *message)
	{
		CardServer *self = static_cast<CardServer *>(arg);
		std::lock_guard<std::mutex> lock(self->saying);

		self->said.push_back(message);
	}

	std::string path, device;
	struct plx_log log = {};
	struct plx_emu_server *server = nullptr;
	std::atomic<bool> ending{false};
	std::mutex turn, saying;
	std::thread thread;
	std::vector<std::string> noted, said;
};

/* Stands between a client and a server, and passes on what they say, or something else. */
class Middleman
{
      public:
	enum Fate {
		PASS,
		DROP, /* it never arrives, or the hook has sent something in its place */
		DIE,  /* hang up on both */
		HANG  /* pass on nothing more */
	};
	using Hook = std::function<Fate(bool from_server, struct plx_vfio_user_message *message)>;

	Hook hook; /* set before the client connects */
	std::atomic<unsigned> sessions{0};
	std::atomic<bool> deaf{false}; /* while it hangs: to a client that leaves as well */

	Middleman(const std::string &path_, const std::string &upstream_)
	    : path(path_), upstream(upstream_)
	{
		struct sockaddr_un address;

		EXPECT_EQ(plx_socket_address(&address, path.c_str()), 0);
		listener = plx_socket_listen(&address, 4);
		EXPECT_GE(listener, 0);
		thread = std::thread([this] { run(); });
	}
	~Middleman()
	{
		ending = true;
		thread.join();
		close(listener);
		unlink(path.c_str());
	}

	/* From within the hook: say something to the client. */
	void say(const void *bytes, size_t len, const std::vector<int> &fds = {})
	{
		(void)plx_socket_send(client->socket, bytes, len, fds.data(), (unsigned)fds.size(),
			plx_now() + PLX_MILLISECONDS(1000));
	}
	void say(const struct vfio_user_header &header, const void *payload, size_t len,
		const std::vector<int> &fds = {})
	{
		std::vector<uint8_t> all(sizeof(header) + len);

		std::memcpy(all.data(), &header, sizeof(header));
		if (len)
			std::memcpy(all.data() + sizeof(header), payload, len);
		say(all.data(), all.size(), fds);
	}

      private:
	using Wire = std::unique_ptr<struct plx_vfio_user_wire>;

	Fate pass(Wire &from, Wire &to, bool from_server)
	{
		Fate fate;

		do {
			int ret = plx_vfio_user_receive(from.get(), plx_now());

			if (ret <= 0)
				return ret ? DIE : PASS;
			uint32_t size = from->in.header.size;
			fate = hook ? hook(from_server, &from->in) : PASS;
			if (fate == PASS)
				(void)plx_vfio_user_send(
					to->socket, &from->in, plx_now() + PLX_MILLISECONDS(1000));
			/* What the hook made of it is not what was received. */
			from->in.header.size = size;
		} while (fate == PASS || fate == DROP);
		return fate;
	}

	void serve(int fd)
	{
		struct sockaddr_un address;
		Wire server = std::make_unique<struct plx_vfio_user_wire>();
		Fate fate = PASS;

		client = std::make_unique<struct plx_vfio_user_wire>();
		client->socket = fd;
		(void)plx_socket_address(&address, upstream.c_str());
		server->socket = plx_socket_connect(&address, PLX_MILLISECONDS(1000));
		while (!ending && server->socket >= 0 && fate != DIE) {
			struct pollfd polled[2] = {{fd, POLLIN, 0}, {server->socket, POLLIN, 0}};

			(void)poll(polled, 2, fate == HANG ? 1 : 5);
			if (fate == HANG) {
				/* The client may leave. */
				if (!deaf && plx_socket_hung_up(fd))
					break;
				continue;
			}
			if (polled[0].revents)
				fate = pass(client, server, false);
			if (fate == PASS && polled[1].revents)
				fate = pass(server, client, true);
		}
		plx_vfio_user_drop(client.get());
		plx_vfio_user_drop(server.get());
		if (server->socket >= 0)
			close(server->socket);
		close(fd);
	}

	void run()
	{
		while (!ending) {
			int fd = plx_socket_accept(listener, plx_now() + PLX_MILLISECONDS(5));

			if (fd < 0)
				continue;
			sessions++;
			serve(fd);
		}
	}

	std::string path, upstream;
	int listener = -1;
	std::atomic<bool> ending{false};
	std::thread thread;
	Wire client;
};

/* The network driver on a served card; what the driver did wrong fails the test. */
class VfioUserFixture : public SocketFixture
{
      protected:
	std::unique_ptr<CardServer> server;
	std::unique_ptr<Middleman> middle;
	std::string behind; /* where the card is served while a middleman has the path */

	int open_port(const std::string &options) override
	{
		return plx_eth_open(ctx, ("vfio-user:" + path + options).c_str(), &eth);
	}

	void end_peer() override
	{
		middle.reset();
		forget_server();
	}

	/* It ends; what the card saw of the driver counts. */
	void forget_server()
	{
		if (!server)
			return;
		server->stop();
		for (const std::string &breach : server->breaches())
			ADD_FAILURE() << "the driver broke a rule: " << breach;
		server.reset();
	}

	void serve(const std::string &device = "emu:net")
	{
		forget_server();
		server = std::make_unique<CardServer>(behind.empty() ? path : behind, device);
		server->start();
	}

	/* A card that is served, and a new middleman between it and its clients. */
	void interpose()
	{
		middle.reset();
		behind = path + ".inner";
		if (!server)
			serve();
		middle = std::make_unique<Middleman>(path, behind);
	}

	void send(unsigned number, uint16_t len)
	{
		struct plx_packet *packet = build(make_frame(len, number));
		int sent;

		while (!(sent = plx_eth_tx_burst(txq(), &packet, 1)))
			std::this_thread::yield();
		ASSERT_EQ(sent, 1) << plx_error();
	}

	/* A frame that a card with peer=loopback sends back. */
	void pass(unsigned frames)
	{
		uint64_t end = plx_now() + PLX_MILLISECONDS(20000);

		for (unsigned number = 0; number < frames; number++) {
			uint16_t len = (uint16_t)(60 + number * 37 % 1400);
			struct plx_packet *packet = nullptr;
			int got = 0;

			ASSERT_NO_FATAL_FAILURE(send(number, len));
			while (!got && plx_now() < end) {
				got = plx_eth_rx_burst(rxq(), &packet, 1);
				if (!got)
					std::this_thread::yield();
			}
			ASSERT_EQ(got, 1) << plx_error();
			ASSERT_NO_FATAL_FAILURE(check(packet, number, len));
			plx_packet_free(packet);
		}
	}
};

#endif
