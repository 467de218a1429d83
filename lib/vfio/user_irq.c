/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "vfio/user_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Interrupts: eventfds that the server writes to. Copies of them are kept, for the server that
 * serves the device next.
 */

/* One run of interrupts, all with descriptors or none. */
static int tell_run(
	struct vfio_user *user, unsigned index, unsigned start, unsigned count, const int *fds)
{
	static const struct vfio_user_form form = {0, 0, 0};
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
			 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.start = start,
		.count = count,
	};

	return vfio_user_ask(
		user, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, fds ? count : 0, &form);
}

/* As many at once as the server takes. */
static int tell(struct vfio_user *user, unsigned index, unsigned start, unsigned count)
{
	const int *fd = user->irqs[index].fd;
	unsigned most = (unsigned)MIN(user->server.msg_fds, (uint64_t)PLX_VFIO_USER_FDS);
	unsigned end = start + count;
	int err = 0;

	if (!most)
		return plx_fail(ENOTSUP,
			"%s: the server takes no descriptors, so it has no interrupts",
			user->base.name);
	while (!err && start < end) {
		bool there = fd[start] >= 0;
		unsigned run = 1;

		while (start + run < end && (fd[start + run] >= 0) == there &&
			(run < most || !there))
			run++;
		err = tell_run(user, index, start, run, there ? fd + start : NULL);
		start += run;
	}
	return err;
}

static void forget(struct vfio_user_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++)
		if (irqs->fd[i] >= 0)
			(void)close(irqs->fd[i]);
	free(irqs->fd);
	*irqs = (struct vfio_user_irqs){0};
}

void vfio_user_forget_irqs(struct vfio_user *user)
{
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		forget(&user->irqs[i]);
}

static int make_room(struct vfio_user *user, struct vfio_user_irqs *irqs, unsigned count)
{
	int *grown;

	if (count <= irqs->count)
		return 0;
	grown = reallocarray(irqs->fd, count, sizeof(*grown));
	if (!grown)
		return plx_fail(
			ENOMEM, "%s: no memory to set %u interrupts", user->base.name, count);
	while (irqs->count < count)
		grown[irqs->count++] = -1;
	irqs->fd = grown;
	return 0;
}

/* The caller may close its eventfd at any time. */
static int keep(struct vfio_user *user, int *slot, int fd)
{
	int own = -1;

	if (fd >= 0) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return plx_fail(errno, "%s: an eventfd cannot be kept: %s", user->base.name,
				strerror(errno));
	}
	if (*slot >= 0)
		(void)close(*slot);
	*slot = own;
	return 0;
}

static int set_locked(
	struct vfio_user *user, unsigned index, unsigned start, unsigned count, const int32_t *fds)
{
	struct vfio_user_irqs *irqs = &user->irqs[index];
	int err;

	if (!count) {
		forget(irqs);
		return tell_run(user, index, 0, 0, NULL);
	}
	err = make_room(user, irqs, start + count);
	for (unsigned i = 0; !err && i < count; i++)
		err = keep(user, &irqs->fd[start + i], fds[i]);
	return err ? err : tell(user, index, start, count);
}

int vfio_user_set_irqs(struct plx_vfio_device *base, unsigned index, unsigned start, unsigned count,
	const int32_t *fds)
{
	struct vfio_user *user = vfio_user_of(base);
	int err;

	if (index >= VFIO_PCI_NUM_IRQS || !fds != !count ||
		!plx_range_fits(start, count, base->irqs[index]))
		return plx_fail(EINVAL, "%s: it has no %u interrupts from %u on of index %u",
			base->name, count, start, index);
	(void)pthread_mutex_lock(&user->lock);
	err = set_locked(user, index, start, count, fds);
	(void)pthread_mutex_unlock(&user->lock);
	return err;
}

int vfio_user_unmask_irq(struct plx_vfio_device *base, unsigned index)
{
	static const struct vfio_user_form form = {0, 0, 0};
	struct vfio_user *user = vfio_user_of(base);
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE,
		.index = index,
		.count = 1,
	};
	int err;

	(void)pthread_mutex_lock(&user->lock);
	err = vfio_user_ask(user, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), NULL, 0, &form);
	(void)pthread_mutex_unlock(&user->lock);
	return err;
}

int vfio_user_tell_irqs(struct vfio_user *user)
{
	int err = 0;

	for (unsigned i = 0; !err && i < VFIO_PCI_NUM_IRQS; i++)
		if (user->irqs[i].count)
			err = tell(user, i, 0, user->irqs[i].count);
	return err;
}
