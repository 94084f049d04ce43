"""What is measured: the cases, their sizes, and who takes part in each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

OURS = ("gigq_nb", "gigq_nb-process")
PEERS = ("gigq", "huey")
POOLS = ("dask", "ipyparallel", "loky")
EVERYBODY = (*OURS, *PEERS, *POOLS, "sqlite")
SHIPPED = ("gigq_nb", "gigq-shipped", "huey-shipped")

# Ten thousand no-ops take these half a minute; a fifth of them says the same. (It favours gigq, whose claims scan what
# is pending.)
SLOW = ("gigq", "huey", "dask", "ipyparallel")

# Once a run: no bar is about them, and they take a minute a case.
ONCE = ("dask", "ipyparallel")

GROWTH_KINDS = ("pending", "blocked", "delayed", "finished")
GROWTH_SIZES = (1_000, 10_000, 100_000, 1_000_000)
MANY = 100_000  # so many others take a peer longer to fill in than to be measured

# A kernel starts a dead worker again five times a minute at most, so that a worker that cannot live does not spin: more
# kills than that in one measurement would measure this patience. For more, take more turns.
KILLS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measure with its sizes, and its contenders. `slow` replaces sizes for the contenders that need it.

    `most_turns` bounds how often it is measured, where filling the file takes longer than measuring; `once` names the
    contenders that take part in the first turn only.
    """

    name: str
    measure: str
    size: dict
    contenders: tuple[str, ...]
    slow: dict = field(default_factory=dict)
    limit_s: float = 120
    most_turns: int | None = None
    once: tuple[str, ...] = ONCE

    def size_for(self, contender: str) -> dict:
        return self.size | (self.slow if contender.removesuffix("-shipped") in SLOW else {})

    def only(self, names: list[str]) -> "Case":
        return replace(self, contenders=tuple(each for each in self.contenders if each in names))


def full() -> list[Case]:
    return [
        *_submit(10_000, 2_000, EVERYBODY),
        *_end_to_end(10_000, 2_000, EVERYBODY, cold=True),
        Case(name="latency", measure="latency", size={"jobs": 200, "seconds": 20}, contenders=EVERYBODY),
        Case(name="latency, as shipped", measure="latency", size={"jobs": 200, "seconds": 30}, contenders=SHIPPED),
        *_growth(GROWTH_KINDS, GROWTH_SIZES, ("gigq_nb", *PEERS, "sqlite"), probes=10_000),
        *_graphs(EVERYBODY),
        _idle(5, 20, EVERYBODY[:-1]),
        Case(name="idle, as shipped", measure="idle", size={"settle_s": 5, "seconds": 20}, contenders=SHIPPED, most_turns=1),
        *_recovery(KILLS, 10, ("gigq_nb", *PEERS, *POOLS)),
        _frame(100_000),
        *(replace(case, most_turns=1) for case in (_frame(1_000_000), _view(1_000_000))),
        *(_lengths(ms, jobs, EVERYBODY[:-1]) for ms, jobs in ((1, 2000), (10, 500), (100, 60))),
        *(
            _payload(label, size, jobs, EVERYBODY)
            for label, size, jobs in (("1 kB", 1000, 100), ("1 MB", 10**6, 10), ("100 MB", 10**8, 1))
        ),
        *(_submitters(count, 3, (*OURS, *PEERS, "sqlite")) for count in (1, 2, 4)),
        *_steps(10_000),
    ]


def bars() -> list[Case]:
    """What the bars are about, and no more: a quarter of an hour. The files of a million jobs are made once."""
    few = ("gigq_nb", *PEERS, "loky", "sqlite")
    two = ("gigq_nb", "huey")
    million = [
        *_growth(GROWTH_KINDS, (GROWTH_SIZES[0], GROWTH_SIZES[-1]), ("gigq_nb",), probes=5_000),
        _frame(1_000_000),
        _view(1_000_000),
    ]
    return [
        *_submit(10_000, 2_000, few),
        *_end_to_end(10_000, 2_000, few, cold=False),
        *_latency(100, 10, two),
        *_graphs(few),
        _idle(2, 20, ("gigq_nb",)),
        *_recovery(KILLS, 10, ("gigq_nb",)),
        _frame(100_000),
        *(_submitters(count, 2, ("gigq_nb",)) for count in (1, 2, 4)),
        *_steps(10_000),
        *(replace(case, most_turns=1) for case in million),
    ]


def quick() -> list[Case]:
    """What a change is most likely to break; small sizes, the contenders that start fast."""
    few = ("gigq_nb", *PEERS, "loky", "sqlite")
    return [
        *_submit(5_000, 1_000, few),
        *_end_to_end(10_000, 1_000, few, cold=False),
        *_latency(50, 3, few),
        *_growth(("pending", "finished"), (1_000, 100_000), ("gigq_nb", "huey", "sqlite"), probes=3_000),
        *_graphs(few),
        _idle(1, 5, ("gigq_nb",)),
        *_recovery(3, 3, ("gigq_nb",)),
        _frame(100_000),
        _lengths(10, 100, few[:-1]),
        _payload("1 MB", 10**6, 5, few),
        *(_submitters(count, 1, ("gigq_nb",)) for count in (1, 2, 4)),
    ]


