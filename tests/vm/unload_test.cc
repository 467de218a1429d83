/* SPDX-License-Identifier: BSD-3-Clause */
#include <gtest/gtest.h>
#include <pollux/pollux.h>

#include <dlfcn.h>
#include <fstream>
#include <string>
#include <thread>

/*
 * The library as a plug-in brings it: loaded, used and unloaded by a program that is not linked
 * with it. Run with the library's path and a device's address.
 */

namespace
{

std::string library_path, address;

/* How often the library or its memory is in the address space. */
int mappings()
{
	std::ifstream maps("/proc/self/maps");
	int count = 0;

	for (std::string line; std::getline(maps, line);)
		count += line.find("pollux") != std::string::npos &&
			 line.find("_unload") == std::string::npos;
	return count;
}

struct Library {
	void *handle = dlopen(library_path.c_str(), RTLD_NOW | RTLD_LOCAL);

	Library()
	{
		EXPECT_NE(handle, nullptr) << dlerror();
	}

	~Library()
	{
		if (handle)
			dlclose(handle);
	}

	template <typename Function> Function *find(const char *name)
	{
		return reinterpret_cast<Function *>(dlsym(handle, name));
	}
};

/* The library's function of that name, as the header declares it. */
#define FIND(library, name) auto *const name = (library).find<decltype(::name)>(#name)

/* A device from open to close. */
void use(Library &library)
{
	FIND(library, plx_context_create);
	FIND(library, plx_context_destroy);
	FIND(library, plx_pool_create);
	FIND(library, plx_pool_destroy);
	FIND(library, plx_eth_open);
	FIND(library, plx_eth_configure);
	FIND(library, plx_eth_start);
	FIND(library, plx_eth_rxq);
	FIND(library, plx_eth_stop);
	FIND(library, plx_eth_close);
	FIND(library, plx_error);
	plx_pool_config pool_config = PLX_POOL_CONFIG_INIT;
	plx_eth_config config = PLX_ETH_CONFIG_INIT;
	plx_context *ctx;
	plx_packet *packet;
	plx_eth *eth;

	pool_config.count = 512;
	config.rx_ring = config.tx_ring = 128;
	ASSERT_EQ(plx_context_create(nullptr, &ctx), 0) << plx_error();
	ASSERT_EQ(plx_pool_create(ctx, &pool_config, &config.pool), 0) << plx_error();
	ASSERT_EQ(plx_eth_open(ctx, address.c_str(), &eth), 0) << plx_error();
	ASSERT_EQ(plx_eth_configure(eth, &config), 0) << plx_error();
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(plx_eth_rx_burst(plx_eth_rxq(eth, 0), &packet, 1), 0);
	EXPECT_EQ(plx_eth_stop(eth), 0) << plx_error();
	plx_eth_close(eth);
	EXPECT_EQ(plx_pool_destroy(config.pool), 0) << plx_error();
	EXPECT_EQ(plx_context_destroy(ctx), 0) << plx_error();
}

TEST(Unload, LoadedUsedAndUnloadedTwentyTimes)
{
	ASSERT_EQ(mappings(), 0) << "the program is linked with the library";
	for (int i = 0; i < 20 && !HasFailure(); i++) {
		{
			Library library;

			EXPECT_GT(mappings(), 0);
			use(library);
		}
		EXPECT_EQ(mappings(), 0);
	}
}

TEST(Unload, AThreadThatUsedItOutlivesIt)
{
	std::thread thread([] {
		{
			Library library;
			FIND(library, plx_context_create);
			FIND(library, plx_error);
			plx_context_config config = PLX_CONTEXT_CONFIG_INIT;
			plx_context *ctx;

			config.struct_size = 0;
			EXPECT_EQ(plx_context_create(&config, &ctx), -EINVAL);
			EXPECT_STRNE(plx_error(), "");
		}
		EXPECT_EQ(mappings(), 0);
	});

	thread.join();
}

} // namespace

int main(int argc, char **argv)
{
	::testing::InitGoogleTest(&argc, argv);
	if (argc != 3) {
		fprintf(stderr, "give the path of libpollux.so and the address of a NIC\n");
		return 2;
	}
	library_path = argv[1];
	address = argv[2];
	return RUN_ALL_TESTS();
}
