/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <argp.h>
#include <json.h>
#include <pollux/eth.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sysexits.h>

/*
 * What the commands of the program share: their list, complaints, options, and forms of output.
 *
 * Every command takes --json and --help, prints its result on standard output, and ends with 0. On
 * failure it prints one sentence on standard error and ends with another status: EX_USAGE when the
 * command line is at fault, EXIT_FAILURE otherwise.
 */

/* Name and what it does. A new command is one file, its name in meson.build, and its line here. */
#define PROGRAM_COMMANDS(command)                                                                  \
	command(status, "list PCI functions and what the machine offers")                          \
		command(bind, "hand PCI functions to vfio-pci") command(                           \
			unbind, "give PCI functions back to their kernel drivers")                 \
			command(doctor, "find what is missing, and the command for it") command(   \
				info, "show what a device can do and how it negotiates")           \
				command(fwd, "forward, receive, send or answer frames") command(   \
					emu, "serve an emulated device to another process")

/* Each takes its own name in argv[0] and returns the exit status. */
typedef int program_command_fn(int argc, char **argv);

#define PROGRAM_DECLARE(name, line) program_command_fn command_##name;
PROGRAM_COMMANDS(PROGRAM_DECLARE)
#undef PROGRAM_DECLARE

/* Say in one sentence what went wrong. Return: EXIT_FAILURE. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* Say why the last call of the library failed. Return: EXIT_FAILURE. */
int fail_library(void) __attribute__((cold));

/*
 * The first failure of a command, to be told when all is closed. What fails later is left out,
 * since it usually follows from the first. Start from all zeros.
 */
struct failure {
	int err;        /* -errno */
	char *sentence; /* NULL when nothing failed */
};

/* Note that the library failed with @err, when it is not 0. Return: @err. */
int failure_note(struct failure *failure, int err);
/* Note a failure of the program's own. @sentence is one to free() and is taken over. */
void failure_take(struct failure *failure, int err, char *sentence);
/*
 * Tell what failed, if anything did and the log has not. Return: the exit status; the library finds
 * values with -EINVAL.
 */
int failure_end(struct failure *failure);

/*
 * Say what is wrong with the command line, and end the program as argp does. Nothing is open yet.
 */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/*
 * Let memory that malloc() and its like gave through; without it the program ends with a sentence.
 */
void *must_have(void *memory);
/* Print into memory to free(). */
char *make_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Read a command's options and arguments. @json receives whether --json is there. The parser of
 * @argp finds @input in its state. Does not return when --help was asked for or something is wrong.
 */
void options_parse(const struct argp *argp, int argc, char **argv, void *input, bool *json);

/* Values of options; each ends the program by usage_error() when the value cannot be. */
uint64_t option_number(const char *name, const char *text, uint64_t low, uint64_t high);
double option_seconds(const char *name, const char *text);

/*
 * A context's configuration that prints what the library has to say: errors and warnings, or with
 * @verbose all of it.
 */
struct plx_context_config context_config(bool verbose);

/* Make the packets of a pool as long as a device needs them, which the default may not be. */
void fit_packets(struct plx_pool_config *pool, const struct plx_eth_info *info);

/*
 * Keep the signals that end a program waiting, in this thread and those it starts, so that what is
 * under way is finished or undone. @held receives which they are, for sigtimedwait().
 */
void hold_signals(sigset_t *held);

/* Seconds of a clock that never jumps. */
double clock_seconds(void);

/* Numbers for people. Each writes into @text and returns it. */
#define FORMAT_LEN 24
char *format_size(char text[FORMAT_LEN], uint64_t bytes);                 /* "2 MiB" */
char *format_rate(char text[FORMAT_LEN], double value, const char *unit); /* "1.250 Mpps" */
char *format_mac(char text[FORMAT_LEN], const uint8_t mac[6]);

/* Text in columns, the first row being the heading. Start from all zeros but for @columns. */
struct table {
	unsigned columns;
	unsigned cells;
	char **cell;
};

void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *out, const char *end_of_line);
void table_free(struct table *table);

/* Members of a JSON object; a NULL string becomes null. */
void json_add_string(struct json_object *object, const char *key, const char *value);
void json_add_number(struct json_object *object, const char *key, uint64_t value);
void json_add_real(struct json_object *object, const char *key, double value, int decimals);
void json_add_bool(struct json_object *object, const char *key, bool value);
/* An object or an array made here and owned by @object. */
struct json_object *json_add_object(struct json_object *object, const char *key);
struct json_object *json_add_array(struct json_object *object, const char *key);
/* An object made here and owned by @array. */
struct json_object *json_append_object(struct json_object *array);
void json_append_string(struct json_object *array, const char *value);
/* null when @number is negative, as the kernel's "none" is. */
void json_add_or_null(struct json_object *object, const char *key, int number);
/* Print on one line and free. */
void json_print(struct json_object *object);

/*
 * Write out what is left of standard output. A reader that has gone away is no failure: it has seen
 * what it wanted. Return: @status, or EXIT_FAILURE when the output could not be written.
 */
int finish_output(int status);

#endif
