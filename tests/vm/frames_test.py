#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Shows that frames, by which the other tests judge, sees each kind of fault. frames_test.py FRAMES"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SWAP, PEER = slice(6, 12), slice(0, 6)
NOT_OURS = bytes(12) + b"\x08\x00" + bytes(46)


def swapped(frame):
    return frame[SWAP] + frame[PEER] + frame[12:]


def addressed(out):
    return lambda frame: bytes([2, 0, 0, 0, 0, out, 6, 0, 0, 0, 0, out]) + frame[12:]


def altered(at):
    return lambda frame: frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1:]


class Wire(threading.Thread):
    """Carries the frames of one direction; @fault turns the 100th data frame into a list of frames."""

    def __init__(self, source, target, out, fault=None, change=None):
        super().__init__(daemon=True)
        self.source, self.target = source, target
        self.fault, self.change = fault, change or (lambda frame: frame)
        self.seen = 0
        self.held = []

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.source.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def run(self):
        try:
            while True:
                frame = self.read(struct.unpack("!I", self.read(4))[0])
                self.seen += not frame[29]
                frames = [frame]
                if self.fault and not frame[29] and self.seen == 100:
                    frames = self.fault(self, frame)
                elif self.held:
                    frames += self.held
                    self.held = []
                for each in frames:
                    changed = self.change(each)
                    self.target.sendall(struct.pack("!I", len(changed)) + changed)
        except (EOFError, OSError):
            pass


def hold(wire, frame):
    wire.held = [frame]
    return []


def connect(path):
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    return end


def judge(program, options, fault=None, changes=(None, None)):
    """What frames says of one run over a wire with that fault from A to B."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in "ab"]
        with subprocess.Popen([program, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as frames:
            frames.stdout.readline()
            ends = [connect(path) for path in paths]
            Wire(ends[0], ends[1], 1, fault, changes[1]).start()
            Wire(ends[1], ends[0], 0, None, changes[0]).start()
            frames.stdin.write("run %s\n" % options)
            frames.stdin.flush()
            verdict = json.loads(frames.stdout.readline())
            frames.stdin.close()
            frames.wait(60)
            for end in ends:
                end.close()
    return verdict


COUNTS = ("lost", "altered", "doubled", "reordered", "foreign")

# Name, options, fault, how the wires change addresses, and what must be counted from A to B.
CASES = [
    ("a perfect wire", "count=2910", None, (None, None), {}),
    ("a window of one", "count=300 window=1", None, (None, None), {}),
    ("addresses exchanged", "count=300 addresses=swap", None, (swapped, swapped), {}),
    ("addresses given",
     "count=300 addresses=02:00:00:00:00:00/06:00:00:00:00:00,02:00:00:00:00:01/06:00:00:00:00:01",
     None, (addressed(0), addressed(1)), {}),
    ("a lost frame", "count=300", lambda wire, frame: [], (None, None), {"lost": 1}),
    ("a lost last frame", "count=100 stall=1", lambda wire, frame: [], (None, None), {"lost": 1}),
    ("a lost window that is given up", "count=300 window=1 giveup=1", lambda wire, frame: [], (None, None),
     {"lost": 1}),
    ("a doubled frame", "count=300", lambda wire, frame: [frame, frame], (None, None), {"doubled": 1}),
    ("a late frame", "count=300", hold, (None, None), {"reordered": 1}),
    ("a changed byte", "count=300", lambda wire, frame: [altered(59)(frame)], (None, None),
     {"altered": 1, "lost": 1}),
    ("a changed number", "count=300", lambda wire, frame: [altered(25)(frame)], (None, None),
     {"altered": 1, "lost": 1}),
    ("a changed address", "count=300", lambda wire, frame: [altered(3)(frame)], (None, None),
     {"altered": 1, "lost": 1}),
    ("a shortened frame", "count=300", lambda wire, frame: [frame[:-1]], (None, None), {"altered": 1, "lost": 1}),
    ("somebody else's frame", "count=300", lambda wire, frame: [NOT_OURS, frame], (None, None), {"foreign": 1}),
    ("addresses that should be exchanged", "count=1 addresses=swap stall=1", None, (None, None), None),
]


def problem(program, options, fault, changes, wanted):
    verdict = judge(program, options, fault, changes)
    direction = verdict["directions"][0]
    found = {name: direction[name] for name in COUNTS if direction[name]}
    if wanted is None:
        return None if not verdict["ok"] and found.get("altered") else "found %s" % verdict
    if found != wanted or verdict["ok"] != (not wanted):
        return "expected %s, found %s" % (wanted, verdict)
    if not wanted and direction["received"] != direction["sent"]:
        return "not all was received: %s" % verdict
    return None


def main():
    print("1..%d" % len(CASES))
    failed = 0
    for number, (name, *case) in enumerate(CASES, 1):
        why = problem(sys.argv[1], *case)
        failed += why is not None
        print("%s %d - frames judges %s" % ("not ok" if why else "ok", number, name))
        if why:
            print("# " + why)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
