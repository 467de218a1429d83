#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# NICs of QEMU are unplugged and reset under a pollux that forwards, and pollux is killed; every frame
# is watched from outside. POLLUX_FULL=1 takes the full counts.
#
#     machine_test.sh POLLUX FRAMES
here=$(cd "$(dirname "$0")" && pwd)
tests=$here/../vm

# QEMU itself may crash: see emulator_crashed() of lib.sh. Then all is run once more, and not again.
if [ -z "${POLLUX_TRY:-}" ]; then
	said=$(mktemp)
	for try in 1 2; do
		POLLUX_TRY=$try bash "$0" "$@" >"$said"
		status=$?
		[ "$try" = 1 ] && [ "$status" != 0 ] && grep -q 'QEMU ended on signal' "$said" || break
		echo '# QEMU crashed, so all is run once more'
	done
	cat "$said"
	rm -f "$said"
	exit "$status"
fi
. "$tests/lib.sh"
patience=400

if [ "${POLLUX_FULL:-}" = 1 ]; then
	unplugs=200 pulls=200 resets=200 kills=100 cycles=500
else
	unplugs=3 pulls=3 resets=5 kills=3 cycles=20
fi
devices=(0000:01:00.0 0000:02:00.0)

begin_on_host ../recovery/machine_guest.sh "$1"

# --- the machine ---------------------------------------------------------------------------------

# The NIC of port N, as --device and as plug have it.
nic()
{
	echo "driver=virtio-net-pci id=nic$1 bus=port$1 netdev=hot$1 mac=52:54:00:00:00:0$1 romfile=" \
		"disable-legacy=on iommu_platform=on ats=on packed=$2"
}

start_frames()
{
	coproc FRAMES { exec "$1" "$scratch/0.sock" "$scratch/1.sock"; }
	at_exit "kill $FRAMES_PID 2>/dev/null"
	hear_frames >/dev/null
}

hear_frames()
{
	local line

	read -r -t $((2 * patience)) line <&"${FRAMES[0]}" || return 1
	echo "$line"
}

tell_frames()
{
	echo "$1" >&"${FRAMES[1]}"
}

