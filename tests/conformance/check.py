#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold requirements.tsv to the tests, the tables of features and drivers, and doc/conformance.md.

Usage: check.py ROOT PROGRAM...    check; PROGRAM is each GoogleTest program that rows may name
       check.py ROOT --write       write doc/conformance.md anew

A row says either which tests show its rule or why the rule binds nothing here. "program:Suite.Test" is
one test, of a parameterised one all instances or with "/instance" that one; * stands for any text. A
reason begins with its kind, see REASONS; what can be looked up in the code is looked up there.

With POLLUX_UNIT_RESULTS or POLLUX_QEMU_RESULTS in the environment, the JUnit file of that suite, the tests
of its programs must have passed there; without it they are run.
"""

import collections
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

COLUMNS = ["id", "section", "level", "condition", "requirement", "shown_by", "reason"]
LEVELS = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"]
# The card's silence shows a rule if a control has shown that it would have spoken.
SILENCE = "unit_conformance_life:Life.BreaksNoRuleThatTheCardKnows"
NAMED = re.compile(r"(\w+):(\w+\.\w+(?:/[\w*]+)?)$")
Row = collections.namedtuple("Row", COLUMNS)


# --- what the code says ---

def read_features(root):
    """Return: the name of each feature in the tables -> whether the driver may accept it."""
    entry = re.compile(r'\{\s*\w+(?:\(\w+\))?\s*,\s*"(\w+)"\s*,\s*"\w+"\s*,\s*(\w+)\s*,')
    accepted = {}
    for path in ("lib/virtio/features.c", "drivers/virtio/net_features.c"):
        for name, declined in entry.findall(pathlib.Path(root, path).read_text()):
            # The preprocessor may choose between two rows.
            accepted[name] = accepted.get(name, False) or declined == "NULL"
    return accepted


def read_drivers(root):
    return re.findall(r"&plx_driver_virtio_(\w+)", pathlib.Path(root, "drivers/drivers.c").read_text())


def not_accepted(root, words):
    """The rule speaks of features that the driver declines."""
    accepted = read_features(root)
    for name in words.split():
        if name not in accepted:
            yield f"there is no feature {name}"
        elif accepted[name]:
            yield f"{name} is accepted now: name the test that shows the rule"
    if not words.split():
        yield "no feature is named"


def no_driver(root, words):
    """The rule speaks of a type of device that has no driver."""
    kinds = {"block": "blk", "console": "console", "entropy": "rng", "crypto": "crypto"}
    if words not in kinds:
        yield f"'{words}' is none of {', '.join(kinds)}"
    elif kinds[words] in read_drivers(root):
        yield f"there is a driver for {words} now: name the test that shows the rule"


def stated(_root, words):
    if not words:
        yield "nothing is said"


# The kinds of reasons: the levels that they are good for, and the test of what is behind the colon.
REASONS = {
    "not accepted": (LEVELS, not_accepted),
    "no driver": (LEVELS, no_driver),
    "deviation": (["SHOULD", "SHOULD NOT"], stated),
    "not used": (["MAY"], stated),
}


# --- the table ---

def read_table(path):
    """Return: the rows, and what is wrong with their form."""
    rows, faults, seen = [], [], set()
    lines = path.read_text().splitlines()
    if lines[0].split("\t") != COLUMNS:
        return [], [f"the columns are not {' '.join(COLUMNS)}"]
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            faults.append(f"line {number} has {len(cells)} columns, not {len(COLUMNS)}")
            continue
        row = Row(*cells)
        rows.append(row)
        if not all(row[:5]) or any(cell != cell.strip() for cell in row):
            faults.append(f"{row.id or number}: a cell is empty or has space around it")
        if row.id in seen:
            faults.append(f"{row.id}: is there twice")
        seen.add(row.id)
        if level_of(row) not in LEVELS:
            faults.append(f"{row.id}: {row.level} is no level")
        if bool(row.shown_by) == bool(row.reason):
            faults.append(f"{row.id}: needs a test or a reason, and not both")
    return rows, faults


def level_of(row):
    """A ? marks what the standard says without its keyword."""
    return row.level.rstrip("?")


def chapter_of(row):
    return row.section.partition(":")[0]


def reason_faults(root, rows):
    for row in rows:
        if not row.reason:
            continue
        kind, _, words = row.reason.partition(":")
        if kind not in REASONS:
            yield f"{row.id}: '{kind}' is no kind of reason: {', '.join(REASONS)}"
            continue
        levels, check = REASONS[kind]
        if level_of(row) not in levels:
            yield f"{row.id}: '{kind}' is no reason for a {row.level}: name the test that shows the rule"
        # Behind a semicolon there may be more to say.
        for fault in check(root, words.partition(";")[0].strip()):
            yield f"{row.id}: {fault}"


def control_faults(rows):
    for row in rows:
        control = f"BreachTest.IsReported/{row.id.replace('-', '_')}_*"
        if SILENCE in row.shown_by.split() and control not in row.shown_by:
            yield f"{row.id}: {SILENCE} shows nothing without a control, such as EmuBreachTest"


def named_tests(rows):
    """Yield (row, program, pattern); without a program when the name has not the form of one."""
    for row in rows:
        for name in row.shown_by.split():
            match = NAMED.match(name)
            yield (row, match.group(1), match.group(2)) if match else (row, None, name)


# --- the tests ---

def plain(suite, test):
    """A test's name without the name of its instantiation: Layouts/Net, Sends/split -> Net.Sends/split."""
    return f"{suite.rpartition('/')[2]}.{test}"


