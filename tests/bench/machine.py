"""Where and with what a run was made."""

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.contenders import COLUMNS


def describe(folder: Path) -> dict[str, str]:
    """The facts that a reader needs to compare, by name; nothing that names the machine itself."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPUs, {_cpu()}, {_memory_gib():.0f} GiB, {_file_system(folder)}",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "versions": ", ".join(f"{name} {found}" for name in _packages() if (found := _version(name))),
        "commit": _commit(),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _packages() -> list[str]:
    return [package for _, package in COLUMNS.values() if package] + ["cloudpickle", "pyarrow"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _file_system(folder: Path) -> str:
    """The kind of file system below `folder`: on tmpfs an fsync is free, and the run says nothing."""
    answer = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True)
    return answer.stdout.splitlines()[-1].strip() if answer.returncode == 0 else "unknown file system"


def _commit() -> str:
    answer = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return answer.stdout.strip() or "none"
