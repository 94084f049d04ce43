"""Section A of the fault matrix: workers, children and kernels die, and no job is lost, charged wrongly or run twice at once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupyter_client
import psutil
import pytest

from gigq_nb import JobLost, JobQueue, task
from gigq_nb.runtime import processes
from gigq_nb.store import workers
from tests.runtime.rig import (
    LIMIT_S,
    WorkerProcess,
    children_of,
    is_alive,
    kill,
    lines,
    outcomes,
    statuses,
    tree_of,
    until,
    worker_rows,
)

Start = Callable[..., WorkerProcess]


def note(ledger: Path, word: str) -> None:
    """From a job: one line, whole, by whoever writes."""
    handle = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{word}:{os.getpid()}\n".encode())
    os.close(handle)


def armed(point: str) -> dict[str, str]:
    """The environment in which a worker meets its end at a point."""
    return {"GIGQ_NB_TESTING": "1", "GIGQ_NB_FAILPOINT": point}


# ------------------------------------------------------------------------------------------- A1 to A5: SIGKILL of a worker


@pytest.mark.parametrize(
    ("point", "first", "runs"),
    [
        ("after_claim", "lost", 1),  # A1
        ("settle_before_update", "lost", 2),  # A3
        ("settle_after_update", "lost", 2),
        ("before_commit", "lost", 2),  # A4
        ("after_commit", "completed", 1),  # A5
    ],
)
def test_a_worker_killed_at_this_point_loses_no_job_and_charges_none(
    queue: JobQueue, start: Start, tmp_path: Path, point: str, first: str, runs: int
) -> None:
    doomed, other = start(armed(f"{point}:kill"), concurrency=1), start(concurrency=1, ready=False)
    ledger = tmp_path / "ledger"

    @task(max_attempts=1)
    def work() -> int:
        note(ledger, "ran")
        return 5

    other.wait_ready()
    other.send(signal.SIGSTOP)
    job = queue.submit(work)
    assert doomed.wait() == -signal.SIGKILL
    other.send(signal.SIGCONT)
    assert job.result(LIMIT_S) == 5
    assert outcomes(queue, job)[0] == first
    assert len(lines(ledger)) == runs
    assert queue.get_status(job)["attempts"] == 1


@pytest.mark.parametrize("point", ["rescue_before_kill", "rescue_after_kill"])
def test_a_rescuer_that_is_killed_leaves_the_rescue_to_the_next(
    queue: JobQueue, start: Start, tmp_path: Path, point: str
) -> None:
    first = start(concurrency=1)
    ledger = tmp_path / "ledger"

    def work() -> str:
        note(ledger, "ran")
        if len(lines(ledger)) == 1:
            time.sleep(60)
        return "done"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    second = start(armed(f"{point}:kill"), concurrency=1)
    first.kill()
    assert second.wait() == -signal.SIGKILL
    start(concurrency=1, ready=False)
    assert job.result(LIMIT_S) == "done"
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_commit_is_wholly_there_or_wholly_not_wherever_its_worker_is_killed(queue: JobQueue, need: Any) -> None:
    """SQLite's own loop: kill at the Nth fsync, one further each time, until the worker gets through."""
    import shutil

    need(shutil.which("strace") is not None, "strace")
    code = f"from gigq_nb import Worker; w = Worker({str(queue.path)!r}); w.process_one()"
    for n in range(1, 40):
        job = queue.submit(pow, 2, n)
        done = subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={n}",
             sys.executable, "-c", code],
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        from tests import invariants

        assert invariants.broken_file(queue.path) == []
        if done.returncode == 0:
            break
        subprocess.run([sys.executable, "-c", f"from gigq_nb import Worker; w = Worker({str(queue.path)!r})\nwhile w.process_one(): pass"],
                       timeout=LIMIT_S, check=True)  # fmt: skip
        assert job.result(1) == 2**n
    else:
        raise AssertionError("a worker needs 40 fsyncs for one job")
    assert n > 1, "at least one worker was killed"


