#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# apps/demo from outside: what it says, how it ends, and that nothing of it remains. Prints TAP.
#
# It runs in network, mount and process namespaces of its own, so that whatever the demo left behind
# is seen, and nothing of anyone else. POLLUX_BUILD names the build folder, as it does for the demo.
set -uo pipefail

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd)
demo=$root/apps/demo

if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] || { echo "1..0 # SKIP only root can make namespaces"; exit 0; }
	# There is no network inside to fetch a kernel from.
	"$root/apps/machine" prepare || echo "# the machine's kernel could not be brought up to date"
	exec unshare --net --mount --pid --fork --kill-child --mount-proc -- \
		bash "${BASH_SOURCE[0]}" --inside
fi

export POLLUX_BUILD=${POLLUX_BUILD:-$root/build} LC_ALL=C
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch/tmp
mkdir "$TMPDIR"
number=0 failures=0

# result STATUS NAME
result()
{
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number - $2"
		return
	fi
	failures=$((failures + 1))
	echo "not ok $number - $2"
	sed 's/^/# /' "$scratch/out" "$scratch/err"
}

# What may not change.
list_all()
{
	ip -brief link | awk '{ print "link " $1 }'
	ip netns list
	sed 's/^/mount /' /proc/self/mounts
	# Not into a pipe: its other end would be seen, before it has its name or after.
	ps -e -o stat=,args= >"$scratch/processes"
	awk '$1 !~ /^Z/ { $1 = "process"; print }' "$scratch/processes"
	find "$TMPDIR" -mindepth 1
}

# Within this many seconds: 0 for at once.
nothing_remains()
{
	local until=$((SECONDS + $1))

	until list_all >"$scratch/after"; diff "$scratch/before" "$scratch/after" >"$scratch/rest"; do
		[ "$SECONDS" -lt "$until" ] || { cat "$scratch/rest" >>"$scratch/err"; return 1; }
		sleep 0.2
	done
}

run_demo()
{
	"$demo" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
}

# Starts the demo as a terminal would: SIGINT is not ignored.
start_demo()
{
	env --default-signal=INT "$demo" --keep-build >"$scratch/out" 2>"$scratch/err" </dev/null &
	running=$!
}

# wait_for COMMAND...: up to a minute
wait_for()
{
	local until=$((SECONDS + 60))

	until "$@" >"$scratch/found" 2>&1; do
		[ "$SECONDS" -lt "$until" ] || return 1
		sleep 0.1
	done
}

