#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of machine_test.sh: runs what the files in the shared folder say.
#
#     machine_guest.sh FOLDER DEVICE...
#
# For each N from 1 on, N.run holds one line, which N.status answers:
#
#     pollux ARGUMENT...   starts it; its standard error grows in N.err. A signal comes in N.signal, and
#                          N.status answers how it ended, beside N.out and N.after
#     size                 N.out tells the descriptors of the pollux that runs, and the kilobytes that
#                          are its own: what of its text was touched is nobody's leak
#     reset DEVICE         the kernel resets a function under whoever has it
#     pull DEVICE          the kernel removes a function, which waits until pollux lets go of it, finds
#                          it again, and it is bound
#     bind DEVICE          binds one once it is there
#     cycles COUNT         so many runs of pollux that begin and end; N.out tells how many ended well
#
# The file "quit" ends it all.
folder=$1
devices=("${@:2}")
. "$folder/lib.sh"

# What must be as it was before: pages that are free, and devices that vfio-pci has and that reach no
# memory: bit 2 of the command register is the bus master's.
state()
{
	local device command driver

	sed -n 's/^HugePages_Free: */free pages /p' /proc/meminfo
	for device in "${devices[@]}"; do
		command=$(od -An -tu1 -j4 -N1 "/sys/bus/pci/devices/$device/config")
		driver=$(readlink "/sys/bus/pci/devices/$device/driver")
		echo "$device: driver ${driver##*/}, bus master $((command >> 2 & 1))"
	done
}

run_pollux()
{
	local pid

	: >"$folder/$number.err"
	pollux "$@" >/tmp/out 2>"$folder/$number.err" &
	pid=$!
	echo "$pid" >/tmp/pid
	# A pollux that ended has to be asked as well: the host says so, and waits for the answer.
	until [ -e "$folder/$number.signal" ] || ! kill -0 "$pid" 2>/dev/null; do
		sleep 0.05
	done
	[ ! -e "$folder/$number.signal" ] || kill -s "$(<"$folder/$number.signal")" "$pid" 2>/dev/null
	wait "$pid"
	echo $? >/tmp/status
	state >"$folder/$number.after"
	cp /tmp/out "$folder/$number.out"
	put_file "$folder/$number.status" "$(</tmp/status)"
}

size_of_pollux()
{
	local pid descriptors

	pid=$(</tmp/pid)
	descriptors=("/proc/$pid/fd/"*)
	echo "${#descriptors[@]}"
	sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}

bind_device()
{
	wait_until test -e "/sys/bus/pci/devices/$1" && pollux bind "$1"
}

reset_device()
{
	echo 1 >"/sys/bus/pci/devices/$1/reset"
}

pull_device()
{
	echo 1 >"/sys/bus/pci/devices/$1/remove" && echo 1 >/sys/bus/pci/rescan && bind_device "$1"
}

run_cycles()
{
	local well=0 i

	for ((i = 0; i < $1; i++)); do
		! pollux fwd --quiet --time=0.1 --tx-first=32 "${devices[@]}" 2>>"$folder/$number.err" ||
			well=$((well + 1))
	done
	state >"$folder/$number.after"
	echo "$well" >"$folder/$number.out"
	put_file "$folder/$number.status" 0
}

begin_in_guest
# A stack of 20 KB is else 2 MB large once the kernel finds it to be worth a huge page.
echo never >/sys/kernel/mm/transparent_hugepage/enabled
for tool in od rmmod tail; do
	ln -sf busybox "/tmp/bin/$tool"
done
for device in "${devices[@]}"; do
	wait_until test -e "/sys/bus/pci/devices/$device" || exit
done
pollux bind "${devices[@]}" >&2 || exit
# A function that is found again is then no network interface for a while.
rmmod virtio_net
state >"$folder/0.after"
number=1
until [ -e "$folder/quit" ]; do
	if [ -e "$folder/$number.run" ]; then
		read -ra words <"$folder/$number.run"
		case ${words[0]} in
		pollux) run_pollux "${words[@]:1}" & ;;
		size)
			size_of_pollux >"$folder/$number.out"
			put_file "$folder/$number.status" $?
			;;
		reset | pull | bind)
			"${words[0]}_device" "${words[1]}" 2>"$folder/$number.err"
			put_file "$folder/$number.status" $?
			;;
		cycles) run_cycles "${words[1]}" ;;
		esac
		number=$((number + 1))
	fi
	sleep 0.05
done
