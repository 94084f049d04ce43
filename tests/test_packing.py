"""What travels to a child: functions of every kind, as they are at the submit, and their arguments."""

import base64
import functools
import json
import math
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from gigq_nb import JobQueue, captures, packing, payload
from gigq_nb.errors import InvalidType, NotSerializable
from tests.cells import cell
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


@pytest.fixture(scope="module")
def returned() -> dict[str, object]:
    """What the functions return in a process that knows nothing of where they were defined."""
    lines = []
    for code, call, _ in KINDS.values():
        function, *args = eval(f"({call})", cell(code))
        sent = packing.pack_function(function).payload, packing.pack_arguments(args, {})[0]
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
    name = captures.display_name(eval(f"({call})", cell(code))[0])
    assert 0 < len(name) <= 200
    assert "<locals>" not in name


def test_a_function_is_packed_as_it_is_at_the_submit() -> None:
    notebook = cell("FACTOR = 2\ndef f(x): return x * FACTOR")
    first = packing.pack_function(notebook["f"])
    notebook["FACTOR"] = 3
    second = packing.pack_function(notebook["f"])
    assert [payload.unpack(one.payload)(1) for one in (first, second)] == [2, 3]
    assert first.digest != second.digest


def test_what_a_later_cell_defines_travels_with_the_next_submit() -> None:
    notebook = cell("def f(x): return helper(x)")
    packing.pack_function(notebook["f"])
    exec("def helper(x): return x + 1", notebook)
    assert payload.unpack(packing.pack_function(notebook["f"]).payload)(1) == 2


def test_a_class_in_an_annotation_travels_as_it_is_at_each_submit() -> None:
    for annotation in ("C", "list[C]"):
        notebook = cell(f"class C: n = 1\ndef f(x: {annotation}) -> None: return None")
        first = packing.pack_function(notebook["f"]).digest
        notebook["C"].n = 2
        assert packing.pack_function(notebook["f"]).digest != first


def test_code_that_was_put_in_place_of_the_old_travels() -> None:
    """As %autoreload does it."""
    notebook = cell("def f(x, n=1): return x + n\ndef g(x, n=1): return x - n")
    assert payload.unpack(packing.pack_function(notebook["f"]).payload)(5) == 6
    notebook["f"].__code__ = notebook["g"].__code__
    assert payload.unpack(packing.pack_function(notebook["f"]).payload)(5) == 4
    notebook["f"].__defaults__ = (2,)
    assert payload.unpack(packing.pack_function(notebook["f"]).payload)(5) == 3


def test_equal_functions_have_equal_bytes() -> None:
    one, two = (cell("def f(x):\n    return x + 1")["f"] for _ in range(2))
    assert packing.pack_function(one).digest == packing.pack_function(two).digest


def test_a_function_of_an_installed_module_travels_by_reference() -> None:
    assert len(packing.pack_function(json.dumps).payload) < 100


def test_the_source_and_the_cells_are_kept_for_tracebacks() -> None:
    import linecache

    code = "def f():\n    return 1 / 0\n"
    linecache.cache["<ipython-input-7>"] = (len(code), None, code.splitlines(keepends=True), "<ipython-input-7>")
    namespace = {"__name__": "__main__"}
    exec(compile(code, "<ipython-input-7>", "exec"), namespace)
    packed = packing.pack_function(namespace["f"])
    assert packed.cells == {"<ipython-input-7>": code}
    assert "return 1 / 0" in packed.source


def test_a_cached_function_of_a_notebook_gets_an_empty_cache_and_one_of_a_module_travels_by_name() -> None:
    code = "import functools\n@functools.lru_cache(maxsize=3)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)"
    fib = cell(code)["fib"]
    fib(5)
    back = payload.unpack(packing.pack_function(fib).payload)
    assert (back(10), back.cache_parameters()["maxsize"]) == (55, 3)
    assert payload.unpack(packing.pack_function(functools.partial(cached_here, 2)).payload)() == 4


@functools.lru_cache
def cached_here(x: int) -> int:
    return x * 2


def test_a_queue_travels_as_its_path(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    function = cell("def f(): return queue.db_path", queue=queue)["f"]
    assert payload.unpack(packing.pack_function(function).payload)() == str(queue_path)


def test_arguments_are_as_they_were_at_the_submit(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    numbers, options = [1, 2], {"a": [1]}
    job = queue.submit(cell("def f(*a, **k): pass")["f"], numbers, options=options)
    numbers.append(3)
    options["a"].append(2)
    assert queue._loader.arguments([job]) == {job: (([1, 2],), {"options": {"a": [1]}})}


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
    by_reference = packing.pack_function(local_module.helper)
    by_value = packing.pack_function(local_module.helper, [local_module])
    assert b"near_by" in by_reference.payload
    assert len(by_value.payload) > len(by_reference.payload)
    assert cloudpickle.list_registry_pickle_by_value() == before
    assert packing.pack_function(local_module.helper).digest == by_reference.digest


def test_the_registry_is_put_back_after_an_error_and_kept_where_the_user_registered(local_module: types.ModuleType) -> None:
    function = cell("def f(): return lock", lock=threading.Lock())["f"]
    with pytest.raises(NotSerializable):
        packing.pack_function(function, [local_module])
    assert "near_by" not in cloudpickle.list_registry_pickle_by_value()
    cloudpickle.register_pickle_by_value(local_module)
    try:
        packing.pack_function(local_module.helper, [local_module])
        assert "near_by" in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(local_module)


def test_by_value_takes_modules_only() -> None:
    with pytest.raises(InvalidType, match="by_value takes modules, not str"):
        packing.pack_function(len, ["json"])  # type: ignore[list-item]
