/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "virtio/pci_legacy.h"
#include "virtio/pci_modern.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * A PCI function whose configuration space and BARs hold what the bytes say: the walk over its
 * capabilities, and every register that a driver then touches through them, mapped or not.
 */

#define CONFIG_SIZE 256
#define BAR_ROOM    8192
#define BLOCK       64
#define READS_MAX   2000

static struct function {
	struct plx_vfio_device vfio;
	uint8_t config[CONFIG_SIZE];
	uint8_t (*bar)[BAR_ROOM]; /* VIRTIO_PCI_BARS of them */
	unsigned accesses;
	int maps;
	bool map_fails;
	bool closed;
} the_function;

static _Alignas(4096) uint8_t bars[VIRTIO_PCI_BARS][BAR_ROOM];

static struct function *of(struct plx_vfio_device *device)
{
	return container_of(device, struct function, vfio);
}

/* Return: where the bytes are; NULL when there are none. */
static uint8_t *reach(struct plx_vfio_device *device, unsigned region, uint64_t offset, size_t len)
{
	struct function *function = of(device);

	FUZZ_CHECK(!function->closed, "a device was touched that is closed");
	FUZZ_CHECK(function->accesses++ < READS_MAX, "the driver does not stop asking the device");
	FUZZ_CHECK(region < device->regions, "a region was touched that there is not");
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		return plx_range_fits(offset, len, device->region[region].size)
			       ? &function->config[offset]
			       : NULL;
	FUZZ_CHECK(plx_range_fits(offset, len, device->region[region].size),
		"a register was touched behind the end of its BAR");
	FUZZ_CHECK(offset % len == 0, "a register was touched that is not aligned");
	return &function->bar[region][offset];
}

static int read_register(
	struct plx_vfio_device *device, unsigned region, uint64_t offset, void *value, size_t len)
{
	const uint8_t *from = reach(device, region, offset, len);

	if (!from)
		return plx_fail(EIO, "there is no such register");
	memcpy(value, from, len);
	return 0;
}

static int write_register(struct plx_vfio_device *device, unsigned region, uint64_t offset,
	const void *value, size_t len)
{
	uint8_t *to = reach(device, region, offset, len);

	if (!to)
		return plx_fail(EIO, "there is no such register");
	memcpy(to, value, len);
	return 0;
}

static int map(struct plx_vfio_device *device, unsigned region, uint64_t offset, size_t len,
	void **address)
{
	struct function *function = of(device);

	FUZZ_CHECK(plx_range_fits(offset, len, device->region[region].size),
		"more was mapped than there is");
	if (function->map_fails)
		return plx_fail(ENOMEM, "it cannot be mapped");
	function->maps++;
	*address = &function->bar[region][offset];
	return 0;
}

static void unmap(struct plx_vfio_device *device, void *address, size_t len)
{
	(void)address, (void)len;
	of(device)->maps--;
}

static int reset(struct plx_vfio_device *device)
{
	(void)device;
	return 0;
}

static void close_function(struct plx_vfio_device *device)
{
	struct function *function = of(device);

	FUZZ_CHECK(!function->closed, "a device was closed twice");
	FUZZ_CHECK(!function->maps, "a window was left open");
	function->closed = true;
}

static const struct plx_vfio_ops ops = {
	.name = "fuzz",
	.read = read_register,
	.write = write_register,
	.map = map,
	.unmap = unmap,
	.reset = reset,
	.close = close_function,
};

