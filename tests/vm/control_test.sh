#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a port is told by its control queue, and what QEMU's filter then lets through to it.
#
#     control_test.sh POLLUX CONTROL-TEST
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"

begin_on_host control_guest.sh "$@"
in_machine control_guest.sh --nic='hubport,hubid=0;packed=on' --nic='hubport,hubid=0;packed=on'
tap_end