def test_a_killed_worker_takes_its_children_along_and_its_job_runs_again(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """A2, also with a grandchild in a session of its own."""
    doomed, _ = start(concurrency=1), start(concurrency=1)
    ledger, go = tmp_path / "ledger", tmp_path / "go"

    @task(max_attempts=1)
    def work() -> str:
        first = not ledger.exists()
        sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        note(ledger, f"{os.getppid()}:{sleeper.pid}")
        while first or not go.exists():
            time.sleep(0.01)
        sleeper.kill()
        return "again"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    worker, sleeper, child = map(int, lines(ledger)[0].split(":"))
    victim = doomed if worker == doomed.pid else None
    if victim is None:  # the other one was quicker
        kill(worker)
    else:
        victim.kill()
    until(lambda: len(lines(ledger)) == 2, "it runs again")
    assert not is_alive(child)
    assert not is_alive(sleeper)
    go.touch()
    assert job.result(LIMIT_S) == "again"
    assert outcomes(queue, job) == ["lost", "completed"]
    assert queue.get_status(job)["attempts"] == 1


def test_a_connected_kernel_starts_another_worker_when_its_own_is_killed(queue: JobQueue, tmp_path: Path) -> None:
    handle = queue.start_worker(1, env={"MINE": "kept"})
    ledger = tmp_path / "ledger"

    @task(max_attempts=1)
    def work() -> str | None:
        note(ledger, "ran")
        if len(lines(ledger)) == 1:
            time.sleep(60)
        return os.environ.get("MINE")

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    kill(handle.pid)
    assert job.result(LIMIT_S) == "kept"
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_worker_that_somebody_stopped_is_not_started_again(queue: JobQueue, tmp_path: Path) -> None:
    from gigq_nb.runtime.launcher import keeper_of

    handle = queue.start_worker(1)
    begun = tmp_path / "begun"

    def work() -> None:
        begun.touch()
        time.sleep(60)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    code = f"from gigq_nb import JobQueue; print(JobQueue({str(queue.path)!r}).stop_worker(now=True))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
    assert not is_alive(handle.pid)
    until(lambda: keeper_of(queue).why_not, "the keeper says why it does nothing")
    assert "asked to stop" in (keeper_of(queue).why_not or "")
    assert (job.status, len(worker_rows(queue))) == ("pending", 1)


def test_workers_that_die_at_once_are_not_started_without_end(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A15: five starts a minute, then it says why."""
    from gigq_nb.runtime.launcher import keeper_of

    monkeypatch.setenv("GIGQ_NB_TESTING", "1")
    monkeypatch.setenv("GIGQ_NB_FAILPOINT", "after_claim:kill")
    queue.start_worker(1)
    job = queue.submit(pow, 2, 2)
    until(lambda: "5 workers died within a minute" in (keeper_of(queue).why_not or ""), "the keeper gives up")
    assert len(worker_rows(queue)) == 6
    assert job.status in ("running", "pending")
    keeper_of(queue).close()
    monkeypatch.delenv("GIGQ_NB_FAILPOINT")
    queue.start_worker(1, linger=0)
    assert job.result(LIMIT_S) == 4


def test_a_job_that_kills_its_worker_each_time_ends_as_lost_and_takes_nobody_along(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    def kills_its_worker() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    batch = queue.map(pow, range(20), [2] * 20)
    poison = queue.submit(kills_its_worker)
    after = queue.map(pow, range(20), [3] * 20)
    for _ in range(10):
        one = start(concurrency=1, ready=False)
        assert one.wait() == -signal.SIGKILL
    start(concurrency=1)
    assert batch.results(LIMIT_S) == [n**2 for n in range(20)]
    assert after.results(LIMIT_S) == [n**3 for n in range(20)]
    with pytest.raises(JobLost):
        poison.result(LIMIT_S)
    row = queue.get_status(poison)
    assert (row["status"], row["reason"], row["losses"]) == ("failed", "lost", 10)


# ------------------------------------------------------------------------------------------- A6: SIGKILL of a child


def test_a_killed_child_is_a_charged_attempt_of_that_job_alone(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    @task(max_attempts=2, retry_delay=0)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    jobs = [queue.submit(pow, 2, 3), queue.submit(dies), queue.submit(pow, 2, 4)]
    assert [jobs[0].result(LIMIT_S), jobs[2].result(LIMIT_S)] == [8, 16]
    assert "signal 9 (SIGKILL), as the system does when memory runs out" in str(jobs[1].exception(LIMIT_S))
    assert outcomes(queue, jobs[1]) == ["failed", "failed"]
    assert one.process.poll() is None


def test_children_killed_at_random_lose_no_job(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    import random

    chance, one, ledger = random.Random(7), start(concurrency=2), tmp_path / "ledger"

    @task(max_attempts=50, retry_delay=0)
    def work(n: int) -> int:
        time.sleep(0.002)
        note(ledger, str(n))
        return n

    batch = queue.map(work, range(300))
    for _ in range(15):
        time.sleep(chance.uniform(0.01, 0.05))
        if pids := one.children:
            kill(chance.choice(pids))
    assert batch.results(LIMIT_S) == list(range(300))
    assert one.process.poll() is None


# ------------------------------------------------------------------------------------------- A7 to A9: kernels


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """A real ipykernel as Jupyter starts it, in a process group that Jupyter interrupts and kills."""
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    with contextlib.suppress(RuntimeError):
        manager.shutdown_kernel(now=True)


def run_cell(client: Any, code: str) -> str:
    """Run a cell; returns what it printed."""
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["header"]["msg_type"] == "stream":
            said.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=LIMIT_S, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


_SUBMIT = """
import os, time
from pathlib import Path
from gigq_nb import JobQueue
queue = JobQueue({path!r})
worker = queue.start_worker(1)
def work():
    Path({begun!r}).write_text(str(os.getpid()))
    while not os.path.exists({go!r}):
        time.sleep(0.01)
    return "done"
job = queue.submit(work)
print(worker.pid, job)
"""


def test_a_killed_kernel_leaves_worker_and_jobs_alone(queue: JobQueue, kernel: Any, tmp_path: Path) -> None:
    manager, client = kernel
    begun, go = tmp_path / "begun", tmp_path / "go"
    pid, job_id = run_cell(client, _SUBMIT.format(path=str(queue.path), begun=str(begun), go=str(go))).split()
    until(lambda: lines(begun), "it runs")
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=LIMIT_S)
    found = run_cell(
        client, f"from gigq_nb import JobQueue\nw = JobQueue({str(queue.path)!r}).start_worker(1)\nprint(w.pid, w.started)"
    )
    assert found.split() == [pid, "False"]
    go.touch()
    assert queue.job(job_id).result(LIMIT_S) == "done"
    assert outcomes(queue, job_id) == ["completed"]


def test_an_interrupted_kernel_leaves_worker_and_jobs_alone(queue: JobQueue, kernel: Any, tmp_path: Path) -> None:
    manager, client = kernel
    begun, go = tmp_path / "begun", tmp_path / "go"
    _, job_id = run_cell(client, _SUBMIT.format(path=str(queue.path), begun=str(begun), go=str(go))).split()
    until(lambda: lines(begun), "it runs")
    waiting = client.execute("job.result()")
    deadline = time.monotonic() + LIMIT_S
    reply = None
    while reply is None and time.monotonic() < deadline:
        manager.interrupt_kernel()
        with contextlib.suppress(Exception):
            message = client.get_shell_msg(timeout=0.5)
            reply = message if message["parent_header"]["msg_id"] == waiting else None
    assert reply is not None
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert is_alive(int(begun.read_text()))
    go.touch()
    assert queue.job(job_id).result(LIMIT_S) == "done"
    assert outcomes(queue, job_id) == ["completed"]


def test_an_interrupt_during_submit_leaves_the_job_there_or_not_there(queue: JobQueue, tmp_path: Path) -> None:
    """A9: an alarm at random moments around the submit; what was acknowledged is there, and nothing is half there."""
    code = f"""
import random, signal
from gigq_nb import JobQueue
chance = random.Random(11)
queue = JobQueue({str(queue.path)!r})
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
queue.submit(pow, 0, 1)
acks = interrupted = 0
for n in range(500):
    job = None
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-3))
            job = queue.submit(pow, n, 2)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    if job is not None:
        print(job)
