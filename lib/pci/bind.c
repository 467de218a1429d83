/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci/pci_priv.h"

#include "base/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the note says of a function that no driver had. */
#define NO_DRIVER "none"

/*
 * One function on its way from driver to driver. The kernel's side of it is described in
 * Documentation/ABI/testing/sysfs-bus-pci: driver_override names the only driver that may take the
 * function, and a line end clears it.
 */
struct move {
	const struct plx_pci_root *root;
	struct plx_pci_function function; /* as it was found */
	char name[PLX_PCI_ADDRESS_LEN];
	char override[PLX_PCI_NAME_LEN]; /* as it was found, or "" */
};

/* Takes the value in one write, as sysfs demands. */
static int store_in_sysfs(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(value);
	ssize_t done;
	int err;

	if (fd < 0)
		return -errno;
	done = write(fd, value, len);
	err = done < 0 ? -errno : done == (ssize_t)len ? 0 : -EIO;
	(void)close(fd);
	return err;
}

static int store_failed(const struct move *move, const char *path, int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
	case EROFS:
		return plx_fail(
			EACCES, "%s: no right to write to %s; run as root", move->name, path);
	case ENOENT:
		return plx_fail(ENODEV,
			"%s: %s is not there; was the function removed, or the driver unloaded?",
			move->name, path);
	default:
		return plx_fail(err, "%s: the kernel refused the write to %s: %s (see dmesg)",
			move->name, path, strerror(err));
	}
}

static int store(const struct move *move, const char *path, const char *value)
{
	int err = move->root->store ? move->root->store(path, value) : store_in_sysfs(path, value);

	return err ? store_failed(move, path, -err) : 0;
}

static int set_override(const struct move *move, const char *driver)
{
	char path[PATH_MAX];
	int err = plx_pci_path(
		path, "%s/bus/pci/devices/%s/driver_override", move->root->sysfs, move->name);

	return err ? err : store(move, path, *driver ? driver : "\n");
}

/* @file is "bind" or "unbind". */
static int tell_driver(const struct move *move, const char *driver, const char *file)
{
	char path[PATH_MAX];
	int err = plx_pci_path(path, "%s/bus/pci/drivers/%s/%s", move->root->sysfs, driver, file);

	return err ? err : store(move, path, move->name);
}

/* Let the kernel look for a driver. It reports success also when none took the function. */
static int probe(const struct move *move)
{
	char path[PATH_MAX];
	int err = plx_pci_path(path, "%s/bus/pci/drivers_probe", move->root->sysfs);

	return err ? err : store(move, path, move->name);
}

static bool is_driven_by(const struct move *move, const char *driver)
{
	char path[PATH_MAX], now[PLX_PCI_NAME_LEN];

	if (plx_pci_function_path(path, move->root, &move->function.address))
		return false;
	plx_pci_read_driver(path, now);
	return !strcmp(now, driver);
}

static int move_begin(
	struct move *move, const struct plx_pci_root *root, const struct plx_pci_address *address)
{
	char path[PATH_MAX];
	int err;

	*move = (struct move){.root = root};
	(void)plx_pci_address_format(address, move->name);
	err = plx_pci_lookup_in(root, address, &move->function);
	if (err)
		return err;
	err = plx_pci_path(path, "%s/bus/pci/devices/%s/driver_override", root->sysfs, move->name);
	if (err)
		return err;
	/* The kernel prints a null pointer when there is none. */
	if (plx_pci_read_text(path, move->override, sizeof(move->override)) ||
		!strcmp(move->override, "(null)"))
		move->override[0] = '\0';
	return 0;
}

/* Whether the name can be that of a directory below drivers/. */
static bool is_driver_name(const char *driver)
{
	return driver && *driver && strlen(driver) < PLX_PCI_NAME_LEN && !strchr(driver, '/') &&
	       strcmp(driver, ".") != 0 && strcmp(driver, "..") != 0;
}

static int note_path(char path[PATH_MAX], const struct move *move)
{
	return plx_pci_path(path, "%s/bind/%s", move->root->state, move->name);
}

