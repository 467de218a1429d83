/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

/* --- life --- */

static struct sockaddr_un address_of(const std::string &path)
{
	struct sockaddr_un address = {};

	address.sun_family = AF_UNIX;
	std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
	return address;
}

void VhostBackend::start()
{
	struct sockaddr_un address = address_of(path);

	ending = false;
	if (!client) {
		unlink(path.c_str());
		listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
			listen(listener, 4))
			breach("the test cannot listen at " + path);
	}
	thread = std::thread([this] { run(); });
}

void VhostBackend::stop()
{
	ending = true;
	if (thread.joinable())
		thread.join();
	if (listener >= 0)
		close(listener);
	listener = -1;
}

void VhostBackend::run()
{
	struct sockaddr_un address = address_of(path);

	while (!ending) {
		int connection;

		if (client) {
			connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (connect(connection, (struct sockaddr *)&address, sizeof(address))) {
				close(connection);
				connection = -1;
			}
		} else {
			connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
		}
		if (connection < 0)
			usleep(200);
		else
			serve(connection);
	}
}

void VhostBackend::serve(int connection)
{
	fd = connection;
	sessions++;
	while (!ending) {
		struct pollfd polled = {fd, POLLIN, 0};
		const struct timespec moment = {0, move_frames() ? 0 : 50000};
		Message message;

		if (ppoll(&polled, 1, &moment, nullptr) <= 0)
			continue;
		if (!receive(&message)) {
			while (sticky && !ending)
				usleep(1000);
			break;
		}
		bool alive = handle(&message);
		for (int each : message.fds)
			close(each);
		if (!alive)
			break;
	}
	end_session();
}

void VhostBackend::end_session()
{
	std::lock_guard<std::mutex> guard(mutex);

	for (Region &region : memory)
		munmap(region.map, region.as_told.size);
	for (auto &each : rings) {
		if (each.second.kick >= 0)
			close(each.second.kick);
		if (each.second.call >= 0)
			close(each.second.call);
	}
	memory.clear();
	rings.clear();
	if (error_fd >= 0)
		close(error_fd);
	error_fd = -1;
	close(fd);
	fd = -1;
	number = 0;
	owned = false;
	spoken = driver_features = 0;
	status = 0;
}

/* --- what a test asks --- */

void VhostBackend::breach(const std::string &text)
{
	std::lock_guard<std::mutex> guard(mutex);

	noted.push_back(text);
}

std::vector<std::string> VhostBackend::breaches()
{
	std::lock_guard<std::mutex> guard(mutex);

	return noted;
}

std::vector<uint32_t> VhostBackend::heard()
{
	std::lock_guard<std::mutex> guard(mutex);

	return requests;
}

unsigned VhostBackend::count(uint32_t request)
{
	std::vector<uint32_t> all = heard();

	return (unsigned)std::count(all.begin(), all.end(), request);
}

size_t VhostBackend::regions()
{
	std::lock_guard<std::mutex> guard(mutex);

	return memory.size();
}

uint64_t VhostBackend::accepted()
{
	std::lock_guard<std::mutex> guard(mutex);

	return driver_features;
}

bool VhostBackend::running(unsigned index)
{
	auto found = rings.find(index);

	return found != rings.end() && found->second.started &&
	       (found->second.enabled || !has(VHOST_USER_F_PROTOCOL_FEATURES));
}

bool VhostBackend::enabled(unsigned index)
{
	std::lock_guard<std::mutex> guard(mutex);

	return running(index);
}

unsigned VhostBackend::in_use()
{
	std::lock_guard<std::mutex> guard(mutex);
	unsigned in_use = 0;

	for (auto &each : rings)
		in_use += each.second.started;
	return in_use;
}

void VhostBackend::report_fault()
{
	std::lock_guard<std::mutex> guard(mutex);
	uint64_t one = 1;

	if (write(error_fd, &one, sizeof(one)) != sizeof(one))
		noted.push_back("the fault could not be reported");
}

/* --- messages --- */

