"""What a job makes up and writes into the line to the worker is refused, or means no harm."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from gigq_nb.job import Options
from gigq_nb.runtime import messages, wire
from gigq_nb.runtime.runner import Assignment, LoadedTask
from gigq_nb.runtime.settling import Settlements
from gigq_nb.states import Outcome
from gigq_nb.store.attempts import Claim
from gigq_nb.store.filesystem import Spill

ERROR = {"type": "ValueError", "message": "no", "traceback": "", "types": ["ValueError"], "reason": "error"}


def assignment() -> Assignment:
    claim = Claim(1, "a" * 36, 1, None, 1, 1, 3, 0, None, 0, b"", False, token=7)
    return Assignment(claim, LoadedTask(1, b"", "f", 1, b"", b"", b"", Options()), b"", b"", None)


def packet(kind: bytes, *sections: bytes, started: int = 1, finished: int = 2, sizes: tuple[int, ...] | None = None) -> bytes:
    sections += (b"",) * (5 - len(sections))
    return wire.TO_WORKER.pack(kind, 7, started, finished, *(sizes or map(len, sections))) + b"".join(sections)


def test_an_error_and_a_result_are_read(tmp_path: Path) -> None:
    over = messages.read(packet(wire.ERROR, json.dumps(ERROR).encode(), b"x", b"1", b"", b"s"), None).finished_attempt(
        assignment()
    )
    assert (over.outcome, over.error, over.exception, over.arguments, over.signature) == (Outcome.FAILED, ERROR, b"x", "1", b"s")
    whole = messages.read(packet(wire.RESULT, b"p", b"", "ü".encode(), b"1", b"s"), None).finished_attempt(assignment())
    assert (whole.outcome, whole.payload, whole.preview, whole.json, whole.arguments) == (Outcome.COMPLETED, b"p", "", "ü", "1")
    apart = messages.read(packet(wire.RESULT, sizes=(1, 0, 0, 0, 1)), memoryview(b"ps")).finished_attempt(assignment())
    assert (bytes(apart.payload), apart.signature) == (b"p", b"s")


@pytest.mark.parametrize(
    "made_up",
    [
        pytest.param(packet(wire.ERROR, b"{}"), id="empty"),
        pytest.param(packet(wire.ERROR, b"[]"), id="a list"),
        pytest.param(packet(wire.ERROR, json.dumps(ERROR | {"message": "\ud800"}).encode()), id="half a surrogate pair"),
        pytest.param(packet(wire.ERROR, b"[" * 20_000), id="deeper than Python goes"),
        pytest.param(packet(wire.ERROR, b"\xff"), id="no text"),
        pytest.param(packet(wire.ERROR, json.dumps(ERROR | {"reason": "because"}).encode()), id="a reason that is none"),
        pytest.param(packet(wire.ERROR, json.dumps(ERROR | {"types": None}).encode()), id="no types"),
        pytest.param(packet(wire.RESULT, b"p", b"\xff"), id="a preview that is no text"),
        pytest.param(packet(wire.RESULT, b"p", sizes=(-1, 2, 0, 0, 0)), id="less than nothing"),
        pytest.param(packet(wire.RESULT, b"p", sizes=(2**40, 0, 0, 0, 0)), id="more than there is"),
        pytest.param(packet(wire.RESULT, b"p", started=2, finished=1), id="ended before it began"),
        pytest.param(packet(wire.RESULT, b"p", finished=2**62), id="in the future"),
    ],
)
def test_what_is_no_end_of_an_attempt_is_refused(made_up: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        messages.read(made_up, None).finished_attempt(assignment())


@given(
    some.sampled_from([wire.RESULT, wire.ERROR]),
    some.binary(max_size=120),
    some.lists(some.integers(-3, 60), min_size=5, max_size=5),
)
@example(wire.ERROR, json.dumps(ERROR).encode(), [len(json.dumps(ERROR)), 0, 0, 0, 0])
def test_whatever_is_not_refused_can_be_settled(
    tmp_path_factory: pytest.TempPathFactory, kind: bytes, content: bytes, sizes: list[int]
) -> None:
    made_up = wire.TO_WORKER.pack(kind, 7, 1, 2, *sizes) + content
    try:
        over = messages.read(made_up, None).finished_attempt(assignment())
    except (struct.error, ValueError):
        return
    assert Settlements(Spill(tmp_path_factory.getbasetemp() / "jobs.db")).ending(over).outcome is over.outcome
