# SPDX-License-Identifier: BSD-3-Clause
"""What benchmarks/run measures: each case with who takes part in it and the ratios to reach."""

import dataclasses

MODES = {"rx": "receive", "tx": "transmit", "io": "io forward"}

# DPDK's settings for its virtio-user port, by ring layout. The fastest of them is its best.
RIVALS = {
    False: {
        "default": {"options": ""},
        "vectorised": {"options": ",mrg_rxbuf=0,in_order=0,vectorized=1"},
    },
    True: {
        "default": {"options": ",packed_vq=1"},
        "AVX-512": {"options": ",packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1", "simd": "512"},
    },
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One backend, one direction, one ring: what all that take part have in common."""

    backend: str  # "null" or "dpdk"
    mode: str
    packed: bool
    ring: int = 256
    burst: int = 32
    mergeable: bool = False  # by force
    in_order: bool = True  # as the backend offers it
    second: bool = False  # testpmd takes part, too
    over_default: float = 0  # ratios to reach
    over_best: float = 0
    over_bare: float = 0

    @property
    def ports(self):
        return 2 if self.mode == "io" else 1

    @property
    def circulates(self):
        """Frames come only from the front end, and the backend sends them back."""
        return self.backend == "dpdk" and self.mode == "io"

    @property
    def name(self):
        words = [f"{self.backend}: {MODES[self.mode]}", "packed" if self.packed else "split"]
        words += ["mergeable"] if self.mergeable else []
        words += [] if self.in_order else ["not in order"]
        words += [f"ring {self.ring}"] if self.ring != 256 else []
        words += [f"burst {self.burst}"] if self.burst != 32 else []
        return ", ".join(words)

    def setups(self, rival, testpmd):
        """Who takes part, in turn: name, method of the rig, and its settings."""
        layout = "on" if self.packed else "off"
        merge = ",mrg_rxbuf=on" if self.mergeable else ""
        found = [("pollux", "run_pollux", {"options": f",packed={layout}{merge}"})]
        settings = dict(list(RIVALS[self.packed].items())[:1 if self.mergeable else None])
        if rival:
            found += [(name, "run_rival", setup) for name, setup in settings.items()]
        if testpmd and self.second:
            found += [(f"testpmd {name}", "run_testpmd", setup)
                      for name, setup in settings.items()]
        if self.backend == "null" and self.mode != "io" and not self.mergeable:
            found += [("bare", "run_bare", {"options": f",packed={layout},in_order=off"})]
        return found


def quick():
    """The table of ratios to reach."""
    return [
        Case("null", "rx", False, over_default=1.9, over_best=1.05, over_bare=0.9),
        Case("null", "tx", False, over_best=1.7, over_bare=0.9),
        Case("null", "io", False, over_default=1.9, over_best=1.4),
        Case("null", "rx", True, over_default=1.2, over_best=1.05, over_bare=0.9),
        Case("null", "tx", True, over_default=1.2, over_best=1.05, over_bare=0.9),
        *(Case("dpdk", mode, packed, over_default=1.0, over_best=1.0)
          for mode in MODES for packed in (False, True) if mode != "io" or not packed),
    ]


def whole():
    """Those, and around them what decides: the burst, the ring, what is negotiated."""
    cases = [dataclasses.replace(case, second=case.mode == "rx" and case.backend == "null")
             for case in quick()]
    for packed in (False, True):
        for mode in MODES:
            cases += [Case("null", mode, packed, burst=burst) for burst in (8, 64)]
            cases += [Case("null", mode, packed, ring=1024)]
        cases += [Case("null", mode, packed, mergeable=True) for mode in ("rx", "io")]
        cases += [Case("null", mode, packed, in_order=False) for mode in ("rx", "tx")]
    cases += [Case("null", "io", True), Case("dpdk", "io", True, over_default=1.0, over_best=1.0)]
    return cases
