/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_VIRTQ_FIXTURE_H
#define PLX_TESTS_VIRTQ_FIXTURE_H

#include "fake_virtio.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

/* One ring between a driver and a device that the test plays. */
class VirtqFixture : public ::testing::Test
{
      protected:
	struct plx_mem *mem = nullptr;
	FakeVirtio *device = nullptr;
	struct plx_virtq *queue = nullptr;
	std::vector<std::string> messages;
	struct plx_log log = {};

	void SetUp() override
	{
		struct plx_mem_config config = {UINT64_C(1) << 30, 4096, nullptr};

		ASSERT_EQ(plx_mem_create(&config, &mem), 0) << plx_error();
		device = new FakeVirtio(mem);
		log = {[](void *arg, enum plx_log_level, const char *message) {
			       static_cast<std::vector<std::string> *>(arg)->push_back(message);
		       },
			&messages, PLX_LOG_WARNING};
		device->virtio.log = &log;
	}

	void TearDown() override
	{
		close();
		delete device;
		EXPECT_EQ(plx_mem_destroy(mem), 0) << plx_error();
	}

	void create(uint16_t size, bool event_idx)
	{
		if (event_idx)
			plx_features_add(&device->virtio.negotiation.accepted, VIRTIO_F_EVENT_IDX);
		ASSERT_EQ(plx_virtq_create(&device->virtio, 3, size, 1024, &queue), 0)
			<< plx_error();
	}

	void close()
	{
		if (queue)
			plx_virtq_disconnect(queue);
		plx_virtq_destroy(queue);
		queue = nullptr;
	}

	bool was_notified()
	{
		bool rung = device->doorbell == 3;

		device->doorbell = 0xdead;
		return rung;
	}

	/* As many buffers of @len bytes, a page apart. */
	static std::array<struct plx_virtq_buffer, 64> buffers(unsigned count, uint32_t len)
	{
		std::array<struct plx_virtq_buffer, 64> all = {};

		for (unsigned i = 0; i < count; i++)
			all[i] = {UINT64_C(0x1000) * i, len};
		return all;
	}

	void expect_broken(enum plx_virtq_fault fault)
	{
		EXPECT_EQ(queue->fault, fault);
		EXPECT_EQ(messages.size(), 1u) << "one line, once";
		EXPECT_NE(std::string(plx_error()).find(plx_virtq_fault_name(fault)),
			std::string::npos);
	}
};

#endif