bool VhostBackend::receive(Message *message)
{
	alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(16 * sizeof(int))];
	struct iovec part = {&message->header, sizeof(message->header)};
	struct msghdr msg = {};

	msg.msg_iov = &part;
	msg.msg_iovlen = 1;
	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	message->payload = {};
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	if (got <= 0)
		return false;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		message->fds.resize((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		std::memcpy(message->fds.data(), CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
	}
	if (got != sizeof(message->header) || message->header.size > sizeof(message->payload)) {
		breach("a message is cut short or too long");
		return false;
	}
	return !message->header.size || recv(fd, &message->payload, message->header.size,
						MSG_WAITALL) == (ssize_t)message->header.size;
}

void VhostBackend::send(const void *bytes, size_t len, const std::vector<int> &fds)
{
	alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(32 * sizeof(int))] = {};
	struct iovec part = {const_cast<void *>(bytes), len};
	struct msghdr msg = {};

	msg.msg_iov = &part;
	msg.msg_iovlen = 1;
	if (!fds.empty()) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
		struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
		std::memcpy(CMSG_DATA(h), fds.data(), fds.size() * sizeof(int));
	}
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL);
}

void VhostBackend::answer(
	uint32_t request, const void *payload, uint32_t size, const std::vector<int> &fds)
{
	struct vhost_user_header header = {request, VHOST_USER_VERSION | VHOST_USER_REPLY, size};
	std::vector<uint8_t> bytes(sizeof(header));

	std::memcpy(bytes.data(), &header, sizeof(header));
	if (size)
		bytes.insert(bytes.end(), static_cast<const uint8_t *>(payload),
			static_cast<const uint8_t *>(payload) + size);
	send(bytes.data(), bytes.size(), fds);
}

void VhostBackend::answer_u64(uint32_t request, uint64_t value)
{
	answer(request, &value, sizeof(value));
}

void VhostBackend::acknowledge(const Message &message, uint64_t value)
{
	if (message.header.flags & VHOST_USER_NEED_REPLY)
		answer_u64(message.header.request, value);
}

bool VhostBackend::handle(Message *message)
{
	Fate fate;

	{
		std::lock_guard<std::mutex> guard(mutex);
		requests.push_back(message->header.request);
	}
	check_form(*message);
	fate = hook ? hook(number++, *message) : SERVE;
	switch (fate) {
	case SERVE:
		carry_out(message);
		return true;
	case REFUSE:
		acknowledge(*message, 1);
		return true;
	case HANG:
		while (!ending) {
			struct pollfd polled = {fd, 0, 0};

			/* It neither reads nor leaves, but a test that ends has to get on. */
			if (poll(&polled, 1, 1) > 0 && polled.revents & POLLHUP)
				return false;
		}
		return false;
	case DIE:
		return false;
	default:
		return true;
	}
}

