/* SPDX-License-Identifier: BSD-3-Clause */
#include "faults.h"

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <map>
#include <mutex>
#include <numaif.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <set>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace
{

thread_local bool watching;
thread_local unsigned countdown;
thread_local const char *failed = "";

/* Whether this call is the one. */
bool fails(const char *name)
{
	if (!watching || !countdown || --countdown)
		return false;
	failed = name;
	return true;
}

/* --- what is held --- */

std::mutex lock;

std::set<void *> &blocks()
{
	static auto *all = new std::set<void *>;

	return *all;
}

/* Mapped ranges, by their beginning. */
std::map<uintptr_t, uintptr_t> &ranges()
{
	static auto *all = new std::map<uintptr_t, uintptr_t>;

	return *all;
}

void *took(void *block)
{
	std::lock_guard<std::mutex> guard(lock);

	if (block)
		blocks().insert(block);
	return block;
}

void gave_back(void *block)
{
	std::lock_guard<std::mutex> guard(lock);

	blocks().erase(block);
}

void forget(uintptr_t from, uintptr_t to)
{
	auto at = ranges().lower_bound(from);

	if (at != ranges().begin() && std::prev(at)->second > from)
		--at;
	while (at != ranges().end() && at->first < to) {
		auto [begin, end] = *at;

		at = ranges().erase(at);
		if (begin < from)
			ranges()[begin] = from;
		if (end > to)
			at = ranges().emplace(to, end).first;
	}
}

void unmapped(void *address, size_t len)
{
	std::lock_guard<std::mutex> guard(lock);
	auto from = reinterpret_cast<uintptr_t>(address);

	forget(from, from + len);
}

void mapped(void *address, size_t len)
{
	std::lock_guard<std::mutex> guard(lock);
	auto from = reinterpret_cast<uintptr_t>(address);

	forget(from, from + len);
	ranges()[from] = from + len;
}

template <typename T> T with_errno(int error, T value)
{
	errno = error;
	return value;
}

} // namespace

namespace faults
{

void begin(unsigned n)
{
	failed = "";
	countdown = n;
	watching = true;
}

std::string end()
{
	watching = false;
	return failed;
}

Held held()
{
	std::lock_guard<std::mutex> guard(lock);
	Held now = {blocks().size(), 0, 0};

	for (auto [from, to] : ranges())
		now.mapped += to - from;
	if (DIR *dir = opendir("/proc/self/fd")) {
		while (readdir(dir))
			now.files++;
		closedir(dir);
	}
	return now;
}

} // namespace faults

/* Each call by its name at link time: how it is made, and what it answers when it fails. */
#define WRAP(type, name, parameters, arguments, error, value)                                      \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails(#name) ? with_errno<type>(error, value) : __real_##name arguments;    \
	}