print("interrupted", interrupted)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    *acks, last = done.stdout.splitlines()
    assert int(last.split()[1]) > 20, "the alarm must hit"
    there = {job["id"] for job in queue.list_jobs(limit=10_000)}
    assert set(acks) <= there


# ------------------------------------------------------------------------------------------- A11, A12: owners of old


def foreign_worker(queue: JobQueue, **other: Any) -> int:
    """A worker's row whose process is another one than it says, holding one claimed job."""
    me = processes.me()
    who = {"host": me.host, "boot_id": me.boot_id, "pid_ns": me.pid_ns, "pid": me.pid, "birth": me.birth, **other}
    with queue._database.write() as db:
        return workers.register(
            db, f"of-old-{time.monotonic_ns()}", workers.Process(**who), python="3", prefix="/", concurrency=1, terminal=True,
            log=None, now=int(time.time() * 1000),
        )  # fmt: skip


def claim_for(queue: JobQueue, number: int) -> None:
    """Let a worker that does not exist hold the pending jobs."""
    from gigq_nb.store import transitions

    with queue._database.write() as db:
        runtimes = [row[0] for row in db.execute("select id from runtimes")]
        assert transitions.claim(db, number, runtimes, int(time.time() * 1000), 100)


def test_after_a_reboot_what_ran_is_an_orphan_at_once(queue: JobQueue, start: Start) -> None:
    job = queue.submit(pow, 2, 2)
    claim_for(queue, foreign_worker(queue, boot_id="another boot"))
    start(lease=3600)
    assert job.result(LIMIT_S) == 4
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_stranger_with_the_pid_of_a_dead_worker_is_never_signalled(queue: JobQueue, start: Start) -> None:
    """A12: pid and birth belong together."""
    with subprocess.Popen(["sleep", "600"]) as stranger, subprocess.Popen(["sleep", "600"]) as other:
        job = queue.submit(pow, 2, 2)
        number = foreign_worker(queue, pid=stranger.pid, birth=1)
        with queue._database.write() as db:
            workers.add_child(db, number, other.pid, 1)
        claim_for(queue, number)
        start(lease=3600)
        assert job.result(LIMIT_S) == 4
        assert [stranger.poll(), other.poll()] == [None, None]
        stranger.kill()
        other.kill()


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_nobody_is_signalled_by_a_pid_that_means_many(queue: JobQueue, pid: int) -> None:
    assert processes.send_signal(pid, 0) is False
    assert processes.kill_tree(pid, None) == 0
    assert processes.kill_tree(os.getpid(), None) == 0


