"""``%gigq`` in a real kernel: what a cell shows, gives, refuses, and leaves behind."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel
from nbclient.exceptions import CellExecutionError

from gigq_nb import JobQueue
from gigq_nb.commands import registry
from tests.books import make_nb

RunNb = Callable[..., tuple[Any, dict[str, Any]]]

LOAD = "%load_ext gigq_nb\n%gigq connect jobs.db --concurrency 1"
DEFINE = (
    "def double(x, more=None):\n    print('doubling', x, more)\n    return 2 * x\n\ndef fail(text):\n    raise ValueError(text)"
)


def texts(cell: Any) -> str:
    """What a cell printed."""
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


def plain(cell: Any) -> str:
    """What a cell showed, as plain text."""
    return "\n".join(one.data.get("text/plain", "") for one in cell.outputs if "data" in one)


def told(error: CellExecutionError) -> str:
    """What the kernel said of an error, behind nbclient's copy of the cell."""
    return error.traceback.rpartition("------------------\n")[2].strip()


def errors(cell: Any) -> list[Any]:
    return [one for one in cell.outputs if one.output_type == "error"]


def test_a_notebook_connects_submits_and_lists_in_three_lines(run_nb: RunNb, tmp_path: Path) -> None:
    nb, _ = run_nb(
        [LOAD, DEFINE, "job = %gigq submit double(21)\nprint(job.result(60))", "%gigq list", "%gigq stats", "%gigq logs double"]
    )
    assert texts(nb.cells[0]).startswith("jobs.db is new: worker started, 1 at a time")
    assert texts(nb.cells[2]) == "42\n"
    frame = nb.cells[3].outputs[0].data
    assert {"text/html", "text/plain"} <= frame.keys()
    assert "double" in frame["text/plain"]
    assert ["completed", "1"] in [line.split() for line in texts(nb.cells[4]).splitlines()]
    assert texts(nb.cells[5]) == "doubling 21 None\n"
    [job] = JobQueue(tmp_path / "jobs.db").list_jobs()
    assert (job["status"], job["result"], job["max_attempts"]) == ("completed", 42, 1)


def test_the_terminal_and_the_notebook_list_the_same_rows(run_nb: RunNb, tmp_path: Path) -> None:
    nb, _ = run_nb(
        [
            LOAD,
            DEFINE + "\ndef show(frame):\n    print(frame[['id', 'name', 'status']].to_json(orient='records'))",
            "for i in range(3):\n    get_ipython().run_line_magic('gigq', f'submit --name n{i} double({i})')",
            "%gigq submit fail('no');\n%gigq wait n0 n1 n2",
            "frame = %gigq list\nshow(frame)",
            "frame = %gigq list --status failed,timeout --limit 1\nshow(frame)",
        ]
    )

    def listed(*words: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "gigq_nb", "--db", "jobs.db", "list", "--json", *words]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
        return [{name: row[name] for name in ("id", "name", "status")} for row in json.loads(said.stdout)]

    assert json.loads(texts(nb.cells[4])) == listed()
    assert json.loads(texts(nb.cells[5])) == listed("--status", "failed,timeout", "--limit", "1")
    assert len(listed()) == 4


def test_a_card_is_shown_wherever_the_magic_stands_in_the_cell_and_not_twice(run_nb: RunNb) -> None:
    nb, _ = run_nb(
        [
            LOAD,
            DEFINE,
            "%gigq submit --name first double(1)\n%gigq submit --name last double(2)",
            "kept = %gigq submit --name kept double(3)",
            "%gigq submit --name quiet double(4);",
            "%gigq wait",
        ]
    )
    both = plain(nb.cells[2])
    assert ("first" in both, "last" in both, plain(nb.cells[3]), plain(nb.cells[4])) == (True, True, "", "")
    snapshots = [
        one for one in nb.cells[2].outputs if "data" in one and "text/html" in one.data and "first" in one.data["text/html"]
    ]
    assert len(snapshots) == 1