static int note_failed(const struct move *move, const char *path, int err)
{
	if (err == EACCES || err == EPERM || err == EROFS)
		return plx_fail(
			EACCES, "%s: no right to write to %s; run as root", move->name, path);
	return plx_fail(
		err, "%s: cannot note its driver in %s: %s", move->name, path, strerror(err));
}

static int make_directory(const struct move *move, const char *path)
{
	return mkdir(path, 0755) && errno != EEXIST ? note_failed(move, path, errno) : 0;
}

/* Whole or not at all. */
static int note_write(const struct move *move)
{
	const char *driver = *move->function.driver ? move->function.driver : NO_DRIVER;
	char path[PATH_MAX], beside[PATH_MAX];
	int fd, err;

	err = make_directory(move, move->root->state);
	if (!err)
		err = plx_pci_path(path, "%s/bind", move->root->state);
	if (!err)
		err = make_directory(move, path);
	if (!err)
		err = note_path(path, move);
	if (!err)
		err = plx_pci_path(beside, "%s/bind/.%s", move->root->state, move->name);
	if (err)
		return err;
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return note_failed(move, beside, errno);
	err = dprintf(fd, "%s\n", driver) < 0 ? errno : 0;
	if (close(fd) && !err)
		err = errno;
	if (!err && rename(beside, path))
		err = errno;
	if (err) {
		(void)unlink(beside);
		return note_failed(move, path, err);
	}
	return 0;
}

/* Return: 1 with the driver, or with "" for none; 0 without a note; -errno. */
static int note_read(const struct move *move, char driver[PLX_PCI_NAME_LEN])
{
	char path[PATH_MAX];
	int err = note_path(path, move);

	driver[0] = '\0';
	if (err)
		return err;
	err = plx_pci_read_text(path, driver, PLX_PCI_NAME_LEN);
	if (err == -ENOENT)
		return 0;
	if (err)
		return plx_fail(-err, "%s: cannot read which driver it had from %s: %s", move->name,
			path, strerror(-err));
	if (!is_driver_name(driver))
		return plx_fail(
			EPROTO, "%s: %s names no driver; remove that file", move->name, path);
	if (!strcmp(driver, NO_DRIVER))
		driver[0] = '\0';
	return 1;
}

static void note_remove(const struct move *move)
{
	char path[PATH_MAX];

	/* What stays is overwritten by the next bind. */
	if (!note_path(path, move))
		(void)unlink(path);
}

/* The override is set: let go of the function and have the kernel probe it. */
static int take(const struct move *move, const char *driver)
{
	const char *former = move->function.driver;
	int err = 0;

	if (*former)
		err = tell_driver(move, former, "unbind");
	if (!err)
		err = probe(move);
	if (!err && !is_driven_by(move, driver)) {
		bool no_iommu = move->function.iommu_group < 0 && !strcmp(driver, "vfio-pci");

		err = plx_fail(EIO, "%s: %s did not take it%s; see dmesg", move->name, driver,
			no_iommu ? ", because it is behind no IOMMU" : "");
	}
	return err;
}

static void offer(const struct move *move, const char *driver)
{
	if (tell_driver(move, driver, "bind"))
		(void)probe(move);
}

/* Bring everything back to how it was found. Return: whether the former driver has it. */
static bool put_back(const struct move *move)
{
	const char *former = move->function.driver;
	char path[PATH_MAX], now[PLX_PCI_NAME_LEN];

	if (plx_pci_function_path(path, move->root, &move->function.address))
		return false;
	plx_pci_read_driver(path, now);
	if (strcmp(now, former) != 0) {
		/*
		 * No other may take it meanwhile, nor may the override that was found prevent it.
		 */
		(void)set_override(move, former);
		if (*now)
			(void)tell_driver(move, now, "unbind");
		if (*former)
			offer(move, former);
	}
	(void)set_override(move, move->override);
	if (*former && !is_driven_by(move, former))
		offer(move, former);
	return is_driven_by(move, former);
}

