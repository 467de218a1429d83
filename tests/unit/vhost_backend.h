/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VHOST_BACKEND_H
#define PLX_TESTS_VHOST_BACKEND_H

extern "C" {
#include "virtio/vhost_user_reg.h"
#include "virtio/virtio_reg.h"
}

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

/*
 * A small strict vhost-user backend: a network whose every sent frame comes back as a received one.
 * It runs in a thread of its own, serves one front end after the other, and notes each rule of the
 * protocol that the front end breaks. A hook may spoil any answer.
 */
class VhostBackend
{
      public:
	struct Message {
		struct vhost_user_header header;
		union vhost_user_payload payload;
		std::vector<int> fds;
	};

	/* What a hook makes of a message. */
	enum Fate {
		SERVE,   /* as ever */
		DIE,     /* hang up without an answer */
		HANG,    /* read nothing more, say nothing more */
		IGNORE,  /* go on without an answer */
		REFUSE,  /* acknowledge with 1 */
		ANSWERED /* the hook did it */
	};

	/* Set before start(). */
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) |
			    BIT(VIRTIO_F_EVENT_IDX) | BIT(15 /* MRG_RXBUF */) |
			    BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	uint64_t protocol = BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	uint64_t pairs = 1, slots = 32;
	bool client = false; /* connect to the front end */
	bool sticky = false; /* do not hang up when the front end does */
	uint8_t config[64] = {};
	uint32_t config_size = sizeof(config);
	std::function<Fate(unsigned number, const Message &message)> hook;

	explicit VhostBackend(const std::string &path_) : path(path_)
	{
	}
	~VhostBackend()
	{
		stop();
	}

	static constexpr uint64_t BIT(unsigned bit)
	{
		return UINT64_C(1) << bit;
	}

	void start();
	/* End as a process does: everything is gone at once. */
	void stop();
	/* Send anything at all, from within a hook. */
	void send(const void *bytes, size_t len, const std::vector<int> &fds = {});
	void answer(uint32_t request, const void *payload, uint32_t size,
		const std::vector<int> &fds = {});
	void answer_u64(uint32_t request, uint64_t value);
	/* Report a fault through SET_VRING_ERR's descriptor. */
	void report_fault();

	std::vector<std::string> breaches();
	std::vector<uint32_t> heard(); /* every request, in order */
	unsigned count(uint32_t request);
	size_t regions();
	uint64_t accepted();
	bool enabled(unsigned ring);
	unsigned in_use(); /* rings that run */
	std::atomic<uint64_t> frames{0};
	std::atomic<uint64_t> calls{0};
	std::atomic<uint64_t> sessions{0};
	std::atomic<bool> frozen{false}; /* touch no ring */

      private:
	struct Region {
		struct vhost_user_region as_told;
		uint8_t *map;
	};
	struct Ring {
		bool sized = false, based = false, placed = false, started = false;
		bool enabled = false, wrap = true;
		uint16_t size = 0, at = 0, used = 0;
		struct vhost_user_vring_address address = {};
		int kick = -1, call = -1;
	};
	struct Part {
		uint8_t *address;
		uint32_t len;
		bool write;
	};
	struct Chain {
		uint16_t id, count, at;
		bool wrap;
		std::vector<Part> parts;
	};

	void run();
	void serve(int connection);
	bool receive(Message *message);
	bool handle(Message *message);
	void carry_out(Message *message);
	void check_form(const Message &message);
	void acknowledge(const Message &message, uint64_t value);
	void set_memory(Message *message);
	void add_region(const struct vhost_user_region &region, int fd);
	void remove_region(const struct vhost_user_region &region);
	void start_ring(Message *message);
	void stop_ring(Message *message);
	void give_inflight(Message *message);
	void end_session();
	void breach(const std::string &text);
	uint8_t *guest(uint64_t address, uint64_t len);
	uint8_t *user(uint64_t address, uint64_t len);
	bool speaks(unsigned feature) const
	{
		return spoken >> feature & 1;
	}
	bool has(unsigned feature) const
	{
		return driver_features >> feature & 1;
	}
	Ring *ring(uint64_t index);
	bool running(unsigned index);
	unsigned move_frames(); /* how many */
	void notify(unsigned index);
	bool take(unsigned index, Chain *chain);
	bool take_split(Ring *r, Chain *chain);
	bool take_packed(Ring *r, Chain *chain);
	void give(unsigned index, const Chain &chain, uint32_t len);
	bool deliver(unsigned index, const std::vector<uint8_t> &frame);

	std::string path;
	int listener = -1, fd = -1;
	std::atomic<bool> ending{false};
	std::thread thread;
	std::mutex mutex;
	std::vector<std::string> noted;
	std::vector<uint32_t> requests;
	unsigned number = 0;
	uint64_t driver_features = 0, spoken = 0;
	bool owned = false;
	uint8_t status = 0;
	int error_fd = -1;
	std::vector<Region> memory;
	std::map<unsigned, Ring> rings;
};

#endif
