#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# pollux doctor on made-up machines: each check, each verdict, and the command that it gives. Takes the
# program's path and speaks TAP. The machines are folders over /sys, /dev and files of /proc, in a
# mount namespace of their own.

. "$(dirname "$0")/program_lib.sh"

usage=64
nic=0000:00:03.0

# --- the machine ---------------------------------------------------------------------------------

# put FILE TEXT: below the machine's folder
put()
{
	mkdir -p "$(dirname "$work/$1")"
	echo "$2" >"$work/$1"
}

# A machine where nothing is missing, but for the devices.
new_machine()
{
	rm -rf "$work/sys" "$work/dev" "$work/proc"
	mkdir -p "$work/sys/class/iommu/dmar0" "$work/sys/kernel/iommu_groups" "$work/sys/class/net" \
		"$work/sys/module/vfio_iommu_type1" "$work/sys/bus/pci/devices" \
		"$work/sys/bus/pci/drivers/"{virtio-pci,vfio-pci,pcieport} "$work/dev/vfio"
	touch "$work/dev/vfio/vfio" "$work/dev/null"
	chmod 666 "$work/dev/vfio/vfio"
	put sys/devices/system/cpu/isolated 2-3
	put sys/devices/system/cpu/nohz_full 2-3
	pages 0 64
	put proc/cmdline 'root=/dev/sda1 quiet'
	put proc/cpuinfo 'vendor_id	: GenuineIntel'
}

# pages NODE FREE: of 2 MiB, of 128
pages()
{
	local folder=sys/devices/system/node/node$1

	put "$folder/hugepages/hugepages-2048kB/nr_hugepages" 128
	put "$folder/hugepages/hugepages-2048kB/free_hugepages" "$2"
	put "$folder/cpulist" "$((4096 * $1))-$((4096 * $1 + 4095))"
}

# add_function ADDRESS DEVICE GROUP DRIVER [INTERFACE]: - for none
add_function()
{
	local folder=$work/sys/bus/pci/devices/$1

	mkdir -p "$folder/virtio0" "$work/sys/kernel/iommu_groups/$3/devices" "$work/sys/bus/pci/drivers/$4"
	echo 0x1af4 | tee "$folder/vendor" >"$folder/subsystem_vendor"
	echo "$2" | tee "$folder/device" >"$folder/subsystem_device"
	echo 0x020000 >"$folder/class"
	echo 0x01 >"$folder/revision"
	echo -1 >"$folder/numa_node"
	[ "$3" = - ] || ln -s "/sys/kernel/iommu_groups/$3" "$folder/iommu_group"
	ln -s "/sys/bus/pci/devices/$1" "$work/sys/kernel/iommu_groups/$3/devices"
	[ "$4" = - ] || ln -s "/sys/bus/pci/drivers/$4" "$folder/driver"
	[ -z "${5:-}" ] || mkdir -p "$folder/virtio0/net/$5" "$work/sys/class/net/$5"
	if [ "$4" = vfio-pci ]; then
		touch "$work/dev/vfio/$3"
		chmod 600 "$work/dev/vfio/$3"
	fi
}

# taken ADDRESS BIT: the kernel's driver has it, and took F_ACCESS_PLATFORM or not
taken()
{
	local folder=$work/sys/bus/pci/devices/$1/virtio0

	ln -s /sys/bus/pci/drivers/virtio-pci "$folder/driver"
	printf '%033d%s%030d\n' 0 "$2" 0 >"$folder/features"
}

namespace=(unshare --mount)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --map-root-user --mount)
cat >"$work/enter.sh" <<'END'
set -e
mount --bind "$0/sys" /sys
mount --bind "$0/dev" /dev
mount --bind "$0/proc/cmdline" /proc/cmdline
mount --bind "$0/proc/cpuinfo" /proc/cpuinfo
exec "$@"
END

# on_machine COMMAND...
on_machine()
{
	run "${namespace[@]}" bash -c "$(<"$work/enter.sh")" "$work" "$@"
}

doctor()
{
	on_machine "$pollux" doctor --json "$@"
}

# --- judging -------------------------------------------------------------------------------------

cat >"$work/finding.py" <<'END'
"""finding.py FILE CHECK VERDICT TEXT REMEDY: of the one finding of a check; the last two are patterns."""
import json
import re
import sys

