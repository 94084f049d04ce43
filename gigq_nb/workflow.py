"""``Workflow``: named jobs with dependencies, submitted in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import CycleError, InvalidArgument, InvalidType
from .handle import Batch, JobHandle
from .job import Job
from .policies import clean_name
from .task import Task

if TYPE_CHECKING:
    from .queue import JobQueue


class Workflow:
    """Jobs that depend on each other. The names and meanings are GigQ's; the submit is all or nothing.

    Args:
        name: What to call the workflow.
    """

    def __init__(self, name: str) -> None:
        self.name = clean_name(name)
        self.jobs: list[Job] = []
        self.job_map: dict[str, Job] = {}
        self._batch: Batch | None = None

    def add_job(self, job: Job, depends_on: Sequence[Job | str] | Job | None = None) -> Job:
        """Add a job, with the jobs of this workflow (or ids of submitted jobs) that must complete before it.

        Raises:
            InvalidType: not a Job.
            InvalidArgument: the job stands in this workflow already, or depends on one that does not.
        """
        if not isinstance(job, Job):
            raise InvalidType(f"add_job takes a Job, not {type(job).__name__}; for a @task use add_task")
        if job.id in self.job_map:
            raise InvalidArgument(f"{job.name!r} stands in the workflow {self.name!r} already")
        parents = [depends_on] if isinstance(depends_on, (Job, str)) else list(depends_on or ())
        for parent in parents:
            if parent is job:
                raise CycleError(f"{job.name!r} depends on itself")
            if isinstance(parent, Job):
                if parent.id not in self.job_map:
                    raise InvalidArgument(
                        f"{job.name!r} depends on {parent.name!r}, which is not in the workflow {self.name!r}: add that first"
                    )
                job.dependencies.append(parent.id)
            elif isinstance(parent, str):
                job.dependencies.append(str.__str__(parent))
            else:
                raise InvalidType(f"depends_on takes jobs, not {type(parent).__name__}")
        job.dependencies = list(dict.fromkeys(job.dependencies))
        self.jobs.append(job)
        self.job_map[job.id] = job
        return job

    def add_task(
        self,
        task: Task | Callable[..., Any],
        params: dict[str, Any] | None = None,
        depends_on: Sequence[Job | str] | Job | None = None,
        pass_parent_results: bool | None = None,
        *,
        name: str | None = None,
    ) -> Job:
        """Add a ``@task`` (or any callable) with its keyword arguments.

        Args:
            task: What to run.
            params: Its keyword arguments.
            depends_on: Jobs that must complete before.
            pass_parent_results: Inject ``parent_results``; None: if the function takes it.
            name: What to call this job; the task's name if not given.
        """
        if not isinstance(task, Task):
            task = Task(task)
        job = task.to_job(**(params or {}))
        if name is not None:
            job.name = clean_name(name)
        if pass_parent_results is not None:
            from dataclasses import replace

            job.options = replace(job.options, pass_parent_results=pass_parent_results)
        return self.add_job(job, depends_on)

    def submit_all(self, queue: JobQueue | None = None) -> list[JobHandle]:
        """Submit all jobs in one transaction. Returns their handles in the order in which they were added.

        Raises:
            CycleError, JobNotFound: naming the jobs; nothing is stored.
        """
        return list(self.submit(queue))

    def submit(self, queue: JobQueue | None = None) -> Batch:
        """:meth:`submit_all`, as a :class:`Batch` that shows the graph live."""
        from .connected import current

        if not self.jobs:
            raise InvalidArgument(f"the workflow {self.name!r} has no jobs yet; add_job or add_task first")
        if self._batch is not None:
            raise InvalidArgument(f"the workflow {self.name!r} was submitted already; make a new one to run it again")
        self._refuse_circles()
        self._batch = (queue or current())._submit_batch(self.jobs, self.name, "workflow")
        return self._batch

    def _refuse_circles(self) -> None:
        """Name the jobs of a circle by their names, which people know, rather than by their ids."""
        left = {job.id: {one for one in job.dependencies if one in self.job_map} for job in self.jobs}
        while free := [one for one, parents in left.items() if not parents]:
            for one in free:
                del left[one]
            for parents in left.values():
                parents.difference_update(free)
        if left:
            names = ", ".join(repr(self.job_map[one].name) for one in list(left)[:5])
            raise CycleError(f"in the workflow {self.name!r} these jobs wait for each other in a circle: {names}")

    @property
    def batch(self) -> Batch | None:
        """Its jobs in the queue, once it was submitted."""
        return self._batch

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}: {len(self.jobs)} jobs>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from .notebook.display import mimebundle

        return mimebundle(self)

    def _ipython_display_(self) -> None:
        from .notebook.display import show

        show(self)
