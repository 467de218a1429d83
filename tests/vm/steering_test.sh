#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The kernel's own traffic through QEMU's NICs with four pairs of queues at TAPs: its flows spread over
# the queues, with and without RSS, and its checksums and large segments pass through the offloads.
#
#     steering_test.sh POLLUX
#
# It runs in network namespaces of its own: one for QEMU, and one for each end. QEMU has no vhost here,
# so that it steers by itself: its RSS is that of QEMU's own code, and what a kernel does with RSS in
# eBPF or in vhost is not seen.
if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] || { echo "1..0 # SKIP only root can make namespaces"; exit 0; }
	exec unshare --net -- bash "$0" --inside "$@"
fi
shift
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"
. "$tests/forward.sh"

left_address=198.51.100.1
right_address=198.51.100.2
queues=4
flows=64

begin_on_host forward_guest.sh "$1"

# --- two ends --------------------------------------------------------------------------------------

is_asleep()
{
	[ "$(<"/proc/$1/comm")" = sleep ]
}

# hold_namespace NAME: its process is left in $NAME
hold_namespace()
{
	unshare --net -- sh -c '
		for setting in /proc/sys/net/ipv6/conf/*/disable_ipv6; do
			[ ! -w "$setting" ] || echo 1 >"$setting"
		done
		ip link set dev lo up && exec sleep infinity' &
	printf -v "$1" %s $!
	at_exit "kill $! 2>/dev/null"
	wait_until is_asleep $!
}

# at END COMMAND...: in its namespace
at()
{
	nsenter --net="/proc/${!1}/ns/net" "${@:2}"
}

# QEMU made it here, and keeps it wherever it goes. Its queues can be told in the other namespace, too.
move_tap()
{
	ip link set dev "$2" netns "${!1}"
	at "$1" ip address add "$3/24" dev "$2"
	at "$1" ip link set dev "$2" up
}

# In place of the one with numbered frames.
start_machine()
{
	local nic="script=no,downscript=no,queues=$queues;mq=on,vectors=$((2 * queues + 2)),rss=on,hash=on,packed=on"

	machine "--nic=tap,ifname=left,$nic" "--nic=tap,ifname=right,$nic" \
		-- bash "$scratch/forward_guest.sh" "$scratch" >"$scratch/machine.log" 2>&1 &
	machine_pid=$!
	at_exit 'kill "$machine_pid" 2>/dev/null; wait "$machine_pid" 2>/dev/null'
}

has_taps()
{
	ip link show dev left >/dev/null 2>&1 && ip link show dev right >/dev/null 2>&1 ||
		! kill -0 "$machine_pid" 2>/dev/null
}

is_listening()
{
	at right ss -Hltun | grep -q ":$1 "
}

# serve PORT COMMAND...: at the right end, until all ends
serve()
{
	at right "${@:2}" >>"$scratch/serve.$1" 2>&1 &
	at_exit "kill $! 2>/dev/null"
	wait_until is_listening "$1" || not_ok "a server listens at port $1" "$(<"$scratch/serve.$1")"
}

# --- traffic ---------------------------------------------------------------------------------------

# steer NAME OPTIONS QUEUES: flows through so many queues
steer()
{
	local name=$1

	begin_forward "$(with_options "$2") --queues=$3"
	at left python3 "$tests/flows.py" send $right_address 9000 $flows 5 >"$scratch/flows"
	end_forward INT
	check "$name: all flows get through" json_holds \
		'flows["unfinished"] == flows["altered"] == 0' "flows=$scratch/flows"
	check "$name: they spread over all queues of both ports" fwd_says \
		"all(port['counters'][f'rx{i}.packets'] > 0 and port['counters'][f'tx{i}.packets'] > 0
			for port in fwd['ports'] for i in range($3))"
	check "$name: and over no other" fwd_says \
		"not any('rx$3.packets' in port['counters'] for port in fwd['ports'])"
	check "$name: it ends well" ended_well
	diagnose "$(json_counts)"
}

json_counts()
{
	python3 -c '
import json, sys
for port in json.load(open(sys.argv[1]))["ports"]:
    print({name: value for name, value in port["counters"].items() if name.endswith(".packets")})' \
		"$scratch/$number.out"
}

# What the kernel of an end found wrong.
bad_checksums()
{
	at "$1" cat /proc/net/snmp | awk '
		/^(Tcp|Udp):/ && !($1 in heading) { heading[$1] = $0; next }
		/^(Tcp|Udp):/ { n = split(heading[$1], name); for (i = 2; i <= n; i++) if (name[i] == "InCsumErrors") sum += $i }
		END { print sum + 0 }'
}

# transfer NAME OPTIONS MODE EXPRESSION: one TCP stream; the expression is of the bytes of its frames.
# What is under way when the sender ends is not counted.
transfer()
{
	local name=$1 before after

	before=$(($(bad_checksums left) + $(bad_checksums right)))
	begin_forward "$(with_options "$2") --mode=$3"
	timeout $((2 * patience)) nsenter --net="/proc/$left/ns/net" \
		iperf3 --json --client $right_address --bytes 16M >"$scratch/iperf3" 2>&1
	end_forward INT
	after=$(($(bad_checksums left) + $(bad_checksums right)))
	check "$name: TCP gets through" json_holds \
		'iperf3["end"]["sum_received"]["bytes"] > 8 << 20' "iperf3=$scratch/iperf3"
	is "$name: no checksum is wrong" $((after - before)) 0
	check "$name: frames are as long as they should be" fwd_says \
		"(lambda size: $4)(fwd['ports'][0]['rx_bytes'] / fwd['ports'][0]['rx_packets'])"
	check "$name: it ends well" ended_well
	diagnose "$(python3 -c '
import json, sys
end = json.load(open(sys.argv[1]))["end"]
port = json.load(open(sys.argv[2]))["ports"][0]
print("%.0f Mbit/s, %.0f bytes a frame" % (end["sum_received"]["bits_per_second"] / 1e6,
      port["rx_bytes"] / port["rx_packets"]))' "$scratch/iperf3" "$scratch/$number.out" 2>&1)"
}

hold_namespace left
hold_namespace right
start_machine
wait_until has_taps
move_tap left left $left_address
move_tap right right $right_address
serve 9000 python3 "$tests/flows.py" serve 9000
serve 5201 iperf3 --server --forceflush

steer "split, no RSS" packed=off,rss=off $queues
steer "packed, RSS" packed=on,rss=on $queues
steer "split, RSS, two of four pairs" packed=off,rss=on 2
steer "packed, no RSS, two of four pairs" packed=on,rss=off 2
transfer "split, no offloads" packed=off io 'size <= 1514'
transfer "split, offloads" packed=off csum 'size > 1514'
transfer "packed, offloads" packed=on csum 'size > 1514'
end_machine
tap_end
