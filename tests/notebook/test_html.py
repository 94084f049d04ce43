"""The HTML of a view is what a browser makes of it: only our own tags, only our own attributes, every text as a text."""

import base64
import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest

from gigq_nb.job import Counts
from gigq_nb.notebook import cards, graph, html, plain
from gigq_nb.notebook.loglines import last_lines
from gigq_nb.notebook.snapshots import GraphNode, JobView, RichOutput, Snapshot, grouped
from gigq_nb.notebook.view import bundle
from gigq_nb.notebook.widgets import stylesheet
from tests.notebook.hostile import NOW, TEXTS, job_row, snapshots

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"html", "head", "body", "div", "span", "pre", "details", "summary", "img"}
SVG_TAGS = {"svg", "g", "title", "rect", "circle", "text", "path"}
ATTRIBUTES = {
    "class",
    "style",
    "role",
    "aria-label",
    "aria-hidden",
    "aria-valuemin",
    "aria-valuemax",
    "aria-valuenow",
    "tabindex",
    "alt",
    "src",
}
SVG_ATTRIBUTES = {
    *(
        "class",
        "role",
        "aria-label",
        "width",
        "height",
        "style",
        "viewBox",
        "font-family",
        "font-size",
        "x",
        "y",
        "rx",
        "cx",
        "cy",
        "r",
    ),
    *("d", "fill", "stroke", "stroke-width", "stroke-opacity", "{http://www.w3.org/2000/xmlns/}xmlns"),
}
IMAGE = re.compile(r"data:image/(png|svg\+xml|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")
CLASS = re.compile(r"(gigq-[a-z]+ ?)+")
STYLE = re.compile(r"[a-zA-Z0-9 #%.,:;()'\-]*")


def parse(text: str) -> ET.Element:
    return html5lib.parse(text, treebuilder="etree")


def elements(text: str) -> Iterator[Any]:
    return (one for one in parse(text).iter() if isinstance(one.tag, str))


def strangers(text: str) -> list[str]:
    """Every tag, attribute and value that is not ours."""
    wrong = []
    for one in parse(text).iter():
        if not isinstance(one.tag, str):
            wrong.append("a comment")
            continue
        svg = one.tag.startswith(SVG)
        name = one.tag.removeprefix(SVG if svg else XHTML)
        if name not in (SVG_TAGS if svg else TAGS):
            wrong.append(f"<{name}>")
        for key, value in one.attrib.items():
            if key not in (SVG_ATTRIBUTES if svg else ATTRIBUTES):
                wrong.append(f"{name} {key}={value[:40]!r}")
            if (
                (key == "src" and not IMAGE.fullmatch(value))
                or (key == "class" and not CLASS.fullmatch(value))
                or (key == "style" and (not STYLE.fullmatch(value) or "url" in value or "expression" in value))
            ):
                wrong.append(f"{key}={value[:60]!r}")
    return wrong


def names(view: Snapshot) -> list[str]:
    return [type(view).__name__]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_text_becomes_a_tag_or_an_attribute(text: str) -> None:
    for view in snapshots(text):
        assert strangers(cards.saved(view)) == [], names(view)
        for name, part in cards.sections(view).items():
            assert strangers(part) == [], (names(view), name)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_text_reads_as_it_was_written_with_its_hidden_characters_shown(text: str) -> None:
    view = JobView(at_ms=NOW, row=job_row(text))
    shown = "".join(parse(cards.saved(view)).itertext())
    assert html.visible(text)[:199].split("\n")[0] in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    cards.saved(view).encode()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    for view in snapshots(text):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain.text(view)), names(
            view
        )


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_drawing_has_as_many_nodes_as_jobs_whatever_they_are_called(text: str) -> None:
    nodes = tuple(GraphNode(name=f"{text}{i}", n=1, counts=Counts(running=1)) for i in range(4))
    drawing = ET.fromstring(graph.svg(nodes, ((0, 1), (0, 2), (1, 3), (2, 3))))
    tags = [one.tag.removeprefix(SVG) for one in drawing.iter()]
    assert set(tags) <= SVG_TAGS
    assert (tags.count("g"), tags.count("path")) == (4, 4)
    assert {key for one in drawing.iter() for key in one.attrib} <= SVG_ATTRIBUTES


def test_the_only_style_of_a_saved_view_is_a_constant_and_all_else_is_inline() -> None:
    for view in snapshots("x"):
        text = bundle(view)["text/html"]
        style = f"<style>{stylesheet('snapshot.css').strip()}</style>"
        assert text.startswith(style)
        assert strangers(text.removeprefix(style)) == []


def test_a_saved_workflow_is_an_image_that_survives_where_svg_does_not() -> None:
    text = cards.saved(snapshots("load")[5])
    assert [one for one in elements(text) if one.tag.startswith(SVG)] == []
    [picture] = [one for one in elements(text) if one.tag == f"{XHTML}img"]
    drawing = base64.b64decode(picture.get("src").partition(",")[2]).decode()
    assert ET.fromstring(drawing).tag == f"{SVG}svg"
    assert picture.get("alt").startswith("load: failed")


