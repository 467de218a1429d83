/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_LOG_H
#define PLX_BASE_LOG_H

#include <pollux/log.h>

/* Where messages go; each context has one. A NULL function is silence. */
struct plx_log {
	plx_log_fn *fn;
	void *arg;
	enum plx_log_level level;
};

/* Deliver one message if its level is wanted. @log may be NULL. */
void plx_log(const struct plx_log *log, enum plx_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4), cold));

#endif
