#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pollux fwd --recover: what becomes of a device that breaks again and again.

    fwd_recover_test.py POLLUX

The device is a card of another process, which is killed and started again. No check depends on how
fast the machine is: who is slow only needs more rounds.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time

ROUNDS = 60
# Of frames until a device is taken for well, and more.
WELL = 1.4

checks = 0


def check(name, good, said=""):
    global checks
    checks += 1
    print(f"{'ok' if good else 'not ok'} {checks} - {name}")
    if not good:
        print("# " + str(said).replace("\n", "\n# "))


class Card:
    """A card that can be killed, and is there again when that returns."""

    def __init__(self, pollux, folder):
        self.command = [pollux, "emu", "net", "peer=none", f"--socket={folder}/card"]
        self.address = f"vfio-user:{folder}/card,wait=60000,timeout=60000"
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, text=True, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        assert "serving" in self.process.stderr.readline()

    def end(self, number):
        self.process.send_signal(number)
        self.process.stderr.close()
        self.process.wait()

    def flap(self):
        self.end(signal.SIGKILL)
        self.start()


class Forward:
    """One run of fwd, and the lines that it says."""

    def __init__(self, pollux, card, *options):
        self.process = subprocess.Popen([pollux, "fwd", "--page-size=4K", "--json", *options,
                                         card.address], text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.lines = []
        self.until("forwarding")

    def until(self, words):
        """Return: whether a line with them came, before the run ended."""
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if words in line:
                return True
        return False

    def backs(self):
        """(milliseconds, try) of each time that the device came back."""
        found = [re.search(r"back after (\d+) ms, at try (\d+)", line) for line in self.lines]
        return [(int(match[1]), int(match[2])) for match in found if match]

    def end(self):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate()
        self.lines += err.splitlines()
        return json.loads(out)


def flaps(pollux, card):
    tries = 5
    run = Forward(pollux, card, f"--recover={tries}")
    rounds = 0
    back = True
    while back and rounds < ROUNDS:
        card.flap()
        back = run.until("back after")
        rounds += 1
    said = "\n".join(run.lines)
    result = run.end()
    check("a device that breaks as soon as it is back ends the run", not back, said)
    check("with a failure that says so", run.process.returncode == 1 and
          re.search(r"the device is gone, 0\.\d\d s after try 5 brought it back", str(result["error"])),
          result["error"])
    last = run.backs()[-tries:]
    check("after as many tries as were allowed", [number for _, number in last] == [1, 2, 3, 4, 5], said)
    check("between which the waits grew", len(last) == tries and
          all(last[i][0] >= 10 * 2 ** (i - 1) for i in range(1, tries)), said)
    check("and each reset is counted", result["ports"][0]["resets"] == len(run.backs()), result)


def ends_while_it_is_down(pollux, card):
    run = Forward(pollux, card, "--recover=1000")
    # By then half a second passes before a try, for which the signal is early enough; if not, the
    # try says why it failed.
    for _ in range(7):
        card.flap()
        run.until("back after")
    card.end(signal.SIGKILL)
    run.until("card: the device is gone")
    result = run.end()
    card.start()
    check("a run that is ended while a device is down says so", run.process.returncode == 1 and
          re.search("and the run ended before it was brought back|nobody listens", str(result["error"])),
          result["error"])


def runs_well_between(pollux, card):
    run = Forward(pollux, card, "--recover=1")
    for _ in range(3):
        card.flap()
        run.until("back after")
        time.sleep(WELL)
    result = run.end()
    said = "\n".join(run.lines)
    check("a device that runs well between its breaks begins anew at each",
          [number for _, number in run.backs()] == [1, 1, 1], said)
    check("and the run ends well", run.process.returncode == 0 and result["error"] is None, said)


def main():
    pollux = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        card = Card(pollux, folder)
        flaps(pollux, card)
        ends_while_it_is_down(pollux, card)
        runs_well_between(pollux, card)
        card.end(signal.SIGTERM)
    print(f"1..{checks}")


main()
