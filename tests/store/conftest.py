"""A queue file that is driven by hand, and is sound at the end of each test."""

from collections.abc import Iterator
from pathlib import Path

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
