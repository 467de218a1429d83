#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Table and JSON of what guest-io-inside left behind: FOLDER COMMIT [OUTPUT]."""

import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys


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


def summary(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def version_of(command):
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    return (out.stdout + out.stderr).strip().splitlines()[0]


def main():
    folder = pathlib.Path(sys.argv[1])
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)
    figures = {
        "commit": sys.argv[2],
        "machine": cpu,
        "kernel": platform.release(),
        "qemu": version_of(["qemu-system-x86_64", "--version"]),
        "dpdk": version_of(["dpkg-query", "-W", "-f", "${Version}", "dpdk"]),
        "ring": 256,
        "burst": 32,
        "frames": 64,
        "pollux": {
            "packets_per_second": summary([pollux_rate(p) for p in folder.glob("pollux-*.json")]),
            "start_ms": summary([int(p.read_text()) for p in folder.glob("pollux-*.start")]),
        },
        "testpmd": {
            "packets_per_second": summary([testpmd_rate(p) for p in folder.glob("testpmd-*.out")]),
            "start_ms": summary([int(p.read_text()) for p in folder.glob("testpmd-*.start")]),
        },
    }
    print(f"{'':24}{'Pollux':>26}{'testpmd':>26}{'ratio':>8}")
    for key, label in (("packets_per_second", "packets a second"), ("start_ms", "start, ms")):
        ours, theirs = figures["pollux"][key], figures["testpmd"][key]
        cells = [f"{v['median']:.0f} ({v['least']:.0f}-{v['most']:.0f})" for v in (ours, theirs)]
        ratio = ours["median"] / theirs["median"]
        figures[f"ratio_{key}"] = ratio
        print(f"{label:24}{cells[0]:>26}{cells[1]:>26}{ratio:>8.2f}")
    print(f"one core, ring 256, burst 32, 60-byte frames, medians (least-most); {figures['qemu']}; "
          f"DPDK {figures['dpdk']}; {cpu}, {figures['kernel']}; commit {figures['commit']}")
    if len(sys.argv) > 3:
        pathlib.Path(sys.argv[3]).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
