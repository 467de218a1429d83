#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold the guides to the tree: the files, functions and headings that they name exist.

"lib/x/y.c: `f()`, `g()`" says that f and g are in that file.
"""

import pathlib
import re
import sys

FILE = re.compile(r"\b((?:lib|drivers|apps|tests|doc)/[\w./-]+\.(?:c|h|cc|py|md))\b")
FUNCTION = re.compile(r"`(plx_\w+|net_\w+)\(\)`")
IN_FILE = re.compile(r"((?:lib|drivers)/[\w./]+\.[ch]):\s+((?:`\w+(?:\(\)|\[\])`,?\s*)+)")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
FOLDERS = ("lib", "drivers", "apps")


def anchors(page):
    """The headings of a page, as the web writes them."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def has(name, code):
    return re.search(rf"\b{name}\s*[(\[]", code)


def faults(page, root, code):
    text = page.read_text()
    for name in FILE.findall(text):
        if not (root / name).exists():
            yield f"there is no file {name}"
    for name in FUNCTION.findall(text):
        if not has(name, code):
            yield f"there is no function {name}()"
    for name, functions in IN_FILE.findall(text):
        path = root / name
        for function in re.findall(r"`(\w+)", functions):
            if path.exists() and not has(function, path.read_text()):
                yield f"{name} has no {function}"
    for name, anchor in LINK.findall(text):
        target = page.parent / name if name else page
        if not target.exists():
            yield f"a link leads to {name}, which is not there"
        elif anchor and anchor not in anchors(target):
            yield f"a link leads to #{anchor} of {target.name}, which has no such heading"


def main():
    root = pathlib.Path(sys.argv[1])
    code = "\n".join(path.read_text() for folder in FOLDERS for path in (root / folder).rglob("*.[ch]"))
    pages = sorted((root / "doc").glob("*.md"))
    failed = not pages
    print(f"1..{len(pages)}")
    for number, page in enumerate(pages, 1):
        found = sorted(set(faults(page, root, code)))
        for fault in found:
            print(f"# {fault}")
        print(f"{'not ok' if found else 'ok'} {number} - doc/{page.name} names what exists")
        failed |= bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
