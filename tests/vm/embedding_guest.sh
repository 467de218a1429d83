#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of embedding_test.sh: the programs that embed Pollux.
#
#     embedding_guest.sh FOLDER
folder=$1
. "$folder/lib.sh"
trap on_exit EXIT

a=0000:00:10.0
b=0000:00:11.0

begin_in_guest
check "bind takes the NICs" pollux bind $a $b
for options in packed=off packed=on; do
	run_gtest $options embedding_test $a,$options $b,$options
done
export POLLUX_FAULTS_DEVICE=$a
run_gtest faults unit_faults --gtest_filter='*0000*'
run_gtest unloading unload_test /tmp/library/libpollux.so.0 $a
check "unbind gives them back" pollux unbind $a $b
tap_end
