"""Counts are kept in the transaction that moves the jobs, so that a view never counts a million rows."""

from __future__ import annotations

import sqlite3
from collections import Counter


def count(db: sqlite3.Connection, changes: Counter[tuple[int | None, str]]) -> None:
    """Add ``{(batch or None, status): by how many}`` to the kept counts, and to those of the whole queue (batch 0)."""
    totals: Counter[tuple[int, str]] = Counter()
    for (batch, status), n in changes.items():
        totals[0, status] += n
        if batch is not None:
            totals[batch, status] += n
    # Additions first would be as good: n >= 0 is checked row by row, and every row is changed once.
    for (batch_id, status), n in totals.items():
        if n:
            db.execute(
                "insert into counts (batch, status, n) values (?, ?, ?) on conflict do update set n = n + ?",
                (batch_id, status, max(n, 0), n),
            )
