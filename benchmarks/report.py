# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks have in common: the machine, medians and their spread, tables, JSON."""

import json
import pathlib
import platform
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cpu():
    return re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)


def commit():
    """The commit that is checked out; with a plus when the tree has changes of its own."""
    git = ["git", "-C", ROOT]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                           check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True,
                             text=True, check=False).stdout.strip()
    return (found + ("+" if changed else "")) or "none"


def first_line(command):
    """What a program says first when it is asked for its version; None when it is not there."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return ((out.stdout + out.stderr).strip().splitlines() or [None])[0]


def package_version(name):
    return first_line(["dpkg-query", "-W", "-f", "${Version}", name])


def machine():
    """Where and of what the figures are, for the JSON of each benchmark."""
    return {"machine": cpu(), "kernel": platform.release(), "commit": commit()}


def summary(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def print_table(rows, left=1):
    """Columns as wide as their longest cell, the first `left` of them flush left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) if i < left else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())


def write_json(path, figures):
    pathlib.Path(path).write_text(json.dumps(figures, indent=1) + "\n")
