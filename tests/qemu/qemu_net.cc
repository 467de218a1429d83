/* SPDX-License-Identifier: BSD-3-Clause */
#include "qemu_net.h"

#include "../count.h"

extern "C" {
#include "pci/pci.h"
}

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include <linux/pci_regs.h>
#include <unistd.h>

namespace qemu
{
namespace
{

/* Files of QEMU that the machine leaves to its backend. */
constexpr int kWireFile = 10;

/* Far above what any round takes, also on a busy host; reached only when frames are lost. */
constexpr auto kPatience = std::chrono::seconds(30);

constexpr unsigned kBurst = 32;
constexpr size_t kOnTheWay = 65536;

std::string status_line(bool write, uint64_t value)
{
	char text[8];

	(void)snprintf(text, sizeof(text), "%c%02x", write ? 'w' : 'r', (unsigned)value & 0xff);
	return text;
}

void append(std::string *list, const std::string &word)
{
	*list += (list->empty() ? "" : " ") + word;
}

} // namespace

/* --- life --- */

void QemuNet::SetUp()
{
	struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;

	config.page_size = 4096;
	config.address_space = UINT64_C(512) << 20;
	config.log_arg = &messages;
	config.log = [](void *arg, enum plx_log_level, const char *message) {
		static_cast<std::vector<std::string> *>(arg)->push_back(message);
	};
	ASSERT_EQ(plx_context_create(&config, &ctx), 0) << plx_error();
	pool_config.count = 2048;
}

void QemuNet::TearDown()
{
	close();
	if (pool)
		expect_all_back();
	plx_pool_cache_destroy(cache);
	EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
	EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
	device.reset();
	machine.kill();
	if (!may_complain) {
		EXPECT_EQ(machine.said(), "");
	}
}

void QemuNet::boot_on(const std::string &netdev, const std::string &properties,
	std::vector<std::pair<int, int>> files)
{
	MachineConfig config = {
		{"-netdev", netdev, "-device",
			"virtio-net-pci,id=net0,netdev=n0,romfile=,mac=02:00:00:00:00:07,addr=" +
				std::to_string(QtestDevice::kSlot) + properties},
		std::move(files)};

	ASSERT_TRUE(machine.start(config)) << machine.said();
	device = std::make_unique<QtestDevice>(&machine);
}

void QemuNet::boot(const std::string &properties)
{
	int theirs = wire.open();

	ASSERT_GE(theirs, 0) << strerror(errno);
	boot_on("socket,id=n0,fd=" + std::to_string(kWireFile), properties, {{theirs, kWireFile}});
	::close(theirs);
}

int QemuNet::try_open(const std::string &options)
{
	struct plx_virtio *virtio;
	struct plx_address address;
	int err = device->open(ctx->mem, &ctx->log, memory_at);

	if (err)
		return err;
	device->vfio()->dma_translated = translated;
	registers_ = {VFIO_PCI_BAR0_REGION_INDEX, 0, true};
	unsigned region;
	uint64_t common = window_of(VIRTIO_PCI_CAP_COMMON_CFG, &region);
	if (region < VIRTIO_PCI_BARS && options.find("legacy=on") == std::string::npos)
		registers_ = {region, common, false};
	configuration_ = registers_.legacy ? VIRTIO_PCI_LEGACY_CONFIG
					   : window_of(VIRTIO_PCI_CAP_DEVICE_CFG, &region) - common;
	watch_status();
	EXPECT_EQ(plx_address_parse(&address, ("qtest:net" + options).c_str()), 0);
	err = plx_drivers_open_virtio(ctx, device->vfio(), device->virtio_id(), &address, &virtio);
	if (!err) {
		virtio->limits = limits;
		err = plx_drivers_open_eth(ctx, virtio, &address, &eth);
	}
	plx_address_free(&address);
	if (err)
		eth = nullptr;
	return err;
}

int QemuNet::try_configure()
{
	if (!pool) {
		EXPECT_EQ(plx_pool_create(ctx, &pool_config, &pool), 0) << plx_error();
		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0) << plx_error();
	}
	eth_config.pool = pool;
	return plx_eth_configure(eth, &eth_config);
}

void QemuNet::start(const std::string &options)
{
	ASSERT_EQ(try_open(options), 0) << plx_error();
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
}

void QemuNet::close()
{
	plx_eth_close(eth);
	eth = nullptr;
}

