#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tests of apps/machine: what goes in arrives, what comes out is exact, and nothing stays behind.
# shellcheck disable=SC2016
# Each test function boots one guest or more (4 to 8 s each). Run all, or those named: machine_test.sh status panic
set -uo pipefail

machine=$(cd "$(dirname "$0")/../.." && pwd)/apps/machine
work=$(mktemp -d "${TMPDIR:-/tmp}/machine_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
# A directory of our own for temporary files, so that what a run leaves there shows.
mkdir "$work/tmp"
export TMPDIR=$work/tmp
failures=0
checks=0

ok() {
	checks=$((checks + 1))
	echo "ok $checks - $1"
}

not_ok() {
	checks=$((checks + 1))
	echo "not ok $checks - $1"
	shift
	[ $# -eq 0 ] || printf '# %s\n' "$@"
	failures=$((failures + 1))
}

# same NAME EXPECTED GOT
same() {
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2" "got: $3"; fi
}

# matches NAME PATTERN TEXT
matches() {
	if [[ $3 =~ $2 ]]; then ok "$1"; else not_ok "$1" "expected to match: $2" "got: $3"; fi
}

holds() {
	local name=$1
	shift
	if "$@"; then ok "$name"; else not_ok "$name" "failed: $*"; fi
}

# A boot in some hundreds does not come up in the emulation; the machine says so and boots again. That it did is
# told as a comment here, and is not what the command or the machine said beyond it.
boots_aside() {
	sed -n '/^apps\/machine: .*; booting it again$/s/^/# /p' "$work/err"
	sed -i '/^apps\/machine: .*; booting it again$/d' "$work/err"
}

# Runs the machine with output in $work/out, errors in $work/err and the status in $status.
run() {
	"$machine" run --timeout=180 "$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	boots_aside
}

out() { cat "$work/out"; }
err() { cat "$work/err"; }

# What is told apart from other users' guests by a mark on the kernel's command line.
guests_marked() {
	local directory count=0
	for directory in /proc/[0-9]*; do
		if tr '\0' ' ' 2>/dev/null <"$directory/cmdline" | grep -q "^qemu-system.*$1"; then count=$((count + 1)); fi
	done
	echo "$count"
}

no_guest_marked() { [ "$(guests_marked "$1")" = 0 ]; }

until_true() {
	local tries
	for ((tries = 0; tries < $1 * 10; tries++)); do
		if "${@:2}"; then return 0; fi
		sleep 0.1
	done
	return 1
}

test_usage() {
	"$machine" --help >"$work/out"
	same "--help succeeds" 0 $?
	matches "--help names every command" 'run.*prepare.*packages' "$(tr '\n' ' ' <"$work/out")"
	holds "packages prints one name a line" grep -qx 'qemu-system-x86' <("$machine" packages)
	local arguments
	for arguments in '' 'frobnicate' 'run' 'run --' 'run --what -- true' 'run --cpus=two -- true' \
		'run --timeout=0 -- true' 'run --kernel=plan9 -- true' 'run --iommu=ibm -- true' 'run --share=/nowhere -- true' \
		'run --env=1=2 -- true' 'prepare --fast'; do
		# shellcheck disable=SC2086
		"$machine" $arguments >"$work/out" 2>"$work/err"
		same "'machine $arguments' fails with 125" 125 $?
		same "and prints nothing on its output" "" "$(out)"
		[ -z "$arguments" ] || same "and says one sentence" "1" "$(wc -l <"$work/err")"
	done
}

test_status() {
	run -- true
	same "a command that succeeds" 0 "$status"
	same "says nothing by itself" "" "$(err)"
	run -- sh -c 'exit 7'
	same "a command that exits 7" 7 "$status"
	run -- sh -c 'kill -SEGV $$'
	same "a command that dies of signal 11" 139 "$status"
	run -- no-such-command
	same "a command that is not there" 127 "$status"
}

test_output() {
	mkdir "$work/data"
	head -c 8000000 /dev/urandom >"$work/data/output"
	printf '\r\n\004\000a\r\n' >"$work/data/error"
	head -c 1000000 /dev/urandom >>"$work/data/error"
	# Below /tmp, which the guest has afresh: the working directory has to be there all the same.
	pushd "$work/data" >/dev/null || return
	run -- sh -c 'cat error >&2 & cat output; wait'
	popd >/dev/null || return
	same "the status of a command with much output" 0 "$status"
	holds "8 MB of output are the same bytes" cmp "$work/data/output" "$work/out"
	holds "1 MB of errors are the same bytes" cmp "$work/data/error" "$work/err"

	# A reader that is slower than the guest must get it all, too.
	local sum
	sum=$("$machine" run --timeout=120 -- sh -c 'yes 0123456789abcde | head -c 4000000' | (sleep 12; sha256sum))
	same "a slow reader gets everything" "$(yes 0123456789abcde | head -c 4000000 | sha256sum)" "$sum"
}

test_output_comes_as_written() {
	mkdir "$work/answers"
	# The command ends only when its first line was read.
	"$machine" run --timeout=180 --share="$work/answers" -- \
		sh -c "echo first; until [ -e '$work/answers/read' ]; do sleep 0.2; done; echo last" 2>"$work/err" |
		while read -r line; do
			[ "$line" != first ] || touch "$work/answers/read"
			echo "$line"
		done >"$work/out"
	same "a line comes while the command goes on" $'first\nlast' "$(out)"
}

test_environment() {
	mkdir -p "$work/a b'c"
	pushd "$work/a b'c" >/dev/null || return
	GIVEN=$'two\nlines "quoted" \\ $HOME' HIDDEN=x run --env=GIVEN --env=SET='a b' --env=ABSENT -- \
		sh -c 'printf "%s|" "$PWD" "$GIVEN" "$SET" "${ABSENT-none}" "${HIDDEN-none}" "$@"' zero "it's" '' $'a\tb\n' '*' "\\"
	popd >/dev/null || return
	same "directory, variables and arguments arrive as they are" \
		"$work/a b'c|"$'two\nlines "quoted" \\ $HOME|a b|none|none|it\'s||a\tb\n|*|\\|' "$(out)"

	run -- sh -c 'id -u; readlink /proc/self/fd/0; cat /sys/class/net/lo/flags; uname -s; date +%s
				  sleep 1000 & trap "" TERM; yes >/dev/null &'
	{ read -r user; read -r input; read -r flags; read -r system; read -r seconds; } <"$work/out"
	same "what the command leaves running does not hold up the end" 0 "$status"
	same "the command is root" 0 "$user"
	same "its input is empty" /dev/null "$input"
	same "lo is up" 0x9 "$flags"
	same "it runs under Linux" Linux "$system"
	holds "the guest's clock is right" [ $(($(date +%s) - seconds)) -lt 20 ]
}

# Runs in the guest of test_devices.
facts_of_devices() {
	local nic group
	group=$(readlink /sys/bus/pci/devices/0000:00:10.0/iommu_group)
	for nic in 0000:00:10.0 0000:00:11.0; do
		nic=/sys/bus/pci/devices/$nic
		echo "driver=$(basename "$(readlink "$nic/driver")") features=$(cut -c 34 "$nic"/virtio*/features)"
	done
	echo "members=$(ls /sys/bus/pci/devices/0000:00:10.0/iommu_group/devices)"
	echo "hugepages=$(grep -c 'hugetlbfs' /proc/mounts) $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages)"
	echo "together=$(cd /sys/bus/pci/devices/0000:00:08.1/iommu_group/devices && echo *)"
	echo "extra=$(basename "$(readlink /sys/bus/pci/devices/0000:00:09.0/driver)")"
	echo 0000:00:10.0 >/sys/bus/pci/devices/0000:00:10.0/driver/unbind
	echo vfio-pci >/sys/bus/pci/devices/0000:00:10.0/driver_override
	echo 0000:00:10.0 >/sys/bus/pci/drivers_probe
	[ -c "/dev/vfio/${group##*/}" ] && echo "vfio=$(basename "$(readlink /sys/bus/pci/devices/0000:00:10.0/driver)")"
}

test_devices() {
	run --hugepages=64 --modules=e1000e --nic='hubport,hubid=0' --nic='hubport,hubid=0;mrg_rxbuf=off,iommu_platform=off' \
		--device=e1000e,addr=09.0 \
		--device=virtio-rng-pci,addr=08.0,multifunction=on --device=virtio-rng-pci,addr=08.1 \
		-- bash -c "$(declare -f facts_of_devices); facts_of_devices"
	same "two NICs bound to virtio_net in groups of their own; properties; hugepages; vfio-pci takes one" \
"driver=virtio-pci features=1
driver=virtio-pci features=0
members=0000:00:10.0
hugepages=1 64
together=0000:00:08.0 0000:00:08.1
extra=e1000e
vfio=vfio-pci" "$(out)"
	same "and nothing goes wrong meanwhile" "" "$(err)"
}

test_no_iommu() {
	run --no-iommu-guest --hugepages=0 --cpus=1 --memory=512M --nic='hubport,hubid=0' -- \
		sh -c 'ls /sys/kernel/iommu_groups | wc -l; nproc; ls /sys/class/net | xargs'
	same "no IOMMU, one processor" $'0\n1\neth0 lo' "$(out)"
	run --aw-bits=48 -- sh -c 'cat /sys/class/iommu/*/intel-iommu/cap'
	# Bits 21:16 are MGAW, the width of guest addresses less one.
	same "--aw-bits=48 widens the IOMMU" 48 $(((0x$(out) >> 16 & 0x3f) + 1))
	run --hugepages=4000 -- true
	same "more hugepages than memory is a failure" 125 "$status"
	matches "that names the remedy" 'more --memory' "$(err)"
}

test_share() {
	mkdir "$work/share" "$work/share 2"
	run --share="$work/share" --share="$work/share 2" -- sh -c "
		echo one >'$work/share/file' && echo two >'$work/share 2/file' && echo gone >'$work/lost' &&
		touch '$machine.lost' && echo written"
	same "the guest believes that it wrote everywhere" written "$(out)"
	same "the first share has it" one "$(cat "$work/share/file")"
	same "the second share has it" two "$(cat "$work/share 2/file")"
	holds "the rest of the host does not" [ ! -e "$machine.lost" ]
}

test_timeout() {
	local begin try
	for try in 1 2; do
		begin=$SECONDS
		"$machine" run --timeout=30 -- sh -c 'echo begun; sleep 1000' >"$work/out" 2>"$work/err"
		status=$?
		# Not so when this very boot was one of those that do not come up.
		[ ! -s "$work/out" ] || break
	done
	same "the time running out is status 124" 124 "$status"
	holds "in time" [ $((SECONDS - begin)) -le 35 ]
	same "with the output so far" begun "$(out)"
	matches "and a sentence about it" 'did not end within 30 s' "$(err)"
	"$machine" run --timeout=1 -- true >"$work/out" 2>"$work/err"
	same "no time to boot is status 124" 124 $?
	matches "and a sentence about that" 'did not come up within 1 s' "$(err)"
}

test_panic() {
	run --console="$work/console" -- sh -c 'echo c >/proc/sysrq-trigger'
	same "a panic is status 125" 125 "$status"
	matches "with the end of the console" 'went down before.*Kernel panic' "$(err)"
	holds "which --console keeps too" grep -q 'Kernel panic' "$work/console"
	"$machine" run --timeout=180 --append='rdinit=/nothing' -- true >"$work/out" 2>"$work/err"
	same "a guest that cannot boot is status 125" 125 $?
	same "after two more tries" 2 "$(grep -c 'booting it again' "$work/err")"
	run --device=no-such-device -- true
	same "what QEMU refuses is status 125" 125 "$status"
	matches "in its own words" 'no-such-device' "$(err)"
}

# ended_by SIGNAL EXPECTED-STATUS: what is left of a run that a signal ended.
ended_by() {
	local mark="mark-$RANDOM$RANDOM" process
	"$machine" run --timeout=120 --append="$mark" -- sh -c 'echo up; sleep 1000' >"$work/out" 2>"$work/err" &
	process=$!
	until_true 60 grep -q up "$work/out"
	same "one guest runs" 1 "$(guests_marked "$mark")"
	kill "-$1" "$process"
	wait "$process"
	same "SIG$1 ends the run with status $2" "$2" $?
	until_true 3 no_guest_marked "$mark"
	same "no guest is left after SIG$1" 0 "$(guests_marked "$mark")"
}

test_nothing_stays() {
	local mark="mark-$RANDOM$RANDOM"
	run --append="$mark" -- true
	same "no guest is left after an end in good order" 0 "$(guests_marked "$mark")"
	# Started by & as here, bash has SIGINT ignored from the start; it has to work all the same.
	ended_by INT 130
	ended_by TERM 143
	ended_by KILL 137
	"$machine" run --timeout=120 --append="$mark" -- yes | head -n 1 >"$work/out"
	same "a reader that goes away ends the run" "y 0" "$(out) $(guests_marked "$mark")"
	same "no temporary file is left" "" "$(ls -A "$TMPDIR")"
}

test_cache() {
	local kernel cache=$work/cache first second
	kernel=$(readlink -f "${POLLUX_CACHE:-/var/cache/pollux}/machine/kernel-debian")
	mkdir -p "$cache/machine/new.left-over"
	ln -s "$kernel" "$cache/machine/kernel-debian"
	POLLUX_CACHE=$cache "$machine" run --timeout=120 -- true & first=$!
	POLLUX_CACHE=$cache "$machine" run --timeout=120 -- true & second=$!
	wait "$first"
	same "the first of two runs that share an empty cache" 0 $?
	wait "$second"
	same "the second of them" 0 $?
	same "nothing half made is in the cache" "initramfs kernel lock" \
		"$(cd "$cache/machine" && printf '%s\n' * | sed 's/-.*//' | xargs)"
	POLLUX_CACHE=/proc/nowhere "$machine" run -- true 2>"$work/err"
	same "a cache that cannot be written is status 125" 125 $?
	matches "and names the remedy" 'set POLLUX_CACHE' "$(err)"
}

tests=("$@")
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <(declare -F | sed -n 's/^declare -f test_//p')
# The first run may have to fetch the kernel, which no test should have to wait for.
"$machine" run -- true || { not_ok "the machine runs at all"; echo "1..1"; exit 1; }
for name in "${tests[@]}"; do
	"test_$name"
done
echo "1..$checks"
[ "$failures" -eq 0 ]