def test_a_call_is_read_as_python_with_the_names_of_the_notebook(run_nb: RunNb, tmp_path: Path) -> None:
    cells = [
        LOAD,
        DEFINE + "\nlr, rows, name = 3, [1, 2], 'expanded'\nclass Model:\n    def fit(self, *a, **k): return [list(a), k]",
        "%gigq submit --name a double({'a': lr}['a'], more={1, 2})  # a comment, with (brackets",
        "%gigq submit --name b Model().fit(*rows, text=\"two words # no comment\", deep=['('])",
        "%gigq submit --name c (lambda x: x + lr)(4)",
        "%gigq submit --name {name}-$lr double(1)",
        "%gigq submit --name d double --param x=5",
        "import operator\n%gigq submit --name e operator.neg(7)",
        "def local(n):\n    get_ipython().run_line_magic('gigq', 'submit --name f double(n)')\nlocal(8)",
        "%gigq wait --timeout 60",
    ]
    run_nb(cells)
    results = {job["name"]: job["result"] for job in JobQueue(tmp_path / "jobs.db").list_jobs()}
    assert results == {
        "a": 6,
        "b": [[1, 2], {"text": "two words # no comment", "deep": ["("]}],
        "c": 7,
        "expanded-3": 2,
        "d": 10,
        "e": -7,
        "f": 16,
    }


def test_options_of_a_task_hold_unless_the_line_has_others(run_nb: RunNb, tmp_path: Path) -> None:
    run_nb(
        [
            LOAD,
            "from gigq_nb import task",
            "@task(timeout='10m', max_attempts=3, name='fit', priority=2, tags=['t'])\ndef train(lr): return lr",
            "%gigq submit train(lr=0.1);\n%gigq submit --timeout 5 --name other --tag u train(lr=0.2);",
            "%gigq wait --timeout 60",
        ]
    )
    queue = JobQueue(tmp_path / "jobs.db")
    rows = {row["name"]: queue.job(row["id"]).row() for row in queue.list_jobs()}
    assert {name: (row.options.timeout_s, row.max_attempts, row.priority, row.options.tags) for name, row in rows.items()} == {
        "fit": (600.0, 3, 2, ("t",)),
        "other": (5.0, 3, 2, ("u",)),
    }


def test_a_handle_in_a_call_is_a_parent(run_nb: RunNb, tmp_path: Path) -> None:
    run_nb(
        [
            LOAD,
            DEFINE,
            "first = %gigq submit double(2)\n%gigq submit --name second double(first);",
            "%gigq wait second --timeout 60",
        ]
    )
    queue = JobQueue(tmp_path / "jobs.db")
    second = queue.last("second")
    assert (second.result(0), len(queue.get_status(second)["dependencies"])) == (8, 1)


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("%gigq lst", "UsageError", "did you mean 'list'?"),
        ("%gigq list --status done", "InvalidArgument", "none of: pending, running, completed, failed, timeout, cancelled"),
        ("%gigq list --limit none", "UsageError", "invalid int value"),
        ("%gigq status nope", "JobNotFound", "no job 'nope'"),
        ("%gigq submit trian(1)", "UsageError", "NameError: name 'trian' is not defined"),
        ("%gigq submit double", "InvalidType", "missing a required argument: 'x'"),
        ("%gigq submit lr", "UsageError", "lr is no function but int"),
        ("%gigq submit double(", "UsageError", "a bracket is not closed"),
        ("%gigq submit double(1) 2", "UsageError", "is not Python"),
        ("%gigq submit nowhere.function", "InvalidArgument", "there is no module nowhere"),
        ("%gigq submit --name 'x double(1)", "UsageError", "a quote is not closed"),
        ("%gigq submit double(__import__('threading').Lock())", "NotSerializable", "lock"),
        ("%gigq --db flag list", "NotAQueue", "flag"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_stops_run_all(run_nb: RunNb, tmp_path: Path, line: str, kind: str, said: str) -> None:
    (tmp_path / "flag").write_text("not a queue")
    with pytest.raises(CellExecutionError) as caught:
        run_nb(
            [
                "%load_ext gigq_nb\n%gigq connect jobs.db --no-worker",
                DEFINE + "\nlr = 3",
                line,
                "open('flag', 'w').write('went on')",
            ]
        )
    assert caught.value.ename == kind
    assert said in caught.value.evalue
    assert (tmp_path / "flag").read_text() == "not a queue"
    assert told(caught.value) == f"{kind}: {caught.value.evalue}"
    assert len(told(caught.value).splitlines()) == 1
    assert JobQueue(tmp_path / "jobs.db").stats()["total"] == 0


def test_without_a_queue_the_line_says_how_to_connect(run_nb: RunNb, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match=r"NotConnected: no queue is connected: %gigq connect jobs\.db") as caught:
        run_nb(["%load_ext gigq_nb\n%gigq list"])
    assert len(told(caught.value).splitlines()) == 1
    assert list(tmp_path.glob("*.db")) == []


def test_a_failed_job_stops_run_all_where_it_is_waited_for_with_its_own_words(run_nb: RunNb) -> None:
    cells = [LOAD, DEFINE, "%gigq submit fail('the disk is on fire');", "%gigq wait fail --timeout 60"]
    with pytest.raises(CellExecutionError, match="the disk is on fire") as caught:
        run_nb(cells)
    assert len(told(caught.value).splitlines()) == 1
    with pytest.raises(CellExecutionError, match="ValueError: the disk is on fire"):
        run_nb([LOAD, "%gigq result fail"])


def test_a_fault_inside_a_function_of_ours_keeps_its_traceback(run_nb: RunNb) -> None:
    """One line is for what a person can mend."""
    broken = "from gigq_nb.commands import stats\ndef run(*a): raise RuntimeError('a bug')\nstats.Stats.run = run"
    with pytest.raises(CellExecutionError, match="a bug") as caught:
        run_nb([LOAD, broken, "%gigq stats"])
    assert "Traceback" in caught.value.traceback


def test_the_notebook_says_what_happened_since_it_was_here(
    run_nb: RunNb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "mine.ipynb"))
    wait_for = "import pathlib, time\ndef wait_for(name):\n    while not pathlib.Path(name).exists(): time.sleep(0.05)\n"
    first = [
        LOAD,
        DEFINE + "\n" + wait_for,
        "for i in range(3):\n    get_ipython().run_line_magic('gigq', f'submit --name n{i} double({i})')",
        "%gigq wait",
        "%gigq submit wait_for('flag');\n%gigq submit fail('no');",
    ]
    run_nb(first)
    queue = JobQueue(tmp_path / "jobs.db")
    (tmp_path / "flag").touch()
    assert queue.last("fail").wait(60)
    nb, _ = run_nb([LOAD, "%gigq list --mine", "%gigq watch", "mine = %gigq list --mine\nprint(len(mine))"])
    said = texts(nb.cells[0])
    assert "Since this notebook was here" in said
    assert "1 finished, 1 failed" in said
    assert "%gigq watch" in said
    assert len(said.splitlines()) == 1
    assert texts(nb.cells[3]) == "5\n"
    watched = plain(nb.cells[2])
    assert all(name in watched for name in ("n0", "n1", "n2", "wait_for", "fail"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "other.ipynb"))
    nb, _ = run_nb([LOAD, "%gigq watch", "mine = %gigq list --mine\nprint(len(mine))"])
    assert "Since" not in texts(nb.cells[0])
    assert texts(nb.cells[1]) == "this notebook has submitted nothing to this queue yet\n"
    assert texts(nb.cells[2]) == "0\n"


