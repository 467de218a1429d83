#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every way of the kernel to a PCI function, on a kernel that has them all: iommufd and groups, behind
# each IOMMU that QEMU emulates.
#
#     ways_test.sh POLLUX FRAMES MACHINE
#
# MACHINE is intel, amd, virtio or none, by what stands between the devices and memory.
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"
. "$tests/forward.sh"

begin_on_host forward_guest.sh "$1"

first=0000:00:10.0

# said OPTION: what pollux info of the first NIC says, in JSON, is in $number.out
info()
{
	ask "pollux info $first$1 --json"
}

answers()
{
	json_holds "$1" "json=$scratch/$number.out"
}

# passes NAME OPTIONS: a pollux that takes both NICs so forwards all that is sent
passes()
{
	forward "$(with_options "$2") --ring=256" count=800
	check "$1: every frame passes, the counters agree" all_is_well
}

# refused NAME PATTERN OPTIONS: beside a pollux that has both NICs
refused_aside()
{
	local said

	aside "pollux info $first$3"
	said=$(<"$scratch/$number.aside.err")
	is "$1 is refused" "$(<"$scratch/$number.aside.status")" 1
	like "$1 is told why" "$said" "^pollux: $first: $2"
}

# --- what stands between the devices and memory --------------------------------------------------

both_ways()
{
	info ""
	check "$way: iommufd is taken by itself" answers "json['backend'] == 'iommufd'"
	info ",vfio=group"
	check "$way: the group is taken when asked for" answers "json['backend'] == 'group'"
	passes "$way, iommufd, split" packed=off
	passes "$way, iommufd, packed" packed=on
	passes "$way, group" vfio=group
}

test_intel()
{
	start_machine --kernel=iommufd
	ask "pollux status --json"
	check "status tells each device's own file" answers "json['iommufd'] and
		[f['vfio_device'] for f in json['functions'] if f['ready']]
		== ['/dev/vfio/devices/vfio0', '/dev/vfio/devices/vfio1']"
	both_ways
	forward "0000:00:10.0,vfio=group 0000:00:11.0,vfio=iommufd --ring=256" count=800
	check "one NIC by its group and one by iommufd, in one context" all_is_well

	begin_forward "$(with_options vfio=iommufd)"
	refused_aside "a second opener by iommufd" "/dev/vfio/devices/vfio0 is busy.*another process" ,vfio=iommufd
	refused_aside "one by the group" "/dev/vfio/[0-9]+ is busy.*another process" ,vfio=group
	end_forward INT
	check "the first was not disturbed" ended_well
	begin_forward "$(with_options vfio=group)"
	refused_aside "iommufd beside a group that is open" "its IOMMU group is busy.*another process" ,vfio=iommufd
	refused_aside "a second opener by the group" "/dev/vfio/[0-9]+ is busy.*another process" ,vfio=group
	end_forward INT
	check "the first was not disturbed by these" ended_well
}

test_amd()
{
	start_machine --kernel=iommufd --iommu=amd
	both_ways
}

# It remaps no interrupts, which VFIO demands.
test_virtio()
{
	start_machine --kernel=iommufd --iommu=virtio
	for option in ,vfio=iommufd ,vfio=group; do
		info "$option"
		like "a machine that does not remap interrupts is refused: $option" "$(<"$scratch/$number.err")" \
			"^pollux: $first: .*the machine does not remap interrupts"
	done
	cat >"$scratch/allow.sh" <<-'END'
		for module in iommufd vfio_iommu_type1; do
			echo Y >/sys/module/$module/parameters/allow_unsafe_interrupts
		done
	END
	ask "bash $scratch/allow.sh"
	both_ways
}

warns()
{
	[ "$(grep -c "NO IOMMU stands before it" "$scratch/$number.err")" = "$1" ]
}

# passes, where each NIC is warned of as well
passes_with_warnings()
{
	forward "$(with_options "noiommu=allow,$2") --ring=256" count=800
	check "$1: every frame passes" frames_pass
	check "$1: the counters agree" counts_agree
	check "$1: each NIC is warned of" warns 2
	is "$1: it ends well" "$(<"$scratch/$number.status")" 0
}

test_none()
{
	start_machine --kernel=iommufd --no-iommu-guest --append=vfio.enable_unsafe_noiommu_mode=1
	ask "pollux status"
	like "status names the option" "$(<"$scratch/$number.out")" "$first .*behind no IOMMU: .*noiommu=allow"
	info ""
	like "a device without an IOMMU is refused" "$(<"$scratch/$number.err")" \
		"^pollux: $first: no IOMMU stands before it.*noiommu=allow"
	info ",noiommu=allow,vfio=iommufd"
	like "and iommufd for it" "$(<"$scratch/$number.err")" "^pollux: $first: .*leave out vfio=iommufd"
	info ",noiommu=allow"
	check "info shows it when that is allowed" answers "json['backend'] == 'noiommu'"
	check "with a warning" warns 1
	passes_with_warnings "split" packed=off
	passes_with_warnings "packed" packed=on
	ask "pollux fwd --mode=rx --time=0.1 --quiet $first,noiommu=allow emu:net"
	like "an emulated device beside it is refused" "$(<"$scratch/$number.err")" \
		"pollux: .*physical addresses.*in a context of its own"
	echo 'echo 0 >/proc/sys/vm/nr_hugepages' >"$scratch/none.sh"
	ask "bash $scratch/none.sh"
	info ",noiommu=allow"
	like "small pages are refused with the remedy" "$(tail -n 1 "$scratch/$number.err")" \
		"smaller ones will not do without an IOMMU.*hugeadm --pool-pages-min 2MB:\+[0-9]+"
}

way=$3
start_frames "$2"
"test_$way"
end_machine "the machine with $way"
tap_end
