/* SPDX-License-Identifier: BSD-3-Clause */
/* Send every frame back to where it came from: reflect ADDRESS SECONDS */
#include <pollux/pollux.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
	struct plx_packet *packets[32];
	struct plx_context *ctx = NULL;
	struct plx_eth *eth = NULL;
	time_t end;
	int received = 0;

	if (argc != 3 || plx_context_create(NULL, &ctx) ||
		plx_pool_create(ctx, NULL, &config.pool) || plx_eth_open(ctx, argv[1], &eth) ||
		plx_eth_configure(eth, &config) || plx_eth_start(eth)) {
		fprintf(stderr, "%s\n", argc == 3 ? plx_error() : "usage: reflect ADDRESS SECONDS");
		return 1;
	}
	end = time(NULL) + atoi(argv[2]);
	while (received >= 0 && time(NULL) < end) {
		int sent = 0;

		received = plx_eth_rx_burst(plx_eth_rxq(eth, 0), packets, 32);
		if (received >= 0)
			sent = plx_eth_tx_burst(plx_eth_txq(eth, 0), packets, received);
		for (int i = sent < 0 ? 0 : sent; i < received; i++)
			plx_packet_free(packets[i]); /* no room to send it: let it go */
	}
	plx_eth_close(eth);
	plx_pool_destroy(config.pool);
	return plx_context_destroy(ctx) || received < 0;
}
