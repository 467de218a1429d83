# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# The host's side of pollux between two NICs of a machine, with numbered frames sent and watched from
# outside. Sourced after lib.sh; forward_guest.sh is the other side.

# A machine that has to be booted twice on a busy host is no failure.
patience=300

nic_a=52:54:00:00:00:0a
nic_b=52:54:00:00:00:0b
nic_properties=packed=on,rx_queue_size=1024

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

# start_machine [OPTION...]: those of the machine. A crash of the emulator is a failure here, other
# than in in_machine(): the two sides have met by then and count each other's frames, so a second try
# would be a second run of the whole test.
start_machine()
{
	machine "$@" "--nic=stream,server=off,addr.type=unix,addr.path=$scratch/a.sock;mac=$nic_a,$nic_properties" \
		"--nic=stream,server=off,addr.type=unix,addr.path=$scratch/b.sock;mac=$nic_b,$nic_properties" \
		-- bash "$scratch/forward_guest.sh" "$scratch" >"$scratch/machine.log" 2>&1 &
	machine_pid=$!
	at_exit 'kill "$machine_pid" 2>/dev/null; wait "$machine_pid" 2>/dev/null'
}

end_machine()
{
	put_file "$scratch/quit" ""
	wait "$machine_pid"
	is "${1:-the machine} ends well" $? 0
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
	put_file "$scratch/$number.run" "pollux fwd $1 --json"
	wait_for_guest "$number.up"
}

end_forward()
{
	put_file "$scratch/$number.signal" "$1"
	wait_for_guest "$number.status"
}

# ask COMMAND: one that ends by itself; $number.out, .err and .status have the answer
ask()
{
	number=$((number + 1))
	put_file "$scratch/$number.run" "$1"
	wait_for_guest "$number.up"
	end_forward INT
}

# aside COMMAND: one more beside the pollux that forwards; its end is in $number.aside.*
aside()
{
	rm -f "$scratch/$number".aside*
	put_file "$scratch/$number.aside" "$1"
	wait_for_guest "$number.aside.status"
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

