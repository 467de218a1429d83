#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Add up the JUnit files that meson wrote and end with "N passed, N failed, N skipped"."""

import os
import sys
import xml.etree.ElementTree as ElementTree


def diagnostics(suite):
    """What the programs that speak TAP said below each "not ok" line, which meson keeps as their output alone."""
    found, name = {}, None
    for line in (suite.findtext("system-out") or "").splitlines():
        if line.startswith("not ok "):
            name = line[len("not ok "):]
            found[name] = []
        elif line.startswith("#") and name:
            found[name].append(line[1:].strip())
        else:
            name = None
    return {name: "; ".join(lines) for name, lines in found.items()}


def cases(path):
    """Yield (name, outcome, reason) of each test case in one file."""
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        said = diagnostics(suite)
        for case in suite.findall("testcase"):
            name = f"{suite.get('name')}: {case.get('name')}"
            for outcome in ("failure", "error", "skipped"):
                found = case.find(outcome)
                if found is not None:
                    reason = (found.get("message") or found.text or "").strip()
                    yield name, outcome, reason or said.get(case.get("name"), "")
                    break
            else:
                yield name, "passed", ""


def main():
    strict = bool(os.environ.get("CI"))
    passed = failed = skipped = 0
    for path in sys.argv[1:]:
        if not os.path.exists(path):
            print(f"FAILED  {path}: meson left no results")
            failed += 1
            continue
        found = 0
        for name, outcome, reason in cases(path):
            found += 1
            if outcome == "passed":
                passed += 1
            elif outcome == "skipped" and not strict:
                skipped += 1
                print(f"SKIPPED {name}: {reason}")
            else:
                failed += 1
                print(f"FAILED  {name}: {reason[:2000]}")
        if not found:
            print(f"FAILED  {path}: no test ran")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