def test_a_worker_in_another_pid_namespace_is_left_its_lease(queue: JobQueue, start: Start) -> None:
    """Nobody here can see whether it lives: silence for the lease decides."""
    job = queue.submit(pow, 2, 2)
    claim_for(queue, foreign_worker(queue, pid_ns=42))
    start(lease=3)
    beats = until(lambda: worker_rows(queue)[0].beats, "a first beat")
    assert job.status == "running"
    assert job.result(LIMIT_S) == 4
    assert outcomes(queue, job) == ["lost", "completed"]
    assert worker_rows(queue)[0].beats > beats


def test_a_worker_whose_whole_pid_namespace_ends_is_dead(queue: JobQueue, start: Start, need: Any) -> None:
    """A container that stops: its first process, the worker, is killed, and all in it. Seen from outside by the lease."""
    may = subprocess.run(["unshare", "--pid", "--mount-proc", "--fork", "true"], capture_output=True, check=False)
    need(may.returncode == 0, "unshare --pid (root)")
    code = f"from gigq_nb import Worker; Worker({str(queue.path)!r}).start()"
    begun = queue.path.with_name("begun")

    def work() -> str:
        if not begun.exists():
            begun.touch()
            time.sleep(600)
        return "again"

    with subprocess.Popen(
        ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, "-c", code]
    ) as container:
        try:
            job = queue.submit(work)
            until(begun.exists, "it runs in the container")
            assert worker_rows(queue)[0].pid == 1
            start(lease=4)
        finally:
            container.kill()
    assert job.result(LIMIT_S) == "again"
    assert outcomes(queue, job) == ["lost", "completed"]


# ------------------------------------------------------------------------------------------- A10: asked to stop


def test_a_stopped_worker_lets_jobs_finish_within_the_grace_period(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=60)
    begun, go = tmp_path / "begun", tmp_path / "go"

    def work() -> str:
        begun.touch()
        while not go.exists():
            time.sleep(0.01)
        return "finished"

    job, other = queue.submit(work), queue.submit(pow, 2, 2)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    until(lambda: worker_rows(queue)[0].state == "stopping", "it says so")
    go.touch()
    assert one.wait() == 0
    assert (job.result(1), other.status) == ("finished", "pending")


