"""The line of a magic, in words."""

import pytest

from gigq_nb.commands.command import UsageError
from gigq_nb.notebook.line import Word, split


def words(line: str) -> list[str]:
    return [word.text for word in split(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   ", []),
        ("list --status failed", ["list", "--status", "failed"]),
        ("list # all of them", ["list"]),
        ("# nothing", []),
        ("show '#3'", ["show", "#3"]),
        ("retry #3 #12  #4 of them", ["retry", "#3", "#12", "#4", "of", "them"]),
        ("list #3rd time", ["list"]),
        ("show a#3", ["show", "a#3"]),
        ("submit --name 'two words' f(1)", ["submit", "--name", "two words", "f(1)"]),
        ('submit --name="two words" f(1)', ["submit", "--name=two words", "f(1)"]),
        ("submit f(a, b=[1, 2], c={'k': \"v)\"})", ["submit", "f(a, b=[1, 2], c={'k': \"v)\"})"]),
        ("submit f('it\\'s', \")\")  # go", ["submit", "f('it\\'s', \")\")"]),
        ("submit f(x)(y).g({1})", ["submit", "f(x)(y).g({1})"]),
        ("submit (lambda x: x)(1)", ["submit", "(lambda x: x)(1)"]),
        ("submit f('#')", ["submit", "f('#')"]),
        ("--param x=[1, 2]", ["--param", "x=[1, 2]"]),
        ("--name {a + b}-$c", ["--name", "{a + b}-$c"]),
        (r"a\ b", ["a b"]),
    ],
)
def test_a_line_is_split_as_a_shell_does_but_calls_stay_whole(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_only_what_has_a_call_in_it_is_python() -> None:
    assert split("submit --name {n} f({1})") == [Word("submit"), Word("--name"), Word("{n}"), Word("f({1})", is_python=True)]


@pytest.mark.parametrize("line", ["f(1", "f('a)", "'open", '"open', "f([)]", "x=[1", "{a"])
def test_what_is_not_closed_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="is not closed"):
        split(line)