path, name, verdict, text, remedy = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    found = [check for check in json.load(file)["checks"] if check["name"] == name]
if verdict == "nothing":
    sys.exit(bool(found))
sys.exit(len(found) != 1 or found[0]["verdict"] != verdict or not re.search(text, found[0]["text"]) or
         (found[0]["remedy"] is not None if not remedy else not re.search(remedy, found[0]["remedy"] or "")))
END

# finds TITLE CHECK VERDICT [TEXT [REMEDY]]: in what the last run of doctor said. Without a pattern of
# a remedy there must be none.
finds()
{
	verdict "$1" python3 -IS "$work/finding.py" "$work/out" "$2" "$3" "${4:-}" "${5:-}"
}

run "${namespace[@]}" mount -t tmpfs none /sys
if [ "$status" -ne 0 ]; then
	skip 'doctor on made-up machines' 'mount namespaces are not allowed here'
	finish
	exit
fi

# --- nothing set up ------------------------------------------------------------------------------

new_machine
rm -r "$work/sys/class/iommu/dmar0" "$work/sys/module" "$work/sys/bus/pci/drivers/vfio-pci" "$work/dev/vfio"
pages 0 0
put sys/devices/system/cpu/isolated ''
put sys/devices/system/cpu/nohz_full ''
doctor
verdict 'a machine with nothing set up has faults' [ "$status" -eq 1 ]
verdict 'nothing is said beside the JSON' [ ! -s "$work/err" ]
verdict 'faults and warnings are counted' [ "$(query 'all(j[v + "s"] == sum(c["verdict"] == v
	for c in j["checks"]) > 0 for v in ("fault", "warning"))')" = True ]
finds 'no IOMMU' iommu fault 'no IOMMU' 'VT-d.*intel_iommu=on'
finds 'no vfio-pci' vfio-pci fault 'not loaded' '^modprobe vfio-pci$'
finds 'no driver of IOMMUs' iommu-driver fault 'vfio_iommu_type1' '^modprobe vfio_iommu_type1$'
finds 'a node that comes with the driver is no fault of its own' vfio-node nothing
finds 'no huge pages' hugepages warning '0 of 128 of 2 MiB on node 0' 'hugeadm --pool-pages-min 2MB:\+[0-9]+$'
finds 'no isolated cores' isolation warning 'isolcpus.*nohz_full' 'isolcpus=.*nohz_full=.*rcu_nocbs=.*update-grub'
finds 'no devices' devices warning 'no virtio network device' 'emu:net'
on_machine "$pollux" doctor
verdict 'the text names each thing that is missing' [ "$(grep -cE \
	'^(fault +(iommu|vfio-pci|iommu-driver)|warning +(hugepages|isolation|devices)) ' "$work/out")" -eq 6 ]
verdict 'each with its remedy' [ "$(grep -c '^ .*mend it by: .' "$work/out")" -ge 5 ]

# --- the IOMMU, told by the firmware, the command line and the processor --------------------------

put sys/firmware/acpi/tables/DMAR ''
doctor
finds 'an IOMMU that the kernel does not use' iommu fault '' '^add intel_iommu=on to GRUB_CMDLINE_LINUX'
put proc/cmdline 'quiet intel_iommu=off'
doctor
finds 'an IOMMU that is switched off' iommu fault '' '^take .*intel_iommu=off.* out'
put proc/cmdline 'intel_iommu=on'
doctor
finds 'an IOMMU that the kernel was told to use' iommu fault '' dmesg
put proc/cpuinfo 'vendor_id	: AuthenticAMD'
doctor
finds 'one of AMD' iommu fault '' 'AMD-Vi.*amd_iommu=on'
put sys/module/vfio/parameters/enable_unsafe_noiommu_mode Y
doctor
finds 'with the mode without an IOMMU it is a warning' iommu warning '' AMD-Vi
finds 'and so is that mode' no-iommu warning 'all memory' 'echo N > .*/enable_unsafe_noiommu_mode'

# --- all set up ----------------------------------------------------------------------------------

