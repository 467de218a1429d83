/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_fixture.h"

#include <algorithm>
#include <ostream>

/*
 * The negotiation, word for word: what the driver says that it did (plx_device_trace), and what the
 * device saw. One transcript for each handshake, for each veto and for each step that can fail.
 */

namespace
{

/*
 * What each side notes, a line for a fact:
 *
 *     status <- 0b        the status was written
 *     status -> 0b        it was read
 *     features ->, <-     they were read, or written
 *     queue 0             a queue was set up
 *     kick 0              and notified
 *     reset               the function was reset
 *
 * The driver's begins each step with its name: "[DRIVER_OK]".
 */
using Lines = std::vector<std::string>;

std::string joined(const Lines &lines)
{
	std::string text;

	for (const std::string &line : lines)
		text += line + "\n";
	return text;
}

std::string status_line(const char *arrow, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "status %s %02x", arrow, (unsigned)value);
	return text;
}

class Transcript : public NetFixture
{
      protected:
	Lines seen; /* by the device */
	bool lose_resets = false;

	void SetUp() override
	{
		NetFixture::SetUp();
		config.queue_size = 16;
		config.hooks.arg = this;
		config.hooks.breach = [](void *arg, const char *rule, const char *text) {
			of(arg)->breaches.push_back(std::string(rule) + ": " + text);
		};
		config.hooks.event = [](void *arg, const struct plx_emu_event *event) {
			of(arg)->look(*event);
		};
		config.hooks.write = [](void *arg, plx_emu_place place, uint64_t offset, unsigned,
					     uint64_t *value) {
			return !of(arg)->lose_resets || !is_status(place, offset) || *value;
		};
		config.hooks.reset = [](void *arg) {
			of(arg)->seen.push_back("reset");
			return true;
		};
		limits.reset = PLX_MILLISECONDS(20);
	}

	/* Open, configure and start, as far as it goes. */
	int run(const std::string &options)
	{
		int err = try_open(options.c_str());

		if (!err)
			err = try_configure();
		return err ? err : plx_eth_start(eth);
	}

	Lines told()
	{
		Lines lines;

		plx_device_trace(plx_eth_device(eth), tell, &lines);
		return lines;
	}

	/* The device's status bytes, as the driver wrote them. */
	std::string written()
	{
		std::string text;

		for (const std::string &line : seen)
			if (!line.compare(0, 10, "status <- "))
				text += (text.empty() ? "" : " ") + line.substr(10);
		return text;
	}

	size_t place_of(const std::string &line)
	{
		return (size_t)(std::find(seen.begin(), seen.end(), line) - seen.begin());
	}

      private:
	static Transcript *of(void *arg)
	{
		return static_cast<Transcript *>(arg);
	}

	static bool is_status(plx_emu_place place, uint64_t offset)
	{
		return (place == PLX_EMU_COMMON && offset == VIRTIO_PCI_COMMON_DEVICE_STATUS) ||
		       (place == PLX_EMU_LEGACY && offset == VIRTIO_PCI_LEGACY_DEVICE_STATUS);
	}

	static bool is_queue(const struct plx_emu_event &event)
	{
		return (event.place == PLX_EMU_COMMON &&
			       event.index == VIRTIO_PCI_COMMON_QUEUE_ENABLE) ||
		       (event.place == PLX_EMU_LEGACY &&
			       event.index == VIRTIO_PCI_LEGACY_QUEUE_ADDRESS);
	}

	static bool is_select(const struct plx_emu_event &event)
	{
		return (event.place == PLX_EMU_COMMON &&
			       event.index == VIRTIO_PCI_COMMON_QUEUE_SELECT) ||
		       (event.place == PLX_EMU_LEGACY &&
			       event.index == VIRTIO_PCI_LEGACY_QUEUE_SELECT);
	}