void QemuNet::expect_all_back()
{
	/* Our own cache gives back what it holds. */
	plx_pool_cache_destroy(cache);
	EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
	EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0) << plx_error();
}

/* --- what is said of the device --- */

struct plx_eth_info QemuNet::info()
{
	struct plx_eth_info info;

	plx_eth_get_info(eth, &info);
	return info;
}

uint64_t QemuNet::counter(const std::string &name)
{
	return counter_of(eth, name);
}

std::vector<struct plx_feature> QemuNet::features()
{
	std::vector<struct plx_feature> all;

	plx_device_features(
		plx_eth_device(eth),
		[](void *arg, const struct plx_feature *feature) {
			static_cast<std::vector<struct plx_feature> *>(arg)->push_back(*feature);
			return 0;
		},
		&all);
	return all;
}

bool QemuNet::offered(unsigned bit)
{
	for (const struct plx_feature &feature : features())
		if (feature.bit == bit)
			return feature.offered;
	return false;
}

bool QemuNet::accepted(unsigned bit)
{
	for (const struct plx_feature &feature : features())
		if (feature.bit == bit)
			return feature.accepted;
	return false;
}

std::string QemuNet::traced_statuses()
{
	std::string list;

	plx_device_trace(
		plx_eth_device(eth),
		[](void *arg, const struct plx_trace_entry *entry) {
			auto *text = static_cast<std::string *>(arg);
			if (entry->kind == PLX_TRACE_STATUS_WRITE ||
				entry->kind == PLX_TRACE_STATUS_READ)
				append(text, status_line(entry->kind == PLX_TRACE_STATUS_WRITE,
						     entry->value));
			return 0;
		},
		&list);
	return list;
}

/* --- what the device itself says --- */

/* Return: where a structure lies in its BAR, and @region past all BARs when there is none. */
uint64_t QemuNet::window_of(uint8_t type, unsigned *region)
{
	struct plx_pci_capability_walk walk = {};
	struct plx_vfio_device *vfio = device->vfio();
	uint8_t id, at;

	*region = VIRTIO_PCI_BARS;
	while (plx_pci_capability_next(vfio, &walk, &id, &at) > 0) {
		if (id != PCI_CAP_ID_VNDR ||
			plx_pci_config_read8(vfio, at + VIRTIO_PCI_CAP_TYPE) != type)
			continue;
		*region = plx_pci_config_read8(vfio, at + VIRTIO_PCI_CAP_BAR);
		return plx_pci_config_read32(vfio, at + VIRTIO_PCI_CAP_OFFSET);
	}
	return 0;
}

void QemuNet::watch_status()
{
	uint64_t at = registers_.offset + (registers_.legacy ? VIRTIO_PCI_LEGACY_DEVICE_STATUS
							     : VIRTIO_PCI_COMMON_DEVICE_STATUS);

	device->after = [this, at](const Access &access) {
		if (access.region == registers_.region && access.offset == at)
			append(&statuses, status_line(access.write, access.value));
	};
}

Registers QemuNet::registers()
{
	return registers_;
}

uint64_t QemuNet::peek(uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	EXPECT_EQ(device->vfio()->ops->read(device->vfio(), registers_.region,
			  registers_.offset + offset, &value, width),
		0);
	return value;
}

void QemuNet::poke(uint64_t offset, unsigned width, uint64_t value)
{
	EXPECT_EQ(device->vfio()->ops->write(device->vfio(), registers_.region,
			  registers_.offset + offset, &value, width),
		0);
}

