/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/emu_priv.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <string.h>

/*
 * PCI configuration space: header, BARs, and the capabilities of MSI-X and of virtio (virtio 1.4,
 * 4.1.2 and 4.1.4).
 */
#define CAP_FIRST 0x40

static void put16(uint8_t *to, uint16_t value)
{
	value = htole16(value);
	memcpy(to, &value, sizeof(value));
}

static void put32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

/* A BAR's address bits can be written, so that its size can be found out. */
static void add_bar(
	struct plx_emu *emu, unsigned bar, uint32_t size, uint32_t address, uint32_t type)
{
	unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;

	put32(&emu->pci[at], address | type);
	put32(&emu->pci_writable[at], ~(size - 1));
	if (type & PCI_BASE_ADDRESS_MEM_TYPE_64)
		put32(&emu->pci_writable[at + 4], UINT32_MAX);
}

static uint8_t add_capability(struct plx_emu *emu, uint8_t *at, uint8_t id, uint8_t len)
{
	uint8_t *link = &emu->pci[PCI_CAPABILITY_LIST];
	uint8_t place = *at;

	while (*link)
		link = &emu->pci[*link + PCI_CAP_LIST_NEXT];
	*link = place;
	emu->pci[place + PCI_CAP_LIST_ID] = id;
	*at = (uint8_t)(place + ((len + 3) & ~3));
	return place;
}

static uint8_t add_virtio(
	struct plx_emu *emu, uint8_t *at, uint8_t type, uint32_t offset, uint32_t length)
{
	uint8_t len = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? VIRTIO_PCI_CAP_NOTIFY_SIZE
		      : type == VIRTIO_PCI_CAP_PCI_CFG  ? VIRTIO_PCI_CAP_PCI_SIZE
							: VIRTIO_PCI_CAP_SIZE;
	uint8_t place = add_capability(emu, at, PCI_CAP_ID_VNDR, len);
	uint8_t *cap = &emu->pci[place];

	cap[VIRTIO_PCI_CAP_LEN] = len;
	cap[VIRTIO_PCI_CAP_TYPE] = type;
	cap[VIRTIO_PCI_CAP_BAR] = type == VIRTIO_PCI_CAP_PCI_CFG ? 0 : PLX_EMU_VIRTIO_BAR;
	put32(cap + VIRTIO_PCI_CAP_OFFSET, offset);
	put32(cap + VIRTIO_PCI_CAP_LENGTH, length);
	return place;
}

static void add_msix(struct plx_emu *emu, uint8_t *at)
{
	uint8_t place = add_capability(emu, at, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);

	put16(&emu->pci[place + PCI_MSIX_FLAGS], (uint16_t)(emu->vectors - 1));
	put32(&emu->pci[place + PCI_MSIX_TABLE], PLX_EMU_MSIX_BAR);
	put32(&emu->pci[place + PCI_MSIX_PBA], PLX_EMU_MSIX_PENDING | PLX_EMU_MSIX_BAR);
}

