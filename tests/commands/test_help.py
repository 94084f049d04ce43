"""The help: one text for both doors, and nothing in it that is not so."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from gigq_nb import __version__
from gigq_nb.commands import registry
from tests.commands.conftest import Said

Gigq = Callable[..., Said]

GIGQ_WORDS = {
    "submit": ["--name", "--param", "--priority", "--max-attempts", "--timeout", "--description", "--retry-delay"],
    "status": ["--show-params", "--show-result", "--show-executions"],
    "list": ["--status", "--limit"],
    "cancel": [],
    "requeue": [],
    "clear": ["--before"],
    "stats": [],
    "worker": ["--worker-id", "--polling-interval", "--once", "--concurrency"],
}


@pytest.mark.parametrize("word", GIGQ_WORDS)
def test_every_word_and_option_of_gigq_is_there(word: str) -> None:
    assert set(GIGQ_WORDS[word]) <= set(registry.options_of(word))


def test_help_lists_every_word_with_its_summary(gigq: Gigq) -> None:
    said = gigq("--help")
    assert (said.code, said.err, said.out) == (0, "", registry.overview() + "\n")
    for word, command in registry.words().items():
        assert f"\n  {word}" in said.out
        assert command.summary()[:40] in " ".join(said.out.split())


def test_help_fits_a_terminal_of_a_hundred_columns() -> None:
    assert max(map(len, registry.overview().splitlines())) <= 100


@pytest.mark.parametrize("word", list(registry.words()))
def test_every_word_has_a_help_that_names_its_options(word: str, gigq: Gigq) -> None:
    said = gigq(word, "--help")
    assert (said.code, said.err) == (0, "")
    assert [option for option in registry.options_of(word) if option not in said.out] == []
    command = registry.words()[word]
    assert command.summary()[:60] in " ".join(said.out.split())


def test_the_version_is_the_packages(gigq: Gigq) -> None:
    assert gigq("--version").out == f"gigq-nb {__version__}\n"


def test_the_installed_script_is_the_same() -> None:
    script = sys.executable.rpartition("/")[0] + "/gigq-nb"
    assert (
        subprocess.run([script, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
        == registry.overview() + "\n"
    )


def test_a_terminal_needs_neither_ipython_nor_pandas() -> None:
    code = "import sys, gigq_nb.__main__ as m; m.main(['--help']); print({'IPython', 'pandas', 'ipywidgets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()"