uint64_t QemuNet::features_in_device()
{
	uint64_t low;

	if (registers_.legacy)
		return peek(VIRTIO_PCI_LEGACY_DRIVER_FEATURES, 4);
	poke(VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
	low = peek(VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4);
	poke(VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, 1);
	return low | peek(VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4) << 32;
}

std::pair<unsigned, bool> QemuNet::queue_in_device(uint16_t index)
{
	if (registers_.legacy) {
		poke(VIRTIO_PCI_LEGACY_QUEUE_SELECT, 2, index);
		return {(unsigned)peek(VIRTIO_PCI_LEGACY_QUEUE_SIZE, 2),
			peek(VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, 4)};
	}
	poke(VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, index);
	return {(unsigned)peek(VIRTIO_PCI_COMMON_QUEUE_SIZE, 2),
		peek(VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2)};
}

/* In QEMU all structures of the modern interface lie in one BAR. */
uint64_t QemuNet::configuration(unsigned offset, unsigned width)
{
	return peek(configuration_ + offset, width);
}

/* --- frames --- */

struct plx_packet *QemuNet::build(const Frame &frame, unsigned variant)
{
	struct plx_packet *first = nullptr, **link = &first;
	size_t piece = plx_pool_data_size(pool), at = 0;
	uint16_t headroom = variant % 7 == 6 ? 0 : plx_pool_headroom(pool);

	if (variant % 5 == 4)
		piece = std::min(piece, frame.size() / 2 + 1);
	while (at < frame.size()) {
		struct plx_packet *packet = nullptr;
		size_t length = std::min(piece, frame.size() - at);

		if (!plx_pool_get(cache, &packet, 1)) {
			plx_packet_free(first);
			return nullptr;
		}
		plx_packet_prepare(packet, headroom);
		memcpy(plx_packet_data(packet), &frame[at], length);
		packet->data_len = (uint16_t)length;
		*link = packet;
		link = &packet->next;
		if (packet != first)
			first->segments++;
		first->len += (uint32_t)length;
		at += length;
	}
	return first;
}

Frame QemuNet::bytes_of(const struct plx_packet *packet)
{
	Frame bytes;

	for (unsigned left = packet->segments; left && packet; left--) {
		const uint8_t *data = plx_packet_data(packet);

		bytes.insert(bytes.end(), data, data + packet->data_len);
		packet = packet->next;
	}
	return bytes;
}

int QemuNet::send_due(uint32_t to)
{
	struct plx_packet *packets[kBurst];
	unsigned count = 0;
	int taken;

	while (count < kBurst && sent + count < to) {
		uint32_t number = sent + count;
		size_t length = fixed_length ? fixed_length : length_of(number);

		packets[count] = build(make_frame(number, length), number);
		if (!packets[count])
			break;
		count++;
	}
	taken = plx_eth_tx_burst(plx_eth_txq(eth, 0), packets, count);
	for (unsigned i = taken < 0 ? 0 : (unsigned)taken; i < count; i++)
		plx_packet_free(packets[i]);
	sent += taken < 0 ? 0 : (unsigned)taken;
	return taken;
}

int QemuNet::receive_due(unsigned queue, bool gaps)
{
	struct plx_packet *packets[kBurst];
	int count = plx_eth_rx_burst(plx_eth_rxq(eth, queue), packets, kBurst);

	for (int i = 0; i < count; i++) {
		Frame frame = bytes_of(packets[i]);

		EXPECT_EQ(frame.size(), packets[i]->len);
		EXPECT_TRUE(received.take(frame, gaps)) << "received: " << received.fault();
		plx_packet_free(packets[i]);
	}
	return count;
}

int QemuNet::pump(uint32_t send_to, uint32_t inject_to, bool gaps)
{
	int moved = send_due(send_to), came;

	if (moved < 0)
		return moved;
	for (; injected < inject_to && link->flush() < kOnTheWay; injected++)
		link->send(make_frame(injected, fixed_length ? fixed_length : length_of(injected)));
	link->flush();
	for (unsigned queue = 0; queue < eth_config.queue_pairs; queue++) {
		came = receive_due(queue, gaps);
		if (came < 0)
			return came;
		moved += came;
	}
	for (const Frame &frame : link->receive()) {
		EXPECT_TRUE(arrived.take(frame, gaps)) << "sent: " << arrived.fault();
		moved++;
	}
	return moved;
}

void QemuNet::exchange(uint32_t count, bool gaps)
{
	auto end = std::chrono::steady_clock::now() + kPatience;
	uint32_t send_to = sent + count, inject_to = injected + count;

	while ((arrived.next() < send_to || received.next() < inject_to) && !HasFailure()) {
		int moved = pump(send_to, inject_to, gaps);

		ASSERT_GE(moved, 0) << plx_error();
		/* The other process needs a core as well. */
		if (!moved)
			std::this_thread::sleep_for(std::chrono::microseconds(20));
		ASSERT_LT(std::chrono::steady_clock::now(), end)
			<< "frames are missing: " << arrived.next() << " of " << send_to
			<< " were sent, " << received.next() << " of " << inject_to
			<< " received; QEMU says: " << machine.said();
	}
}

} // namespace qemu
