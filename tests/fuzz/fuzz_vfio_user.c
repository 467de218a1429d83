/* SPDX-License-Identifier: BSD-3-Clause */
#include "files.h"

#include "base/bits.h"
#include "base/clock.h"
#include "vfio/user.h"
#include "vfio/user_priv.h"

#include <sys/socket.h>
#include <unistd.h>

/*
 * What a vfio-user server says: the fuzzer writes all of it beforehand, and the client asks.
 * Answers with the right number are as likely as any; behind them the server has hung up.
 */

#define MESSAGES 64

/* One message: which, with how many descriptors, and what is in it. */
static void say(int fd, struct fuzz_input *in, uint16_t *id)
{
	static struct plx_vfio_user_message message;
	uint8_t kind = fuzz_u8(in);
	size_t len = fuzz_u8(in) * 2u;

	message.header.id = kind & 1 ? fuzz_u16(in) : (*id)++;
	message.header.command = fuzz_u8(in) % 20;
	message.header.size = (uint32_t)(sizeof(message.header) + len);
	message.header.flags = kind & 4 ? VFIO_USER_COMMAND : VFIO_USER_REPLY;
	if (kind & 2)
		message.header.flags = fuzz_u8(in);
	message.header.error = kind & 8 ? fuzz_u8(in) : 0;
	for (size_t i = 0; i < len; i++)
		message.payload[i] = fuzz_u8(in);
	message.fds = (kind >> 5 & 3) % 3;
	for (unsigned i = 0; i < message.fds; i++)
		message.fd[i] = fuzz_file(fuzz_u8(in));
	/* Now and then a size that is a lie. */
	if (kind & 16) {
		uint32_t size = message.header.size;

		message.header.size = fuzz_u32(in);
		(void)plx_socket_send(fd, &message, size, message.fd, message.fds, plx_now());
	} else {
		(void)plx_vfio_user_send(fd, &message, plx_now());
	}
}

/* The last page of a file is there as a whole. */
static uint64_t pages_of(const struct plx_vfio_region *region)
{
	return plx_align_up(region->size, 4096);
}

static void check_regions(const struct vfio_user *user)
{
	for (unsigned i = 0; i < user->base.regions; i++) {
		const struct plx_vfio_region *region = &user->base.region[i];

		FUZZ_CHECK(region->areas <= PLX_VFIO_AREAS, "more areas than there is room for");
		FUZZ_CHECK(!(region->flags & VFIO_REGION_INFO_FLAG_MMAP) || user->file[i] >= 0,
			"a region that may be mapped has no file");
		for (unsigned k = 0; k < region->areas; k++)
			FUZZ_CHECK(plx_range_fits(region->area[k].offset, region->area[k].size,
					   pages_of(region)),
				"an area outside its region");
	}
	for (unsigned i = 0; i < user->doorbells; i++)
		FUZZ_CHECK(user->doorbell[i].region < user->base.regions &&
				   user->doorbell[i].offset <
					   user->base.region[user->doorbell[i].region].size,
			"a doorbell outside its region");
}

/* What a driver does with it. */
static void use(struct plx_vfio_device *device)
{
	uint64_t value = 0;
	int32_t fd = -1;

	for (unsigned i = 0; i < device->regions; i++) {
		if (!device->region[i].size)
			continue;
		(void)FUZZ_CALL(device->ops->read(device, i, 0, &value, 1));
		(void)device->ops->write(device, i, 0x3000, &value, 2);
		(void)device->ops->peek(device, i, 0, &value, 1);
	}
	(void)FUZZ_CALL(device->ops->set_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd));
	(void)device->ops->check(device);
}

/* --- the server --- */

static struct {
	int listener;
	char address[96];
	struct plx_mem *mem;
	struct fuzz_input in;
} rig = {.listener = -1};

static void begin(void)
{
	const struct plx_mem_config config = {UINT64_C(1) << 24, 4096, NULL};
	struct sockaddr_un address;
	void *memory;
	char path[64];

	(void)snprintf(path, sizeof(path), "/tmp/fuzz_vfio_user.%d", (int)getpid());
	(void)snprintf(rig.address, sizeof(rig.address), "vfio-user:%s,wait=0", path);
	FUZZ_CHECK(!plx_socket_address(&address, path), "no address");
	rig.listener = plx_socket_listen(&address, 4);
	FUZZ_CHECK(rig.listener >= 0, "no socket");
	FUZZ_CHECK(!plx_mem_create(&config, &rig.mem), "no memory");
	FUZZ_CHECK(!plx_mem_alloc(rig.mem, 8192, 4096, -1, 0, &memory), "no memory");
}

/* All that the fuzzer has for it is less than a socket holds, so nobody waits for the client. */
static void *serve(void *arg)
{
	static const struct {
		struct vfio_user_header header;
		struct vfio_user_version version;
	} hello = {{.command = VFIO_USER_VERSION, .size = sizeof(hello), .flags = VFIO_USER_REPLY},
		{0, 0}};
	int fd = plx_socket_accept(rig.listener, plx_now() + PLX_MILLISECONDS(10000));
	uint16_t id = 1;

	(void)arg;
	FUZZ_CHECK(fd >= 0, "the client does not come");
	if (!(fuzz_u8(&rig.in) & 1))
		(void)plx_socket_send(fd, &hello, sizeof(hello), NULL, 0, plx_now());
	for (unsigned i = 0; i < MESSAGES && rig.in.left; i++)
		say(fd, &rig.in, &id);
	(void)plx_socket_part(fd, plx_now() + PLX_MILLISECONDS(10000));
	(void)close(fd);
	return NULL;
}

static void converse(void)
{
	struct plx_vfio_device *device;
	struct plx_address address;
	pthread_t thread;

	FUZZ_CHECK(!plx_address_parse(&address, rig.address), "no address");
	FUZZ_CHECK(!pthread_create(&thread, NULL, serve, NULL), "no thread");
	if (!FUZZ_CALL(plx_vfio_user_open(rig.mem, NULL, &address, &device))) {
		check_regions(vfio_user_of(device));
		use(device);
		plx_vfio_close(device);
	}
	(void)pthread_join(thread, NULL);
	plx_address_free(&address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plx_vfio_user_capabilities capabilities;
	int before;

	if (rig.listener < 0)
		begin();
	(void)plx_vfio_user_read_capabilities(&capabilities, (const char *)data, size);
	before = fuzz_next_descriptor();
	rig.in = (struct fuzz_input){data, size};
	converse();
	FUZZ_CHECK(before == fuzz_next_descriptor(), "a descriptor is still open");
	return 0;
}
