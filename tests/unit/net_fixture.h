/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_NET_FIXTURE_H
#define PLX_TESTS_NET_FIXTURE_H

extern "C" {
#include "drivers/drivers.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "emu/emu.h"
#include "virtio/virtio_reg.h"
}

#include <pollux/pollux.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

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
class NetFixture : public ::testing::Test
{
      protected:
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_emu *card = nullptr;
	struct plx_eth *eth = nullptr;
	struct plx_emu_config config = {};
	struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config eth_config = PLX_ETH_CONFIG_INIT;
	struct plx_virtio_limits limits = PLX_VIRTIO_LIMITS_DEFAULT;
	std::vector<std::string> messages;
	std::vector<std::string> breaches;
	bool breaches_allowed = false;

	void SetUp() override
	{
		struct plx_context_config ctx_config = PLX_CONTEXT_CONFIG_INIT;

		ctx_config.page_size = 4096;
		ctx_config.address_space = UINT64_C(1) << 30;
		ctx_config.log_arg = &messages;
		ctx_config.log = [](void *arg, enum plx_log_level, const char *message) {
			static_cast<std::vector<std::string> *>(arg)->push_back(message);
		};
		ASSERT_EQ(plx_context_create(&ctx_config, &ctx), 0) << plx_error();
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
		close();
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
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

	/* Plug the card in and open it. Return: as plx_eth_open(). */
	int try_open(const char *options = "")
	{
		struct plx_virtio *virtio;
		struct plx_address address;
		int err;

		EXPECT_EQ(plx_emu_create(ctx->mem, &ctx->log, &config, &card), 0) << plx_error();
		EXPECT_EQ(
			plx_address_parse(&address, (std::string("emu:net") + options).c_str()), 0);
		err = plx_drivers_open_virtio(ctx, device(), VIRTIO_ID_NET, &address, &virtio);
		if (!err) {
			virtio->limits = limits;
			err = plx_drivers_open_eth(ctx, virtio, &address, &eth);
		}
		plx_address_free(&address);
		if (err)
			eth = nullptr;
		return err;
	}

	int try_configure()
	{
		if (!pool) {
			EXPECT_EQ(plx_pool_create(ctx, &pool_config, &pool), 0) << plx_error();
		}
		eth_config.pool = pool;
		return plx_eth_configure(eth, &eth_config);
	}

	/* From nothing to a running device. */
	void start(const char *options = "")
	{
		ASSERT_EQ(try_open(options), 0) << plx_error();
		ASSERT_EQ(try_configure(), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	void close()
	{
		plx_eth_close(eth);
		eth = nullptr;
		if (card)
			plx_emu_destroy(card);
		card = nullptr;
	}

	void step()
	{
		while (plx_emu_step(card))
			;
	}

	struct plx_eth_rxq *rxq()
	{
		return plx_eth_rxq(eth, 0);
	}

	struct plx_eth_txq *txq()
	{
		return plx_eth_txq(eth, 0);
	}

	uint64_t counter(const std::string &name)
	{
		struct Search {
			const std::string &name;
			uint64_t value;
			bool found;
		} search = {name, 0, false};

		plx_eth_counters(
			eth,
			[](void *arg, const struct plx_eth_counter *c) {
				auto *s = static_cast<Search *>(arg);
				if (s->name == c->name) {
					s->value = c->value;
					s->found = true;
				}
				return 0;
			},
			&search);
		EXPECT_TRUE(search.found) << "there is no counter " << name;
		return search.value;
	}

	/* --- frames --- */

	static std::vector<uint8_t> make_frame(size_t len, unsigned seed)
	{
		std::vector<uint8_t> frame(len);

		for (size_t i = 0; i < len; i++)
			frame[i] = (uint8_t)(seed * 131 + i * 7 + (i >> 8));
		return frame;
	}

	/* The data of a whole chain. */
	static std::vector<uint8_t> bytes_of(const struct plx_packet *packet)
	{
		std::vector<uint8_t> bytes;

		for (unsigned left = packet->segments; left && packet; left--) {
			const uint8_t *data = plx_packet_data(packet);

			bytes.insert(bytes.end(), data, data + packet->data_len);
			packet = packet->next;
		}
		return bytes;
	}

	/* A frame of one packet for each length given; their data is a run of one frame. */
	struct plx_packet *build(const std::vector<uint8_t> &frame, std::vector<size_t> pieces = {},
		uint16_t headroom = 128)
	{
		struct plx_pool_cache *cache;
		struct plx_packet *first = nullptr, **link = &first;
		size_t at = 0;

		if (pieces.empty())
			pieces = {frame.size()};
		EXPECT_EQ(plx_pool_cache_create(pool, &cache), 0);
		for (size_t piece : pieces) {
			struct plx_packet *packet = nullptr;

			EXPECT_EQ(plx_pool_get(cache, &packet, 1), 1u);
			plx_packet_prepare(packet, headroom);
			std::memcpy(plx_packet_data(packet), &frame[at], piece);
			packet->data_len = (uint16_t)piece;
			at += piece;
			*link = packet;
			link = &packet->next;
		}
		first->len = (uint32_t)frame.size();
		first->segments = (uint16_t)pieces.size();
		plx_pool_cache_destroy(cache);
		return first;
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

	/* Every packet is where it belongs. */
	void expect_all_back()
	{
		EXPECT_EQ(plx_pool_available(pool), plx_pool_count(pool));
	}
};

#endif
