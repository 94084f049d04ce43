"""From the slices of :mod:`gigq_nb.store.columns` to typed columns: the same dtypes with a million rows and with none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import QueueCorrupt
from ..states import JobStatus, Outcome, Reason

if TYPE_CHECKING:
    from ..store.columns import Slice

MISSING = -1
#: pandas 3 has a type for text, pandas 2 keeps it in object columns.
TEXT: Any = pd.Series([], dtype=str).dtype
TIME = pd.DatetimeTZDtype("ms", "UTC")
_NULLABLE: Mapping[str, Any] = {"i": "Int64", "u": "UInt64", "b": "boolean"}
_NOT_A_TIME = np.iinfo(np.int64).min
_MOST_MS = 253_402_300_799_999  # the end of year 9999: pandas shows no later time


def fixed(values: Iterable[str], *, ordered: bool = False) -> pd.CategoricalDtype:
    """A categorical type that has all its values, whether they occur or not."""
    return pd.CategoricalDtype(pd.Index(list(values), dtype=TEXT), ordered=ordered)


def _of(kind: type[Enum], *, ordered: bool = False) -> pd.CategoricalDtype:
    return fixed([one.value for one in kind], ordered=ordered)


STATUS = _of(JobStatus, ordered=True)
REASON = _of(Reason)
OUTCOME = _of(Outcome)


class Columns:
    """All rows of some slices, in the order of an integer key."""

    def __init__(self, slices: Iterable[Slice], key: str, *, newest_first: bool) -> None:
        self._ids: list[str] = []
        self._texts: dict[str, list[str | None]] = {}
        self._messages: list[str] = []
        self._types: dict[str, int] = {}
        type_codes: list[int] = []
        error_keys: list[Any] = []
        parts: dict[str, list[Any]] = {key: []}
        for one in slices:
            self._ids += one.ids
            error_keys.append(_parsed(one.errors.keys, one.errors.rows))
            self._messages += one.errors.messages
            type_codes += [self._types.setdefault(kind, len(self._types)) for kind in one.errors.types]
            for name, numbers in one.numbers.items():
                parts.setdefault(name, []).append(_parsed(numbers, one.rows))
            for name, texts in one.texts.items():
                self._texts.setdefault(name, []).extend(texts)
        keys = np.concatenate(parts[key]) if parts[key] else np.empty(0, np.int64)
        self._step = -1 if newest_first else 1
        # Rows come in the order of the file, unless an index that a filter uses has another one.
        rising = bool(np.all(keys[1:] > keys[:-1]))
        self._order: Any = slice(None, None, self._step) if rising else np.argsort(keys)[:: self._step]
        self._type_codes = np.array(type_codes, np.int64)
        self._error_places = self._places(keys[self._order], np.concatenate([np.empty(0, np.int64), *error_keys]))
        self._numbers = {
            name: np.ascontiguousarray(np.concatenate(parts.pop(name))[self._order]) for name in list(parts) if len(keys)
        }

    def __len__(self) -> int:
        return len(self._ids)

    def number(self, name: str) -> Any:
        """Whole numbers, none of them missing."""
        return self._numbers.get(name, np.empty(0, np.int64))

    def nullable(self, name: str) -> Any:
        """Whole numbers, some of them missing."""
        numbers = self.number(name)
        return pd.arrays.IntegerArray(numbers, numbers == MISSING)

    def flag(self, name: str) -> Any:
        """True and False."""
        return self.number(name) != 0

    def category(self, name: str, dtype: pd.CategoricalDtype) -> Any:
        """One of a few fixed words, or nothing."""
        return pd.Categorical.from_codes(self.number(name), dtype=dtype)

    def time(self, name: str) -> Any:
        """Times in UTC."""
        return times(self.number(name))

    def took(self, begin: str, end: str) -> Any:
        """The time between two columns, in milliseconds; not a time where one of them is missing."""
        begins, ends = self.number(begin), self.number(end)
        lengths = ends - begins
        lengths[(begins < 0) | (ends < 0)] = _NOT_A_TIME
        return lengths.view("m8[ms]")

    def named(self, name: str, words: Mapping[int, str | None]) -> Any:
        """Words for numbers: of a task its name, say. Only words that occur are categories, in alphabetical order."""
        codes, numbers = pd.factorize(self.number(name))
        some = pd.Categorical(texts([words[one] for one in numbers.tolist()]))
        return pd.Categorical.from_codes(some.codes[codes], categories=some.categories)

    def distinct(self, name: str) -> list[int]:
        """The different numbers of a column."""
        found: list[int] = pd.unique(self.number(name)).tolist()
        return found

    def id(self) -> Any:
        """The public ids."""
        return texts(_objects(self._ids)[self._order])

    def ids_in_order(self) -> list[str]:
        """The public ids as a list."""
        found: list[str] = _objects(self._ids)[self._order].tolist()
        return found

    def text(self, name: str) -> Any:
        """Texts, some of them missing."""
        return texts(_objects(self._texts.pop(name, []))[self._order])

    def errors(self) -> tuple[Any, Any]:
        """(type, message) of the errors, as two columns."""
        messages = np.full(len(self), None, object)
        messages[self._error_places] = _objects(self._messages)
        some = pd.Categorical(texts([class_name(one) for one in self._types]))
        codes = np.full(len(self), -1, some.codes.dtype)
        codes[self._error_places] = some.codes[self._type_codes]
        return pd.Categorical.from_codes(codes, categories=some.categories), texts(messages)

    def _places(self, keys: Any, wanted: Any) -> Any:
        """In which rows these keys stand."""
        return np.searchsorted(self._step * keys, self._step * wanted)


def _parsed(numbers: str, rows: int) -> Any:
    found = np.fromstring(numbers, np.int64, sep=",")
    if len(found) != rows:
        raise QueueCorrupt("a column of this file holds something else than numbers; keep it, and restore a backup")
    return found


def _objects(values: Sequence[object]) -> Any:
    """Exactly these objects, whatever they are: numpy would look into lists and arrays."""
    return np.fromiter(values, object, len(values))


def times(ms: Any) -> Any:
    """UTC times from integer milliseconds; negative and absurd ones are missing."""
    absurd = (ms < 0) | (ms > _MOST_MS)
    return pd.array(np.where(absurd, _NOT_A_TIME, ms).view("M8[ms]"), dtype=TIME)


def seconds(took: Any) -> Any:
    """Lengths of time as seconds; NaN where there are none."""
    return np.where(np.isnat(took), np.nan, took.view(np.int64) / 1000)


def texts(values: Any) -> Any:
    """A column of text; None is missing."""
    return pd.array(values if isinstance(values, np.ndarray) else _objects(values), dtype=TEXT)


def inferred(values: Sequence[object]) -> Any:
    """A column of the type that its values have; None and NA are missing. Whole numbers and truths stay what they are."""
    objects = _objects(values)
    absent = np.fromiter((one is None or one is pd.NA for one in values), bool, len(values))
    known = pd.Series(objects, dtype=object)[~absent].infer_objects()
    if not absent.any() or known.dtype == object:
        return known.array if not absent.any() else objects
    if (nullable := _NULLABLE.get(known.dtype.kind)) is not None:
        known = known.astype(nullable)
    return known.reindex(range(len(values))).array


def moments(values: Sequence[object]) -> Any:
    """A column of UTC times from ISO texts or integer milliseconds; None when they are something else."""
    column = inferred(values)
    absent = pd.isna(column)
    if absent.all():
        return times(np.full(len(values), MISSING, np.int64))
    if column.dtype.kind in "iu":
        return times(np.where(absent, MISSING, column).astype(np.int64))
    if not all(isinstance(one, str) for one in values if one is not None):
        return None
    try:
        return pd.to_datetime(pd.Series(column), utc=True, format="ISO8601").astype(TIME).array
    except (ValueError, OverflowError):
        return None


def class_name(kind: str) -> str:
    """An exception's class as a traceback writes it."""
    return kind.removeprefix("builtins.").removeprefix("__main__.")
