"""The line of a magic, in words: as a shell splits it, but a call with its brackets and quotes stays Python."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..commands.command import UsageError

_BATCH = re.compile(r"#\d+(?!\S)")  # the jobs of batch 3 are #3; a comment begins otherwise
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Word:
    """One word; ``is_python`` when it has a call in it, where nothing is to be expanded or unquoted."""

    text: str
    is_python: bool = False


def split(line: str) -> list[Word]:
    """Words of a line, without a comment at its end.

    Raises:
        UsageError: a quote or a bracket is not closed.
    """
    words = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] == "#" and not _BATCH.match(line, at):
            break
        else:
            word, at = _word(line, at)
            words.append(word)
    return words


def _word(line: str, at: int) -> tuple[Word, int]:
    """The word that begins at ``at``, and where it ends."""
    taken: list[str] = []
    python = False
    while at < len(line) and not line[at].isspace():
        one = line[at]
        if one in "'\"":
            end = _quote_end(line, at)
            taken.append(line[at + 1 : end - 1])
            at = end
        elif one in "([" or (one == "{" and python):
            end = _bracket_end(line, at)
            python = python or one == "("
            taken.append(line[at:end])
            at = end
        elif one == "{":  # {name}: IPython's expansion, which may have blanks in it
            end = _bracket_end(line, at)
            taken.append(line[at:end])
            at = end
        elif one == "\\" and at + 1 < len(line):
            taken.append(line[at + 1])
            at += 2
        else:
            taken.append(one)
            at += 1
    return Word("".join(taken), python), at


def _quote_end(line: str, at: int) -> int:
    """Behind the quote that closes the one at ``at``; a backslash escapes."""
    mark, i = line[at], at + 1
    while i < len(line):
        if line[i] == "\\":
            i += 2
            continue
        if line[i] == mark:
            return i + 1
        i += 1
    raise UsageError(f"a quote is not closed: {line[at:][:40]}")


def _bracket_end(line: str, at: int) -> int:
    """Behind the bracket that closes the one at ``at``; brackets in quotes do not count."""
    open_: list[str] = []
    i = at
    while i < len(line):
        one = line[i]
        if one in "'\"":
            i = _quote_end(line, i)
            continue
        if one in _CLOSING:
            open_.append(_CLOSING[one])
        elif open_ and one == open_[-1]:
            open_.pop()
            if not open_:
                return i + 1
        i += 1
    raise UsageError(f"a bracket is not closed: {line[at:][:40]}")
