#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every file of C and C++ is as .clang-format has it. Takes the tree and speaks TAP.
set -u

cd "$1" || exit 1
if said=$(find . -path './build*' -prune -o \( -name '*.[ch]' -o -name '*.cc' \) -print0 |
	xargs -0 clang-format --dry-run --Werror 2>&1); then
	echo "ok 1 - clang-format has nothing to change"
else
	echo "not ok 1 - clang-format has nothing to change"
	sed -n 's/^\([^:]*\):[0-9].* error:.*/\1/p; /^xargs:/p' <<<"$said" | sort | uniq -c |
		sed 's/^/# /'
fi
echo "1..1"
