"""What travels: functions of every kind, what they capture, arguments, results, exceptions; and what is refused by name."""

import asyncio
import base64
import builtins
import functools
import json
import math
import pickle
import socket
import sqlite3
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from gigq_nb import JobQueue, Secret, payload
from gigq_nb.errors import InvalidArgument, InvalidType, NotSerializable, PayloadTooLarge
from gigq_nb.job import Options
from gigq_nb.runtime.preview import preview
from gigq_nb.submission import CaptureWarning
from tests.scripts import run

# name -> (what a notebook's cells define, the call, what it returns)
KINDS: dict[str, tuple[str, str, object]] = {
    "a function": ("def f(x): return x + 1", "f, 1", 2),
    "a lambda": ("f = lambda x: x * 2", "f, 4", 8),
    "a closure": ("def outer(n):\n    def inner(x): return x + n\n    return inner\nf = outer(10)", "f, 1", 11),
    "a closure that counts": (
        "def outer():\n    n = 5\n    def inner():\n        nonlocal n\n        n += 1\n        return n\n    return inner\nf = outer()", "f,", 6,
    ),
    "a recursive function": ("def f(n): return 1 if n < 2 else n * f(n - 1)", "f, 5", 120),
    "mutually recursive functions": (
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n > 0 and even(n - 1)", "even, 10", True,
    ),
    "a function that uses another and a global": ("FACTOR = 3\ndef g(x): return x * FACTOR\ndef f(x): return g(x) + 1", "f, 2", 7),
    "a function that imports at the top": ("import math\nimport numpy as np\ndef f(x): return float(np.sqrt(x)) + math.pi", "f, 4.0", 2 + math.pi),
    "a class": ("class C:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\ndef f(x): return C(x).x", "f, 4", 4),
    "a class with super and a property": (
        "class A:\n    @property\n    def p(self): return 1\nclass B(A):\n    def q(self): return super().p + 1\ndef f(): return B().q()", "f,", 2,
    ),
    "a callable object": ("class C:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return self.n + x\nf = C(5)", "f, 1", 6),
    "a bound method": ("class C:\n    n = 7\n    def m(self, x): return self.n + x\nf = C().m", "f, 1", 8),
    "a class method": ("class C:\n    @classmethod\n    def m(cls, x): return cls.__name__ + x\nf = C.m", "f, '!'", "C!"),
    "a static method": ("class C:\n    @staticmethod\n    def m(x): return x\nf = C.m", "f, 3", 3),
    "a partial": ("import functools\ndef g(a, b, c): return (a, b, c)\nf = functools.partial(g, 1, c=3)", "f, 2", (1, 2, 3)),
    "a partial of a partial": (
        "import functools\ndef g(*a): return a\nf = functools.partial(functools.partial(g, 1), 2)", "f, 3", (1, 2, 3),
    ),
    "a decorated function": (
        "import functools\ndef twice(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a) * 2\n    return w\n@twice\ndef f(x): return x", "f, 4", 8,
    ),
    "a cached function": ("import functools\n@functools.lru_cache\ndef f(x): return x + 1", "f, 1", 2),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass P:\n    x: int\n    y: int = 2\ndef f(): return P(1).y", "f,", 2,
    ),
    "an enum": ("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\ndef f(): return [e.name for e in E]", "f,", ["A", "B"]),
    "a named tuple": ("import collections\nP = collections.namedtuple('P', 'a b')\ndef f(): return P(1, 2).b", "f,", 2),
    "defaults and keywords": ("def f(a, /, b=2, *c, d=4, **e): return (a, b, c, d, e)", "f, 1", (1, 2, (), 4, {})),
    "annotations of classes that are not there": ("from __future__ import annotations\ndef f(x: Missing) -> Nothing: return x", "f, 1", 1),
    "a builtin": ("f = sorted", "f, [2, 1]", [1, 2]),
    "a method of a builtin": ("f = str.upper", "f, 'a'", "A"),
    "a bound method of a builtin": ("f = 'a,b'.split", "f, ','", ["a", "b"]),
    "a type": ("f = dict", "f, [(1, 2)]", {1: 2}),
    "a ufunc of numpy": ("import numpy\nf = numpy.add", "f, 1, 2", 3),
    "operator.itemgetter": ("import operator\nf = operator.itemgetter(1)", "f, [1, 2]", 2),
    "a generator inside": ("def f(n): return sum(i * i for i in range(n))", "f, 4", 14),
    "a match statement": ("def f(x):\n    match x:\n        case [a, *_]: return a\n        case _: return None", "f, [5, 6]", 5),
    "an exception class": ("class E(ValueError):\n    pass\ndef f():\n    try:\n        raise E('x')\n    except E as e:\n        return str(e)", "f,", "x"),
    "a global that is rebound": ("N = 0\ndef f():\n    global N\n    N += 1\n    return N", "f,", 1),
    "names with other scripts": ("def größe(дата): return дата\nf = größe", "f, 'ж'", "ж"),
    "a logger": ("import logging\nlog = logging.getLogger('x')\ndef f():\n    log.info('a')\n    return log.name", "f,", "x"),
}  # fmt: skip

