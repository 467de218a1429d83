/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_control.h"

#include <endian.h>

#include <set>

/*
 * Checksums, segmentation and hashes in both directions (virtio 1.4, 5.1.9.2 and 5.1.9.4). What is
 * expected is calculated here, apart from driver and card.
 */

namespace
{

using Bytes = std::vector<uint8_t>;

uint16_t get16(const Bytes &b, size_t at)
{
	return (uint16_t)(b[at] << 8 | b[at + 1]);
}

void put16(Bytes &b, size_t at, unsigned value)
{
	b[at] = (uint8_t)(value >> 8);
	b[at + 1] = (uint8_t)value;
}

uint32_t get32(const Bytes &b, size_t at)
{
	return (uint32_t)get16(b, at) << 16 | get16(b, at + 2);
}

/* RFC 1071 */
uint32_t add(uint32_t sum, const Bytes &b, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		sum += (i - from) % 2 ? b[i] : (uint32_t)b[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A kind of frame: IP version and protocol, with or without a VLAN tag. */
struct Kind {
	const char *name;
	unsigned version;
	bool tcp;
	bool tagged;

	size_t ip() const
	{
		return tagged ? 18 : 14;
	}
	size_t transport() const
	{
		return ip() + (version == 4 ? 20 : 40);
	}
	size_t headers() const
	{
		return transport() + (tcp ? 32 : 8);
	}
	size_t csum_offset() const
	{
		return tcp ? 16 : 6;
	}
	uint8_t segmentation() const
	{
		return !tcp ? PLX_PACKET_USO : version == 4 ? PLX_PACKET_TSO4 : PLX_PACKET_TSO6;
	}
};

const Kind kinds[] = {{"tcp4", 4, true, false}, {"tcp6", 6, true, false}, {"udp4", 4, false, false},
	{"udp6", 6, false, false}, {"tcp4_tagged", 4, true, true}, {"udp6_tagged", 6, false, true}};

uint32_t pseudo(const Bytes &f, const Kind &k, size_t len)
{
	uint32_t sum = (k.tcp ? 6u : 17u) + (uint32_t)(len >> 16) + (uint32_t)(len & 0xffff);

	return k.version == 4 ? add(sum, f, k.ip() + 12, k.ip() + 20)
			      : add(sum, f, k.ip() + 8, k.ip() + 40);
}

bool csum_is_right(const Bytes &f, const Kind &k)
{
	if (k.version == 4 && add(0, f, k.ip(), k.ip() + 20) != 0xffff)
		return false;
	return add(pseudo(f, k, f.size() - k.transport()), f, k.transport(), f.size()) == 0xffff;
}

/* A whole frame with all its checksums. */
Bytes make(const Kind &k, size_t payload)
{
	Bytes f(k.headers() + payload);
	size_t ip = k.ip(), t = k.transport();

	for (size_t i = 0; i < f.size(); i++)
		f[i] = (uint8_t)(i * 7 + (i >> 8));
	f[0] = f[6] = 2;
	if (k.tagged)
		put16(f, 12, 0x8100);
	put16(f, ip - 2, k.version == 4 ? 0x0800 : 0x86dd);
	if (k.version == 4) {
		f[ip] = 0x45;
		put16(f, ip + 2, (unsigned)(f.size() - ip));
		put16(f, ip + 6, 0);
		f[ip + 9] = k.tcp ? 6 : 17;
		put16(f, ip + 10, 0);
		put16(f, ip + 10, ~add(0, f, ip, ip + 20) & 0xffff);
	} else {
		f[ip] = 0x60;
		put16(f, ip + 4, (unsigned)(f.size() - t));
		f[ip + 6] = k.tcp ? 6 : 17;
	}
	if (k.tcp) {
		f[t + 12] = 0x80;
		f[t + 13] = 0x19; /* ACK, PSH and FIN */
	} else {
		put16(f, t + 4, (unsigned)(f.size() - t));
	}
	put16(f, t + k.csum_offset(), 0);
	put16(f, t + k.csum_offset(), ~add(pseudo(f, k, f.size() - t), f, t, f.size()) & 0xffff);
	return f;
}

/* The same as its sender leaves it to the device. */
Bytes unfinished(const Kind &k, size_t payload)
{
	Bytes f = make(k, payload);

	put16(f, k.transport() + k.csum_offset(), pseudo(f, k, f.size() - k.transport()));
	return f;
}

const uint32_t kAll = PLX_ETH_OFFLOAD_TX_CSUM | PLX_ETH_OFFLOAD_TX_TSO4 | PLX_ETH_OFFLOAD_TX_TSO6 |
		      PLX_ETH_OFFLOAD_TX_USO | PLX_ETH_OFFLOAD_RX_CSUM | PLX_ETH_OFFLOAD_RX_TSO4 |
		      PLX_ETH_OFFLOAD_RX_TSO6 | PLX_ETH_OFFLOAD_RX_USO4 | PLX_ETH_OFFLOAD_RX_USO6;

class Offload : public ControlFixture, public ::testing::WithParamInterface<ControlLayout>
{
      protected:
	void SetUp() override
	{
		ControlFixture::SetUp();
		use(GetParam());
		config.queue_size = 128;
		eth_config.offloads = kAll;
		legacy = GetParam() == CTRL_LEGACY || GetParam() == CTRL_APART;
	}
	bool legacy = false;

	struct plx_packet *ask(const Kind &k, const Bytes &frame, uint8_t offload, unsigned mss = 0)
	{
		std::vector<size_t> pieces;

		for (size_t left = frame.size(); left; left -= pieces.back())
			pieces.push_back(std::min<size_t>(left, 1900));
		struct plx_packet *packet = build(frame, pieces);
		packet->offload = offload;
		packet->csum_start = (uint16_t)k.transport();
		packet->csum_offset = (uint8_t)k.csum_offset();
		packet->gso_size = (uint16_t)mss;
		return packet;
	}

	int prepared(struct plx_packet *packet)
	{
		return plx_eth_tx_prepare(txq(), &packet, 1);
	}

	/* A frame that cannot be sent, and the words that say so. */
	void expect_refused(struct plx_packet *packet, const std::string &words)
	{
		uint64_t before = counter("tx0.drop.bad_offload");

		EXPECT_EQ(prepared(packet), 0) << words;
		EXPECT_TRUE(error_says(words)) << plx_error();
		EXPECT_EQ(send(packet), 1);
		EXPECT_EQ(counter("tx0.drop.bad_offload"), before + 1) << words;
		step();
		EXPECT_TRUE(sent().empty());
	}

	static struct virtio_net_hdr header_of(const Kind &k, unsigned gso_type, unsigned mss)
	{
		struct virtio_net_hdr header = {};

		header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header.gso_type = (uint8_t)gso_type;
		header.gso_size = htole16((uint16_t)mss);
		header.hdr_len = htole16((uint16_t)k.headers());
		header.csum_start = htole16((uint16_t)k.transport());
		header.csum_offset = htole16((uint16_t)k.csum_offset());
		return header;
	}

	static unsigned gso_type(const Kind &k)
	{
		return !k.tcp           ? VIRTIO_NET_HDR_GSO_UDP_L4
		       : k.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					: VIRTIO_NET_HDR_GSO_TCPV6;
	}

	/* What is received of one frame; nothing when it was dropped. */
	struct plx_packet *arrive(const Bytes &frame, const struct virtio_net_hdr *header)
	{
		struct plx_packet *packet = nullptr;

		EXPECT_EQ(plx_emu_inject_with(card, 0, header, frame.data(), frame.size()), 0)
			<< plx_error();
		step();
		return plx_eth_rx_burst(rxq(), &packet, 1) == 1 ? packet : nullptr;
	}
};

TEST_P(Offload, ChecksumsAreCompletedByTheDevice)
{
	run();
	for (const Kind &k : kinds)
		for (size_t payload : {0, 1, 2, 17, 100, 1001, 1400}) {
			struct plx_packet *packet = ask(k, unfinished(k, payload), PLX_PACKET_CSUM);

			ASSERT_EQ(prepared(packet), 1) << plx_error();
			ASSERT_EQ(send(packet), 1);
			step();
			Bytes got = sent();
			ASSERT_TRUE(csum_is_right(got, k)) << k.name << payload;
			ASSERT_EQ(got, make(k, payload)) << k.name << payload;
		}
	EXPECT_EQ(counter("tx0.drop.bad_offload"), 0u);
}

/* In one burst with others, and with one that asks in vain: what goes in runs goes in turn. */
TEST_P(Offload, ChecksumsAreAskedForInRuns)
{
	const Kind &k = kinds[0];
	std::vector<struct plx_packet *> burst;
	std::vector<Bytes> want;

	run();
	for (unsigned round = 0; round < 20; round++) {
		burst.clear();
		want.clear();
		for (unsigned i = 0; i < 24; i++) {
			const size_t payload = 20 + 3 * i + round;
			struct plx_packet *packet;

			if (i % 3 == round % 3) {
				packet = build(make(k, payload));
			} else {
				packet = ask(k, unfinished(k, payload), PLX_PACKET_CSUM);
				if (i == 11)
					packet->csum_start = (uint16_t)(packet->len - 1);
			}
			burst.push_back(packet);
			if (!(i == 11 && packet->offload))
				want.push_back(make(k, payload));
		}
		ASSERT_EQ(plx_eth_tx_burst(txq(), burst.data(), 24), 24) << plx_error();
		step();
		for (const Bytes &frame : want)
			ASSERT_EQ(sent(), frame);
		ASSERT_TRUE(sent().empty());
	}
	EXPECT_EQ(counter("tx0.drop.bad_offload"), 14u);
}

TEST_P(Offload, LongFramesAreCutByTheDevice)
{
	config.backlog = 1 << 20;
	run();
	for (const Kind &k : kinds) {
		if (legacy && !k.tcp)
			continue; /* a bit that the legacy interface does not have */
		for (size_t payload : {100, 1400, 1401, 2800, 9999, 60000}) {
			const unsigned mss = 1400;
			Bytes whole = unfinished(k, payload);
			struct plx_packet *packet =
				ask(k, whole, (uint8_t)(PLX_PACKET_CSUM | k.segmentation()), mss);
			size_t done = 0, segments = (payload + mss - 1) / mss;

			ASSERT_EQ(prepared(packet), 1) << plx_error();
			ASSERT_EQ(send(packet), 1);
			step();
			for (size_t i = 0; i < segments; i++) {
				Bytes got = sent();
				size_t len = std::min<size_t>(mss, payload - done);

				ASSERT_EQ(got.size(), k.headers() + len) << k.name << " " << i;
				ASSERT_TRUE(csum_is_right(got, k)) << k.name << " " << i;
				ASSERT_TRUE(std::equal(got.begin() + (long)k.headers(), got.end(),
					whole.begin() + (long)(k.headers() + done)));
				if (k.tcp) {
					ASSERT_EQ(get32(got, k.transport() + 4),
						get32(whole, k.transport() + 4) + done);
					ASSERT_EQ(got[k.transport() + 13],
						i + 1 < segments ? 0x10 : 0x19);
				}
				done += len;
			}
			ASSERT_TRUE(sent().empty());
		}
	}
}

TEST_P(Offload, RequestsThatMakeNoSenseAreNamedAndDropped)
{
	const Kind &k = kinds[0];
	const uint8_t tso = PLX_PACKET_CSUM | PLX_PACKET_TSO4;
	Bytes frame = unfinished(k, 3000);
	struct plx_packet *packet;

	run();
	packet = ask(k, frame, PLX_PACKET_CSUM, 0);
	packet->csum_start = (uint16_t)(frame.size() - 1);
	expect_refused(packet, "checksum behind its end");
	expect_refused(ask(k, frame, PLX_PACKET_TSO4, 1400), "without PLX_PACKET_CSUM");
	expect_refused(ask(k, frame, tso, 0), "frames of 0 bytes");
	expect_refused(ask(k, frame, tso, 1500), "longer than the MTU");
	packet = ask(k, frame, tso, 1400);
	packet->csum_offset = 6;
	expect_refused(packet, "csum_offset");
	packet = ask(k, frame, tso | PLX_PACKET_TSO6, 1400);
	expect_refused(packet, "more than one kind");
	packet = ask(k, frame, 0x80, 1400);
	expect_refused(packet, "not negotiated");
	packet = build(frame, {40, 1500, frame.size() - 1540});
	packet->offload = tso;
	packet->csum_start = (uint16_t)k.transport();
	packet->csum_offset = 16;
	packet->gso_size = 1400;
	expect_refused(packet, "no whole transport header");
	packet = build(make(k, 100), {}, 0);
	packet->offload = PLX_PACKET_CSUM;
	packet->csum_start = (uint16_t)k.transport();
	packet->csum_offset = 16;
	expect_refused(packet, "no headroom");
	frame[k.transport() + 12] = 0x10;
	expect_refused(ask(k, frame, tso, 1400), "no whole transport header");
	plx_eth_stop(eth);
	expect_all_back();
}

TEST_P(Offload, NothingThatWasNotNegotiatedCanBeAskedFor)
{
	const Kind &k = kinds[0];

	eth_config.offloads = 0;
	run();
	plx_eth_info info;
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(info.offloads, 0u);
	expect_refused(ask(k, unfinished(k, 100), PLX_PACKET_CSUM), "not negotiated");
	EXPECT_EQ(send(build(make(k, 100))), 1);
	step();
	EXPECT_EQ(sent(), make(k, 100));
}

TEST_P(Offload, CongestionFlagGoesWithItsFeature)
{
	const Kind &k = kinds[0];
	Bytes frame = unfinished(k, 3000);
	const uint8_t tso = PLX_PACKET_CSUM | PLX_PACKET_TSO4;

	run();
	frame[k.transport() + 13] |= 0x80;
	ASSERT_EQ(send(ask(k, frame, tso, 1400)), 1);
	step();
	EXPECT_EQ(sent()[k.transport() + 13], 0x90) << "on the first segment";
	EXPECT_EQ(sent()[k.transport() + 13], 0x10) << "and no other";
	while (!sent().empty())
		;
	close();
	plx_emu_config_offer(&config, VIRTIO_NET_F_HOST_ECN, false);
	run();
	expect_refused(ask(k, frame, tso, 1400), "F_HOST_ECN");
}

TEST_P(Offload, GoodChecksumsAreKnown)
{
	run();
	for (const Kind &k : kinds) {
		Bytes frame = make(k, 100);
		struct plx_packet *packet = arrive(frame, nullptr);

		ASSERT_NE(packet, nullptr);
		EXPECT_EQ(packet->received, PLX_PACKET_CSUM_GOOD) << k.name;
		EXPECT_EQ(packet->offload, 0);
		EXPECT_EQ(bytes_of(packet), frame);
		plx_packet_free(packet);
		frame.back() ^= 1;
		packet = arrive(frame, nullptr);
		ASSERT_NE(packet, nullptr);
		EXPECT_EQ(packet->received, 0) << k.name;
		plx_packet_free(packet);
	}
}

/* A header was read as though it were aligned, which is for the pool's headroom to say. */
TEST_P(Offload, HeaderIsReadWhereverItLies)
{
	for (uint16_t headroom : {1, 33, 127, 130}) {
		const Kind &k = kinds[0];
		struct virtio_net_hdr header = header_of(k, gso_type(k), 1400);
		Bytes frame = unfinished(k, 1900);

		pool_config.headroom = headroom;
		run();
		ASSERT_FALSE(HasFatalFailure());
		struct plx_packet *packet = arrive(frame, &header);
		ASSERT_NE(packet, nullptr) << headroom;
		EXPECT_EQ(packet->offload, PLX_PACKET_CSUM | PLX_PACKET_TSO4) << headroom;
		EXPECT_EQ(packet->csum_start, k.transport());
		EXPECT_EQ(packet->gso_size, 1400u);
		EXPECT_EQ(bytes_of(packet), frame);
		plx_packet_free(packet);
		close();
		EXPECT_EQ(plx_pool_destroy(pool), 0) << plx_error();
		pool = nullptr;
	}
}

/* What its sender left undone is handed on, and can be sent on as it came. */
TEST_P(Offload, LargeFramesAreReceivedAndSentOn)
{
	run();
	for (const Kind &k : kinds) {
		if (legacy && !k.tcp)
			continue;
		Bytes frame = unfinished(k, 30000);
		struct virtio_net_hdr header = header_of(k, gso_type(k), 1400);
		struct plx_packet *packet = arrive(frame, &header);

		ASSERT_NE(packet, nullptr) << k.name;
		EXPECT_EQ(packet->offload, PLX_PACKET_CSUM | k.segmentation());
		EXPECT_EQ(packet->csum_start, k.transport());
		EXPECT_EQ(packet->csum_offset, k.csum_offset());
		EXPECT_EQ(packet->gso_size, 1400);
		EXPECT_EQ(bytes_of(packet), frame);
		ASSERT_EQ(send(packet), 1);
		step();
		size_t total = 0;
		for (Bytes got = sent(); !got.empty(); got = sent()) {
			EXPECT_TRUE(csum_is_right(got, k));
			total += got.size() - k.headers();
		}
		EXPECT_EQ(total, 30000u);
	}
	EXPECT_EQ(counter("rx0.drop.bad_gso"), 0u);
}

TEST_P(Offload, No38_ChecksumOutsideTheFrameIsIgnoredAndCounted)
{
	const Kind &k = kinds[0];
	Bytes frame = unfinished(k, 100);
	unsigned cases = 0;

	run();
	for (auto at : {std::pair<unsigned, unsigned>{65535, 65535}, {65535, 0}, {0, 65535},
		     {(unsigned)frame.size() - 1, 0}, {(unsigned)frame.size() - 2, 1}, {0, 256}}) {
		struct virtio_net_hdr header = header_of(k, VIRTIO_NET_HDR_GSO_NONE, 0);

		header.csum_start = htole16((uint16_t)at.first);
		header.csum_offset = htole16((uint16_t)at.second);
		struct plx_packet *packet = arrive(frame, &header);
		ASSERT_NE(packet, nullptr);
		EXPECT_EQ(packet->offload, 0);
		EXPECT_EQ(bytes_of(packet), frame);
		plx_packet_free(packet);
		EXPECT_EQ(counter("rx0.bad_csum"), ++cases);
	}
}

TEST_P(Offload, No39_SegmentationThatMakesNoSenseIsDroppedAndCounted)
{
	const Kind &k = kinds[0];
	Bytes frame = unfinished(k, 3000);
	std::vector<struct virtio_net_hdr> bad(8, header_of(k, VIRTIO_NET_HDR_GSO_TCPV4, 1400));
	unsigned cases = 0;

	bad[0].gso_type = 2;
	bad[1].gso_type = 0x7f;
	bad[2].gso_type = VIRTIO_NET_HDR_GSO_UDP;
	bad[3].gso_size = 0;
	bad[4].hdr_len = 0xffff;
	bad[5].flags = 0;
	bad[6].csum_start = 0xffff;
	bad[7].gso_type = VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN;
	run();
	for (auto &header : bad) {
		EXPECT_EQ(arrive(frame, &header), nullptr) << cases;
		EXPECT_EQ(counter("rx0.drop.bad_gso"), ++cases);
	}
	struct plx_packet *packet = arrive(make(k, 100), nullptr);
	ASSERT_NE(packet, nullptr) << "and traffic goes on";
	plx_packet_free(packet);
	plx_eth_stop(eth);
	expect_all_back();
}

TEST_P(Offload, SegmentationThatWasNotNegotiatedIsDropped)
{
	const Kind &k = kinds[1];
	struct virtio_net_hdr header = header_of(k, VIRTIO_NET_HDR_GSO_TCPV6, 1400);

	eth_config.offloads &= ~(uint32_t)PLX_ETH_OFFLOAD_RX_TSO6;
	run();
	EXPECT_EQ(arrive(unfinished(k, 3000), &header), nullptr);
	EXPECT_EQ(counter("rx0.drop.bad_gso"), 1u);
}

TEST_P(Offload, ReceiveOffloadsAreSwitchedWhileTheDeviceRuns)
{
	const uint64_t csum = UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM;
	const uint64_t tso4 = UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4;
	const uint64_t ecn = UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN;

	run();
	ASSERT_EQ(plx_eth_set_rx_offloads(eth, PLX_ETH_OFFLOAD_RX_CSUM), 0) << plx_error();
	EXPECT_EQ(state().guest_offloads, csum);
	ASSERT_EQ(
		plx_eth_set_rx_offloads(eth, PLX_ETH_OFFLOAD_RX_CSUM | PLX_ETH_OFFLOAD_RX_TSO4), 0);
	EXPECT_EQ(state().guest_offloads, csum | tso4 | ecn);
	ASSERT_EQ(plx_eth_set_rx_offloads(eth, 0), 0);
	EXPECT_EQ(state().guest_offloads, 0u);
	struct plx_packet *packet = arrive(make(kinds[0], 100), nullptr);
	ASSERT_NE(packet, nullptr);
	EXPECT_EQ(packet->received, 0) << "nothing is checked any more";
	plx_packet_free(packet);
	restart();
	EXPECT_EQ(state().guest_offloads, 0u) << "it is remembered";
	EXPECT_EQ(plx_eth_set_rx_offloads(eth, PLX_ETH_OFFLOAD_TX_CSUM), -EINVAL);
	EXPECT_EQ(plx_eth_set_rx_offloads(eth, PLX_ETH_OFFLOAD_RX_HASH), -EINVAL);
}

TEST_P(Offload, RequiredOffloadThatIsMissingIsRefusedByName)
{
	eth_config.required = PLX_ETH_OFFLOAD_TX_TSO6;
	plx_emu_config_offer(&config, VIRTIO_NET_F_CSUM, false);
	ASSERT_EQ(try_open(options.c_str()), 0);
	EXPECT_EQ(try_configure(), -ENOTSUP);
	EXPECT_TRUE(error_says("F_HOST_TSO6")) << plx_error();
	eth_config.required = 0;
	EXPECT_EQ(try_configure(), 0) << plx_error();
}

TEST_P(Offload, LargeReceiveIsLeftWithoutMergedBuffers)
{
	plx_eth_info info;

	plx_emu_config_offer(&config, VIRTIO_NET_F_MRG_RXBUF, false);
	run();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(info.offloads & (PLX_ETH_OFFLOAD_RX_TSO4 | PLX_ETH_OFFLOAD_RX_TSO6), 0u);
	EXPECT_NE(info.offloads & PLX_ETH_OFFLOAD_RX_CSUM, 0u);
	auto frame = make(kinds[0], 1000);
	struct plx_packet *packet = arrive(frame, nullptr);
	ASSERT_NE(packet, nullptr);
	EXPECT_EQ(bytes_of(packet), frame);
	plx_packet_free(packet);
}

INSTANTIATE_TEST_SUITE_P(Layouts, Offload,
	::testing::Values(CTRL_SPLIT, CTRL_PACKED, CTRL_LEGACY, CTRL_APART),
	[](const auto &info) { return std::string(control_layout_name(info.param)); });

/* --- hashes --- */

class HashReport : public Offload
{
};

TEST_P(HashReport, FramesCarryTheirHash)
{
	static const uint8_t types[] = {PLX_PACKET_HASH_TCPV4, PLX_PACKET_HASH_TCPV6,
		PLX_PACKET_HASH_UDPV4, PLX_PACKET_HASH_UDPV6};
	struct plx_eth_rss hash = PLX_ETH_RSS_INIT;
	std::set<uint32_t> values;

	eth_config.offloads = PLX_ETH_OFFLOAD_RX_HASH;
	pool_config.headroom = 33; /* and wherever their header lies */
	run();
	struct plx_packet *packet = arrive(make(kinds[0], 100), nullptr);
	ASSERT_NE(packet, nullptr);
	EXPECT_EQ(packet->hash_type, PLX_PACKET_HASH_NONE) << "none was asked for yet";
	plx_packet_free(packet);
	ASSERT_EQ(plx_eth_set_hash(eth, &hash), 0) << plx_error();
	for (unsigned i = 0; i < 4; i++) {
		Bytes frame = make(kinds[i], 100);

		packet = arrive(frame, nullptr);
		ASSERT_NE(packet, nullptr);
		EXPECT_EQ(packet->hash_type, types[i]) << kinds[i].name;
		EXPECT_EQ(bytes_of(packet), frame);
		values.insert(packet->hash);
		plx_packet_free(packet);
	}
	EXPECT_GE(values.size(), 2u);
	EXPECT_EQ(send(build(make(kinds[0], 100))), 1) << "with the same longer header";
	step();
	EXPECT_EQ(sent(), make(kinds[0], 100));
}

/* The verification of the Toeplitz hash that Microsoft published for RSS. */
TEST_P(HashReport, HashIsThatOfThePublishedExample)
{
	static const uint8_t key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
		0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4,
		0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
		0x01, 0xfa};
	static const uint8_t flow[12] = {
		66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6};
	struct plx_eth_rss hash = PLX_ETH_RSS_INIT;
	Bytes frame = make(kinds[0], 100);

	eth_config.offloads = PLX_ETH_OFFLOAD_RX_HASH;
	run();
	hash.key = key;
	hash.key_len = sizeof(key);
	ASSERT_EQ(plx_eth_set_hash(eth, &hash), 0) << plx_error();
	std::copy(flow, flow + 8, frame.begin() + 26);
	std::copy(flow + 8, flow + 12, frame.begin() + 34);
	struct plx_packet *packet = arrive(frame, nullptr);
	ASSERT_NE(packet, nullptr);
	EXPECT_EQ(packet->hash_type, PLX_PACKET_HASH_TCPV4);
	EXPECT_EQ(packet->hash, 0x51ccc178u);
	plx_packet_free(packet);
}

INSTANTIATE_TEST_SUITE_P(Layouts, HashReport, ::testing::Values(CTRL_SPLIT, CTRL_PACKED),
	[](const auto &info) { return std::string(control_layout_name(info.param)); });

} // namespace
