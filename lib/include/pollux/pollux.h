/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_POLLUX_H
#define POLLUX_POLLUX_H

/**
 * @file
 * Everything that libpollux offers.
 */

#include <pollux/context.h>
#include <pollux/device.h>
#include <pollux/error.h>
#include <pollux/eth.h>
#include <pollux/eth_control.h>
#include <pollux/guard.h>
#include <pollux/log.h>
#include <pollux/packet.h>
#include <pollux/pci.h>
#include <pollux/pool.h>
#include <pollux/worker.h>

#endif
