"""Which names a cell reads from its notebook: by the code alone, without a kernel."""

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from gigq_nb.notebook.cell_names import names_of

transform = TransformerManager().transform_cell


@pytest.mark.parametrize(
    ("code", "read"),
    [
        pytest.param("model = fit(df)\nmodel.score()", "fit df", id="a name that is bound before is not taken along"),
        pytest.param("x += 1", "x", id="an augmented assignment reads"),
        pytest.param("del gone", "gone", id="del needs what it deletes"),
        pytest.param("n: int = 3\nn", "", id="an annotated assignment binds"),
        pytest.param("import numpy as np\nnp.zeros(a)", "a", id="an import binds"),
        pytest.param("for i in range(n): acc = i + k\nprint(acc)", "n k acc", id="a loop may not run at all"),
        pytest.param("while go: go = step()", "go step", id="a while loop reads before it binds"),
        pytest.param("if a:\n b = 1\nelse:\n b = 2\nb", "a", id="both branches bind"),
        pytest.param("if a:\n b = 1\nb", "a b", id="one branch may bind"),
        pytest.param("try:\n import a\nexcept E as e:\n a = e\na", "E", id="each way through a try binds"),
        pytest.param("try:\n a = f()\nfinally:\n a\n", "f a", id="finally may run before the body is done"),
        pytest.param("with open(p) as fh: data = fh.read()\ndata", "p", id="a with block binds"),
        pytest.param("match c:\n case {'a': v, **r}: print(v, r, w)\n case [p, *q] if p > m: q", "c w m", id="patterns bind"),
        pytest.param("match c:\n case Color.RED: x = 1\n case Kind(n=2): y = 2", "c Color Kind", id="patterns read"),
        pytest.param("[f(v) for v in vs if v > lim]", "f vs lim", id="a comprehension has names of its own"),
        pytest.param("(m := f(2)) + m", "f", id="a walrus binds"),
        pytest.param("def f(w): return X @ w - y\nX, y = load()\nf(1)", "load", id="a function reads when it is used"),
        pytest.param("def f(w): return X @ w - y\nf(1)\nX, y = load()", "X y load", id="used too early, it reads the notebook's"),
        pytest.param("def f(): return X\n", "X", id="a function that is only defined may be what the cell is for"),
        pytest.param("def fact(n): return n * fact(n - 1)\nfact(3)", "", id="recursion"),
        pytest.param("def a(): return b() + z\ndef b(): return a()\na()", "z", id="mutual recursion"),
        pytest.param("@deco(k)\ndef f(x=d): pass", "deco k d", id="decorators and defaults are read at once"),
        pytest.param(
            "class A(Base):\n  z = q\n  w = z\n  def m(self): return helper(self.z)\nA().m()", "Base q helper", id="a class"
        ),
        pytest.param("g = lambda: later", "later", id="a lambda"),
        pytest.param("f'{zz:.{w}f}'", "zz w", id="an f-string and its format"),
        pytest.param("await asyncio.sleep(t)", "asyncio t", id="top-level await"),
        pytest.param("async with s() as c:\n async for r in c: print(r, u)", "s u", id="async with and for"),
        pytest.param("len(print)", "", id="builtins are everywhere"),
        pytest.param("!echo $name {a + b}", "name a b", id="a shell command expands names"),
        pytest.param("files = !ls $d\nfiles", "d", id="the output of a shell command"),
        pytest.param("%time fit(df)", "fit df", id="a line magic with code"),
        pytest.param("%timeit -n 3 f(x)", "f x", id="a line magic with options and code"),
        pytest.param("%%time\nmodel = fit(df)\nmodel", "fit df", id="a cell magic with code"),
        pytest.param("df.query('a > @thr')", "df thr", id="names in a query of pandas"),
    ],
)
def test_names_that_a_cell_reads(code: str, read: str) -> None:
    assert set(names_of(transform(code), transform).read) == set(read.split())


def test_names_that_a_cell_binds_are_known_too() -> None:
    found = names_of("import os\nfor i in y: pass\ndef f(): z = 1\n(w := 2)")
    assert found.bound == {"os", "i", "f", "w"}
