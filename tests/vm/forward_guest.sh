#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of forward.sh: runs pollux as the files in the shared folder say.
#
#     forward_guest.sh FOLDER
#
# For each N from 1 on: a command comes in N.run; N.up answers "forwarding" or "ended"; then a signal
# comes in N.signal, and N.status answers with how pollux ended, beside N.out and N.err. Meanwhile
# N.aside may bring one more command, which N.aside.status answers likewise. The file
# "quit" ends it all.
folder=$1
. "$folder/lib.sh"

asked()
{
	[ -e "$folder/$number.run" ]
}

# The library's warnings may come first.
forwards_or_ended()
{
	[[ $(<"/tmp/err") == *"pollux: forwarding"* ]] || ! kill -0 "$pid" 2>/dev/null
}

signalled()
{
	[ -e "$folder/$number.signal" ]
}

run_aside()
{
	local command

	[ -e "$folder/$number.aside" ] || return
	read -ra command <"$folder/$number.aside"
	rm "$folder/$number.aside"
	"${command[@]}" >"$folder/$number.aside.out" 2>"$folder/$number.aside.err"
	put_file "$folder/$number.aside.status" $?
}

run()
{
	local command state status

	read -ra command <"$folder/$number.run"
	: >/tmp/err
	"${command[@]}" >/tmp/out 2>/tmp/err &
	pid=$!
	state=ended
	if wait_until forwards_or_ended && kill -0 "$pid" 2>/dev/null; then
		state=forwarding
	fi
	put_file "$folder/$number.up" "$state"
	until signalled; do
		run_aside
		sleep 0.05
	done
	kill -s "$(<"$folder/$number.signal")" "$pid" 2>/dev/null
	wait "$pid"
	status=$?
	cp /tmp/out "$folder/$number.out"
	cp /tmp/err "$folder/$number.err"
	put_file "$folder/$number.status" "$status"
}

begin_in_guest
pollux bind 0000:00:10.0 0000:00:11.0 >&2 || exit
number=1
until [ -e "$folder/quit" ]; do
	if asked; then
		run
		number=$((number + 1))
	fi
	sleep 0.05
done
