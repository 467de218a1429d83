#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `pollux emu` and a driver in another process: traffic, ends in every order, and what is said. Takes
# the program's path and speaks TAP. Needs no right and no hardware.
# shellcheck source=tests/unit/program_lib.sh
. "$(dirname "$0")/program_lib.sh"

socket=$work/card
device=vfio-user:$socket
server=

# serve WORD...: a card behind the socket, which listens when this returns.
serve()
{
	# What the last one said is none of this one's.
	rm -f "$work/emu.err"
	"$pollux" emu net "$@" --socket="$socket" --json >"$work/emu.out" 2>"$work/emu.err" &
	server=$!
	wait_for grep -qs '^pollux: serving ' "$work/emu.err"
}

# finish_server SIGNAL: it ends; its status is in served.
finish_server()
{
	kill "-$1" "$server"
	wait "$server" 2>/dev/null
	served=$?
}

# told EXPRESSION: of the card's summary.
told()
{
	cp "$work/emu.out" "$work/out"
	[ "$(query "$1")" = True ]
}

forward()
{
	run timeout 60 "$pollux" fwd --page-size=4K --quiet --json "$@"
}

# As forward(), for as long as it takes until CHECK holds; clients counts the runs.
forward_until()
{
	local check=$1

	shift
	patiently "$check" "$pollux" fwd --page-size=4K --quiet --json "$@"
}

moves_many()
{
	clients=$((clients + 1))
	[ "$(query "j['ports'][0]['rx_packets'] > 1000 and j['ports'][0]['tx_packets'] > 1000")" = True ]
}

passes_many_on()
{
	[ "$(query "j['ports'][1]['tx_packets'] > 1000")" = True ]
}

sleeps_often()
{
	[ "$(query "j['idle']['wakeups'] > 10 and j['ports'][0]['rx_packets'] > 10")" = True ]
}

# Of the card's clients.
have_come()
{
	[ "$(grep -c 'has the device' "$work/emu.err")" -ge "$1" ]
}

# --- a whole run
serve peer=gen
run timeout 60 "$pollux" info --trace "$device"
verdict "info shows the handshake with a card of another process" \
	grep -q 'DRIVER_OK re-read' "$work/out"
clients=1
forward_until moves_many "$device" --mode=io
verdict "frames of a card of another process are forwarded" [ "$status" -eq 0 ]
verdict "and counted" \
	[ "$(query "j['ports'][0]['rx_packets'] > 1000 and j['ports'][0]['tx_packets'] > 1000")" = True ]
finish_server TERM
verdict "the card ends by SIGTERM with status 0" [ "$served" -eq 0 ]
verdict "and takes its socket away" [ ! -e "$socket" ]
verdict "it saw both drivers" told "j['clients'] == $clients and j['refused'] == 0 and j['dropped'] == 0"
verdict "it found no fault with them" told "j['breaches'] == []"
verdict "every frame that came back was whole" \
	told "j['checked'] > 1000 and j['altered'] == 0 and j['doubled'] == 0"
verdict "notifications went by eventfd" told "j['doorbells'] > 0 and j['doorbells'] == j['kicks']"
verdict "it told of who came and went" \
	[ "$(grep -c 'a client has the device' "$work/emu.err")" -eq "$clients" ]

# --- two cards, and frames between them
serve peer=gen rate=20000
mv "$socket" "$socket.a"
first=$server
mv "$work/emu.err" "$work/first.err"
"$pollux" emu net peer=sink --socket="$socket" --json >"$work/sink.out" 2>"$work/emu.err" &
server=$!
wait_for grep -qs '^pollux: serving ' "$work/emu.err"
forward_until passes_many_on "vfio-user:$socket.a" "$device" --mode=io
verdict "frames go from one card to another" [ "$status" -eq 0 ]
finish_server INT
kill "$first"
wait "$first"
cp "$work/sink.out" "$work/emu.out"
verdict "none that was sent came altered or twice" \
	told "j['checked'] > 1000 and j['altered'] == 0 and j['doubled'] == 0"
rm -f "$socket.a"

# --- many queues, and the proposal's handshake
serve peer=gen dev.queues=4
forward "$device" --mode=io --queues=4 --time=0.5
verdict "four pairs of queues run" [ "$status" -eq 0 ]
run timeout 60 "$pollux" info --json "$device"
verdict "and are told" [ "$(query "j['max_queue_pairs']")" = 4 ]
finish_server TERM

