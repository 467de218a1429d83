/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_NET_CONTROL_H
#define PLX_TESTS_NET_CONTROL_H

#include "net_fixture.h"

#include <array>
#include <map>
#include <optional>
#include <ostream>

/* The network driver on a card that has everything that can be controlled. */

enum ControlLayout { CTRL_SPLIT, CTRL_PACKED, CTRL_LEGACY, CTRL_APART };

inline const char *control_layout_name(ControlLayout layout)
{
	static const char *const names[] = {"split", "packed", "legacy", "legacy_apart"};

	return names[layout];
}

class ControlFixture : public NetFixture
{
      protected:
	std::string options;
	/* What the card answers in place of its own acknowledgement; -1: nothing at all. */
	std::optional<int> ack;
	std::vector<std::pair<unsigned, unsigned>> commands; /* class and number, as they came */

	void SetUp() override
	{
		static const unsigned offered[] = {VIRTIO_NET_F_RSS, VIRTIO_NET_F_HASH_REPORT,
			VIRTIO_NET_F_NOTF_COAL, VIRTIO_NET_F_VQ_NOTF_COAL,
			VIRTIO_NET_F_DEVICE_STATS};

		NetFixture::SetUp();
		for (unsigned bit : offered)
			plx_emu_config_offer(&config, bit, true);
		config.queue_size = 32;
		config.hooks.arg = this;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			of(arg)->breaches.push_back(std::string(rule) + ": " + text);
		};
		config.hooks.ack = [](void *arg, uint8_t class_, uint8_t number, uint8_t *answer) {
			of(arg)->commands.push_back({class_, number});
			if (!of(arg)->ack)
				return true;
			if (*of(arg)->ack < 0)
				return false;
			*answer = (uint8_t)*of(arg)->ack;
			return true;
		};
		limits.command = PLX_MILLISECONDS(20);
	}

	void use(ControlLayout layout)
	{
		bool legacy = layout == CTRL_LEGACY || layout == CTRL_APART;

		plx_emu_config_offer(&config, VIRTIO_F_RING_PACKED, layout == CTRL_PACKED);
		plx_emu_config_offer(&config, VIRTIO_F_ANY_LAYOUT, layout != CTRL_APART);
		config.interface = legacy ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
		options = legacy ? ",legacy=on" : "";
	}

	void run(uint16_t pairs = 1)
	{
		config.pairs = std::max(config.pairs, pairs);
		eth_config.queue_pairs = pairs;
		start(options.c_str());
		commands.clear();
	}

	void restart()
	{
		ASSERT_EQ(plx_eth_stop(eth), 0) << plx_error();
		ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	}

	plx_emu_net_state state()
	{
		plx_emu_net_state all;

		plx_emu_get_net_state(card, &all);
		return all;
	}

	bool error_says(const std::string &words)
	{
		return std::string(plx_error()).find(words) != std::string::npos;
	}

	std::map<std::string, uint64_t> device_stats(int *result = nullptr)
	{
		std::map<std::string, uint64_t> all;
		int ret = plx_eth_device_stats(
			eth,
			[](void *arg, const struct plx_eth_counter *c) {
				(*static_cast<std::map<std::string, uint64_t> *>(arg))[c->name] =
					c->value;
				return 0;
			},
			&all);

		if (result)
			*result = ret;
		else
			EXPECT_EQ(ret, 0) << plx_error();
		return all;
	}

      private:
	static ControlFixture *of(void *arg)
	{
		return static_cast<ControlFixture *>(arg);
	}
};

#endif
