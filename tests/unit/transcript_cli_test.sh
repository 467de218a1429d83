#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What `pollux info --trace` shows of each handshake with an emulated device, and how it ends. Takes
# the program's path and speaks TAP. Needs no right and no hardware.
# shellcheck source=tests/unit/program_lib.sh
. "$(dirname "$0")/program_lib.sh"

info()
{
	run "$pollux" info --trace "$@"
}

# The names of the steps, and the status bytes that were written, in one line each.
steps()
{
	sed -n '/^trace/,$p' "$work/out" | sed -nE 's/^ +[0-9.]+ us  ([^ ].*)$/\1/p' | paste -sd'|'
}

written()
{
	sed -nE 's/.* us    status <- 0x([0-9a-f]+).*/\1/p' "$work/out" | paste -sd' '
}

# went STATUS STEPS WRITTEN
went()
{
	[ "$status" -eq "$1" ] && [ "$(steps)" = "$2" ] && [ "$(written)" = "$3" ]
}

# says PATTERN: the last line of standard error is the program's sentence about it.
says()
{
	tail -n 1 "$work/err" | grep -qE -- "^pollux: $1"
}

# One sentence, nothing on standard output, and the status of a usage error.
refused()
{
	is_refusal 64 "^pollux: $1"
}

faultless()
{
	! grep -q 'the driver broke' "$work/err"
}

opened='reset|ACKNOWLEDGE|DRIVER|read features|write features'
modern="$opened|FEATURES_OK|FEATURES_OK re-read"
live="$modern|queue set-up|fill queues|DRIVER_OK|DRIVER_OK re-read"
draft='reset|ACKNOWLEDGE|read features|features understood|DRIVER|DRIVER re-read'
activated="$draft|features activated|queue set-up|DRIVER_OK|DRIVER_OK re-read"
proposal="$activated|fill queues|DEVICE_OK|DEVICE_OK re-read|held-back notifications"
old="$opened|queue set-up|fill queues|DRIVER_OK|held-back notifications"

# --- handshakes that come to their end
for device in emu:net emu:net,dev.packed=off emu:net,legacy=off emu:net,dev.legacy=on; do
	info "$device"
	verdict "$device goes through the steps of the standard" \
		went 0 "$live|held-back notifications" '00 01 03 0b 0f'
	verdict "$device finds no fault with the driver" faultless
done
for device in emu:net,handshake=device-ok emu:net,handshake=device-ok,dev.packed=off; do
	info "$device"
	verdict "$device goes through the steps of the proposal" went 0 "$proposal" '00 01 03 07 0f'
	verdict "$device finds no fault with the driver" faultless
	verdict "$device shows bit 8 as DEVICE_OK" grep -q '<- 0x0f .*|DEVICE_OK$' "$work/out"
	verdict "$device warns of the proposal" grep -q 'a proposal that the standard did not take' \
		"$work/err"
done
for device in emu:net,legacy=on emu:net,dev.legacy=only emu:net,legacy=on,dev.any_layout=off \
	emu:net,legacy=on,dev.feature30=on emu:net,legacy=on,dev.handshake=device-ok \
	emu:net,legacy=on,dev.junk_len=on; do
	info "$device"
	verdict "$device goes through the steps of the legacy interface" went 0 "$old" '00 01 03 07'
	verdict "$device finds no fault with the driver" faultless
done

# --- vetoes
info emu:net,veto=features
verdict 'a veto on features ends in FAILED' went 1 "$modern" '00 01 03 0b 83'
verdict 'and is told' says "emu:net: at the step 'FEATURES_OK re-read' the device refuses"
verdict 'without a fault of the driver' faultless
info emu:net,veto=config
verdict 'a veto on the configuration ends in FAILED and a reset' \
	went 1 "$live|stop" '00 01 03 0b 0f cf 00'
verdict 'and is told' says "emu:net: at the step 'DRIVER_OK re-read' the device asks for a reset"
verdict 'without a fault of the driver' faultless
info emu:net,handshake=device-ok,veto=features
verdict 'the first veto of the proposal ends in FAILED' went 1 "$draft" '00 01 03 81'
verdict 'and is told' says "emu:net: at the step 'DRIVER re-read' the device vetoes the features"
verdict 'without a fault of the driver' faultless
info emu:net,handshake=device-ok,veto=config
verdict 'the second veto of the proposal ends in FAILED and a reset' \
	went 1 "$activated|stop" '00 01 03 07 83 00'
verdict 'and is told' says \
	"emu:net: at the step 'DRIVER_OK re-read' the device vetoes the configuration"
verdict 'without a fault of the driver' faultless
for pair in legacy=on,veto=features legacy=on,veto=config dev.legacy=only,veto=config; do
	info "emu:net,$pair"
	verdict "there is no veto through the legacy interface: $pair is refused" refused \
		"emu:net: veto=${pair##*=} does not go with the legacy interface, which has no way to say no"
done
info emu:net,legacy=on,veto=none
verdict 'and without one there is nothing to refuse' went 0 "$old" '00 01 03 07'

# --- a device that does not speak what the driver does
info emu:net,handshake=device-ok,dev.handshake=modern
verdict 'a device of the standard stops a driver of the proposal at DRIVER_OK' \
	went 1 "$activated|stop" '00 01 03 07 83 00'
verdict 'and says which rules it broke' grep -q 'the driver broke STATUS-1' "$work/err"

# --- as JSON
"$pollux" info --trace --json emu:net,veto=features >"$work/out" 2>"$work/err" </dev/null
status=$?
json_tells()
{
	[ "$status" -eq 1 ] && python3 - "$work/out" <<'END'
import json, sys
look = json.load(open(sys.argv[1]))
written = [line["status"] for line in look["trace"] if line["kind"] == "status_write"]
sys.exit(look["started"] or written != [0, 1, 3, 0xB, 0x83] or "FEATURES_OK" not in look["error"])
END
}
verdict 'JSON tells the same' json_tells

# --- options that are not understood
info emu:net,handshake=nonsense
verdict 'an unknown handshake lists the known ones' refused \
	'handshake=nonsense .*: the choices are modern, legacy, device-ok$'
info emu:net,handshake=
verdict 'so does an empty one' refused 'handshake= .*: the choices are modern, legacy, device-ok$'
info emu:net,dev.handshake=legacy
verdict "an unknown handshake of the device's lists the known ones" refused \
	'dev.handshake=legacy .*: the choices are modern, device-ok$'
info emu:net,veto=everything
verdict 'an unknown veto lists the known ones' refused \
	'veto=everything .*: the choices are none, features, config$'
info emu:net,dev.legacy=maybe
verdict 'an unknown kind of device lists the known ones' refused \
	'dev.legacy=maybe .*: the choices are off, on, only$'
info emu:net,handshake=legacy
verdict 'a handshake of the other interface is refused' refused \
	'emu:net: handshake=legacy does not go with the modern interface'
info emu:net,legacy=on,handshake=device-ok
verdict 'so is the other way round' refused \
	'emu:net: handshake=device-ok does not go with the legacy interface'
info emu:net,legacy=on,dev.legacy=off
no_interface()
{
	[ "$status" -eq 1 ] && says 'emu:net: the device has no legacy interface'
}
verdict 'a device without the legacy interface cannot be driven through it' no_interface

finish
