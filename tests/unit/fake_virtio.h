/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_FAKE_VIRTIO_H
#define PLX_TESTS_FAKE_VIRTIO_H

extern "C" {
#include "virtio/handshake.h"
#include "virtio/virtio.h"
#include "virtio/virtio_reg.h"
#include "virtio/virtq_ring.h"
}

#include <cstring>
#include <vector>

/*
 * A virtio device behind the transport seam, as simple as it can be: registers in memory, and knobs
 * for what it does wrong. Its rings are served by the test, through the addresses that the driver
 * programmed.
 */
class FakeVirtio
{
      public:
	struct plx_virtio virtio = {};
	uint8_t status = 0x55;
	plx_features offered = {{0, 0}};
	plx_features written = {{0, 0}};
	std::vector<uint8_t> status_writes;
	std::vector<uint8_t> config;
	uint16_t queue_max = 256;
	plx_virtio_queue programmed = {};
	uint16_t doorbell = 0xdead;
	unsigned function_resets = 0;
	bool closed = false;

	/* What it does wrong. */
	bool refuse_features = false;
	bool refuse_driver_ok = false;
	uint8_t needs_reset_when = 0;     /* sets NEEDS_RESET when this bit is written */
	uint8_t claims = 0;               /* bits that it shows although nobody wrote them */
	uint8_t forgets_driver_ok_at = 0; /* loses DRIVER_OK when this bit is written */
	bool never_resets = false;
	bool function_reset_fails = false;
	bool gone = false;
	unsigned generation_changes = 0; /* reads of the generation that find a new one */

	explicit FakeVirtio(struct plx_mem *mem, const struct plx_feature_table *table = nullptr)
	{
		static const struct plx_feature_table none = {nullptr, 0};

		virtio.transport = &transport();
		virtio.handshake = &plx_handshake_modern;
		virtio.mem = mem;
		std::strcpy(virtio.name, "fake");
		virtio.device_id = VIRTIO_ID_NET;
		virtio.numa_node = -1;
		virtio.limits = PLX_VIRTIO_LIMITS_DEFAULT;
		virtio.limits.reset = PLX_MILLISECONDS(20);
		plx_negotiation_init(&virtio.negotiation, table ? table : &none);
		plx_features_add(&offered, VIRTIO_F_VERSION_1);
	}

	/* The status bytes that the driver wrote since the last call. */
	std::vector<uint8_t> take_writes()
	{
		std::vector<uint8_t> writes;

		writes.swap(status_writes);
		return writes;
	}

      private:
	static FakeVirtio &of(struct plx_virtio *virtio)
	{
		return *reinterpret_cast<FakeVirtio *>(virtio);
	}

	void write(uint8_t value)
	{
		uint8_t added = value & ~status;

		status_writes.push_back(value);
		if (gone)
			return;
		if (!value) {
			if (!never_resets)
				status = 0;
			programmed = {};
			return;
		}
		status = value;
		if (refuse_features)
			status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
		if (refuse_driver_ok)
			status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
		if (added & needs_reset_when)
			status |= VIRTIO_STATUS_NEEDS_RESET;
		if (added & forgets_driver_ok_at)
			status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
		status |= claims;
	}

	uint32_t field(unsigned offset, unsigned width) const
	{
		uint32_t value = 0;

		std::memcpy(&value, &config[offset], width);
		return value;
	}

	static const struct plx_virtio_transport &transport()
	{
		static struct plx_virtio_transport t;

		t.name = "fake";
		t.read_status = [](struct plx_virtio *v) {
			return of(v).gone ? (uint8_t)0xff : of(v).status;
		};
		t.write_status = [](struct plx_virtio *v, uint8_t value) { of(v).write(value); };
		t.read_features = [](struct plx_virtio *v, struct plx_features *f) {
			*f = of(v).offered;
		};
		t.write_features = [](struct plx_virtio *v, const struct plx_features *f) {
			of(v).written = *f;
		};
		t.read_generation = [](struct plx_virtio *v) {
			return (uint8_t)(of(v).generation_changes ? of(v).generation_changes-- : 0);
		};
		t.config_size = [](struct plx_virtio *v) { return (uint64_t)of(v).config.size(); };
		t.read_config = [](struct plx_virtio *v, unsigned offset, unsigned width) {
			return of(v).field(offset, width);
		};
		t.queue_max = [](struct plx_virtio *v, uint16_t) { return of(v).queue_max; };
		t.queue_setup = [](struct plx_virtio *v, const struct plx_virtio_queue *q,
					struct plx_virtio_doorbell *d) {
			of(v).programmed = *q;
			d->window = {};
			d->window.size = 2;
			d->window.address = reinterpret_cast<uint8_t *>(&of(v).doorbell);
			d->value = q->index;
			return 0;
		};
		t.reset_function = [](struct plx_virtio *v) {
			of(v).function_resets++;
			return of(v).function_reset_fails ? -ENOTSUP : 0;
		};
		t.close = [](struct plx_virtio *v) { of(v).closed = true; };
		return t;
	}
};

#endif