new_machine
put sys/devices/system/cpu/cpu0/cpufreq/scaling_governor performance
doctor
verdict 'a machine that has everything has no fault' [ "$status" -eq 0 ]
finds 'an IOMMU' iommu ok dmar0
finds 'vfio-pci' vfio-pci ok
finds 'vfio_iommu_type1' iommu-driver ok vfio_iommu_type1
finds 'no mode without an IOMMU' no-iommu ok
finds 'the node of VFIO' vfio-node ok /dev/vfio/vfio
finds 'huge pages' hugepages ok '64 of 128 of 2 MiB on node 0'
finds 'isolated cores' isolation ok '2-3.*--cores=2-3'
rm -r "$work/sys/module/vfio_iommu_type1"
touch "$work/dev/iommu"
rm "$work/dev/vfio/vfio"
put sys/devices/system/cpu/nohz_full '(null)'
doctor
finds 'iommufd is as good' iommu-driver ok iommufd
finds 'and needs no other node' vfio-node ok /dev/iommu
finds 'cores that are isolated, but not from the timer' isolation warning 'nohz_full' 'nohz_full='
rm "$work/dev/iommu"
doctor
finds 'a node that was not passed in' vfio-node fault 'no /dev/vfio/vfio.*--device=/dev/vfio/vfio' 'modprobe vfio'

# --- memory to pin -------------------------------------------------------------------------------

# The limits that do are tried in a machine, where they can be raised: tests/vm/unprivileged_test.sh.
new_machine
run "${namespace[@]}" bash -c "$(<"$work/enter.sh")" "$work" setpriv --bounding-set=-ipc_lock \
	--inh-caps=-ipc_lock bash -c 'ulimit -l 64; exec "$@"' - "$pollux" doctor --json
finds 'a limit that is too short' memlock fault '^64 KiB.* takes [0-9]+ MiB' \
	' - memlock [0-9]+. .*limits.d.*LimitMEMLOCK=[0-9]+K.*--ulimit memlock=[0-9]+'
verdict 'is a fault' [ "$status" -eq 1 ]
if [ "$(id -u)" -eq 0 ]; then
	doctor
	finds 'who has CAP_IPC_LOCK has no limit' memlock ok 'as much memory as it likes'
	run unshare --map-root-user "${namespace[@]}" bash -c "$(<"$work/enter.sh")" "$work" \
		bash -c 'ulimit -l 64; exec "$@"' - "$pollux" doctor --json
	finds 'that right is worth nothing in a user namespace' memlock fault '^64 KiB' memlock
else
	skip 'who has CAP_IPC_LOCK has no limit' 'only root has it'
	skip 'that right is worth nothing in a user namespace' 'there is no other here'
fi

# --- cores ---------------------------------------------------------------------------------------

new_machine
for core in "$work/sys/devices/system/cpu/"cpu{0..63}; do
	put "${core#"$work/"}/cpufreq/scaling_governor" powersave
done
doctor
finds 'a governor that saves power' governor warning 'powersave' 'echo performance .*scaling_governor'
sed -i s/powersave/performance/ "$work"/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
doctor
finds 'a governor that does not' governor ok performance

# --- a device ------------------------------------------------------------------------------------

new_machine
add_function $nic 0x1041 7 virtio-pci plx9
taken $nic 1
doctor
verdict 'a device that the kernel has is a fault' [ "$status" -eq 1 ]
finds 'there is a device' devices ok '^1 '
finds 'it is a NIC' type ok
finds 'nobody uses it' unused ok
finds "the kernel's driver has it" driver fault 'virtio-pci has it as plx9' "^pollux bind $nic$"
finds 'it is alone in its group' group ok 'group 7, alone'
finds 'its node is not there before it is bound' group-node nothing
finds 'it is not opened' open nothing
finds 'the kernel tells of F_ACCESS_PLATFORM' access-platform ok
finds 'there is one NUMA node' numa ok

ln -s /sys/class/net/br0 "$work/sys/class/net/plx9/upper_br0"
doctor
verdict 'a NIC that others use is no fault' [ "$status" -eq 0 ]
finds 'it is left to them' unused warning 'leave it: .*br0'
finds 'and to its driver' driver warning 'leave it there'
doctor $nic
verdict 'unless it is the one that was asked for' [ "$status" -eq 1 ]
finds 'who uses it is told' unused fault 'br0 stands on its interface plx9' '--force'
finds 'other devices are not counted then' devices nothing

