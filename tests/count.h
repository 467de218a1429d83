/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_COUNT_H
#define PLX_TESTS_COUNT_H

#include <pollux/pollux.h>

#include <dirent.h>
#include <gtest/gtest.h>

#include <string>

/* What tests of every kind count. */

inline unsigned count_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

inline unsigned open_files()
{
	return count_entries("/proc/self/fd");
}

/* A port's counter, which there must be. */
inline uint64_t counter_of(struct plx_eth *eth, const std::string &name)
{
	struct Search {
		const std::string &name;
		uint64_t value;
		bool found;
	} search = {name, 0, false};

	plx_eth_counters(
		eth,
		[](void *arg, const struct plx_eth_counter *counter) {
			auto *wanted = static_cast<Search *>(arg);

			if (wanted->name != counter->name)
				return 0;
			wanted->value = counter->value;
			wanted->found = true;
			return 1;
		},
		&search);
	EXPECT_TRUE(search.found) << "there is no counter " << name;
	return search.value;
}

#endif
