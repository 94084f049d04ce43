"""A queue file that is driven by hand, and is sound at the end of each test."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.store.rig import Rig


@pytest.fixture
def rig(queue_path: Path) -> Iterator[Rig]:
    """The store's functions on a real file. Whatever a test did, the invariants hold when it ends."""
    one = Rig(queue_path)
    yield one
    wrong = one.broken()
    one.close()
    assert wrong == []


@pytest.fixture(autouse=True)
def nothing_left_behind(isolated: Path) -> Iterator[None]:
    """As for all tests, but these start no workers: looking at our own children takes a tenth of looking at all processes."""
    yield
    left = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    _, alive = psutil.wait_procs([one for one in left if "multiprocessing" not in " ".join(one.cmdline())], timeout=5)
    assert alive == []
