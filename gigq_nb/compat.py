"""Two functions that GigQ's users import and that have little to do here."""

from __future__ import annotations

import logging


def close_connections() -> None:
    """GigQ keeps a connection per thread; here none is kept beyond a burst of operations, so nothing is left to close."""


def setup_logging(level: int = logging.INFO) -> None:
    """Show the worker's log lines on standard error."""
    logger = logging.getLogger("gigq_nb")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)