	/* Of the four words of features one is enough to tell. */
	static bool is_features(const struct plx_emu_event &event, bool write)
	{
		int32_t common = write ? VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT
				       : VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT;
		int32_t legacy = write ? VIRTIO_PCI_LEGACY_DRIVER_FEATURES
				       : VIRTIO_PCI_LEGACY_DEVICE_FEATURES;

		return (event.place == PLX_EMU_COMMON && event.kind == PLX_EMU_WRITE &&
			       event.index == common && !event.value) ||
		       (event.place == PLX_EMU_LEGACY && event.index == legacy);
	}

	void look(const struct plx_emu_event &event)
	{
		bool write = event.kind == PLX_EMU_WRITE;

		if (event.kind == PLX_EMU_KICK)
			seen.push_back("kick " + std::to_string(event.index));
		if (event.kind != PLX_EMU_READ && !write)
			return;
		if (is_status(event.place, (uint64_t)event.index))
			seen.push_back(status_line(write ? "<-" : "->", event.value));
		else if (is_features(event, true))
			seen.push_back("features <-");
		else if (is_features(event, false))
			seen.push_back("features ->");
		else if (write && is_select(event))
			selected = event.value;
		else if (write && is_queue(event))
			seen.push_back("queue " + std::to_string(selected));
	}

	static int tell(void *arg, const struct plx_trace_entry *entry)
	{
		Lines *lines = static_cast<Lines *>(arg);

		switch (entry->kind) {
		case PLX_TRACE_STEP:
			lines->push_back("[" + std::string(entry->step) + "]");
			break;
		case PLX_TRACE_STATUS_WRITE:
			lines->push_back(status_line("<-", entry->value));
			break;
		case PLX_TRACE_STATUS_READ:
			lines->push_back(status_line("->", entry->value));
			break;
		case PLX_TRACE_FEATURES_READ:
			lines->push_back("features ->");
			break;
		case PLX_TRACE_FEATURES_WRITE:
			lines->push_back("features <-");
			break;
		case PLX_TRACE_QUEUE:
			lines->push_back("queue " + std::to_string(entry->value));
			break;
		case PLX_TRACE_QUEUE_RESET:
			lines->push_back("reset queue " + std::to_string(entry->value));
			break;
		case PLX_TRACE_NOTIFY:
			lines->push_back("kick " + std::to_string(entry->value));
			break;
		}
		return 0;
	}

	uint64_t selected = 0;
};

/* --- whole transcripts --- */

struct Golden {
	const char *name;
	const char *options;
	plx_emu_handshake handshake;
	plx_emu_veto veto;
	int error;
	const char *step; /* that plx_error() names */
	Lines trace;
	const char *written; /* status bytes in all, to the close of the device */
};

const Lines opened = {"[reset]", "status <- 00", "status -> 00", "[ACKNOWLEDGE]", "status -> 00",
	"status <- 01", "[DRIVER]", "status -> 01", "status <- 03", "[read features]",
	"features ->"};

const Lines features_ok = {"[write features]", "features <-", "[FEATURES_OK]", "status -> 03",
	"status <- 0b", "[FEATURES_OK re-read]"};

const Lines understood = {"[reset]", "status <- 00", "status -> 00", "[ACKNOWLEDGE]",
	"status -> 00", "status <- 01", "[read features]", "features ->", "[features understood]",
	"features <-", "[DRIVER]", "status -> 01", "status <- 03", "[DRIVER re-read]"};

const Lines activated = {"status -> 03", "[features activated]", "features <-", "[queue set-up]",
	"queue 0", "queue 1", "queue 2", "[DRIVER_OK]", "status -> 03", "status <- 07",
	"[DRIVER_OK re-read]"};

const Lines queues = {
	"[queue set-up]", "queue 0", "queue 1", "queue 2", "[fill queues]", "[DRIVER_OK]"};

Lines operator+(Lines one, const Lines &other)
{
	one.insert(one.end(), other.begin(), other.end());
	return one;
}

