/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/user.h"

#include "base/bits.h"
#include "base/clock.h"
#include "vfio/user_priv.h"
#include "vfio/vfio_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The operations of the seam, each a message or two. */

static struct vfio_user *lock(struct plx_vfio_device *base)
{
	struct vfio_user *user = vfio_user_of(base);

	(void)pthread_mutex_lock(&user->lock);
	return user;
}

static void unlock(struct vfio_user *user)
{
	(void)pthread_mutex_unlock(&user->lock);
}

/* --- registers --- */

/* Receive @len bytes behind the description that the request had. */
static int access_region(struct vfio_user *user, unsigned command,
	const struct vfio_user_region_access *access, size_t sent, size_t received)
{
	const struct vfio_user_form form = {
		sizeof(*access) + received, sizeof(*access) + received, 0};
	int err;

	if (access->count > user->server.data || access->count > PLX_VFIO_USER_DATA)
		return plx_fail(EINVAL, "%s: the server moves no %u bytes at once", user->base.name,
			access->count);
	memcpy(user->out.payload, access, sizeof(*access));
	err = vfio_user_ask(user, command, NULL, sizeof(*access) + sent, NULL, 0, &form);
	if (!err && memcmp(user->wire.in.payload, access, sizeof(*access)))
		err = vfio_user_nonsense(user, command, "it is of another register");
	return err;
}

static int user_read(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, void *value, size_t len)
{
	struct vfio_user_region_access access = {offset, region, (uint32_t)len};
	int err = plx_vfio_check_range(base, region, offset, len);
	struct vfio_user *user;

	if (err)
		return err;
	user = lock(base);
	err = access_region(user, VFIO_USER_REGION_READ, &access, 0, len);
	if (!err)
		memcpy(value, user->wire.in.payload + sizeof(access), len);
	unlock(user);
	return err;
}

static const struct vfio_user_doorbell *find_doorbell(const struct vfio_user *user, unsigned region,
	uint64_t offset, const void *value, size_t len)
{
	for (unsigned i = 0; i < user->doorbells; i++) {
		const struct vfio_user_doorbell *bell = &user->doorbell[i];

		if (bell->offset == offset && bell->region == region &&
			(!bell->size || bell->size == len) &&
			(!bell->match || !memcmp(&bell->value, value, len)))
			return bell;
	}
	return NULL;
}

static int user_write(struct plx_vfio_device *base, unsigned region, uint64_t offset,
	const void *value, size_t len)
{
	struct vfio_user_region_access access = {offset, region, (uint32_t)len};
	struct vfio_user *user = vfio_user_of(base);
	const struct vfio_user_doorbell *bell;
	const uint64_t once = 1;
	int err = plx_vfio_check_range(base, region, offset, len);

	if (err)
		return err;
	/*
	 * The doorbells stand from the start of a session to the next reset, when nobody uses the
	 * queues. One that is full is heard already.
	 */
	bell = len <= sizeof(bell->value) ? find_doorbell(user, region, offset, value, len) : NULL;
	if (bell && (write(bell->fd, &once, sizeof(once)) == sizeof(once) || errno == EAGAIN))
		return 0;
	(void)lock(base);
	if (len <= PLX_VFIO_USER_DATA)
		memcpy(user->out.payload + sizeof(access), value, len);
	err = access_region(user, VFIO_USER_REGION_WRITE, &access, len, 0);
	unlock(user);
	return err;
}

static int user_peek(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, void *value, size_t len)
{
	struct vfio_user *user = vfio_user_of(base);
	int err;

	/* Whoever has it is talking to the server, and will hear what there is to hear. */
	if (pthread_mutex_trylock(&user->lock))
		return -EAGAIN;
	err = vfio_user_probe(user, region, offset, value, len);
	unlock(user);
	return err;
}

/* --- mapped regions --- */

