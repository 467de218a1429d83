#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pollux fwd --idle: what it costs while nothing comes, and that frames pass all the same.

    fwd_idle_test.py POLLUX

Processor time is no time of a clock: how busy the machine is does not come into it.
"""

import json
import os
import signal
import subprocess
import sys
import time

MODES = ("adaptive", "interrupt")
# Of a core; and the length of the two runs whose difference is looked at, so that starting and ending
# do not count.
IDLE_SHARE = 0.02
SHORT, LONG = 1, 4
TRIES = 5
# Seconds of a run: who is slow only needs more of them.
TIMES = (1, 4, 16, 60)

checks = 0


def check(name, good, said=""):
    global checks
    checks += 1
    print(f"{'ok' if good else 'not ok'} {checks} - {name}")
    if not good:
        print(f"# {said}")
    return good


class Run:
    """One run of fwd: its closing object, what it said, its status and its processor time."""

    def __init__(self, pollux, *arguments, end=None):
        self.process = subprocess.Popen([pollux, "fwd", *arguments, "--json"], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = ""
        if end:
            # Not before it minds signals.
            while "forwarding" not in self.said and (line := self.process.stderr.readline()):
                self.said += line
            time.sleep(end)
            self.process.send_signal(signal.SIGINT)
        out = self.process.stdout.read()
        self.said += self.process.stderr.read()
        _, self.status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(self.status)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.result = json.loads(out) if out else {}

    def well(self):
        return self.process.returncode == 0 and self.result.get("error") is None


def costs_little(pollux, mode):
    device = "emu:net,peer=none"
    # Starting may cost more at one time than at another, and what sleeps does not at any.
    for _ in range(TRIES):
        short = Run(pollux, device, f"--idle={mode}", f"--time={SHORT}")
        long = Run(pollux, device, f"--idle={mode}", f"--time={LONG}")
        share = (long.cpu - short.cpu) / (LONG - SHORT)
        idle = long.result["idle"]
        if share < IDLE_SHARE and idle["sleeps"] >= 10:
            break
    check(f"{mode}: with nothing to do it takes less than {IDLE_SHARE:.0%} of a core",
          long.well() and share < IDLE_SHARE, f"{share:.2%}: {long.result} {long.said}")
    check(f"{mode}: it sleeps for as long as it may", idle["mode"] == mode and
          10 <= idle["sleeps"] <= 60 * LONG and not idle["missed"], idle)
    check(f"{mode}: sleep is idle time", long.result["idle_share"] > 0.999, long.result["idle_share"])


def frames_pass(pollux, mode, options, rate):
    """Numbered frames from one device through fwd to another, which knows what it should get."""
    for seconds in TIMES:
        run = Run(pollux, f"emu:net,peer=gen,rate={rate}{options}", f"emu:net,peer=sink{options}",
                  f"--idle={mode}", f"--time={seconds}")
        ports = run.result["ports"]
        sink = ports[1]["counters"]
        idle = run.result["idle"]
        hardly_missed = idle["missed"] <= 2 + idle["wakeups"] / 5
        if sink["peer.received"] > 20 and idle["wakeups"] > 10 and hardly_missed:
            break
    name = f"{mode}, {rate} frames a second{options.replace(',', ', ')}"
    # What was on its way at the end is lost with the devices.
    check(f"{name}: every frame passes, once and whole", run.well() and
          sink["peer.received"] > 20 and not sink["peer.lost"] and
          not sink["peer.altered"] and not sink["peer.doubled"], f"{ports} {run.said}")
    # A frame that finds the sleeper on its way to sleep needs no interrupt.
    check(f"{name}: interrupts end its sleeps", idle["wakeups"] > 10, idle)
    # The interrupt of the frame at whose arrival a sleep ended may still be on its way, and on a
    # busy machine come so late that the bound of the sleep is there first.
    check(f"{name}: hardly one is missed", hardly_missed, idle)


def never_interrupts(pollux, mode):
    """A device that does not do what was asked: the bound of each sleep is what it costs."""
    for seconds in TIMES:
        run = Run(pollux, "emu:net,peer=gen,rate=100,dev.mute=on", "emu:net,peer=sink",
                  f"--idle={mode}", f"--time={seconds}")
        sink = run.result["ports"][1]["counters"]
        if sink["peer.received"] > 20 and run.result["idle"]["missed"] > 5:
            break
    check(f"{mode}: frames pass though the device never interrupts", run.well() and
          sink["peer.received"] > 20 and not sink["peer.lost"], f"{sink} {run.said}")
    idle = run.result["idle"]
    check(f"{mode}: the interrupts that it owes are counted", idle["missed"] > 5, idle)


def main():
    pollux = sys.argv[1]
    for mode in MODES:
        costs_little(pollux, mode)
        for vectors in (",dev.vectors=130", ",dev.vectors=1", ",dev.vectors=0"):
            for packed in ("on", "off"):
                frames_pass(pollux, mode, f"{vectors},packed={packed}", 1000)
        frames_pass(pollux, mode, ",legacy=on", 1000)
        never_interrupts(pollux, mode)
        for seconds in TIMES:
            run = Run(pollux, "emu:net,peer=none", f"--idle={mode}", end=seconds)
            if run.result["idle"]["sleeps"]:
                break
        check(f"{mode}: a signal ends its sleep", run.well() and run.result["idle"]["sleeps"] > 0,
              run.said)
    run = Run(pollux, "emu:net,peer=none", "--time=0.2")
    check("poll is the default, and sleeps never", run.well() and
          run.result["idle"] == {"mode": "poll", "sleeps": 0, "wakeups": 0, "missed": 0}, run.result)
    run = Run(pollux, "emu:net,peer=none", "--idle=nap")
    check("another mode is refused with those that there are", run.process.returncode and
          "--idle=nap is not possible: the choices are poll, adaptive, interrupt" in run.said, run.said)
    run = Run(pollux, "emu:net,peer=none", "--mode=tx", "--idle=adaptive")
    check("a sender is never idle", run.process.returncode and
          "--mode=tx is never idle" in run.said, run.said)
    print(f"1..{checks}")


main()
