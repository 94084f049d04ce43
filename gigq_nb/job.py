"""What to run (:class:`Job`), and the frozen rows that are read back from the file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidArgument, InvalidType
from .policies import (
    AT_ONCE,
    MAX_ATTEMPTS,
    MAX_PRIORITY,
    Retry,
    clean_name,
    duration_s,
    size_bytes,
    whole_number,
)


class JobIds:
    """Time-ordered public ids: UUID version 7 (RFC 9562), rising within a process also inside one millisecond."""

    def __init__(self) -> None:
        self._last = 0

    def take(self, n: int, now_ms: int | None = None) -> list[str]:
        """``n`` new ids, in rising order. 12 bits count within a millisecond, 62 bits are random."""
        tick = max(self._last + 1, (time.time_ns() // 1_000_000 if now_ms is None else now_ms) << 12)
        self._last = tick + n - 1
        noise = os.urandom(8 * n).hex()
        ids = []
        for i in range(n):
            at, rest = tick + i, noise[16 * i : 16 * i + 16]
            ms = at >> 12
            # The variant bits '10' make the first of the four digits 8, 9, a or b.
            ids.append(f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{at & 0xFFF:03x}-{'89ab'[int(rest[0], 16) & 3]}{rest[1:4]}-{rest[4:]}")
        return ids


new_ids = JobIds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is run, whatever its function and arguments. Checked where it is made.

    Attributes:
        timeout_s: Seconds from the function's start until its processes are ended; None: no limit.
        max_attempts: Charged attempts before the job ends ``failed`` or ``timeout``.
        retry: The wait between attempts.
        memory_bytes: What the job's processes may hold together; None: no limit.
        fresh: Give the job a process of its own.
        grace_s: Seconds between the interrupt and the kill when the job is stopped.
        pass_parent_results: Inject ``parent_results`` (None: when the function takes such a parameter).
        description: Free text.
        tags: Words to find the job by.
        env: Environment variables on top of the worker's.
    """

    timeout_s: float | None = None
    max_attempts: int = 1
    retry: Retry = field(default_factory=Retry)
    memory_bytes: int | None = None
    fresh: bool = False
    grace_s: float = 2.0
    pass_parent_results: bool | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        timeout: object = None,
        max_attempts: object = 1,
        retry: Retry | None = None,
        retry_delay: object = None,
        retry_on: object = None,
        memory: object = None,
        fresh: object = False,
        grace: object = None,
        pass_parent_results: bool | None = None,
        description: object = "",
        tags: object = (),
        env: Mapping[str, str] | None = None,
    ) -> Options:
        """Options from what users write (``timeout="10m"``, ``memory="2GB"``, ``retry_on=ValueError``).

        Raises:
            InvalidArgument, InvalidType: naming the option and what it allows.
        """
        if retry is not None and not isinstance(retry, Retry):
            raise InvalidType(f"retry is a Retry(...), not {type(retry).__name__}")
        if retry_delay is not None:
            retry = Retry(delay_s=duration_s(retry_delay, "retry_delay", least=0.0), factor=1.0, jitter=0.0)
        policy = retry or Retry()
        if retry_on is not None:
            names = (retry_on,) if isinstance(retry_on, (type, str)) else tuple(retry_on)  # type: ignore[arg-type]
            policy = Retry.from_json({**policy.as_json(), "retry_on": names})
        if not isinstance(description, str):
            raise InvalidType(f"description is a text, not {type(description).__name__}")
        if not isinstance(fresh, bool):
            raise InvalidType(f"fresh is True or False, not {type(fresh).__name__}")
        words = (tags,) if isinstance(tags, str) else tuple(tags)  # type: ignore[arg-type]
        variables = dict(env or {})
        for key, value in variables.items():
            if not isinstance(key, str) or not isinstance(value, str) or not key or "=" in key or "\0" in key + value:
                raise InvalidArgument(f"env takes a dict of texts; {key!r} is not a variable's name and value")
        return cls(
            timeout_s=None if timeout is None else duration_s(timeout, "timeout"),
            max_attempts=whole_number(max_attempts, "max_attempts", 1, MAX_ATTEMPTS),
            retry=policy,
            memory_bytes=None if memory is None else size_bytes(memory, "memory"),
            fresh=fresh,
            grace_s=2.0 if grace is None else duration_s(grace, "grace", least=0.0, most=3600.0),
            pass_parent_results=pass_parent_results,
            description=description[:10_000].replace("\0", "\N{REPLACEMENT CHARACTER}"),
            tags=tuple(clean_name(word, "tags") for word in words),
            env=variables,
        )

    def as_json(self) -> str:
        """The options as they are stored: JSON with sorted keys, so that equal options are equal texts."""
        data = {name: getattr(self, name) for name in self.__slots__ if name != "retry"}
        data["retry"] = self.retry.as_json()
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """The options from :meth:`as_json`.

        Raises:
            InvalidArgument: it is no such text; somebody wrote to the file.
        """
        try:
            data = json.loads(text)
            data["retry"] = Retry.from_json(data["retry"])
            data["tags"] = tuple(data["tags"])
            read = cls(**data)
            if read.as_json() != text or Options.of(**_as_given(read)) != read:
                raise ValueError("not as they are written")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise InvalidArgument(f"the stored options of a task are damaged ({error}): {text!r:.80}") from None
        return read


def _as_given(options: Options) -> dict[str, Any]:
    """The arguments of :meth:`Options.of` that make these options: so what is read back is checked as what is given."""
    names = ("max_attempts", "retry", "fresh", "pass_parent_results", "description", "tags", "env")
    given = {name: getattr(options, name) for name in names}
    return {**given, "timeout": options.timeout_s, "memory": options.memory_bytes, "grace": options.grace_s}