def test_jobs_know_the_notebook_and_the_cell_they_come_from(
    run_nb: RunNb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/mine.ipynb")
    run_nb(
        [
            LOAD,
            DEFINE,
            "%gigq submit double(1);",
            "__vsc_ipynb_file__ = '/code/theirs.ipynb'\n%gigq submit double(2);",
            "%gigq wait",
        ]
    )
    queue = JobQueue(tmp_path / "jobs.db")
    rows = [queue.job(one["id"]).row() for one in queue.list_jobs()]
    assert [row.notebook for row in rows] == ["/code/theirs.ipynb", "/somewhere/mine.ipynb"]


def test_the_cell_is_the_one_that_the_front_end_names(isolated: Path, tmp_path: Path) -> None:
    """JupyterLab puts a cell's id into the metadata of its request; nbclient does not, so this speaks to the kernel itself."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        for cell, code in (
            ("first", "%load_ext gigq_nb\n%gigq connect jobs.db --no-worker"),
            ("second", "import time\n%gigq submit time.sleep(0);"),
        ):
            request = client.session.msg("execute_request", {"code": code, "silent": False}, metadata={"cellId": cell})
            client.shell_channel.send(request)
            while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                pass
            assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    [job] = JobQueue(tmp_path / "jobs.db").list_jobs()
    assert JobQueue(tmp_path / "jobs.db").job(job["id"]).row().cell == "second"


def test_loading_twice_and_unloading_leave_nothing_behind(run_nb: RunNb) -> None:
    nb, _ = run_nb(
        [
            "%load_ext gigq_nb\n%load_ext gigq_nb\n%reload_ext gigq_nb",
            "ip = get_ipython()\nhooks = ip.strdispatchers['complete_command'].strs",
            "print([len(hooks[m].chain) for m in ('%gigq', '%%gigq')])",
            "%unload_ext gigq_nb\nprint(ip.find_line_magic('gigq'), ip.find_cell_magic('gigq'), '%gigq' in hooks)",
            "from gigq_nb import submission\nprint(submission.whereabouts())",
            "import threading\nprint([t.name for t in threading.enumerate() if 'gigq' in t.name])",
            "%load_ext gigq_nb\n%gigq --version",
        ]
    )
    assert texts(nb.cells[2]) == "[1, 1]\n"
    assert texts(nb.cells[3]) == "None None False\n"
    assert texts(nb.cells[4]) == "(None, None)\n"
    assert texts(nb.cells[5]) == "[]\n"
    assert texts(nb.cells[6]).startswith("gigq-nb ")


def test_the_question_mark_and_the_terminals_help_are_the_same_text(run_nb: RunNb) -> None:
    nb, _ = run_nb(
        [
            "%load_ext gigq_nb",
            "print(get_ipython().object_inspect_mime('%gigq')['text/plain'])",
            "%gigq --help",
            "%gigq",
            "%gigq submit --help",
            "%%gigq --help\npass",
        ]
    )
    help_text = subprocess.run(
        [sys.executable, "-m", "gigq_nb", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert help_text == registry.overview() + "\n"
    assert help_text.strip() in texts(nb.cells[1])
    assert texts(nb.cells[2]) == texts(nb.cells[3]) == help_text
    assert "--max-attempts" in texts(nb.cells[4])
    assert "--out" in texts(nb.cells[5])


TABS = {
    "%gigq st": ["stats", "status"],
    "%gigq submit --ma": ["--max-attempts"],
    "%gigq --d": ["--db"],
    "%gigq list --status c": ["cancelled", "completed"],
    "%gigq show s": ["sweeping"],
    "%gigq batch sw": ["sweeping"],
    "%gigq logs fi": ["fitting"],
    "%gigq list --name fi": ["fitting"],
    "%gigq worker st": ["start", "status", "stop"],
    "%%gigq --ou": ["--out"],
}


def test_tab_completes_words_options_statuses_jobs_and_batches(run_nb: RunNb) -> None:
    ask = "def tab(line):\n    return sorted(ip.complete('', line, len(line))[1])\n"
    nb, _ = run_nb(
        [
            LOAD,
            DEFINE + "\nfrom gigq_nb import JobQueue\nqueue = JobQueue('jobs.db')",
            "job = %gigq submit --name fitting double(1)\nsweep = queue.map(double, [1, 2], batch_name='sweeping')\n%gigq wait",
            "import json\nip = get_ipython()\n" + ask,
            f"print(json.dumps([tab(line) for line in {list(TABS)!r}]))",
            "print(tab(f'%gigq logs {job[:20]}') == [job], tab(f'%gigq status --show-result {job[:30]}') == [job])",
        ]
    )
    assert dict(zip(TABS, json.loads(texts(nb.cells[4])), strict=True)) == TABS
    assert texts(nb.cells[5]) == "True True\n"


def test_a_worker_is_started_found_looked_at_and_stopped_from_a_cell(run_nb: RunNb) -> None:
    nb, _ = run_nb(
        [
            "%load_ext gigq_nb\n%gigq connect jobs.db --no-worker",
            "%gigq status",
            "%gigq worker start --concurrency 1",
            "%gigq worker",
            "%gigq status",
            "frame = %gigq worker status\nprint(list(frame['state']))",
            "%gigq worker stop",
            "%gigq worker stop",
        ]
    )
    assert "no worker runs; '%gigq worker start' starts one" in texts(nb.cells[1])
    assert "started: pid" in texts(nb.cells[2])
    assert "found, running: pid" in texts(nb.cells[3])
    assert "running, 0 running, 1 at a time" in texts(nb.cells[4])
    assert texts(nb.cells[5]) == "['running']\n"
    assert (texts(nb.cells[6]), texts(nb.cells[7])) == ("1 worker stopped\n", "no worker runs\n")


def test_views_of_a_job_a_batch_and_the_queue_are_brought_back(run_nb: RunNb) -> None:
    cells = [
        LOAD,
        DEFINE,
        "from gigq_nb import Task\nb = Task(double).map([1, 2], batch_name='sweep')",
        "%gigq submit --name one double(1);\n%gigq wait",
    ]
    nb, _ = run_nb([*cells, "%gigq show one", "%gigq show sweep", "%gigq show", "%gigq batch sweep"])
    for at, word in ((4, "one"), (5, "sweep"), (6, "jobs.db"), (7, "sweep")):
        assert word in plain(nb.cells[at])
        assert any("text/html" in one.data for one in nb.cells[at].outputs if "data" in one)


def test_names_and_output_of_a_job_are_harmless_in_a_notebook(run_nb: RunNb) -> None:
    hostile = "<img src=x onerror=alert(1)>\\x1b[2J\\u202e"
    nb, _ = run_nb(
        [
            LOAD,
            f"HOSTILE = '{hostile}'\ndef say(): print(HOSTILE); return HOSTILE",
            "from gigq_nb import Task, queue\njob = Task(say, name=HOSTILE).submit()\njob.wait(60);",
            "%gigq list",
            "%gigq show $job",
            "%gigq logs $job",
            "%gigq status $job --show-result",
        ]
    )
    html = "".join(one.data.get("text/html", "") for cell in nb.cells[3:5] for one in cell.outputs if "data" in one)
    assert "<img" not in html
    printed = texts(nb.cells[5]) + texts(nb.cells[6])
    assert ("\x1b" in printed, "\u202e" in printed, r"\x1b[2J\u202e" in printed) == (False, False, True)


def test_the_magic_works_in_plain_ipython_without_a_kernel(tmp_path: Path, isolated: Path) -> None:
    script = tmp_path / "script.ipy"
    script.write_text(
        "%load_ext gigq_nb\n%gigq connect jobs.db --concurrency 1\nimport operator\njob = %gigq submit operator.add(40, 2)\n"
        "print(job.result(60))\n%gigq status add\n%gigq worker stop\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, "42" in lines, "status:   completed" in lines) == (0, True, True), done.stderr
    assert lines[-1] == "1 worker stopped"


SESSION = """\
%load_ext gigq_nb
%gigq connect jobs.db --concurrency 1
def train(n):
    print("epoch", n)
    return n * 2

job = %gigq submit train(21)
%gigq wait train
job
%gigq list
frame = %gigq list
print(type(frame).__name__, frame.status.tolist())
%gigq wait nobody
%%gigq --name fit --out model
model = 7
"shown"


%gigq wait fit
print("the model is", model)
%gigq show fit
%gigq worker stop
"""


def test_a_session_in_a_terminal_is_plain_text_from_the_first_line_to_the_last(tmp_path: Path, isolated: Path) -> None:
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"]
    done = subprocess.run(command, input=SESSION, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert [one for one in ("<div", "\x1b", "widget", "Traceback") if one in said] == []
    assert "jobs.db is new: worker started, 1 at a time." in said
    assert re.search(r"train completed after [\d.]+ s", said)
    assert re.search(r"job train: completed.*\n  -> 42\n  \| epoch 21\n", said), "the card"
    assert re.search(r"id +name +status .*\n.* train +completed ", said), "the list shows the status"
    assert "DataFrame ['completed']" in said
    assert "JobNotFound: no job 'nobody' in this queue" in said
    assert "fit: model comes back when it is done" in said
    assert re.search(r"fit: model came back at [\d:]+\n(.*\n)*.*the model is 7\n", said)
    assert '-> {"model": 7}' in said
    assert "1 worker stopped" in said


# Interrupts the kernel as Jupyter does, once the cell waits.
INTERRUPT = """
import os, signal, sys, threading

def interrupt(main=threading.main_thread().ident):
    def waits(frame):
        return frame is not None and (frame.f_globals["__name__"] == "gigq_nb.waiting" or waits(frame.f_back))
    while not waits(sys._current_frames()[main]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
"""


def test_an_interrupted_wait_leaves_the_job_and_the_worker_alone(isolated: Path, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    from tests.leftovers import dismiss

    nb = make_nb(
        [
            LOAD,
            "import pathlib, time\ndef wait_for(name):\n    while not pathlib.Path(name).exists(): time.sleep(0.05)",
            "%gigq submit wait_for('flag');",
            INTERRUPT,
            "%gigq wait wait_for",
            "pathlib.Path('flag').touch()\n%gigq wait wait_for --timeout 60",
        ]
    )
    NotebookClient(
        nb, kernel_name="python3", timeout=120, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    [error] = errors(nb.cells[4])
    assert error.evalue == "the waiting was interrupted, the work goes on; '%gigq cancel wait_for' ends it"
    assert len(error.traceback) == 1
    assert texts(nb.cells[5]).startswith("wait_for completed after")
    assert len(JobQueue(tmp_path / "jobs.db").get_status(JobQueue(tmp_path / "jobs.db").last("wait_for"))["executions"]) == 1
    dismiss(isolated)
