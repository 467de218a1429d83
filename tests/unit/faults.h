/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_FAULTS_H
#define PLX_TESTS_FAULTS_H

#include <cstddef>
#include <string>

/*
 * Calls of the C library, each of which can be made to fail. The linker sends those of the program
 * and of libpollux through here (--wrap); faults.cc has the list. Only calls of the thread that
 * began the watch fail, so that a run repeats itself; what is taken and given back is counted for
 * all threads.
 */
namespace faults
{

/* From here on the call number @n of this thread fails, counted from 1; 0: none does. */
void begin(unsigned n);

/* The end of it. Return: the name of the call that failed, or "" when there were fewer. */
std::string end();

/* What was taken since the program began and not given back. */
struct Held {
	size_t blocks; /* of memory */
	size_t mapped; /* bytes of address space */
	size_t files;  /* open descriptors of the process */

	bool operator==(const Held &other) const
	{
		return blocks == other.blocks && mapped == other.mapped && files == other.files;
	}
};

Held held();

} // namespace faults

#endif
