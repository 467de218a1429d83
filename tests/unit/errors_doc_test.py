#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold doc/errors.md to the code: every sentence that it quotes must be one that the code says.

In a quotation "…" stands for what printf fills in.
"""

import pathlib
import re
import sys

LITERALS = re.compile(r'"(?:[^"\\\n]|\\.)*"(?:\s*(?:PRI\w+\s*)?"(?:[^"\\\n]|\\.)*")*(?:\s*PRI\w+)?')
SPECIFIER = re.compile(r"%[-+ #0]*(?:\*|\d+)?(?:\.\d+)?(?:hh|h|ll|l|z)?[diouxXcspfg]")
QUOTED = re.compile(r"`([^`]+)`")


def sentences(root):
    """Every string of the code, as its pieces make one, with … for what is filled in."""
    for folder in ("lib", "drivers", "apps"):
        for path in sorted(pathlib.Path(root, folder).rglob("*.[ch]")):
            for match in LITERALS.findall(path.read_text()):
                joined = re.sub(r'%"\s*PRI\w+\s*"?', '…', match)
                joined = re.sub(r'"\s*"', "", joined).strip('"')
                yield SPECIFIER.sub("…", joined)


def counters(root):
    """Names of counters, as drivers give them."""
    for folder in ("drivers", "lib/emu"):
        for path in pathlib.Path(root, folder).rglob("*.c"):
            yield from re.findall(r'"([a-z_]+(?:\.[a-z_]+)?)"', path.read_text())


def quotations(guide):
    """Yield (heading of the table, quotation) of each first cell."""
    kind = ""
    for line in guide.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            kind = ""
        elif not kind:
            kind = cells[0]
        elif not set(cells[0]) <= set("-"):
            for quotation in QUOTED.findall(cells[0]):
                yield kind, quotation


def main():
    root = sys.argv[1]
    said = list(sentences(root))
    counted = set(counters(root))
    quoted = list(quotations(pathlib.Path(root, "doc/errors.md").read_text()))
    stale = [quotation for kind, quotation in quoted
             if (quotation not in counted if kind == "counter"
                 else not any(quotation.strip("… ") in sentence for sentence in said))]
    print("1..1")
    for quotation in stale:
        print(f"# no sentence of the code has: {quotation}")
    print(f"{'not ok' if stale or not quoted else 'ok'} 1 - the code says each of {len(quoted)} quotations")
    return 1 if stale or not quoted else 0


if __name__ == "__main__":
    sys.exit(main())