class Job:
    """One request to run a function with given arguments. ``queue.submit(job)`` makes it durable.

    The names and meanings are those of GigQ; what is not given behaves as there (three attempts, no delay), except
    that there is no default timeout, since a timeout here ends the work.

    Args:
        name: What to call it, 1 to 200 characters.
        function: Any callable: also one defined in a notebook, a lambda, a closure, a bound method.
        params: Keyword arguments.
        priority: Higher runs first, -1,000,000 to 1,000,000.
        dependencies: Ids of jobs that must complete before.
        max_attempts: Charged attempts, 1 to 1,000.
        timeout: Seconds, ``"10m"`` or a timedelta; None: no limit.
        description: Free text.
        pass_parent_results: Inject ``parent_results`` ``{parent id: result}``; None: if the function takes it.
        retry_delay: Seconds between attempts.
        args: Positional arguments.
        delay: Not before so many seconds from the submit.
        options: Further options of :class:`Options` (``memory fresh grace retry retry_on tags env``).

    Raises:
        InvalidArgument, InvalidType: naming the argument and what it allows.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        priority: int = 0,
        dependencies: Sequence[str] | None = None,
        max_attempts: int = 3,
        timeout: object = None,
        description: str = "",
        pass_parent_results: bool | None = None,
        retry_delay: object = None,
        *,
        args: Sequence[Any] = (),
        delay: object = None,
        **options: Any,
    ) -> None:
        if not callable(function):
            raise InvalidType(f"function is something that can be called, not {type(function).__name__}")
        if params is not None and not isinstance(params, Mapping):
            raise InvalidType(f"params is a dict of keyword arguments, not {type(params).__name__}")
        for key in params or {}:
            if not isinstance(key, str):
                raise InvalidType(f"params has the key {key!r}; keyword arguments are named by texts")
        self.id = new_ids.take(1)[0]
        self.name = clean_name(name)
        self.function = function
        self.params: dict[str, Any] = dict(params or {})
        self.args: tuple[Any, ...] = tuple(args)
        self.priority = whole_number(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)
        self.dependencies = checked_dependencies(dependencies)
        if retry_delay is None and "retry" not in options:
            options["retry"] = AT_ONCE
        self.options = Options.of(
            timeout=timeout,
            max_attempts=max_attempts,
            description=description,
            pass_parent_results=pass_parent_results,
            retry_delay=retry_delay,
            **options,
        )
        self.delay_s = None if delay is None else duration_s(delay, "delay", least=0.0)

    @property
    def max_attempts(self) -> int:
        """Charged attempts before the job ends badly."""
        return self.options.max_attempts

    @property
    def timeout(self) -> float | None:
        """Seconds from the function's start, or None."""
        return self.options.timeout_s

    @property
    def description(self) -> str:
        """The free text given with the job."""
        return self.options.description

    def __repr__(self) -> str:
        return f"<Job {self.name!r} {self.id}>"


def checked_dependencies(ids: object) -> list[str]:
    """Ids of parents, each once, in their order. A text is refused: it would be taken letter by letter."""
    if ids is None:
        return []
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        raise InvalidType(f"dependencies is a list of job ids, not {type(ids).__name__}")
    for one in ids:
        if not isinstance(one, str):
            raise InvalidType(f"dependencies holds {one!r}; a dependency is a job's id")
    return list(dict.fromkeys(str(one) for one in ids))


# ---------------------------------------------------------------------------------------------- rows read back


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as the file has it. Times are integer UTC milliseconds; nothing here was unpickled."""

    seq: int
    id: str
    name: str
    status: str
    reason: str | None
    priority: int
    attempts: int
    max_attempts: int
    losses: int
    waiting_on: int
    run_at: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    batch: int | None
    task: int
    function_name: str
    options: Options
    notebook: str | None = None
    cell: str | None = None
    result_text: str | None = None
    result_json: str | None = None
    arguments_text: str | None = None
    error: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    progress_done: float | None = None
    progress_total: float | None = None
    progress_text: str | None = None
    cancel_requested: bool = False
    waits_for: str | None = None
    key: str | None = None
    paused_at: int | None = None  # since when its queue is paused, while it is pending

    @property
    def seconds(self) -> float | None:
        """Duration of the last attempt in seconds, once it ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """One attempt. ``outcome`` is None while it runs."""

    id: int
    job_id: str
    n: int
    worker: str
    outcome: str | None
    reason: str | None
    charged: bool
    claimed_at: int
    started_at: int | None
    finished_at: int | None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker process. ``state`` is ``running``, ``stopping``, ``silent`` or ``gone``."""

    id: int
    name: str
    host: str
    pid: int
    python: str
    prefix: str
    concurrency: int
    state: str
    beats: int
    beat_at: int
    started_at: int
    stopped_at: int | None
    running: int
    why: str | None = None
    log: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many jobs have each status, in a batch or in the whole queue."""

    pending: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    timeout: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.pending + self.running + self.done

    @property
    def done(self) -> int:
        """Those in a final status."""
        return self.completed + self.unsuccessful

    @property
    def unsuccessful(self) -> int:
        """Those that ended without a result."""
        return self.failed + self.timeout + self.cancelled

    def as_dict(self) -> dict[str, int]:
        """The six statuses and their numbers."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch or a workflow, with its counts."""

    id: int
    name: str
    kind: str
    created_at: int
    counts: Counts
    started_at: int | None = None
    finished_at: int | None = None
    notebook: str | None = None
    cell: str | None = None
