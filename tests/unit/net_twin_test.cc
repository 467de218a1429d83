/* SPDX-License-Identifier: BSD-3-Clause */
#include "lies.h"
#include "net_fixture.h"

#include <ostream>
#include <random>

/*
 * What a port does does not depend on the CPU: the same life is lived twice, with all the paths
 * that there are and with simd=off, and all that an application or a card can see of it is the
 * same. Frames are good and bad, of three pools, whole and in pieces, with garbage in their
 * headroom; the card lies now and then.
 */

namespace
{

struct Variant {
	const char *name;
	const char *options;
	bool packed, in_order, event_idx, legacy;
	uint16_t ring;
	uint32_t offloads;
};

void PrintTo(const Variant &v, std::ostream *to)
{
	*to << v.name;
}

class NetTwin : public NetFixture, public ::testing::WithParamInterface<Variant>
{
      protected:
	static constexpr unsigned kSeeds = 9, kSteps = 250, kBurst = 80;
	static constexpr unsigned kPools = 3;

	std::mt19937 random, lies;
	std::vector<std::string> life; /* what was seen of it */
	struct plx_pool *pools[kPools] = {};
	unsigned lie = 0; /* one completion in so many is none; 0: the card is honest */

	void SetUp() override
	{
		NetFixture::SetUp();
		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, GetParam().packed);
		plx_emu_config_offer(&config, VIRTIO_F_IN_ORDER, GetParam().in_order);
		plx_emu_config_offer(&config, VIRTIO_F_EVENT_IDX, GetParam().event_idx);
		if (GetParam().legacy)
			config.interface = PLX_EMU_TRANSITIONAL;
		config.queue_size = GetParam().packed ? 256 : GetParam().ring;
		eth_config.rx_ring = eth_config.tx_ring = GetParam().ring;
		config.hooks.arg = this;
		config.hooks.used = [](void *arg, unsigned queue, uint32_t *id, uint32_t *len) {
			static_cast<NetTwin *>(arg)->bend(queue, id, len);
		};
		config.hooks.used_index = [](void *arg, unsigned, uint16_t *index) {
			*index = (uint16_t)(*index + static_cast<NetTwin *>(arg)->jump());
		};
		config.hooks.used_extra = [](void *arg, unsigned) {
			return (unsigned)std::max(static_cast<NetTwin *>(arg)->jump(), 0);
		};
		config.hooks.breach = nullptr; /* a card that lies finds faults with itself */
		eth_config.offloads = GetParam().offloads;
	}

	unsigned pick(unsigned below)
	{
		return (unsigned)(random() % below);
	}

	void bend(unsigned queue, uint32_t *id, uint32_t *len)
	{
		if (queue <= 1 && lie && lies() % lie == 0)
			bend_completion(lies, GetParam().ring, 2048, id, len);
	}

	/* By how much the card is ahead of the truth. */
	int jump()
	{
		return lie && lies() % (4 * lie) == 0 ? (int)(lies() % 12) - 2 : 0;
	}

	void note(const std::string &what, uint64_t value)
	{
		life.push_back(what + " " + std::to_string(value));
	}

	void note_bytes(const char *what, const std::vector<uint8_t> &bytes)
	{
		uint64_t sum = 0;

		for (uint8_t byte : bytes)
			sum = sum * 31 + byte;
		note(what + std::string(" of ") + std::to_string(bytes.size()), sum);
	}

	/* --- frames to send --- */

	struct plx_packet *one_of(unsigned which, unsigned len)
	{
		static const uint16_t headrooms[] = {0, 5, 9, 10, 11, 12, 13, 64, 128};
		struct plx_packet *packet;

		pool = pools[which];
		packet = build(make_frame(len, pick(100)), {},
			pick(4) ? (uint16_t)128 : headrooms[pick(9)]);
		for (unsigned i = 0; i < packet->data_off && pick(2); i++)
			plx_packet_buffer(packet)[i] = (uint8_t)random();
		return packet;
	}

	/* Most are plain. Of the rest some cannot be sent. */
	struct plx_packet *new_frame(unsigned which)
	{
		struct plx_packet *packet = one_of(which, 60 + pick(200));

		switch (pick(40)) {
		case 0:
			packet->len = packet->data_len = 0;
			break;
		case 1:
			packet->len = packet->data_len = (uint16_t)(1513 + pick(4));
			break;
		case 2: /* two segments, perhaps of two pools */
			packet->next = one_of(pick(kPools), 1 + pick(100));
			packet->len += packet->next->data_len;
			packet->segments = 2;
			break;
		case 3: /* one segment that says it is two */
			packet->segments = 2;
			break;
		case 4:
		case 5: /* whether or not that was negotiated */
			packet->offload = PLX_PACKET_CSUM;
			packet->csum_start = (uint16_t)(14 + pick(60));
			packet->csum_offset = (uint8_t)pick(20);
			break;
		case 6: /* of no meaning without an offload */
			packet->csum_offset = 6;
			break;
		case 7:
			packet->offload = (uint8_t)(1u << pick(8));
			break;
		case 8:
			packet->next = packet; /* the same: it has one segment */
		}
		return packet;
	}

	static unsigned header_len()
	{
		return GetParam().legacy ? 10 : 12;
	}

	/* One that is sent with a header in its headroom, which asks for nothing. */
	static bool is_plain(const struct plx_packet *packet)
	{
		return packet->segments == 1 && !packet->offload && packet->data_len &&
		       packet->data_len <= 1514 && packet->data_off >= header_len();
	}

	static void expect_no_header(const struct plx_packet *packet)
	{
		for (unsigned i = 1; i <= header_len(); i++)
			ASSERT_EQ(plx_packet_data(packet)[-(int)i], 0) << i;
	}

