/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_CONFORMANCE_H
#define PLX_TESTS_CONFORMANCE_H

#include "net_fixture.h"

#include <linux/pci_regs.h>

#include <map>
#include <memory>
#include <optional>
#include <set>

/* One access to a register, as the driver made it. */
struct Access {
	bool write;
	unsigned region;
	uint64_t offset;
	size_t len;
	uint64_t value;
};

/* A structure that a virtio capability describes (virtio 1.4, 4.1.4). */
struct Structure {
	uint8_t type;
	uint8_t bar;
	uint32_t offset;
	uint32_t length;
	uint8_t cap_len = VIRTIO_PCI_CAP_SIZE;
	uint32_t multiplier = 0; /* of VIRTIO_PCI_CAP_NOTIFY_CFG */
};

/*
 * Stands between the driver and a device: it writes every access down, and can show another
 * configuration space than the device's own.
 */
class Tap
{
      public:
	struct plx_vfio_device device = {}; /* first, since the seam knows it by its address */
	std::vector<Access> log;
	std::vector<std::pair<uint64_t, size_t>>
		maps;            /* offset and length of each mapping asked for */
	unsigned interrupts = 0; /* times that interrupts were set up */
	/* What is read may be changed on the way to the driver. */
	std::function<void(Access &)> on_read;
	std::function<void(const Access &)> on_write;
	std::function<void(const Access &)> after_write;
	bool reset_fails = false;

	explicit Tap(struct plx_vfio_device *behind) : behind_(behind)
	{
		static struct plx_vfio_ops ops;

		device = *behind;
		ops.name = "tap";
		ops.read = read;
		ops.write = write;
		ops.map = map;
		ops.unmap = behind->ops->unmap;
		ops.set_irqs = set_irqs;
		ops.reset = reset;
		ops.close = [](struct plx_vfio_device *d) { plx_vfio_close(of(d).behind_); };
		device.ops = &ops;
	}

	/* Show other bytes in configuration space. */
	void show(unsigned offset, const void *bytes, size_t len)
	{
		for (size_t i = 0; i < len; i++)
			shown_[offset + i] = static_cast<const uint8_t *>(bytes)[i];
	}

	/* Show these virtio structures, in this order, and no other capability. */
	void show_capabilities(const std::vector<Structure> &list)
	{
		const uint8_t nothing[256 - PCI_STD_HEADER_SIZEOF] = {};
		unsigned at = PCI_STD_HEADER_SIZEOF, link = PCI_CAPABILITY_LIST;

		show(at, nothing, sizeof(nothing));
		show(link, nothing, 1);
		for (const Structure &s : list) {
			uint8_t cap[256] = {PCI_CAP_ID_VNDR, 0, s.cap_len, s.type, s.bar};
			uint8_t place = (uint8_t)at;

			std::memcpy(cap + VIRTIO_PCI_CAP_OFFSET, &s.offset, 4);
			std::memcpy(cap + VIRTIO_PCI_CAP_LENGTH, &s.length, 4);
			if (s.type == VIRTIO_PCI_CAP_NOTIFY_CFG)
				std::memcpy(cap + VIRTIO_PCI_CAP_NOTIFY_MULT, &s.multiplier, 4);
			ASSERT_LE(at + s.cap_len, 256u);
			show(link, &place, 1);
			show(at, cap, std::max<size_t>(s.cap_len, 4));
			link = at + PCI_CAP_LIST_NEXT;
			at += (std::max<unsigned>(s.cap_len, 4) + 3) & ~3u;
		}
	}

	/* The device's own structures. */
	std::vector<Structure> structures()
	{
		std::vector<Structure> found;

		for (uint8_t at = config(PCI_CAPABILITY_LIST, 1); at; at = config(at + 1u, 1)) {
			Structure s = {};

			if (config(at, 1) != PCI_CAP_ID_VNDR)
				continue;
			s.cap_len = (uint8_t)config(at + VIRTIO_PCI_CAP_LEN, 1);
			s.type = (uint8_t)config(at + VIRTIO_PCI_CAP_TYPE, 1);
			s.bar = (uint8_t)config(at + VIRTIO_PCI_CAP_BAR, 1);
			s.offset = config(at + VIRTIO_PCI_CAP_OFFSET, 4);
			s.length = config(at + VIRTIO_PCI_CAP_LENGTH, 4);
			if (s.type == VIRTIO_PCI_CAP_NOTIFY_CFG)
				s.multiplier = config(at + VIRTIO_PCI_CAP_NOTIFY_MULT, 4);
			found.push_back(s);
		}
		return found;
	}

      private:
	struct plx_vfio_device *behind_;
	std::map<uint64_t, uint8_t> shown_;

	static Tap &of(struct plx_vfio_device *device)
	{
		return *reinterpret_cast<Tap *>(device);
	}

	uint32_t config(unsigned offset, size_t len)
	{
		uint32_t value = 0;

		EXPECT_EQ(behind_->ops->read(
				  behind_, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, len),
			0);
		return value;
	}