const Golden goldens[] = {
	{"Modern", "", PLX_EMU_FEATURES_OK, PLX_EMU_VETO_NONE, 0, "",
		opened + features_ok + Lines{"status -> 0b"} + queues +
			Lines{"status -> 0b", "status <- 0f", "[DRIVER_OK re-read]", "status -> 0f",
				"[held-back notifications]", "kick 0"},
		"00 01 03 0b 0f 00"},
	{"ModernVetoOnFeatures", "", PLX_EMU_FEATURES_OK, PLX_EMU_VETO_FEATURES, -EPROTO,
		"'FEATURES_OK re-read' the device refuses this set of features",
		opened + features_ok + Lines{"status -> 03", "status -> 03", "status <- 83"},
		"00 01 03 0b 83"},
	{"ModernVetoOnConfiguration", "", PLX_EMU_FEATURES_OK, PLX_EMU_VETO_CONFIG, -EPROTO,
		"'DRIVER_OK re-read' the device asks for a reset",
		opened + features_ok + Lines{"status -> 0b"} + queues +
			Lines{"status -> 0b", "status <- 0f", "[DRIVER_OK re-read]", "status -> 4f",
				"status -> 4f", "status <- cf", "[stop]", "status <- 00",
				"status -> 00"},
		"00 01 03 0b 0f cf 00"},
	{"Legacy", ",legacy=on", PLX_EMU_FEATURES_OK, PLX_EMU_VETO_NONE, 0, "",
		opened + Lines{"[write features]", "features <-"} + queues +
			Lines{"status -> 03", "status <- 07", "[held-back notifications]",
				"kick 0"},
		"00 01 03 07 00"},
	{"LegacyCannotBeVetoedOnFeatures", ",legacy=on", PLX_EMU_FEATURES_OK, PLX_EMU_VETO_FEATURES,
		0, "",
		opened + Lines{"[write features]", "features <-"} + queues +
			Lines{"status -> 03", "status <- 07", "[held-back notifications]",
				"kick 0"},
		"00 01 03 07 00"},
	{"LegacyCannotBeVetoedOnConfiguration", ",legacy=on", PLX_EMU_FEATURES_OK,
		PLX_EMU_VETO_CONFIG, 0, "",
		opened + Lines{"[write features]", "features <-"} + queues +
			Lines{"status -> 03", "status <- 07", "[held-back notifications]",
				"kick 0"},
		"00 01 03 07 00"},
	{"LegacyOnADeviceOfTheProposal", ",legacy=on", PLX_EMU_DEVICE_OK, PLX_EMU_VETO_NONE, 0, "",
		opened + Lines{"[write features]", "features <-"} + queues +
			Lines{"status -> 03", "status <- 07", "[held-back notifications]",
				"kick 0"},
		"00 01 03 07 00"},
	{"DeviceOk", ",handshake=device-ok", PLX_EMU_DEVICE_OK, PLX_EMU_VETO_NONE, 0, "",
		understood + activated +
			Lines{"status -> 07", "[fill queues]", "[DEVICE_OK]", "status -> 07",
				"status <- 0f", "[DEVICE_OK re-read]", "status -> 0f",
				"[held-back notifications]", "kick 0"},
		"00 01 03 07 0f 00"},
	{"DeviceOkVetoOnFeatures", ",handshake=device-ok", PLX_EMU_DEVICE_OK, PLX_EMU_VETO_FEATURES,
		-EPROTO, "'DRIVER re-read' the device vetoes the features that are understood",
		understood + Lines{"status -> 01", "status -> 01", "status <- 81"}, "00 01 03 81"},
	{"DeviceOkVetoOnConfiguration", ",handshake=device-ok", PLX_EMU_DEVICE_OK,
		PLX_EMU_VETO_CONFIG, -EPROTO,
		"'DRIVER_OK re-read' the device vetoes the configuration",
		understood + activated +
			Lines{"status -> 03", "status -> 03", "status <- 83", "[stop]",
				"status <- 00", "status -> 00"},
		"00 01 03 07 83 00"},
	{"DeviceOkOnADeviceOfTheStandard", ",handshake=device-ok", PLX_EMU_FEATURES_OK,
		PLX_EMU_VETO_NONE, -EPROTO,
		"'DRIVER_OK re-read' the device vetoes the configuration",
		understood + activated +
			Lines{"status -> 03", "status -> 03", "status <- 83", "[stop]",
				"status <- 00", "status -> 00"},
		"00 01 03 07 83 00"},
};