	int send_burst()
	{
		std::vector<struct plx_packet *> burst;
		std::vector<bool> plain;
		unsigned which = pick(kPools);
		int taken;

		for (unsigned left = pick(kBurst); left; left--) {
			burst.push_back(new_frame(pick(30) ? which : pick(kPools)));
			plain.push_back(is_plain(burst.back()));
		}
		taken = plx_eth_tx_burst(txq(), burst.data(), (unsigned)burst.size());
		note("sent", (uint64_t)taken);
		for (int i = 0; i < (int)burst.size(); i++)
			if (i >= taken)
				plx_packet_free(burst[(size_t)i]);
			else if (plain[(size_t)i])
				expect_no_header(burst[(size_t)i]);
		return taken;
	}

	/* --- all else --- */

	int receive_burst()
	{
		std::vector<struct plx_packet *> burst(1 + pick(kBurst));
		int n = plx_eth_rx_burst(rxq(), burst.data(), (unsigned)burst.size());

		note("received", (uint64_t)n);
		for (int i = 0; i < n; i++) {
			const struct plx_packet *packet = burst[(size_t)i];

			note("at", packet->data_off);
			note("room behind", plx_packet_tailroom(packet));
			note("segments", packet->segments);
			note("left to do", packet->offload);
			note("found out", packet->received);
			note_bytes("frame", bytes_of(packet));
			plx_packet_free(burst[(size_t)i]);
		}
		return n;
	}

	void card_moves()
	{
		for (unsigned left = pick(4); left; left--)
			(void)plx_emu_step(card);
		for (auto frame = sent(); !frame.empty(); frame = sent())
			note_bytes("on the wire", frame);
	}

	void frames_arrive()
	{
		for (unsigned left = pick(60); left; left--) {
			auto frame = make_frame(60 + pick(400), pick(100));

			(void)plx_emu_inject(card, 0, frame.data(), frame.size());
		}
	}

	void note_counters()
	{
		static const char *const names[] = {"rx0.packets", "rx0.bytes", "rx0.no_buffers",
			"rx0.drop.short_header", "rx0.drop.bad_length", "rx0.broken", "tx0.packets",
			"tx0.bytes", "tx0.full", "tx0.drop.bad_length", "tx0.drop.bad_segments",
			"tx0.drop.bad_offload", "tx0.broken"};

		for (const char *name : names)
			note(name, counter(name));
	}

	void start_again()
	{
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		note_counters();
		for (struct plx_pool *one : pools)
			ASSERT_EQ(plx_pool_available(one), plx_pool_count(one));
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	void move()
	{
		int ret = 0;

		switch (pick(6)) {
		case 0:
			frames_arrive();
			break;
		case 1:
		case 2:
			ret = send_burst();
			break;
		case 3:
			ret = receive_burst();
			break;
		case 4:
			card_moves();
			break;
		default:
			if (pick(8))
				return;
			ret = plx_eth_tx_burst(txq(), nullptr, 0);
		}
		if (ret < 0 || !pick(100))
			start_again();
	}

	std::vector<std::string> live(unsigned seed, const std::string &options)
	{
		random.seed(seed);
		lies.seed(seed);
		lie = (unsigned[]){0, 500, 50}[seed % 3];
		life.clear();
		for (unsigned i = 0; i < kPools; i++) {
			pool_config.data_size = (uint16_t)(2048 + 64 * i);
			EXPECT_EQ(plx_pool_create(ctx, &pool_config, &pools[i]), 0) << plx_error();
		}
		pool = pools[0];
		start(GetParam().options + options);
		for (unsigned i = 0; i < kSteps && !HasFailure(); i++)
			move();
		EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
		note_counters();
		close();
		for (struct plx_pool *one : pools)
			EXPECT_EQ(plx_pool_destroy(one), 0) << plx_error();
		pool = nullptr;
		return life;
	}
};

TEST_P(NetTwin, LivesTheSameLifeWithoutWideRegisters)
{
	for (unsigned seed = 0; seed < kSeeds && !HasFailure(); seed++) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		std::vector<std::string> wide = live(seed, ""), narrow = live(seed, ",simd=off");

		for (size_t i = 0; i < std::min(wide.size(), narrow.size()); i++)
			ASSERT_EQ(wide[i], narrow[i]) << i;
		EXPECT_EQ(wide.size(), narrow.size());
		EXPECT_GT(wide.size(), 300u) << "nothing happened";
	}
}

const Variant variants[] = {
	{"split", "", false, false, false, false, 256, 0},
	{"split_8", "", false, false, true, false, 8, 0},
	{"split_in_order", "", false, true, true, false, 64, 0},
	{"split_csum", "", false, false, true, false, 64, PLX_ETH_OFFLOAD_TX_CSUM},
	{"packed", "", true, false, false, false, 256, 0},
	{"packed_5", "", true, false, true, false, 5, 0},
	{"packed_100", "", true, false, true, false, 100, 0},
	{"packed_in_order", "", true, true, true, false, 37, 0},
	{"packed_csum", "", true, false, true, false, 64,
		PLX_ETH_OFFLOAD_TX_CSUM | PLX_ETH_OFFLOAD_RX_CSUM},
	{"legacy", ",legacy=on", false, false, true, true, 64, 0},
	{"merged", ",mrg_rxbuf=on", true, false, true, false, 64, 0},
};

INSTANTIATE_TEST_SUITE_P(Layouts, NetTwin, ::testing::ValuesIn(variants),
	[](const auto &info) { return std::string(info.param.name); });

} // namespace
