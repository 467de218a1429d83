#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pollux forwards between two real QEMU NICs, and every frame is watched from outside.
#
#     forward_test.sh POLLUX FRAMES
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"

nic_a=52:54:00:00:00:0a
nic_b=52:54:00:00:00:0b

begin_on_host forward_guest.sh "$1"

# --- the two sides -------------------------------------------------------------------------------

start_frames()
{
	coproc FRAMES { exec "$1" "$scratch/a.sock" "$scratch/b.sock"; }
	at_exit "kill $FRAMES_PID 2>/dev/null"
	hear_frames >/dev/null
}

tell_frames()
{
	echo "$1" >&"${FRAMES[1]}"
}

# Its next line. A run ends by itself when nothing moves, so this bound is for what has hung.
hear_frames()
{
	local line

	read -r -t $((2 * patience)) line <&"${FRAMES[0]}" || return 1
	echo "$line"
}

# A crash of the emulator is a failure here, other than in in_machine(): the two sides have met by
# then and count each other's frames, so a second try would be a second run of the whole test.
start_machine()
{
	machine "--nic=stream,server=off,addr.type=unix,addr.path=$scratch/a.sock;mac=$nic_a,packed=on,rx_queue_size=1024" \
		"--nic=stream,server=off,addr.type=unix,addr.path=$scratch/b.sock;mac=$nic_b,packed=on,rx_queue_size=1024" \
		-- bash "$scratch/forward_guest.sh" "$scratch" >"$scratch/machine.log" 2>&1 &
	machine_pid=$!
	at_exit 'kill "$machine_pid" 2>/dev/null; wait "$machine_pid" 2>/dev/null'
}

answered_or_gone()
{
	[ -e "$scratch/$1" ] || ! kill -0 "$machine_pid" 2>/dev/null
}

wait_for_guest()
{
	wait_until answered_or_gone "$1"
	[ -e "$scratch/$1" ] && return 0
	not_ok "the guest answers" "$1 does not come; the machine says:" "$(tail "$scratch/machine.log")"
	exit 1
}

# --- one run of pollux ---------------------------------------------------------------------------

number=0

# begin_forward ARGUMENTS: those of pollux fwd besides the devices and what all runs have
begin_forward()
{
	number=$((number + 1))
	put_file "$scratch/$number.run" "fwd $1 --json"
	wait_for_guest "$number.up"
}

end_forward()
{
	put_file "$scratch/$number.signal" "$1"
	wait_for_guest "$number.status"
}

# forward ARGUMENTS [OPTIONS-OF-FRAMES] [SIGNAL]
forward()
{
	begin_forward "$1"
	# No traffic for a pollux that did not start: what it said is reported by ended_well.
	if [ "$(<"$scratch/$number.up")" = forwarding ]; then
		tell_frames "run ${2:-}"
		hear_frames >"$scratch/$number.frames"
	fi
	end_forward "${3:-INT}"
}

ended_well()
{
	local status said

	status=$(<"$scratch/$number.status")
	said=$(<"$scratch/$number.err")
	echo "status $status, standard error: $said"
	[ "$status" = 0 ] && [ "$said" = "pollux: forwarding" ]
}

frames_pass()
{
	json_holds 'frames["ok"] and not any(way["stale"] for way in frames["directions"])' \
		"frames=$scratch/$number.frames"
}

# What left one port of pollux is what came out here and what came in at its other port.
counts_agree()
{
	json_holds 'all(port["rx_dropped"] == port["tx_dropped"] == 0
		and port["rx_packets"] == other["tx_packets"] == way["out_frames"] == way["sent"] + way["probes_sent"]
		and port["rx_bytes"] == other["tx_bytes"] == way["out_bytes"] == way["sent_bytes"]
		for port, other, way in zip(fwd["ports"], reversed(fwd["ports"]), frames["directions"]))
		and fwd["error"] is None' \
		"fwd=$scratch/$number.out" "frames=$scratch/$number.frames"
}

all_is_well()
{
	frames_pass && counts_agree && ended_well
}

# fwd_says EXPRESSION: of the object that pollux printed
fwd_says()
{
	json_holds "$1" "fwd=$scratch/$number.out"
}

both=0000:00:10.0,OPTIONS\ 0000:00:11.0,OPTIONS

with_options()
{
	echo "${both//OPTIONS/$1}"
}

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
		check "$name: the paths are as asked for" fwd_says "all(port['rx_path'] == '$layout, $buffers'
			and port['tx_path'] == '$layout' for port in fwd['ports'])"
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
put_file "$scratch/quit" ""
wait "$machine_pid"
is "the machine ends well" $? 0
tap_end
