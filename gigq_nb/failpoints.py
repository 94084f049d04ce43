"""Named points at which a test makes this process die, fail or sleep; without a test's two variables they are nothing.

``GIGQ_NB_TESTING=1 GIGQ_NB_FAILPOINT="before_commit:kill"``: SIGKILL at that point. ``:raise`` raises OSError,
``:sleep=5`` sleeps, ``:exit=3`` leaves at once. ``name@3`` is the third time. Several are parted by commas.
"""

from __future__ import annotations

import os
import time

_KILL = 9
_armed: dict[str, tuple[int, str]] = {}
_passed: dict[str, int] = {}

if os.environ.get("GIGQ_NB_TESTING") == "1":
    for _one in filter(None, os.environ.get("GIGQ_NB_FAILPOINT", "").split(",")):
        _where, _, _what = _one.partition(":")
        _name, _, _time = _where.partition("@")
        _armed[_name.strip()] = (int(_time or 1), _what.strip())


def failpoint(name: str) -> None:
    """A point at which tests inject faults."""
    if _armed and name in _armed:
        _reach(name)


def _reach(name: str) -> None:
    wanted, what = _armed[name]
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] != wanted:
        return
    action, _, value = what.partition("=")
    if action == "kill":
        os.kill(os.getpid(), _KILL)
    elif action == "raise":
        raise OSError(f"failpoint {name}")
    elif action == "sleep":
        time.sleep(float(value))
    elif action == "exit":
        os._exit(int(value or 1))
    else:
        raise ValueError(f"failpoint {name} does not know {what!r}: kill, raise, sleep=SECONDS or exit=CODE")