static int map_file(
	struct vfio_user *user, const struct vfio_user_map *map, void *at, void **address)
{
	const struct plx_vfio_region *region = &user->base.region[map->region];
	int prot = (region->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
		   (region->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);

	*address = mmap(at, map->len, prot, MAP_SHARED | (at ? MAP_FIXED : 0),
		user->file[map->region], (off_t)(region->cookie + map->offset));
	if (*address != MAP_FAILED)
		return 0;
	return plx_fail(errno, "%s: cannot map %zu bytes at 0x%" PRIx64 " of region %u: %s",
		user->base.name, map->len, map->offset, map->region, strerror(errno));
}

static int user_map(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, size_t len, void **address)
{
	struct vfio_user_map *map = calloc(1, sizeof(*map));
	struct vfio_user *user;
	int err;

	if (!map)
		return plx_fail(ENOMEM, "%s: no memory to map a region", base->name);
	*map = (struct vfio_user_map){.len = len, .region = region, .offset = offset};
	user = lock(base);
	err = map_file(user, map, NULL, &map->address);
	if (err) {
		free(map);
	} else {
		*address = map->address;
		map->next = user->maps;
		user->maps = map;
	}
	unlock(user);
	return err;
}

static void user_unmap(struct plx_vfio_device *base, void *address, size_t len)
{
	struct vfio_user *user = lock(base);

	for (struct vfio_user_map **at = &user->maps; *at; at = &(*at)->next) {
		struct vfio_user_map *map = *at;

		if (map->address != address)
			continue;
		*at = map->next;
		free(map);
		break;
	}
	unlock(user);
	(void)munmap(address, len);
}

static bool is_mappable(const struct vfio_user *user, const struct vfio_user_map *map)
{
	const struct plx_vfio_region *region = &user->base.region[map->region];

	for (unsigned i = 0; i < region->areas; i++) {
		const struct plx_vfio_area *area = &region->area[i];

		if (map->offset >= area->offset &&
			plx_range_fits(map->offset - area->offset, map->len, area->size))
			return user->file[map->region] >= 0;
	}
	return false;
}

/* Put the files of a new session under what is mapped. */
static int map_again(struct vfio_user *user)
{
	int err = 0;

	for (struct vfio_user_map *map = user->maps; !err && map; map = map->next) {
		void *address;

		if (!is_mappable(user, map))
			return plx_fail(EPROTO,
				"%s: the server that came back has another device: close it and open it again",
				user->base.name);
		err = map_file(user, map, map->address, &address);
	}
	return err;
}

/* --- reset --- */

static int restore(struct vfio_user *user)
{
	int err = vfio_user_learn_again(user);

	if (!err)
		err = map_again(user);
	if (!err)
		err = vfio_user_tell_memory(user);
	if (!err)
		err = vfio_user_tell_irqs(user);
	return err;
}

/* The device is quiet once its server has left; then another one may serve it. */
static int reconnect(struct vfio_user *user)
{
	uint64_t patience = user->parted ? user->patience : 0;
	int err;

	if (vfio_user_part(user))
		return plx_fail(EIO,
			"%s: the server neither answers nor hangs up: it may still use the buffers: end it",
			user->base.name);
	user->parted = true;
	err = vfio_user_greet(user, patience);
	if (!err) {
		err = restore(user);
		if (err && !user->fault)
			(void)vfio_user_give_up(user, err);
	}
	if (!err) {
		plx_log(user->base.log, PLX_LOG_INFO, "%s: a server serves it again",
			user->base.name);
		return 0;
	}
	/* What the server that was there so shortly may have mapped it lets go of. */
	if (vfio_user_part(user))
		return plx_fail(EIO, "%s: %s; and the server does not hang up: end it",
			user->base.name, user->reason);
	user->parted = true;
	return plx_fail(ENODEV, "%s", user->reason);
}

static int reset_locked(struct vfio_user *user)
{
	static const struct vfio_user_form form = {0, 0, 0};
	int err = vfio_user_fault(user);

	if (err)
		return reconnect(user);
	if (!user->can_reset)
		return plx_fail(
			ENOTSUP, "%s: the server does not reset its device", user->base.name);
	err = vfio_user_ask(user, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0, &form);
	if (user->fault)
		return reconnect(user);
	/* Whoever asks for a reset takes -ENODEV for a server that is gone; this one refused. */
	return err == -ENODEV ? plx_fail(EIO, "%s", plx_error()) : err;
}

static int user_reset(struct plx_vfio_device *base)
{
	struct vfio_user *user = lock(base);
	int err = reset_locked(user);

	unlock(user);
	return err ? err : plx_vfio_bus_master(base, true);
}

static int user_fault(struct plx_vfio_device *base)
{
	struct vfio_user *user = lock(base);
	int err = vfio_user_fault(user);

	unlock(user);
	return err;
}

/*
 * Never blocks: whoever has the lock is talking to the server, may be waiting for it, and hears
 * what there is to hear. Without the lock only the fault may be read: the socket is another one
 * after a reset, and its old number may by then be that of any file.
 */
static int user_check(struct plx_vfio_device *base)
{
	struct vfio_user *user = vfio_user_of(base);
	bool gone;

	if (pthread_mutex_trylock(&user->lock))
		return __atomic_load_n(&user->fault, __ATOMIC_ACQUIRE) ? -ENODEV : 0;
	gone = user->fault || plx_socket_hung_up(user->wire.socket);
	unlock(user);
	return gone ? -ENODEV : 0;
}

static int user_counters(struct plx_vfio_device *base, plx_counter_visit_fn *visit, void *arg)
{
	struct vfio_user *user = lock(base);
	struct vfio_user_counts counts = user->counts;
	int ret;

	unlock(user);
	ret = visit(arg, "server.dma_reads", counts.dma_reads);
	if (!ret)
		ret = visit(arg, "server.dma_writes", counts.dma_writes);
	if (!ret)
		ret = visit(arg, "server.dma_refused", counts.dma_refused);
	return ret;
}

/* --- open and close --- */

static void destroy(struct vfio_user *user)
{
	if (user->wire.socket >= 0)
		(void)close(user->wire.socket);
	plx_vfio_user_drop(&user->wire);
	vfio_user_forget(user);
	vfio_user_forget_irqs(user);
	(void)pthread_mutex_destroy(&user->lock);
	free(user);
}

/* The server learns of the end by the socket, and not of each segment. */
static void user_close(struct plx_vfio_device *base)
{
	struct vfio_user *user = lock(base);

	if (vfio_user_part(user))
		plx_log(base->log, PLX_LOG_ERROR,
			"%s: the device is closed while its server may still use the buffers: end the server before they are used again",
			base->name);
	unlock(user);
	plx_mem_detach(user->mem, &user->mapper);
	destroy(user);
}

static const struct plx_vfio_ops user_ops = {
	.name = "vfio-user",
	.read = user_read,
	.write = user_write,
	.peek = user_peek,
	.map = user_map,
	.unmap = user_unmap,
	.set_irqs = vfio_user_set_irqs,
	.unmask_irq = vfio_user_unmask_irq,
	.reset = user_reset,
	.check = user_check,
	.fault = user_fault,
	.counters = user_counters,
	.close = user_close,
};

static int read_options(struct vfio_user *user, struct plx_address *address)
{
	uint64_t timeout = 2000, wait = 1000;
	int ret = plx_address_number(address, "timeout", 1, 60000, &timeout);

	if (ret >= 0)
		ret = plx_address_number(address, "wait", 0, 600000, &wait);
	user->timeout = PLX_MILLISECONDS(timeout);
	user->patience = PLX_MILLISECONDS(wait);
	if (ret < 0)
		return ret;
	if (!plx_socket_address(&user->address, address->place))
		return 0;
	return plx_fail(EINVAL,
		"%s: the path of a socket has at most %zu characters and this one has %zu",
		user->base.name, sizeof(user->address.sun_path) - 1, strlen(address->place));
}

static int create(const struct plx_log *log, const char *path, struct vfio_user **out)
{
	struct vfio_user *user = calloc(1, sizeof(*user));

	if (!user)
		return plx_fail(ENOMEM, "%s: out of memory for the device", path);
	user->base.ops = &user_ops;
	user->base.log = log;
	user->base.numa_node = -1;
	plx_socket_name(user->base.name, sizeof(user->base.name), path);
	user->mapper.ops = &vfio_user_mapper;
	user->wire.socket = -1;
	for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++)
		user->file[i] = -1;
	/* Default attributes: cannot fail on Linux. */
	(void)pthread_mutex_init(&user->lock, NULL);
	*out = user;
	return 0;
}

int plx_vfio_user_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_vfio_device **device)
{
	struct vfio_user *user;
	int err = create(log, address->place, &user);

	if (err)
		return err;
	user->mem = mem;
	err = read_options(user, address);
	if (!err)
		err = vfio_user_greet(user, user->patience);
	if (!err)
		err = vfio_user_learn(user);
	if (!err)
		err = plx_mem_attach(mem, &user->mapper, NULL, 0);
	if (err) {
		destroy(user);
		return err;
	}
	err = plx_vfio_bus_master(&user->base, true);
	if (err) {
		user_close(&user->base);
		return err;
	}
	*device = &user->base;
	return 0;
}
