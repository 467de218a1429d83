/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_fixture.h"

/* Where the memory's IOVA range lies inside what devices can address. */

namespace
{

using Ranges = std::vector<plx_iova_range>;

/* What Linux reports for an Intel IOMMU of 39 bits: all but the window of interrupts. */
const Ranges kVtd39 = {{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}};

class IovaTest : public MemTest
{
      protected:
	/* The IOVA of the reservation's first byte: the first segment lies there. */
	uint64_t base()
	{
		uint8_t *address = alloc(64);
		uint64_t iova = plx_mem_iova(mem, address);

		plx_mem_free(mem, address);
		return iova;
	}
};

struct Choice {
	const char *name;
	uint64_t size;
	std::vector<Ranges> mappers;
	uint64_t base; /* 0: there is no place */
};

void PrintTo(const Choice &choice, std::ostream *out)
{
	*out << choice.name;
}

class IovaChoice : public IovaTest, public ::testing::WithParamInterface<Choice>
{
};

TEST_P(IovaChoice, IsInsideWhatEveryMapperAllows)
{
	const Choice &choice = GetParam();
	std::vector<FakeMapper> mappers(choice.mappers.size());
	size_t attached = 0;
	int err = 0;

	create(choice.size);
	for (; attached < mappers.size() && !err; attached++)
		err = attach(mappers[attached], choice.mappers[attached]);
	if (choice.base) {
		ASSERT_EQ(err, 0) << plx_error();
		EXPECT_EQ(base(), choice.base);
	} else {
		EXPECT_EQ(err, -ERANGE);
	}
	for (auto &mapper : mappers)
		detach(mapper);
}

const Choice kChoices[] = {
	{"NobodySaysAnything", 64 * GiB, {}, 4 * GiB},
	{"EverythingAllowed", 64 * GiB, {{}}, 4 * GiB},
	{"Vtd39", 64 * GiB, {kVtd39}, 4 * GiB},
	{"Vtd39Full", 508 * GiB, {kVtd39}, 4 * GiB},
	{"Vtd39TooLarge", 509 * GiB, {kVtd39}, 0},
	{"Below4G", 2 * GiB, {{{0, 0xfedfffff}}}, GiB},
	{"Below4GWithout1GAlignment", 3 * GiB, {{{0, 0xfedfffff}}}, 2 * MiB},
	{"NeverAddressZero", 4 * GiB, {{{0, 0xffffffff}}}, 0},
	{"OnlyHigh", 64 * GiB, {{{1ull << 40, UINT64_MAX}}}, 1ull << 40},
	{"UnalignedRange", GiB, {{{5 * GiB + 1, 7 * GiB - 1}}}, 6 * GiB},
	{"Only2MAligned", GiB, {{{5 * GiB + 4096, 6 * GiB + 8 * MiB}}}, 5 * GiB + 2 * MiB},
	{"ExactFit", GiB, {{{5 * GiB, 6 * GiB - 1}}}, 5 * GiB},
	{"OneByteShort", GiB, {{{5 * GiB, 6 * GiB - 2}}}, 0},
	{"TopOfAllAddresses", 2 * MiB, {{{UINT64_MAX - 2 * MiB + 1, UINT64_MAX}}},
		UINT64_MAX - 2 * MiB + 1},
	{"NoWrapAtTheTop", 2 * MiB, {{{UINT64_MAX - MiB, UINT64_MAX}}}, 0},
	{"RangesThatTouchAreOne", 4 * GiB, {{{4 * GiB, 6 * GiB - 1}, {6 * GiB, 8 * GiB - 1}}},
		4 * GiB},
	{"TwoMappers", 2 * GiB, {kVtd39, {{{8 * GiB, 16 * GiB}}}}, 8 * GiB},
	{"ThreeInterleaved", GiB,
		{{{8 * GiB, 9 * GiB}, {20 * GiB, 40 * GiB}}, {{0, 10 * GiB}, {30 * GiB, 35 * GiB}},
			{{9 * GiB, 31 * GiB - 1}, {33 * GiB, 90 * GiB}}},
		30 * GiB},
	{"NothingInCommon", 2 * MiB, {{{{0, GiB}}}, {{{2 * GiB, 3 * GiB}}}}, 0},
};

INSTANTIATE_TEST_SUITE_P(All, IovaChoice, ::testing::ValuesIn(kChoices),
	[](const auto &info) { return info.param.name; });

TEST_F(IovaTest, RefusalNamesTheLargestReservationThatFits)
{
	FakeMapper mapper;
	const Ranges low = {{0, 0xfedfffff}};
	unsigned long long size = 0;

	create(64 * GiB);
	ASSERT_EQ(attach(mapper, low), -ERANGE);
	const char *figure = strstr(plx_error(), "address_space in the context's config to ");
	ASSERT_NE(figure, nullptr) << plx_error();
	ASSERT_EQ(sscanf(figure, "address_space in the context's config to %llu", &size), 1);

	ASSERT_EQ(plx_mem_destroy(mem), 0);
	create(size);
	EXPECT_EQ(attach(mapper, low), 0) << plx_error();
	detach(mapper);

	ASSERT_EQ(plx_mem_destroy(mem), 0);
	create(size + 2 * MiB);
	EXPECT_EQ(attach(mapper, low), -ERANGE);
}

TEST_F(IovaTest, RefusalSaysWhenNothingWouldFit)
{
	FakeMapper low, high;

	create();
	ASSERT_EQ(attach(low, {{0, 2 * GiB}}), 0);
	EXPECT_EQ(attach(high, {{4 * GiB, 8 * GiB}}), -ERANGE);
	EXPECT_TRUE(error_says("a context of its own")) << plx_error();
	detach(low);
}

TEST_F(IovaTest, StaysWhileASegmentExists)
{
	FakeMapper early, late;
	uint8_t *address;

	create();
	ASSERT_EQ(attach(early), 0);
	address = alloc(64);
	EXPECT_EQ(plx_mem_iova(mem, address), 4 * GiB);

	/* Would have had a place at 8 GiB, had it come before. */
	EXPECT_EQ(attach(late, {{8 * GiB, 16 * GiB}}), -ERANGE);
	EXPECT_TRUE(error_says("before making pools")) << plx_error();
	EXPECT_FALSE(error_says("address_space")) << plx_error();
	EXPECT_EQ(late.calls, 0);
	EXPECT_EQ(plx_mem_iova(mem, address), 4 * GiB);

	/* Would have needed a smaller reservation, too. */
	EXPECT_EQ(attach(late, {{8 * GiB, 8 * GiB + 512 * MiB - 1}}), -ERANGE);
	EXPECT_TRUE(error_says("address_space in the context's config at 536870912 (512 MiB)"))
		<< plx_error();
	EXPECT_EQ(early.mapped.size(), 1u);

	plx_mem_free(mem, address);
	EXPECT_EQ(attach(late, {{8 * GiB, 16 * GiB}}), 0) << plx_error();
	address = alloc(64);
	EXPECT_EQ(plx_mem_iova(mem, address), 8 * GiB);
	plx_mem_free(mem, address);
	detach(early);
	detach(late);
}

TEST_F(IovaTest, ForgetsWhatADetachedMapperAllowed)
{
	FakeMapper low, any, high;

	create();
	ASSERT_EQ(attach(low, {{0, 3 * GiB}}), 0);
	ASSERT_EQ(attach(any), 0);
	EXPECT_EQ(base(), GiB);
	detach(low);
	EXPECT_EQ(attach(high, {{32 * GiB, 64 * GiB}}), 0) << plx_error();
	EXPECT_EQ(base(), 32 * GiB);
	detach(any);
	detach(high);
	EXPECT_EQ(base(), 4 * GiB);
}

TEST_F(IovaTest, ARefusedMapperLeavesNoTrace)
{
	FakeMapper refused, kept;

	create();
	EXPECT_EQ(attach(refused, {{0, MiB}}), -ERANGE);
	EXPECT_EQ(attach(kept), 0) << plx_error();
	EXPECT_EQ(base(), 4 * GiB);
	EXPECT_EQ(refused.calls, 0);
	detach(refused); /* was never attached: nothing happens */
	detach(kept);
}

TEST_F(IovaTest, RejectsRangesThatAreNoList)
{
	FakeMapper mapper;

	create();
	EXPECT_EQ(attach(mapper, {{2, 1}}), -EINVAL);
	EXPECT_EQ(attach(mapper, {{8 * GiB, 9 * GiB}, {0, GiB}}), -EINVAL);
	EXPECT_EQ(attach(mapper, {{0, 8 * GiB}, {8 * GiB, 9 * GiB}}), -EINVAL);
}

TEST_F(IovaTest, RunsInStepWithAddresses)
{
	uint8_t *address;

	create();
	address = alloc(8 * MiB);
	for (uint64_t offset : {uint64_t{0}, uint64_t{1}, 4096 * uint64_t{3}, 8 * MiB - 1})
		EXPECT_EQ(plx_mem_iova(mem, address + offset), plx_mem_iova(mem, address) + offset);
	plx_mem_free(mem, address);
}

} // namespace
