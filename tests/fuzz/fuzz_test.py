#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Replay a target's corpus and fuzz it for a while: fuzz_test.py PROGRAM CORPUS FINDINGS.

Speaks TAP. POLLUX_FUZZ_SECONDS says for how long (10; 0 replays only). New inputs are thrown away;
one that ends the program is kept in the folder FINDINGS.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Longer than any execution on a slow, busy machine; what works without end is found by counting.
EXECUTION_SECONDS = 60
REPORTED = re.compile(r"finding:|runtime error:|^==\d+==ERROR|SUMMARY|^\s*#\d+ .*/(lib|drivers|tests)/")


def run(program, findings, options, folders):
    """Run a target. Return whether it ended well, and what it said."""
    command = [program, f"-artifact_prefix={findings}/{program.name}-",
               f"-timeout={EXECUTION_SECONDS}", "-print_final_stats=1", *options, *folders]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode == 0, done.stdout.decode(errors="replace")


def last(pattern, text, default="?"):
    found = re.findall(pattern, text)
    return found[-1] if found else default


def report(number, name, passed, text, program):
    """Say how it went, and on a finding how to see it again."""
    print(f"{'ok' if passed else 'not ok'} {number} - {name}", flush=True)
    if passed:
        return
    for line in text.splitlines():
        if REPORTED.search(line):
            print(f"# {line.strip()[:200]}")
    unit = last(r"Test unit written to (\S+)", text, "")
    if unit:
        print(f"# once more: {program} {unit}")


def main():
    program, corpus, findings = (pathlib.Path(arg).resolve() for arg in sys.argv[1:4])
    seconds = int(os.environ.get("POLLUX_FUZZ_SECONDS", "10"))
    files = sum(1 for path in corpus.iterdir() if path.is_file())
    findings.mkdir(parents=True, exist_ok=True)
    print(f"1..{2 if seconds else 1}")
    passed, text = run(program, findings, ["-runs=0"], [corpus])
    report(1, f"replays {files} inputs", passed and files > 0, text, program)
    failed = not passed or not files
    if seconds:
        with tempfile.TemporaryDirectory() as kept:
            passed, text = run(program, findings, [f"-max_total_time={seconds}"], [kept, corpus])
        count = last(r"stat::number_of_executed_units:\s*(\d+)", text)
        rate = last(r"stat::average_exec_per_sec:\s*(\d+)", text)
        report(2, f"survives {count} inputs, {rate} a second", passed, text, program)
        failed |= not passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
