#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of embedding_test.sh: the programs that embed Pollux.
#
#     embedding_guest.sh FOLDER
folder=$1
. "$folder/lib.sh"
trap on_exit EXIT

begin_in_guest
run_on_nics embedding_test
export POLLUX_FAULTS_DEVICE=$nic_a
run_gtest faults unit_faults --gtest_filter='*0000*'
run_gtest unloading unload_test /tmp/library/libpollux.so.0 $nic_a
check "unbind gives them back" pollux unbind $nic_a $nic_b
tap_end
