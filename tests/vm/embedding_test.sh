#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pollux as a guest in other programs: embedding_test.cc, embedding_manners.cc, unload_test.cc and the
# unit test of faults, run in a machine on two NICs that a hub joins.
#
#     embedding_test.sh POLLUX EMBEDDING-TEST UNLOAD-TEST UNIT-FAULTS
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"

begin_on_host embedding_guest.sh "$@"
in_machine embedding_guest.sh --nic='hubport,hubid=0;packed=on' --nic='hubport,hubid=0;packed=on'
tap_end
