"""``%%gigq``: cells as jobs, in real kernels. What must be true in a kernel is asserted there: an error fails the notebook."""

import json
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from gigq_nb import JobQueue
from gigq_nb.notebook.outputs import outputs_of
from gigq_nb.store import outs

Run = Callable[..., tuple[nbformat.NotebookNode, dict[str, Any]]]

START = "%load_ext gigq_nb\n%gigq connect jobs.db"
# pause(name) waits, in a job, until go(name) was called; both by a file in the folder that they share.
GATES = """
import os, time
from gigq_nb.connected import current
def pause(name):
    end = time.monotonic() + 60
    while not os.path.exists(name):
        assert time.monotonic() < end, name
        time.sleep(0.01)
def go(name): open(name, "w").close()
def last(name): return current().last(name)
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def texts(cell: Any) -> str:
    """All that a cell shows, as text."""
    found = []
    for output in cell.outputs:
        found.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
        found += output.get("traceback", [])
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(found))


def open_queue(folder: Path) -> JobQueue:
    return JobQueue(folder / "jobs.db", initialize=False)


# ------------------------------------------------------------------------------------------- as a cell runs


def test_a_cell_runs_as_a_cell_runs(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START,
            (
                "%%gigq --name all --out n,slept,wd\n"
                "import asyncio\n"
                "print('to the log')\n"
                "n = 3\n"
                "slept = await asyncio.sleep(0.01, 'slept')\n"
                "!echo from the shell $n\n"
                "wd = %pwd\n"
                "display({'text/plain': 'shown'}, raw=True)\n"
                "n + 1"
            ),
            "job = _\nassert job.result(60) == {'n': 3, 'slept': 'slept', 'wd': __import__('os').getcwd()}",
        ]
    )
    with open_queue(tmp_path) as queue:
        job = queue.last("all")
        assert job.logs() == "to the log\nfrom the shell 3\n"
        assert [(one.kind, one.data, one.verified) for one in outputs_of(job)] == [
            ("display_data", {"text/plain": "shown"}, True),
            ("execute_result", {"text/plain": "4"}, True),
        ]


def test_the_value_of_the_last_line_is_the_result_without_out(run_nb: Run) -> None:
    run_nb(
        [
            START,
            "%%gigq --name value\n[1, 2]",
            "assert _.result(60) == [1, 2]",
            "%%gigq --name quiet\n[1, 2];",
            "assert _.result(60) is None",
            "%%gigq --name generator\n(x for x in [1])",
            "job = _\nassert job.result(60) is None\nassert 'cannot leave this process' in job.logs()",
            "%%gigq --name none\nx = 1",
            "assert _.result(60) is None",
        ]
    )


def test_figures_become_pictures_at_the_end_of_the_cell(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START,
            (
                "%%gigq --name plots\n"
                "import matplotlib.pyplot as plt\n"
                "plt.plot([1, 2]); plt.show()\n"
                "fig, ax = plt.subplots()\n"
                "ax.hist([1, 1, 2])"
            ),
            "job = _\nassert job.result(60) is None, 'bars and lines are drawn, not kept'",
        ]
    )
    with open_queue(tmp_path) as queue:
        shown = outputs_of(queue.last("plots"))
        pictures = [one.data["image/png"] for one in shown if "image/png" in one.data]
        assert len(pictures) == 2
        assert all(one.startswith("iVBORw0KGgo") for one in pictures)
        assert queue.last("plots").logs() == ""


def test_displays_are_replaced_and_cleared_as_in_a_cell(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START,
            (
                "%%gigq --name replaced\n"
                "from IPython.display import clear_output, display\n"
                "display('gone'); clear_output()\n"
                "handle = display('first', display_id=True)\n"
                "display('other')\n"
                "for i in range(1000): handle.update(i)\n"
            ),
            (
                "%%gigq --name cleared\n"
                "from IPython.display import clear_output, display\n"
                "for i in range(1000):\n"
                "    clear_output(wait=True)\n"
                "    display(i)"
            ),
            "%gigq wait replaced cleared",
        ]
    )
    with open_queue(tmp_path) as queue:
        assert [one.data["text/plain"] for one in outputs_of(queue.last("replaced"))] == ["999", "'other'"]
        assert [one.data["text/plain"] for one in outputs_of(queue.last("cleared"))] == ["999"]


def test_displays_are_there_while_the_cell_runs(run_nb: Run) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name live\ndisplay('one')\npause('first')\ndisplay('two')\npause('second')",
            (
                "from gigq_nb.notebook.outputs import outputs_of\n"
                "shown = lambda: [o.data['text/plain'] for o in outputs_of(last('live'))]\n"
                "until(lambda: shown() == [\"'one'\"]); go('first')\n"
                "until(lambda: shown() == [\"'one'\", \"'two'\"])\n"
                "assert last('live').running()\ngo('second')\nassert last('live').wait(60)"
            ),
        ]
    )


def test_outputs_without_end_are_bounded_and_said_to_be(run_nb: Run, tmp_path: Path) -> None:
    run_nb([START, "%%gigq --name many\nfor i in range(1000): display(i)", "_.result(60)"])
    with open_queue(tmp_path) as queue:
        assert len(outputs_of(queue.last("many"))) == 200
        assert queue.last("many").logs().count("no more of this job are") == 1


def test_the_outputs_of_a_cell_that_failed_are_kept(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START,
            "%%gigq --name half\ndisplay('before')\nraise KeyError('k')",
            "_.wait(60)\nassert type(_.exception()) is KeyError",
        ]
    )
    with open_queue(tmp_path) as queue:
        assert [one.data["text/plain"] for one in outputs_of(queue.last("half"))] == ["'before'"]


def test_a_traceback_has_the_cells_own_lines(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START + "\ndef divide(a, b):\n    return a / b  # in the notebook",
            "%%gigq --name wrong\nx = 1\ndef f():\n    return divide(x, 0)  # in the cell\n\nf()",
            (
                "job = _\ntry:\n    job.result(60)\nexcept ZeroDivisionError as error:\n    cause = str(error.__cause__)\n"
                "else:\n    raise AssertionError\n"
                "assert 'File \"cell wrong\", line 6, in <module>\\n    f()' in cause, cause\n"
                "assert 'File \"cell wrong\", line 4, in f\\n    return divide(x, 0)  # in the cell' in cause, cause\n"
                "assert 'return a / b  # in the notebook' in cause, cause\n"
                "assert 'gigq_nb' not in cause and 'IPython' not in cause, cause"
            ),
        ]
    )
    with open_queue(tmp_path) as queue:
        assert queue.last("wrong").error == "division by zero"


def test_sys_exit_in_a_cell_is_a_failure_that_says_so(run_nb: Run, tmp_path: Path) -> None:
    run_nb([START, "%%gigq --name leaves\nimport sys\nsys.exit(3)", "_.wait(60)"])
    with open_queue(tmp_path) as queue:
        assert "exited with code 3" in (queue.last("leaves").error or "")
        assert "To exit" not in queue.last("leaves").logs()


def test_each_cell_has_a_process_of_its_own(run_nb: Run) -> None:
    run_nb(
        [
            START,
            "%%gigq --name one --out pid1\nimport os, sys\npid1 = os.getpid()\nos.chdir('/'); sys.left = 1; os.environ['LEFT'] = '1'",
            "_.wait(60)",
            (
                "%%gigq --name two --out pid2,left,wd\nimport os, sys\npid2 = os.getpid()\n"
                "left = hasattr(sys, 'left') or 'LEFT' in os.environ; wd = os.getcwd()"
            ),
            "_.wait(60)\nimport os\nassert pid1 != pid2 and pid1 != os.getpid()\nassert not left and wd == os.getcwd()",
        ]
    )


def test_a_retried_cell_starts_afresh(run_nb: Run) -> None:
    run_nb(
        [
            START,
            (
                "%%gigq --name twice --max-attempts 2 --out n\nfrom gigq_nb import current_job\n"
                "display(f'attempt {current_job().attempt}')\nn = current_job().attempt\nassert n == 2"
            ),
            (
                "assert _.result(60) == {'n': 2}\n"
                "from gigq_nb.notebook.outputs import outputs_of\n"
                "assert [o.data['text/plain'] for o in outputs_of(_1 if False else get_ipython().user_ns['Out'][2])] == [\"'attempt 2'\"]"
            ),
        ]
    )


# ----------------------------------------------------------------------------------------- what it takes along


def test_variables_are_found_by_themselves_and_functions_see_what_the_cell_rebinds(run_nb: Run) -> None:
    run_nb(
        [
            START,
            (
                "import math as m\nFACTOR = 2\nclass Model:\n    def __init__(self, k): self.k = k\n"
                "def helper(x): return x * FACTOR\ndef outer(x): return helper(x) + m.floor(1.5)\nunused = open('somewhere', 'w')"
            ),
            "%%gigq --name found --out a,b,model\na = outer(5)\nFACTOR = 10\nb = outer(5)\nmodel = Model(3)",
            "_.wait(60)\nassert (a, b) == (11, 51)\nassert type(model) is Model and model.k == 3\nassert FACTOR == 2",
        ]
    )


def test_what_is_taken_along_is_said_with_its_size(run_nb: Run, tmp_path: Path) -> None:
    nb, _ = run_nb(
        [
            START,
            "import math\ndata = bytes(250_000)\nsmall = 3\ndef f(x): return math.floor(len(x))",
            "%%gigq --name told --out n\nn = f(data) + small",
            "_.wait(60)",
        ]
    )
    said = texts(nb.cells[2])
    assert re.search(r"^told: n came back at \d\d:\d\d:\d\d$", said, re.MULTILINE)
    assert re.search(r"^  takes along data \(bytes, 250 kB\), small \(int, \d+ B\), f; brings back n$", said, re.MULTILINE)
    with open_queue(tmp_path) as queue:
        about = queue.last("told").row().options.description
    assert about.startswith("takes along data (bytes, 250 kB), small (int,")
    assert about.endswith("; brings back n")


def test_over_ten_megabytes_a_warning_names_the_variable(run_nb: Run) -> None:
    nb, _ = run_nb([START, "huge = bytes(12_000_000)", "%%gigq --name heavy\nlen(huge)", "assert _.result(60) == 12_000_000"])
    assert "huge (bytes) takes 12 MB along" in texts(nb.cells[2])


def test_what_cannot_leave_is_refused_by_name_and_nothing_is_stored(run_nb: Run, tmp_path: Path) -> None:
    nb, _ = run_nb(
        [START, "import threading\nbox = {'lock': threading.Lock()}", "%%gigq --name locked\nwith box['lock']: pass"],
        allow_errors=True,
    )
    said = texts(nb.cells[2])
    assert "NotSerializable: box['lock'] (lock) cannot leave this process" in said
    assert "--in" in said
    assert "\n" not in said.strip()
    with open_queue(tmp_path) as queue:
        assert queue.stats()["total"] == 0


def test_what_cannot_leave_and_is_bound_by_the_cell_itself_stays_behind(run_nb: Run) -> None:
    run_nb(
        [
            START,
            "import threading\nx = threading.Lock()",
            "%%gigq --name binds --out y\nfor x in range(3): pass\ny = x",
            "_.wait(60)\nassert y == 2\nassert not isinstance(x, int)",
        ]
    )


def test_in_takes_only_the_data_that_it_names(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START,
            "import threading\nlock, a, b = threading.Lock(), 1, 2\ndef double(x): return 2 * x",
            "%%gigq --name named --in a --out r\ntry:\n    lock\nexcept NameError:\n    r = double(a)",
            "_.wait(60)\nassert r == 2",
            "%%gigq --name nothing --out known --in\nknown = [n for n in ('a', 'b') if n in globals()]",
            "_.wait(60)\nassert known == []",
            "%%gigq --in aa\na",
        ],
        allow_errors=True,
    )
    assert texts(nb.cells[3]) == ""
    assert texts(nb.cells[5]) == ""
    assert "--in names aa, which this notebook does not have" in texts(nb.cells[6])


def test_a_handle_among_the_variables_stays_a_handle_and_is_waited_for(run_nb: Run) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name first\npause('go')\n41",
            "first = _\nsweep = current().map(pow, [2, 3], [2, 2])",
            "%%gigq --name second --out got\ngot = first.result() + 1, [job.result() for job in sweep], sweep.counts.total",
            "second = _\nassert second.row().waiting_on >= 1\ngo('go')\nsecond.wait(60)\nassert got == (42, [4, 9], 2)",
        ]
    )


# -------------------------------------------------------------------------------------------- what comes back


def test_variables_come_back_between_cells_and_never_within_one(run_nb: Run) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name fit --out model\npause('go')\nmodel = 'fitted'",
            "job = _\nassert 'model' not in globals(), 'the cell does not block'",
            "go('go')\nuntil(job.done)\nassert 'model' not in globals(), 'not in the middle of a cell'",
            "assert model == 'fitted'",
        ]
    )


def test_what_came_back_while_nobody_listened_is_said_again(run_nb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "book.ipynb"))

    def between(cell: Any, cell_index: int) -> None:
        if cell_index == 2:
            (tmp_path / "go").touch()
            end = time.monotonic() + 60
            with open_queue(tmp_path) as queue:
                while promised(queue):  # struck out once they were brought and that was said
                    assert time.monotonic() < end
                    time.sleep(0.01)

    def promised(queue: JobQueue) -> list[Any]:
        with queue._database.read() as db:
            return outs.promised(db, str(tmp_path / "book.ipynb"))

    cells = [START + GATES, "%%gigq --name fit --out model\npause('go')\nmodel = 1", "assert model == 1"]
    nb, _ = run_nb(cells, on_cell_start=between)
    assert re.search(r"^fit: model came back at", texts(nb.cells[1]), re.MULTILINE)


def test_variables_come_back_while_a_cell_awaits_only_after_it(run_nb: Run) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name fit --out model\npause('go')\nmodel = 'fitted'",
            (
                "import asyncio\njob = _\ngo('go')\nwhile not job.done(): await asyncio.sleep(0.01)\n"
                "for _i in range(50): await asyncio.sleep(0.01)\nassert 'model' not in globals()"
            ),
            "assert model == 'fitted'",
        ]
    )


@pytest.mark.parametrize("wait", ["%gigq wait fit", "await job", "job.wait(60)", "import gigq_nb; gigq_nb.wait([job])"])
def test_who_waits_gets_them_at_once(run_nb: Run, wait: str) -> None:
    run_nb([START, "%%gigq --name fit --out model\nmodel = 'fitted'", f"job = _\n{wait}\nassert model == 'fitted'"])


def test_a_name_that_was_rebound_since_is_announced_and_not_overwritten(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START + GATES,
            "model = 'old'",
            "%%gigq --name fit --out model,n\npause('go')\nmodel, n = 'fitted', 1",
            "job = _\nmodel = 'mine'\ngo('go')\nuntil(job.done)",
            "assert (model, n) == ('mine', 1)\nassert job.result() == {'model': 'fitted', 'n': 1}",
        ]
    )
    line = "model was changed here meanwhile and was left alone; %gigq result fit has the job's"
    assert line in texts(nb.cells[2]), "below the cell of the job"
    assert f"fit: n came back at {texts(nb.cells[3]).split(' at ')[1]}" in texts(nb.cells[3]), "and where somebody looks"
    assert line in texts(nb.cells[3])


def test_the_same_cell_run_again_brings_the_newer_value_whichever_ends_first(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START + GATES + "\nwhich = 'a'",
            "%%gigq --name one --out model\npause('go a')\nmodel = 'older'",
            "%%gigq --name two --out model\nmodel = 'newer'",
            "_.wait(60)\nassert model == 'newer'\ngo('go a')\nuntil(last('one').done)",
            "assert model == 'newer'",
        ]
    )
    assert "model was left alone: a later run brings it" in texts(nb.cells[3])


def test_unknown_names_in_out_fail_the_job_and_are_named(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START,
            "%%gigq --name short --out a,b,c\na = 1",
            "job = _\njob.wait(60)\nassert job.status == 'failed'\nassert 'did not set b, c' in job.error\nassert 'a' not in globals()",
        ]
    )
    # Below its own cell whenever it ended; aloud as well, in whatever cell runs then: it may be the same.
    assert "a, b, c not set, %gigq show short has all of it" in texts(nb.cells[1])


def test_an_out_that_cannot_be_stored_fails_the_job_and_is_named(run_nb: Run, tmp_path: Path) -> None:
    run_nb([START, "%%gigq --name locked --out fine,lock\nimport threading\nfine, lock = 1, threading.Lock()", "_.wait(60)"])
    with open_queue(tmp_path) as queue:
        row = queue.last("locked").row()
    assert row.reason == "unserializable"
    assert "'lock'" in (row.error or "")


def test_a_cell_takes_from_an_earlier_one_what_that_has_not_brought_back_yet(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START + GATES + "\ndata = 'stale'",
            "%%gigq --name load --out data\npause('go')\ndata = [1, 2, 3]",
            "%%gigq --name total --out s\ns = sum(data)",
            "job = _\nassert job.row().waiting_on == 1\ngo('go')\njob.wait(60)\nassert (s, data) == (6, [1, 2, 3])",
        ]
    )
    assert "takes along data (from load, when that is done)" in texts(nb.cells[2])


def test_after_a_restart_the_variables_come_back_and_the_outputs_are_there(
    run_nb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "book.ipynb"))
    cell = "%%gigq --name fit --out model\ndisplay('begun')\npause('go')\nmodel = {'accuracy': 0.97}\ndisplay('done')"
    run_nb([START + GATES, cell, "until(last('fit').running)"])
    nb, _ = run_nb(
        [
            START + GATES,
            "assert 'model' not in globals()\ngo('go')\nuntil(last('fit').done)",
            (
                "assert model == {'accuracy': 0.97}\n"
                "from gigq_nb.notebook.outputs import outputs_of\n"
                "assert [o.data['text/plain'] for o in outputs_of(last('fit'))] == [\"'begun'\", \"'done'\"]\n"
                "assert last('fit').result() == {'model': model}\nassert current().mine() == [last('fit')]"
            ),
        ]
    )
    assert re.search(r"fit: model came back at", texts(nb.cells[1]))
    nb, _ = run_nb([START + GATES, "x = 1", "assert 'model' not in globals(), 'brought back once'"])
    with open_queue(tmp_path) as queue:
        assert queue.last("fit").row().notebook == str(tmp_path / "book.ipynb")


# -------------------------------------------------------------------------------------------- refused at once


def test_a_syntax_error_is_shown_at_once_with_the_cells_line(run_nb: Run, tmp_path: Path) -> None:
    nb, _ = run_nb([START, "%%gigq --name bad\nx = 1\ndef f(:\n    pass"], allow_errors=True)
    said = texts(nb.cells[1])
    assert 'File "cell bad", line 3\n    def f(:\n          ^' in said
    assert "invalid syntax" in said
    assert "gigq_nb/" not in said
    with open_queue(tmp_path) as queue:
        assert queue.stats()["total"] == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--nme x", "1", "unrecognized arguments: --nme x"),
        ("--out 2x", "1", "'2x' is none"),
        ("--timeout soon", "1", "timeout"),
        ("--max-attempts 0", "1", "max_attempts"),
        ("--memory much", "1", "memory"),
        ("--needs nobody", "1", "no job 'nobody'"),
        ("--name 'open", "1", "a quote is not closed"),
        ("", "return 1", "'return' outside function"),
        ("", "  \n", "the cell is empty"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(run_nb: Run, tmp_path: Path, line: str, code: str, said: str) -> None:
    with pytest.raises(CellExecutionError) as caught:
        run_nb([START, f"%%gigq {line}\n{code}"])
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", str(caught.value))
    with open_queue(tmp_path) as queue:
        assert queue.stats()["total"] == 0


# ------------------------------------------------------------------------------------------------ its options


def test_options_with_quotes_and_expanded_names(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START + "\nwho = 'night'",
            '%%gigq --name "my $who run" --timeout 1h --max-attempts 2 --memory 2GB --priority 3 --tag a --tag b\n\'say "$who" {who}\'',
            "assert _.result(60) == 'say \"$who\" {who}'",
        ]
    )
    with open_queue(tmp_path) as queue:
        row = queue.last("my night run").row()
    assert (row.options.timeout_s, row.max_attempts, row.options.memory_bytes, row.priority) == (3600, 2, 2_000_000_000, 3)
    assert row.options.tags == ("a", "b")
    assert row.options.fresh


def test_a_cell_with_a_key_runs_once_and_brings_its_variables_again_and_again(run_nb: Run, tmp_path: Path) -> None:
    cells = [START, "%%gigq --key june --name fit --out model\nimport os\nmodel = os.getpid()", "_.wait(60)\nprint(model)"]
    first, _ = run_nb(cells)
    again, _ = run_nb(cells)
    assert texts(first.cells[2]) == texts(again.cells[2]), "the model of the first time"
    assert "already submitted" not in texts(first.cells[1])
    said = texts(again.cells[1])
    assert re.search(r"^fit: already submitted at [-\d]+ [:\d]+ under the key june, and not again$", said, re.MULTILINE)
    assert re.search(r"^fit: model came back at", said, re.MULTILINE)
    assert re.search(r"^  key june, submitted ", said, re.MULTILINE), "the card says it"
    with open_queue(tmp_path) as queue:
        assert queue.stats()["total"] == 1
        assert queue.last(key="june").name == "fit"


def test_a_cell_that_was_changed_under_its_key_is_not_run_and_that_is_said(run_nb: Run) -> None:
    nb, _ = run_nb(
        [
            START,
            "%%gigq --key june --name fit --out model\nmodel = 1",
            "_.wait(60)",
            "%%gigq --key june --name fit --out model,scores\nmodel, scores = 2, 3",
            "_.wait(60)\nassert model == 1 and 'scores' not in globals()",
        ]
    )
    said = texts(nb.cells[3])
    assert "under the key june, and not again; what stands here now is not what was submitted then, another --key runs it" in said
    assert "scores is none of the variables that it brings" in said


def test_needs_takes_names_ids_and_handles_and_a_bad_end_cancels(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name one\npause('go')",
            "one = _\nidentity = str(one)",
            "%%gigq --name by_name --needs one\n1",
            "%%gigq --name by_id --needs $identity\n1",
            "%%gigq --name by_handle --needs one,by_id\n1",
            "assert last('by_handle').row().waiting_on == 2\ngo('go')\n%gigq wait by_name by_id by_handle",
            "%%gigq --name bad\npause('fail')\nraise ValueError",
            "%%gigq --name after --needs bad\n1",
            "job = _\ngo('fail')\njob.wait(60)",
        ]
    )
    with open_queue(tmp_path) as queue:
        assert [queue.last(name).status for name in ("by_name", "by_id", "by_handle")] == ["completed"] * 3
        assert (queue.last("after").status, queue.last("after").row().reason) == ("cancelled", "upstream")


def test_timeout_ends_the_cell_and_keeps_what_it_showed(run_nb: Run, tmp_path: Path) -> None:
    run_nb([START, "%%gigq --name long --timeout 0.5\ndisplay('begun')\nimport time\ntime.sleep(60)", "_.wait(60)"])
    with open_queue(tmp_path) as queue:
        assert queue.last("long").status == "timeout"
        assert [one.data["text/plain"] for one in outputs_of(queue.last("long"))] == ["'begun'"]


def test_quiet_shows_nothing_and_help_says_what_there_is(run_nb: Run) -> None:
    nb, _ = run_nb([START, "%%gigq --quiet --name still --out x\nx = 1", "%gigq wait still\nassert x == 1", "%%gigq --help\n1"])
    assert nb.cells[1].outputs == []
    for option in ("--name", "--in", "--out", "--timeout", "--max-attempts", "--needs", "--quiet"):
        assert option in texts(nb.cells[3])


def test_without_its_extension_nothing_comes_back_and_nothing_breaks(run_nb: Run) -> None:
    run_nb(
        [
            START + GATES,
            "%%gigq --name fit --out model\npause('go')\nmodel = 1",
            "job = _\n%unload_ext gigq_nb\ngo('go')\njob.wait(60)",
            "assert 'model' not in globals()\nassert job.result() == {'model': 1}",
        ]
    )


# --------------------------------------------------------------------------------------------- whom it trusts


def test_an_output_that_was_changed_is_text_only(run_nb: Run, tmp_path: Path) -> None:
    run_nb(
        [START, "%%gigq --name shown\nfrom IPython.display import HTML\nHTML('<b>mine</b>')", "_.wait(60)", "%gigq worker stop"]
    )
    with open_queue(tmp_path) as queue:
        job = queue.last("shown")
        assert outputs_of(job)[0].data["text/html"] == "<b>mine</b>"
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        bundle = json.loads(db.execute("select bundle from outputs").fetchone()[0])
        bundle["data"]["text/html"] = "<script>theirs()</script>"
        db.execute("update outputs set bundle = ?", (json.dumps(bundle),))
    db.close()
    with open_queue(tmp_path) as queue:
        (found,) = outputs_of(queue.last("shown"))
    assert not found.verified
    assert set(found.data) == {"text/plain"}


def test_the_cell_is_stored_as_it_was_written(run_nb: Run, tmp_path: Path) -> None:
    run_nb([START, "%%gigq --name kept\nx = 1\n!true\nx", "_.wait(60)"])
    with open_queue(tmp_path) as queue, queue._database.read() as db:
        source = db.execute("select source from functions").fetchone()[0]
    assert source == "%%gigq --name kept\nx = 1\n!true\nx\n"
