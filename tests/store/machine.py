"""The store under any order of submits, claims, ends, deaths, freezes and clock steps, against a model.

No process, no sleep: the clock and the process table are arguments, so hypothesis orders the transactions. The rule
that decides who is dead and ends its children is the real one (runtime/peers.py), on fake processes.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gigq_nb.errors import InvalidArgument
from gigq_nb.runtime import peers
from gigq_nb.states import Outcome
from gigq_nb.store import pausing, pruning, submissions, transitions, workers
from gigq_nb.store.db import Database
from tests import invariants
from tests.store.fakes import Clock, Crash, FakeProcesses, FakeWorker, Fuse
from tests.store.model import Model
from tests.store.rig import START_MS, Rig, ending, new_task

MOST_WORKERS = 3
OUTCOMES = st.sampled_from([Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT])
RETRIES = st.sampled_from([None, (0, None), (1_000, 1_200), (60_000, 72_000)])
INDEX = st.integers(0, MOST_WORKERS - 1)
PICK = st.integers(0, 5)  # one of the newest jobs or claims

_folder = Path(tempfile.mkdtemp(prefix="gq-machine-"))
_template = _folder / "template.db"


def _fresh(path: Path) -> None:
    if not _template.exists():
        rig = Rig(_template)
        with rig.write() as db:
            db.execute("delete from workers")
        rig.database.checkpoint()
        rig.close()
    shutil.copyfile(_template, path)
    path.chmod(0o600)


class QueueMachine(RuleBasedStateMachine):
    """One file, one kernel, up to three workers at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(dir=_folder)) / "jobs.db"
        _fresh(self.path)
        self.clock, self.processes, self.model = Clock(START_MS), FakeProcesses(), Model()
        self.patches = [mock.patch.object(peers, "time", self.clock), mock.patch.object(peers, "processes", self.processes)]
        for one in self.patches:
            one.start()
        self.kernel = Database(self.path, keep=True, durable=False)
        with self.kernel.write() as db:
            self.runtime = db.execute("select id from runtimes").fetchone()[0]
        self.workers: list[FakeWorker] = []
        self.made = 0
        self.old_claims: list[Any] = []

    # ------------------------------------------------------------------------------------------------ a kernel

    @initialize(count=st.integers(1, 2), busy=st.booleans())
    def begin(self, count: int, busy: bool) -> None:
        for _ in range(count):
            self.workers.append(FakeWorker(self.path, self.clock, self.processes))
            self.submit(parents=[], priority=0, max_attempts=2, delay_ms=None, crash_at=None)
        for worker in self.workers if busy else ():
            self.take_turn(worker, 1)

    def some_jobs(self, picks: Any) -> list[str]:
        """Of the newest jobs, those picked; each once."""
        newest = list(self.model.rows)[::-1]
        return list(dict.fromkeys(newest[one % len(newest)] for one in picks)) if newest else []

    @rule(
        parents=st.lists(st.tuples(PICK, st.sampled_from(["cancel", "cancel", "cancel", "run"])), max_size=3),
        priority=st.integers(-1, 1),
        max_attempts=st.integers(1, 3),
        delay_ms=st.sampled_from([None, None, None, 5_000]),
        crash_at=st.sampled_from([None, None, None, None, None, 0, 2, 4, 6, 8]),
    )
    def submit(self, parents: Any, priority: int, max_attempts: int, delay_ms: int | None, crash_at: int | None) -> None:
        self.made += 1
        job_id = f"{self.made:036d}"
        known = {job: mode for pick, mode in parents for job in self.some_jobs([pick])}
        run_at = None if delay_ms is None else self.clock.wall_ms + delay_ms
        new = submissions.NewJob(job_id, new_task().digest, b"a", 1, b"s", priority, max_attempts, run_at, known)

        def store(db: Any) -> None:
            task = submissions.task_id(db, new_task())
            submissions.submit(db, [new], {new.task: task}, self.runtime, None, self.clock.wall_ms)

        if self.in_one_transaction(self.kernel, store, crash_at):
            self.model.submit(job_id, priority, max_attempts, known, run_at)

    @precondition(lambda self: self.model.rows)
    @rule(pick=PICK, after=st.booleans(), crash_at=st.sampled_from([None, None, None, 1, 3]))
    def cancel(self, pick: int, after: bool, crash_at: int | None) -> None:
        (job,) = self.some_jobs([pick])
        said: dict[str, bool] = {}
        if self.in_one_transaction(
            self.kernel, lambda db: said.update(transitions.cancel(db, [job], self.clock.wall_ms)), crash_at, after=after
        ):
            assert said == {job: self.model.cancel(job)}

    @precondition(lambda self: any(row.reason for row in self.model.rows.values()))
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def retry(self, picks: list[int]) -> None:
        some = self.some_jobs(picks)
        expected = self.model.retry(some)
        try:
            with self.kernel.write() as db:
                revived = transitions.retry(db, some, self.clock.wall_ms)
        except InvalidArgument:
            assert expected is None
        else:
            assert expected == set(revived)

    @rule(crash_at=st.sampled_from([None, None, None, 0, 1, 2]), after=st.booleans())
    def pause(self, crash_at: int | None, after: bool) -> None:
        """From its commit on nothing is claimed; a pause that dies before it leaves no trace."""
        said: list[int] = []
        if self.in_one_transaction(
            self.kernel, lambda db: said.append(pausing.pause(db, self.clock.wall_ms)), crash_at, after=after
        ):
            assert said == [self.model.pause(self.clock.wall_ms)]

    @precondition(lambda self: self.model.paused_at is not None)
    @rule(crash_at=st.sampled_from([None, None, None, None, 0, 1]), after=st.booleans())
    def resume(self, crash_at: int | None, after: bool) -> None:
        said: list[int | None] = []
        if self.in_one_transaction(self.kernel, lambda db: said.append(pausing.resume(db)), crash_at, after=after):
            assert said == [self.model.resume()]

    @precondition(lambda self: self.model.paused_at is not None)
    @rule()
    def go_on(self) -> None:
        """The same once more, so that most of the time is not spent in a pause."""
        self.resume(None, False)

    @invariant()
    def the_pause_is_the_one_of_the_model(self) -> None:
        with self.kernel.read() as db:
            assert pausing.paused_at(db) == self.model.paused_at

    @precondition(lambda self: any(row.status not in ("pending", "running") for row in self.model.rows.values()))
    @rule(statuses=st.sampled_from([("completed",), ("failed", "timeout"), ("cancelled", "completed"), ("failed", "cancelled")]))
    def prune(self, statuses: tuple[str, ...]) -> None:
        with self.kernel.write() as db:
            removed, _ = pruning.prune(db, statuses, None)
        assert removed == self.model.prune(statuses)

    def in_one_transaction(self, database: Database, work: Any, crash_at: int | None, *, after: bool = False) -> bool:
        """Do it, or die in the middle of it. Returns whether it is in the file."""
        if crash_at is None:
            with database.write(durable=False) as db:
                work(db)
            return True
        fuse = self.arm(database, crash_at, after)
        try:
            with database.write(durable=False) as db:
                work(db)
        except Crash:
            pass
        database.close()
        return fuse.committed

    def arm(self, database: Database, at: int, after: bool) -> Fuse:
        with database.write(durable=False):
            pass  # the connection is there
        fuse = Fuse(database._connection, at, after)  # type: ignore[arg-type]
        database._connection = fuse  # type: ignore[assignment]
        return fuse

    # ----------------------------------------------------------------------------------------------- the workers

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule()
    def start_worker(self) -> None:
        self.workers.append(FakeWorker(self.path, self.clock, self.processes))

    def awake(self, index: int) -> FakeWorker | None:
        able = [one for one in self.workers if not one.frozen]
        return able[index % len(able)] if able else None

    @precondition(lambda self: self.awake(0))
    @rule(index=INDEX, limit=st.integers(1, 2))
    def turn(self, index: int, limit: int) -> None:
        self.take_turn(self.some_awake(index), limit)

    def some_awake(self, index: int) -> FakeWorker:
        worker = self.awake(index)
        assert worker is not None
        return worker

    @precondition(lambda self: self.awake(0))
    @rule(index=INDEX, at=st.integers(0, 25), after=st.booleans(), orphans=st.booleans())
    def crash_inside(self, index: int, at: int, after: bool, orphans: bool) -> None:
        """The worker dies at a statement of its transaction: before, in or after the commit."""
        worker = self.some_awake(index)
        fuse = self.arm(worker.database, at, after)
        try:
            self.take_turn(worker, 2, fuse)
        except Crash:
            pass
        worker.die(orphans=orphans)
        self.workers.remove(worker)

    def take_turn(self, worker: FakeWorker, limit: int, fuse: Fuse | None = None) -> list[Any]:
        """Settle, beat, rescue, claim in one transaction, as runtime/worker.py does; then the model does the same."""
        now = self.clock.wall_ms
        worker.bury()
        dead = [peer for peer in worker.neighbours.dead() if worker.neighbours.end_children(worker.database, peer)]
        for peer in dead:
            self.refuse_theft(peer)
        claims: list[Any] = []
        late: list[Any] = []
        said: str | None = None
        room = min(limit, len(worker.idle_children()))
        endings = list(worker.endings)
        try:
            with worker.database.write(durable=False) as db:
                late = transitions.settle(db, worker.number, endings)
                said = workers.beat(db, worker.number, now)
                for peer in dead:
                    if said != "gone":
                        workers.rescue(db, peer, now, "its worker died")
                worker.neighbours.see(workers.peers(db, worker.number), committed=True)
                transitions.promote(db, now)
                if said is None:
                    for pid, birth in worker.gone_children:
                        workers.remove_child(db, worker.number, pid, birth)
                    for pid, birth in worker.born:
                        workers.add_child(db, worker.number, pid, birth)
                    claims = transitions.claim(db, worker.number, [self.runtime], now, room)
        except Crash:
            assert fuse is not None
            if fuse.committed:
                self.model_turn(worker, endings, dead, room, None)
            raise
        self.model_turn(worker, endings, dead, room, claims, late, said)
        worker.endings = []
        if said == "gone":
            worker.start_over()
            return []
        worker.beat_s = self.clock.mono_s
        worker.start(claims)
        self.old_claims += claims
        return claims

    def model_turn(
        self, worker: FakeWorker, endings: list[Any], dead: list[Any], room: int, claims: Any, late: Any = None, said: Any = None
    ) -> None:
        model, now = self.model, self.clock.wall_ms
        expect_late = []
        for one in endings:
            job = model.held_by(worker.number).get(one.claim.token)
            if job is None:
                expect_late.append(one.claim.token)
            else:
                model.end(job, one.outcome.value, one.finished_at, one.retry_in_ms, one.backoff_ms)
        gone = worker.number in model.gone
        if not gone:
            for peer in dead:
                if peer.id not in model.gone:
                    for job in model.held_by(peer.id).values():
                        model.end(job, "lost", now)
                    model.gone.add(peer.id)
        model.promote(now)
        expected = [] if gone else model.claimable(room)
        if claims is None:  # it died after its commit: what it claimed is in the file
            with self.kernel.read() as db:
                held = db.execute(
                    "select j.id, e.id from executions e join jobs j on j.seq = e.job where e.worker = ? and e.outcome is null",
                    (worker.number,),
                ).fetchall()
            known = model.held_by(worker.number)
            found = {job: token for job, token in held if token not in known}
            assert set(found) == set(expected)
        else:
            assert [one.claim.token for one in late] == expect_late
            assert (said == "gone") == gone
            assert [one.id for one in claims] == expected
            found = {one.id: one.token for one in claims}
        for job in expected:
            model.claim(job, worker.number, found[job])

    def refuse_theft(self, peer: Any) -> None:
        """Only a worker that is dead, or was silent for a whole lease, may be taken for dead."""
        for one in self.workers:
            if one.number == peer.id:
                silent_s = self.clock.mono_s - one.beat_s
                assert silent_s >= peers.LEASE_S, f"a living worker was robbed after {silent_s:g} s of silence"

    @precondition(lambda self: self.awake(0))
    @rule(index=INDEX)
    def claim_without_a_beat(self, index: int) -> None:
        """A worker that was frozen inside its turn goes on where it was, and does not know yet that it was taken for dead."""
        worker = self.some_awake(index)
        if not worker.idle_children():
            return
        claims: list[Any] = []
        with worker.database.write(durable=False) as db:
            if workers.asked(db, worker.number) is None:  # as runtime/worker.py does before each claim
                claims = transitions.claim(db, worker.number, [self.runtime], self.clock.wall_ms, 1)
        expected = [] if worker.number in self.model.gone else self.model.claimable(1)
        assert [one.id for one in claims] == expected
        for one in claims:
            self.model.claim(one.id, worker.number, one.token)
        worker.start(claims)
        self.old_claims += claims

    def busy(self) -> list[FakeWorker]:
        """Those with a child at work; frozen ones, too: their children may be at their ends already."""
        return [one for one in self.workers if one.running]

    @precondition(lambda self: self.busy())
    @rule(index=INDEX, outcome=OUTCOMES, retry=RETRIES)
    def finish(self, index: int, outcome: Outcome, retry: Any) -> None:
        """A child reports; the worker writes it in its next turn."""
        able = self.busy()
        worker = able[index % len(able)]
        token, (claim, child) = next(iter(worker.running.items()))
        if not worker.lives(child):
            return
        del worker.running[token]
        again = retry if outcome is not Outcome.COMPLETED and claim.attempts < claim.max_attempts else None
        wait, longest = again or (None, None)
        worker.endings.append(ending(claim, outcome, self.clock.wall_ms, retry_in_ms=wait, backoff_ms=longest))

    @precondition(lambda self: self.old_claims)
    @rule(pick=PICK, outcome=OUTCOMES)
    def settle_again(self, pick: int, outcome: Outcome) -> None:
        """An end for an attempt of long ago, from whoever it was: it is written only while that attempt is open."""
        claim = self.old_claims[-1 - pick % len(self.old_claims)]
        if any(row.token == claim.token for row in self.model.rows.values()):
            return
        with self.kernel.write() as db:
            for number in {one.number for one in self.workers} | {1}:
                late = transitions.settle(db, number, [ending(claim, outcome, self.clock.wall_ms)])
                assert [one.claim.token for one in late] == [claim.token]

    @precondition(lambda self: self.busy() and self.awake(0))
    @rule(index=INDEX)
    def hand_back(self, index: int) -> None:
        """What was claimed ahead and not read by its child goes back."""
        worker = self.some_awake(index)
        if not worker.running:
            return
        token = next(reversed(worker.running))
        claim, _ = worker.running.pop(token)
        with worker.database.write(durable=False) as db:
            transitions.hand_back(db, worker.number, [claim], self.clock.wall_ms)
        job = self.model.held_by(worker.number).get(token)
        if job is not None:
            self.model.hand_back(job)

    @precondition(lambda self: self.busy() and self.awake(0))
    @rule(index=INDEX)
    def stop_child(self, index: int) -> None:
        """A worker that stops, or obeys a cancel, ends what runs: its attempt is returned, or cancelled."""
        worker = self.some_awake(index)
        if not worker.running:
            return
        token, (claim, child) = worker.running.popitem()
        self.processes.kill_tree(*child)
        row = self.model.rows.get(claim.id)
        cancelling = row is not None and row.token == token and row.cancelling
        outcome = Outcome.CANCELLED if cancelling else Outcome.RETURNED
        worker.endings.append(ending(claim, outcome, self.clock.wall_ms, retry_in_ms=None if cancelling else 0))

    # ------------------------------------------------------------------------------------------------- the faults

    @precondition(lambda self: self.workers)
    @rule(
        index=INDEX, what=st.sampled_from(["crash", "crash, children outlive it", "freeze or thaw", "freeze or thaw", "reboot"])
    )
    def fault(self, index: int, what: str) -> None:
        worker = self.workers[index % len(self.workers)]
        if what == "freeze or thaw":
            worker.frozen = not worker.frozen
        elif what == "reboot":
            for worker in self.workers:
                worker.die(orphans=False)
            self.workers.clear()
            self.processes.reboot()
        else:
            self.workers.remove(worker)
            worker.die(orphans="outlive" in what)

    @precondition(lambda self: self.busy())
    @rule(index=INDEX)
    def kill_child(self, index: int) -> None:
        able = self.busy()
        self.processes.kill_tree(*next(iter(able[index % len(able)].running.values()))[1])

    @rule(clock=st.sampled_from(["wall", "both"]), step_s=st.sampled_from([-3600, -40, -1, 1, 4, 40, 3600]))
    def time_passes(self, clock: str, step_s: int) -> None:
        """The wall clock is set; or nobody gets a turn for a while (a suspended laptop, a loaded machine)."""
        self.clock.pass_s(0 if clock == "wall" else abs(step_s), step_s)

    @precondition(lambda self: self.awake(0))
    @rule(
        index=INDEX,
        turns=st.integers(2, 20),
        mono_s=st.sampled_from([0.1, 2, 4]),
        wall_s=st.sampled_from([-4, 0, 2, 4]),
    )
    def watch(self, index: int, turns: int, mono_s: float, wall_s: float) -> None:
        """One worker goes on by itself, whatever the wall clock does; the others do not get a turn."""
        worker = self.some_awake(index)
        for _ in range(turns):
            self.take_turn(worker, 2)
            self.clock.pass_s(mono_s, wall_s)

    # --------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def sql_invariants(self) -> None:
        with self.kernel.read() as db:
            assert invariants.broken(db, whole_file=False) == []

    @invariant()
    def same_as_the_model(self) -> None:
        with self.kernel.read() as db:
            rows = db.execute(
                "select id, status, reason, attempts, runs, losses, max_attempts, execution,"
                " exists (select 1 from cancellations where job = seq), run_at, backoff_ms,"
                " case status when 'pending' then waiting_on end from jobs"
            ).fetchall()
        assert {row[0]: row[1:] for row in rows} == {
            job: (
                row.status, row.reason, row.attempts, row.runs, row.losses, row.max_attempts, row.token, int(row.cancelling),
                row.run_at, row.backoff, self.model.waiting_on(row) if row.status == "pending" else None,
            )
            for job, row in self.model.rows.items()
        }  # fmt: skip

    @invariant()
    def no_job_runs_in_two_processes(self) -> None:
        """Also not in one whose worker is dead, frozen or robbed."""
        running = [(claim.id, child) for one in self.everybody() for claim, child in one.running.values() if one.lives(child)]
        jobs = [job for job, _ in running]
        assert len(jobs) == len(set(jobs)), running

    def everybody(self) -> list[FakeWorker]:
        for one in self.workers:
            if one not in self._seen:
                self._seen.append(one)
        return self._seen

    @property
    def _seen(self) -> list[FakeWorker]:
        return self.__dict__.setdefault("_all_workers", [])

    def teardown(self) -> None:
        try:
            if self.workers or self.model.rows:
                self.everything_ends()
        finally:
            for one in self.patches:
                one.stop()
            for worker in self.workers:
                worker.database.close()
            self.kernel.close()
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def everything_ends(self) -> None:
        """Liveness: once the faults and the pause are over, every job ends."""
        self.go_on()
        for worker in self.workers:
            worker.frozen = False
        if not self.workers:
            self.start_worker()
        for _ in range(400):
            if not any(row.status in ("pending", "running") for row in self.model.rows.values()):
                break
            for worker in self.workers:
                for index in range(2):
                    self.finish(self.workers.index(worker), Outcome.COMPLETED, None) if worker.running else index
                self.take_turn(worker, 2)
            self.clock.pass_s(2.0, 60.0)
        with self.kernel.read() as db:
            assert invariants.broken(db, at_the_end=True) == []