void PrintTo(const Golden &golden, std::ostream *to)
{
	*to << golden.name;
}

class GoldenTranscript : public Transcript, public ::testing::WithParamInterface<Golden>
{
};

TEST_P(GoldenTranscript, IsWordForWord)
{
	const Golden &golden = GetParam();
	bool foreign = !strcmp(golden.name, "DeviceOkOnADeviceOfTheStandard");

	config.interface =
		strstr(golden.options, "legacy") ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
	config.handshake = golden.handshake;
	config.veto = golden.veto;
	breaches_allowed = foreign; /* the device of the standard does not like what it sees */
	EXPECT_EQ(run(golden.options), golden.error) << plx_error();
	EXPECT_EQ(joined(told()), joined(golden.trace));
	if (golden.error) {
		EXPECT_NE(std::string(plx_error()).find(golden.step), std::string::npos)
			<< plx_error();
		expect_all_back();
	}
	plx_eth_stop(eth);
	EXPECT_EQ(written(), golden.written);
	EXPECT_EQ(breaches.empty(), !foreign);
}

INSTANTIATE_TEST_SUITE_P(Handshakes, GoldenTranscript, ::testing::ValuesIn(goldens),
	[](const auto &info) { return std::string(info.param.name); });

/* --- what the device saw --- */

TEST_F(Transcript, DeviceOfTheStandardSeesTheSteps)
{
	ASSERT_EQ(run(""), 0) << plx_error();
	EXPECT_EQ(joined(seen),
		joined({"status <- 00", "status -> 00", "status -> 00", "status <- 01",
			"status -> 01", "status <- 03", "features ->", "features <-",
			"status -> 03", "status <- 0b", "status -> 0b", "queue 0", "queue 1",
			"queue 2", "status -> 0b", "status <- 0f", "status -> 0f", "kick 0"}));
}

TEST_F(Transcript, LegacyDeviceSeesTheSteps)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	ASSERT_EQ(run(""), 0) << plx_error();
	EXPECT_EQ(joined(seen),
		joined({"status <- 00", "status -> 00", "status -> 00", "status <- 01",
			"status -> 01", "status <- 03", "features ->", "features <-", "queue 0",
			"queue 1", "queue 2", "status -> 03", "status <- 07", "kick 0"}));
}

TEST_F(Transcript, DeviceOfTheProposalSeesTheSteps)
{
	config.handshake = PLX_EMU_DEVICE_OK;
	ASSERT_EQ(run(",handshake=device-ok"), 0) << plx_error();
	EXPECT_EQ(joined(seen),
		joined({"status <- 00", "status -> 00", "status -> 00", "status <- 01",
			"features ->", "features <-", "status -> 01", "status <- 03",
			"status -> 03", "features <-", "queue 0", "queue 1", "queue 2",
			"status -> 03", "status <- 07", "status -> 07", "status -> 07",
			"status <- 0f", "status -> 0f", "kick 0"}));
}

TEST_F(Transcript, BuffersAreThereWhenTheFirstNotificationComes)
{
	for (const char *options : {"", ",handshake=device-ok"}) {
		plx_emu_stats stats;
		auto frame = make_frame(60, 1);

		config.handshake = *options ? PLX_EMU_DEVICE_OK : PLX_EMU_FEATURES_OK;
		ASSERT_EQ(run(options), 0) << plx_error();
		ASSERT_EQ(plx_emu_inject(card, 0, frame.data(), frame.size()), 0);
		step();
		plx_emu_get_stats(card, &stats);
		EXPECT_EQ(stats.kicks, 1u);
		EXPECT_EQ(stats.rx_frames, 1u);
		EXPECT_EQ(receive().size(), 1u);
		close();
	}
}

/* --- steps that fail for other reasons --- */

