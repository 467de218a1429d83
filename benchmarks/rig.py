# SPDX-License-Identifier: BSD-3-Clause
"""The processes of a measurement: a backend on one core, a front end on the other.

Every measurement says for how large a share of its time one of the two was ready to run and had no
core: on a machine that others use that, and not the driver, decides what is seen.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

NR_HUGEPAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
FIRST_FRAMES = 128  # that go round between ports and a backend that sends them back
EAL = ["--in-memory", "--no-pci", "--single-file-segments", "--no-telemetry"]


class Failure(Exception):
    """Something that a measurement needs is not there, or did not do its part."""


class Hugepages:
    """Sees that enough pages of 2 MiB are free, and gives back as many as it took."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.taken = 0

    def __enter__(self):
        found = re.search(r"HugePages_Free:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
        free = int(found.group(1)) if found else 0
        if free >= self.wanted:
            return self
        before = int(NR_HUGEPAGES.read_text())
        NR_HUGEPAGES.write_text(f"{before + self.wanted - free}\n")
        self.taken = int(NR_HUGEPAGES.read_text()) - before
        print(f"huge pages of 2 MiB: {self.wanted} are needed and {free} were free, "
              f"so vm.nr_hugepages is {before + self.taken} instead of {before} until the end")
        if free + self.taken < self.wanted:
            self.__exit__()
            raise Failure(f"only {self.taken} more huge pages could be had: free some memory")
        return self

    def __exit__(self, *_):
        # Somebody else may have changed the number meanwhile.
        if self.taken:
            NR_HUGEPAGES.write_text(f"{int(NR_HUGEPAGES.read_text()) - self.taken}\n")


class Watch:
    """How long the threads of a process waited for a core, and the memory that it held."""

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")
        self.waited = {}
        self.ran = {}
        self.resident = 0

    def look(self):
        try:
            for task in (self.folder / "task").iterdir():
                ran, waited, _ = map(int, (task / "schedstat").read_text().split())
                self.ran[task.name], self.waited[task.name] = ran, waited
            found = re.search(r"VmHWM:\s+(\d+)", (self.folder / "status").read_text())
            self.resident = int(found.group(1)) if found else self.resident
        except (OSError, ValueError):
            pass  # it has just ended

    def waiting(self):
        """Nanoseconds for which the thread that polls, the busiest, had no core."""
        busiest = max(self.ran, key=self.ran.get, default=None)
        return self.waited.get(busiest, 0)


class Process:
    """A program that ends with its context."""

    def __init__(self, command, log, **options):
        self.command = [str(word) for word in command]
        self.log = log
        self.options = options
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=self.log, stdin=subprocess.DEVNULL,
                                        **self.options)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Rig:
    """Where programs, sockets and logs are, and which cores are used."""

    def __init__(self, build, cores=(0, 1)):
        self.pollux = build / "apps/pollux/pollux"
        self.benchmarks = build / "benchmarks"
        self.cores = cores
        self.folder = None
        self.log = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pollux-run-"))
        self.log = open(self.folder / "log", "w+b")
        return self

    def __exit__(self, *_):
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def socket(self, port):
        return str(self.folder / f"{port}.sock")

    def has_rival(self):
        return (self.benchmarks / "rival").exists()

    def has_testpmd(self):
        return shutil.which("dpdk-testpmd") is not None

    def last_words(self):
        self.log.flush()
        return (self.folder / "log").read_text(errors="replace").strip().splitlines()[-3:]

    # --- backends ---

    def null_backend(self, ports, *options):
        """Completes every buffer at once; see benchmarks/null-backend --help."""
        return self.backend(["taskset", "-c", self.cores[0], self.benchmarks / "null-backend",
                             *options, *(self.socket(i) for i in range(ports))], ports)

    def dpdk_backend(self, ports, mode):
        """DPDK's vhost ports: sends frames, takes them, or sends back what it gets."""
        forward = {"rx": "txonly", "tx": "rxonly", "io": "io"}[mode]
        devices = [f"--vdev=net_vhost{i},iface={self.socket(i)}" for i in range(ports)]
        lcores = f"0@{self.cores[0]},1@{self.cores[0]}"
        return self.backend(["dpdk-testpmd", *EAL, "--lcores", lcores, "--main-lcore=0", *devices,
                             "--", "--auto-start", f"--forward-mode={forward}", "--txpkts=60",
                             "--total-num-mbufs=16384", "--no-flush-rx", "--no-mlockall",
                             "--stats-period=3600"], ports)

    def backend(self, command, ports):
        for i in range(ports):
            pathlib.Path(self.socket(i)).unlink(missing_ok=True)
        return Backend(self, command, ports)

    # --- front ends ---

    def run_pollux(self, case, setup, seconds):
        devices = [f"vhost-user:{self.socket(i)}{setup['options']}" for i in range(case.ports)]
        first = FIRST_FRAMES if case.circulates else 0
        out = self.front_end([self.pollux, "fwd", *devices, f"--mode={case.mode}",
                              f"--cores={self.cores[1]}", f"--ring={case.ring}",
                              f"--burst={case.burst}", f"--tx-first={first}", f"--time={seconds}",
                              "--stats=0", "--json"], seconds)
        ports = json.loads(out.text)["ports"]
        out.rate = sum(port["rx_pps" if case.mode == "rx" else "tx_pps"] for port in ports)
        out.path = ports[0]["rx_path" if case.mode == "rx" else "tx_path"]
        return out

    def run_rival(self, case, setup, seconds):
        ports = [f"--port=path={self.socket(i)}{setup['options']}" for i in range(case.ports)]
        first = FIRST_FRAMES if case.circulates else 0
        simd = [f"--simd={setup['simd']}"] if "simd" in setup else []
        return self.counted([self.benchmarks / "rival", *ports, *simd, f"--mode={case.mode}",
                             f"--core={self.cores[1]}", f"--ring={case.ring}",
                             f"--burst={case.burst}", f"--first={first}", f"--time={seconds}"],
                            case, seconds)

    def run_bare(self, case, setup, seconds):
        return self.counted([self.benchmarks / "bare",
                             f"vhost-user:{self.socket(0)}{setup['options']}",
                             *(["--transmit"] if case.mode == "tx" else []),
                             f"--core={self.cores[1]}", f"--ring={case.ring}",
                             f"--burst={case.burst}", f"--time={seconds}"], case, seconds)

    def counted(self, command, case, seconds):
        out = self.front_end(command, seconds)
        found = json.loads(out.text.strip().splitlines()[-1])
        out.rate = found["received" if case.mode == "rx" else "sent"] / found["seconds"]
        return out

    def testpmd(self, case, setup):
        devices = [f"--vdev=virtio_user{i},path={self.socket(i)},queue_size={case.ring}"
                   f"{setup['options']}" for i in range(case.ports)]
        forward = {"rx": "rxonly", "tx": "txonly", "io": "io"}[case.mode]
        simd = [f"--force-max-simd-bitwidth={setup['simd']}"] if "simd" in setup else []
        return ["dpdk-testpmd", *EAL, *simd, "--lcores", f"0@{self.cores[0]},1@{self.cores[1]}",
                "--main-lcore=0", *devices, "--", "--auto-start", f"--forward-mode={forward}",
                "--txpkts=60", f"--burst={case.burst}", f"--rxd={case.ring}", f"--txd={case.ring}",
                "--total-num-mbufs=8192", "--no-flush-rx", "--no-mlockall", "--stats-period=1"]

    def run_testpmd(self, case, setup, seconds):
        # The first line of statistics covers the start, the last the end.
        out = self.front_end(self.testpmd(case, setup), seconds, stop_after=max(seconds, 3) + 1)
        word = "Rx-pps" if case.mode == "rx" else "Tx-pps"
        rates = [int(rate) for rate in re.findall(word + r":\s+(\d+)", out.text)]
        each = [sum(rates[i:i + case.ports]) for i in range(0, len(rates), case.ports)]
        out.rate = statistics.median(each[1:-1] or each or [0])
        return out

    def start(self, name, case):
        """Has one of the three send for a moment: what counts is when it begins."""
        if name == "pollux":
            return self.run_pollux(case, {"options": ",packed=off"}, 0.1)
        if name == "rival":
            return self.run_rival(case, {"options": ""}, 0.1)
        return self.front_end(self.testpmd(case, {"options": ""}), 0.1, stop_after=1.5)

    def front_end(self, command, seconds, stop_after=None):
        """Runs it to its end, or interrupts it, and looks at it and at the backend meanwhile."""
        backend = Watch(self.backend_pid)
        backend.look()
        before = dict(backend.waited)
        began = time.monotonic()
        with Process(command, self.log, stdout=subprocess.PIPE, text=True) as front:
            watch = Watch(front.process.pid)
            limit = began + (stop_after or seconds + 20)
            while front.process.poll() is None:
                if time.monotonic() > limit:
                    front.process.send_signal(signal.SIGINT)
                    limit += 5
                watch.look()
                time.sleep(0.05)
            backend.look()
            out = Outcome(front.process.stdout.read())
        if front.process.returncode and not stop_after:
            raise Failure(f"{pathlib.Path(command[0]).name} ended with "
                          f"{front.process.returncode}: " + " / ".join(self.last_words()))
        busiest = max(backend.ran, key=backend.ran.get)
        waited = watch.waiting() + backend.waited[busiest] - before.get(busiest, 0)
        out.disturbed = waited / 1e9 / max(seconds, time.monotonic() - began)
        out.resident = watch.resident
        return out


class Outcome:
    """What one front end did."""

    def __init__(self, text):
        self.text = text
        self.rate = 0.0  # frames a second
        self.path = None
        self.disturbed = 0.0  # share of the time that one of the two had no core
        self.resident = 0  # KiB at the most


class Backend(Process):
    """A backend that is there once its sockets are."""

    def __init__(self, rig, command, ports):
        super().__init__(command, rig.log, stdout=subprocess.PIPE, text=True)
        self.rig = rig
        self.ports = ports

    def __enter__(self):
        super().__enter__()
        limit = time.monotonic() + 20
        while not all(os.path.exists(self.rig.socket(i)) for i in range(self.ports)):
            if self.process.poll() is not None or time.monotonic() > limit:
                self.__exit__()
                raise Failure(f"the backend {self.command[0]} did not start: " +
                              " / ".join(self.rig.last_words()))
            time.sleep(0.01)
        self.rig.backend_pid = self.process.pid
        return self

    def first_frame(self):
        """When the last front end sent its first frame; once the backend has ended."""
        return json.loads(self.process.stdout.read().strip().splitlines()[-1])["first_sent"]
