/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_fixture.h"

extern "C" {
#include "base/options.h"
#include "context/context.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/handshake.h"
#include "virtio/vhost_user.h"
#include "virtio/virtq_ring.h"
}

/*
 * The control queue, which the front end serves itself, and the pairs of queues that it commands.
 */

#define PAIRS   4
#define CONTROL (2 * PAIRS)

class VhostControl : public VhostFixture, public ::testing::WithParamInterface<bool>
{
      protected:
	struct plx_virtio *virtio = nullptr;
	struct plx_virtq *queue[CONTROL + 1] = {};
	uint8_t *memory = nullptr; /* commands at 0, answers at 1024 */
	struct plx_feature_table table = {};

	bool packed() const
	{
		return GetParam();
	}

	static int set_up(void *arg)
	{
		VhostControl *test = static_cast<VhostControl *>(arg);
		int err = 0;

		for (uint16_t i = 0; !err && i <= CONTROL; i++)
			err = plx_virtq_create(test->virtio, i, 64, 64, &test->queue[i]);
		return err;
	}

	/* A driver that takes several pairs, from nothing to running. */
	void run()
	{
		static const struct plx_handshake_driver driver = {
			set_up, [](void *) { return 0; }, [](void *) {}};
		struct plx_address address;
		struct plx_features *accepted;

		backend->features |= VhostBackend::BIT(VIRTIO_NET_F_MQ);
		backend->protocol |= VhostBackend::BIT(VHOST_USER_PROTOCOL_F_MQ);
		backend->pairs = PAIRS;
		backend->start();
		ASSERT_EQ(plx_address_parse(&address, ("vhost-user:" + path).c_str()), 0);
		ASSERT_EQ(plx_vhost_user_open(ctx->mem, &ctx->log, &address, &virtio), 0)
			<< plx_error();
		plx_address_free(&address);
		plx_negotiation_init(&virtio->negotiation, &table);
		ASSERT_EQ(plx_handshake_probe(virtio), 0) << plx_error();
		ASSERT_TRUE(plx_virtio_offers(virtio, VIRTIO_NET_F_MQ));
		ASSERT_TRUE(plx_virtio_offers(virtio, VIRTIO_NET_F_CTRL_VQ));
		accepted = &virtio->negotiation.accepted;
		plx_features_add(accepted, VIRTIO_F_VERSION_1);
		plx_features_add(accepted, VIRTIO_F_EVENT_IDX);
		plx_features_add(accepted, VIRTIO_NET_F_CTRL_VQ);
		plx_features_add(accepted, VIRTIO_NET_F_MQ);
		if (packed())
			plx_features_add(accepted, VIRTIO_F_RING_PACKED);
		ASSERT_EQ(plx_handshake_start(virtio, &driver, this), 0) << plx_error();
		ASSERT_EQ(plx_mem_alloc(ctx->mem, 2048, 64, -1, 0, (void **)&memory), 0);
	}

	void TearDown() override
	{
		if (virtio) {
			EXPECT_EQ(plx_virtio_quiesce(virtio), 0) << plx_error();
			for (struct plx_virtq *each : queue)
				plx_virtq_destroy(each);
			plx_mem_free(ctx->mem, memory);
			plx_virtio_close(virtio);
		}
		VhostFixture::TearDown();
	}

	/* Give a command. Return: its acknowledgement; -1 when it was not answered at once. */
	int command(const std::vector<uint8_t> &bytes)
	{
		struct plx_virtq *control = queue[CONTROL];
		struct plx_virtq_buffer buffers[3] = {
			{plx_mem_iova(ctx->mem, memory), 2},
			{plx_mem_iova(ctx->mem, memory + 2), (uint32_t)bytes.size() - 2},
			{plx_mem_iova(ctx->mem, memory + 1024), 1},
		};
		uint32_t len = 0;

		std::copy(bytes.begin(), bytes.end(), memory);
		memory[1024] = 0xee;
		plx_virtq_add(control, buffers, 2, 1, memory, packed());
		plx_virtq_publish(control, packed());
		plx_virtq_kick(control, packed());
		if (!plx_virtq_ready(control, packed()) ||
			plx_virtq_pop(control, &len, true, packed()) != memory)
			return -1;
		EXPECT_EQ(len, 1u);
		return memory[1024];
	}

	int set_pairs(unsigned pairs)
	{
		return command({VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, (uint8_t)pairs,
			(uint8_t)(pairs >> 8)});
	}

	void expect_pairs(unsigned pairs)
	{
		for (unsigned i = 0; i < 2 * PAIRS; i++)
			EXPECT_EQ(backend->enabled(i), i < 2 * pairs) << "ring " << i;
	}
};

TEST_P(VhostControl, EnablesTheRingsOfAsManyPairsAsTheDriverAsksFor)
{
	ASSERT_NO_FATAL_FAILURE(run());
	EXPECT_EQ(backend->in_use(), 2u * PAIRS);
	expect_pairs(1);
	for (unsigned pairs : {2, 4, 3, 1, 4}) {
		EXPECT_EQ(set_pairs(pairs), VIRTIO_NET_OK);
		expect_pairs(pairs);
	}
}

TEST_P(VhostControl, RefusesACommandThatMakesNoSense)
{
	ASSERT_NO_FATAL_FAILURE(run());
	EXPECT_EQ(set_pairs(0), VIRTIO_NET_ERR);
	EXPECT_EQ(set_pairs(PAIRS + 1), VIRTIO_NET_ERR);
	EXPECT_EQ(set_pairs(0x8000), VIRTIO_NET_ERR);
	EXPECT_EQ(
		command({VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1}), VIRTIO_NET_ERR);
	EXPECT_EQ(command({VIRTIO_NET_CTRL_MQ, 99, 1, 0}), VIRTIO_NET_ERR);
	EXPECT_EQ(command({77, 0, 1}), VIRTIO_NET_ERR);
	expect_pairs(1);
	EXPECT_EQ(command({VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1}), VIRTIO_NET_OK);
}

TEST_P(VhostControl, AnswersEveryCommandOnManyRoundsOfTheRing)
{
	ASSERT_NO_FATAL_FAILURE(run());
	for (unsigned i = 0; i < 1000; i++)
		ASSERT_EQ(command({VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1}),
			VIRTIO_NET_OK)
			<< i;
}

TEST_P(VhostControl, FailsACommandThatTheBackendDoesNotLiveToSee)
{
	ASSERT_NO_FATAL_FAILURE(run());
	backend->stop();
	EXPECT_EQ(set_pairs(2), VIRTIO_NET_ERR);
}

/* A backend can write the ring, too: what lies outside DMA memory is not touched. */
TEST_P(VhostControl, ReadsAndWritesNothingOutsideDmaMemory)
{
	ASSERT_NO_FATAL_FAILURE(run());
	struct plx_virtq *control = queue[CONTROL];
	struct plx_virtq_buffer buffers[2] = {{(uintptr_t)this, 64}, {(uintptr_t)this, 64}};
	uint32_t len = 99;

	plx_virtq_add(control, buffers, 1, 1, memory, packed());
	plx_virtq_publish(control, packed());
	plx_virtq_kick(control, packed());
	ASSERT_TRUE(plx_virtq_ready(control, packed()));
	EXPECT_EQ(plx_virtq_pop(control, &len, true, packed()), memory);
	EXPECT_EQ(len, 0u);
	EXPECT_EQ(command({VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1}), VIRTIO_NET_OK);
}

INSTANTIATE_TEST_SUITE_P(Layouts, VhostControl, ::testing::Bool(),
	[](const auto &info) { return info.param ? "packed" : "split"; });
