#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Binding, and every input that Pollux must refuse with a sentence, in a machine with an IOMMU and in
# one without.
#
#     bind_test.sh POLLUX
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"

begin_on_host bind_guest.sh "$1"

no_legacy=disable-legacy=on,iommu_platform=on

in_machine 'bind_guest.sh with_iommu' \
	--nic='hubport,hubid=0' --nic='hubport,hubid=0' --nic='hubport,hubid=0;iommu_platform=off' \
	--device="virtio-rng-pci,addr=03.0,$no_legacy" \
	--device="virtio-rng-pci,addr=05.0,multifunction=on,$no_legacy" \
	--device="virtio-net-pci,addr=05.1,romfile=,$no_legacy"
in_machine 'bind_guest.sh without_iommu' --no-iommu-guest --nic='hubport,hubid=0'
tap_end