TEST_F(Transcript, ResetThatNeverEndsIsGivenUpAndTheFunctionIsReset)
{
	ASSERT_EQ(run(""), 0);
	seen.clear();
	lose_resets = true;
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	EXPECT_EQ(seen.front(), "status <- 00");
	EXPECT_EQ(seen.back(), "reset");
	EXPECT_EQ(place_of("status -> 00"), seen.size()) << "it never read 0";
	Lines last = told();
	EXPECT_EQ(joined({last.end() - 3, last.end()}),
		joined({"[stop]", "status <- 00", "status -> 0f"}));
}

TEST_F(Transcript, QueueThatCannotBeSetUpEndsInFailed)
{
	pool_config.count = 64;
	eth_config.rx_ring = 16;
	config.hooks.read = [](void *, plx_emu_place place, uint64_t offset, unsigned,
				    uint64_t *value) {
		if (place == PLX_EMU_COMMON && offset == VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF &&
			*value == 1)
			*value = 0x8000;
	};
	EXPECT_EQ(run(""), -EPROTO);
	EXPECT_NE(std::string(plx_error()).find("doorbell of queue 1"), std::string::npos)
		<< plx_error();
	EXPECT_EQ(written(), "00 01 03 0b 8b");
	Lines last = told();
	EXPECT_EQ(joined({last.end() - 5, last.end()}),
		joined({"[queue set-up]", "queue 0", "queue 1", "status -> 0b", "status <- 8b"}));
	expect_all_back();
}

TEST_F(Transcript, EmptyPoolEndsInFailed)
{
	for (const char *options : {"", ",handshake=device-ok", ",legacy=on"}) {
		bool proposal = strstr(options, "device-ok"), legacy = strstr(options, "legacy");

		config.handshake = proposal ? PLX_EMU_DEVICE_OK : PLX_EMU_FEATURES_OK;
		config.interface = legacy ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
		pool_config.count = 8;
		seen.clear();
		EXPECT_EQ(run(options), -ENOBUFS) << plx_error();
		EXPECT_EQ(written(), proposal ? "00 01 03 07 87 00"
				     : legacy ? "00 01 03 83"
					      : "00 01 03 0b 8b")
			<< options;
		expect_all_back();
		close();
	}
}

TEST_F(Transcript, NeedsResetIsAnsweredWithNothingButFailedAndTheReset)
{
	ASSERT_EQ(run(""), 0);
	plx_emu_need_reset(card);
	seen.clear();
	ASSERT_EQ(plx_eth_stop(eth), 0);
	EXPECT_EQ(joined(seen), joined({"status <- 00", "status -> 00"}));
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_EQ(written(), "00 00 01 03 0b 0f");
}

TEST_F(Transcript, StartAfterAFailedStartBeginsWithAReset)
{
	pool_config.count = 8;
	EXPECT_EQ(run(""), -ENOBUFS);
	seen.clear();
	eth_config.rx_ring = 4;
	ASSERT_EQ(try_configure(), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	EXPECT_EQ(written(), "00 01 03 0b 0f");
}

/* Wherever the device goes away, the sentence says at which step that was noticed. */
TEST_F(Transcript, StepAtWhichTheDeviceWentIsNamed)
{
	Lines steps;

	for (config.gone_after = 1; config.gone_after < 1000; config.gone_after++) {
		int err = run("");
		std::string sentence = plx_error();
		size_t from = sentence.find("at the step '");

		close();
		if (!err)
			break;
		if (from == std::string::npos)
			continue; /* before the first step */
		from += strlen("at the step '");
		std::string name = sentence.substr(from, sentence.find('\'', from) - from);
		if (steps.empty() || steps.back() != name)
			steps.push_back(name);
	}
	/* Steps that only write are told by the next one that reads. */
	EXPECT_EQ(joined(steps),
		joined({"reset", "ACKNOWLEDGE", "DRIVER", "read features", "FEATURES_OK",
			"FEATURES_OK re-read", "queue set-up", "DRIVER_OK", "DRIVER_OK re-read"}));
}

} // namespace
