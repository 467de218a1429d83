#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of unprivileged_test.sh.
#
#     unprivileged_guest.sh FOLDER
folder=$1
. "$folder/lib.sh"
trap on_exit EXIT

good=0000:00:10.0
other=0000:00:11.0
bypassing=0000:00:12.0 # the IOMMU
user=65534
video=44 # a Unix group of Debian's

group_of()
{
	basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"
}

# run COMMAND...: leaves what it prints in $printed, what it says in $said, its status in $status
run()
{
	"$@" </dev/null >/tmp/out 2>/tmp/err
	status=$?
	printed=$(</tmp/out)
	said=$(</tmp/err)
}

# run_well NAME COMMAND...
run_well()
{
	local name=$1

	shift
	run "$@"
	if [ "$status" = 0 ]; then
		ok "$name"
	else
		not_ok "$name" "status $status" "standard error: $said" "$printed" "command: $*"
	fi
}

# refused NAME PATTERN COMMAND...
refused()
{
	local name=$1 pattern=$2

	shift 2
	run "$@"
	like "$name" "$status: $said" "^1: pollux: $pattern"
}

# finds NAME VERDICT CHECK PATTERN: in what the last run of doctor printed
finds()
{
	like "$1" "$printed" "(^|"$'\n'")$2 +$3 [^"$'\n'"]*$4"
}

# The remedies of a verdict in what the last run of doctor printed.
remedies()
{
	sed -n "/^$1 /{n;s/^ *mend it by: *//p}" /tmp/out
}

# as_user GROUP COMMAND...
as_user()
{
	setpriv --reuid=$user --regid="$1" --clear-groups "${@:2}"
}

# limited KIBIBYTES COMMAND...: to pin, as a user who has the nodes
limited()
{
	prlimit --memlock="$(($1 * 1024))" setpriv --reuid=$user --regid=$video --clear-groups "${@:2}"
}

# --- what is missing, and mending it ---------------------------------------------------------------

test_doctor()
{
	local before remedy

	modprobe -r vfio-pci vfio_iommu_type1
	run pollux doctor $good
	is "doctor ends with 1 when something is missing" "$status" 1
	finds "vfio-pci is missing" fault vfio-pci 'not loaded'
	finds "so is what drives IOMMUs" fault iommu-driver vfio_iommu_type1
	finds "the device is the kernel's" fault driver 'virtio-pci has it'
	finds "the kernel's driver tells of F_ACCESS_PLATFORM" ok access-platform 'keeps to the addresses'
	finds "the IOMMU is there" ok iommu dmar
	finds "the isolated core is seen" ok isolation 'cores 1 .*--cores=1'
	before=$printed
	while read -r remedy; do
		bash -c "$remedy" >/tmp/remedy 2>&1 || not_ok "the remedy $remedy" "$(</tmp/remedy)"
	done < <(remedies fault)
	run_well "its remedies mend all faults" pollux doctor $good
	finds "the device was opened" ok open 'was opened'
	finds "and asked" ok access-platform 'keeps to the addresses'
	diagnose "it said before:" "$before"
	run_well "doctor prints JSON" pollux doctor --json $good
	check_json "which has no fault" "json['faults'] == 0 and json['device'] == '$good'
		and all(c['verdict'] in ('ok', 'warning') and c['text'] for c in json['checks'])" /tmp/out

	run pollux doctor $bypassing
	finds "a device that goes past the IOMMU is known before it is bound" fault access-platform 'does not offer'
	pollux bind $bypassing >/dev/null
	run pollux doctor $bypassing
	finds "and after" fault access-platform 'does not offer'
	pollux unbind $bypassing >/dev/null

	pollux fwd --mode=rx $good >/dev/null 2>/tmp/first &
	wait_until grep -q forwarding /tmp/first
	run pollux doctor $good
	finds "a device that another process has is left to it" fault unused "process $! .pollux. has it open"
	kill -INT $!
	wait $!
	is "which was not disturbed" $? 0
}

# Isolated cores are in nobody's mask, and there for who asks for them by number.
test_isolated()
{
	is "an isolated core is not in the mask" "$(taskset -p $$ | sed 's/.*: //')" 1
	run_well "and is polled on when it is asked for" pollux fwd --mode=rx --time=0.1 --quiet --cores=1 $good
}

# --- another user ----------------------------------------------------------------------------------

test_no_right()
{
	refused "a user without the right to the node is told who may give it" \
		"$good: no right to open $node, which has mode 0600 .*chown $user $node" as_user $user pollux info $good
	run as_user $user pollux doctor $good
	finds "doctor says so" fault group-node "no right to open $node"
	is "with the command" "$(remedies fault | tail -n 1)" \
		"sudo chown nobody $node # for good: a udev rule, see doc/getting-started.md"
	finds "the node of the container is everyone's" ok vfio-node 'may be opened'
}

test_group_right()
{
	chgrp $video "$node" "$other_node"
	chmod 660 "$node" "$other_node"
	run as_user $user pollux doctor $good
	is "a node that a Unix group may open takes membership" "$(remedies fault | tail -n 1)" \
		'sudo usermod -aG video nobody # then log in again'
	run_well "a member looks at a device with the 8 MiB of most systems" limited 8192 pollux info $good
	like "and sees its features" "$printed" '\+ F_VERSION_1'
}

