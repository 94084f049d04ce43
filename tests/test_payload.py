"""What comes back: values, exceptions, objects of a notebook's classes; and secrets, which no text shows."""

import base64
import json
import math
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gigq_nb import JobQueue, Secret, payload
from gigq_nb.job import Options
from gigq_nb.runtime.preview import preview
from tests.cells import cell
from tests.scripts import run

VALUES: dict[str, Any] = {
    "None": None, "a large int": 10**400, "a float": -0.0, "infinity": -math.inf, "complex": 1 + 2j, "text": "ж\0\ud800"[:2],
    "bytes": b"\0\xff", "a tuple": (1, (2,), ()), "a set": {1, 2}, "a frozen set": frozenset({1}), "int keys": {1: "a", (2, 3): "b"},
    "a nested list": [[1, [2]], {"a": None}], "a range": range(3), "a slice": slice(1, 2), "Ellipsis": ..., "a path": Path("/a/b"),
    "a date": pd.Timestamp("2024-10-27 01:00", tz="Europe/Berlin"), "a timedelta": pd.Timedelta("1s"), "a type": dict,
    "a lone surrogate": "\ud800", "an exception": None, "a decimal": __import__("decimal").Decimal("1.10"),
    "a fraction": __import__("fractions").Fraction(1, 3), "a uuid": __import__("uuid").UUID(int=5),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(name: str) -> None:
    value = VALUES[name]
    for unpack in (payload.unpack, payload.unpack_here):
        back = unpack(payload.pack_value(value))
        assert (back, type(back)) == (value, type(value))


def test_not_a_number_comes_back() -> None:
    assert math.isnan(payload.unpack_here(payload.pack_value(math.nan)))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.zeros((0, 3)),
        np.array([1.5, np.nan]),
        np.array(["a", "bc"]),
        np.float32(1.5),
        np.bool_(True),
    ],
)
def test_arrays_come_back_with_shape_and_type(array: Any) -> None:
    back = payload.unpack_here(payload.pack_value(array))
    np.testing.assert_array_equal(back, array)
    assert (type(back), back.dtype, back.shape) == (type(array), array.dtype, array.shape)


def test_frames_come_back_with_types_and_index() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "b": pd.Categorical(["x", "y"]), "c": pd.to_datetime(["2024-01-01", None], utc=True), "d": ["s", None]},
        index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", "j"]),
    )
    pd.testing.assert_frame_equal(payload.unpack_here(payload.pack_value(frame)), frame)
    series = pd.Series([1.5, np.nan], name="s")
    pd.testing.assert_series_equal(payload.unpack_here(payload.pack_value(series)), series)


def test_an_exception_comes_back_with_its_arguments_notes_and_attributes() -> None:
    error = OSError(2, "no", "file")
    error.add_note("look there")
    back = payload.unpack_here(payload.pack_value(error))
    assert (type(back), back.args, back.filename, back.__notes__) == (FileNotFoundError, (2, "no"), "file", ["look there"])
    group = payload.unpack_here(payload.pack_value(ExceptionGroup("many", [ValueError(1), TypeError("x")])))
    assert [type(one) for one in group.exceptions] == [ValueError, TypeError]


RESTARTED = """
import base64, sys
from dataclasses import dataclass
import enum
from gigq_nb import payload

@dataclass
class Point:
    x: int
    tags: list

class Colour(enum.Enum):
    RED = 1

class MyError(Exception):
    def __init__(self, code): super().__init__(code); self.code = code

class Tree:
    class Leaf: pass
    def __init__(self): self.leaf = Tree.Leaf()

if sys.argv[1] == "before":
    for value in ([Point(1, ["a"]), Colour.RED, Tree()], MyError(7), Point, {Colour.RED: Point(2, [])}):
        print(base64.b64encode(payload.pack_value(value)).decode())
else:
    lines = [payload.unpack_here(base64.b64decode(line)) for line in sys.stdin]
    (point, colour, tree), error, cls, table = lines
    assert type(point) is Point and point == Point(1, ["a"]), point
    assert colour is Colour.RED
    assert type(tree) is Tree
    assert cls is Point
    assert table == {Colour.RED: Point(2, [])}
    try:
        raise error
    except MyError as caught:
        assert caught.code == 7
    assert payload.unpack_here(payload.pack_value(point)) == point
    print("same")
"""


def test_after_a_restart_what_comes_back_is_of_the_classes_that_the_notebook_defines_again() -> None:
    before = run(RESTARTED, "before").stdout
    assert run(RESTARTED, "after", input=before).stdout == "same\n"


def test_without_such_a_class_what_comes_back_still_works() -> None:
    before = run(RESTARTED, "before").stdout.splitlines()
    point, colour, _ = payload.unpack_here(base64.b64decode(before[0]))
    assert (point.x, colour.name, type(point).__name__) == (1, "RED", "Point")


def test_a_class_that_was_changed_since_keeps_its_own_methods() -> None:
    old = payload.pack_value(cell("class C:\n    n = 1\n    def m(self): return 'old'\nc = C(); c.x = 5")["c"])
    main = sys.modules["__main__"]
    new = cell("class C:\n    n = 2\n    def m(self): return 'new'")["C"]
    main.C = new  # type: ignore[attr-defined]
    try:
        back = payload.unpack_here(old)
        assert (type(back) is new, back.m(), back.n, back.x) == (True, "new", 2, 5)
    finally:
        del main.C  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------ secrets

CANARY = "canary-7f3a"


@dataclass
class Login:
    name: str
    password: Secret


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r}".format, lambda s: f"{s!s:>20}", lambda s: str((s, s)), ascii, preview, lambda s: preview([s, {"a": s}]),
     lambda s: preview(Login("me", s)), lambda s: repr(Login("me", s)), lambda s: preview({"password": CANARY}), lambda s: str([s]),
     lambda s: repr(ValueError(s)), lambda s: json.dumps(s, default=repr)],
)  # fmt: skip
def test_a_secret_is_in_no_text(show: Callable[[Any], str]) -> None:
    assert CANARY not in show(Secret(CANARY))


def test_a_secret_is_itself_where_it_is_used() -> None:
    back = payload.unpack(payload.pack_value(Secret({"token": CANARY})))
    assert back == Secret({"token": CANARY})
    assert back.value["token"] == CANARY
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


def test_a_secret_is_in_the_file_only_as_the_signed_payload(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    job = queue.submit(cell("def f(*a, **k): pass")["f"], Secret(CANARY), password=CANARY)
    with queue._database.read() as db:
        held = [
            table
            for (table,) in db.execute("select name from sqlite_schema where type = 'table'").fetchall()
            for row in db.execute(f"select * from {table}")
            if any(CANARY.encode() in one if isinstance(one, bytes) else CANARY in str(one) for one in row)
        ]
    assert held == ["arguments"]
    for text in (repr(job), str(queue.get_status(job)), str(queue.list_jobs()), repr(queue), str(job.row())):
        assert CANARY not in text


def test_options_are_one_text_whatever_their_order() -> None:
    assert (
        Options.of(tags=["a"], env={"b": "1", "a": "2"}).as_json() == Options.of(env={"a": "2", "b": "1"}, tags=["a"]).as_json()
    )
    assert pickle.loads(pickle.dumps(Options())) == Options()
