/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROGRAM_DOCTOR_H
#define PROGRAM_DOCTOR_H

#include "machine.h"
#include "program.h"

/*
 * What the checks of `pollux doctor` share. Each check is a function of its own that looks at one
 * thing and says one finding, or nothing where there is nothing to look at.
 */

enum doctor_verdict {
	DOCTOR_NOTHING, /* the check does not apply */
	DOCTOR_OK,
	DOCTOR_WARNING, /* it works, though slower or less safely than it could */
	DOCTOR_FAULT,   /* it does not work before this is mended */
};

struct doctor_finding {
	enum doctor_verdict verdict;
	char *text;
	char *remedy; /* the command that mends it, or NULL */
};

enum doctor_kind {
	DOCTOR_PCI, /* a PCI function, or all of them */
	DOCTOR_SOCKET,
	DOCTOR_EMULATED,
};

/* What was found out of a PCI function before its checks are made. */
struct doctor_look {
	int used;      /* 0; -EBUSY when somebody uses it; another -errno */
	char *user;    /* the library's sentence of who, or NULL */
	bool tried;    /* it seemed ready, and was opened or refused to be */
	char *refusal; /* the library's sentence of why, or NULL */
	enum { DOCTOR_UNKNOWN, DOCTOR_OFFERED, DOCTOR_NOT_OFFERED } access_platform;
};

/* What is looked at. */
struct doctor {
	const struct machine *machine;
	enum doctor_kind kind;
	bool named;          /* the user named the device */
	const char *options; /* of its address, from the first comma on */
	char place[128];     /* the socket's path, or the address of the function */

	const struct plx_pci_function *function; /* that a check is about, or NULL */
	struct doctor_look look;                 /* at it */

	uint64_t pinned; /* bytes that one device with a pool of the usual size pins */
};

typedef void doctor_check_fn(const struct doctor *doctor, struct doctor_finding *finding);

/* Fill a finding; the remedy may be NULL, is one to free() and is taken over. */
void doctor_ok(struct doctor_finding *finding, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void doctor_warn(struct doctor_finding *finding, char *remedy, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void doctor_fault(struct doctor_finding *finding, char *remedy, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A sentence of the library's: its cause becomes the text, what it says to do the remedy. */
void doctor_quote(
	struct doctor_finding *finding, enum doctor_verdict verdict, const char *sentence);

/* A remedy to free(), with sudo in front for who is not root. */
char *doctor_as_root(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The name of the present user, or the number; lives until the next call. */
const char *doctor_user(void);
/* Whether the device's address has the option, written as key=value. */
bool doctor_has_option(const struct doctor *doctor, const char *option);
/* The last core that this process may use, which is the one that programs poll on by themselves. */
unsigned doctor_last_core(void);

/* doctor_machine.c: what VFIO needs */
doctor_check_fn doctor_iommu, doctor_vfio_pci, doctor_iommu_driver, doctor_noiommu,
	doctor_vfio_node, doctor_memlock, doctor_devices;

/* Whether this process may pin so much memory. */
bool doctor_may_pin(const struct doctor *doctor, uint64_t bytes);

/* doctor_speed.c: what makes it fast */
doctor_check_fn doctor_hugepages, doctor_isolation, doctor_governor, doctor_numa;

/* doctor_function.c: a PCI function */
doctor_check_fn doctor_type, doctor_unused, doctor_kernel_driver, doctor_group, doctor_group_node,
	doctor_open, doctor_access_platform;
/* Fill @doctor->look. Opens and resets the function, when it is ready. End with the second. */
void doctor_look_at(struct doctor *doctor);
void doctor_look_away(struct doctor *doctor);

/* doctor_socket.c: a backend in another process */
doctor_check_fn doctor_socket, doctor_listener;

#endif