new_machine
add_function $nic 0x1041 7 virtio-pci
taken $nic 0
doctor "$nic"
finds 'a device that goes past the IOMMU' access-platform fault 'does not offer' 'iommu_platform=on'
doctor "$nic,mrg_rxbuf=on,platform=ignore"
finds 'and the option that ignores it' access-platform warning 'platform=ignore'
doctor "pci:$nic,platform=ignored"
finds 'but no option that only looks like it' access-platform fault 'does not offer' 'iommu_platform=on'

new_machine
add_function $nic 0x1041 7 vfio-pci
add_function 0000:00:04.0 0x1042 7 virtio-pci
doctor $nic
finds 'vfio-pci has it' driver ok
finds 'another holds the group' group fault '0000:00:04.0 .virtio-pci.' '^pollux bind 0000:00:04.0$'
finds 'nothing is known of F_ACCESS_PLATFORM then' access-platform warning 'only when it can be opened'
doctor 0000:00:04.0
finds 'a virtio device that is no NIC' type fault 'type 2'

new_machine
add_function $nic 0x1041 7 vfio-pci
add_function 0000:00:04.0 0x1042 7 pcieport
doctor $nic
finds 'another that does not hold the group' group ok '0000:00:04.0 .pcieport.'
finds 'the node of the group' group-node ok /dev/vfio/7
finds 'a device that seems ready is opened, and what VFIO says is told' open fault 'VFIO' 'Pollux'
rm "$work/dev/vfio/7"
mkdir -p "$work/sys/bus/pci/devices/$nic/vfio-dev/vfio3" "$work/dev/vfio/devices"
touch "$work/dev/iommu" "$work/dev/vfio/devices/vfio3"
doctor $nic
finds 'a file of its own, beside iommufd' group-node ok /dev/vfio/devices/vfio3
rm "$work/dev/iommu"
doctor $nic
finds 'a node that was not passed in' group-node fault 'no /dev/vfio/7' '--device=/dev/vfio/7'

new_machine
add_function $nic 0x1041 - -
doctor $nic
finds 'no driver has it' driver fault 'no driver has it' "bind $nic"
finds 'the IOMMU does not stand before it' group fault 'does not stand before it' QEMU

new_machine
add_function $nic 0x10d3 7 virtio-pci
echo 0x8086 >"$work/sys/bus/pci/devices/$nic/vendor"
doctor $nic
finds 'a device that is not of virtio' type fault '8086:10d3' 'pollux status'

# --- NUMA ----------------------------------------------------------------------------------------

new_machine
pages 1 64
add_function $nic 0x1041 7 virtio-pci
doctor $nic
finds 'a device on no node of several' numa warning 'does not say'
echo 0 >"$work/sys/bus/pci/devices/$nic/numa_node"
doctor $nic
finds 'a device on the node of the cores' numa ok 'node 0'
pages 0 0
doctor $nic
finds 'a node without huge pages' numa warning 'node 0, and too few huge pages' 'node0/hugepages/.*/nr_hugepages'
echo 1 >"$work/sys/bus/pci/devices/$nic/numa_node"
doctor $nic
finds 'a device on the node of other cores' numa warning 'node 1, whose cores are 4096-8191' \
	'^taskset -c 4096-8191 .*--cores=4096 '

# --- another user --------------------------------------------------------------------------------

new_machine
add_function $nic 0x1041 7 vfio-pci
if [ "$(id -u)" -eq 0 ]; then
	cp "$pollux" "$work/pollux"
	ldd "$pollux" | awk '/libpollux/ { print $3 }' | xargs -r cp -t "$work"
	# as_user GROUP: the user 65534 in a group
	as_user()
	{
		on_machine setpriv --reuid=65534 --regid="$1" --clear-groups env LD_LIBRARY_PATH="$work" \
			"$work/pollux" doctor --json $nic
	}
	chmod 600 "$work/dev/vfio/vfio"
	as_user 65534
	finds 'no right to the node of VFIO' vfio-node fault 'no right' '^sudo chmod 666 /dev/vfio/vfio$'
	finds 'no right to the node of the group' group-node fault 'mode 0600 .* user 0 and group 0' \
		'^sudo chown [a-z0-9]+ /dev/vfio/7 .*udev'
	chgrp 44 "$work/dev/vfio/7"
	chmod 660 "$work/dev/vfio/7"
	as_user 65534
	finds 'a node that a Unix group may open' group-node fault 'group 44' '^sudo usermod -aG [a-z]+ [a-z0-9]+ '
	as_user 44
	finds 'and who is in that group' group-node ok
