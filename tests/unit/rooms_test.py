#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold the code to the plan of the house.

A room includes only its own headers and those of rooms below it; a private header never leaves its
room; the facts of a standard (*_reg.h) are anyone's; memory that a device can write is read only through lib/base/shared.h.
"""

import pathlib
import re
import sys

ROOMS = ["base", "mem", "vfio", "pci", "context", "virtio", "eth", "worker", "emu", "drivers"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def room_of(path, root):
    parts = path.relative_to(root).parts
    return parts[1] if parts[0] == "lib" else parts[0]


def check_file(path, root, faults):
    room = room_of(path, root)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"{path.relative_to(root)}:{number}"
        if ".raw" in line or "->raw" in line:
            if path.name != "shared.h":
                faults.append(f"{where}: reads shared memory past lib/base/shared.h")
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(1)
        other = name.split("/")[0]
        if other not in ROOMS:
            faults.append(f"{where}: includes {name}, which is in no room")
        elif ROOMS.index(other) > ROOMS.index(room) and not name.endswith("_reg.h"):
            faults.append(f"{where}: {room} is below {other} and may not include {name}")
        elif name.endswith("_priv.h") and other != room:
            faults.append(f"{where}: {name} is private to {other}")


def main():
    root = pathlib.Path(sys.argv[1])
    files = sorted(path for folder in ("lib", "drivers") for path in (root / folder).rglob("*.[ch]")
                   if "include" not in path.relative_to(root).parts)
    faults = []
    for path in files:
        check_file(path, root, faults)
    print("1..1")
    for fault in faults:
        print(f"# {fault}")
    print(f"{'not ok' if faults or not files else 'ok'} 1 - {len(files)} files keep to their rooms")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
