"""Tables and texts for a terminal: pure functions."""

import pytest

from gigq_nb.commands.command import Table
from gigq_nb.commands.terminal import ago_text, cut, render, seconds_text, settled, visible, visible_line, width_of

ID = "0199aaaa-0000-7000-8000-000000000000"


def table(*names: str) -> Table:
    return Table(
        columns=("id", "name", "status", "created", "attempts"),
        rows=[(ID, name, "completed", "2026-03-01 12:00:00", 1) for name in names],
        empty="nothing",
        whole=("id", "status", "created"),
        spare=("attempts", "created"),
    )


def test_a_table_without_a_limit_shows_everything() -> None:
    lines = render(table("a" * 100), None).splitlines()
    assert lines[1].split() == [ID, "a" * 100, "completed", "2026-03-01", "12:00:00", "1"]


@pytest.mark.parametrize("width", [200, 100, 80, 70, 60, 40])
def test_a_table_is_never_wider_than_the_terminal_and_never_cuts_an_id(width: int) -> None:
    text = render(table("short", "a name " * 20, "日本語" * 30), width)
    assert all(width_of(line) <= max(width, len(ID)) for line in text.splitlines())
    assert text.count(ID) == 3


def test_in_a_narrow_terminal_spare_columns_go_first() -> None:
    heads = {width: render(table("a name"), width).splitlines()[0].split() for width in (100, 80, 66)}
    assert heads == {
        100: ["id", "name", "status", "created", "attempts"],
        80: ["id", "name", "status", "created"],
        66: ["id", "name", "status"],
    }


def test_numbers_stand_right_and_columns_are_aligned_also_under_wide_characters() -> None:
    made = Table(columns=("name", "jobs"), rows=[("日本", 5), ("abcdef", 12345)], empty="", whole=())
    assert render(made, None).splitlines() == ["name     jobs", "日本        5", "abcdef  12345"]


def test_an_empty_table_says_so() -> None:
    assert render(table(), 80) == "nothing"


def test_a_column_in_which_nothing_stands_is_left_out_when_it_is_spare() -> None:
    made = Table(columns=("id", "reason"), rows=[("x", None)], empty="", spare=("reason",))
    assert render(made, None) == "id\nx"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("\x00\x07\x08\r\x7f", r"\x00\x07\x08\x0d\x7f"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\ud800", r"\ud800"),
        ("é 日本 \U0001f600", "é 日本 \U0001f600"),
    ],
)
def test_control_characters_are_shown_and_all_else_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line_stays_one_line() -> None:
    assert visible_line("a\nb\tc") == r"a\nb\tc"


def test_of_a_progress_bar_the_last_state_is_left() -> None:
    assert settled("start\n 10%\r 50%\r100%\ndone\r\n") == "start\n100%\ndone\n"
    assert settled("\r 10%\r 50%") == " 50%"
    assert settled("kept\r") == "kept"


def test_a_cut_text_says_that_it_is_cut() -> None:
    assert (cut("abcdef", 6), cut("abcdef", 5), cut("日本語", 4)) == ("abcdef", "abcd…", "日…")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.0123, "0.0123"), (1.25, "1.2"), (59.94, "59.9"), (65, "1:05"), (3723, "1:02:03"), (float("inf"), "inf")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (60, "1 minute"), (7300, "2 hours"), (90_000, "1 day")])
def test_how_long_ago_is_said_in_words(seconds: float, text: str) -> None:
    assert ago_text(seconds) == text
