#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Pull a device out of QEMU, or plug one in: qmp.py SOCKET unplug ID | plug KEY=VALUE...

Unplugging ends when the guest has let go of the device.
"""

import json
import socket
import sys
import time

PATIENCE = 120


def main():
    path, action = sys.argv[1], sys.argv[2]
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        lines = connection.makefile("rw", encoding="utf-8")

        def say(command, arguments):
            lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            lines.flush()

        def hear(wanted):
            while time.monotonic() < deadline:
                message = json.loads(lines.readline())
                if "error" in message:
                    sys.exit(message["error"]["desc"])
                if wanted(message):
                    return
            sys.exit(f"{action} is not over after {PATIENCE} s")

        hear(lambda message: "QMP" in message)
        say("qmp_capabilities", {})
        hear(lambda message: "return" in message)
        if action == "plug":
            say("device_add", dict(word.split("=", 1) for word in sys.argv[3:]))
            hear(lambda message: "return" in message)
            return
        say("device_del", {"id": sys.argv[3]})
        hear(lambda message: message.get("event") == "DEVICE_DELETED"
             and message["data"].get("device") == sys.argv[3])


if __name__ == "__main__":
    main()
