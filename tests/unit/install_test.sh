#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a user gets: install_test.sh SOURCE-FOLDER BUILD-FOLDER. Prints TAP.
set -uo pipefail

source=$1
build=$2
checks=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# check TEXT COMMAND...
check()
{
	local text=$1

	shift
	checks=$((checks + 1))
	if "$@" >"$folder/output" 2>&1; then
		echo "ok $checks - $text"
	else
		echo "not ok $checks - $text"
		sed 's/^/# /' "$folder/output"
	fi
}

installs()
{
	DESTDIR=$folder/root meson install -C "$build" --no-rebuild --quiet
	export PKG_CONFIG_PATH
	PKG_CONFIG_PATH=$(dirname "$(find "$folder/root" -name libpollux.pc)")
	library=$(find "$folder/root" -name 'libpollux.so.*.*.*')
	[ -n "$library" ] && [ -x "$folder/root/usr/local/bin/pollux" ]
}

# The prefix in the .pc file is that of the real installation; the test has it in a folder of its own.
flags()
{
	pkg-config --define-variable=prefix="$folder/root/usr/local" "$@" libpollux
}

example_builds()
{
	# shellcheck disable=SC2046 # flags are words
	cc -Wall -Wextra -Werror -o "$folder/reflect" "$source/apps/examples/reflect.c" \
		$(flags --cflags --libs)
}

example_runs()
{
	LD_LIBRARY_PATH=$(dirname "$library") "$folder/reflect" emu:net,peer=gen 1
}

example_refuses()
{
	! LD_LIBRARY_PATH=$(dirname "$library") "$folder/reflect" 0000:ff:1f.7 1 2>"$folder/refusal" &&
		[ "$(wc -l <"$folder/refusal")" -eq 1 ]
}

readme_shows_the_example()
{
	awk '/^```c$/{on=1; next} /^```$/{on=0} on' "$source/README.md" |
		diff - <(tail -n +2 "$source/apps/examples/reflect.c")
}

static_library_links()
{
	# What the archive needs is what pkg-config adds to the name of the library itself.
	# shellcheck disable=SC2046
	cc -o "$folder/static" "$source/apps/examples/reflect.c" $(flags --cflags) \
		"$(find "$folder/root" -name libpollux.a)" \
		$(flags --static --libs | sed 's/-lpollux//') &&
		"$folder/static" emu:net 1
}

# Nothing but what the map names leaves the library.
exports_what_the_map_names()
{
	diff <(nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | sort) \
		<(grep -o 'plx_[a-z_0-9]*' "$source/lib/pollux.map" | sort)
}

is_small()
{
	strip -o "$folder/stripped.so" "$library"
	echo "$(stat -c %s "$folder/stripped.so") bytes stripped"
	[ "$(stat -c %s "$folder/stripped.so")" -lt 300000 ]
}

needs_only()
{
	local needed

	needed=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
	echo "needs $needed"
	[[ $needed =~ ^(ld-linux-x86-64.so.2 )?libc.so.6\ libjson-c.so.5\ libnuma.so.1\ $ ]]
}

has_soname()
{
	readelf -d "$library" | grep -q 'SONAME.*libpollux.so.0'
}

# Resident memory while it forwards, but for the packets' own, which are shared memory.
stays_below_8_megabytes()
{
	local program=$folder/root/usr/local/bin/pollux pid kilobytes

	LD_LIBRARY_PATH=$(dirname "$library") "$program" fwd emu:net,peer=gen emu:net,peer=sink \
		--time=2 --quiet --json >/dev/null &
	pid=$!
	sleep 1
	kilobytes=$(awk '/^RssAnon|^RssFile/ {sum += $2} END {print sum}' "/proc/$pid/status")
	wait $pid
	echo "$kilobytes kB"
	[ "$kilobytes" -lt 8192 ]
}

check "meson install puts everything in place" installs
check "the example builds with what pkg-config says" example_builds
check "the example runs" example_runs
check "the example says in one line why it cannot" example_refuses
check "the README shows the example as it is" readme_shows_the_example
check "the static library links" static_library_links
check "only what the map names is exported" exports_what_the_map_names
check "the soname is there" has_soname
check "libpollux.so is below 300 KB" is_small
check "it needs only libc, libnuma and json-c" needs_only
check "fwd stays below 8 MB of memory, but for its packets" stays_below_8_megabytes
echo "1..$checks"
