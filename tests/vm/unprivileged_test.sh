#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What `pollux doctor` finds in a machine, whether its commands mend it, and that devices are driven by
# who has their nodes and a limit of memory, and nothing else: another user, and what is in a container
# without any capability.
#
#     unprivileged_test.sh POLLUX
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/lib.sh"

# What makes a container is taken along: it is called often, and by way of the host it is slow.
begin_on_host unprivileged_guest.sh "$1" "$BASH" "$(command -v pgrep)" "$(command -v prlimit)" \
	"$(command -v setpriv)" "$(command -v unshare)"
in_machine 'unprivileged_guest.sh' --nic='hubport,hubid=0' --nic='hubport,hubid=0' \
	--nic='hubport,hubid=0;iommu_platform=off' \
	--append='isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1'
tap_end
