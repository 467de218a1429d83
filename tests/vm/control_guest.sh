#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of control_test.sh.
#
#     control_guest.sh FOLDER
folder=$1
. "$folder/lib.sh"
trap on_exit EXIT

a=0000:00:10.0
b=0000:00:11.0

begin_in_guest
check "bind takes the NICs" pollux bind $a $b
for options in packed=off packed=on; do
	run_gtest $options control_test $a,$options $b,$options
done
tap_end
