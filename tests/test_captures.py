"""What a function brings along is named: what is large in it, and what cannot leave."""

import asyncio
import functools
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigq_nb import JobQueue, captures, payload
from gigq_nb.errors import InvalidArgument, InvalidType, NotSerializable, PayloadTooLarge
from gigq_nb.submission import CaptureWarning
from tests.cells import cell


def test_the_report_names_what_is_captured_with_its_size() -> None:
    data = np.zeros(100_000)
    notebook = cell(
        "def outer(small):\n    def f(x, d=(1, 2)):\n        return data.sum() + small + len(d)\n    return f", data=data
    )
    report = captures.captured(notebook["outer"](5))
    assert [(one.name, one.kind, one.type_name) for one in report] == [
        ("data", "global", "ndarray"), ("d", "default", "tuple"), ("small", "closure", "int"),
    ]  # fmt: skip
    assert report[0].size_bytes > 800_000


@pytest.mark.parametrize("captures", ["a global", "a closure", "a default", "a partial", "a bound method"])
def test_a_large_capture_is_warned_of_by_the_variables_name(queue_path: Path, captures: str) -> None:
    table = np.zeros(2_000_000)
    functions: dict[str, tuple[Callable[[], Any], str]] = {
        "a global": (lambda: cell("def f(): return table.sum()", table=table)["f"], "'table'"),
        "a closure": (lambda: cell("def outer(rows):\n    def f(): return rows.sum()\n    return f")["outer"](table), "'rows'"),
        "a default": (lambda: cell("def f(x=table): return x.sum()", table=table)["f"], "'x'"),
        "a partial": (lambda: functools.partial(np.sum, table), "'argument 1 of the partial'"),
        "a bound method": (
            lambda: cell("class C:\n    def m(self): return self.t.sum()\nc = C(); c.t = table", table=table)["c"].m,
            "'self'",
        ),
    }
    make, name = functions[captures]
    function = make()
    queue = JobQueue(queue_path)
    with pytest.warns(CaptureWarning, match=rf"16 MB along.*mostly {name} \((ndarray|C), 16 MB\)"):
        queue.submit(function)
    queue.submit(function)  # said once for each version of the function: warnings are errors here


def test_what_is_over_the_limit_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch, queue_path: Path) -> None:
    monkeypatch.setattr(payload, "MOST_BYTES", 1_000)
    queue = JobQueue(queue_path)
    with pytest.raises(PayloadTooLarge, match="'table'"):
        queue.submit(cell("def f(): return table", table=b"x" * 2_000)["f"])
    with pytest.raises(PayloadTooLarge, match="the arguments take"):
        queue.submit(len, [b"x" * 2_000])
    assert queue.stats()["total"] == 0


# --------------------------------------------------------------------------------------------------- refusals

LOCK = threading.Lock()


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value

    def get(self) -> object:
        return self.value


def generator() -> Iterator[int]:
    yield 1


async def agenerator() -> Any:
    yield 1


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a global": (lambda: cell("def f(): return lock", lock=LOCK)["f"], r"f uses lock \(lock\)"),
    "a closure": (
        lambda: cell("def outer(gate):\n    def f(): return gate\n    return f")["outer"](LOCK),
        r"f uses gate \(lock\)",
    ),
    "a default": (lambda: cell("def f(x=lock): return x", lock=LOCK)["f"], r"f uses (x|lock) \(lock\)"),
    "an attribute": (lambda: cell("def f(): return h", h=Holder([1, {"a": LOCK}]))["f"], r"h\.value\[1\]\['a'\] \(lock\)"),
    "a partial": (lambda: functools.partial(print, LOCK), r"argument 1 of the partial \(lock\)"),
    "a keyword of a partial": (lambda: functools.partial(print, end=LOCK), r"end \(lock\)"),
    "a bound method": (lambda: Holder(LOCK).get, r"self\.value \(lock\)"),
    "a function that is called": (lambda: cell("def g(): return lock\ndef f(): return g()", lock=LOCK)["f"], r"lock \(lock\)"),
    "a database": (lambda: cell("def f(): return db", db=sqlite3.connect(":memory:"))["f"], r"db \(Connection\)"),
    "a socket": (lambda: cell("def f(): return s", s=socket.socket())["f"], r"s \(socket\)"),
    "a file": (lambda: cell("def f(): return file", file=Path("/dev/null").open("ab"))["f"], r"file \(BufferedWriter\)"),  # noqa: SIM115
    "a generator": (lambda: cell("def f(): return g", g=generator())["f"], r"g \(generator\)"),
    "a thread": (lambda: cell("def f(): return t", t=threading.Thread())["f"], r"t\._\w+"),
    "a running loop": (lambda: cell("def f(): return loop", loop=asyncio.new_event_loop())["f"], r"loop"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", REFUSED)
def test_a_capture_that_cannot_leave_is_refused_by_its_name_and_nothing_is_stored(queue_path: Path, what: str) -> None:
    make, words = REFUSED[what]
    queue = JobQueue(queue_path)
    with pytest.raises(NotSerializable, match=words) as caught:
        queue.submit(make())
    assert isinstance(caught.value, TypeError)
    assert "Open or create it inside the function" in str(caught.value)
    assert queue.stats()["total"] == 0
    with queue._database.read() as db:
        assert db.execute("select (select count(*) from functions) + (select count(*) from tasks)").fetchone() == (0,)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1, LOCK), {}, r"argument 2 \(lock\)"),
        ((), {"x": LOCK}, r"params\['x'\] \(lock\)"),
        ((), {"x": {"deep": [1, (LOCK,)]}}, r"params\['x'\]\['deep'\]\[1\]\[0\] \(lock\)"),
        ((Holder(LOCK),), {}, r"argument 1\.value \(lock\)"),
        (({LOCK},), {}, r"argument 1\[0\] \(lock\)"),
    ],
)
def test_an_argument_that_cannot_leave_is_refused_by_its_place_and_nothing_is_stored(
    queue_path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    queue = JobQueue(queue_path)
    with pytest.raises(NotSerializable, match=words):
        queue.submit(cell("def f(*a, **k): return a")["f"], *args, **kwargs)
    assert queue.stats()["total"] == 0


def test_an_object_that_refuses_in_its_own_words_is_quoted(queue_path: Path) -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    with pytest.raises(NotSerializable, match=r"Stubborn.*not me"):
        JobQueue(queue_path).submit(len, Stubborn())


def test_a_part_of_a_graph_that_is_too_deep_is_a_refusal(queue_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSerializable, match="argument 1"):
        JobQueue(queue_path).submit(len, deep)
    while deep:  # freed step by step: not by recursion either
        deep = deep.pop()


@pytest.mark.parametrize("function", [generator, agenerator, functools.partial(generator)])
def test_a_generator_function_is_refused_with_the_way_out(queue_path: Path, function: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"generator function.*list"):
        JobQueue(queue_path).submit(function)


@pytest.mark.parametrize("function", [None, 42, "os.system", b"x", [], object()])
def test_what_cannot_be_called_is_refused(queue_path: Path, function: Any) -> None:
    queue = JobQueue(queue_path)
    for submit in (queue.submit, lambda f: queue.map(f, [1])):
        with pytest.raises(InvalidType, match="something that can be called"):
            submit(function)
