#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Forward real frames with `pollux fwd --mode=csum` and check every checksum that leaves.

Usage: fwd_csum_test.py PROGRAM

Frames with wrong checksums are replayed into one emulated card and captured behind another, which
completes the checksum itself or, with csum=off, leaves it to the program.
"""

import pathlib
import struct
import subprocess
import sys
import tempfile


def add(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def pseudo(version, protocol, ip, length):
    addresses = ip[12:20] if version == 4 else ip[8:40]
    return addresses + struct.pack("!IHH", length, 0, protocol)


def frame(version, protocol, payload, tag):
    """A frame whose transport checksum is nonsense."""
    body = bytes(i * 7 & 0xff for i in range(payload))
    if protocol == 6:
        transport = struct.pack("!HHIIBBHHH", 1000, 80, 1, 2, 0x50, 0x18, 100, 0xbeef, 0) + body
    else:
        transport = struct.pack("!HHHH", 1000, 53, 8 + payload, 0xbeef) + body
    if version == 4:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(transport), 7, 0, 64, protocol, 0,
                           bytes([198, 51, 100, 1]), bytes([198, 51, 100, 2]))
        head = head[:10] + struct.pack("!H", add(head) ^ 0xffff) + head[12:]
    else:
        head = struct.pack("!IHBB", 6 << 28, len(transport), protocol, 64) + bytes(range(32))
    ether = b"\2\0\0\0\0\1\2\0\0\0\0\2" + (b"\x81\0\0\5" if tag else b"")
    return ether + (b"\x08\x00" if version == 4 else b"\x86\xdd") + head + transport


def is_right(data):
    at = 18 if data[12:14] == b"\x81\0" else 14
    ip = data[at:]
    version = ip[0] >> 4
    header = 20 if version == 4 else 40
    protocol = ip[9] if version == 4 else ip[6]
    return add(pseudo(version, protocol, ip, len(ip) - header) + ip[header:]) == 0xffff


def write_pcap(path, frames):
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for data in frames:
            out.write(struct.pack("<IIII", 0, 0, len(data), len(data)) + data)


def read_pcap(path):
    data, at, frames = path.read_bytes(), 24, []
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return frames


def forward(program, folder, frames, options):
    write_pcap(folder / "in.pcap", frames)
    (folder / "out.pcap").unlink(missing_ok=True)
    subprocess.run([program, "fwd", "--mode=csum", "--time=1", "--quiet", "--page-size=4K",
                    f"emu:net,peer=replay:{folder}/in.pcap",
                    f"emu:net,peer=pcap:{folder}/out.pcap{options}"], check=True, timeout=60)
    return read_pcap(folder / "out.pcap")


def main():
    frames = [frame(version, protocol, payload, tag) for version in (4, 6) for protocol in (6, 17)
              for payload in (18, 101, 1400) for tag in (False, True)]
    ways = (("by the device", ""), ("by the program", ",csum=off"))
    failed = False
    print(f"1..{len(ways)}")
    for number, (name, options) in enumerate(ways, 1):
        with tempfile.TemporaryDirectory() as folder:
            got = forward(sys.argv[1], pathlib.Path(folder), frames, options)
        wrong = sum(not is_right(data) for data in got)
        lost = {len(data) for data in frames} - {len(data) for data in got}
        good = got and not wrong and not lost
        failed |= not good
        print(f"# {len(got)} frames came, {wrong} of them wrong; lengths that did not: {sorted(lost)}")
        print(f"{'ok' if good else 'not ok'} {number} - checksums are made anew {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