def _submit(jobs: int, slow_jobs: int, contenders: tuple[str, ...]) -> Iterator[Case]:
    """Durable queues take jobs in with no worker there; a pool must run while it does."""
    for name, bulk, times in (("submit one by one", False, 1), ("submit in bulk", True, 5)):
        size, slow = {"jobs": times * jobs, "bulk": bulk}, {"jobs": times * slow_jobs}
        durable = tuple(each for each in contenders if each not in POOLS)
        yield Case(name=name, measure="submit", size=size, slow=slow, contenders=durable)
        if pools := tuple(each for each in contenders if each in POOLS):
            yield Case(name=name, measure="submit", size=size | {"running": True}, slow=slow, contenders=pools)


def _end_to_end(jobs: int, slow_jobs: int, contenders: tuple[str, ...], *, cold: bool) -> Iterator[Case]:
    """Cold, only those that keep jobs without a worker, and loky, which starts its processes at the first submit."""
    for name, bulk in (("end to end, one by one", False), ("end to end, bulk", True)):
        size, slow = {"jobs": jobs, "bulk": bulk}, {"jobs": slow_jobs}
        yield Case(name=name, measure="end_to_end", size=size, slow=slow, contenders=contenders)
        if cold:
            late = tuple(each for each in contenders if each not in ("dask", "ipyparallel", "sqlite"))
            yield Case(
                name=f"{name}, workers started afterwards",
                measure="end_to_end",
                size=size | {"cold": True},
                slow=slow,
                contenders=late,
            )


def _latency(jobs: int, seconds: float, contenders: tuple[str, ...]) -> Iterator[Case]:
    """gigq_nb as shipped, and all of them polling as fast as they can be told to."""
    size = {"jobs": jobs, "seconds": seconds}
    yield Case(name="latency, as shipped", measure="latency", size=size, contenders=("gigq_nb",))
    yield Case(name="latency", measure="latency", size=size, contenders=contenders)


def _graphs(contenders: tuple[str, ...]) -> Iterator[Case]:
    yield Case(name="chain of 200", measure="graph", size={"shape": "chain", "jobs": 200}, contenders=contenders)
    yield Case(name="fan 1 → 1000 → 1", measure="graph", size={"shape": "fan", "jobs": 1000}, contenders=contenders)


def _idle(settle_s: float, seconds: float, contenders: tuple[str, ...]) -> Case:
    size = {"settle_s": settle_s, "seconds": seconds}
    return Case(name="idle", measure="idle", size=size, contenders=contenders, once=contenders[1:])


def _growth(kinds: tuple[str, ...], sizes: tuple[int, ...], contenders: tuple[str, ...], probes: int) -> Iterator[Case]:
    for kind in kinds:
        for others in sizes:
            slow_probes = min(probes // 10, max(20, 10_000_000 // others // 10))  # gigq needs 0.3 ms for every 1,000 pending
            yield Case(
                name=growth_name(kind, others),
                measure="growth",
                size={"kind": kind, "others": others, "probes": probes},
                slow={"probes": slow_probes},
                contenders=contenders,
                once=() if others < MANY else tuple(each for each in contenders if each not in OURS),
                limit_s=300,
            )


def growth_name(kind: str, others: int) -> str:
    return f"{others:,} others {kind}"


def _recovery(kills: int, limit_s: float, contenders: tuple[str, ...]) -> Iterator[Case]:
    """The peers are killed once a turn: those that do not come back would wait out the limit each time."""
    size = {"kills": kills, "limit_s": limit_s}
    ours = tuple(each for each in contenders if each in OURS)
    yield Case(name="recovery after SIGKILL", measure="recovery", size=size, contenders=ours)
    if others := tuple(each for each in contenders if each not in OURS):
        yield Case(name="recovery after SIGKILL", measure="recovery", size=size | {"kills": 1}, contenders=others, most_turns=1)


def _frame(rows: int) -> Case:
    return Case(name=f"{rows:,} jobs as a DataFrame", measure="frame", size={"rows": rows}, contenders=("gigq_nb",), limit_s=600)


def _view(jobs: int) -> Case:
    return Case(name=f"live view, {jobs:,} jobs", measure="view", size={"jobs": jobs}, contenders=("gigq_nb",), limit_s=600)


def _lengths(ms: int, jobs: int, contenders: tuple[str, ...]) -> Case:
    return Case(name=f"jobs of {ms} ms", measure="lengths", size={"ms": ms, "jobs": jobs}, contenders=contenders)


#: The cases that say where a job's time goes, by how it was submitted.
STEPS = {"one by one": "steps, one by one", "in bulk": "steps, bulk"}


def _steps(jobs: int) -> Iterator[Case]:
    for how, name in STEPS.items():
        yield Case(name=name, measure="steps", size={"jobs": jobs, "bulk": how == "in bulk"}, contenders=("gigq_nb",))


def _payload(label: str, size: int, jobs: int, contenders: tuple[str, ...]) -> Case:
    return Case(
        name=f"arguments and results of {label}",
        measure="payloads",
        size={"bytes": size, "jobs": jobs},
        contenders=contenders,
    )


def _submitters(count: int, seconds: float, contenders: tuple[str, ...]) -> Case:
    name = "one submitter" if count == 1 else f"{count} submitters at once"
    return Case(name=name, measure="submitters", size={"submitters": count, "seconds": seconds}, contenders=contenders)
