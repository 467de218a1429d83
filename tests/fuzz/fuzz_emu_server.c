/* SPDX-License-Identifier: BSD-3-Clause */
#include "files.h"

#include "base/clock.h"
#include "emu/server_priv.h"

#include <sys/socket.h>
#include <unistd.h>

/*
 * What a vfio-user client says to an emulated card that is served. Whatever it was, the card is as
 * new when it has left, and the next client is greeted.
 */

#define MESSAGES 64

/* Turns after which a client that has left is known to have: far more than it takes. */
#define TURNS 100000

static struct plx_emu_server *server;
static char path[64];

static void begin(void)
{
	struct plx_address address;

	(void)snprintf(path, sizeof(path), "/tmp/fuzz_emu_server.%d", (int)getpid());
	FUZZ_CHECK(!plx_address_parse(&address, "emu:net"), "no address");
	FUZZ_CHECK(!plx_emu_server_create(NULL, &address, path, &server), "no server");
	plx_address_free(&address);
	/* The connection is made before it is served; the name is of no further use. */
}

static int come(void)
{
	struct sockaddr_un address;
	int fd;

	FUZZ_CHECK(!plx_socket_address(&address, path), "no address");
	fd = plx_socket_connect(&address, 0);
	FUZZ_CHECK(fd >= 0, "nobody takes the connection");
	for (unsigned i = 0; i < TURNS && server->wire.socket < 0; i++)
		plx_emu_server_run(server, 0);
	FUZZ_CHECK(server->wire.socket >= 0, "the client is not taken");
	return fd;
}

/* The form of each command, so that the fuzzer need not find it out. */
static size_t payload_of(unsigned command)
{
	static const uint8_t sizes[VFIO_USER_COMMANDS] = {[VFIO_USER_DMA_MAP] = 32,
		[VFIO_USER_DMA_UNMAP] = 24,
		[VFIO_USER_DEVICE_GET_INFO] = 16,
		[VFIO_USER_DEVICE_GET_REGION_INFO] = 32,
		[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = 16,
		[VFIO_USER_DEVICE_GET_IRQ_INFO] = 16,
		[VFIO_USER_DEVICE_SET_IRQS] = 20,
		[VFIO_USER_REGION_READ] = 16,
		[VFIO_USER_REGION_WRITE] = 20};

	return command < VFIO_USER_COMMANDS ? sizes[command] : 8;
}

static void say(int fd, struct fuzz_input *in)
{
	static struct plx_vfio_user_message message;
	uint8_t kind = fuzz_u8(in);
	uint8_t command = fuzz_u8(in) % 20;
	size_t len = kind & 1 ? fuzz_u8(in) : payload_of(command);
	uint32_t size;

	message.header = (struct vfio_user_header){
		.command = command,
		.size = (uint32_t)(sizeof(message.header) + len),
		.flags = kind & 2 ? fuzz_u8(in) : VFIO_USER_COMMAND,
	};
	for (size_t i = 0; i < len; i++)
		message.payload[i] = fuzz_u8(in);
	message.fds = kind >> 6;
	for (unsigned i = 0; i < message.fds; i++)
		message.fd[i] = fuzz_file(fuzz_u8(in));
	size = message.header.size;
	if (kind & 32)
		message.header.size = fuzz_u32(in);
	(void)plx_socket_send(fd, &message, size, message.fd, message.fds, plx_now());
}

/* The client reads what is there, so that it is not hung up on for that. */
static void read_all(int fd)
{
	uint8_t bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
}

static void greet(int fd)
{
	static const struct {
		struct vfio_user_header header;
		struct vfio_user_version version;
	} hello = {{.command = VFIO_USER_VERSION, .size = sizeof(hello)}, {0, 0}};

	(void)plx_socket_send(fd, &hello, sizeof(hello), NULL, 0, plx_now());
	for (unsigned i = 0; i < TURNS && !server->greeted; i++)
		plx_emu_server_run(server, 0);
	FUZZ_CHECK(server->greeted, "a client that greets is not heard");
}

static void leave(int fd)
{
	struct plx_emu_server_stats stats;

	(void)close(fd);
	for (unsigned i = 0; i < TURNS && server->wire.socket >= 0; i++)
		plx_emu_server_run(server, 0);
	FUZZ_CHECK(server->wire.socket < 0, "a client that left is still there");
	plx_emu_server_get_stats(server, &stats);
	FUZZ_CHECK(!stats.memory_regions, "memory of a client that left is mapped");
	FUZZ_CHECK(!server->emu->status, "the card is not reset");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	int fd, before;

	if (!server)
		begin();
	before = fuzz_next_descriptor();
	fd = come();
	if (!(fuzz_u8(&in) & 1))
		greet(fd);
	for (unsigned i = 0; i < MESSAGES && in.left; i++) {
		say(fd, &in);
		for (unsigned k = 0; k < 64; k++)
			plx_emu_server_run(server, 0);
		read_all(fd);
	}
	leave(fd);
	FUZZ_CHECK(before == fuzz_next_descriptor(), "a descriptor is still open");
	return 0;
}
