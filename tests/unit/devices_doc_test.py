#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold doc/devices.md to the code: its kinds of address, its options, and its two tables of features.

Every feature of lib/virtio/features.c and drivers/virtio/net_features.c must stand in the guide with its
option, its bit, its name and what the driver does with it, in the order of the bits, and no other.
"""

import pathlib
import re
import sys

STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
# A row of a feature table, up to what it depends on: bit, name, option, reason to decline.
ENTRY = re.compile(r'\{\s*(\w+(?:\(\w+\))?)\s*,\s*"(\w+)"\s*,\s*"(\w+)"\s*,\s*(\w+)\s*,')


def defines(text, pattern):
    return dict(re.findall(r"^#define\s+" + pattern, text, re.MULTILINE))


def read_features(source, registers):
    """Read a table. Return: (bit, name, option) -> the reasons to decline, None for a use."""
    reasons = defines(source, r'(\w+)\s+"([^"]*)"')
    bits = defines(registers, r"(VIRTIO_\w*F_\w+)\s+(\d+)")
    features = {}
    for symbol, name, option, reason in ENTRY.findall(source):
        symbol = re.sub(r"^F\((\w+)\)$", r"VIRTIO_NET_F_\1", symbol)
        key = (int(bits[symbol]), name, option)
        # The preprocessor may choose between two rows; then both count.
        features.setdefault(key, []).append(None if reason == "NULL" else reasons[reason])
    return features


def read_strings(source, start, end):
    """The strings between two pieces of text, which must be there."""
    match = re.search(re.escape(start) + r"(.*?)" + re.escape(end), source, re.DOTALL)
    return STRING.findall(match.group(1)) if match else []


def read_tables(guide, heading):
    """The tables below a heading, as rows of cells without their own heading and rule."""
    section = guide.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[[cell.strip().strip("`") for cell in row.strip("|").split("|")]
             for row in table.splitlines()[2:]] for table in tables]


def read_rows(guide, heading):
    return read_tables(guide, heading)[0]


def feature_faults(features, rows):
    found = {}
    for row in rows:
        if len(row) != 4 or not row[1].isdigit():
            yield f"{row} is not option, bit, feature, what the driver does"
            continue
        found[(int(row[1]), row[2], row[0])] = row[3]
    for key in features.keys() - found.keys():
        yield f"the feature {key} is missing in the guide"
    for key in found.keys() - features.keys():
        yield f"the feature {key} of the guide is in no table"
    if list(found) != sorted(found) or len(found) != len(rows):
        yield "the features are not in the order of the bits, each once"
    for key in features.keys() & found.keys():
        for reason in features[key]:
            if reason is None and not found[key].startswith("used"):
                yield f"{key[2]} is used, and the guide says: {found[key]}"
            elif reason is not None and reason not in found[key]:
                yield f"{key[2]} is declined as '{reason}', and the guide says: {found[key]}"
            elif reason is not None and len(features[key]) == 1 and found[key] != f"declined: {reason}":
                yield f"{key[2]} must read 'declined: {reason}'"


def word_faults(what, words, rows):
    documented = [row[0] for row in rows]
    if not words:
        yield f"the code names no {what}: does this test still look in the right place?"
    if sorted(words) != sorted(documented):
        yield f"the code knows the {what} {words}, the guide {documented}"


def checks(root):
    def read(path):
        return pathlib.Path(root, path).read_text()

    guide = read("doc/devices.md")
    common = read_features(read("lib/virtio/features.c"), read("lib/virtio/virtio_reg.h"))
    net = read_features(read("drivers/virtio/net_features.c"), read("drivers/virtio/virtio_net_reg.h"))
    schemes = read_strings(read("drivers/drivers.c"), "} schemes[] = {", "};")
    platform = read_strings(read("drivers/virtio/net.c"), "platform[] = {", "}")
    simd = read_strings(read("drivers/virtio/net.c"), "simd[] = {", "}")
    legacy = read_strings(read("drivers/drivers.c"), "choices[] = {", "}")
    handshakes = re.findall(r'\.name = "([\w-]+)"', read("lib/virtio/handshake.c"))
    emulated = re.findall(r'(?:plx_address_\w+\(address, |TAKE_NUMBER\(|\{(?="dev\.))"([\w.]+)"',
                          read("lib/emu/address.c"))
    vhost_user = re.findall(r'plx_address_\w+\(\s*address, "([\w.]+)"',
                            read("lib/virtio/vhost_user.c") + read("lib/virtio/vhost_user_net.c"))
    vfio_user = re.findall(r'plx_address_\w+\(\s*address, "([\w.]+)"', read("lib/vfio/user.c"))
    kinds = re.findall(r'\{"(\w+)", (?:NULL|"(\w+)"), plx_emu_\w+_open\}', read("lib/emu/peer.c"))
    peers = [f"{kind}:{argument}" if argument else kind for kind, argument in kinds]
    rows = read_rows(guide, "Options of every virtio device")
    choices = [f"{option}={word}" for option, words in
               (("platform", platform), ("legacy", legacy), ("handshake", handshakes),
                ("simd", simd)) for word in words]
    ways = read_strings(read("lib/context/context.c"), "backends[] = {", "};")
    noiommu = read_strings(read("lib/context/context.c"), "noiommu[] = {", "};")
    emu_tables = read_tables(guide, "Options of emulated devices")

    yield "kinds of address", word_faults("kinds of address", schemes, read_rows(guide, "Kinds of address"))
    yield "options of every device", word_faults("options", choices, rows)
    yield "options of PCI devices", word_faults(
        "options", [f"vfio={word}" for word in ways] + [f"noiommu={word}" for word in noiommu], read_rows(guide, "Options of PCI devices"))
    yield "options of emulated devices", word_faults("options", emulated, emu_tables[0])
    yield "options of vfio-user devices", word_faults(
        "options", vfio_user, read_rows(guide, "Options of vfio-user devices"))
    yield "options of vhost-user devices", word_faults(
        "options", vhost_user, read_rows(guide, "Options of vhost-user devices"))
    yield "peers of emulated devices", word_faults("peers", peers, emu_tables[1])
    for name, features, heading in (("common", common, "Features of every virtio device"),
                                    ("network", net, "Features of network devices")):
        faults = [f"no {name} feature was found in the code"] if not features else []
        faults += feature_faults(features, read_rows(guide, heading))
        yield f"{len(features)} {name} features", faults


def main():
    failed = False
    number = 0
    for number, (name, faults) in enumerate(checks(sys.argv[1]), 1):
        faults = list(faults)
        for fault in faults:
            print(f"# {fault}")
        print(f"{'not ok' if faults else 'ok'} {number} - doc/devices.md has the {name} of the code")
        failed |= bool(faults)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
