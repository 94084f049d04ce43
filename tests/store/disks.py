"""Small, full and read-only disks for tests, as mounts of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount() -> bool:
    """Whether this test may mount."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """mount ARGUMENTS FOLDER, and take it away again."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[Path]:
    """A disk of this size, in memory."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size},mode=0700", "none"):
        yield folder


@contextmanager
def read_only(folder: Path, mount_point: Path) -> Iterator[Path]:
    """The folder once more, where nothing can be written; also not by root."""
    with mounted(mount_point, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mount_point)], check=True)
        yield mount_point


def fill(folder: Path) -> Callable[[], None]:
    """Fill the disk to the last byte. Returns what makes room again."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler.unlink
