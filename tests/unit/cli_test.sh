#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The program's manners: every fault is told in one sentence with the right status, before anything
# is touched. Takes the program's path and speaks TAP. No function is bound, and what is driven is in
# software.
# shellcheck source=tests/unit/program_lib.sh
. "$(dirname "$0")/program_lib.sh"

# refuses NAME STATUS PATTERN ARGUMENT...
refuses()
{
	local name=$1 expected=$2 pattern=$3
	shift 3
	run "$pollux" "$@"
	verdict "$name" is_refusal "$expected" "$pattern"
}

succeeds()
{
	[ "$status" -eq 0 ] && [ ! -s "$work/err" ] && grep -qE -- "$1" "$work/out"
}

answers()
{
	[ "$status" -eq 0 ] && [ ! -s "$work/err" ] && [ "$(query "$1")" = "$2" ]
}

usage=64

# --- the program itself
run "$pollux" --help
verdict 'the help names every command' succeeds '^  fwd '
run "$pollux" --version
verdict 'the version is told' succeeds '^pollux [0-9]+\.[0-9]+\.[0-9]+$'
refuses 'no command' $usage 'no command'
refuses 'an unknown command' $usage "no command 'frobnicate'" frobnicate
refuses 'an unknown option of the program' $usage "'--frobnicate'" --frobnicate
for command in status bind unbind doctor info fwd; do
	run "$pollux" "$command" --help
	verdict "$command --help" succeeds "^Usage: pollux $command "
	verdict "$command --help tells of --json" succeeds '--json'
	refuses "$command with an unknown option" $usage "'--frobnicate'" "$command" --frobnicate
	refuses "$command with an unknown letter" $usage "'-Z'" "$command" -Z
done
refuses 'an option without its value' $usage '--cores .*value' fwd --cores
refuses 'an option with a value that it does not take' $usage "'--json=1'" status --json=1
is_full()
{
	[ "$status" -eq 1 ] && grep -q '^pollux: cannot write' "$work/err"
}
"$pollux" --help >/dev/full 2>"$work/err"
status=$?
verdict 'output that cannot be written is a failure' is_full

