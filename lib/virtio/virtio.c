/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/virtio.h"

#include "virtio/virtio_reg.h"

#include <string.h>

void plx_virtio_init(struct plx_virtio *virtio, const struct plx_virtio_transport *transport,
	const struct plx_handshake *handshake, unsigned device_id, struct plx_mem *mem)
{
	virtio->transport = transport;
	virtio->handshake = handshake;
	virtio->mem = mem;
	virtio->device_id = device_id;
	virtio->numa_node = -1;
	virtio->limits = PLX_VIRTIO_LIMITS_DEFAULT;
}

void plx_virtio_init_pci(struct plx_virtio *virtio, struct plx_vfio_device *vfio)
{
	virtio->function = vfio;
	virtio->log = vfio->log;
	memcpy(virtio->name, vfio->name, sizeof(virtio->name));
	virtio->numa_node = vfio->numa_node;
	virtio->dma_translated = vfio->dma_translated;
	plx_vfio_alarm_set(&virtio->alarm, vfio);
}

/* Not traced: any thread may ask, and the trace belongs to the control calls. */
int plx_virtio_pci_check(const struct plx_mmio *window, uint64_t offset)
{
	uint8_t status;
	int err = plx_mmio_peek8(window, offset, &status);

	if (err)
		return err == -EAGAIN ? 0 : err;
	if (status == PLX_VIRTIO_STATUS_GONE)
		return -ENODEV;
	return (status & VIRTIO_STATUS_NEEDS_RESET) || !(status & VIRTIO_STATUS_DRIVER_OK) ? -EIO
											   : 0;
}

int plx_virtio_pci_fault(struct plx_virtio *virtio)
{
	return plx_vfio_fault(virtio->function);
}

/* What has gone for good reaches no memory, and that is all that is asked for. */
int plx_virtio_pci_reset_function(struct plx_virtio *virtio)
{
	int err = virtio->function->ops->reset(virtio->function);

	return err == -ENODEV ? 0 : err;
}

void plx_virtio_pci_revive(struct plx_virtio *virtio)
{
	if (virtio->reset_confirmed && plx_vfio_fault(virtio->function))
		(void)virtio->function->ops->reset(virtio->function);
}

int plx_virtio_fault(struct plx_virtio *virtio)
{
	return virtio->transport->fault ? virtio->transport->fault(virtio) : 0;
}

static bool read_in_one_generation(
	struct plx_virtio *virtio, struct plx_virtio_field *fields, unsigned count)
{
	const struct plx_virtio_transport *transport = virtio->transport;
	uint8_t before = transport->read_generation(virtio);

	for (unsigned i = 0; i < count; i++)
		fields[i].value = transport->read_config(virtio, fields[i].offset, fields[i].width);
	return transport->read_generation(virtio) == before;
}

/* Without a generation: until two readings agree (virtio 1.4, 2.5.3). */
static bool read_twice_the_same(
	struct plx_virtio *virtio, struct plx_virtio_field *fields, unsigned count)
{
	const struct plx_virtio_transport *transport = virtio->transport;
	bool same = true;

	for (unsigned i = 0; i < count; i++)
		fields[i].value = transport->read_config(virtio, fields[i].offset, fields[i].width);
	for (unsigned i = 0; i < count; i++)
		same &= transport->read_config(virtio, fields[i].offset, fields[i].width) ==
			fields[i].value;
	return same;
}

int plx_virtio_read_config(
	struct plx_virtio *virtio, struct plx_virtio_field *fields, unsigned count)
{
	const struct plx_virtio_transport *transport = virtio->transport;
	uint64_t size = transport->config_size(virtio);

	for (unsigned i = 0; i < count; i++)
		if ((uint64_t)fields[i].offset + fields[i].width > size)
			return plx_fail(EPROTO,
				"%s: the device's configuration of %llu bytes is too short for "
				"the features that it offers",
				virtio->name, (unsigned long long)size);
	for (unsigned tries = 0; tries < virtio->limits.generation_tries; tries++) {
		if (transport->read_generation ? read_in_one_generation(virtio, fields, count)
					       : read_twice_the_same(virtio, fields, count))
			return plx_virtio_fault(virtio);
	}
	return plx_fail(EPROTO,
		"%s: the device's configuration changed in each of %u reads: it never settles",
		virtio->name, virtio->limits.generation_tries);
}

uint8_t plx_virtio_read_status(struct plx_virtio *virtio)
{
	uint8_t status = virtio->transport->read_status(virtio);

	plx_trace_add(&virtio->trace, PLX_TRACE_STATUS_READ, status, 0);
	return status;
}

void plx_virtio_write_status(struct plx_virtio *virtio, uint8_t status)
{
	plx_trace_add(&virtio->trace, PLX_TRACE_STATUS_WRITE, status, 0);
	virtio->transport->write_status(virtio, status);
}

int plx_virtio_reset(struct plx_virtio *virtio)
{
	struct plx_wait wait = plx_wait_for(virtio->limits.reset);
	uint8_t status;

	plx_virtio_write_status(virtio, 0);
	/* Only the last read is traced: a slow device would fill the trace with the others. */
	while ((status = virtio->transport->read_status(virtio)))
		if (status == PLX_VIRTIO_STATUS_GONE || !plx_wait_again(&wait))
			break;
	plx_trace_add(&virtio->trace, PLX_TRACE_STATUS_READ, status, 0);
	if (status == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(virtio);
	if (status)
		return plx_fail(EIO,
			"%s: the device does not finish its reset: its status still reads "
			"0x%02x after %llu ms",
			virtio->name, status,
			(unsigned long long)(virtio->limits.reset / PLX_MILLISECONDS(1)));
	virtio->reset_confirmed = true;
	return 0;
}

int plx_virtio_quiesce(struct plx_virtio *virtio)
{
	virtio->step = 0;
	plx_trace_step(&virtio->trace, "stop");
	if (!plx_virtio_reset(virtio))
		return 0;
	plx_log(virtio->log, PLX_LOG_WARNING, "%s: %s instead", plx_error(),
		virtio->transport->last_resort);
	if (virtio->transport->reset_function(virtio))
		return plx_fail(EIO,
			"%s: no reset is confirmed (%s): its buffers are kept until it is closed",
			virtio->name, plx_error());
	virtio->reset_confirmed = true;
	return 0;
}

void plx_virtio_close(struct plx_virtio *virtio)
{
	if (!virtio)
		return;
	if (virtio->function)
		plx_vfio_alarm_clear(&virtio->alarm, virtio->function);
	virtio->transport->close(virtio);
}
