#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold the API reference to what it promises.

Doxygen has nothing to warn of, and every function that libpollux exports is in the reference with
each of its arguments and what it returns.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree


def run_doxygen(doxygen, doxyfile, output):
    """Build the reference apart from the build folder's own. Return: the complaints."""
    settings = pathlib.Path(doxyfile).read_text()
    settings += f'\nOUTPUT_DIRECTORY = "{output}"\nGENERATE_XML = YES\nWARN_LOGFILE =\n'
    done = subprocess.run([doxygen, "-"], input=settings, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    complaints = done.stdout.splitlines()
    if done.returncode and not complaints:
        complaints = [f"Doxygen ended with status {done.returncode} and said nothing"]
    return complaints


def text_of(element):
    return "".join(element.itertext()).strip() if element is not None else ""


def functions(output):
    """Yield (name, faults) of every function in the reference."""
    for path in sorted(pathlib.Path(output, "xml").glob("*_8h.xml")):
        for member in ElementTree.parse(path).getroot().iter("memberdef"):
            if member.get("kind") == "function":
                yield text_of(member.find("name")), list(faults_of(member))


def faults_of(member):
    described = {text_of(item.find("parameternamelist/parametername")):
                 text_of(item.find("parameterdescription"))
                 for item in member.iter("parameteritem")}
    if not text_of(member.find("briefdescription")):
        yield "says not what it does"
    for param in member.findall("param"):
        name = text_of(param.find("declname"))
        if text_of(param.find("type")) != "void" and not described.get(name):
            yield f"says nothing of its argument {name}"
    returns = [part for part in member.iter("simplesect") if part.get("kind") == "return"]
    if text_of(member.find("type")) not in ("void", "static void") and not any(map(text_of, returns)):
        yield "says not what it returns"


def exports(symbol_map):
    return re.findall(r"^\s*(plx_\w+);", pathlib.Path(symbol_map).read_text(), re.MULTILINE)


def report(number, name, faults):
    for fault in faults:
        print(f"# {fault}")
    print(f"{'not ok' if faults else 'ok'} {number} - {name}")
    return bool(faults)


def main():
    doxygen, doxyfile, symbol_map = sys.argv[1:]
    print("1..3")
    with tempfile.TemporaryDirectory() as output:
        failed = report(1, "Doxygen warns of nothing", run_doxygen(doxygen, doxyfile, output))
        found = dict(functions(output))
        pages = os.path.exists(os.path.join(output, "html", "index.html"))
    names = exports(symbol_map)
    failed |= report(2, f"all of {len(names)} exported functions are in the reference",
                     [f"{name} is missing" for name in names if name not in found]
                     + ([] if names else ["the symbol map exports nothing"])
                     + ([] if pages else ["there is no page of HTML"]))
    failed |= report(3, f"each of {len(found)} functions tells its arguments and what it returns",
                     [f"{name} {fault}" for name, faults in found.items() for fault in faults])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