static int undo_take(const struct move *move, bool noted, int err)
{
	const char *former = move->function.driver;
	char reason[512];

	(void)snprintf(reason, sizeof(reason), "%s", plx_error());
	if (!put_back(move))
		return plx_fail(-err,
			"%s; and it cannot be given back to %s: `pollux unbind %s` tries again",
			reason, *former ? former : "no driver", move->name);
	if (noted)
		note_remove(move);
	if (!*former)
		return plx_fail(-err, "%s; no driver has it, as before", reason);
	return plx_fail(-err, "%s; %s has it as before", reason, former);
}

/* The kernel would wait for a process that has it open, without end and not to be interrupted. */
static int check_closed(const struct move *move)
{
	return *move->function.driver ? plx_pci_check_closed(move->root, &move->function) : 0;
}

static int check_loaded(const struct move *move, const char *driver)
{
	char path[PATH_MAX];
	int err = plx_pci_path(path, "%s/bus/pci/drivers/%s", move->root->sysfs, driver);

	if (err)
		return err;
	if (access(path, F_OK))
		return plx_fail(ENOENT,
			"%s: the kernel's driver %s is not loaded; run `modprobe %s`", move->name,
			driver, driver);
	return 0;
}

int plx_pci_bind_in(const struct plx_pci_root *root, const struct plx_pci_address *address,
	const char *driver, unsigned flags)
{
	struct move move;
	bool noted;
	int err;

	if (!is_driver_name(driver))
		return plx_fail(EINVAL, "\"%s\" is not the name of a driver", driver ? driver : "");
	if (flags & ~PLX_PCI_BIND_FORCE)
		return plx_fail(EINVAL, "binding knows no flags 0x%x", flags);
	err = move_begin(&move, root, address);
	if (err || !strcmp(move.function.driver, driver))
		return err;
	err = check_loaded(&move, driver);
	if (!err && !(flags & PLX_PCI_BIND_FORCE))
		err = plx_pci_check_network(root, &move.function);
	if (!err)
		err = check_closed(&move);
	if (err)
		return err;

	/* A driver that has it by an override came after the one to remember. */
	noted = !*move.override || strcmp(move.override, move.function.driver) != 0;
	if (noted) {
		err = note_write(&move);
		if (err)
			return err;
	}
	/* First, because nothing has changed yet when it is refused. */
	err = set_override(&move, driver);
	if (err) {
		if (noted)
			note_remove(&move);
		return err;
	}
	err = take(&move, driver);
	return err ? undo_take(&move, noted, err) : 0;
}

/* @former is NULL when it is not known, and "" for none. */
static int give_back(const struct move *move, const char *former)
{
	const char *driver = move->function.driver;
	int err;

	err = check_closed(move);
	if (!err)
		err = set_override(move, "");
	if (err)
		return err;
	if (*driver) {
		err = tell_driver(move, driver, "unbind");
		if (err) {
			(void)set_override(move, move->override);
			return err;
		}
	}
	if (!former)
		return probe(move);
	if (!*former)
		return 0;
	offer(move, former);
	if (!is_driven_by(move, former))
		return plx_fail(EIO,
			"%s: its former driver %s does not take it back; run `modprobe %s` and try "
			"again, or see dmesg",
			move->name, former, former);
	return 0;
}

int plx_pci_unbind_in(const struct plx_pci_root *root, const struct plx_pci_address *address)
{
	char former[PLX_PCI_NAME_LEN];
	struct move move;
	int err, noted;

	err = move_begin(&move, root, address);
	if (err)
		return err;
	noted = note_read(&move, former);
	if (noted < 0)
		return noted;
	if (!*move.override && !noted)
		return plx_fail(EINVAL,
			"%s: nothing to give back: %s%s, which no driver_override arranged",
			move.name, *move.function.driver ? "its driver is " : "it has no driver",
			move.function.driver);
	if (noted && !strcmp(move.function.driver, former))
		err = *move.override ? set_override(&move, "") : 0;
	else
		err = give_back(&move, noted ? former : NULL);
	if (!err)
		note_remove(&move);
	return err;
}

int plx_pci_bind(const struct plx_pci_address *address, const char *driver, unsigned flags)
{
	return plx_pci_bind_in(&plx_pci_root, address, driver, flags);
}

int plx_pci_unbind(const struct plx_pci_address *address)
{
	return plx_pci_unbind_in(&plx_pci_root, address);
}
