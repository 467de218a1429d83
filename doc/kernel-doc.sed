# SPDX-License-Identifier: BSD-3-Clause
# Turns the kernel-doc comments of the public headers into what Doxygen understands. Used as its
# INPUT_FILTER; see Doxyfile.in.

# "/** name() - Text" and "/** typedef name - Text": Doxygen knows the name from the declaration.
s!^\(/\*\*\| \*\) \([a-z0-9_]\+()\|typedef [a-z0-9_]\+\) - !\1 !

# The sections.
s!^ \* @\([a-z0-9_]\+\): ! * @param \1 !
s!^ \* Return: ! * @return !

# Every other @name is an argument or a member of one. The commands keep their sign meanwhile.
s!@\(file\|param\|return\)\>!\x01\1!g
s!@\([a-z0-9_]\+\(->[a-z0-9_]\+\)*\)!<tt>\1</tt>!g
s!\x01!@!g
