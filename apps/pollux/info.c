/* SPDX-License-Identifier: BSD-3-Clause */
#include "info_trace.h"
#include "program.h"

#include <pollux/eth.h>
#include <stdlib.h>
#include <string.h>

/* Packets beyond those of a receive ring, for the caches in front of the pool. */
#define SPARE_PACKETS (2 * PLX_POOL_CACHE_SIZE)

enum { KEY_TRACE = 't', KEY_VERBOSE = 'v' };

struct request {
	const char *address;
	bool trace; /* start the device, and show how that went */
	bool json;
	bool verbose;
};

/* One look at a device. */
struct look {
	struct plx_context *ctx;
	struct plx_eth *eth;
	struct plx_pool *pool;
	struct plx_eth_info info;
	bool started;
	struct failure failure;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case KEY_TRACE:
		request->trace = true;
		return 0;
	case KEY_VERBOSE:
		request->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		if (request->address)
			usage_error("`pollux info` shows one device, and '%s' is one more", arg);
		request->address = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		usage_error("no device is given: `pollux status` lists those of PCI");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Which features are of use depends on the pool as well, so there is one in any case. */
static int configure(struct look *look)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
	struct plx_pool_config pool = PLX_POOL_CONFIG_INIT;
	int err;

	pool.count = look->info.max_rx_ring + SPARE_PACKETS;
	pool.numa_node = look->info.numa_node;
	fit_packets(&pool, &look->info);
	err = plx_pool_create(look->ctx, &pool, &look->pool);
	if (err)
		return err;
	config.pool = look->pool;
	config.offloads = UINT32_MAX & ~(uint32_t)PLX_ETH_OFFLOAD_VLAN_FILTER;
	return plx_eth_configure(look->eth, &config);
}

static int start(struct look *look)
{
	int err = plx_eth_start(look->eth);

	look->started = !err;
	return err;
}

/* A device that cannot be started is still shown: that is when one wants to see the most. */
static int open_device(struct look *look, const struct request *request)
{
	struct plx_context_config config = context_config(request->verbose);
	int err;

	/* Nothing is moved fast here: huge pages are for those who do. */
	config.page_size = 4096;
	err = plx_context_create(&config, &look->ctx);
	if (!err)
		err = plx_eth_open(look->ctx, request->address, &look->eth);
	if (err)
		return failure_note(&look->failure, err);
	plx_eth_get_info(look->eth, &look->info);
	if (!failure_note(&look->failure, configure(look)) && request->trace)
		(void)failure_note(&look->failure, start(look));
	plx_eth_get_info(look->eth, &look->info);
	return 0;
}

static void close_device(struct look *look)
{
	if (look->started)
		(void)failure_note(&look->failure, plx_eth_stop(look->eth));
	plx_eth_close(look->eth);
	(void)failure_note(&look->failure, plx_pool_destroy(look->pool));
	(void)failure_note(&look->failure, plx_context_destroy(look->ctx));
}

static int print_feature(void *arg, const struct plx_feature *feature)
{
	(void)arg;
	if (feature->offered && feature->accepted)
		(void)printf("  + %s\n", feature->name);
	else if (feature->offered)
		(void)printf(
			"  - %s: %s\n", feature->name, feature->why ? feature->why : "undecided");
	return 0;
}

static int print_not_offered(void *arg, const struct plx_feature *feature)
{
	size_t *column = arg;

	if (feature->offered)
		return 0;
	if (*column + strlen(feature->name) > 96) {
		(void)printf("\n   ");
		*column = 3;
	}
	*column += (size_t)printf(" %s", feature->name);
	return 0;
}

static const char *duplex_name(enum plx_eth_duplex duplex)
{
	return duplex == PLX_ETH_DUPLEX_HALF   ? ", half duplex"
	       : duplex == PLX_ETH_DUPLEX_FULL ? ", full duplex"
					       : "";
}

/* What was negotiated, each by the name that an application asks for it with. */
static const struct {
	uint32_t bit;
	const char *name;
} offload_names[] = {
	{PLX_ETH_OFFLOAD_TX_CSUM, "tx_csum"},
	{PLX_ETH_OFFLOAD_TX_TSO4, "tx_tso4"},
	{PLX_ETH_OFFLOAD_TX_TSO6, "tx_tso6"},
	{PLX_ETH_OFFLOAD_TX_USO, "tx_uso"},
	{PLX_ETH_OFFLOAD_RX_CSUM, "rx_csum"},
	{PLX_ETH_OFFLOAD_RX_TSO4, "rx_tso4"},
	{PLX_ETH_OFFLOAD_RX_TSO6, "rx_tso6"},
	{PLX_ETH_OFFLOAD_RX_USO4, "rx_uso4"},
	{PLX_ETH_OFFLOAD_RX_USO6, "rx_uso6"},
	{PLX_ETH_OFFLOAD_RX_HASH, "rx_hash"},
};

#define OFFLOADS (sizeof(offload_names) / sizeof(offload_names[0]))

