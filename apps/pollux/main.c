/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	const char *line;
	program_command_fn *run;
} commands[] = {
#define ENTRY(name, line) {#name, line, command_##name},
	PROGRAM_COMMANDS(ENTRY)
#undef ENTRY
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(void)
{
	(void)puts("Usage: pollux COMMAND [OPTION...] [ARGUMENT...]\n"
		   "Drive virtio devices from user space through VFIO.\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		(void)printf("  %-8s %s\n", commands[i].name, commands[i].line);
	(void)puts("\n"
		   "  --help     print this help; `pollux COMMAND --help` tells of one command\n"
		   "  --version  print the version");
}

static int run(int argc, char **argv)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[0], commands[i].name))
			return commands[i].run(argc, argv);
	usage_error("there is no command '%s': `pollux --help` lists the commands", argv[0]);
}

/*
 * A standard stream that whoever started this has closed would be the number of the next file that
 * is opened, and what is said would go there: into the socket of a device, for one. What takes its
 * place can be neither read nor written, so that output fails as it does without it.
 */
static void occupy_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_DIRECTORY) != fd)
			exit(fail("cannot take the place of a closed standard stream: %s",
				strerror(errno)));
}

int main(int argc, char **argv)
{
	occupy_streams();
	/*
	 * A reader that goes away shows itself by EPIPE, and a device in use is still closed in
	 * order.
	 */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2)
		usage_error("no command is given: `pollux --help` lists the commands");
	if (argv[1][0] != '-')
		return finish_output(run(argc - 1, argv + 1));
	if (!strcmp(argv[1], "--help"))
		print_help();
	else if (!strcmp(argv[1], "--version"))
		(void)puts("pollux " POLLUX_VERSION);
	else
		usage_error("'%s' is no option of pollux: `pollux --help` lists them", argv[1]);
	return finish_output(EXIT_SUCCESS);
}
