#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pollux forwards between two real QEMU NICs and sleeps whenever nothing comes.
#
#     asleep_test.sh POLLUX FRAMES vectors    woken by MSI-X
#     asleep_test.sh POLLUX FRAMES line       on NICs without MSI-X vectors, by the line that they have
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"
. "$tests/forward.sh"

begin_on_host forward_guest.sh "$1"

# A frame at a time: every one of them finds the core asleep, or about to sleep; with patience, which
# adaptive learns, only some. In emulation, on a busy host, an interrupt may come so late that the
# bound of a sleep is there first; but not often.
asleep()
{
	local name="--idle=$1, $2, event_idx=$3: " packed=on least=20

	[ "$2" = packed ] || packed=off
	[ "$1" = interrupt ] || least=0
	forward "$(with_options "packed=$packed,event_idx=$3") --idle=$1" "count=100 window=1"
	check "${name}every frame passes, the counters agree" all_is_well
	check "${name}interrupts end its sleeps" fwd_says \
		"fwd['idle']['mode'] == '$1' and fwd['idle']['wakeups'] > $least and fwd['idle']['missed'] <= 1 + fwd['idle']['wakeups'] / 5"
}

start_frames "$2"
[ "$3" = vectors ] || nic_properties+=,vectors=0
start_machine
for mode in interrupt adaptive; do
	asleep "$mode" split off
	asleep "$mode" packed on
done
asleep interrupt split on
asleep interrupt packed off
forward "$(with_options packed=on) --idle=adaptive"
check "--idle=adaptive under load: every frame passes, the counters agree" all_is_well
end_machine
tap_end
