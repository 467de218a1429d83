/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_QEMU_NET_H
#define PLX_TESTS_QEMU_NET_H

extern "C" {
#include "drivers/drivers.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/virtio_reg.h"
}

#include "qtest_device.h"
#include "wire.h"

#include <pollux/pollux.h>

#include <gtest/gtest.h>

#include <memory>

namespace qemu
{

/* Where the driver has the common configuration, or the legacy registers. */
struct Registers {
	unsigned region;
	uint64_t offset;
	bool legacy;
};

/*
 * The network driver on QEMU's network device. Everything is given back at the end of each test:
 * every packet to its pool, and QEMU ends without a complaint of its own.
 */
class QemuNet : public ::testing::Test
{
      protected:
	Qtest machine;
	Wire wire;
	Link *link = &wire;
	std::unique_ptr<QtestDevice> device;
	struct plx_context *ctx = nullptr;
	struct plx_pool *pool = nullptr;
	struct plx_pool_cache *cache = nullptr;
	struct plx_eth *eth = nullptr;
	struct plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config eth_config = PLX_ETH_CONFIG_INIT;
	struct plx_virtio_limits limits = PLX_VIRTIO_LIMITS_DEFAULT;
	uint64_t memory_at = Qtest::kHigh;
	bool translated = false;   /* what the seam says of an IOMMU */
	bool may_complain = false; /* QEMU */
	std::vector<std::string> messages;
	std::string statuses; /* every access to the status: "w01 r01 ..." */
	/* Frames from the wire and to it: numbered on through stops and starts. */
	Sequence received, arrived;
	uint32_t injected = 0, sent = 0;

	void SetUp() override;
	void TearDown() override;

	/*
	 * Start QEMU with a network device of these properties, and the wire on its other end. It
	 * is a socket that is connected from the start; one that has yet to connect, as that of
	 * "-netdev stream", loses what is sent before.
	 */
	void boot(const std::string &properties);
	/* The same on another network backend, which is called n0. */
	void boot_on(const std::string &netdev, const std::string &properties,
		std::vector<std::pair<int, int>> files);
	/* Return: as plx_eth_open(). */
	int try_open(const std::string &options = "");
	int try_configure();
	/* From a booted machine to a running device. */
	void start(const std::string &options = "");
	void close();
	/* Every packet is in its pool. */
	void expect_all_back();

	/* --- what is said of the device --- */

	struct plx_eth_info info();
	uint64_t counter(const std::string &name);
	std::vector<struct plx_feature> features();
	bool offered(unsigned bit);
	bool accepted(unsigned bit);
	/* The statuses that the trace tells, in the same form as @statuses. */
	std::string traced_statuses();

	/* --- what the device itself says --- */

	Registers registers();
	/* What the driver wrote there, as the device holds it. */
	uint64_t features_in_device();
	/* Of a queue: its entries, and whether it is live. */
	std::pair<unsigned, bool> queue_in_device(uint16_t index);
	/* A field of the device configuration. */
	uint64_t configuration(unsigned offset, unsigned width);

	/* --- frames --- */

	/* A frame for sending, in as many packets as it needs and now and then one more. */
	struct plx_packet *build(const Frame &frame, unsigned variant);
	static Frame bytes_of(const struct plx_packet *packet);
	/*
	 * One round: send and inject what is due, look at what came. Return: frames moved; -errno.
	 */
	int pump(uint32_t send_to, uint32_t inject_to, bool gaps = false);
	/*
	 * So many frames more in each direction, all of which must come through; with gaps allowed,
	 * those behind a loss that happened before.
	 */
	void exchange(uint32_t count, bool gaps = false);
	/* The length of every frame; 0: as length_of() says. */
	size_t fixed_length = 0;

      private:
	Registers registers_ = {};
	uint64_t configuration_ = 0;
	uint64_t window_of(uint8_t type, unsigned *region);
	uint64_t peek(uint64_t offset, unsigned width);
	void poke(uint64_t offset, unsigned width, uint64_t value);
	void watch_status();
	int send_due(uint32_t to);
	int receive_due(unsigned queue, bool gaps);
};

/* "packed=on" and the like. */
inline std::string property(const std::string &name, bool on)
{
	return "," + name + (on ? "=on" : "=off");
}

} // namespace qemu

#endif
