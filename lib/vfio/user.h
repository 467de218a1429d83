/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_USER_H
#define PLX_VFIO_USER_H

#include "base/options.h"
#include "vfio/vfio.h"

/*
 * plx_vfio_user_open() - Open a device that another process serves by the vfio-user protocol.
 * @mem: the memory that it is to reach; each segment's file is given to the server
 * @log: outlives the device
 * @address: its place is the path of the server's socket; takes the options timeout= (of one
 * message, ms) and wait= (for the server to be there, ms)
 *
 * Behind the seam it differs from a device of the kernel's in this:
 *
 * - Accesses of regions that are not mapped are messages, which may block for timeout= and may come
 *   from any thread; peek() and check() never block. A mapped region is a file of the server's that
 *   is sealed against being cut short; others are not mapped, because a server could end this
 *   process with them.
 * - A session that failed once has ended, since nobody knows what the next message would belong to.
 *   Registers read all ones from then on, fault() tells why, and reset() begins another with
 *   whatever serves the socket by then: it greets, compares the regions with those that were there,
 *   maps all memory, and sets the interrupts again. The first reset after the end tries once, so
 *   that a stop does not wait for a server; one after that waits as the opening does.
 * - reset() returns -ENODEV when the server has left and no other is there: such a device reaches
 *   no memory. It returns -EIO when the server does not answer and does not leave.
 *
 * Return: 0; -EINVAL for a bad option or path; -ENODEV when nobody serves the socket; -EACCES;
 * -EPROTO when the server says what cannot be; -ETIMEDOUT; -ENOTSUP for another version of the
 * protocol or a device that is no PCI function; -ENOMEM; what plx_mem_attach() returned.
 */
int plx_vfio_user_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_vfio_device **device);

#endif