# --- without standard streams, whose numbers are those of the next files
serve peer=sink
timeout 60 "$pollux" fwd --page-size=4K --verbose --time=0.1 "$device" <&- >&- 2>&-
verdict "output that nobody takes is a failure" [ $? -eq 1 ]
timeout 60 "$pollux" fwd --page-size=4K --verbose --time=0.1 "$device" >"$work/out" 2>&-
verdict "and a log that nobody takes is none" [ $? -eq 0 ]
finish_server TERM
verdict "what is said does not go to the device" \
	told "j['clients'] == 2 and j['dropped'] == 0 and j['refused'] == 0 and j['breaches'] == []"

# --- ends
serve peer=gen
rm -f "$work/err"
timeout 120 "$pollux" fwd --page-size=4K "$device" --mode=io >"$work/out" 2>"$work/err" &
driver=$!
wait_for grep -qs '^pollux: forwarding' "$work/err"
finish_server KILL
wait "$driver"
verdict "a card that is killed ends the forwarding with a sentence" \
	grep -q 'the device is gone' "$work/err"
verdict "its socket is left behind" [ -S "$socket" ]
run timeout 60 "$pollux" info "$device,wait=0"
verdict "a socket that was left behind is told of" \
	is_refusal 1 'nobody listens at the socket: the server has ended, so start it again$'
serve
verdict "a new card takes its place" [ -S "$socket" ]
run timeout 60 "$pollux" info "$device"
verdict "and is found there" [ "$status" -eq 0 ]
"$pollux" fwd --page-size=4K --quiet "$device" --mode=rx --time=120 >/dev/null 2>&1 &
driver=$!
wait_for have_come 2
run timeout 60 "$pollux" info "$device"
verdict "a second driver is turned away with a sentence" \
	is_refusal 1 'the server hung up at VERSION: it has ended, or serves another client already$'
kill -KILL "$driver"
wait "$driver" 2>/dev/null
run timeout 60 "$pollux" info "$device"
verdict "a driver that was killed leaves the card to the next" [ "$status" -eq 0 ]
finish_server TERM
verdict "and without a fault" told "j['breaches'] == [] and j['turned_away'] == 1"

# --- recovery, and sleep
serve peer=gen rate=5000
"$pollux" fwd --page-size=4K --json "$device,wait=60000" --mode=io --recover --stats=0.2 \
	>"$work/recover.out" 2>"$work/recover.err" &
driver=$!
sends_again()
{
	sed '1,/: back after/d' "$work/recover.err" | grep -q 'sent [1-9]'
}
wait_for grep -qs '^pollux: forwarding' "$work/recover.err"
finish_server KILL
serve peer=gen rate=5000
wait_for sends_again
kill -INT "$driver"
wait "$driver"
status=$?
finish_server TERM
verdict "the next card moves frames of a driver that recovers" \
	told "j['clients'] == 1 and j['checked'] > 0 and j['altered'] == 0 and j['breaches'] == []"
cp "$work/recover.err" "$work/err"
cp "$work/recover.out" "$work/out"
verdict "which says that it is back" grep -q 'recover: .*: back after' "$work/err"
verdict "and ends well" [ "$status" -eq 0 ]
serve peer=gen rate=500
forward_until sleeps_often "$device" --mode=io --idle=interrupt
verdict "a driver that sleeps runs" [ "$status" -eq 0 ]
verdict "and sleeps" [ "$(query "j['idle']['sleeps'] > 10")" = True ]
finish_server TERM
verdict "and is woken by the eventfds of a card of another process" \
	told "j['interrupts'] > 10 and j['checked'] > 10 and j['breaches'] == []"

# --- what cannot be
run "$pollux" emu
verdict "emu wants a device" is_refusal 64 'needs a device'
run timeout 60 "$pollux" emu net --socket=
verdict "a socket without a name is none" is_refusal 64 'needs a place for its socket: add --socket=PATH$'
run timeout 60 "$pollux" emu net --socket="$socket" --time=soon
verdict "a time that is none is refused" is_refusal 64 '^pollux: --time=soon is not possible'
run "$pollux" emu net
verdict "emu wants a socket" is_refusal 64 'needs a place for its socket: add --socket=PATH$'
run "$pollux" emu disk --socket="$socket"
verdict "there is no emulated disk" is_refusal 1 'there is no emulated device emu:disk'
run "$pollux" emu net event_idx=off --socket="$socket"
verdict "an option of the driver's is none of the card's" \
	is_refusal 64 "'event_idx' is not an option of emu:net"
run "$pollux" emu net --socket="$work/nowhere/card"
verdict "a folder that is not there is told of" is_refusal 1 "cannot make the server's socket"
finish