@pytest.mark.parametrize("ignores", [False, True])
def test_what_is_not_done_in_the_grace_period_goes_back_uncharged(
    queue: JobQueue, start: Start, tmp_path: Path, ignores: bool
) -> None:
    one = start(concurrency=1, stop_grace=0.2)
    begun = tmp_path / "begun"

    @task(max_attempts=1)
    def work() -> str:
        if begun.exists():
            return "again"
        if ignores:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        begun.write_text(str(os.getpid()))
        time.sleep(600)
        return "never"

    job = queue.submit(work)
    until(lambda: lines(begun), "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    row = queue.get_status(job)
    assert (row["status"], row["attempts"], row["losses"], outcomes(queue, job)) == ("pending", 0, 0, ["returned"])
    assert not is_alive(int(begun.read_text()))
    start(concurrency=1)
    assert job.result(LIMIT_S) == "again"


def test_a_second_signal_ends_a_worker_at_once(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=3600)
    begun = tmp_path / "begun"

    @task(max_attempts=1, grace=3600)
    def work() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        begun.touch()
        time.sleep(600)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    until(lambda: worker_rows(queue)[0].state == "stopping", "it is stopping")
    assert one.process.poll() is None
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.status, outcomes(queue, job)) == ("pending", ["returned"])


def test_a_result_that_came_while_the_worker_was_ending_the_job_is_kept(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=0)
    ledger = tmp_path / "ledger"

    def work() -> str:
        note(ledger, "ran")
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(0.1)
        return "saved what it had"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.result(1), len(lines(ledger))) == ("saved what it had", 1)


def test_a_timeout_is_a_timeout_also_while_the_worker_stops(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=0.4)
    begun = tmp_path / "begun"

    @task(timeout=0.2, grace=3)
    def work() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        begun.touch()
        time.sleep(600)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.status, outcomes(queue, job)) == ("timeout", ["timeout"])


def test_what_was_claimed_ahead_goes_back_when_a_worker_stops(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=3600)
    begun, go = tmp_path / "begun", tmp_path / "go"

    def work(n: int) -> int:
        if n == 1000:
            begun.touch()
            while not go.exists():
                time.sleep(0.005)
        return n

    queue.map(work, range(100)).results(LIMIT_S)
    batch = queue.map(work, [1000, *range(50)])
    until(begun.exists, "the long one runs")
    one.send(signal.SIGTERM)
    until(lambda: batch.counts.pending == 50, "the others are given back")
    go.touch()
    assert one.wait() == 0
    assert batch.counts.as_dict() == {"pending": 50, "running": 0, "completed": 1, "failed": 0, "timeout": 0, "cancelled": 0}
    assert all(outcomes(queue, job) == [] for job in list(batch)[1:])


# ------------------------------------------------------------------------------------------- A13, A14: many


@pytest.mark.slow
def test_fifty_workers_run_a_thousand_jobs_once_each(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def work(n: int) -> int:
        note(ledger, str(n))
        return n

    many = [start(concurrency=1, ready=False) for _ in range(50)]
    batch = queue.map(work, range(1000))
    assert batch.results(4 * LIMIT_S) == list(range(1000))
    ran = [line.split(":")[0] for line in lines(ledger)]
    assert sorted(map(int, ran)) == list(range(1000))
    until(lambda: len([row for row in worker_rows(queue) if row.state == "running"]) == 50, "all fifty work", 4 * LIMIT_S)
    assert all(one.process.poll() is None for one in many)
    for one in many:
        one.send(signal.SIGTERM)
    assert [one.wait(4 * LIMIT_S) for one in many] == [0] * 50
    assert not [one for one in many if "locked" in one.log.read_text() or "Traceback" in one.log.read_text()]


def test_the_children_of_a_worker_are_its_own_and_of_nobody_else(queue: JobQueue, start: Start) -> None:
    """S21: what a job inherits."""
    one = start(concurrency=1)

    def look() -> tuple[list[str], list[int], int, int]:
        handles = sorted(int(n) for n in os.listdir("/proc/self/fd"))
        targets = [os.readlink(f"/proc/self/fd/{n}") for n in handles if os.path.exists(f"/proc/self/fd/{n}")]
        return targets, handles, os.getsid(0), os.getpid()

    targets, _, session, pid = queue.submit(look).result(LIMIT_S)
    assert session == pid
    assert not [name for name in targets if "jobs.db" in name]
    assert int(Path(f"/proc/{children_of(one.pid)[0]}/oom_score_adj").read_text()) == 500
    assert statuses(queue) == {"completed": 1}
    assert len(tree_of(one.pid)) == 2
    assert psutil.Process(pid).ppid() == one.pid