# Each NIC sits in a port of its own, out of which it may be pulled.
start_machine()
{
	local options=() port properties

	for port in 0 1; do
		read -ra properties <<<"$(nic $port on)"
		properties[0]=${properties[0]#driver=}
		options+=("--device=pcie-root-port,id=port$port,bus=pcie.0,chassis=$((port + 1)),slot=$((port + 1)),addr=0$((port + 2)).0"
			"--device=$(IFS=,; echo "${properties[*]}")"
			--qemu=-netdev
			"--qemu=stream,id=hot$port,server=off,addr.type=unix,addr.path=$scratch/$port.sock")
	done
	"$tests/../../apps/machine" run --share="$scratch" --timeout=7200 "${options[@]}" \
		--qemu=-qmp "--qemu=unix:$scratch/qmp,server=on,wait=off" \
		-- bash "$scratch/machine_guest.sh" "$scratch" "${devices[@]}" >"$scratch/machine.log" 2>&1 &
	machine_pid=$!
	at_exit end_machine
}

# Whoever misses its QEMU may have noticed sooner than the machine.
end_machine()
{
	[ "$status" = 0 ] || sleep 1
	kill "$machine_pid" 2>/dev/null
	wait "$machine_pid" 2>/dev/null
	sed -n 's/.*QEMU ended on signal/# &/p' "$scratch/machine.log"
}

there_or_gone()
{
	[ -e "$scratch/$1" ] || ! kill -0 "$machine_pid" 2>/dev/null
}

wait_for_guest()
{
	wait_until there_or_gone "$1"
	[ -e "$scratch/$1" ] && return 0
	not_ok "the guest answers" "$1 does not come; the machine says:" "$(tail "$scratch/machine.log")" \
		"$(tail "$scratch/${run:-0}.err" 2>/dev/null)"
	exit 1
}

number=0

# ask LINE: what the guest is to do next
ask()
{
	number=$((number + 1))
	put_file "$scratch/$number.run" "$1"
}

# demand LINE: what the guest has to do well before the test goes on
demand()
{
	ask "$1"
	wait_for_guest "$number.status"
	[ "$(<"$scratch/$number.status")" = 0 ] && return 0
	not_ok "the guest does: $1" "$(tail "$scratch/$number.err")"
	exit 1
}

qemu()
{
	local words

	words=$(python3 "$here/qmp.py" "$scratch/qmp" "$@" 2>&1) && return 0
	not_ok "QEMU does: $*" "$words"
	exit 1
}

# --- pollux --------------------------------------------------------------------------------------

said()
{
	grep -c -- "$1" "$scratch/$run.err"
}

says_so_often()
{
	[ "$(said "$1")" -ge "$2" ] || [ -e "$scratch/$run.status" ]
}

# wait_for_words WORDS COUNT: until pollux has said so
wait_for_words()
{
	wait_until says_so_often "$1" "$2"
	[ "$(said "$1")" -ge "$2" ] && return 0
	not_ok "pollux says '$1' $2 times" "$(tail -n 5 "$scratch/$run.err")"
	exit 1
}

begin_forward()
{
	ask "pollux fwd ${devices[*]} --json $1"
	run=$number
	wait_until test -e "$scratch/$run.err"
	wait_for_words 'pollux: forwarding' 1
}

hear_flow()
{
	local heard

	heard=$(hear_frames)
	[ "$heard" = '{"flowing":true}' ] && return 0
	not_ok "frames pass in both directions" "$heard" "$(tail -n 5 "$scratch/$run.err")"
	exit 1
}

begin_traffic()
{
	tell_frames 'run count=1000000000 flow=50 giveup=1 stall=600'
	hear_flow
}

# Frames pass again after what was just done.
traffic_flows()
{
	tell_frames flow
	hear_flow
}

unharmed()
{
	json_holds 'not any(way[fault] for way in frames["directions"] for fault in ("altered", "doubled", "foreign"))' \
		"frames=$scratch/frames"
}

# What passed until now was unharmed, whatever was lost.
end_traffic()
{
	tell_frames stop
	hear_frames >"$scratch/frames"
	unharmed
}

end_forward()
{
	put_file "$scratch/$run.signal" "$1"
	wait_for_guest "$run.status"
}

# measure: descriptors and kilobytes of the pollux that runs
measure()
{
	demand size
	mapfile -t size <"$scratch/$number.out"
}

# grown_little FEW MANY: kilobytes
grown_little()
{
	[ "$2" -le $(($1 + 1024)) ] || { echo "$1 kB have become $2 kB" && return 1; }
}

as_before()
{
	diff "$scratch/0.after" "$scratch/$run.after"
}

# With nothing in its way any more, each frame comes through.
all_frames_pass()
{
	tell_frames 'run count=200'
	hear_frames >"$scratch/frames"
	json_holds 'frames["ok"]' "frames=$scratch/frames"
}

ended_well()
{
	local name=$1 times=$2

	check "$name: afterwards every frame passes" all_frames_pass
	end_forward INT
	is "$name: pollux ends with 0" "$(<"$scratch/$run.status")" 0
	check "$name: it counted each" json_holds "sum(port['resets'] for port in fwd['ports']) >= $times
		and fwd['error'] is None" "fwd=$scratch/$run.out"
	check "$name: no page is left behind, and vfio-pci has both functions" as_before
}

# --- the tests -----------------------------------------------------------------------------------

# broken_under_load NAME TIMES BREAK: one pollux lives through it all, and is not larger at the end than
# after the first round of both devices. BREAK takes the number of a device and of the round.
broken_under_load()
{
	local name="$2 times $1" times=$2 i before=()

	begin_forward --recover=1000000
	begin_traffic
	for ((i = 1; i <= times; i++)); do
		"$3" $((i % 2)) "$i"
		wait_for_words 'back after' "$i"
		traffic_flows
		[ "$i" != 2 ] || { measure && before=("${size[@]}"); }
	done
	ok "$name: pollux was back each time, and frames passed"
	if [ "${#before[@]}" != 0 ]; then
		measure
		diagnose "after 2 and $times times: ${before[0]} and ${size[0]} descriptors, ${before[1]} and ${size[1]} kB"
		is "$name: no descriptor more" "${size[0]}" "${before[0]}"
		check "$name: no memory more than a megabyte" grown_little "${before[1]}" "${size[1]}"
	fi
	check "$name: no frame was altered or came twice" end_traffic
	ended_well "$name" "$times"
}

# QEMU takes the card away, and plugs one with another layout of rings in.
unplug()
{
	local layouts=(off on) properties

	qemu unplug "nic$1"
	read -ra properties <<<"$(nic "$1" "${layouts[$2 / 2 % 2]}")"
	qemu plug "${properties[@]}"
	demand "bind ${devices[$1]}"
}

# The kernel removes the function and finds it again.
pull()
{
	demand "pull ${devices[$1]}"
}

reset()
{
	demand "reset ${devices[$1]}"
}

killed_under_load()
{
	local i clean=0

	for ((i = 1; i <= kills; i++)); do
		begin_forward ''
		begin_traffic
		end_forward KILL
		check_quietly "kill $i: no frame was altered or came twice" end_traffic &&
			check_quietly "kill $i: nothing is left behind" as_before && clean=$((clean + 1))
	done
	is "$kills times kill -9 under load: nothing altered, no page and no device left behind" "$clean" "$kills"
	begin_forward ''
	ended_well "$kills times kill -9" 0
}

# check_quietly NAME COMMAND...: only a failure is worth a line
check_quietly()
{
	local name=$1 words

	shift
	words=$("$@" 2>&1) && return 0
	not_ok "$name" "$words"
	return 1
}

starts_and_stops()
{
	ask "cycles $cycles"
	run=$number
	patience=3600 wait_for_guest "$number.status"
	is "$cycles starts and stops end well" "$(<"$scratch/$number.out")" "$cycles"
	check "$cycles starts and stops leave nothing behind" as_before
}

# Without --recover the kernel has the device back at once, and pollux says why it ends.
pulled_for_good()
{
	begin_forward ''
	demand "pull ${devices[0]}"
	wait_for_guest "$run.status"
	is 'a removal ends a pollux that is not to recover, with 1' "$(<"$scratch/$run.status")" 1
	like 'it says why' "$(<"$scratch/$run.err")" 'the kernel wants the device back'
}

# What it took, for who wonders where the time goes.
stage()
{
	local began=$SECONDS

	"$@"
	diagnose "$((SECONDS - began)) s"
}

start_frames "$2"
start_machine
wait_for_guest 0.after
stage broken_under_load 'unplugged by QEMU' "$unplugs" unplug
stage broken_under_load 'removed by the kernel' "$pulls" pull
stage broken_under_load reset "$resets" reset
stage killed_under_load
stage starts_and_stops
stage pulled_for_good
put_file "$scratch/quit" ""
wait "$machine_pid"
is 'the machine ends well' $? 0
tap_end
