/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/error.h"
#include "pci/pci.h"

#include <stdio.h>
#include <string.h>

/* Virtio 1.4, 4.1.2 and 4.1.2.1. */
#define VIRTIO_VENDOR       0x1af4
#define VIRTIO_DEVICE_FIRST 0x1000
#define VIRTIO_DEVICE_LAST  0x107f
#define VIRTIO_MODERN_BASE  0x1040

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A number of 1 to @digits hexadecimal digits, at most @max, and the character behind it. */
static bool read_field(const char **text, unsigned digits, uint32_t max, char end, uint32_t *value)
{
	unsigned i;

	*value = 0;
	for (i = 0; i < digits && hex_digit((*text)[i]) >= 0; i++)
		*value = *value << 4 | (uint32_t)hex_digit((*text)[i]);
	if (!i || *value > max || (*text)[i] != end)
		return false;
	*text += i + 1;
	return true;
}

int plx_pci_address_parse(const char *text, struct plx_pci_address *address)
{
	uint32_t domain = 0, bus, device, function;
	const char *colon, *rest = text;

	if (!text)
		return plx_fail(EINVAL, "there is no PCI address; write one as 0000:00:03.0");
	if (!strncmp(rest, "pci:", 4))
		rest += 4;
	colon = strchr(rest, ':');
	if (colon && strchr(colon + 1, ':') && !read_field(&rest, 8, UINT32_MAX, ':', &domain))
		goto refuse;
	if (!read_field(&rest, 2, 0xff, ':', &bus) || !read_field(&rest, 2, 0x1f, '.', &device) ||
		!read_field(&rest, 1, 7, '\0', &function))
		goto refuse;
	*address = (struct plx_pci_address){
		.domain = domain,
		.bus = (uint8_t)bus,
		.device = (uint8_t)device,
		.function = (uint8_t)function,
	};
	return 0;

refuse:
	return plx_fail(EINVAL,
		"\"%s\" is not the address of a PCI function; write it as 0000:00:03.0", text);
}

char *plx_pci_address_format(const struct plx_pci_address *address, char text[PLX_PCI_ADDRESS_LEN])
{
	(void)snprintf(text, PLX_PCI_ADDRESS_LEN, "%04x:%02x:%02x.%x", address->domain,
		address->bus, address->device & 0x1fu, address->function & 7u);
	return text;
}

bool plx_pci_is_virtio(const struct plx_pci_function *function)
{
	return function->vendor == VIRTIO_VENDOR && function->device >= VIRTIO_DEVICE_FIRST &&
	       function->device <= VIRTIO_DEVICE_LAST;
}

unsigned plx_pci_virtio_id(const struct plx_pci_function *function)
{
	if (!plx_pci_is_virtio(function))
		return 0;
	if (function->device >= VIRTIO_MODERN_BASE)
		return function->device - VIRTIO_MODERN_BASE;
	return function->subsystem_device;
}