# --- status
run "$pollux" status
verdict 'status tells of hugepages' succeeds '^hugepages '
run "$pollux" status --all --json
functions=(/sys/bus/pci/devices/*)
[ -e "${functions[0]}" ] || functions=()
verdict 'status --all --json lists every PCI function' \
	answers 'len(j["functions"])' "${#functions[@]}"
not_virtio=$(query 'next((f["address"] for f in j["functions"] if not f["virtio_id"]), "")')
any=$(query 'next((f["address"] for f in j["functions"] if not f["interfaces"]), "")')
run "$pollux" status --json
verdict 'status --json shows network and virtio functions only' answers \
	'all(f["virtio_id"] or f["class"][:4] == "0x02" for f in j["functions"])' True
refuses 'status with an argument' $usage "'0000:00:00.0'" status 0000:00:00.0

# --- status on a made-up machine, in a mount namespace of its own
namespace=(unshare --mount)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --map-root-user --mount)
cat >"$work/sysfs.sh" <<'END'
# Makes a /sys with an IOMMU and the functions that are given as ADDRESS,DEVICE,GROUP,DRIVER.
set -e
mount -t tmpfs none /sys
devices=/sys/bus/pci/devices
mkdir -p $devices /sys/class/iommu/dmar0 /sys/kernel/iommu_groups
mkdir -p /sys/bus/pci/drivers/virtio-pci /sys/bus/pci/drivers/vfio-pci
for function in $FUNCTIONS; do
	IFS=, read -r address device group driver <<<"$function"
	mkdir -p "$devices/$address" "/sys/kernel/iommu_groups/$group" "/sys/bus/pci/drivers/$driver"
	cd "$devices/$address"
	echo 0x1af4 | tee vendor subsystem_vendor >/dev/null
	echo "$device" | tee device subsystem_device >/dev/null
	echo 0x020000 >class
	echo 0x01 >revision
	echo -1 >numa_node
	echo '(null)' >driver_override
	ln -s "/sys/bus/pci/drivers/$driver" driver
	[ "$group" = - ] || ln -s "/sys/kernel/iommu_groups/$group" iommu_group
done
cd /
[ "$VFIO" = yes ] || rmdir /sys/bus/pci/drivers/vfio-pci
mount -t tmpfs none /dev
mkdir /dev/vfio
touch /dev/null /dev/vfio/7
END

# on_machine VFIO FUNCTIONS COMMAND...
on_machine()
{
	local vfio=$1 functions=$2
	shift 2
	run env VFIO="$vfio" FUNCTIONS="$functions" "${namespace[@]}" \
		bash -c '. "$0" && exec "$@"' "$work/sysfs.sh" "$@"
}

# ready NAME VFIO FUNCTIONS REASON: what keeps the first function from being ready.
ready()
{
	on_machine "$2" "$3" "$pollux" status --json
	verdict "$1" answers "$4 in str(j['functions'][0]['why_not'])" True
}

run "${namespace[@]}" mount -t tmpfs none /sys
if [ "$status" -ne 0 ]; then
	skip 'status on made-up machines' 'mount namespaces are not allowed here'
else
	on_machine yes '' "$pollux" status
	verdict 'a machine without PCI is no failure' succeeds 'no PCI functions'
	on_machine yes '' "$pollux" status --json
	verdict 'a machine without PCI has an empty list' answers 'j["functions"]' '[]'
	verdict 'an IOMMU is seen' answers 'j["iommu"]' True
	ready 'not ready without vfio-pci' no 0000:00:03.0,0x1041,7,virtio-pci \
		'"modprobe vfio-pci"'
	ready 'not ready when another driver has it' yes 0000:00:03.0,0x1041,7,virtio-pci \
		'"bind 0000:00:03.0"'
	ready 'not ready behind no IOMMU' yes 0000:00:03.0,0x1041,-,vfio-pci '"IOMMU"'
	ready 'not ready when the group is shared' yes \
		'0000:00:03.0,0x1041,7,vfio-pci 0000:00:04.0,0x1042,7,virtio-pci' '"0000:00:04.0"'
	on_machine yes '0000:00:03.0,0x1041,7,vfio-pci 0000:00:04.0,0x1042,7,pcieport' \
		"$pollux" status --json
	verdict 'ready when the group has drivers that leave it alone' answers \
		'j["functions"][0]["ready"]' True
	ready 'not ready without the right to the group' yes 0000:00:03.0,0x1041,8,vfio-pci \
		'"/dev/vfio/8"'
	on_machine yes 0000:00:03.0,0x1041,7,vfio-pci "$pollux" status
	verdict 'ready when vfio-pci has it' succeeds \
		'^0000:00:03.0 +virtio net +vfio-pci .* ready$'
	on_machine yes 0000:00:03.0,0x1041,7,virtio-pci \
		bash -c '"$0" bind 0000:00:03.0 0000:00:04.0; echo $?; \
			cat /sys/bus/pci/devices/0000:00:03.0/driver_override' "$pollux"
	nothing_touched()
	{
		[ "$(cat "$work/out")" = $'1\n(null)' ] && grep -q '0000:00:04.0' "$work/err"
	}
	verdict 'bind touches nothing when one of the addresses is not there' nothing_touched
fi

# --- info
missing=ffff:1f:1f.7
refuses 'info without a device' $usage 'no device' info
refuses 'info with two devices' $usage "'b'" info a b
refuses 'info of an address that is not there' 1 "$missing" info $missing
refuses 'info of a malformed address' $usage '00:zz' info 00:zz
refuses 'info of an unknown kind of address' $usage 'nonsense' info nonsense:0
refuses 'info of an option that is none' $usage 'frobnicate' info "$missing,frobnicate"
if [ -n "$not_virtio" ]; then
	refuses 'info of what is not virtio' 1 'not a virtio device' info "$not_virtio"
else
	skip 'info of what is not virtio' 'every PCI function here is virtio'
fi

# --- bind and unbind
for command in bind unbind; do
	refuses "$command without an address" $usage 'no PCI address' $command
	refuses "$command of a malformed address" $usage '00:zz' $command 00:zz
	refuses "$command of an address that is not there" 1 "$missing" $command $missing
	refuses "$command of one address twice" $usage twice $command 00:1f.7 0000:00:1f.7
done

# The build may lie where nobody may look, so the program and its library are copied.
as_nobody()
{
	cp "$pollux" "$work/pollux"
	ldd "$pollux" | awk '/libpollux/ { print $3 }' | xargs -r cp -t "$work"
	run env LD_LIBRARY_PATH="$work" setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$work/pollux" "$@"
}

driver_of()
{
	basename "$(readlink "/sys/bus/pci/devices/$1/driver" || echo none)"
}

before=$(driver_of "$any")
other=$(find /sys/bus/pci/drivers -mindepth 1 -maxdepth 1 ! -name "$before" -printf '%f\n' 2>&1 |
	head -n 1)
if [ -z "$any" ] || [ -z "$other" ]; then
	skip 'bind without permission' 'there is no PCI function and second driver to try with'
elif [ "$(id -u)" -eq 0 ]; then
	as_nobody bind "$any" --driver="$other"
	verdict 'bind without permission' is_refusal 1 'no right'
else
	refuses 'bind without permission' 1 'no right' bind "$any" --driver="$other"
fi
if [ -n "$any" ]; then
	refuses 'bind to a driver that is not loaded' 1 'no-such-driver' \
		bind "$any" --driver=no-such-driver
	verdict 'refused functions keep their driver' [ "$(driver_of "$any")" = "$before" ]
else
	skip 'bind to a driver that is not loaded' 'there is no PCI function'
fi

# --- features that cannot be had
# lacks NAME PATTERN ADDRESS: the sentence is on standard error, behind what info has shown already.
lacks()
{
	run "$pollux" info --trace "$3"
	verdict "$1" says "$2"
}
says()
{
	[ "$status" -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -qE -- "$1" "$work/err"
}
lacks 'a feature that the interface cannot carry' \
	'packed=on cannot be had .not through the legacy interface.: leave the option out$' \
	emu:net,packed=on,legacy=on
lacks 'a feature that the driver has no code for' \
	'standby=on cannot be had .not used by this driver.: leave the option out$' emu:net,standby=on
lacks 'a feature without the one that it takes' \
	'mq=on cannot be had .depends on NET_F_CTRL_VQ.: leave the option out$' \
	emu:net,dev.ctrl_vq=on,dev.mq=on,mq=on,ctrl_vq=off
lacks 'a feature that the device does not offer' \
	'event_idx=on cannot be had .not offered.: leave .* or give the device the feature$' \
	emu:net,event_idx=on,dev.event_idx=off

# --- fwd
refuses 'fwd without a device' $usage 'no device' fwd
refuses 'fwd of an address that is not there' 1 "$missing" fwd $missing
refuses 'fwd of a malformed address' $usage '00:zz' fwd 00:zz
refuses 'an unknown mode lists the known ones' $usage 'io, mac, macswap, csum, rx, tx, echo' \
	fwd $missing --mode=frobnicate
forwards()
{
	[ "$status" -eq 0 ] && [ "$(query "j['ports'][0]['rx_packets'] > 0")" = True ]
}
patiently forwards "$pollux" fwd emu:net,peer=gen,dev.mtu=9000,dev.mrg_rxbuf=off --json
verdict 'fwd drives a device whose frames need packets longer than usual' forwards
run timeout 60 "$pollux" info --trace --json emu:net,dev.mtu=9000,dev.mrg_rxbuf=off
verdict 'and so does info' answers "j['started']" True
# numbered CHECK DEVICE...: numbered frames, from one card through the driver to the other, and what
# became of them.
numbered()
{
	patiently "$1" "$pollux" fwd "${@:2}" --mode=io --json
}
arrives_unaltered()
{
	[ "$status" -eq 0 ] && [ "$(query "(lambda c: c['peer.received'] > 0 and c['peer.altered'] == 0 \
		and c['peer.doubled'] == 0)(j['ports'][1]['counters'])")" = True ] &&
		! grep -q 'not as it was made' "$work/err"
}
numbered arrives_unaltered emu:net,peer=gen emu:net,peer=sink
verdict 'fwd shows that numbered frames arrive unaltered' arrives_unaltered
counts_nothing()
{
	[ "$status" -eq 0 ] && [ "$(query "[n for n in j['ports'][1]['counters'] if 'peer.' in n]")" = '[]' ]
}
numbered counts_nothing emu:net,peer=gen emu:net,peer=none
verdict 'a peer that checks nothing counts nothing' counts_nothing
# Behind the headers of the file and of its first frame, which is there as a whole.
is_captured()
{
	[ "$(stat -c %s "$work/numbered")" -ge $((24 + 16 + 60)) ]
}
numbered is_captured "emu:net,peer=gen,rate=200" "emu:net,peer=pcap:$work/numbered"
# And in the middle of that frame.
printf 'X' | dd of="$work/numbered" bs=1 seek=$((24 + 16 + 40)) conv=notrunc status=none
tells_of_the_altered()
{
	[ "$status" -eq 0 ] && [ "$(query "(lambda c: c['peer.received'] > 0 and \
		c['peer.altered'] > 0)(j['ports'][1]['counters'])")" = True ] &&
		[ "$(grep -c '^pollux: warning: emu:net: .*not as it was made' "$work/err")" -eq 1 ]
}
numbered tells_of_the_altered "emu:net,peer=replay:$work/numbered" emu:net,peer=sink
verdict 'and that one of them was altered on its way' tells_of_the_altered
mkfifo "$work/frames"
timeout 60 head -c 24 "$work/frames" >/dev/null 2>&1 &
run bash -c 'trap "" PIPE; exec "$@"' - \
	timeout 60 "$pollux" fwd "emu:net,peer=pcap:$work/frames" --mode=tx --time=2
tells_an_error()
{
	[ "$status" -eq 0 ] && grep -q '^pollux: error: emu:net: .*cannot be written' "$work/err"
}
verdict 'an error that ends nothing is told' tells_an_error
refuses 'echo without an address to answer for' $usage '--ip' fwd $missing --mode=echo
refuses 'more peers than ports' $usage '--peer' \
	fwd $missing --peer=02:00:00:00:00:01,02:00:00:00:00:02
for bad in --burst=0 --burst=513 --burst=many --burst= --burst=-1 --burst=1.5 --queues=0 --ring=0 \
	--ring=256, --ring=65536 --packets=0 --size=59 --size=1515 --time=-1 --time=nan --time=soon \
	--stats=often --retries=-1 --page-size=3M --ip=192.0.2 --ip=host --peer=02:00:00:00:00 \
	--peer=02:00:00:00:00:001 --peer=02:00:00:00:00:0g --peer= --cores= --cores=0, --cores=a \
	--cores=1-0 --cores=0,0 --cores=8191 --cores=99999999999999999999 --cores=0-8191; do
	refuses "fwd $bad" $usage "${bad%%=*}" fwd $missing "$bad"
done

# --- fwd on emulated devices
uses_every_queue_and_whole_bursts()
{
	answers '(j["bursts"]["32"] > 0 and
		all(j["ports"][0]["counters"][f"rx{i}.packets"] > 0 for i in range(4)))' True
}
patiently uses_every_queue_and_whole_bursts "$pollux" fwd --quiet --queues=4 --page-size=4K --json \
	emu:net,peer=gen,dev.queues=4 emu:net,peer=sink,dev.queues=4
verdict 'fwd moves frames on each of four queues' answers \
	'all(j["ports"][0]["counters"][f"rx{i}.packets"] > 0 for i in range(4))' True
verdict 'and none is lost in between' answers \
	'j["ports"][0]["rx_packets"] == j["ports"][1]["tx_packets"] + j["ports"][1]["tx_dropped"]' True
verdict 'polls are counted by what they brought' answers \
	'j["bursts"]["32"] > 0 and 0 <= j["empty_polls"] < 1' True
refuses 'fwd with more queues than there are' $usage 'give a number from 1 to 2' \
	fwd --queues=3 --time=0.1 --page-size=4K emu:net,dev.queues=2
run "$pollux" info --json emu:net,dev.queues=4
verdict 'info tells offloads, speed and queues' answers \
	'"tx_tso4" in j["offloads"] and j["speed"] == 10000 and j["max_queue_pairs"] == 4' True

finish
