/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_NET_FIXTURE_H
#define PLX_TESTS_NET_FIXTURE_H

#include "port_fixture.h"

extern "C" {
#include "drivers/drivers.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "emu/emu.h"
#include "virtio/virtio_reg.h"
}

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>

/*
 * Stands between the driver and a card that moves only when it is stepped: a driver that waits for
 * the answer to a command would wait in vain, so the card is stepped when its control queue is
 * notified.
 */
class Stepper
{
      public:
	struct plx_vfio_device device = {}; /* first, since the seam knows it by its address */

	Stepper(struct plx_vfio_device *behind, std::function<void(unsigned)> notified)
	    : behind_(behind), notified_(std::move(notified))
	{
		static struct plx_vfio_ops ops;

		device = *behind;
		ops.name = "stepper";
		ops.read = [](struct plx_vfio_device *d, unsigned region, uint64_t offset,
				   void *value, size_t len) {
			return of(d).behind_->ops->read(of(d).behind_, region, offset, value, len);
		};
		ops.write = write;
		ops.map = [](struct plx_vfio_device *d, unsigned region, uint64_t offset,
				  size_t len, void **address) {
			return of(d).behind_->ops->map(of(d).behind_, region, offset, len, address);
		};
		ops.unmap = behind->ops->unmap;
		ops.set_irqs = [](struct plx_vfio_device *d, unsigned index, unsigned start,
				       unsigned count, const int32_t *fds) {
			return of(d).behind_->ops->set_irqs(
				of(d).behind_, index, start, count, fds);
		};
		ops.unmask_irq = [](struct plx_vfio_device *d, unsigned index) {
			return of(d).behind_->ops->unmask_irq(of(d).behind_, index);
		};
		ops.reset = [](struct plx_vfio_device *d) {
			return of(d).behind_->ops->reset(of(d).behind_);
		};
		ops.close = [](struct plx_vfio_device *d) { plx_vfio_close(of(d).behind_); };
		device.ops = &ops;
	}

	/* The queue that a write to a register notifies; none when it is another register. */
	static int notified_queue(unsigned region, uint64_t offset, uint16_t value)
	{
		if (region == 4 && offset >= 0x3000)
			return (int)(offset - 0x3000) / 4;
		return region == 0 && offset == VIRTIO_PCI_LEGACY_QUEUE_NOTIFY ? value : -1;
	}

      private:
	struct plx_vfio_device *behind_;
	std::function<void(unsigned)> notified_;

	static Stepper &of(struct plx_vfio_device *device)
	{
		return *reinterpret_cast<Stepper *>(device);
	}

	static int write(struct plx_vfio_device *device, unsigned region, uint64_t offset,
		const void *value, size_t len)
	{
		Stepper &stepper = of(device);
		uint16_t word = 0;
		int err = stepper.behind_->ops->write(stepper.behind_, region, offset, value, len);
		int queue;

		std::memcpy(&word, value, std::min(len, sizeof(word)));
		queue = notified_queue(region, offset, word);
		if (queue >= 0)
			stepper.notified_((unsigned)queue);
		return err;
	}
};

/*
 * The network driver on the emulated card, both in the test's hands: the card moves only when the
 * test steps it, and every rule that the driver breaks fails the test.
 */
class NetFixture : public PortFixture
{
      protected:
	struct plx_emu *card = nullptr;
	struct plx_emu_config config = {};
	struct plx_virtio_limits limits = PLX_VIRTIO_LIMITS_DEFAULT;
	std::vector<std::string> breaches;
	bool breaches_allowed = false;

	void SetUp() override
	{
		PortFixture::SetUp();
		plx_emu_config_init(&config);
		config.peer = "none";
		config.hooks.arg = &breaches;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			static_cast<std::vector<std::string> *>(arg)->push_back(
				std::string(rule) + ": " + text);
		};
		pool_config.count = 2048;
	}

	void TearDown() override
	{
		PortFixture::TearDown();
		if (!breaches_allowed) {
			for (const std::string &breach : breaches)
				ADD_FAILURE() << "the driver broke " << breach;
		}
	}

	/* What the driver is given; another test may stand in between. */
	virtual struct plx_vfio_device *device()
	{
		stepper = std::make_unique<Stepper>(
			plx_emu_device(card), [this](unsigned queue) { notified(queue); });
		return &stepper->device;
	}
	std::unique_ptr<Stepper> stepper;

	/* Receive queues have even numbers, and the control queue one behind all of theirs. */
	void notified(unsigned queue)
	{
		if (queue % 2 == 0 && queue >= 2u * eth_config.queue_pairs)
			step();
	}

	/* Plug the card in and open it. */
	int open_port(const std::string &options) override
	{
		struct plx_virtio *virtio;
		struct plx_address address;
		int err;

		EXPECT_EQ(plx_emu_create(ctx->mem, &ctx->log, &config, &card), 0) << plx_error();
		EXPECT_EQ(plx_address_parse(&address, ("emu:net" + options).c_str()), 0);
		err = plx_drivers_open_virtio(ctx, device(), VIRTIO_ID_NET, &address, &virtio);
		if (!err) {
			virtio->limits = limits;
			err = plx_drivers_open_eth(ctx, virtio, &address, &eth);
		}
		plx_address_free(&address);
		return err;
	}

	void close() override
	{
		PortFixture::close();
		if (card)
			plx_emu_destroy(card);
		card = nullptr;
	}

	void step()
	{
		while (plx_emu_step(card))
			;
	}

	/* Send one frame; it is gone afterwards, one way or the other. */
	int send(struct plx_packet *packet)
	{
		int ret = plx_eth_tx_burst(txq(), &packet, 1);

		if (ret <= 0)
			plx_packet_free(packet);
		return ret;
	}

	/* What the card's other end sees next; empty when there is nothing. */
	std::vector<uint8_t> sent()
	{
		std::vector<uint8_t> frame(65536);

		frame.resize(plx_emu_take(card, 0, frame.data(), frame.size()));
		return frame;
	}

	/* Receive all there is, a burst of @count at a time. */
	std::vector<std::vector<uint8_t>> receive(unsigned count = 32)
	{
		std::vector<std::vector<uint8_t>> frames;
		std::vector<struct plx_packet *> packets(count);
		int n;

		while ((n = plx_eth_rx_burst(rxq(), packets.data(), count)) > 0)
			for (int i = 0; i < n; i++) {
				frames.push_back(bytes_of(packets[(size_t)i]));
				EXPECT_EQ(frames.back().size(), packets[(size_t)i]->len);
				plx_packet_free(packets[(size_t)i]);
			}
		last_result = n;
		return frames;
	}

	int last_result = 0;

	/* One frame in each direction. */
	void expect_traffic()
	{
		auto frame = make_frame(100, 1);

		ASSERT_EQ(send(build(frame)), 1) << plx_error();
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
		EXPECT_EQ(sent(), frame);
		EXPECT_EQ(receive(), std::vector<std::vector<uint8_t>>{frame});
	}
};

#endif
