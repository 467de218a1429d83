#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest's side of control_test.sh.
#
#     control_guest.sh FOLDER
folder=$1
. "$folder/lib.sh"
trap on_exit EXIT

begin_in_guest
run_on_nics control_test
tap_end
