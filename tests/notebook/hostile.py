"""What somebody may write into a name, a log or an error so that a page does what they want. None of it may."""

import dataclasses
import json

from gigq_nb.job import BatchRow, Counts, JobRow, Options, WorkerRow
from gigq_nb.notebook.snapshots import (
    BatchView,
    GoneView,
    Graph,
    GraphNode,
    JobView,
    QueueView,
    RichOutput,
    Snapshot,
    WorkerView,
    WorkflowView,
)
from gigq_nb.store.views import Failed

PWN = "window.__pwned=1"
TEXTS = [
    f"<script>{PWN}</script>",
    f"<img src=x onerror={PWN}>",
    f"<svg onload={PWN}>",
    f"<svg><script>{PWN}</script></svg>",
    f"<svg><animate onbegin={PWN} attributeName=x dur=1s>",
    f'<svg><a xlink:href="javascript:{PWN}"><text>x</text></a></svg>',
    f"</textarea><script>{PWN}</script>",
    f"</title><script>{PWN}</script>",
    f"</style><script>{PWN}</script>",
    f"</pre><script>{PWN}</script>",
    f"</details></div></div><script>{PWN}</script>",
    f'"><script>{PWN}</script>',
    f"'><script>{PWN}</script>",
    f'" onmouseover="{PWN}" x="',
    f"' onfocus='{PWN}' autofocus='",
    f"` onload=`{PWN}",
    f"javascript:{PWN}",
    f"data:text/html,<script>{PWN}</script>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//127.0.0.1:1/x.css>",
    f"<math><mtext><table><mglyph><style><img src onerror={PWN}></style></mglyph></table></mtext></math>",
    f'<noscript><p title="</noscript><img src=x onerror={PWN}>">',
    f"<iframe srcdoc='<script>parent.{PWN}</script>'></iframe>",
    f"<object data='javascript:{PWN}'></object>",
    "<form id=jupyterapp><input name=commands></form>",
    "<a id=jupyterapp><a id=jupyterapp name=commands>",
    '<button data-commandlinker-command="application:close-all">x</button>',
    "<base href=//127.0.0.1:1/>",
    "<meta http-equiv=refresh content='0;url=//127.0.0.1:1/'>",
    "&lt;script&gt;",
    "&#x3c;script&#x3e;&colon;",
    f"\x00<script>{PWN}</script>",
    f"<scr\x00ipt>{PWN}</scr\x00ipt>",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\x1b]8;;http://127.0.0.1:1/\x07link\x1b]8;;\x07",
    "\u202egnp.exe\u2066",
    "lone \ud800 surrogate",
    "%%{init: {'theme': 'x'}}%%\nend",
    f']; click n0 href "javascript:{PWN}"',
    f"]]><script>{PWN}</script><!--",
    f"--!><script>{PWN}</script>",
    f"{{{{constructor.constructor('{PWN}')()}}}}",
    f"${{{PWN}}}",
    "a" * 5_000,
    "line\nbreak\ttab\r\roverwritten",
]

NOW = 1_700_000_000_000


def job_row(text: str, status: str = "failed", **more: object) -> JobRow:
    """A job in which everything that a person or a job can write is this text."""
    final = status in ("failed", "timeout", "cancelled", "completed")
    base = JobRow(
        seq=1, id="01a20bc0-498c-7000-8ca8-4629e71f9376", name=text, status=status, reason="error" if status == "failed" else None,
        priority=0, attempts=1, max_attempts=3, losses=1, waiting_on=0, run_at=None, created_at=NOW - 9000, started_at=NOW - 5000,
        finished_at=NOW if final else None, batch=None, task=1, function_name=text, options=Options(description=text), notebook=text, cell=text,
        result_text=text, arguments_text=text, error=text, error_type=f"mod.{text}", traceback=f"Traceback\n{text}", progress_done=3.0,
        progress_total=7.0, progress_text=text, waits_for=text,
    )  # fmt: skip
    return dataclasses.replace(base, **more)


def failed(text: str) -> Failed:
    return Failed("01a20bc0-498c-7000-8ca8-4629e71f9376", text, "failed", "error", text, f"mod.{text}", NOW)


def graph(text: str) -> Graph:
    nodes = tuple(GraphNode(name=f"{text}{i}" if i else text, n=1, counts=Counts(failed=1)) for i in range(3))
    return Graph(nodes=nodes, edges=((0, 1), (0, 2)))


def snapshots(text: str) -> list[Snapshot]:
    """Every kind of view, full of it."""
    worker = WorkerRow(
        id=1, name=text, host=text, pid=2, python="3.11", prefix=text, concurrency=2, state="running", beats=1, beat_at=NOW - 1000,
        started_at=NOW, stopped_at=None, running=1, why=text, log=text,
    )  # fmt: skip
    row = BatchRow(
        id=1, name=text, kind="workflow", created_at=NOW, counts=Counts(failed=3, running=2, pending=1), started_at=NOW
    )
    picture = RichOutput({"image/png": text}), RichOutput({"text/plain": text}), RichOutput({"image/svg+xml": text})
    jobs = [
        JobView(at_ms=NOW, row=job_row(text, one), log=tuple(text.split("\n")), outputs=picture)
        for one in ("pending", "running", "failed", "timeout", "completed")
    ]
    return [
        *jobs,
        BatchView(at_ms=NOW, row=row, rate=1.5, failed=(failed(text),), waits_for=text, graph=graph(text)),
        QueueView(
            at_ms=NOW, path=f"/x/{text}", counts=Counts(running=1, failed=1), ends=(0, 3, 1), running=(job_row(text, "running"),),
            workers=(worker,), failed=(failed(text),), paused_at=NOW - 60_000,
        ),
        WorkflowView(name=text, graph=graph(text)),
        WorkerView(name=text, pid=1, concurrency=2, started=True, log=text),
        GoneView(what=text, why=text),
    ]  # fmt: skip


def as_script(texts: list[str]) -> str:
    """The list as JSON, for a page."""
    return json.dumps(texts)
