"""``submit``: a function and its arguments become a job."""

from __future__ import annotations

import argparse
import functools
import importlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from . import finding
from .command import Answer, Call, Command, Door
from .terminal import time_text

if TYPE_CHECKING:
    from ..handle import JobHandle
    from ..queue import JobQueue
    from ..task import Task


class Submit(Command):
    """Submit a job: a function by its module and name, in a notebook also a call such as train(lr=0.1).

      gigq-nb submit mymodule.train --name fit --param lr=0.1 --timeout 10m
      %gigq submit --timeout 10m train(lr=0.1, data=df)

    A call is not run here: its function and its arguments are taken from the notebook, and a worker runs it.
    By module and name a job has three attempts, as in GigQ; a call has one, or what its @task says.
    """

    word = "submit"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("function", nargs="+", metavar="FUNCTION", help="module.function; in a notebook also a call")
        parser.add_argument("--name", help="what to call the job; else the function's name")
        parser.add_argument(
            "--param", "-p", action="append", default=[], metavar="K=V", help="an argument; V is read as JSON, else as text"
        )
        parser.add_argument("--priority", type=int, metavar="N", help="higher runs first (default 0)")
        parser.add_argument("--max-attempts", type=int, metavar="N", help="attempts before it ends badly")
        parser.add_argument(
            "--timeout", metavar="T", help="seconds, or 90s, 10m, 2h; its processes are ended then (default: none)"
        )
        parser.add_argument("--retry-delay", metavar="T", help="wait between attempts")
        parser.add_argument("--description", help="free text")
        parser.add_argument("--tag", action="append", default=[], help="a word to find it by; may be repeated")
        parser.add_argument("--key", metavar="K", help="submit it only if no job stands under this key; else that one is meant")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        text = " ".join(args.function)
        params = dict(_param(one) for one in args.param)
        call = door.call(text) or _imported(text, door)
        queue = door.queue(create=True)
        held = None if args.key is None else finding.held(queue, args.key)
        job = held or _submit(queue, call, params, args)
        name = job.name
        done = f"already submitted at {time_text(job.row().created_at)}," if held else "submitted"
        return Answer(data={"id": str(job), "name": name}, text=f"{done} {name}: {job}", value=job)


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidArgument(f"--param {text!r:.60} is not written as name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _imported(text: str, door: Door) -> Call:
    """``module.function`` or ``module.Class.method``."""
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        how = "a call such as train(lr=0.1), or module.function" if door.notebook else "module.function"
        raise InvalidArgument(f"{text!r:.80} is no function: write {how}")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
                continue
            raise InvalidArgument(f"{module_name} cannot be imported: {error}") from None
        except Exception as error:  # whatever a module does when it is imported
            raise InvalidArgument(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from None
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise InvalidArgument(f"{module_name} has no {'.'.join(parts[cut:])}")
            found = getattr(found, part)
        return Call(found, (), {})
    raise InvalidArgument(f"there is no module {parts[0]} to import; start in its folder, or name module.function in full")


def _submit(queue: JobQueue, call: Call, params: dict[str, Any], args: argparse.Namespace) -> JobHandle:
    from ..job import Job
    from ..task import Task

    given = {
        "max_attempts": args.max_attempts,
        "timeout": duration(args.timeout),
        "retry_delay": duration(args.retry_delay),
        "description": args.description,
        "tags": tuple(args.tag) or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    function, priority = call.function, args.priority
    submit = queue.submit if args.key is None else functools.partial(queue.submit_once, args.key)
    if isinstance(function, Task):
        return submit(_with(function, args.name, priority, given), *call.args, **{**call.kwargs, **params})
    if call.written:
        task = Task(function, name=args.name, priority=priority or 0, **given)
        return submit(task, *call.args, **{**call.kwargs, **params})
    name = args.name or getattr(function, "__name__", None) or type(function).__name__
    return submit(Job(name, function, params, priority or 0, **given))


def _with(task: Task, name: str | None, priority: int | None, given: dict[str, Any]) -> Task:
    """A task with other options than its own for one submit."""
    from ..job import Options
    from ..task import Task

    if name is None and priority is None and not given:
        return task
    fields = {"timeout": "timeout_s", "retry_delay": "retry"}
    new = Options.of(**given)
    made = Task(
        task.function, name=name or task.name, priority=task.priority if priority is None else priority, by_value=task.by_value
    )
    made.options = replace(task.options, **{fields.get(one, one): getattr(new, fields.get(one, one)) for one in given})
    return made


def duration(text: str | None) -> float | str | None:
    """Bare numbers are seconds here, as everything on a command line is text."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text
