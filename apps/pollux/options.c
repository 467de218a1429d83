/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_HELP = 0x100, KEY_JSON };

static const struct argp_option shared_options[] = {
	{"json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", -1},
	{"help", KEY_HELP, NULL, 0, "Print this help", -1},
	{0},
};

struct shared {
	const struct argp *command;
	void *input;
	const char *name;
	bool json;
};

static bool is_named(const struct argp_option *option, const char *word)
{
	if (word[0] == '-' && word[1] == '-')
		return option->name && !strcmp(word + 2, option->name);
	return word[0] == '-' && word[1] == option->key && !word[2];
}

static bool wants_value(const struct argp_option *options, const char *word)
{
	for (; options->name || options->key || options->doc; options++)
		if (options->arg && is_named(options, word))
			return true;
	return false;
}

/* The word that getopt stumbled over is the last that it took. */
static _Noreturn void refuse(const struct shared *shared, const struct argp_state *state)
{
	const char *word = state->argv[state->next - 1];

	if (shared->command->options && wants_value(shared->command->options, word))
		usage_error("the option %s of `%s` needs a value: `%s --help` tells which", word,
			shared->name, shared->name);
	usage_error("`%s` does not understand the option '%s': `%s --help` lists those it knows",
		shared->name, word, shared->name);
}

static error_t parse_shared(int key, char *arg, struct argp_state *state)
{
	struct shared *shared = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = shared->input;
		return 0;
	case KEY_JSON:
		shared->json = true;
		return 0;
	case KEY_HELP:
		argp_help(state->root_argp, stdout, ARGP_HELP_STD_HELP,
			(char *)(uintptr_t)shared->name);
		exit(finish_output(EXIT_SUCCESS));
	case ARGP_KEY_ERROR:
		refuse(shared, state);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* argp's own complaints take two lines, so they are switched off, and --help with them. */
void options_parse(const struct argp *argp, int argc, char **argv, void *input, bool *json)
{
	struct argp_child children[] = {{.argp = argp}, {0}};
	struct argp all = {.options = shared_options, .parser = parse_shared, .children = children};
	char name[64];
	struct shared shared = {.command = argp, .input = input, .name = name};
	error_t err;

	(void)snprintf(name, sizeof(name), "pollux %s", argv[0]);
	err = argp_parse(
		&all, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT, NULL, &shared);
	if (err)
		exit(fail("cannot read the options of '%s': %s", name, strerror(err)));
	*json = shared.json;
}

uint64_t option_number(const char *name, const char *text, uint64_t low, uint64_t high)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*text) || number < low || number > high)
		usage_error("--%s=%s is not possible: give a whole number from %llu to %llu", name,
			text, (unsigned long long)low, (unsigned long long)high);
	return number;
}

double option_seconds(const char *name, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !isfinite(seconds) || seconds < 0)
		usage_error("--%s=%s is not possible: give a number of seconds, such as 10 or 0.5",
			name, text);
	return seconds;
}
