"""Time by step, without what a step calls that is a step itself."""

import functools
import time
from collections import defaultdict
from typing import Any


class Stopwatch:
    """Wraps functions; what one of them takes counts for its step, less what the wrapped ones that it calls take."""

    def __init__(self) -> None:
        self.ns: dict[str, int] = defaultdict(int)
        self._inner = [0]  # ns of the wrapped calls within the call that is open at each depth

    def wrap(self, owner: Any, name: str, step: str) -> None:
        """Time ``owner.name`` as a part of ``step``. Calls of one thread only."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0)
            begin = time.perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter_ns() - begin
                self.ns[step] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(owner, name, timed)
