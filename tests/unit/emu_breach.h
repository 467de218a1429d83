/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_EMU_BREACH_H
#define TESTS_UNIT_EMU_BREACH_H

#include "emu_net.h"

#include <functional>
#include <ostream>

namespace emu
{

/* Rules of the standard: each is broken once, and the device says so. */

struct Scene {
	Driver &driver;
	Net *net; /* none when the card is not started */
	plx_emu *device;
};

using Commit = std::function<void(Scene &)>;

constexpr uint64_t kNoNet = ~uint64_t{0}; /* for Breach::features: the card is not started */

struct Breach {
	const char *rule;
	const char *how;
	uint64_t features;
	Commit commit;
	unsigned pairs = 1;
};

inline void PrintTo(const Breach &breach, std::ostream *to)
{
	*to << breach.rule << " by " << breach.how;
}

class EmuBreachTest : public EmuTest, public testing::WithParamInterface<Breach>
{
};

TEST_P(EmuBreachTest, IsReported)
{
	const Breach &breach = GetParam();

	faulty = true;
	config.pairs = breach.features != kNoNet && breach.features & bit(VIRTIO_NET_F_MQ) ? 2 : 1;
	if (breach.features != kNoNet)
		config.features[0] |= breach.features;
	make();
	if (breach.features != kNoNet)
		run(breach.features, breach.pairs);
	ASSERT_EQ("", breaches());
	Scene scene = {*driver, net.get(), device};

	breach.commit(scene);
	settle();
	EXPECT_GE(plx_emu_breaches(device, breach.rule), 1u) << "instead: " << breaches();
}

inline std::string breach_name(const testing::TestParamInfo<Breach> &info)
{
	std::string name = info.param.rule;

	for (char &letter : name)
		letter = letter == '-' || letter == '.' ? '_' : letter;
	return name + "_" + info.param.how;
}

} // namespace emu

#endif