def list_tests(program):
    listed = subprocess.run([program, "--gtest_list_tests"], check=True, stdout=subprocess.PIPE,
                            text=True).stdout
    suite = ""
    for line in listed.splitlines():
        name = line.partition("#")[0].strip()
        if line.startswith("  "):
            yield plain(suite, name)
        elif name.endswith("."):
            suite = name[:-1]


def matching(pattern, names):
    """The tests that a row means: all instances, unless it says which."""
    patterns = [pattern] if "/" in pattern else [pattern, pattern + "/*"]
    return [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]


def read_results(path, program_of):
    """Return: (program, test) -> whether it passed, for every test that ran."""
    results = {}
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for case in suite.findall("testcase"):
            if case.get("status") == "notrun" or case.find("skipped") is not None:
                continue
            name = plain(case.get("classname") or "", case.get("name"))
            results[program_of(suite), name] = (case.find("failure") is None and
                                                case.find("error") is None)
    return results


def meson_program(suite):
    """Of a file by meson, whose suites are called "pollux.pollux:unit+emu / suspend.Layouts/Life"."""
    where, _, test = suite.get("name").partition(" / ")
    return where.rpartition(":")[2].partition("+")[0] + "_" + test.partition(".")[0]


def run_tests(programs, wanted):
    """Run the wanted tests. Return: as read_results()."""
    results = {}
    for name, patterns in wanted.items():
        # Of "Suite.Test" the program knows "Suite.Test", "Suite.Test/x" and "Instance/Suite.Test/x".
        forms = {form for p in patterns for form in (p, p + "/*", "*/" + p, "*/" + p + "/*")}
        with tempfile.NamedTemporaryFile(suffix=".xml") as output:
            subprocess.run([programs[name], "--gtest_filter=" + ":".join(sorted(forms)),
                            f"--gtest_output=xml:{output.name}"],
                           check=False, stdout=subprocess.DEVNULL)
            try:
                results.update(read_results(output.name, lambda _suite, name=name: name))
            except ElementTree.ParseError:
                pass  # it crashed, and so no test of it ran
    return results


def check_tests(rows, programs):
    """Return: faults of names, and faults of runs."""
    tests = {name: set(list_tests(path)) for name, path in programs.items()}
    wanted = collections.defaultdict(set)
    unknown, idle = [], []
    for row, program, pattern in named_tests(rows):
        if program and matching(pattern, tests.get(program, ())):
            wanted[program].add(pattern)
        else:
            unknown.append(f"{row.id}: there is no test {program or ''}{':' if program else ''}{pattern}")
    results = {}
    for suite in ("unit", "qemu"):
        mine = {name: patterns for name, patterns in wanted.items() if name.startswith(suite + "_")}
        path = os.environ.get(f"POLLUX_{suite.upper()}_RESULTS")
        results.update(read_results(path, meson_program) if path else run_tests(programs, mine))
    for program, patterns in sorted(wanted.items()):
        for test in sorted({test for p in patterns for test in matching(p, tests[program])}):
            if (program, test) not in results:
                idle.append(f"{program}:{test} was not run")
            elif not results[program, test]:
                idle.append(f"{program}:{test} failed")
    return unknown, idle


# --- the counts and the page ---

