/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <errno.h>
#include <pollux/error.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void complain(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void complain(const char *format, va_list args)
{
	(void)fflush(stdout);
	(void)fputs("pollux: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
}

int fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	return EXIT_FAILURE;
}

int fail_library(void)
{
	return fail("%s", plx_error());
}

void failure_take(struct failure *failure, int err, char *sentence)
{
	if (failure->sentence) {
		free(sentence);
		return;
	}
	failure->err = err;
	failure->sentence = must_have(sentence);
}

int failure_note(struct failure *failure, int err)
{
	if (err)
		failure_take(failure, err, strdup(plx_error()));
	return err;
}

/* The last error that the library's log told; workers write it, too. */
static struct {
	pthread_mutex_t lock;
	char text[512];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

/*
 * A queue that breaks is told by the log, with the value that broke it and what follows behind a
 * semicolon, and once more by the burst that ends with it.
 */
static bool is_told(const char *sentence)
{
	const char *end;
	bool same;

	(void)pthread_mutex_lock(&told.lock);
	end = strrchr(told.text, ';');
	if (end && end > told.text && end[-1] == ')')
		end = memrchr(told.text, ' ', (size_t)(end - told.text));
	same = end && !strncmp(sentence, told.text, (size_t)(end - told.text));
	(void)pthread_mutex_unlock(&told.lock);
	return same;
}

int failure_end(struct failure *failure)
{
	if (!failure->sentence)
		return EXIT_SUCCESS;
	if (!is_told(failure->sentence))
		(void)fail("%s", failure->sentence);
	free(failure->sentence);
	return failure->err == -EINVAL ? EX_USAGE : EXIT_FAILURE;
}

_Noreturn void usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	exit(EX_USAGE);
}

void *must_have(void *memory)
{
	if (!memory)
		exit(fail("out of memory"));
	return memory;
}

char *make_text(const char *format, ...)
{
	va_list args;
	char *text;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return must_have(len < 0 ? NULL : text);
}

int finish_output(int status)
{
	/* What was not written for want of a reader stays in the buffer: no one will ask for it. */
	if (!fflush(stdout) || errno == EPIPE)
		return status;
	return fail("cannot write to standard output: %s", strerror(errno));
}

double clock_seconds(void)
{
	struct timespec now;

	/* Cannot fail: the clock is always there. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void print_log(void *arg, enum plx_log_level level, const char *message)
{
	static const char *const names[] = {
		[PLX_LOG_ERROR] = "error",
		[PLX_LOG_WARNING] = "warning",
		[PLX_LOG_INFO] = "info",
		[PLX_LOG_DEBUG] = "debug",
	};

	if (!arg && level > PLX_LOG_WARNING)
		return;
	(void)fprintf(stderr, "pollux: %s: %s\n", names[level], message);
	if (level > PLX_LOG_ERROR)
		return;
	(void)pthread_mutex_lock(&told.lock);
	(void)snprintf(told.text, sizeof(told.text), "%s", message);
	(void)pthread_mutex_unlock(&told.lock);
}

struct plx_context_config context_config(bool verbose)
{
	static char all;
	struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;

	config.log_level = verbose ? PLX_LOG_DEBUG : PLX_LOG_WARNING;
	config.log = print_log;
	config.log_arg = verbose ? &all : NULL;
	return config;
}

void fit_packets(struct plx_pool_config *pool, const struct plx_eth_info *info)
{
	uint32_t most = UINT16_MAX - pool->headroom;

	/* What no packet can hold, the library refuses with a sentence. */
	if (info->min_data_size > pool->data_size)
		pool->data_size =
			(uint16_t)(info->min_data_size < most ? info->min_data_size : most);
}

void hold_signals(sigset_t *held)
{
	struct sigaction hangup;

	(void)sigemptyset(held);
	(void)sigaddset(held, SIGINT);
	(void)sigaddset(held, SIGTERM);
	/* A blocked signal comes even when it is ignored, as nohup has it for this one. */
	if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)
		(void)sigaddset(held, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, held, NULL);
}
