/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/emu_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Rules of the standard that the driver broke. */

static struct plx_emu_breach *find_or_add(struct plx_emu *emu, const char *rule, const char *text)
{
	struct plx_emu_breach *breach = emu->breach;
	struct plx_emu_breach *end = breach + emu->breaches;

	for (; breach < end; breach++)
		if (!strcmp(breach->rule, rule) && !strcmp(breach->text, text))
			return breach;
	if (emu->breaches == PLX_EMU_BREACHES)
		return NULL;
	emu->breaches++;
	(void)snprintf(breach->rule, sizeof(breach->rule), "%s", rule);
	memcpy(breach->text, text, sizeof(breach->text));
	return breach;
}

void plx_emu_report(struct plx_emu *emu, const char *rule, const char *format, ...)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	char text[sizeof(emu->breach->text)];
	struct plx_emu_breach *breach;
	bool first;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)pthread_mutex_lock(&emu->breach_lock);
	emu->breach_total++;
	breach = find_or_add(emu, rule, text);
	first = breach && !breach->count++;
	if (hooks->breach)
		hooks->breach(hooks->arg, rule, text);
	(void)pthread_mutex_unlock(&emu->breach_lock);
	if (first)
		plx_log(emu->vfio.log, PLX_LOG_WARNING, "%s: the driver broke %s: %s",
			emu->vfio.name, rule, text);
}

uint64_t plx_emu_breaches(struct plx_emu *emu, const char *rule)
{
	uint64_t count = 0;

	(void)pthread_mutex_lock(&emu->breach_lock);
	if (!rule)
		count = emu->breach_total;
	for (unsigned i = 0; rule && i < emu->breaches; i++)
		if (!strcmp(emu->breach[i].rule, rule))
			count += emu->breach[i].count;
	(void)pthread_mutex_unlock(&emu->breach_lock);
	return count;
}

unsigned plx_emu_breach_list(struct plx_emu *emu, struct plx_emu_breach *list, unsigned room)
{
	unsigned count;

	(void)pthread_mutex_lock(&emu->breach_lock);
	count = emu->breaches;
	memcpy(list, emu->breach, (count < room ? count : room) * sizeof(*list));
	(void)pthread_mutex_unlock(&emu->breach_lock);
	return count;
}