def count(rows):
    """Yield (chapter, cells): for each level how many rules are shown by a test, of how many."""
    chapters = list(dict.fromkeys(chapter_of(row) for row in rows))
    for chapter in chapters + ["All"]:
        mine = [row for row in rows if chapter in (chapter_of(row), "All")]
        cells = []
        for level in LEVELS + [None]:
            some = [row for row in mine if level in (level_of(row), None)]
            cells.append(f"{sum(bool(row.shown_by) for row in some)}/{len(some)}" if some else "-")
        yield chapter, cells


def markdown(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def table(heading, lines):
    rule = "|".join("---" for _ in heading)
    return "\n".join([f"| {' | '.join(heading)} |", f"|{rule}|"] +
                     [f"| {' | '.join(cells)} |" for cells in lines]) + "\n"


def page(rows):
    head = """# Which test shows which rule

<!-- Written by tests/conformance/check.py from tests/conformance/requirements.tsv: change that one. -->

Every rule that virtio 1.4 has for drivers, in our own words, with the tests that show that Pollux keeps
it, or the reason why it binds nothing here. `unit_net:Net.SendsChainsAsOneFrame` is the test of that name
in tests/unit/net_test.cc, in all its variants, and `qemu_life:...` one of tests/qemu/life_test.cc, which
runs on QEMU's own devices. `EmuBreachTest` and its like are controls: they break the
rule on purpose and see that the strict card in lib/emu, on which the driver's own tests run, notes it.

- *not accepted*: the rule belongs to a feature that the driver declines;
- *no driver*: it belongs to a type of device that has no driver yet;
- *deviation*: what the standard recommends is not done, and why;
- *not used*: a permission that the driver makes no use of.

The suite `conformance` fails when a named test does not exist, was not run or failed, when a feature is
accepted or a driver added whose rules still stand without a test, and when this page is out of date. A ?
marks a duty that the standard words without its keyword.

## How many

Rules that a test shows, of all.

"""
    text = head + table(["", *LEVELS, "all"], [[name, *cells] for name, cells in count(rows)])
    for chapter in dict.fromkeys(chapter_of(row) for row in rows):
        text += f"\n## {chapter}\n"
        mine = [row for row in rows if chapter_of(row) == chapter]
        for section in dict.fromkeys(row.section for row in mine):
            text += f"\n### {section.partition(':')[2].strip()}\n\n"
            text += table(["rule", "level", "when", "what", "shown by, or why not"],
                          [line_of(row) for row in mine if row.section == section])
    return text


def line_of(row):
    why = ", ".join(f"`{name}`" for name in row.shown_by.split())
    kind, _, words = row.reason.partition(":")
    return [row.id, row.level, "" if row.condition == "-" else markdown(row.condition),
            markdown(row.requirement), why or f"*{kind}*: {markdown(words.strip())}"]


# --- the checks ---

def checks(root, programs):
    rows, faults = read_table(pathlib.Path(root, "tests/conformance/requirements.tsv"))
    yield f"{len(rows)} rows are whole", faults or ([] if rows else ["there are none"])
    yield "every reason holds", list(reason_faults(root, rows))
    unknown, idle = check_tests(rows, programs)
    yield "every test that is named exists", unknown
    yield "every rule that the card watches has a control", list(control_faults(rows))
    yield "every test that is named was run and passed", idle
    written = pathlib.Path(root, "doc/conformance.md")
    same = written.exists() and written.read_text() == page(rows)
    yield "doc/conformance.md is the table's page", (
        [] if same else ["it is not: run tests/conformance/check.py . --write"])
    print("# shown by a test, of all".ljust(36) + "".join(level.rjust(12) for level in LEVELS + ["all"]))
    for chapter, cells in count(rows):
        print(f"# {chapter}".ljust(36) + "".join(cell.rjust(12) for cell in cells))


def main():
    root = sys.argv[1]
    if sys.argv[2:] == ["--write"]:
        rows, faults = read_table(pathlib.Path(root, "tests/conformance/requirements.tsv"))
        if not faults:
            pathlib.Path(root, "doc/conformance.md").write_text(page(rows))
        return "\n".join(faults) or 0
    programs = {os.path.basename(path): path for path in sys.argv[2:]}
    failed, number = False, 0
    for number, (name, faults) in enumerate(checks(root, programs), 1):
        for fault in faults:
            print(f"# {fault}")
        print(f"{'not ok' if faults else 'ok'} {number} - {name}")
        failed |= bool(faults)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
