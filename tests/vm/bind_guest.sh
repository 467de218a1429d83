#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of bind_test.sh: who has a device, and what Pollux says when it cannot have it.
#
#     bind_guest.sh FOLDER TEST...
folder=$1
shift
. "$folder/lib.sh"
trap on_exit EXIT

good=0000:00:10.0
other=0000:00:11.0
bypassing=0000:00:12.0 # the IOMMU
rng=0000:00:03.0
pair=0000:00:05.1 # shares its IOMMU group with
sibling=0000:00:05.0
sata=0000:00:1f.2

# --- what is where -------------------------------------------------------------------------------

driver_of()
{
	basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
}

interface_of()
{
	ls "/sys/bus/pci/devices/$1"/virtio*/net
}

group_of()
{
	basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"
}

note_of()
{
	cat "/run/pollux/bind/$1"
}

# Leave in $state everything that a command which is refused must not change. Takes no process, since
# it is called often and they are dear in emulation.
look_around()
{
	local path line back=$PWD

	state=$(echo /dev/vfio/* /sys/class/net/*)
	for path in /sys/bus/pci/devices/*; do
		! cd -P "$path/driver" 2>/dev/null || state+=$'\n'"$path is driven by $PWD"
	done
	cd "$back" || exit
	for path in /sys/bus/pci/devices/*/driver_override /run/pollux/bind/* /proc/sys/vm/nr_hugepages \
		/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages /proc/[0-9]*/comm; do
		read -r line 2>/dev/null <"$path" || continue
		[[ $path != /proc/*/comm || $line = pollux ]] || continue
		state+=$'\n'"$path: $line"
	done
}

# --- judging -------------------------------------------------------------------------------------

# One line, "pollux: " and a sentence.
is_one_sentence()
{
	[[ $1 == "pollux: "* && $1 != *$'\n'* && $1 != *". "[A-Z]* && $1 != *"(null)"* ]]
}

# refused NAME PATTERN COMMAND...: the pattern is of what it says, an extended regular expression
refused()
{
	local name=$1 pattern=$2 before status problems=()

	shift 2
	look_around
	before=$state
	"$@" </dev/null >/tmp/out 2>/tmp/err
	status=$?
	look_around
	said=$(</tmp/err)
	[ "$status" = 1 ] || [ "$status" = 64 ] || problems+=("its status is $status")
	is_one_sentence "$said" || problems+=("it does not say one sentence")
	[[ $said =~ $pattern ]] || problems+=("it does not say what is wrong: $pattern")
	[ ! -s /tmp/out ] || problems+=("it prints: $(</tmp/out)")
	[ "$state" = "$before" ] ||
		problems+=("it leaves something behind: $(diff <(echo "$before") <(echo "$state"))")
	if [ ${#problems[@]} -eq 0 ]; then
		ok "$name is refused"
	else
		not_ok "$name is refused" "${problems[@]}" "standard error: $said" "command: $*"
	fi
}

# run_well NAME COMMAND...: leaves what it prints in $printed and what it says in $said
run_well()
{
	local name=$1 status

	shift
	"$@" </dev/null >/tmp/out 2>/tmp/err
	status=$?
	printed=$(</tmp/out)
	said=$(</tmp/err)
	if [ "$status" = 0 ]; then
		ok "$name"
	else
		not_ok "$name" "status $status" "standard error: $said" "command: $*"
	fi
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# with_memlock KIBIBYTES COMMAND...
with_memlock()
{
	as_nobody sh -c 'ulimit -l "$0" && exec "$@"' "$@"
}

# receive DEVICE [OPTION...]: the shortest use of a device
receive=(pollux fwd --mode=rx --time=0.1 --quiet)

# --- binding -------------------------------------------------------------------------------------

test_status()
{
	local text

	run_well "status lists the machine" pollux status
	text=$printed
	like "status tells how to make a NIC ready" "$text" \
		"$good +virtio net +virtio-pci +$(interface_of $good) .*no, bound to virtio-pci: pollux bind $good"
	like "status tells what the machine offers" "$text" "IOMMU +present.*vfio-pci +loaded"
	run_well "status prints JSON" pollux status --json
	check_json "which tells the same" "json['iommu'] and json['vfio_pci']
		and [f['driver'] for f in json['functions'] if f['address'] == '$good'] == ['virtio-pci']
		and not any(f['ready'] for f in json['functions'])" /tmp/out
	run_well "status --all prints JSON" pollux status --all --json
	check_json "which has what is not virtio, too" "any(f['address'] == '$sata' and not f['virtio_id'] for f in json['functions'])" /tmp/out
}

test_bind()
{
	local before

	look_around
	before=$state
	run_well "bind takes a NIC" pollux bind $good
	is "bind prints what it did" "$printed" "$good: virtio-pci -> vfio-pci"
	is "bind says nothing else" "$said" ""
	is "vfio-pci has the NIC" "$(driver_of $good)" vfio-pci
	is "the driver that had it is noted" "$(note_of $good)" virtio-pci
	run_well "bind may be repeated" pollux bind $good
	is "the note is still that of the first driver" "$(note_of $good)" virtio-pci
	run_well "bind takes a short address" pollux bind "${other#0000:}" --json
	check_json "bind prints JSON" "json['functions'] ==
		[{'address': '$other', 'driver_before': 'virtio-pci', 'driver': 'vfio-pci'}]" /tmp/out
	run_well "status still works" pollux status --json
	check_json "status shows both ready" "[f['address'] for f in json['functions'] if f['ready']]
		== ['$good', '$other'] and all(f['why_not'] is None for f in json['functions'] if f['ready'])" /tmp/out
	run_well "unbind gives both back" pollux unbind $good $other
	is "unbind prints what it did" "$printed" \
		"$good: vfio-pci -> virtio-pci"$'\n'"$other: vfio-pci -> virtio-pci"
	wait_until eval "interface_of $good && interface_of $other" >/dev/null 2>&1
	look_around
	is "all is as it was before" "$state" "$before"
	refused "unbind of what was not bound" "$good: nothing to give back" pollux unbind $good
}

use_interface()
{
	nic=$(interface_of "$1")
	ip link set "$nic" up
}

test_interfaces_in_use()
{
	local nic

	use_interface $other
	ip address add 192.0.2.1/24 dev "$nic"
	refused "bind of a NIC with an address" "$other: its interface $nic is up and has the address 192.0.2.1.*--force" \
		pollux bind $other
	refused "bind of two, the second with an address," "$other: its interface $nic is up" \
		pollux bind $good $other
	run_well "bind --force takes it" pollux bind --force $other
	is "vfio-pci has it" "$(driver_of $other)" vfio-pci
	run_well "unbind gives it back" pollux unbind $other
	wait_until interface_of $other >/dev/null 2>&1

	use_interface $other
	ip route add default dev "$nic"
	refused "bind of a NIC with the default route" "$other: the default route goes through its interface $nic.*--force" \
		pollux bind $other
	run_well "bind --force takes it, too" pollux bind --force $other
	run_well "unbind gives it back again" pollux unbind $other
}

test_info()
{
	run_well "info needs no more than the device" pollux info $good
	like "info shows the features" "$printed" "\+ F_VERSION_1.*\+ F_ACCESS_PLATFORM.*not offered: "
	run_well "info --json does as much" pollux info $good --json
	check_json "info --json gives a reason for each feature" "json['device'] == '$good'
		and json['driver'] == 'virtio-net' and json['error'] is None
		and all(f['why'] for f in json['features'])" /tmp/out
	run_well "info --trace starts the device" pollux info $good --trace
	like "info --trace shows the status as it grows" "$printed" \
		"<- 0x00 .*<- 0x01 ACKNOWLEDGE.*<- 0x03 .*<- 0x0b .*FEATURES_OK.*<- 0x0f .*DRIVER_OK"
	run_well "info --trace prints JSON" pollux info $good --trace --json
	check_json "the status is written as the standard has it" "json['started']
		and [t['status'] for t in json['trace'] if t['kind'] == 'status_write'][:5] == [0, 1, 3, 0xb, 0xf]
		and [t['status'] for t in json['trace'] if t['kind'] == 'status_read'][-1] == 0xf" /tmp/out
	run_well "an option of the address is followed" pollux info $good,event_idx=off --trace --json
	check_json "and shown with its reason" "[(f['accepted'], f['why']) for f in json['features']
		if f['name'] == 'F_EVENT_IDX'] == [(False, 'declined by the user')]" /tmp/out
}

test_second_process()
{
	local first

	pollux fwd --mode=rx $good >/dev/null 2>/tmp/first &
	first=$!
	wait_until grep -q 'pollux: forwarding' /tmp/first || not_ok "a first process has the device" "$(</tmp/first)"
	refused "a device that another process has" "$good: /dev/vfio/$(group_of $good) is busy.*another process" \
		"${receive[@]}" $good
	refused "info of such a device" "$good: .* is busy" pollux info $good
	refused "unbind of such a device" "$good: process $first \(pollux\) has it open" pollux unbind $good
	refused "bind of such a device" "$good: process $first \(pollux\) has it open" \
		pollux bind --driver=virtio-pci $good
	kill -INT "$first"
	wait "$first"
	is "the first process was not disturbed" $? 0
	run_well "the device is free again" "${receive[@]}" $good
}

# --- bad input -----------------------------------------------------------------------------------

test_addresses()
{
	refused "a function that does not exist" "0000:00:1e.7: there is no such PCI function" "${receive[@]}" 00:1e.7
	refused "bind of one" "0000:00:1e.7: there is no such PCI function" pollux bind 00:1e.7
	refused "an interface's name" '"eth0" is not the address of a PCI function' "${receive[@]}" eth0
	refused "bind of an interface's name" '"eth0" is not the address of a PCI function' pollux bind eth0
	refused "an address that cannot be" "is not the address of a PCI function" "${receive[@]}" 0000:00:20.0
	refused "another kind of address" "'usb:' is no kind of device address" "${receive[@]}" usb:1-1
	refused "a device that is not virtio" "$sata is not a virtio device \(it is [0-9a-f:]+\)" "${receive[@]}" $sata
	refused "a device that the kernel has" \
		"$other: the kernel's driver virtio-pci has it as $(interface_of $other).*pollux bind $other" \
		"${receive[@]}" $other
	refused "bind to a driver that is not there" "modprobe none_such" pollux bind --driver=none_such $other
}

test_other_virtio()
{
	run_well "bind takes a virtio device that is no NIC" pollux bind $rng
	refused "a virtio device that is no NIC" "$rng: .*no Ethernet driver for virtio devices of type 4" \
		"${receive[@]}" $rng
	run_well "unbind gives it back" pollux unbind $rng
}

test_group()
{
	run_well "bind takes one of two functions of a group" pollux bind $pair
	refused "a group that is not viable" "$pair: $sibling is in the same IOMMU group .*virtio-pci.*pollux bind $sibling" \
		"${receive[@]}" $pair
	run_well "status tells why" pollux status
	like "and names the other function" "$printed" "$pair .*no, group shared with $sibling on virtio-pci: pollux bind $sibling"
	run_well "the remedy can be followed" pollux bind $sibling
	run_well "and helps" "${receive[@]}" $pair
	run_well "both go back" pollux unbind $pair $sibling
}

test_platform()
{
	run_well "bind takes a NIC that bypasses the IOMMU" pollux bind $bypassing
	refused "a NIC that bypasses the IOMMU" "$bypassing: .*F_ACCESS_PLATFORM.*iommu_platform=on" \
		"${receive[@]}" $bypassing
	run_well "unbind gives it back" pollux unbind $bypassing
	refused "a device that does not keep FEATURES_OK" "$good: .*FEATURES_OK.*access_platform=off" \
		"${receive[@]}" $good,access_platform=off
	run_well "the device works after that" "${receive[@]}" $good
}

test_options()
{
	refused "no command" "no command is given" pollux
	refused "an unknown command" "there is no command 'forward'" pollux forward
	refused "an unknown option" "does not understand the option '--nonsense'" pollux fwd --nonsense $good
	refused "an unknown option of bind" "does not understand the option '--nonsense'" pollux bind --nonsense $good
	refused "an option without its value" "needs a value" pollux fwd $good --ring
	refused "no device" "no device is given" pollux fwd
	refused "a device named twice" "$good: it is open already" "${receive[@]}" $good $good
	refused "an unknown mode" "--mode=fast is not possible: the modes are io, " pollux fwd --mode=fast $good
	refused "a burst of 0" "--burst=0 is not possible" "${receive[@]}" --burst=0 $good
	refused "a burst of 513" "--burst=513 is not possible" "${receive[@]}" --burst=513 $good
	refused "a time that is no number" "--time=soon is not possible" pollux fwd --time=soon $good
	refused "a core that does not exist" "core 7 is not one of 0-1" "${receive[@]}" --cores=7 $good
	refused "a core beyond all" "core 99999 is not one of 0-1" "${receive[@]}" --cores=99999 $good
	refused "an unknown option of the device" "'nonsense' is not an option of pci:$good: it knows .*mrg_rxbuf" \
		"${receive[@]}" $good,nonsense=1
	refused "an unknown value of an option of the device" "mrg_rxbuf=maybe is not possible: the choices are" \
		"${receive[@]}" $good,mrg_rxbuf=maybe
	refused "a feature that the device does not offer" "$good: the feature mtu=on cannot be had \(not offered\)" \
		"${receive[@]}" $good,mtu=on
	refused "a ring of 4096" "$good: a receive ring of 4096 entries is not offered.*power of two up to 256" \
		"${receive[@]}" --ring=4096 $good
	refused "a ring of 100" "$good: a receive ring of 100 entries is not offered.*power of two" \
		"${receive[@]}" --ring=100 $good
	refused "a transmit ring of 512" "$good: a transmit ring of 512 entries is not offered" \
		"${receive[@]}" --ring=256,512 $good
	refused "two pairs of queues" "$good: 2 queue pairs are not offered" "${receive[@]}" --queues=2 $good
	refused "too few packets" "$good.*the pool has no packets left to fill a ring of 256" \
		"${receive[@]}" --ring=256 --packets=100 $good
}

test_users()
{
	local group

	group=/dev/vfio/$(group_of $good)
	refused "a user without the right to the group" "$good: no right to open $group" as_nobody "${receive[@]}" $good
	refused "bind by a user" "$other: no right to write" as_nobody pollux bind $other
	refused "unbind by a user" "$good: no right to write" as_nobody pollux unbind $good
	chown nobody "$group"
	refused "a memlock limit that is too small" "RLIMIT_MEMLOCK is 64 KiB and .* are needed.*ulimit -l [0-9]+" \
		with_memlock 64 "${receive[@]}" $good
	follow_memlock
	chown root "$group"
}

# The figure is what is needed by then, so that it may grow: follow it as a person would.
follow_memlock()
{
	local limit=64 limits=() figure

	while [ ${#limits[@]} -lt 4 ]; do
		limits+=("$limit")
		if with_memlock "$limit" "${receive[@]}" $good >/tmp/out 2>/tmp/err; then
			ok "the limits that it names lead to one that is enough"
			diagnose "limits: ${limits[*]} KiB"
			return
		fi
		figure=$(sed -n 's/.*`ulimit -l \([0-9]*\)`.*/\1/p' /tmp/err)
		[ "${figure:-0}" -gt "$limit" ] || break
		limit=$figure
	done
	not_ok "the limits that it names lead to one that is enough" "limits: ${limits[*]} KiB" "$(</tmp/err)"
}

test_hugepages()
{
	local pages

	pages=$(</proc/sys/vm/nr_hugepages)
	echo 0 >/proc/sys/vm/nr_hugepages
	run_well "a machine without hugepages is good enough" "${receive[@]}" $good
	like "one warning says what they would be good for" "$said" \
		'^pollux: warning: DMA memory lies on pages of 4 KiB[^'$'\n'']*hugeadm --pool-pages-min 2MB:\+[0-9]+[^'$'\n'']*$'
	refused "a demand for hugepages that are not there" "hugeadm --pool-pages-min 2MB:\+[0-9]+" \
		"${receive[@]}" --page-size=2M $good
	echo "$pages" >/proc/sys/vm/nr_hugepages
	run_well "with hugepages there is no warning" "${receive[@]}" $good
	is "nothing is said" "$said" ""
	is "all hugepages are given back" "$(</sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)" "$pages"
}

test_module()
{
	check "vfio-pci can be unloaded" modprobe -r vfio-pci
	refused "bind without vfio-pci" "$good: the kernel's driver vfio-pci is not loaded; run .modprobe vfio-pci." \
		pollux bind $good
	refused "a device without vfio-pci" "$good: the kernel's driver vfio-pci is not loaded; run .modprobe vfio-pci." \
		"${receive[@]}" $good
	run_well "status works without vfio-pci" pollux status
	like "and tells how to load it" "$printed" "vfio-pci +not loaded: modprobe vfio-pci"
	check "the remedy can be followed" modprobe vfio-pci
	run_well "and helps" pollux bind $good
}

test_with_iommu()
{
	test_status
	test_bind
	test_interfaces_in_use
	run_well "bind takes the NIC for what follows" pollux bind $good
	test_info
	test_second_process
	test_addresses
	test_other_virtio
	test_group
	test_platform
	test_options
	test_users
	test_hugepages
	run_well "unbind gives the NIC back" pollux unbind $good
	test_module
	run_well "unbind gives the NIC back once more" pollux unbind $good
	is "virtio-pci has it" "$(driver_of $good)" virtio-pci
}

test_without_iommu()
{
	run_well "status works without an IOMMU" pollux status
	like "and says that there is none" "$printed" "IOMMU +none in use"
	refused "bind without an IOMMU" "$good: .*behind no IOMMU.*virtio-pci has it" pollux bind $good
	refused "a device without an IOMMU" "$good: it is behind no IOMMU.*intel_iommu=on" "${receive[@]}" $good
	is "virtio-pci has the NIC" "$(driver_of $good)" virtio-pci
}

begin_in_guest
for name; do
	"test_$name"
done
tap_end
