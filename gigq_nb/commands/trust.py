"""``trust``: somebody else's file, looked at before it is signed."""

from __future__ import annotations

import argparse
import os
from collections import Counter

from ..errors import NotAQueue
from ..queue import JobQueue
from ..store.opening import resolve
from . import trusting
from .command import Answer, Command, Door, short
from .terminal import visible, visible_line

_MOST_LINES, _MOST_NAMES = 40, 12
_ORDER = ("pending", "running", "completed", "failed", "timeout", "cancelled")


class Trust(Command):
    """Show what somebody else's file holds, then sign it, so that you can run it.

    Nothing of it is unpickled or run to show it. Signing needs --yes, or the word 'trust' typed in a terminal. From
    then on its jobs run as yours, and its results load: sign only what you would run yourself. A copy of a file of
    your own, from before your key was lost, is signed in the same way.
    """

    word = "trust"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", metavar="FILE", help="the file; else the one of --db")
        parser.add_argument("--yes", action="store_true", help="sign without asking")
        parser.add_argument("--full", action="store_true", help="show the whole source of long functions")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        path = resolve(args.file or door.path())
        if not os.path.lexists(path):
            raise NotAQueue(f"there is no file {path}; '{door.name} trust FILE' names it")
        with JobQueue(path, False) as queue:
            contents = trusting.look(queue)
            text = describe(contents, full=args.full)
            if not contents.foreign:
                return Answer(data=as_data(contents, None), text=f"{text}\n\nThere is nothing to sign.")
            if not args.yes:
                answer = door.ask(f"{text}\n\nType 'trust' to sign this as yours: ")
                if answer is None:
                    return Answer(
                        data=as_data(contents, None),
                        text=f"{text}\n\nNothing was signed. To sign it: {door.name} trust {short(path)} --yes",
                    )
                text = ""
                if answer.strip() != "trust":
                    return Answer(data=as_data(contents, None), text="Nothing was signed.", failed=True)
            signed = trusting.sign(queue, contents)
        said = "Signed as yours: " + (_list({noun: n for noun, n in signed.items() if n}) or "nothing") + "."
        return Answer(data=as_data(contents, signed), text=f"{text}\n\n{said}".lstrip())


def describe(contents: trusting.Contents, *, full: bool = False) -> str:
    """What a file holds, for a person who decides whether to run it."""
    lines = [f"{short(contents.path)} holds {_count(sum(one.total for one in contents.runtimes), 'job')}"]
    for one in contents.runtimes:
        if not one.total:
            continue
        whose = "yours" if one.key_id == contents.key_id else "not yours"
        where = visible_line(one.prefix)
        lines.append(f"  signed with the key {visible_line(one.key_id[:8])} ({whose}): {_list(_sorted(one.jobs))}")
        lines.append(f"    from Python {visible_line(one.python)} in {where}")
    for n, task in enumerate(contents.tasks, 1):
        lines += ["", *_task(n, task, full)]
    if contents.arguments_refer_to:
        lines += ["", f"Arguments, results and errors refer to: {_names(sorted(contents.arguments_refer_to))}"]
    lines += ["", *_verdicts(contents)]
    return "\n".join(lines)


def _task(n: int, task: trusting.HeldTask, full: bool) -> list[str]:
    called = visible_line(task.name) + (f" ({visible_line(task.function)})" if task.function != task.name else "")
    place = visible_line(task.notebook or task.folder)
    lines = [f"{n}. {called}: {_list(_sorted(task.jobs))}; {task.size_bytes:,} bytes, from {place}"]
    if task.damaged:
        return [*lines, f"   NOT SIGNED: {visible_line(task.damaged)}"]
    if task.refers_to:
        lines.append(f"   uses {_names(task.refers_to)}")
    source = visible(task.source).rstrip().splitlines() or ["(the file has no source of it)"]
    shown = source if full else source[:_MOST_LINES]
    lines += [f"   | {line}" for line in shown]
    if len(shown) < len(source):
        lines.append(f"   | … {len(source) - len(shown)} more lines: --full")
    return lines


def _verdicts(contents: trusting.Contents) -> list[str]:
    by_verdict: dict[str, dict[str, int]] = {}
    for table, counter in contents.signed.items():
        for verdict, n in counter.items():
            by_verdict.setdefault(verdict, {})[trusting.TABLES[table][0]] = n
    lines = []
    if foreign := by_verdict.get("foreign"):
        lines += [
            f"Not signed by you: {_list(foreign)}.",
            "Whether they were changed after they were signed cannot be told without that key. The source above is what the",
            "file says; what runs are the pickled bytes beside it. Sign only what comes from somebody whose code you would run.",
        ]
    if changed := by_verdict.get("changed"):
        lines.append(f"CHANGED in the file since they were signed, and never signed again: {_list(changed)}.")
    if missing := by_verdict.get("missing"):
        lines.append(
            f"Without their file beside the database (copy the folder {contents.path.name}.files, too): {_list(missing)}."
        )
    if ours := by_verdict.get("ours"):
        lines.append(f"Signed by you: {_list(ours)}.")
    return lines


def as_data(contents: trusting.Contents, signed: dict[str, int] | None) -> dict[str, object]:
    """The same for machines."""
    return {
        "file": str(contents.path),
        "key": contents.key_id,
        "runtimes": [
            {"key": one.key_id, "python": one.python, "prefix": one.prefix, "jobs": one.jobs} for one in contents.runtimes
        ],
        "functions": [
            {
                "name": one.name,
                "function": one.function,
                "source": one.source,
                "bytes": one.size_bytes,
                "folder": one.folder,
                "notebook": one.notebook,
                "jobs": one.jobs,
                "refers_to": one.refers_to,
                "damaged": one.damaged,
            }
            for one in contents.tasks
        ],
        "signatures": {trusting.TABLES[table][0]: dict(counter) for table, counter in contents.signed.items()},
        "signed": signed,
    }


def _sorted(jobs: dict[str, int]) -> dict[str, int]:
    return {status: jobs[status] for status in _ORDER if jobs.get(status)}


def _list(numbers: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{n:,} {noun.removesuffix('s') if n == 1 else noun}" for noun, n in numbers.items()) or "no jobs"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(visible_line(one) for one in names[:_MOST_NAMES]) + more
