#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What tests/run ends with: what failed, why, the counts, and the status."""

import os
import pathlib
import subprocess
import sys
import tempfile

SUMMARY = pathlib.Path(sys.argv[1]) / "tests" / "summary.py"

# As meson writes it of a program that speaks TAP, and of one of GoogleTest's.
RESULTS = """<?xml version='1.0' encoding='utf8'?>
<testsuites><testsuite name="pollux:vm / machine" tests="4">
<testcase name="1 - boots"/>
<testcase name="2 - says nothing"><failure/></testcase>
<testcase name="3 - stops"><failure/></testcase>
<testcase name="4 - flies"><skipped/></testcase>
<system-out>ok 1 - boots
# a remark
not ok 2 - says nothing
# expected:
# got: a word
not ok 3 - stops
ok 4 - flies # SKIP it has no wings
# another remark
</system-out></testsuite>
<testsuite name="rooms"><testcase name="Ring.turns"><failure message="Expected: 1"/></testcase></testsuite>
</testsuites>
"""

count = 0


def check(what, holds):
    global count
    count += 1
    print(f"{'ok' if holds else 'not ok'} {count} - {what}")


def summarise(*paths, ci=False):
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    if ci:
        environment["CI"] = "1"
    ended = subprocess.run([sys.executable, SUMMARY, *paths], env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stdout.splitlines()


with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "results.xml"
    path.write_text(RESULTS)
    status, lines = summarise(path)
    check("what failed in TAP comes with what was said below it",
          "FAILED  pollux:vm / machine: 2 - says nothing: expected:; got: a word" in lines)
    check("and with nothing when nothing was said", "FAILED  pollux:vm / machine: 3 - stops: " in lines)
    check("what failed in GoogleTest comes with its message", "FAILED  rooms: Ring.turns: Expected: 1" in lines)
    check("the last line counts", lines[-1] == "1 passed, 3 failed, 1 skipped")
    check("and a failure is a status of 1", status == 1)
    status, lines = summarise(path, ci=True)
    check("in CI what is skipped has failed", lines[-1] == "1 passed, 4 failed, 0 skipped")
    path.write_text("<testsuites><testsuite name='s'><testcase name='t'/></testsuite></testsuites>")
    check("when all passed the status is 0", summarise(path) == (0, ["1 passed, 0 failed, 0 skipped"]))
    path.write_text("<testsuites/>")
    check("no test at all is a failure", summarise(path)[0] == 1)
    check("and so are results that are not there", summarise(pathlib.Path(folder) / "none.xml")[0] == 1)
print(f"1..{count}")
