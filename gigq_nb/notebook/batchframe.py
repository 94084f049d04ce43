"""``batch.frame()``: one row a job, in the order of the submit; arguments first, then how it went, then its result.

Unlike the frames of a queue it holds values, not texts: arguments and results are loaded for their owner, after their
signatures were checked. What cannot be loaded does not hide the rest: its error stands in its row.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import GigQError
from ..states import JobStatus
from ..store import columns, reads
from .typed import STATUS, Columns, inferred, seconds, texts

if TYPE_CHECKING:
    from ..handle import Batch
    from ..queue import JobQueue

#: Jobs whose payloads are in memory at the same time.
_AT_ONCE = 500
#: Results with more different keys than this are no records; they stay dicts in one column.
MOST_KEYS = 1_000
_KEYS = (str, int, float, bool)
_COMPLETED = list(JobStatus).index(JobStatus.COMPLETED)


def frame_of(batch: Batch) -> pd.DataFrame:
    """Arguments, ``id``, ``status``, ``seconds``, ``attempts``, results, ``error``.

    Positional arguments are called as the function's parameters where its source is known, else ``arg1``, ``arg2``…
    The keys of results that are dicts become columns, everything else is one column ``result``; what is called like
    a column that is there already gets ``_arg`` or ``_result`` behind its name. ``name`` is there where the jobs have
    different ones. A job that is not done has no result (NA).
    """
    queue = batch.queue
    with queue._database.read() as db:
        rows = Columns(columns.jobs(db, batch=batch.number), "seq", newest_first=False)
        tasks = columns.tasks(db, rows.distinct("task"))
        sources = columns.sources(db, rows.distinct("task"))
    own: dict[str, Any] = {"id": rows.id()}
    if len({one.name for one in tasks.values()}) > 1:
        own["name"] = rows.named("task", {one.id: one.name for one in tasks.values()})
    own["status"] = rows.category("status", STATUS)
    own["seconds"] = seconds(rows.took("started_at", "finished_at"))
    own["attempts"] = rows.number("attempts")
    ids = rows.ids_in_order()
    parameters = {number: parameter_names(source) for number, source in sources.items()}
    arguments = _arguments(queue, ids, [parameters[one] for one in rows.number("task").tolist()])
    results, errors = _results(queue, ids, rows.number("status") == _COMPLETED)
    error_types, messages = rows.errors()
    for place, (kind, message) in enumerate(zip(error_types, messages, strict=True)):
        if isinstance(message, str):
            errors[place] = message if kind.startswith("gigq_nb.") else f"{kind}: {message}"
    taken = {*own, "result", "error"}
    data: dict[str, Any] = {}
    for name, column in arguments.items():
        data[_free(name, "_arg", taken)] = column.of(len(ids))
    data |= own
    taken |= set(data)
    for key, column in _spread(results).items():
        data["result" if key is None else _free(key, "_result", taken)] = column.of(len(ids))
    data["error"] = texts(errors)
    return pd.DataFrame(data, copy=False)


class _Sparse:
    """A column in the making: values at some places."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.values: list[Any] = []

    def put(self, place: int, value: Any) -> None:
        self.places.append(place)
        self.values.append(value)

    def of(self, rows: int) -> Any:
        """The column with NA everywhere else."""
        if len(self.places) == rows:
            return inferred(self.values)
        values = [pd.NA] * rows
        for place, value in zip(self.places, self.values, strict=True):
            values[place] = value
        return inferred(values)


def _free(name: str, suffix: str, taken: set[str]) -> str:
    while name in taken:
        name += suffix
    taken.add(name)
    return name


def _arguments(queue: JobQueue, ids: Sequence[str], parameters: Sequence[list[str]]) -> dict[str, _Sparse]:
    """Arguments by name, in the order in which the names occur. What is not ours or does not load has none."""
    found: dict[str, _Sparse] = {}
    for begin in range(0, len(ids), _AT_ONCE):
        some = ids[begin : begin + _AT_ONCE]
        loaded = queue._loader.arguments(some)
        for place, job_id in enumerate(some, begin):
            args, kwargs = loaded.get(job_id) or ((), {})
            for name, value in zip(_positional(parameters[place], len(args)), args, strict=True):
                found.setdefault(name, _Sparse()).put(place, value)
            for name, value in kwargs.items():
                found.setdefault(name, _Sparse()).put(place, value)
    return found


def _results(queue: JobQueue, ids: Sequence[str], completed: Any) -> tuple[dict[int, Any], list[str | None]]:
    """Results by place, and the errors of those that cannot be loaded. A completed job stays so: no need for one read."""
    values: dict[int, Any] = {}
    errors: list[str | None] = [None] * len(ids)
    places = {ids[place]: place for place in np.flatnonzero(completed).tolist()}
    wanted = list(places)
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        with queue._database.read() as db:
            finals = reads.finals(db, ids=some)
        for gone in set(some) - {one.id for one in finals}:
            errors[places[gone]] = "it was removed while this frame was made"
        for final in finals:
            try:
                values[places[final.id]] = queue._loader.value(final)
            except GigQError as error:
                errors[places[final.id]] = str(error)
            except Exception as error:  # whatever a class of the user raises while it is loaded
                errors[places[final.id]] = f"the result cannot be loaded: {type(error).__name__}: {error}"
    return values, errors


def _spread(results: dict[int, Any]) -> dict[str | None, _Sparse]:
    """Results as columns: the keys of dicts, and None for everything else."""
    found: dict[str | None, _Sparse] = {}
    keys: dict[Any, None] = {}
    for value in results.values():
        if _is_record(value):
            keys.update(dict.fromkeys(value))
    spread = 0 < len(keys) <= MOST_KEYS
    names = {key: str(key) for key in keys}
    if len(set(names.values())) < len(names):  # {1: …, "1": …}
        spread = False
    if spread:
        found |= {name: _Sparse() for name in names.values()}
    plain = _Sparse()
    for place, value in results.items():
        if spread and _is_record(value):
            for key, one in value.items():
                found[names[key]].put(place, one)
        else:
            plain.put(place, value)
    if plain.places or not spread:
        found[None] = plain
    return found


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and 0 < len(value) <= MOST_KEYS and all(isinstance(key, _KEYS) for key in value)


def _positional(names: list[str], count: int) -> list[str]:
    """Names for so many positional arguments; those beyond the parameters are numbered."""
    if names and names[0] in ("self", "cls"):
        names = names[1:]
    return names[:count] + [f"arg{i + 1}" for i in range(len(names), count)]


def parameter_names(source: str) -> list[str]:
    """The positional parameters of the function that this text defines; none where it does not say."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    first = tree.body[0] if tree.body else None
    if isinstance(first, ast.ClassDef):
        first = next((one for one in first.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef):
        return _names(first.args)
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return _names(lambdas[0].args) if len(lambdas) == 1 else []


def _names(arguments: ast.arguments) -> list[str]:
    return [one.arg for one in [*arguments.posonlyargs, *arguments.args]]