	static int read(struct plx_vfio_device *device, unsigned region, uint64_t offset,
		void *value, size_t len)
	{
		Tap &tap = of(device);
		Access access = {false, region, offset, len, 0};
		int err = tap.behind_->ops->read(tap.behind_, region, offset, value, len);

		if (region == VFIO_PCI_CONFIG_REGION_INDEX)
			for (size_t i = 0; i < len; i++)
				if (tap.shown_.count(offset + i))
					static_cast<uint8_t *>(value)[i] = tap.shown_[offset + i];
		std::memcpy(&access.value, value, std::min(len, sizeof(access.value)));
		if (tap.on_read)
			tap.on_read(access);
		std::memcpy(value, &access.value, std::min(len, sizeof(access.value)));
		tap.log.push_back(access);
		return err;
	}

	static int write(struct plx_vfio_device *device, unsigned region, uint64_t offset,
		const void *value, size_t len)
	{
		Tap &tap = of(device);
		Access access = {true, region, offset, len, 0};

		std::memcpy(&access.value, value, std::min(len, sizeof(access.value)));
		tap.log.push_back(access);
		if (tap.on_write)
			tap.on_write(access);
		int err = tap.behind_->ops->write(tap.behind_, region, offset, value, len);
		if (tap.after_write)
			tap.after_write(access);
		return err;
	}

	static int map(struct plx_vfio_device *device, unsigned region, uint64_t offset, size_t len,
		void **address)
	{
		Tap &tap = of(device);

		tap.maps.emplace_back(offset, len);
		return tap.behind_->ops->map(tap.behind_, region, offset, len, address);
	}

	static int set_irqs(struct plx_vfio_device *device, unsigned index, unsigned start,
		unsigned count, const int32_t *fds)
	{
		Tap &tap = of(device);

		/* That of a removal is VFIO's own, and none of the device's. */
		tap.interrupts += index <= VFIO_PCI_MSIX_IRQ_INDEX;
		return tap.behind_->ops->set_irqs(tap.behind_, index, start, count, fds);
	}

	static int reset(struct plx_vfio_device *device)
	{
		Tap &tap = of(device);

		return tap.reset_fails ? plx_fail(EIO, "%s: no reset", device->name)
				       : tap.behind_->ops->reset(tap.behind_);
	}
};

/* The network driver on the emulated card, with a tap in between. */
class ConformanceFixture : public NetFixture
{
      protected:
	std::unique_ptr<Tap> tap;
	/* Before the driver sees the device. */
	std::function<void(Tap &)> prepare;
	std::function<void(uint8_t *header, size_t len)> on_rx_header;
	std::function<void(unsigned queue, uint32_t *len)> on_used;

	void SetUp() override
	{
		NetFixture::SetUp();
		config.hooks.arg = this;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			of(arg)->breaches.push_back(std::string(rule) + ": " + text);
		};
		config.hooks.rx_header = [](void *arg, unsigned, uint8_t *header, size_t len) {
			if (of(arg)->on_rx_header)
				of(arg)->on_rx_header(header, len);
		};
		config.hooks.used = [](void *arg, unsigned queue, uint32_t *, uint32_t *len) {
			if (of(arg)->on_used)
				of(arg)->on_used(queue, len);
		};
	}

	struct plx_vfio_device *device() override
	{
		tap = std::make_unique<Tap>(plx_emu_device(card));
		status_seen_ = 0;
		tap->after_write = [this](const Access &access) {
			int queue = Stepper::notified_queue(
				access.region, access.offset, (uint16_t)access.value);
			if (queue >= 0)
				notified((unsigned)queue);
		};
		if (prepare)
			prepare(*tap);
		return &tap->device;
	}

	bool accepted(unsigned bit)
	{
		std::map<unsigned, bool> all;

		plx_device_features(
			plx_eth_device(eth),
			[](void *arg, const struct plx_feature *feature) {
				(*static_cast<std::map<unsigned, bool> *>(arg))[feature->bit] =
					feature->accepted;
				return 0;
			},
			&all);
		return all.count(bit) && all[bit];
	}

	bool error_says(const std::string &words)
	{
		return std::string(plx_error()).find(words) != std::string::npos;
	}

	/* What was written to the status register of the modern interface since the last call. */
	std::vector<uint8_t> take_status_writes()
	{
		std::vector<uint8_t> values;
		uint64_t at = window(VIRTIO_PCI_CAP_COMMON_CFG)->offset;

		for (; status_seen_ < tap->log.size(); status_seen_++) {
			const Access &a = tap->log[status_seen_];

			if (a.write && a.region == window(VIRTIO_PCI_CAP_COMMON_CFG)->bar &&
				a.offset == at + VIRTIO_PCI_COMMON_DEVICE_STATUS)
				values.push_back((uint8_t)a.value);
		}
		return values;
	}

	/* One of the card's own structures; none without the modern interface. */
	std::optional<Structure> window(uint8_t type)
	{
		for (const Structure &s : tap->structures())
			if (s.type == type)
				return s;
		return std::nullopt;
	}

      private:
	size_t status_seen_ = 0;

	static ConformanceFixture *of(void *arg)
	{
		return static_cast<ConformanceFixture *>(arg);
	}
};

#endif
