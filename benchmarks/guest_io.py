#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Table and JSON of what guest-io-inside left behind: FOLDER COMMIT [OUTPUT]."""

import json
import pathlib
import re
import statistics
import sys

import report


def pollux_rate(path):
    """Frames that both ports received in a second."""
    ports = json.loads(path.read_text())["ports"]
    return sum(port["rx_pps"] for port in ports)


def testpmd_rate(path):
    """The same: the median of the rates that testpmd printed each second, of both ports together."""
    rates = [int(rate) for rate in re.findall(r"Rx-pps:\s+(\d+)", path.read_text())]
    each_second = [sum(pair) for pair in zip(rates[0::2], rates[1::2])]
    # The first line covers the start, the last the end.
    return statistics.median(each_second[1:-1] or each_second)


def main():
    folder = pathlib.Path(sys.argv[1])
    figures = report.machine() | {
        "commit": sys.argv[2],
        "qemu": report.first_line(["qemu-system-x86_64", "--version"]),
        "dpdk": report.package_version("dpdk-dev"),
        "ring": 256,
        "burst": 32,
        "frames": 64,
        "pollux": {
            "packets_per_second": report.summary([pollux_rate(p) for p in folder.glob("pollux-*.json")]),
            "start_ms": report.summary([int(p.read_text()) for p in folder.glob("pollux-*.start")]),
        },
        "testpmd": {
            "packets_per_second": report.summary([testpmd_rate(p) for p in folder.glob("testpmd-*.out")]),
            "start_ms": report.summary([int(p.read_text()) for p in folder.glob("testpmd-*.start")]),
        },
    }
    rows = [["", "Pollux", "testpmd", "ratio"]]
    for key, label in (("packets_per_second", "packets a second"), ("start_ms", "start, ms")):
        ours, theirs = figures["pollux"][key], figures["testpmd"][key]
        ratio = figures[f"ratio_{key}"] = ours["median"] / theirs["median"]
        rows.append([label, *(f"{found['median']:.0f} ({found['least']:.0f}-{found['most']:.0f})"
                              for found in (ours, theirs)), f"{ratio:.2f}"])
    report.print_table(rows)
    print(f"one core, ring 256, burst 32, 60-byte frames, medians (least-most); {figures['qemu']}; "
          f"DPDK {figures['dpdk']}; {figures['machine']}, {figures['kernel']}; "
          f"commit {figures['commit']}")
    if len(sys.argv) > 3:
        report.write_json(sys.argv[3], figures)


if __name__ == "__main__":
    main()
