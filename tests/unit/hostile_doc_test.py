#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold doc/hostile.md to the tests that it names, and doc/emu.md to the options that there are.

Every test with a number stands in the row of that number, and every row names its tests or says why
there are none.
"""

import pathlib
import re
import sys

NUMBERS = range(1, 47)
TESTS = ("tests/unit/hostile_start_test.cc", "tests/unit/hostile_test.cc",
         "tests/unit/hostile_run_test.cc", "tests/unit/hostile_stall_test.cc",
         "tests/unit/hostile_control_test.cc",
         "tests/unit/net_offload_test.cc", "tests/unit/net_irq_test.cc")
# An entry of a table: {19, "UsedIndexRunsAhead", ...}; a test of its own: No27_SuppressedNo...
ENTRY = re.compile(r'\{(\d+),\s*"(\w+)"')
ALONE = re.compile(r"\bNo(\d+)_(\w+)\)")
OPTION = re.compile(r'(?:plx_address_\w+\(address, |TAKE_NUMBER\(|\{(?="dev\.))"([\w.]+)"')


def numbered_tests(root):
    for name in TESTS:
        text = (root / name).read_text()
        for number, test in ENTRY.findall(text) + ALONE.findall(text):
            yield int(number), test


def other_tests(root):
    """Yield (suite, name) of every test there is."""
    for path in (root / "tests/unit").glob("*_test.cc"):
        yield from re.findall(r"^TEST\w*\((\w+),\s*(\w+)\)", path.read_text(), re.M)


def rows(page):
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 4 and cells[0].isdigit():
            yield int(cells[0]), cells[2], cells[3]


def hostile_faults(root):
    page = list(rows((root / "doc/hostile.md").read_text()))
    tests = set(numbered_tests(root))
    if [number for number, _, _ in page] != list(NUMBERS):
        yield "the rows are not the numbers 1 to 46, each once"
    for number, _, shown in page:
        named = set(re.findall(r"`([A-Z]\w+)`", shown))
        there = {test for own, test in tests if own == number}
        for test in sorted(named - there):
            yield f"{number} names {test}, which is no test of that number"
        for test in sorted(there - named):
            yield f"{number} does not name its test {test}"
        elsewhere = set(re.findall(r"`([A-Z]\w+)\.(\w+)`", shown))
        for suite, test in sorted(elsewhere - set(other_tests(root))):
            yield f"{number} names {suite}.{test}, which there is not"
        if not named and not elsewhere and "not yet: " not in shown:
            yield f"{number} names no test, and no reason why there is none"


def option_faults(root):
    source = (root / "lib/emu/address.c").read_text().partition("*/")[2].partition("*/")[2]
    options = set(OPTION.findall(source))
    guide = (root / "doc/emu.md").read_text()
    for option in sorted(options):
        if not re.search(rf"`{re.escape(option)}[=`]", guide):
            yield f"doc/emu.md does not name the option {option}"
    for option in sorted(set(re.findall(r"`(dev\.\w+)[=`]", guide)) - options):
        yield f"doc/emu.md names the option {option}, which there is not"
    if not options:
        yield "the code names no options: does this test still look in the right place?"


def main():
    root = pathlib.Path(sys.argv[1])
    failed = False
    checks = (("doc/hostile.md has every number with its tests", hostile_faults),
              ("doc/emu.md has the options of the code", option_faults))
    print(f"1..{len(checks)}")
    for number, (name, check) in enumerate(checks, 1):
        faults = list(check(root))
        for fault in faults:
            print(f"# {fault}")
        print(f"{'not ok' if faults else 'ok'} {number} - {name}")
        failed |= bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
