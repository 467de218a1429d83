#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pollux forwards between two real QEMU NICs, and every frame is watched from outside.
#
#     forward_test.sh POLLUX FRAMES
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"
. "$tests/forward.sh"

begin_on_host forward_guest.sh "$1"

# --- the tests -----------------------------------------------------------------------------------

every_ring()
{
	local layout=$1 mrg=$2 event=$3 packed=on buffers=mergeable ring name

	[ "$layout" = packed ] || packed=off
	[ "$mrg" = on ] || buffers='one buffer'
	for ring in 64 256 1024,256; do
		name="$layout, mrg_rxbuf=$mrg, event_idx=$event, ring=$ring"
		forward "$(with_options "packed=$packed,mrg_rxbuf=$mrg,event_idx=$event") --ring=$ring"
		check "$name: every frame passes unharmed" frames_pass
		check "$name: the counters agree with what passed" counts_agree
		check "$name: the paths are as asked for" fwd_says "all(port['rx_path'].startswith('$layout, $buffers')
			and port['tx_path'].startswith('$layout') for port in fwd['ports'])"
		check "$name: SIGINT ends it with status 0" ended_well
	done
}

modes()
{
	forward "$(with_options mrg_rxbuf=off) --mode=macswap" addresses=swap
	check "macswap exchanges the addresses and changes nothing else" all_is_well
	forward "$(with_options packed=off,mrg_rxbuf=on) --mode=macswap --ring=64" addresses=swap
	check "macswap does so with mergeable buffers" all_is_well
	forward "$(with_options mrg_rxbuf=off) --mode=mac --peer=06:00:00:00:00:aa,06:00:00:00:00:bb" \
		"addresses=06:00:00:00:00:aa/$nic_a,06:00:00:00:00:bb/$nic_b"
	check "mac writes the port's address and its peer's, and changes nothing else" all_is_well
}

restarts()
{
	local times=20 time signal packed

	for time in $(seq "$times"); do
		signal=INT packed=off
		[ $((time % 2)) -eq 0 ] || signal=TERM
		[ $((time % 4)) -lt 2 ] || packed=on
		forward "$(with_options packed=$packed)" count=200 "$signal"
		check "start $time of $times: traffic passes, the counters agree, SIG$signal ends it with 0" \
			all_is_well
	done
}

# Frames that were under way when pollux died may come out later, or never.
killed_under_traffic()
{
	local options

	options="$(with_options "packed=$1") --ring=256"
	begin_forward "$options"
	tell_frames "run count=10000000 flow=1000"
	is "packed=$1: traffic flows before pollux is killed" "$(hear_frames)" '{"flowing":true}'
	end_forward KILL
	is "packed=$1: SIGKILL ends pollux under traffic" "$(<"$scratch/$number.status")" 137
	tell_frames stop
	hear_frames >"$scratch/$number.frames"
	check "packed=$1: what passed until then was unharmed" json_holds \
		'frames["stopped"] and not any(way[fault] for way in frames["directions"]
			for fault in ("lost", "altered", "doubled", "reordered", "foreign"))' \
		"frames=$scratch/$number.frames"

	forward "$options"
	check "packed=$1: a new pollux takes the devices over" ended_well
	check "packed=$1: every frame passes it unharmed" json_holds 'frames["ok"]' \
		"frames=$scratch/$number.frames"
	forward "$options" count=200
	check "packed=$1: nothing of the killed one is left" all_is_well
}

start_frames "$2"
start_machine
for layout in split packed; do
	for mrg in on off; do
		for event in on off; do
			every_ring "$layout" "$mrg" "$event"
		done
	done
done
modes
restarts
killed_under_traffic off
killed_under_traffic on
end_machine
tap_end
