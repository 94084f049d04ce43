"""A process that submits and writes down what was acknowledged: ``python -m tests.chaos.submitter FOLDER SLOT TURN SEED SHARE ROUGH``."""

import os
import random
import sys
import time
from pathlib import Path

from gigq_nb import Job, JobQueue, task
from tests.chaos import jobs

#: A SIGKILL of the child is a charged attempt: an innocent job must have enough of them.
MOST = 100


class Submitter:
    """One slot of the harness. A turn ends by SIGKILL or when the share of the slot is acknowledged."""

    def __init__(self, folder: str, slot: str, turn: str, seed: int, share: int, rough: bool) -> None:
        self.folder, self.share, self.rough = folder, share, rough
        self.name = f"{slot}.{turn}"
        self.chance = random.Random(f"{seed} {slot} {turn}")
        self.queue = JobQueue(f"{folder}/jobs.db")
        self.acks = Path(folder, f"acks-{slot}")
        self.done = len(self.acks.read_text().splitlines()) if self.acks.exists() else 0
        self.made = 0
        self.task = task(max_attempts=MOST, retry_delay=0)(jobs.work)
        self.once = task(max_attempts=1)(jobs.work)

    def key(self, kind: str) -> str:
        self.made += 1
        return f"{kind}-{self.name}.{self.made}"

    def rest_s(self) -> float:
        return 0.3 if self.chance.random() < 0.004 else self.chance.uniform(0, 0.006)

    def acknowledge(self, pairs: list[tuple[str, str]]) -> None:
        """Only after the submit returned."""
        handle = os.open(self.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, "".join(f"{job} {key}\n" for job, key in pairs).encode())
        os.close(handle)
        self.done += len(pairs)

    def burst(self) -> None:
        """One of the ways to submit."""
        way = self.chance.random()
        if self.rough and self.chance.random() < 0.1:
            self.trouble()
        elif way < 0.3:
            key = self.key("flaky" if way < 0.05 else "plain")
            self.acknowledge([(str(self.queue.submit(self.task, key, self.folder, self.rest_s())), key)])
        elif way < 0.35:
            self.family("bad" if way < 0.32 else "plain")
        elif way < 0.6:
            keys = [self.key("plain") for _ in range(self.chance.randint(2, 20))]
            some = [
                Job(key, jobs.work, {"key": key, "folder": self.folder, "rest_s": self.rest_s()}, max_attempts=MOST)
                for key in keys
            ]
            self.acknowledge([(str(job), key) for job, key in zip(self.queue.submit_many(some), keys, strict=True)])
        else:
            keys = [self.key("plain") for _ in range(self.chance.randint(2, 40))]
            batch = self.queue.map(self.task, keys, [self.folder] * len(keys), [self.rest_s() for _ in keys])
            self.acknowledge([(str(job), key) for job, key in zip(batch, keys, strict=True)])

    def trouble(self) -> None:
        """Jobs that do not end by themselves, or that somebody no longer wants."""
        if self.chance.random() < 0.3:
            key = self.key("hang")
            job = self.queue.submit(task(name="hangs", timeout=0.3, grace=0.2)(jobs.hangs), key, self.folder)
            self.acknowledge([(str(job), key)])
            return
        keys = [self.key("unwanted") for _ in range(self.chance.randint(1, 8))]
        batch = self.queue.map(self.task, keys, [self.folder] * len(keys), [self.chance.choice((0.001, 0.2)) for _ in keys])
        time.sleep(self.chance.uniform(0, 0.1))
        for job, key in zip(batch, keys, strict=True):
            wanted = key if not job.cancel() else key.replace("unwanted", "refused")
            self.acknowledge([(str(job), wanted)])

    def family(self, kind: str) -> None:
        """A parent and two that wait for it; those of a bad one are cancelled with it."""
        first = self.key(kind)
        parent = self.queue.submit(self.once if kind == "bad" else self.task, first, self.folder, self.rest_s())
        self.acknowledge([(str(parent), first)])
        for _ in range(2):
            key = self.key("orphan" if kind == "bad" else "child")
            self.acknowledge([(str(self.queue.submit(self.task, key, self.folder, self.rest_s(), parent)), key)])


def main() -> None:
    """Submit until the share is acknowledged."""
    folder, slot, turn, seed, share, rough = sys.argv[1:]
    one = Submitter(folder, slot, turn, int(seed), int(share), rough == "True")
    while one.done < one.share:
        one.burst()


if __name__ == "__main__":
    main()