test_memlock()
{
	local figure

	refused "a limit that is too short is told with what to do" \
		"VFIO cannot pin memory: RLIMIT_MEMLOCK is 64 KiB and .* are needed.*.ulimit -l [0-9]+." \
		limited 64 pollux fwd --mode=rx --time=0.1 --quiet $good
	run limited 64 pollux doctor $good
	finds "doctor knows beforehand" fault memlock '64 KiB of memory may be pinned, .* takes [0-9]+ MiB'
	figure=$(sed -n "s/.*echo 'nobody - memlock \([0-9]*\)' .*/\1/p" /tmp/out)
	like "and gives every way to raise it" "$(remedies fault)" \
		"^echo 'nobody - memlock $figure' . sudo tee -a /etc/security/limits.d/.*LimitMEMLOCK=${figure}K .*memlock=$((figure * 1024))\)"
	diagnose "doctor asks for $figure KiB"
	run prlimit --memlock=65536:$((figure * 1024)) setpriv --reuid=$user --regid=$video --clear-groups \
		pollux doctor $good
	is "a limit that its user may raise takes ulimit" "$(remedies fault)" "ulimit -l $figure"
	limit=$figure
	run_well "half of it does for one device" limited $((figure / 2)) \
		pollux fwd --mode=rx --time=0.1 --quiet --ring=256 $good
	run limited $((figure / 2)) pollux doctor $good
	finds "which doctor says" warning memlock 'enough for one device'
	run_well "with all of it doctor has no fault" limited "$figure" pollux doctor $good
	run_well "and two devices are driven" limited "$figure" \
		pollux fwd --mode=io --time=0.1 --quiet $good $other
	echo 0 >/proc/sys/vm/nr_hugepages
	run_well "without huge pages as well" limited "$figure" \
		pollux fwd --mode=io --time=0.1 --quiet $good $other
	echo 256 >/proc/sys/vm/nr_hugepages
}

# frames_pass NAME COMMAND...: behind which pollux sends by one NIC what the other receives
frames_pass()
{
	local name=$1 receiver

	shift
	: >/tmp/receiver
	"$@" pollux fwd --mode=rx --time=200 --json $other >/tmp/received 2>/tmp/receiver &
	receiver=$!
	wait_until grep -q 'pollux: forwarding' /tmp/receiver
	run_well "$name drives a device" "$@" pollux fwd --mode=tx --time=1 --quiet $good
	# What began by way of a namespace has the signals of its first process.
	kill -INT "$(pgrep -f "fwd --mode=rx --time=200 --json" | tail -n 1)"
	wait "$receiver"
	check_json "$name: frames pass" "json['ports'][0]['rx_packets'] > 100" /tmp/received
}

# --- a container -----------------------------------------------------------------------------------

# What a container sees: a /dev with the nodes that are passed in, a /sys that nobody can write, no
# network, no other process, and not one capability. $1 is the folder for the nodes, the others follow
# up to "--".
cat >/tmp/container.sh <<'END'
set -e
mount -t tmpfs none "$1"
for node in null vfio/vfio "${@:2:2}"; do
	mkdir -p "$(dirname "$1/$node")"
	touch "$1/$node"
	mount --bind "/dev/$node" "$1/$node"
done
mount --rbind "$1" /dev
mount -o remount,bind,ro /sys
shift 3
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
END
mkdir -p /tmp/nodes

# in_container COMMAND...: root of its own user namespace, outside it the user
in_container()
{
	limited "$limit" unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc \
		--net --ipc --uts /tmp/bin/bash /tmp/container.sh /tmp/nodes "${nodes[@]}" "$@"
}

# in_root_container COMMAND...: the machine's root, as docker has it without a user namespace
in_root_container()
{
	prlimit --memlock=$((limit * 1024)) unshare --mount --pid --fork --kill-child --mount-proc \
		--net --ipc --uts /tmp/bin/bash /tmp/container.sh /tmp/nodes "${nodes[@]}" "$@"
}

test_container()
{
	local kind

	nodes=("${node#/dev/}" "${other_node#/dev/}")
	chown $user "$node" "$other_node"
	for kind in in_container in_root_container; do
		[ $kind = in_container ] || chown 0 "$node" "$other_node"
		run $kind sh -c 'echo /dev/vfio/*; grep CapEff /proc/self/status; : >/sys/bus/pci/drivers_probe'
		like "$kind: nothing else was passed in" "$printed" "^$node $other_node /dev/vfio/vfio"$'\n'
		like "$kind: there is no capability" "$printed" '0000000000000000$'
		like "$kind: /sys cannot be written" "$said" 'Read-only'
		run_well "$kind: doctor has no fault" $kind pollux doctor $good
		finds "$kind: the device was opened" ok open 'was opened'
		run_well "$kind: info shows the device" $kind pollux info --trace $good
		frames_pass "$kind" $kind
		like "$kind: bind is refused, and says why" \
			"$($kind pollux bind --driver=virtio-pci $good 2>&1)" 'no right to write'
		limit=64
		refused "$kind: the limit holds" "VFIO cannot pin memory" \
			$kind pollux fwd --mode=rx --time=0.1 --quiet $good
		limit=$enough
	done
	nodes=("${other_node#/dev/}" null)
	run in_root_container pollux doctor $good
	finds "a node that was not passed in is missed" fault group-node "there is no $node"
	is "with the option that passes it in" "$(remedies fault)" \
		"in a container: --device=$node --device=/dev/vfio/vfio"
}

begin_in_guest
for tool in dirname head mkdir mount tail touch; do
	ln -s busybox "/tmp/bin/$tool"
done
test_doctor
pollux bind $other >/dev/null
node=/dev/vfio/$(group_of $good)
other_node=/dev/vfio/$(group_of $other)
test_isolated
test_no_right
test_group_right
test_memlock
enough=$limit
frames_pass 'a user who has nothing but the nodes' limited "$limit"
test_container
tap_end