/* The same of calls that answer with their error. */
#define WRAP_ERROR(name, parameters, arguments, error)                                             \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters                                                               \
	{                                                                                          \
		return fails(#name) ? (error) : __real_##name arguments;                           \
	}

/* And of those that give memory. */
#define WRAP_MEMORY(type, name, parameters, arguments)                                             \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails(#name) ? with_errno<type>(ENOMEM, nullptr)                            \
				    : static_cast<type>(took(__real_##name arguments));            \
	}

extern "C" {

WRAP_MEMORY(void *, malloc, (size_t size), (size))
WRAP_MEMORY(void *, calloc, (size_t count, size_t size), (count, size))
WRAP_MEMORY(void *, aligned_alloc, (size_t align, size_t size), (align, size))
WRAP_MEMORY(char *, strdup, (const char *text), (text))

void *__real_reallocarray(void *block, size_t count, size_t size);
void *__wrap_reallocarray(void *block, size_t count, size_t size);
void *__wrap_reallocarray(void *block, size_t count, size_t size)
{
	if (fails("reallocarray"))
		return with_errno<void *>(ENOMEM, nullptr);
	void *moved = __real_reallocarray(block, count, size);

	if (moved)
		gave_back(block);
	return took(moved);
}

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size)
{
	if (fails("realloc"))
		return with_errno<void *>(ENOMEM, nullptr);
	void *moved = __real_realloc(block, size);

	if (moved)
		gave_back(block);
	return took(moved);
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	gave_back(block);
	__real_free(block);
}

void *__real_mmap64(void *address, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *at = fails("mmap") ? with_errno<void *>(ENOMEM, MAP_FAILED)
				 : __real_mmap64(address, len, prot, flags, fd, offset);

	if (at != MAP_FAILED)
		mapped(at, len);
	return at;
}

int __real_munmap(void *address, size_t len);
int __wrap_munmap(void *address, size_t len);
int __wrap_munmap(void *address, size_t len)
{
	unmapped(address, len);
	return __real_munmap(address, len);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode = 0;

	va_start(list, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(list, mode_t);
	va_end(list);
	return fails("open") ? with_errno(EMFILE, -1) : __real_open64(path, flags, mode);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	return fails("ioctl") ? with_errno(EIO, -1) : __real_ioctl(fd, request, argument);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list list;
	void *argument;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	return fails("fcntl") ? with_errno(EPERM, -1) : __real_fcntl64(fd, command, argument);
}

/* Attributes that were not made are not to be used: with these the lock would protect priorities.
 */
int __real_pthread_mutexattr_init(pthread_mutexattr_t *attributes);
int __wrap_pthread_mutexattr_init(pthread_mutexattr_t *attributes);
int __wrap_pthread_mutexattr_init(pthread_mutexattr_t *attributes)
{
	if (!fails("pthread_mutexattr_init"))
		return __real_pthread_mutexattr_init(attributes);
	memset(attributes, 0x2a, sizeof(*attributes));
	return ENOMEM;
}

WRAP(FILE *, fopen64, (const char *path, const char *mode), (path, mode), EMFILE, nullptr)
WRAP(ssize_t, read, (int fd, void *to, size_t len), (fd, to, len), EIO, -1)
WRAP(ssize_t, pread64, (int fd, void *to, size_t len, off_t at), (fd, to, len, at), EIO, -1)
WRAP(ssize_t, pwrite64, (int fd, const void *from, size_t len, off_t at), (fd, from, len, at), EIO,
	-1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE, -1)
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size), EFBIG, -1)
WRAP(int, fallocate64, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len), ENOSPC, -1)
WRAP(int, madvise, (void *address, size_t len, int advice), (address, len, advice), EINVAL, -1)
WRAP(long, mbind,
	(void *address, unsigned long len, int mode, const unsigned long *nodes,
		unsigned long max_node, unsigned flags),
	(address, len, mode, nodes, max_node, flags), EPERM, -1)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), EMFILE, -1)
WRAP(ssize_t, getrandom, (void *to, size_t len, unsigned flags), (to, len, flags), ENOSYS, -1)
WRAP(ssize_t, readlink, (const char *path, char *to, size_t room), (path, to, room), EACCES, -1)
WRAP(int, stat64, (const char *path, struct stat64 *to), (path, to), EACCES, -1)
WRAP(int, access, (const char *path, int mode), (path, mode), EACCES, -1)
WRAP(int, getcpu, (unsigned *cpu, unsigned *node), (cpu, node), ENOSYS, -1)
WRAP(int, getrlimit64, (__rlimit_resource_t what, struct rlimit64 *to), (what, to), EINVAL, -1)
WRAP(int, getifaddrs, (struct ifaddrs * *list), (list), ENOMEM, -1)
WRAP(int, numa_available, (void), (), ENOSYS, -1)
WRAP(int, sched_getaffinity, (pid_t pid, size_t len, cpu_set_t *set), (pid, len, set), EINVAL, -1)
WRAP(int, scandir64,
	(const char *path, struct dirent64 ***list, int (*filter)(const struct dirent64 *),
		int (*order)(const struct dirent64 **, const struct dirent64 **)),
	(path, list, filter, order), ENOMEM, -1)
WRAP(int, sem_init, (sem_t * semaphore, int shared, unsigned value), (semaphore, shared, value),
	ENOSPC, -1)
WRAP_ERROR(pthread_create,
	(pthread_t * thread, const pthread_attr_t *attributes, void *(*body)(void *),
		void *argument),
	(thread, attributes, body, argument), EAGAIN)
WRAP_ERROR(pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
	(mutex, attributes), ENOMEM)
WRAP_ERROR(pthread_attr_init, (pthread_attr_t * attributes), (attributes), ENOMEM)
}