static void add_capabilities(struct plx_emu *emu)
{
	uint8_t at = CAP_FIRST, place;

	if (emu->vectors)
		add_msix(emu, &at);
	if (!plx_emu_has_modern(emu))
		return;

	(void)add_virtio(emu, &at, VIRTIO_PCI_CAP_COMMON_CFG, PLX_EMU_BAR_COMMON, PLX_EMU_BAR_PART);
	place = add_virtio(
		emu, &at, VIRTIO_PCI_CAP_NOTIFY_CFG, PLX_EMU_BAR_NOTIFY, PLX_EMU_BAR_PART);
	put32(&emu->pci[place + VIRTIO_PCI_CAP_NOTIFY_MULT], PLX_EMU_NOTIFY_MULT);
	(void)add_virtio(emu, &at, VIRTIO_PCI_CAP_ISR_CFG, PLX_EMU_BAR_ISR, PLX_EMU_BAR_PART);
	(void)add_virtio(emu, &at, VIRTIO_PCI_CAP_DEVICE_CFG, PLX_EMU_BAR_DEVICE, PLX_EMU_BAR_PART);

	emu->pci_cfg_cap = add_virtio(emu, &at, VIRTIO_PCI_CAP_PCI_CFG, 0, 0);
	emu->pci_writable[emu->pci_cfg_cap + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(&emu->pci_writable[emu->pci_cfg_cap + VIRTIO_PCI_CAP_OFFSET], 0xff,
		VIRTIO_PCI_CAP_PCI_SIZE - VIRTIO_PCI_CAP_OFFSET);
}

/* Old devices tell their type in the subsystem's ID and by revision 0 (virtio 1.4, 4.1.2.3). */
static void identify(struct plx_emu *emu)
{
	bool legacy = plx_emu_has_legacy(emu);
	uint16_t modern = VIRTIO_PCI_MODERN_FIRST + VIRTIO_ID_NET;
	uint8_t *pci = emu->pci;

	put16(pci + PCI_VENDOR_ID, VIRTIO_PCI_VENDOR);
	put16(pci + PCI_DEVICE_ID, legacy ? VIRTIO_PCI_TRANSITIONAL_FIRST : modern);
	pci[PCI_REVISION_ID] = !legacy;
	put16(pci + PCI_CLASS_DEVICE, 0x0200); /* network, Ethernet */
	put16(pci + PCI_SUBSYSTEM_VENDOR_ID, VIRTIO_PCI_VENDOR);
	put16(pci + PCI_SUBSYSTEM_ID, legacy ? VIRTIO_ID_NET : modern);
}

void plx_emu_pci_init(struct plx_emu *emu)
{
	uint8_t *pci = emu->pci;

	identify(emu);
	put16(pci + PCI_STATUS, PCI_STATUS_CAP_LIST);
	pci[PCI_INTERRUPT_PIN] = 1;
	put16(emu->pci_writable + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
						       PCI_COMMAND_MASTER | PCI_COMMAND_SERR |
						       PCI_COMMAND_INTX_DISABLE);
	emu->pci_writable[PCI_CACHE_LINE_SIZE] = 0xff;
	emu->pci_writable[PCI_INTERRUPT_LINE] = 0xff;
	add_bar(emu, PLX_EMU_MSIX_BAR, PLX_EMU_MSIX_SIZE, 0xfebf0000,
		PCI_BASE_ADDRESS_SPACE_MEMORY);
	if (plx_emu_has_modern(emu))
		add_bar(emu, PLX_EMU_VIRTIO_BAR, PLX_EMU_BAR_SIZE, 0xfe000000,
			PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	if (plx_emu_has_legacy(emu))
		add_bar(emu, PLX_EMU_LEGACY_BAR, PLX_EMU_LEGACY_SIZE, 0xc000,
			PCI_BASE_ADDRESS_SPACE_IO);
	add_capabilities(emu);
	plx_emu_pci_reset(emu);
}

void plx_emu_pci_reset(struct plx_emu *emu)
{
	/* As VFIO hands a function over: its BARs decoded, and able to reach memory itself. */
	put16(emu->pci + PCI_COMMAND, (plx_emu_has_legacy(emu) ? PCI_COMMAND_IO : 0) |
					      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	plx_emu_pci_set_msix(emu, false);
}

bool plx_emu_line_disabled(const struct plx_emu *emu)
{
	return plx_emu_get16(emu->pci + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
}

void plx_emu_pci_set_msix(struct plx_emu *emu, bool on)
{
	uint8_t *control = &emu->pci[CAP_FIRST + PCI_MSIX_FLAGS];
	uint16_t value = plx_emu_get16(control) & (uint16_t)~PCI_MSIX_FLAGS_ENABLE;

	if (!emu->vectors)
		return;
	put16(control, on ? value | PCI_MSIX_FLAGS_ENABLE : value);
	emu->msix = on;
}

/* Whether the window of the PCI_CFG capability shows a register (virtio 1.4, 4.1.4.9). */
static bool window(struct plx_emu *emu, uint8_t *bar, uint32_t *offset, uint32_t *len)
{
	const uint8_t *cap = &emu->pci[emu->pci_cfg_cap];

	*bar = cap[VIRTIO_PCI_CAP_BAR];
	*offset = plx_emu_get32(cap + VIRTIO_PCI_CAP_OFFSET);
	*len = plx_emu_get32(cap + VIRTIO_PCI_CAP_LENGTH);
	if (*len != 1 && *len != 2 && *len != 4) {
		plx_emu_report(
			emu, "PCI-PCFG-3", "the PCI_CFG window is used with a length of %u", *len);
		return false;
	}
	if (*offset % *len) {
		plx_emu_report(emu, "PCI-PCFG-1",
			"the PCI_CFG window is used at offset 0x%x, no multiple of %u", *offset,
			*len);
		return false;
	}
	if (*bar != PLX_EMU_VIRTIO_BAR || *offset >= PLX_EMU_BAR_SIZE) {
		plx_emu_report(emu, "PCI-PCFG-3",
			"the PCI_CFG window is used at BAR %u offset 0x%x, outside "
			"the other capabilities",
			*bar, *offset);
		return false;
	}
	return true;
}

static bool touches_window(const struct plx_emu *emu, uint64_t offset, size_t len)
{
	unsigned data = emu->pci_cfg_cap + VIRTIO_PCI_CAP_PCI_DATA;

	return emu->pci_cfg_cap && offset < data + 4 && offset + len > data;
}

static bool window_is_set(const struct plx_emu *emu)
{
	return plx_emu_get32(&emu->pci[emu->pci_cfg_cap + VIRTIO_PCI_CAP_LENGTH]);
}

void plx_emu_pci_read(struct plx_emu *emu, uint64_t offset, uint8_t *to, size_t len)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	uint32_t at, width;
	uint8_t bar;

	/* A walk over all of configuration space must not set registers in motion. */
	if (touches_window(emu, offset, len) && len <= 4 && window_is_set(emu) &&
		window(emu, &bar, &at, &width))
		put32(&emu->pci[emu->pci_cfg_cap + VIRTIO_PCI_CAP_PCI_DATA],
			(uint32_t)plx_emu_bar_read(emu, bar, at, width));
	for (size_t i = 0; i < len; i++) {
		uint64_t value = emu->pci[offset + i];

		if (hooks->read)
			hooks->read(hooks->arg, PLX_EMU_PCI_CONFIG, offset + i, 1, &value);
		to[i] = (uint8_t)value;
	}
}

/* Whether a byte lies in a virtio capability. */
static bool in_virtio_capability(const struct plx_emu *emu, uint64_t offset)
{
	for (unsigned at = emu->pci[PCI_CAPABILITY_LIST]; at; at = emu->pci[at + PCI_CAP_LIST_NEXT])
		if (emu->pci[at + PCI_CAP_LIST_ID] == PCI_CAP_ID_VNDR && offset >= at &&
			offset < at + emu->pci[at + VIRTIO_PCI_CAP_LEN])
			return true;
	return false;
}

void plx_emu_pci_write(struct plx_emu *emu, uint64_t offset, const uint8_t *from, size_t len)
{
	uint32_t at, width;
	uint8_t bar;

	for (size_t i = 0; i < len && offset + i < sizeof(emu->pci_writable); i++) {
		uint8_t mask = emu->pci_writable[offset + i];
		uint8_t *byte = &emu->pci[offset + i];

		if (!mask && in_virtio_capability(emu, offset + i))
			plx_emu_report(emu, "PCI-CAP-8", "a capability was written at 0x%x",
				(unsigned)(offset + i));
		*byte = (uint8_t)((*byte & ~mask) | (from[i] & mask));
	}
	if (touches_window(emu, offset, len) && window(emu, &bar, &at, &width)) {
		uint32_t value =
			plx_emu_get32(&emu->pci[emu->pci_cfg_cap + VIRTIO_PCI_CAP_PCI_DATA]);

		if (width < 4)
			value &= (1u << 8 * width) - 1;
		if (!plx_emu_bar_kick(emu, bar, at, width, value))
			plx_emu_bar_write(emu, bar, at, width, value);
	}
}
