#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' own reckoning: what they say of figures must be so, on whatever machine."""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import sys
import tempfile
import types
import xml.dom.minidom

ROOT = pathlib.Path(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "benchmarks"))

import cases  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import rig  # noqa: E402


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "benchmarks" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


run = load("run")
instructions = load("instructions")


def outcomes(*rates, disturbed=0.0):
    return [types.SimpleNamespace(rate=rate * 1e6, disturbed=disturbed, path="split")
            for rate in rates]


def measured():
    case = cases.Case("null", "rx", False, over_default=1.9, over_best=1.05)
    found = run.Case(case, case.setups(True, True))
    found.outcomes = {"pollux": outcomes(20, 60, 30), "default": outcomes(10, 20, 15),
                      "vectorised": outcomes(40, 40, 40), "bare": outcomes(50, 50, 50)}
    return found


def test_a_ratio_is_the_median_of_those_of_neighbours():
    ratio = measured().ratio("default")
    return (ratio["median"], ratio["least"], ratio["most"]) == (2, 2, 3)


def test_the_best_of_the_rival_is_the_fastest_of_its_settings():
    found = measured()
    found_default = measured()
    found_default.outcomes["vectorised"] = outcomes(1, 1, 1)
    return found.best() == "vectorised" and found_default.best() == "default"


def test_without_a_rival_pollux_runs_alone():
    case = cases.Case("null", "rx", False)
    found = run.Case(case, case.setups(False, False))
    found.outcomes = {"pollux": outcomes(20), "bare": outcomes(50)}
    return found.best() is None and run.row(found)[2:4] == ["-", "-"]


def test_a_ratio_is_judged_unless_the_machine_was_too_busy():
    found = {"median": 1.894}
    return [run.ratio_cell(found, 1.9, 0), run.ratio_cell(found, 1.89, 0.1),
            run.ratio_cell(found, 1.89, 0.5), run.ratio_cell(None, 2, 0)] == [
        "1.89 of 1.90 !", "1.89 of 1.89 +", "1.89 of 1.89 ?", "-"]


def test_every_case_has_a_name_of_its_own():
    names = [case.name for case in cases.whole()]
    quick = [case.name for case in cases.quick()]
    return len(set(names)) == len(names) and set(quick) <= set(names)


def test_what_was_disturbed_is_measured_again_while_there_is_time():
    tries = iter(outcomes(1, disturbed=0.5) + outcomes(2, disturbed=0.1) +
                 outcomes(3, disturbed=0.0))
    patient, hurried = run.Patience(0.02, 10), run.Patience(0.02, 0)
    return (patient.least_disturbed(lambda: next(tries)).rate == 3e6 and
            hurried.least_disturbed(lambda: outcomes(1, disturbed=0.5)[0]).rate == 1e6)


def test_the_plot_is_well_formed_and_has_every_bar():
    figures = [("a < b & c", {"pollux": report.summary([1.0, 2.0]),
                              "default": report.summary([3.0])})]
    image = xml.dom.minidom.parseString(plot.svg("title", "below", figures))
    return len(image.getElementsByTagName("line")) == 2


def test_a_table_lines_up():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        report.print_table([["", "Mpps"], ["receive", "1"], ["io", "10"]])
    return out.getvalue() == "         Mpps\nreceive     1\nio         10\n"


def test_huge_pages_are_given_back():
    with tempfile.NamedTemporaryFile("w+") as setting, \
            contextlib.redirect_stdout(io.StringIO()) as out:
        setting.write("7\n")
        setting.flush()
        rig.NR_HUGEPAGES = pathlib.Path(setting.name)
        with rig.Hugepages(1 << 30):
            during = int(rig.NR_HUGEPAGES.read_text())
        return (during > 7 and int(rig.NR_HUGEPAGES.read_text()) == 7 and
                "7 until the end" in out.getvalue())


def test_a_record_is_read_as_it_was_written():
    with tempfile.TemporaryDirectory() as folder:
        instructions.RECORD = pathlib.Path(folder) / "record.tsv"
        instructions.write_record({"receive, split": 95.5})
        return instructions.read_record() == {"receive, split": 95.5}


def test_the_record_in_the_tree_has_every_case():
    return set(load("instructions").read_record()) == set(instructions.CASES)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, test) in enumerate(tests, 1):
        passed = test()
        failed += not passed
        print(f"{'ok' if passed else 'not ok'} {number} - {name[5:].replace('_', ' ')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