# The whole of standard error is one line that begins with the program's name.
says_one_sentence()
{
	[ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q "^apps/demo: .*$1" "$scratch/err"
}

# ends_with STATUS: how the demo that was started ends.
ends_with()
{
	local status=0

	wait "$running" 2>/dev/null || status=$?
	[ "$status" -eq "$1" ] || { echo "the status is $status, not $1" >>"$scratch/err"; return 1; }
}

is_booting()
{
	pgrep -x qemu-system-x86
}

is_measuring()
{
	[ "$(pgrep -c -x iperf3)" -ge 2 ] && sleep 1
}

# A program instead of Pollux, so that what the demo does with a bad one is seen.
fake_pollux()
{
	mkdir -p "$scratch/build/apps/pollux"
	cat >"$scratch/build/apps/pollux/pollux"
	chmod +x "$scratch/build/apps/pollux/pollux"
}

test_whole_run()
{
	local began=$SECONDS

	run_demo
	result $? "a whole run ends with 0"
	nothing_remains 0
	result $? "a whole run leaves nothing"
	grep -Eq '^  packets forwarded +[1-9][0-9]*:' "$scratch/out" &&
		grep -Eq '^  packets lost +[0-9]+ of [1-9]' "$scratch/out" &&
		grep -Eq '^  ping loss +0 % of 20$' "$scratch/out" &&
		grep -Eq '^  TCP there +[0-9.]+ Gbit/s$' "$scratch/out" &&
		grep -Eq '^  TCP back +[0-9.]+ Gbit/s$' "$scratch/out"
	result $? "the summary has packets, losses and throughput"
	grep -q 'vfio-pci' "$scratch/out" && grep -q 'FEATURES_OK' "$scratch/out"
	result $? "the binding and the negotiation are shown"
	[ ! -s "$scratch/err" ]
	result $? "a run that works says nothing on standard error"
	sed -n '/^Summary/,$s/^/# /p' "$scratch/out"
	echo "# the whole run took $((SECONDS - began)) s"
}

# test_signal SIGNAL STATUS SECONDS WHEN
test_signal()
{
	start_demo
	wait_for "$4" && kill -s "$1" "$running" && ends_with "$2"
	result $? "SIG$1 while it ${4/_/ } ends the demo"
	nothing_remains "$3"
	result $? "SIG$1 while it ${4/_/ } leaves nothing"
}

# The folder of temporary files is all that nobody else can remove.
test_kill()
{
	start_demo
	wait_for is_measuring && kill -KILL "$running" && ends_with 137
	result $? "SIGKILL while it is measuring ends the demo"
	rm -rf "${TMPDIR:?}"/*
	nothing_remains 10
	result $? "SIGKILL leaves no TAP, namespace or process"
}

test_closed_pipe()
{
	"$demo" --keep-build 2>"$scratch/err" </dev/null | head -n 3 >"$scratch/out"
	result $((PIPESTATUS[0] != 141)) "a closed pipe ends the demo"
	nothing_remains 0
	result $? "a closed pipe leaves nothing"
}

test_no_cache()
{
	POLLUX_CACHE=/proc/nowhere run_demo --keep-build
	result $(($? != 1)) "a cache that cannot be written ends the demo with 1"
	says_one_sentence 'POLLUX_CACHE'
	result $? "a cache that cannot be written is named in one sentence"
	nothing_remains 0
	result $? "a cache that cannot be written leaves nothing"
}

test_broken_program()
{
	fake_pollux <<'END'
#!/bin/sh
echo "pollux: this program is broken" >&2
exit 1
END
	POLLUX_BUILD=$scratch/build run_demo --keep-build
	result $(($? != 1)) "a program that fails in the machine ends the demo with 1"
	says_one_sentence 'this program is broken'
	result $? "a program that fails in the machine is quoted in one sentence"
	nothing_remains 0
	result $? "a program that fails in the machine leaves nothing"
}

test_deaf_program()
{
	fake_pollux <<'END'
#!/bin/sh
[ "$1" = fwd ] || exit 0
trap 'echo "{\"ports\": [$port, $port]}"; exit 0' TERM
port='{"rx_packets": 0, "tx_packets": 0, "rx_dropped": 0, "tx_dropped": 0, "counters": {}}'
echo "pollux: forwarding" >&2
while :; do sleep 0.1; done
END
	POLLUX_BUILD=$scratch/build run_demo --keep-build
	result $(($? != 1)) "a program that forwards nothing ends the demo with 1"
	says_one_sentence 'no packet was forwarded'
	result $? "a program that forwards nothing is told in one sentence"
	nothing_remains 0
	result $? "a program that forwards nothing leaves nothing"
}

test_wrong_use()
{
	run_demo --seconds=0
	result $(($? != 1)) "--seconds=0 is refused"
	says_one_sentence '1 to 600'
	result $? "--seconds=0 is refused in one sentence"
	# A copy, since that user may not look into the folder where the tree is, such as /root.
	mkdir -p "$scratch/tree" && cp -r "$(dirname "$demo")" "$scratch/tree" && chmod -R a+rX "$scratch"
	setpriv --reuid=65534 --clear-groups "$scratch/tree/apps/demo" >"$scratch/out" 2>"$scratch/err"
	result $(($? != 1)) "a user who is not root is refused"
	says_one_sentence 'root'
	result $? "a user who is not root is told so in one sentence"
}

list_all >"$scratch/before"
test_whole_run
test_signal INT 130 0 is_booting
test_signal INT 130 0 is_measuring
test_signal TERM 143 0 is_booting
test_kill
test_closed_pipe
test_no_cache
test_broken_program
test_deaf_program
test_wrong_use
echo "1..$number"
[ "$failures" -eq 0 ]