static void print_offloads(uint32_t offloads)
{
	(void)printf("  offloads");
	for (unsigned i = 0; i < OFFLOADS; i++)
		if (offloads & offload_names[i].bit)
			(void)printf(" %s", offload_names[i].name);
	(void)printf("%s\n", offloads ? "" : " none");
}

static void add_offloads(struct json_object *list, uint32_t offloads)
{
	for (unsigned i = 0; i < OFFLOADS; i++)
		if (offloads & offload_names[i].bit)
			(void)json_object_array_add(
				list, must_have(json_object_new_string(offload_names[i].name)));
}

static void print_text(struct look *look, bool trace)
{
	const struct plx_eth_info *info = &look->info;
	size_t column = strlen("not offered:");
	char mac[FORMAT_LEN];

	(void)printf("%s\n", plx_device_name(plx_eth_device(look->eth)));
	(void)printf("  driver   %s\n", info->driver);
	(void)printf("  through  %s\n", info->backend);
	(void)printf("  MAC      %s\n", format_mac(mac, info->mac));
	(void)printf("  link     %s", info->link_up ? "up" : "down");
	if (info->speed != PLX_ETH_SPEED_UNKNOWN)
		(void)printf(", %u Mbit/s%s", info->speed, duplex_name(info->duplex));
	(void)printf("\n");
	(void)printf("  MTU      %u\n", info->mtu);
	(void)printf("  queues   at most %u of each direction\n", info->max_queue_pairs);
	(void)printf("  rings    at most %u receive, %u transmit\n", info->max_rx_ring,
		info->max_tx_ring);
	print_offloads(info->offloads);
	if (info->max_rss_table)
		(void)printf("  RSS      tables of %u, keys of %u bytes\n", info->max_rss_table,
			info->max_hash_key);
	if (info->numa_node >= 0)
		(void)printf("  NUMA     node %d\n", info->numa_node);
	else
		(void)printf("  NUMA     no node\n");
	if (*info->rx_path)
		(void)printf("  receive  %s\n  transmit %s\n", info->rx_path, info->tx_path);
	(void)printf("\nfeatures on offer: + accepted, - declined\n");
	(void)plx_device_features(plx_eth_device(look->eth), print_feature, NULL);
	(void)printf("not offered:");
	(void)plx_device_features(plx_eth_device(look->eth), print_not_offered, &column);
	(void)printf("\n");
	if (trace)
		info_trace_print(plx_eth_device(look->eth));
}

static int add_feature(void *arg, const struct plx_feature *feature)
{
	struct json_object *object = json_append_object(arg);

	json_add_number(object, "bit", feature->bit);
	json_add_string(object, "name", feature->name);
	json_add_bool(object, "offered", feature->offered);
	json_add_bool(object, "accepted", feature->accepted);
	json_add_string(object, "why", feature->why);
	return 0;
}

static void print_json(struct look *look, bool trace)
{
	const struct plx_eth_info *info = &look->info;
	struct plx_device *device = plx_eth_device(look->eth);
	struct json_object *root = must_have(json_object_new_object());
	char mac[FORMAT_LEN];

	json_add_string(root, "device", plx_device_name(device));
	json_add_string(root, "driver", info->driver);
	json_add_string(root, "backend", info->backend);
	json_add_string(root, "mac", format_mac(mac, info->mac));
	json_add_bool(root, "link_up", info->link_up);
	json_add_or_null(
		root, "speed", info->speed == PLX_ETH_SPEED_UNKNOWN ? -1 : (int)info->speed);
	json_add_number(root, "mtu", info->mtu);
	add_offloads(json_add_array(root, "offloads"), info->offloads);
	json_add_number(root, "max_queue_pairs", info->max_queue_pairs);
	json_add_number(root, "max_rx_ring", info->max_rx_ring);
	json_add_number(root, "max_tx_ring", info->max_tx_ring);
	json_add_or_null(root, "numa_node", info->numa_node);
	json_add_string(root, "rx_path", info->rx_path);
	json_add_string(root, "tx_path", info->tx_path);
	(void)plx_device_features(device, add_feature, json_add_array(root, "features"));
	if (trace) {
		json_add_bool(root, "started", look->started);
		info_trace_add(device, json_add_array(root, "trace"));
	}
	json_add_string(root, "error", look->failure.sentence);
	json_print(root);
}

int command_info(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"trace", KEY_TRACE, NULL, 0,
			"Start the device, show each step of that, and stop it", 0},
		{"verbose", KEY_VERBOSE, NULL, 0, "Print what the library reports on its way", 0},
		{0},
	};
	static const struct argp argp = {options, parse, "DEVICE",
		"Show what a device can do, and each feature that it offers with why it is "
		"accepted or declined. DEVICE is an address with options after commas, such as "
		"0000:00:03.0 or 0000:00:03.0,event_idx=off.",
		NULL, NULL, NULL};
	struct request request = {0};
	struct look look = {0};

	options_parse(&argp, argc, argv, &request, &request.json);
	if (!open_device(&look, &request)) {
		if (request.json)
			print_json(&look, request.trace);
		else
			print_text(&look, request.trace);
	}
	close_device(&look);
	return failure_end(&look.failure);
}
