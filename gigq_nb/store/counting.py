"""Counts are kept in the transaction that moves the jobs, so that a view never counts a million rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping


def count(db: sqlite3.Connection, changes: Mapping[tuple[int | None, str], int]) -> None:
    """Add ``{(batch or None, status): by how many}`` to the kept counts, and to those of the whole queue (batch 0)."""
    totals: dict[tuple[int, str], int] = {}
    for (batch, status), n in changes.items():
        totals[0, status] = totals.get((0, status), 0) + n
        if batch is not None:
            totals[batch, status] = totals.get((batch, status), 0) + n
    # Additions first would be as good: n >= 0 is checked row by row, and every row is changed once.
    db.executemany(
        "insert into counts (batch, status, n) values (?, ?, ?) on conflict do update set n = n + ?",
        [(batch_id, status, max(n, 0), n) for (batch_id, status), n in totals.items() if n],
    )