else
	for title in 'no right to the node of VFIO' 'no right to the node of the group' \
		'a node that a Unix group may open' 'and who is in that group'; do
		skip "$title" 'only root can be somebody else'
	done
fi

# --- sockets -------------------------------------------------------------------------------------

new_machine
python3 - "$work/sockets" <<'END' &
"""Make sockets: one that is listened to, one whose listener is busy, one that was left behind."""
import os
import socket
import sys
import time

os.mkdir(sys.argv[1])
os.chdir(sys.argv[1])
held = []
for name in ("good", "busy", "stale"):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(name)
held[0].listen(64)
held[1].listen(0)
held.append(socket.socket(socket.AF_UNIX))
held[-1].connect("busy")
held[2].close()
open("file", "w").close()
os.mkfifo("ready")
with open("ready", "w") as ready:
    ready.write("now")
time.sleep(600)
END
listener=$!
trap 'kill $listener; rm -rf "$work"' EXIT
until [ -p "$work/sockets/ready" ]; do
	sleep 0.05
done
read -r _ <"$work/sockets/ready"
for kind in vhost-user vfio-user; do
	doctor "$kind:$work/sockets/good"
	finds "$kind: a socket" socket ok
	finds "$kind: a backend" listener ok
	finds "$kind: it needs no IOMMU" iommu nothing
	verdict "$kind: there is no fault" [ "$status" -eq 0 ]
	doctor "$kind:$work/sockets/stale,wait=5"
	finds "$kind: a socket without a listener" listener fault 'nobody listens' 'start'
	verdict "$kind: which is a fault" [ "$status" -eq 1 ]
	doctor "$kind:$work/sockets/none"
	finds "$kind: no socket" socket fault 'no such socket' 'start the backend'
	finds "$kind: of which all is said by then" listener nothing
done
doctor "vhost-user:$work/sockets/busy"
finds 'a backend that has another front end' listener fault 'another front end' 'end'
doctor "vhost-user:$work/sockets/file"
finds 'a file that is no socket' socket fault 'no socket' 'path'
doctor "vhost-user:$work/sockets/new,server=on"
finds 'a place for a socket' socket ok 'can be made'
finds 'where nobody listens' listener nothing
doctor "vhost-user:$work/sockets/stale,server=on"
finds 'a place where a socket was left behind' socket ok
doctor "vhost-user:$work/sockets/good,server=on"
finds 'a place where another listens' listener fault 'another program listens' 'server=on'
doctor "vhost-user:$work/sockets/file,server=on"
finds 'a place where a file is' socket fault 'no socket' '^rm '
doctor "vhost-user:$work/nowhere/socket,server=on"
finds 'a place that is not there' socket fault 'no folder' '^mkdir -p '
if [ "$(id -u)" -eq 0 ]; then
	as_user_of_socket()
	{
		on_machine setpriv --reuid=65534 --regid=65534 --clear-groups env LD_LIBRARY_PATH="$work" \
			"$work/pollux" doctor --json "vhost-user:$work/sockets/good$1"
	}
	chmod 755 "$work/sockets"
	as_user_of_socket ''
	finds 'no right to the socket' socket fault 'no right to use' '^sudo chown 65534 '
	as_user_of_socket ,server=on
	finds 'no right to make one' socket fault 'no right to make' '^sudo chown 65534 '
	chmod 700 "$work/sockets"
	as_user_of_socket ''
	finds 'no right to look for it' socket fault 'no right to look'
else
	skip 'no right to the socket' 'only root can be somebody else'
	skip 'no right to make one' 'only root can be somebody else'
	skip 'no right to look for it' 'only root can be somebody else'
fi

# --- the rest ------------------------------------------------------------------------------------

doctor emu:net,peer=gen
verdict 'a device in software needs nothing' [ "$status" -eq 0 ]
finds 'huge pages help it, too' hugepages ok
refused()
{
	on_machine "$pollux" doctor "${@:3}"
	verdict "doctor $3 is refused" is_refusal "$1" "$2"
}
refused $usage '00:zz' 00:zz
refused $usage "'b'" $nic b
refused 1 'no such PCI function' ffff:1f:1f.7

finish
