/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <string.h>

/*
 * Headers lie at any address in a frame: they are copied out, changed and copied back.
 */

/* 198.18.0.0/15 is set aside for measurements (RFC 2544), and port 9 discards (RFC 863). */
#define SOURCE_IP      0xc6120001u
#define DESTINATION_IP 0xc6130001u
#define DISCARD_PORT   9
#define FIRST_PORT     0xc000
#define FLOWS          256

/* The sum of RFC 1071 so far; only the last piece may have an odd length. */
static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)byte[i] << 8 | byte[i + 1];
	return len % 2 ? sum + ((uint32_t)byte[len - 1] << 8) : sum;
}

static uint16_t finish_sum(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

#define IP_AT  sizeof(struct ether_header)
#define UDP_AT (IP_AT + sizeof(struct iphdr))

static void put_checksums(uint8_t *frame, uint16_t udp_len)
{
	uint16_t check = finish_sum(add_words(0, frame + IP_AT, sizeof(struct iphdr)));
	uint32_t sum = IPPROTO_UDP + udp_len;

	memcpy(frame + IP_AT + offsetof(struct iphdr, check), &check, sizeof(check));
	sum = add_words(sum, frame + IP_AT + offsetof(struct iphdr, saddr), 2 * sizeof(uint32_t));
	check = finish_sum(add_words(sum, frame + UDP_AT, udp_len));
	/* 0 would say that there is no checksum (RFC 768). */
	if (!check)
		check = 0xffff;
	memcpy(frame + UDP_AT + offsetof(struct udphdr, check), &check, sizeof(check));
}

void fwd_frame_build(uint8_t *frame, uint16_t size, const uint8_t addresses[12], uint16_t flow)
{
	uint16_t udp_len = (uint16_t)(size - UDP_AT);
	const uint16_t type = htons(ETHERTYPE_IP);
	const struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(ip) / 4,
		.tot_len = htons((uint16_t)(size - IP_AT)),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = htonl(SOURCE_IP),
		.daddr = htonl(DESTINATION_IP),
	};
	const struct udphdr udp = {
		.source = htons((uint16_t)(FIRST_PORT + flow % FLOWS)),
		.dest = htons(DISCARD_PORT),
		.len = htons(udp_len),
	};

	memset(frame, 0, size);
	memcpy(frame, addresses, 12);
	memcpy(frame + 12, &type, sizeof(type));
	memcpy(frame + IP_AT, &ip, sizeof(ip));
	memcpy(frame + UDP_AT, &udp, sizeof(udp));
	put_checksums(frame, udp_len);
}

static bool answer_arp(uint8_t *data, size_t len, const uint8_t mac[6], uint32_t ip)
{
	struct ether_arp arp;

	if (len < sizeof(arp))
		return false;
	memcpy(&arp, data, sizeof(arp));
	if (arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) ||
		arp.arp_hln != ETH_ALEN || arp.arp_pln != sizeof(ip) ||
		arp.arp_op != htons(ARPOP_REQUEST) || memcmp(arp.arp_tpa, &ip, sizeof(ip)) != 0)
		return false;
	arp.arp_op = htons(ARPOP_REPLY);
	memcpy(arp.arp_tha, arp.arp_sha, sizeof(arp.arp_tha));
	memcpy(arp.arp_tpa, arp.arp_spa, sizeof(arp.arp_tpa));
	memcpy(arp.arp_sha, mac, sizeof(arp.arp_sha));
	memcpy(arp.arp_spa, &ip, sizeof(ip));
	memcpy(data, &arp, sizeof(arp));
	return true;
}

/* A change of one word changes the checksum by as much (RFC 1624). */
static uint16_t update_sum(uint16_t check, uint16_t from, uint16_t to)
{
	return finish_sum((uint16_t)~ntohs(check) + (uint32_t)(uint16_t)~from + to);
}

static bool answer_icmp(uint8_t *data, size_t len, uint32_t frame_len, uint32_t our_ip)
{
	struct icmphdr icmp;
	struct iphdr ip;
	size_t ip_len;
	uint32_t requester;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, data, sizeof(ip));
	ip_len = (size_t)ip.ihl * 4;
	if (ip.version != 4 || ip_len < sizeof(ip) || len < ip_len + sizeof(icmp) ||
		ntohs(ip.tot_len) < ip_len + sizeof(icmp) || ntohs(ip.tot_len) > frame_len ||
		ip.frag_off & htons(IP_MF | IP_OFFMASK) || ip.protocol != IPPROTO_ICMP ||
		ip.daddr != our_ip)
		return false;
	memcpy(&icmp, data + ip_len, sizeof(icmp));
	if (icmp.type != ICMP_ECHO || icmp.code)
		return false;
	icmp.checksum = update_sum(icmp.checksum, ICMP_ECHO << 8, ICMP_ECHOREPLY << 8);
	icmp.type = ICMP_ECHOREPLY;
	/* The header's own checksum stays as it is: the same words are added in another order. */
	requester = ip.saddr;
	ip.saddr = our_ip;
	ip.daddr = requester;
	memcpy(data, &ip, sizeof(ip));
	memcpy(data + ip_len, &icmp, sizeof(icmp));
	return true;
}

bool fwd_frame_answer(struct plx_packet *packet, const uint8_t mac[6], uint32_t ip)
{
	uint8_t *data = plx_packet_data(packet);
	struct ether_header ether;
	uint8_t *payload = data + sizeof(ether);
	size_t len = packet->data_len - sizeof(ether);
	bool answered = false;

	if (packet->data_len < sizeof(ether))
		return false;
	memcpy(&ether, data, sizeof(ether));
	if (ether.ether_type == htons(ETHERTYPE_ARP))
		answered = answer_arp(payload, len, mac, ip);
	else if (ether.ether_type == htons(ETHERTYPE_IP))
		answered = answer_icmp(payload, len, packet->len - (uint32_t)sizeof(ether), ip);
	if (!answered)
		return false;
	memcpy(ether.ether_dhost, ether.ether_shost, sizeof(ether.ether_dhost));
	memcpy(ether.ether_shost, mac, sizeof(ether.ether_shost));
	memcpy(data, &ether, sizeof(ether));
	return true;
}