/* The size and the descriptors of each message that a front end may send here. */
void VhostBackend::check_form(const Message &message)
{
	static const std::map<uint32_t, std::pair<uint32_t, int>> forms = {
		{VHOST_USER_GET_FEATURES, {0, 0}},
		{VHOST_USER_SET_FEATURES, {8, 0}},
		{VHOST_USER_SET_OWNER, {0, 0}},
		{VHOST_USER_SET_VRING_NUM, {8, 0}},
		{VHOST_USER_SET_VRING_ADDR, {40, 0}},
		{VHOST_USER_SET_VRING_BASE, {8, 0}},
		{VHOST_USER_GET_VRING_BASE, {8, 0}},
		{VHOST_USER_SET_VRING_KICK, {8, -1}},
		{VHOST_USER_SET_VRING_CALL, {8, -1}},
		{VHOST_USER_SET_VRING_ERR, {8, -1}},
		{VHOST_USER_GET_PROTOCOL_FEATURES, {0, 0}},
		{VHOST_USER_SET_PROTOCOL_FEATURES, {8, 0}},
		{VHOST_USER_GET_QUEUE_NUM, {0, 0}},
		{VHOST_USER_SET_VRING_ENABLE, {8, 0}},
		{VHOST_USER_NET_SET_MTU, {8, 0}},
		{VHOST_USER_GET_INFLIGHT_FD, {24, 0}},
		{VHOST_USER_SET_INFLIGHT_FD, {24, 1}},
		{VHOST_USER_RESET_DEVICE, {0, 0}},
		{VHOST_USER_GET_MAX_MEM_SLOTS, {0, 0}},
		{VHOST_USER_ADD_MEM_REG, {40, 1}},
		{VHOST_USER_REM_MEM_REG, {40, 0}},
		{VHOST_USER_SET_STATUS, {8, 0}},
		{VHOST_USER_GET_STATUS, {0, 0}},
	};
	const std::string name = "request " + std::to_string(message.header.request);
	uint32_t flags = message.header.flags;
	auto form = forms.find(message.header.request);

	if ((flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION || flags & VHOST_USER_REPLY ||
		flags & ~(VHOST_USER_VERSION | VHOST_USER_NEED_REPLY))
		breach(name + " has odd flags");
	if (flags & VHOST_USER_NEED_REPLY && !speaks(VHOST_USER_PROTOCOL_F_REPLY_ACK))
		breach(name + " wants an acknowledgement that was not agreed on");
	if (message.header.request == VHOST_USER_SET_MEM_TABLE) {
		uint32_t regions = message.payload.memory.count;

		if (message.header.size != 8 + regions * 32 || message.fds.size() != regions ||
			!regions || regions > VHOST_USER_REGIONS)
			breach("the memory table has the wrong size");
		return;
	}
	if (message.header.request == VHOST_USER_GET_CONFIG) {
		if (message.header.size != 12 + message.payload.config.size)
			breach("GET_CONFIG has the wrong size");
		return;
	}
	if (form == forms.end()) {
		breach(name + " is none that was agreed on");
		return;
	}
	if (message.header.size != form->second.first)
		breach(name + " has the wrong size");
	int fds = form->second.second;
	if (fds < 0)
		fds = message.payload.u64 & VHOST_USER_VRING_NO_FD ? 0 : 1;
	if ((int)message.fds.size() != fds)
		breach(name + " has the wrong number of descriptors");
}

VhostBackend::Ring *VhostBackend::ring(uint64_t index)
{
	if (index >= 2 * pairs)
		breach("there is no ring " + std::to_string(index));
	std::lock_guard<std::mutex> guard(mutex);
	return &rings[(unsigned)index];
}

void VhostBackend::carry_out(Message *message)
{
	const union vhost_user_payload &payload = message->payload;
	uint32_t request = message->header.request;
	auto needs = [&](unsigned feature) {
		if (!speaks(feature))
			breach("request " + std::to_string(request) + " was not agreed on");
	};
	std::unique_lock<std::mutex> guard(mutex, std::defer_lock);

	switch (request) {
	case VHOST_USER_GET_FEATURES:
		answer_u64(request, features);
		return;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		answer_u64(request, protocol);
		return;
	case VHOST_USER_GET_QUEUE_NUM:
		needs(VHOST_USER_PROTOCOL_F_MQ);
		answer_u64(request, pairs);
		return;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		needs(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
		answer_u64(request, slots);
		return;
	case VHOST_USER_GET_STATUS:
		needs(VHOST_USER_PROTOCOL_F_STATUS);
		answer_u64(request, status);
		return;
	case VHOST_USER_GET_CONFIG: {
		struct vhost_user_config reply = payload.config;

		needs(VHOST_USER_PROTOCOL_F_CONFIG);
		if (reply.size > config_size) {
			answer(request, nullptr, 0);
			return;
		}
		std::memcpy(reply.region, config, reply.size);
		answer(request, &reply, 12 + reply.size);
		return;
	}
	case VHOST_USER_GET_VRING_BASE:
		stop_ring(message);
		return;
	case VHOST_USER_GET_INFLIGHT_FD:
		needs(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
		give_inflight(message);
		return;
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		if (payload.u64 & ~protocol)
			breach("protocol features are taken that were not offered");
		spoken = payload.u64;
		return;
	case VHOST_USER_SET_OWNER:
		if (owned)
			breach("the owner is set twice");
		owned = true;
		break;
	case VHOST_USER_SET_FEATURES:
		if (payload.u64 & ~features)
			breach("features are taken that were not offered");
		guard.lock();
		driver_features = payload.u64;
		break;
	case VHOST_USER_SET_MEM_TABLE:
		set_memory(message);
		break;
	case VHOST_USER_ADD_MEM_REG:
		needs(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
		guard.lock();
		add_region(payload.memory_region.region, message->fds[0]);
		break;
	case VHOST_USER_REM_MEM_REG:
		needs(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
		remove_region(payload.memory_region.region);
		break;
	case VHOST_USER_SET_VRING_NUM:
		ring(payload.state.index)->size = (uint16_t)payload.state.num;
		ring(payload.state.index)->sized = true;
		break;
	case VHOST_USER_SET_VRING_BASE:
		if (payload.state.num != (has(VIRTIO_F_RING_PACKED) ? 0x80008000u : 0))
			breach("a ring starts at an odd place");
		ring(payload.state.index)->at = ring(payload.state.index)->used = 0;
		ring(payload.state.index)->wrap = true;
		ring(payload.state.index)->based = true;
		break;
	case VHOST_USER_SET_VRING_ADDR:
		if (payload.address.flags)
			breach("a ring's address has flags");
		ring(payload.address.index)->address = payload.address;
		ring(payload.address.index)->placed = true;
		break;
	case VHOST_USER_SET_VRING_KICK:
		start_ring(message);
		break;
	case VHOST_USER_SET_VRING_CALL: {
		Ring *r = ring(payload.u64 & VHOST_USER_VRING_INDEX_MASK);

		if (r->call >= 0)
			close(r->call);
		r->call = message->fds.empty() ? -1 : fcntl(message->fds[0], F_DUPFD_CLOEXEC, 0);
		break;
	}
	case VHOST_USER_SET_VRING_ERR:
		guard.lock();
		if (error_fd >= 0)
			close(error_fd);
		error_fd = fcntl(message->fds[0], F_DUPFD_CLOEXEC, 0);
		break;
	case VHOST_USER_SET_VRING_ENABLE:
		guard.lock();
		rings[payload.state.index].enabled = payload.state.num;
		break;
	case VHOST_USER_SET_STATUS:
		needs(VHOST_USER_PROTOCOL_F_STATUS);
		if (payload.u64 & VIRTIO_STATUS_DRIVER_OK && !in_use())
			breach("DRIVER_OK comes before the rings");
		status = (uint8_t)payload.u64;
		break;
	default:
		break;
	}
	acknowledge(*message, 0);
}

void VhostBackend::set_memory(Message *message)
{
	std::lock_guard<std::mutex> guard(mutex);

	for (Region &region : memory)
		munmap(region.map, region.as_told.size);
	memory.clear();
	for (size_t i = 0; i < message->fds.size(); i++)
		add_region(message->payload.memory.region[i], message->fds[i]);
}

void VhostBackend::add_region(const struct vhost_user_region &region, int file)
{
	void *map = mmap(nullptr, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		(off_t)region.mmap_offset);
	struct stat state;

	if (map == MAP_FAILED || fstat(file, &state) || (uint64_t)state.st_size < region.size)
		noted.push_back("a region cannot be mapped");
	memory.push_back({region, static_cast<uint8_t *>(map)});
}

void VhostBackend::remove_region(const struct vhost_user_region &region)
{
	std::lock_guard<std::mutex> guard(mutex);

	for (size_t i = 0; i < memory.size(); i++)
		if (memory[i].as_told.guest_address == region.guest_address &&
			memory[i].as_told.size == region.size) {
			munmap(memory[i].map, region.size);
			memory.erase(memory.begin() + (long)i);
			return;
		}
	noted.push_back("a region is taken back that was never given");
}

void VhostBackend::start_ring(Message *message)
{
	unsigned index = message->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	Ring *r = ring(index);

	if (!owned)
		breach("a ring is started in a session without an owner");
	if (!r->sized || !r->based || !r->placed)
		breach("a ring is started before it is set up");
	if (r->started)
		breach("a ring is started twice");
	std::lock_guard<std::mutex> guard(mutex);
	if (r->placed && !user(r->address.descriptor, r->size * 16))
		noted.push_back("a ring does not lie in the memory");
	r->started = true;
	r->kick = fcntl(message->fds[0], F_DUPFD_CLOEXEC, 0);
}

void VhostBackend::stop_ring(Message *message)
{
	Ring *r = ring(message->payload.state.index);

	if (!r->started)
		breach("a ring is stopped that does not run");
	{
		std::lock_guard<std::mutex> guard(mutex);
		if (r->kick >= 0)
			close(r->kick);
		if (r->call >= 0)
			close(r->call);
		*r = Ring();
	}
	message->payload.state.num = 0;
	answer(VHOST_USER_GET_VRING_BASE, &message->payload.state, 8);
}

void VhostBackend::give_inflight(Message *message)
{
	struct vhost_user_inflight inflight = message->payload.inflight;
	int file = memfd_create("inflight", MFD_CLOEXEC);

	if (inflight.queues != 2 * pairs || !inflight.queue_size)
		breach("a record is wanted for an odd number of queues");
	inflight.mmap_size = 4096;
	if (ftruncate(file, 4096))
		breach("the test cannot make a record");
	answer(VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight), {file});
	close(file);
}

/* --- rings --- */

uint8_t *VhostBackend::guest(uint64_t address, uint64_t len)
{
	for (Region &region : memory)
		if (address - region.as_told.guest_address < region.as_told.size &&
			region.as_told.size - (address - region.as_told.guest_address) >= len)
			return region.map + (address - region.as_told.guest_address);
	return nullptr;
}

uint8_t *VhostBackend::user(uint64_t address, uint64_t len)
{
	for (Region &region : memory)
		if (address - region.as_told.user_address < region.as_told.size &&
			region.as_told.size - (address - region.as_told.user_address) >= len)
			return region.map + (address - region.as_told.user_address);
	return nullptr;
}

bool VhostBackend::take_split(Ring *r, Chain *chain)
{
	auto *desc = reinterpret_cast<struct virtq_desc *>(user(r->address.descriptor, 1));
	auto *avail = reinterpret_cast<struct virtq_avail *>(user(r->address.available, 1));
	uint16_t flags, at;

	if (plx_shared16_read_acquire(&avail->idx) == r->at)
		return false;
	at = chain->id = plx_shared16_read(&avail->ring[r->at++ & (r->size - 1)]);
	do {
		flags = plx_shared16_read(&desc[at].flags);
		uint32_t len = plx_shared32_read(&desc[at].len);
		chain->parts.push_back({guest(plx_shared64_read(&desc[at].addr), len), len,
			(flags & VIRTQ_DESC_F_WRITE) != 0});
		at = plx_shared16_read(&desc[at].next);
	} while (flags & VIRTQ_DESC_F_NEXT);
	return true;
}

bool VhostBackend::take_packed(Ring *r, Chain *chain)
{
	auto *ring = reinterpret_cast<struct virtq_packed_desc *>(user(r->address.descriptor, 1));
	uint16_t flags = plx_shared16_read_acquire(&ring[r->at].flags);

	if ((flags & 0x8080) != (r->wrap ? 0x0080 : 0x8000))
		return false;
	chain->at = r->at;
	chain->wrap = r->wrap;
	for (;;) {
		uint32_t len = plx_shared32_read(&ring[r->at].len);
		chain->parts.push_back({guest(plx_shared64_read(&ring[r->at].addr), len), len,
			(flags & VIRTQ_DESC_F_WRITE) != 0});
		chain->id = plx_shared16_read(&ring[r->at].id);
		if (++r->at == r->size) {
			r->at = 0;
			r->wrap = !r->wrap;
		}
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return true;
		flags = plx_shared16_read(&ring[r->at].flags);
	}
}

bool VhostBackend::take(unsigned index, Chain *chain)
{
	Ring *r = &rings[index];

	chain->parts.clear();
	if (!(has(VIRTIO_F_RING_PACKED) ? take_packed(r, chain) : take_split(r, chain)))
		return false;
	for (const Part &part : chain->parts)
		if (!part.address || part.write != !(index & 1))
			noted.push_back(
				"a buffer lies outside the memory, or is of the wrong kind");
	return true;
}

void VhostBackend::give(unsigned index, const Chain &chain, uint32_t len)
{
	Ring *r = &rings[index];

	if (has(VIRTIO_F_RING_PACKED)) {
		auto *ring = reinterpret_cast<struct virtq_packed_desc *>(
			user(r->address.descriptor, 1));

		plx_shared16_write(&ring[chain.at].id, chain.id);
		plx_shared32_write(&ring[chain.at].len, len);
		plx_shared16_write_release(&ring[chain.at].flags, chain.wrap ? 0x8080 : 0);
		return;
	}
	auto *used = reinterpret_cast<struct virtq_used *>(user(r->address.used, 1));
	plx_shared32_write(&used->ring[r->used & (r->size - 1)].id, chain.id);
	plx_shared32_write(&used->ring[r->used & (r->size - 1)].len, len);
	plx_shared16_write_release(&used->idx, ++r->used);
}

/* Into one buffer, or over several where that was agreed on. */
bool VhostBackend::deliver(unsigned index, const std::vector<uint8_t> &frame)
{
	std::vector<std::pair<Chain, uint32_t>> filled;
	std::vector<uint8_t> bytes(12);
	size_t done = 0;

	bytes.insert(bytes.end(), frame.begin(), frame.end());
	while (done < bytes.size()) {
		Chain chain;
		size_t before = done;

		if (!take(index, &chain))
			return false;
		for (const Part &part : chain.parts) {
			size_t len = std::min<size_t>(part.len, bytes.size() - done);

			std::memcpy(part.address, bytes.data() + done, len);
			done += len;
		}
		filled.push_back({chain, (uint32_t)(done - before)});
	}
	filled[0].first.parts[0].address[10] = (uint8_t)filled.size();
	filled[0].first.parts[0].address[11] = 0;
	for (auto &each : filled)
		give(index, each.first, each.second);
	return true;
}

/* Tell the driver of what was given back, if it wants; an event index is read as a wish. */
void VhostBackend::notify(unsigned index)
{
	const Ring *r = &rings[index];
	uint8_t *driver = user(r->address.available, 4);
	uint64_t one = 1;
	uint16_t flags;

	if (r->call < 0)
		return;
	/* What was given back is visible before the wish is read. */
	std::atomic_thread_fence(std::memory_order_seq_cst);
	flags = plx_shared16_read(reinterpret_cast<struct plx_shared16 *>(
		driver + (has(VIRTIO_F_RING_PACKED) ? 2 : 0)));
	if (flags == 1)
		return;
	calls++;
	if (write(r->call, &one, sizeof(one)) != sizeof(one))
		noted.push_back("a call cannot be written");
}

unsigned VhostBackend::move_frames()
{
	std::lock_guard<std::mutex> guard(mutex);
	unsigned moved = 0;

	if (frozen)
		return 0;
	for (unsigned pair = 0; pair < pairs; pair++) {
		Chain chain;

		if (!running(2 * pair) || !running(2 * pair + 1))
			continue;
		for (unsigned left = 64; left && take(2 * pair + 1, &chain); left--) {
			std::vector<uint8_t> frame;

			for (const Part &part : chain.parts)
				frame.insert(frame.end(), part.address, part.address + part.len);
			if (frame.size() <= 12)
				noted.push_back("a frame has no header, or no data");
			else
				frame.erase(frame.begin(), frame.begin() + 12);
			if (deliver(2 * pair, frame))
				frames++;
			notify(2 * pair);
			give(2 * pair + 1, chain, 0);
			moved++;
		}
	}
	return moved;
}