def test_a_saved_view_says_when_it_was_true_and_how_to_see_it_move() -> None:
    view = JobView(at_ms=NOW, row=job_row("train", "running"))
    text = "".join(parse(cards.saved(view)).itertext())
    assert "as of 2023-11-14 22:13:20 UTC" in text
    assert text.endswith("to see it move: %gigq show train")
    other = JobView(at_ms=NOW, row=job_row("train; rm", "running"))
    assert "".join(parse(cards.saved(other)).itertext()).endswith(f"to see it move: %gigq show {other.row.id}")
    assert "as of 2023-11-14 22:13:20 UTC" in plain.text(view)


def test_a_long_result_is_folded_where_the_cell_displayed_something() -> None:
    row = dataclasses.replace(job_row("fit", "completed"), result_text=str(list(range(300))))
    picture = RichOutput({"image/png": "aGk="})
    alone, beside = (cards.sections(JobView(at_ms=NOW, row=row, outputs=shown))["result"] for shown in ((), (picture,)))
    assert f"{XHTML}details" not in [one.tag for one in elements(alone)]
    assert f"{XHTML}details" in [one.tag for one in elements(beside)]
    assert "100, 101" in beside, "it is all there"


def test_the_same_snapshot_gives_the_same_html() -> None:
    for one, other in zip(snapshots("x"), snapshots("x"), strict=True):
        assert cards.saved(one) == cards.saved(other)
        assert cards.sections(one) == cards.sections(other)


def test_arguments_and_folders_are_not_shown() -> None:
    secret = "canary-4711"
    for status in ("pending", "running", "failed", "completed"):
        view = JobView(at_ms=NOW, row=job_row("train", status, arguments_text=secret, notebook=secret, cell=secret))
        assert secret not in cards.saved(view) + plain.text(view)
    queue = snapshots("jobs.db")[6]
    assert "/x/" not in cards.saved(queue) + plain.text(queue)


def test_no_width_is_larger_than_a_narrow_column() -> None:
    for view in snapshots("x"):
        for one in elements(cards.saved(view)):
            for width in re.findall(r"(?<!max-)\bwidth:(\d+)px", one.get("style", "")):
                assert int(width) <= 320 or "overflow:auto" in cards.saved(view)


def test_a_bar_has_words_for_those_who_do_not_see_it() -> None:
    view = JobView(at_ms=NOW, row=job_row("train", "running"))
    [bar] = [one for one in elements(cards.saved(view)) if one.get("role") == "progressbar"]
    assert (bar.get("aria-valuenow"), bar.get("aria-label")) == ("43", "train: 43 %")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "under 1 ms"), (0.04, "40 ms"), (0.4, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (100_000, "1 d 3 h")],
)  # fmt: skip
def test_a_time_span_is_told_in_two_units(seconds: float, words: str) -> None:
    assert html.duration(seconds) == words


def test_the_last_lines_of_a_log_have_no_colours_and_a_progress_bar_as_it_stood_last() -> None:
    text = "\x1b[31mred\x1b[0m\n  0%|     |\r 50%|##   |\r100%|#####|\r\nlast\n\n"
    assert last_lines(text, 10) == ("red", "100%|#####|", "last")
    assert last_lines(text, 1) == ("last",)
    assert last_lines("", 3) == ()


def test_jobs_that_are_alike_become_one_node_with_their_number() -> None:
    nodes = [
        (0, "load", "completed", 1.0),
        *[(i, "work", "running" if i < 4 else "completed", None) for i in range(1, 1001)],
        (1001, "sum", "pending", None),
    ]
    edges = [*[(0, i) for i in range(1, 1001)], *[(i, 1001) for i in range(1, 1001)]]
    drawn = grouped(nodes, edges)
    assert [(one.name, one.n, one.status) for one in drawn.nodes] == [
        ("load", 1, "completed"),
        ("work", 1000, "running"),
        ("sum", 1, "pending"),
    ]
    assert drawn.edges == ((0, 1), (1, 2))


def test_layers_follow_the_longest_way_and_no_two_nodes_stand_on_each_other() -> None:
    edges = ((0, 1), (1, 2), (0, 2), (0, 3), (3, 4), (2, 4), (0, 4))
    assert graph.layers_of(5, edges) == [0, 1, 2, 1, 3]
    places = list(graph.layout(5, edges).at.values())
    assert len({(layer, round(row, 3)) for layer, row in places}) == len(places)


def test_a_workflow_for_a_terminal_names_what_each_job_waits_for() -> None:
    nodes = tuple(
        GraphNode(name=name, n=1, counts=Counts(**{status: 1}))
        for name, status in (("load", "completed"), ("fit", "running"), ("plot", "pending"))
    )
    assert [line.split() for line in graph.lines(nodes, ((0, 1), (1, 2)))] == [
        ["load", "completed"],
        ["fit", "running", "after", "load"],
        ["plot", "pending", "after", "fit"],
    ]