IN_ANOTHER_PROCESS = """
import base64, json, sys
from gigq_nb import payload
for line in sys.stdin:
    function, arguments = map(base64.b64decode, line.split())
    args, kwargs = payload.unpack(arguments)
    value = payload.unpack(function)(*args, **kwargs)
    print(base64.b64encode(payload.pack_value(value)).decode())
    payload.forget_classes()
"""


def cell(code: str, **known: Any) -> dict[str, Any]:
    """The namespace of a notebook after a cell: what it defines belongs to ``__main__``."""
    namespace = {"__name__": "__main__", "__builtins__": builtins, **known}
    exec(compile(code, "<cell>", "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def returned() -> dict[str, object]:
    """What the functions return in a process that knows nothing of where they were defined."""
    lines = []
    for code, call, _ in KINDS.values():
        function, *args = eval(f"({call})", cell(code))
        sent = payload.pack_function(function).payload, payload.pack_arguments(args, {})[0]
        lines.append(" ".join(base64.b64encode(one).decode() for one in sent))
    done = run(IN_ANOTHER_PROCESS, input="\n".join(lines))
    values = [payload.unpack(base64.b64decode(line)) for line in done.stdout.split()]
    return dict(zip(KINDS, values, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_elsewhere_as_it_runs_here(returned: dict[str, object], kind: str) -> None:
    assert returned[kind] == KINDS[kind][2]


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_a_name_for_people(kind: str) -> None:
    code, call, _ = KINDS[kind]
    name = payload.display_name(eval(f"({call})", cell(code))[0])
    assert 0 < len(name) <= 200
    assert "<locals>" not in name


# ---------------------------------------------------------------------------------------------- what is captured


def test_a_function_is_packed_as_it_is_at_the_submit() -> None:
    notebook = cell("FACTOR = 2\ndef f(x): return x * FACTOR")
    first = payload.pack_function(notebook["f"])
    notebook["FACTOR"] = 3
    second = payload.pack_function(notebook["f"])
    assert [payload.unpack(one.payload)(1) for one in (first, second)] == [2, 3]
    assert first.digest != second.digest


def test_what_a_later_cell_defines_travels_with_the_next_submit() -> None:
    notebook = cell("def f(x): return helper(x)")
    payload.pack_function(notebook["f"])
    exec("def helper(x): return x + 1", notebook)
    assert payload.unpack(payload.pack_function(notebook["f"]).payload)(1) == 2


def test_a_class_in_an_annotation_travels_as_it_is_at_each_submit() -> None:
    for annotation in ("C", "list[C]"):
        notebook = cell(f"class C: n = 1\ndef f(x: {annotation}) -> None: return None")
        first = payload.pack_function(notebook["f"]).digest
        notebook["C"].n = 2
        assert payload.pack_function(notebook["f"]).digest != first


def test_code_that_was_put_in_place_of_the_old_travels() -> None:
    """As %autoreload does it."""
    notebook = cell("def f(x, n=1): return x + n\ndef g(x, n=1): return x - n")
    assert payload.unpack(payload.pack_function(notebook["f"]).payload)(5) == 6
    notebook["f"].__code__ = notebook["g"].__code__
    assert payload.unpack(payload.pack_function(notebook["f"]).payload)(5) == 4
    notebook["f"].__defaults__ = (2,)
    assert payload.unpack(payload.pack_function(notebook["f"]).payload)(5) == 3


def test_equal_functions_have_equal_bytes() -> None:
    one, two = (cell("def f(x):\n    return x + 1")["f"] for _ in range(2))
    assert payload.pack_function(one).digest == payload.pack_function(two).digest


def test_a_function_of_an_installed_module_travels_by_reference() -> None:
    assert len(payload.pack_function(json.dumps).payload) < 100


def test_the_source_and_the_cells_are_kept_for_tracebacks() -> None:
    import linecache

    code = "def f():\n    return 1 / 0\n"
    linecache.cache["<ipython-input-7>"] = (len(code), None, code.splitlines(keepends=True), "<ipython-input-7>")
    namespace = {"__name__": "__main__"}
    exec(compile(code, "<ipython-input-7>", "exec"), namespace)
    packed = payload.pack_function(namespace["f"])
    assert packed.cells == {"<ipython-input-7>": code}
    assert "return 1 / 0" in packed.source


def test_the_report_names_what_is_captured_with_its_size() -> None:
    data = np.zeros(100_000)
    notebook = cell(
        "def outer(small):\n    def f(x, d=(1, 2)):\n        return data.sum() + small + len(d)\n    return f", data=data
    )
    report = payload.captured(notebook["outer"](5))
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


def test_a_queue_travels_as_its_path(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    function = cell("def f(): return queue.db_path", queue=queue)["f"]
    assert payload.unpack(payload.pack_function(function).payload)() == str(queue_path)


# -------------------------------------------------------------------------------------------- modules by value


@pytest.fixture
def local_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    (tmp_path / "near_by.py").write_text("def helper(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import near_by  # type: ignore[import-not-found]

    yield near_by
    del sys.modules["near_by"]


def test_by_value_sends_the_code_of_a_module_along_and_leaves_cloudpickle_as_it_was(local_module: types.ModuleType) -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    by_reference = payload.pack_function(local_module.helper)
    by_value = payload.pack_function(local_module.helper, [local_module])
    assert b"near_by" in by_reference.payload
    assert len(by_value.payload) > len(by_reference.payload)
    assert cloudpickle.list_registry_pickle_by_value() == before
    assert payload.pack_function(local_module.helper).digest == by_reference.digest


def test_the_registry_is_put_back_after_an_error_and_kept_where_the_user_registered(local_module: types.ModuleType) -> None:
    function = cell("def f(): return lock", lock=LOCK)["f"]
    with pytest.raises(NotSerializable):
        payload.pack_function(function, [local_module])
    assert "near_by" not in cloudpickle.list_registry_pickle_by_value()
    cloudpickle.register_pickle_by_value(local_module)
    try:
        payload.pack_function(local_module.helper, [local_module])
        assert "near_by" in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(local_module)


def test_by_value_takes_modules_only() -> None:
    with pytest.raises(InvalidType, match="by_value takes modules, not str"):
        payload.pack_function(len, ["json"])  # type: ignore[list-item]


# ------------------------------------------------------------------------------------------ arguments, results


def test_arguments_are_as_they_were_at_the_submit(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    numbers, options = [1, 2], {"a": [1]}
    job = queue.submit(cell("def f(*a, **k): pass")["f"], numbers, options=options)
    numbers.append(3)
    options["a"].append(2)
    assert queue._arguments([job]) == {job: (([1, 2],), {"options": {"a": [1]}})}


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


def test_a_cached_function_of_a_notebook_gets_an_empty_cache_and_one_of_a_module_travels_by_name() -> None:
    code = "import functools\n@functools.lru_cache(maxsize=3)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)"
    fib = cell(code)["fib"]
    fib(5)
    back = payload.unpack(payload.pack_function(fib).payload)
    assert (back(10), back.cache_parameters()["maxsize"]) == (55, 3)
    assert payload.unpack(payload.pack_function(functools.partial(cached_here, 2)).payload)() == 4


@functools.lru_cache
def cached_here(x: int) -> int:
    return x * 2


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


# ---------------------------------------------------------------------------------------------------- signatures


def test_a_signature_is_of_the_slot_the_place_and_every_byte() -> None:
    from gigq_nb import signing

    key = bytes(range(32))
    made = signing.sign(key, signing.SLOT_JOB, "job 1", b"task", b"arguments")
    assert signing.verify(key, made, signing.SLOT_JOB, "job 1", b"task", b"arguments")
    others: list[tuple[Any, ...]] = [
        (key, made, signing.SLOT_RESULT, "job 1", b"task", b"arguments"),
        (key, made, signing.SLOT_JOB, "job 2", b"task", b"arguments"),
        (key, made, signing.SLOT_JOB, "job 1", b"task2", b"arguments"),
        (key, made, signing.SLOT_JOB, "job 1", b"task", b"argumentt"),
        (key, made, signing.SLOT_JOB, "job 1", b"tas", b"karguments"),
        (key, made, signing.SLOT_JOB, "job 1", b"taskarguments"),
        (key, made[:-1], signing.SLOT_JOB, "job 1", b"task", b"arguments"),
        (key, b"", signing.SLOT_JOB, "job 1", b"task", b"arguments"),
        (key, None, signing.SLOT_JOB, "job 1", b"task", b"arguments"),
        (bytes(32), made, signing.SLOT_JOB, "job 1", b"task", b"arguments"),
    ]
    assert [signing.verify(*one) for one in others] == [False] * len(others)


def test_large_and_small_payloads_are_signed_alike() -> None:
    import hashlib
    import hmac

    from gigq_nb import signing

    for size in (0, 1, 65_535, 65_536, 200_000):
        data = b"x" * size
        text = signing.SLOT_JOB + b"\0a\0" + b"%d:" % size + data
        assert signing.sign(b"k" * 32, signing.SLOT_JOB, "a", data) == hmac.new(b"k" * 32, text, hashlib.sha256).digest()


def test_options_are_one_text_whatever_their_order() -> None:
    assert (
        Options.of(tags=["a"], env={"b": "1", "a": "2"}).as_json() == Options.of(env={"a": "2", "b": "1"}, tags=["a"]).as_json()
    )
    assert pickle.loads(pickle.dumps(Options())) == Options()
