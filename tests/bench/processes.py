"""The processes of one measurement, found by the tag that they all inherit in their environment.

A tag reaches children, grandchildren and detached workers alike, whatever sessions and groups a contender makes. So
this file can say what a contender's workers cost, and end exactly those, never anybody else's.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

TAG = "GIGQ_BENCH_CELL"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tagged(tag: str) -> list[int]:
    """All living processes that carry `tag`."""
    wanted = f"{TAG}={tag}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # gone, or somebody else's
    return found


def workers() -> list[int]:
    """The processes of this measurement other than this one: the contender's workers and what they started."""
    return [pid for pid in tagged(os.environ[TAG]) if pid != os.getpid()]


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_tagged(tag: str, patience_s: float = 10.0) -> None:
    """SIGKILL until none is left; a contender may start another while it is being killed."""
    give_up = time.monotonic() + patience_s
    while (pids := tagged(tag)) and time.monotonic() < give_up:
        kill(pids)
        time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What processes hold, in MiB: with shared pages counted in each, once in all, and never."""

    rss: float
    pss: float
    uss: float


def memory(pids: list[int]) -> Memory:
    sums = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    private = sums["Private_Clean"] + sums["Private_Dirty"]
    return Memory(rss=sums["Rss"] / 1024, pss=sums["Pss"] / 1024, uss=private / 1024)


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that these processes, and the children they have reaped, took so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_S


def peak_mib() -> float:
    """The most memory that this process ever held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report VmHWM")
