/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_RECOVERY_TRAFFIC_H
#define PLX_TESTS_RECOVERY_TRAFFIC_H

#include <pollux/pollux.h>

#include <cstdint>
#include <cstring>
#include <vector>

/*
 * Numbered frames on one pair of queues whose other end sends back what it gets. Every byte of each
 * frame that comes back is checked, and every number against those that came before. Nothing is
 * expected of what is on its way when a device breaks, but that it does not come twice or altered.
 *
 *     offset  12  ethertype of local experiments, and the pair
 *             16  number
 *             24  checksum over the number and the words behind
 *             32  words that follow from the number
 */
class Traffic
{
      public:
	static constexpr uint32_t kLeast = 48;
	static constexpr unsigned kBurst = 64;

	struct Counts {
		uint64_t sent = 0;
		uint64_t received = 0; /* whole, each once */
		uint64_t altered = 0;
		uint64_t doubled = 0;
	} counts;

	/* @window: frames under way at the most. */
	Traffic(struct plx_eth *eth_, struct plx_pool *pool_, unsigned pair_ = 0,
		uint32_t size_ = 64, uint64_t window_ = 512)
	    : eth(eth_), pool(pool_), pair(pair_), size(size_), window(window_), seen(kSeen / 64)
	{
		failed = plx_pool_cache_create(pool, &cache);
	}
	~Traffic()
	{
		plx_pool_cache_destroy(cache);
	}
	Traffic(const Traffic &) = delete;
	Traffic &operator=(const Traffic &) = delete;

	/* What was under way is not waited for: the device was reset. */
	void forget()
	{
		under_way = 0;
	}

	/* The device was opened anew. */
	void use(struct plx_eth *other)
	{
		eth = other;
		forget();
	}

	/* One burst each way. Return: frames that came back; -errno of a burst. */
	int round()
	{
		int err = send();

		return err < 0 ? err : receive();
	}

	/* Send nothing more, and wait until nothing comes for a while. */
	void settle()
	{
		for (unsigned quiet = 0; quiet < 10000000; quiet++) {
			if (plx_eth_tx_burst(plx_eth_txq(eth, pair), nullptr, 0) < 0)
				return;
			if (receive() > 0)
				quiet = 0;
		}
	}

	/* Write a frame of the size that was chosen. */
	void build(uint8_t *data, uint64_t number) const
	{
		static const uint8_t header[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
		uint64_t sum = number;
		uint32_t at = 32;

		std::memcpy(data, header, sizeof(header));
		data[14] = (uint8_t)pair;
		data[15] = 0x5a;
		std::memcpy(data + 16, &number, 8);
		for (; at + 8 <= size; at += 8) {
			uint64_t word = word_of(number, at);

			sum = mix(sum, word);
			std::memcpy(data + at, &word, 8);
		}
		std::memset(data + at, (int)(number & 0xff), size - at);
		std::memcpy(data + 24, &sum, 8);
	}

	/* A frame came back. */
	void take(const uint8_t *data, uint32_t len)
	{
		uint64_t number;

		if (!check(data, len, &number))
			counts.altered++;
		else if (came_before(number))
			counts.doubled++;
		else
			counts.received++;
	}

	bool good() const
	{
		return !counts.altered && !counts.doubled && !failed;
	}

      private:
	/* How far behind the newest a frame may come and be told from one that came twice. */
	static constexpr uint64_t kSeen = 1u << 16;

	static uint64_t mix(uint64_t sum, uint64_t word)
	{
		return (sum << 7 | sum >> 57) + (word ^ UINT64_C(0x9e3779b97f4a7c15));
	}

	uint64_t word_of(uint64_t number, uint32_t at) const
	{
		return (number + at) * UINT64_C(0xbf58476d1ce4e5b9) + pair;
	}

	/* Return: whether it is as it was sent; then also its number. */
	bool check(const uint8_t *data, uint32_t len, uint64_t *number) const
	{
		static const uint8_t header[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
		uint64_t sum, said, wrong = 0;
		uint32_t at = 32;

		if (len != size || std::memcmp(data, header, sizeof(header)) || data[14] != pair ||
			data[15] != 0x5a)
			return false;
		std::memcpy(number, data + 16, 8);
		sum = *number;
		for (; at + 8 <= size; at += 8) {
			uint64_t word;

			std::memcpy(&word, data + at, 8);
			wrong |= word ^ word_of(*number, at);
			sum = mix(sum, word);
		}
		for (; at < size; at++)
			wrong |= (uint64_t)(data[at] ^ (uint8_t)*number);
		std::memcpy(&said, data + 24, 8);
		return !wrong && said == sum && *number < counts.sent;
	}

	/* Return: whether a number came before. */
	bool came_before(uint64_t number)
	{
		uint64_t bit = UINT64_C(1) << number % 64;

		if (number + kSeen <= newest)
			return true;
		while (newest < number + 1) {
			if (newest % 64 == 0)
				seen[newest / 64 % seen.size()] = 0;
			newest++;
		}
		if (seen[number / 64 % seen.size()] & bit)
			return true;
		seen[number / 64 % seen.size()] |= bit;
		return false;
	}

	int send()
	{
		struct plx_packet *packets[kBurst];
		unsigned count = kBurst;
		int taken;

		if (under_way + count > window)
			count = (unsigned)(window - under_way);
		if (!count || !plx_pool_get(cache, packets, count))
			return plx_eth_tx_burst(plx_eth_txq(eth, pair), nullptr, 0);
		for (unsigned i = 0; i < count; i++) {
			plx_packet_prepare(packets[i], 128);
			build(plx_packet_append(packets[i], (uint16_t)size), counts.sent + i);
		}
		taken = plx_eth_tx_burst(plx_eth_txq(eth, pair), packets, count);
		if (taken > 0) {
			counts.sent += (unsigned)taken;
			under_way += (unsigned)taken;
		}
		if (taken < (int)count)
			plx_pool_put(cache, packets + (taken > 0 ? taken : 0),
				count - (unsigned)(taken > 0 ? taken : 0));
		return taken;
	}

	int receive()
	{
		struct plx_packet *packets[kBurst];
		int got = plx_eth_rx_burst(plx_eth_rxq(eth, pair), packets, kBurst);

		for (int i = 0; i < got; i++)
			take(plx_packet_data(packets[i]),
				packets[i]->segments == 1 ? packets[i]->len : 0);
		if (got > 0) {
			under_way -= under_way < (unsigned)got ? under_way : (unsigned)got;
			plx_pool_put(cache, packets, (unsigned)got);
		}
		return got;
	}

	struct plx_eth *eth;
	struct plx_pool *pool;
	struct plx_pool_cache *cache = nullptr;
	unsigned pair;
	uint32_t size;
	uint64_t window;
	uint64_t under_way = 0;
	uint64_t newest = 0; /* one more than the largest number that came */
	std::vector<uint64_t> seen;
	int failed = 0;
};

#endif
