/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Interrupts: MSI-X vectors or the line, each an eventfd of the driver's. */

void plx_emu_irq_init(struct plx_emu *emu)
{
	emu->line = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(emu->vector); i++)
		emu->vector[i] = -1;
}

static void drop(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void plx_emu_irq_fini(struct plx_emu *emu)
{
	drop(&emu->line);
	for (unsigned i = 0; i < ARRAY_SIZE(emu->vector); i++)
		drop(&emu->vector[i]);
}

/* The driver may close its eventfd at any time, so the device holds one of its own. */
static int take(struct plx_emu *emu, int *slot, int fd)
{
	int own = -1;

	if (fd >= 0) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return plx_fail(
				errno, "%s: an interrupt cannot be set up: %m", emu->vfio.name);
	}
	drop(slot);
	*slot = own;
	return 0;
}

int plx_emu_set_irqs(
	struct plx_emu *emu, unsigned index, unsigned start, unsigned count, const int32_t *fds)
{
	bool msix = index == VFIO_PCI_MSIX_IRQ_INDEX;
	int *slots = msix ? emu->vector : &emu->line;
	unsigned room = index < VFIO_PCI_NUM_IRQS ? emu->vfio.irqs[index] : 0;

	if (start > room || count > room - start)
		return plx_fail(EINVAL, "%s: it has %u interrupts of index %u, not %u",
			emu->vfio.name, room, index, start + count);
	if (!msix && index != VFIO_PCI_INTX_IRQ_INDEX)
		return 0; /* VFIO's own indexes, of which an emulated device never makes use */
	if (!count) {
		for (unsigned i = 0; i < room; i++)
			drop(&slots[i]);
	}
	for (unsigned i = 0; i < count; i++) {
		int err = take(emu, &slots[start + i], fds ? fds[i] : -1);

		if (err)
			return err;
	}
	/* The kernel turns MSI-X on and off with the use of its vectors. */
	if (msix)
		plx_emu_pci_set_msix(emu, count > 0);
	else
		emu->line_masked = false;
	return 0;
}

static void signal(struct plx_emu *emu, int fd, int32_t vector)
{
	if (fd < 0 || emu->config.mute)
		return;
	emu->stats.interrupts++;
	plx_emu_event(emu, PLX_EMU_INTERRUPT, PLX_EMU_MSIX, vector, 0, 0);
	/* Fails only when the counter is full, and then it is signalled already. */
	(void)eventfd_write(fd, 1);
}

/* As VFIO has it, the line is masked with each of its interrupts. */
static void signal_line(struct plx_emu *emu)
{
	if (emu->line_masked || plx_emu_line_disabled(emu))
		return;
	emu->line_masked = emu->line >= 0;
	signal(emu, emu->line, -1);
}

void plx_emu_unmask_line(struct plx_emu *emu)
{
	emu->line_masked = false;
	if (emu->isr && !emu->msix)
		signal_line(emu);
}

static void raise(struct plx_emu *emu, uint16_t vector, uint8_t isr)
{
	if (emu->msix) {
		if (vector < emu->vectors)
			signal(emu, emu->vector[vector], vector);
		return;
	}
	emu->isr |= isr;
	signal_line(emu);
}

void plx_emu_irq_queue(struct plx_emu *emu, uint16_t vector)
{
	raise(emu, vector, VIRTIO_ISR_QUEUE);
}

void plx_emu_interrupt(struct plx_emu *emu, int vector)
{
	plx_emu_lock(emu);
	if (vector < 0)
		signal_line(emu);
	else if ((unsigned)vector < emu->vectors)
		signal(emu, emu->vector[vector], vector);
	plx_emu_unlock(emu);
}

void plx_emu_irq_config(struct plx_emu *emu)
{
	emu->generation_due = true;
	if (!plx_emu_live(emu))
		return;
	emu->isr |= VIRTIO_ISR_CONFIG;
	raise(emu, emu->config_vector, VIRTIO_ISR_CONFIG);
}
