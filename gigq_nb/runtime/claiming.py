"""From a claimed row to something that may be run, with all it needs; the child checks its signature before it unpickles."""

from __future__ import annotations

import json
from typing import Any

from .. import payload
from ..errors import PayloadDamaged
from ..job import Options
from ..states import Outcome, Reason
from ..store import reads, transitions, workers
from ..store.filesystem import Spill
from ..store.transitions import Claim, Ending, Failure
from . import wire
from .bell import now_ms
from .runner import Assignment, LoadedTask, Runner

MOST_TASKS = 5_000


class Claims:
    """What a worker may run, what it knows of tasks, and how claimed jobs become assignments.

    Args:
        spill: Where large payloads stand.
        key_id: Whose jobs it can run.
        prefix: Of which environment; None: of any.
    """

    def __init__(self, spill: Spill, key_id: str, prefix: str | None) -> None:
        self.spill, self.key_id, self.prefix = spill, key_id, prefix
        self.runtimes: list[int] = []
        self._tasks: dict[int, LoadedTask | PayloadDamaged] = {}
        self._parents: dict[int, list[Any]] = {}

    def forget(self) -> None:
        """Another file, other numbers."""
        self._tasks.clear()
        self._parents.clear()

    def read_runtimes(self, db: Any) -> None:
        """Whose jobs may be claimed: a submit from a new environment makes a new one."""
        self.runtimes = workers.runnable_runtimes(db, self.key_id, payload.PYTHON, self.prefix)

    def take(self, db: Any, worker: int, runner: Runner, now: int, room: int) -> list[Claim]:
        """Claim what the runner has room for, with the results that it waits for."""
        if not self.runtimes:
            self.read_runtimes(db)
        claims = transitions.claim(db, worker, self.runtimes, now, room, lambda one: self.place(db, one, runner))
        for one in claims:
            if one.has_parents and (rows := reads.parent_results(db, one.seq)):
                self._parents[one.token] = rows
        return claims

    def place(self, db: Any, claim: Claim, runner: Runner) -> bool:
        """Whether the runner has room for this job. What is damaged is taken, too: it ends without being run."""
        task = self._tasks.get(claim.task)
        if task is None:
            task = self._tasks[claim.task] = self._load_task(db, claim.task)
        return isinstance(task, PayloadDamaged) or runner.place(claim, task)

    def _load_task(self, db: Any, number: int) -> LoadedTask | PayloadDamaged:
        """A task whose content is what its digest says: else nothing of it may be unpickled."""
        try:
            row = reads.task(db, number)
            function = (
                row.payload if row.payload is not None else self.spill.read(f"function-{row.function_digest.hex()}", row.size)
            )
        except PayloadDamaged as error:
            return error
        signed = payload.task_digest(row.function_digest, row.name, row.folder, row.sys_path, row.options, row.notebook, row.cell)
        if payload.digest_of(function) != row.function_digest or row.digest != signed:
            return PayloadDamaged(f"the stored function of {row.name} is not what was signed: somebody changed the file")
        try:
            options, sys_path = Options.from_json(row.options), json.loads(row.sys_path)
        except ValueError as error:  # its digest fits, but a signature never will: it is no worker that made it
            return PayloadDamaged(f"the stored task {row.name} is not what was signed: {error}")
        settings = {
            "name": row.name,
            "folder": row.folder,
            "sys_path": sys_path,
            "env": dict(options.env),
            "memory_bytes": options.memory_bytes,
            "pass_parent_results": options.pass_parent_results,
        }
        return LoadedTask(
            row.id, row.digest, row.name, row.function, function, row.cells.encode(), json.dumps(settings).encode(), options
        )

    def assignments(self, claims: list[Claim]) -> tuple[list[Assignment], list[Ending]]:
        """Claimed jobs that can be sent on, and the endings of those whose payloads are not what they should be."""
        good: list[Assignment] = []
        damaged: list[Ending] = []
        for claim in claims:
            parents = self._parents.pop(claim.token, None)
            task = self._tasks[claim.task]
            try:
                if isinstance(task, PayloadDamaged):
                    raise task
                arguments = claim.payload if claim.payload is not None else self.spill.read(f"arguments-{claim.id}", claim.size)
                if len(claim.signature) != payload.SIGNATURE_BYTES:
                    raise PayloadDamaged(payload.CHANGED)
                blob = self._pack_parents(parents) if parents else b""
            except PayloadDamaged as error:
                failure = Failure("gigq_nb.errors.PayloadDamaged", str(error))
                damaged.append(Ending(claim, Outcome.FAILED, Reason.DAMAGED, None, now_ms(), failure=failure))
                continue
            claim.payload = None
            good.append(Assignment(claim, task, arguments, blob, None))
        if len(self._tasks) > MOST_TASKS:
            self._tasks.clear()
        return good, damaged

    def _pack_parents(self, rows: list[tuple[str, str, int | None, bytes | None, int, bytes | None]]) -> bytes:
        parts = []
        for job_id, _status, execution, packed, size, signature in rows:
            if signature is None:
                parts.append(wire.PARENT_HEAD.pack(job_id.encode(), False, 0, 0, b""))
                continue
            result = packed if packed is not None else self.spill.read(f"result-{job_id}", size)
            if len(signature) != payload.SIGNATURE_BYTES:
                raise PayloadDamaged(payload.PARENT_CHANGED.format(job_id))
            parts += [wire.PARENT_HEAD.pack(job_id.encode(), True, execution, len(result), signature), result]
        return b"".join(parts)
