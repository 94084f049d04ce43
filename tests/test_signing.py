"""A signature is of the slot, the place and every byte."""

import hashlib
import hmac
from typing import Any

from gigq_nb import signing


def test_a_signature_is_of_the_slot_the_place_and_every_byte() -> None:
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
    for size in (0, 1, 65_535, 65_536, 200_000):
        data = b"x" * size
        text = signing.SLOT_JOB + b"\0a\0" + b"%d:" % size + data
        assert signing.sign(b"k" * 32, signing.SLOT_JOB, "a", data) == hmac.new(b"k" * 32, text, hashlib.sha256).digest()
