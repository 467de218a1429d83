#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Flows of the kernel's own UDP.

    flows.py serve PORT                   send each datagram back to where it came from, until killed
    flows.py send ADDRESS PORT FLOWS N    N round trips on each of so many flows, one at a time each

A flow is a socket of its own, so its packets have a source port of their own. A datagram that is lost
is sent again. The answer is one line of JSON.
"""

import json
import selectors
import socket
import sys
import time

PAYLOAD = bytes(range(200))
RESEND = 1.0
PATIENCE = 120.0


def serve(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", port))
        print("ready", flush=True)
        while True:
            data, whence = server.recvfrom(2048)
            server.sendto(data, whence)


def send(target, flows, rounds):
    selector = selectors.DefaultSelector()
    left, sent_at, resent, altered = {}, {}, 0, 0
    for _ in range(flows):
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.connect(target)
        selector.register(flow, selectors.EVENT_READ)
        left[flow], sent_at[flow] = rounds, 0.0
    deadline = time.monotonic() + PATIENCE
    while any(left.values()) and time.monotonic() < deadline:
        now = time.monotonic()
        for flow, rest in left.items():
            if rest and now - sent_at[flow] > RESEND:
                resent += sent_at[flow] > 0
                flow.send(rest.to_bytes(4, "big") + PAYLOAD)
                sent_at[flow] = now
        for key, _ in selector.select(0.1):
            data = key.fileobj.recv(2048)
            altered += data[4:] != PAYLOAD
            # One that was sent twice comes back twice.
            if int.from_bytes(data[:4], "big") == left[key.fileobj]:
                left[key.fileobj] -= 1
                sent_at[key.fileobj] = 0.0
    print(json.dumps({"flows": flows, "unfinished": sum(1 for rest in left.values() if rest),
                      "resent": resent, "altered": altered}))


def main():
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        send((sys.argv[2], int(sys.argv[3])), int(sys.argv[4]), int(sys.argv[5]))


if __name__ == "__main__":
    main()