/* Bytes: for each BAR its size and whether it can be mapped; what they hold; then config space. */
static void make_function(struct function *function, struct fuzz_input *in)
{
	static const uint16_t sizes[] = {0, 1, 2, 20, 0x37, 0x38, 0x40, 0x100, 0xffe, 0x1000,
		0x1001, 0x1038, 0x1ffe, 0x2000, 0x2000, 0x2000};
	uint8_t block[BLOCK];

	*function = (struct function){.bar = bars};
	function->vfio.ops = &ops;
	function->vfio.regions = VFIO_PCI_NUM_REGIONS;
	(void)snprintf(function->vfio.name, sizeof(function->vfio.name), "fuzz");
	for (unsigned i = 0; i < VIRTIO_PCI_BARS; i++) {
		struct plx_vfio_region *region = &function->vfio.region[i];
		uint8_t how = fuzz_u8(in);

		region->size = sizes[how % ARRAY_SIZE(sizes)];
		region->flags = how & 0x10 ? VFIO_REGION_INFO_FLAG_MMAP : 0;
		region->areas = 1;
		region->area[0] = (struct plx_vfio_area){0, plx_align_up(region->size, 4096)};
		if (how & 0x20)
			region->area[0] = (struct plx_vfio_area){4096, 4096};
		/* An area is never larger than its region, as VFIO has it. */
		if (region->area[0].offset + region->area[0].size > region->size)
			region->flags = 0;
		function->map_fails |= how == 0x5f;
	}
	function->vfio.region[VFIO_PCI_CONFIG_REGION_INDEX].size =
		fuzz_u8(in) & 1 ? BLOCK : CONFIG_SIZE;
	for (unsigned i = 0; i < BLOCK; i++)
		block[i] = fuzz_u8(in);
	for (unsigned i = 0; i < sizeof(bars); i += BLOCK)
		memcpy(&bars[0][0] + i, block, BLOCK);
	for (unsigned i = 0; i < CONFIG_SIZE; i++)
		function->config[i] = fuzz_u8(in);
}

static void read_device(struct plx_virtio *virtio)
{
	const struct plx_virtio_transport *transport = virtio->transport;
	uint64_t size = transport->config_size(virtio);
	struct plx_features features;
	struct plx_virtio_field fields[] = {{0, 1, 0}, {6, 2, 0}, {10, 2, 0}, {12, 4, 0}};

	(void)plx_virtio_read_status(virtio);
	plx_virtio_write_status(virtio, VIRTIO_STATUS_ACKNOWLEDGE);
	transport->read_features(virtio, &features);
	transport->write_features(virtio, &features);
	FUZZ_CHECK(size <= BAR_ROOM, "a configuration larger than its BAR");
	(void)FUZZ_CALL(plx_virtio_read_config(virtio, fields, ARRAY_SIZE(fields)));
}

static void notify(struct plx_virtio *virtio, uint16_t index)
{
	const struct plx_virtio_queue queue = {
		.index = index,
		.size = virtio->transport->queue_max(virtio, index),
		.descriptor_area = 0x1000,
		.driver_area = 0x2000,
		.device_area = 0x3000,
	};
	struct plx_virtio_doorbell doorbell = {{0}, 0};

	if (FUZZ_CALL(virtio->transport->queue_setup(virtio, &queue, &doorbell)))
		return;
	plx_mmio_write16(&doorbell.window, 0, doorbell.value);
	plx_mmio_close(&doorbell.window);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct function *function = &the_function;
	uint8_t how = fuzz_u8(&in);
	struct plx_virtio *virtio;
	int err;

	make_function(function, &in);
	if (how & 1)
		err = FUZZ_CALL(plx_virtio_pci_legacy_open(&function->vfio, 1, NULL, &virtio));
	else
		err = FUZZ_CALL(plx_virtio_pci_open(&function->vfio, 1, NULL, &virtio));
	if (err) {
		FUZZ_CHECK(!function->closed && !function->maps, "a failure left something behind");
		return 0;
	}
	virtio->limits.generation_tries = 4;
	read_device(virtio);
	notify(virtio, how >> 1);
	(void)FUZZ_CALL(virtio->transport->reset_function(virtio));
	plx_virtio_close(virtio);
	FUZZ_CHECK(function->closed, "the device was not closed");
	return 0;
}
