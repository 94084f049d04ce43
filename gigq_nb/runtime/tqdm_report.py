"""tqdm inside a job reports progress, without a change to the user's code, and leaves one line in the log instead of thousands.

A finder waits in the child for tqdm to be imported, and then replaces what its bars do to the terminal. Bars that write
to a file of their own are left alone, and so is everything outside a job.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import context

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec  # importlib.abc, for its base classes, would cost each child 4 ms

MOST_LINES_AT_ONCE = 20
TELL_EVERY_S = 0.005
_OF_INIT = ("iterable", "desc", "total", "leave", "file", "ncols", "mininterval", "maxinterval", "miniters")


class _Finder:
    """Finds nothing itself: it lets the others find tqdm's modules, and has a word after they are executed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in _CHANGES:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, fullname)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    def __init__(self, inner: Any, name: str) -> None:
        self.inner, self.name = inner, name

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        _CHANGES[self.name](module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def install() -> None:
    """In a child, before any job: be there when tqdm is imported."""
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _change_bars(module: ModuleType) -> None:
    """tqdm.std: the class that all others inherit from."""
    _change_drawing(module.tqdm)
    _change_counting(module.tqdm)
    module.tqdm.monitor_interval = 0  # no thread: whatever the job starts by fork stays safe


def _change_drawing(bar: Any) -> None:
    """A bar is not drawn, but told; at its end it leaves its last line."""
    init, display, clear, close = bar.__init__, bar.display, bar.clear, bar.close
    lines = _Lines()

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it takes the place of tqdm's
        given = dict(zip(_OF_INIT, args, strict=False)) | kwargs
        file = given.get("file")
        self._gigq_nb = (
            context.state.job is not None and (file is None or file in (sys.stdout, sys.stderr)) and not given.get("gui")
        )
        if self._gigq_nb and given.get("miniters") is None and len(args) < len(_OF_INIT):
            # tqdm guesses how many steps fit into 0.1 s, and a thread corrects it when they get slow; we look each time.
            kwargs = {**kwargs, "miniters": 1}
        init(self, *args, **kwargs)

    def told(self: Any, msg: str | None = None, pos: int | None = None) -> Any:
        if not _is_ours(self):
            return display(self, msg, pos)
        _tell(self)
        return True

    def not_cleared(self: Any, nolock: bool = False) -> None:
        if not _is_ours(self):
            clear(self, nolock)

    def closed(self: Any) -> None:
        if not _is_ours(self) or getattr(self, "disable", True):
            close(self)
            return
        outermost = abs(self.pos) == 0
        begun = hasattr(self, "last_print_t") and self.last_print_t >= self.start_t + self.delay
        if begun:
            _tell(self)
        self.sp = None  # tqdm takes it for a bar in a window, and writes nothing
        close(self)
        if outermost and begun and self.leave is not False and lines.may_write():
            self._ema_dt = lambda: None  # the overall rate, as tqdm shows it at the end
            self.fp.write(f"{self}\n")

    bar.__init__, bar.display, bar.clear, bar.close = __init__, told, not_cleared, closed


def _change_counting(bar: Any) -> None:
    """A bar's count is right at any moment: what comes next may take an hour."""
    iterate, update = bar.__iter__, bar.update

    def steps(self: Any) -> Iterator[Any]:
        if not _is_ours(self) or self.disable:
            yield from iterate(self)
            return
        n, told_s, every_s = self.n, 0.0, min(TELL_EVERY_S, self.mininterval)
        try:
            for one in self.iterable:
                yield one
                n += 1
                self.n = n
                now_s = time.monotonic()
                if now_s - told_s >= every_s:
                    told_s = now_s
                    self.update(0)
        finally:
            self.n = n
            self.close()

    def moved(self: Any, n: float = 1) -> Any:
        shown = update(self, n)
        if not shown and _is_ours(self) and not self.disable:
            now_s = time.monotonic()
            if now_s - getattr(self, "_gigq_nb_told_s", 0.0) >= min(TELL_EVERY_S, self.mininterval):
                self._gigq_nb_told_s = now_s
                _tell(self)
        return shown

    bar.__iter__, bar.update = steps, moved


def _is_ours(bar: Any) -> bool:
    return getattr(bar, "_gigq_nb", False)


class _Lines:
    """Twenty lines, then one a second: a bar for each of ten thousand files must not fill the log."""

    def __init__(self) -> None:
        self.written = 0
        self.last_s = 0.0

    def may_write(self) -> bool:
        now_s = time.monotonic()
        if self.written >= MOST_LINES_AT_ONCE and now_s - self.last_s < 1.0:
            return False
        self.written, self.last_s = self.written + 1, now_s
        return True


def _tell(bar: Any) -> None:
    """The outermost bar says how far the job is; the ones within it are mentioned in the text."""
    bars = sorted((one for one in list(bar._instances) if _is_ours(one)), key=lambda one: abs(one.pos))
    outer = bars[0] if bars else bar
    text = _words(outer)
    for inner in bars[1:3]:
        count = f"{inner.n:,}/{inner.total:,}" if inner.total else f"{inner.n:,}"
        text += f"{' · ' if text else ''}{_words(inner)} {count}".rstrip()
    context.progress(outer.n, outer.total, text)


def _words(bar: Any) -> str:
    return ", ".join(one for one in (str(bar.desc or "").rstrip(": "), str(bar.postfix or "")) if one)


def _change_notebook(module: ModuleType) -> None:
    """tqdm.notebook: its widgets belong to a kernel, and a child has none."""
    plain: Any = sys.modules["tqdm.std"].tqdm

    class tqdm_notebook(plain):  # type: ignore[misc]  # noqa: N801 - tqdm's own name
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("display", None)
            super().__init__(*args, **kwargs)

    def tnrange(*args: Any, **kwargs: Any) -> Any:
        return tqdm_notebook(range(*args), **kwargs)

    tqdm_notebook.__module__, tqdm_notebook.__qualname__ = module.__name__, "tqdm_notebook"
    names: Any = module
    names.tqdm = names.tqdm_notebook = tqdm_notebook
    names.trange = names.tnrange = tnrange


_CHANGES = {"tqdm.std": _change_bars, "tqdm.notebook": _change_notebook}
