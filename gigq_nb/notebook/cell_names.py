"""Which names a cell reads that it does not bind itself before: what must be taken along when it runs elsewhere.

Python's own compiler says which names each piece of code reads and binds; this module only follows the order of the
statements. A function that is defined in the cell reads its names when it is first mentioned after that, so a name
that is bound between its definition and its first use is not taken along.
"""

from __future__ import annotations

import ast
import builtins
import dis
import re
from collections.abc import Callable, Iterable, Iterator
from types import CodeType

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_READS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_NAME", "DELETE_GLOBAL"})
_BINDS = frozenset({"STORE_NAME", "STORE_GLOBAL"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_EXPANDED = re.compile(r"\$\$?([A-Za-z_]\w*)|\{([^{}\n]*)\}")
_AT_NAME = re.compile(r"@([A-Za-z_]\w*)")
_SHELL = frozenset({"system", "getoutput", "run_line_magic", "run_cell_magic"})
# Magics whose argument or body is Python code.
_CODE_MAGICS = frozenset({"time", "timeit", "prun", "memit", "mprun", "lprun", "capture", "debug"})
_OPTIONS = re.compile(r"^(\s*-\w+(\s+\S+)?)*\s+(?=[A-Za-z_(\[{])")

Transform = Callable[[str], str]


class Names:
    """What a cell reads from outside, and what it binds at its top level."""

    def __init__(self) -> None:
        self.read: dict[str, None] = {}
        self.bound: set[str] = set()


def names_of(code: str, transform: Transform = lambda text: text) -> Names:
    """The names of a cell whose code was transformed by IPython.

    Args:
        code: Plain Python, magics already turned into calls.
        transform: Does the same for the body of a magic.

    Raises:
        SyntaxError: it is not Python.
    """
    found = Names()
    reader = _Reader(found, transform)
    reader.block(ast.parse(code).body, set())
    reader.use_rest()
    for name in list(found.read):
        if hasattr(builtins, name) or name in ("get_ipython", "display", "__file__"):
            del found.read[name]
    return found


class _Reader:
    """Goes through statements in their order. ``sure`` is what is bound for certain when a statement begins."""

    def __init__(self, found: Names, transform: Transform) -> None:
        self.found = found
        self.transform = transform
        self.later: dict[str, set[str]] = {}  # names read by a function of the cell, once it is used

    def block(self, statements: Iterable[ast.stmt], sure: set[str]) -> set[str]:
        """Read statements; returns what is bound for certain after them. ``sure`` grows."""
        for one in statements:
            self.statement(one, sure)
        return sure

    def statement(self, one: ast.stmt, sure: set[str]) -> None:
        match one:
            case ast.If():
                self.expression(one.test, sure)
                sure |= self.block(one.body, set(sure)) & self.block(one.orelse, set(sure))
            case ast.For() | ast.AsyncFor():
                self.expression(one.iter, sure)
                self.block([_assigned(one.target), *one.body], set(sure))
                self.block(one.orelse, set(sure))
            case ast.While():
                self.expression(one.test, sure)
                self.block(one.body, set(sure))
                self.block(one.orelse, set(sure))
            case ast.With() | ast.AsyncWith():
                for item in one.items:
                    self.expression(item.context_expr, sure)
                    if item.optional_vars is not None:
                        self.statement(_assigned(item.optional_vars), sure)
                self.block(one.body, sure)
            case ast.Try() | ast.TryStar():
                self.attempt(one, sure)
            case ast.Match():
                self.expression(one.subject, sure)
                for case in one.cases:
                    self.case(case, set(sure))
            case _:
                self.simple(one, sure)

    def attempt(self, one: ast.Try | ast.TryStar, sure: set[str]) -> None:
        ends = [self.block([*one.body, *one.orelse], set(sure))]
        for handler in one.handlers:
            if handler.type is not None:
                self.expression(handler.type, sure)
            ends.append(self.block(handler.body, sure | ({handler.name} if handler.name else set())))
        last = self.block(one.finalbody, set(sure))  # it may run before the body is done
        sure |= set.intersection(*ends) | last

    def case(self, one: ast.match_case, sure: set[str]) -> None:
        for node in ast.walk(one.pattern):
            match node:
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    sure.add(name)
                case ast.MatchValue(value=value) | ast.MatchClass(cls=value):
                    self.expression(value, sure)
        if one.guard is not None:
            self.expression(one.guard, sure)
        self.block(one.body, sure)

    def expression(self, one: ast.expr, sure: set[str]) -> None:
        self.simple(ast.copy_location(ast.Expr(one), one), sure)

    def simple(self, one: ast.stmt, sure: set[str]) -> None:
        """A statement without blocks of its own, a definition, or an expression."""
        module = ast.Module([one], [])
        code = compile(ast.fix_missing_locations(module), "<cell>", "exec", flags=_FLAGS, dont_inherit=True)
        own, nested = _accesses(code)
        later: set[str] = set()
        for inner in nested:
            reads = _nested_reads(inner)
            if isinstance(one, _DEFINITIONS):
                later |= reads
            else:
                self.read(reads, sure)
        for kind, name in own:
            if kind == "read":
                self.read([name], sure)
            else:
                self.found.bound.add(name)
                sure.add(name)
                self.later.pop(name, None)
        for text in _texts(one):
            self.text(text, sure)
        if isinstance(one, _DEFINITIONS):
            self.later[one.name] = later

    def read(self, names: Iterable[str], sure: set[str]) -> None:
        for name in names:
            if name in self.later:
                self.read(self.later.pop(name) - {name}, sure)
            if name not in sure:
                self.found.read.setdefault(name)

    def use_rest(self) -> None:
        """Functions that the cell defines and does not use: they may be what it is for."""
        while self.later:
            _, names = self.later.popitem()
            self.read(names, set(self.found.bound))

    def text(self, found: tuple[str, str], sure: set[str]) -> None:
        """Names in the text of a magic, a shell command or a query."""
        kind, text = found
        if kind == "query":
            self.read(_AT_NAME.findall(text), sure)
        elif kind == "code":
            try:
                inner = ast.parse(self.transform(text)).body
            except SyntaxError:
                return
            self.block(inner, sure)
        else:
            for name, expression in _EXPANDED.findall(text):
                for node in ast.walk(_parsed(name or expression)):
                    if isinstance(node, ast.Name):
                        self.read([node.id], sure)


def _parsed(text: str) -> ast.AST:
    try:
        return ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return ast.Module([], [])


def _assigned(target: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Assign([target], ast.copy_location(ast.Constant(None), target)), target)


def _accesses(code: CodeType) -> tuple[list[tuple[str, str]], list[CodeType]]:
    """What one piece of code reads and binds itself, in its order, and the pieces within it."""
    own = []
    for one in dis.get_instructions(code):
        if one.opname in _READS:
            own.append(("read", one.argval))
        elif one.opname in _BINDS:
            own.append(("bind", one.argval))
    return own, [one for one in code.co_consts if isinstance(one, CodeType)]


def _nested_reads(code: CodeType) -> set[str]:
    """The global names that a function, class body, lambda or comprehension reads, with all within it."""
    own, nested = _accesses(code)
    reads: set[str] = set()
    local = {"__name__", "__qualname__", "__module__"}
    for kind, name in own:
        if kind == "bind":
            local.add(name)
        elif name not in local:
            reads.add(name)
    for inner in nested:
        reads |= _nested_reads(inner)
    return reads


def _texts(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Texts in a statement that hold names: of shell commands, magics and pandas' queries."""
    for node in ast.walk(statement):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if node.func.attr in ("query", "eval"):
            yield from (("query", one) for one in texts)
        elif node.func.attr in _SHELL and _is_shell(node.func.value):
            if node.func.attr == "run_cell_magic" and len(texts) == 3:
                yield "shell", texts[1]
                yield ("code" if texts[0] in _CODE_MAGICS else "shell"), texts[2]
            elif node.func.attr == "run_line_magic" and len(texts) == 2 and texts[0] in _CODE_MAGICS:
                yield "code", _OPTIONS.sub("", texts[1])
            else:
                yield from (("shell", one) for one in texts)


def _is_shell(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython"
