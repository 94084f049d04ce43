"""`python -m tests.bench`: run the cases, print the table, and after a full run write it down."""

import argparse
import json
import sys
import time
from pathlib import Path

from tests.bench import machine, plan, plot, report, turns
from tests.bench.numbers import show
from tests.bench.results import Results
from tests.bench.turns import Record

HERE = Path(__file__).parent
QUICK_S = 110


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="gigq_nb side by side with its peers.")
    parser.add_argument("--quick", action="store_true", help="the main figures in under two minutes; writes nothing")
    parser.add_argument("--bars", action="store_true", help="what the bars need, in a quarter of an hour; writes nothing")
    parser.add_argument("--only", metavar="NAME", help="only the cases whose name holds NAME; writes nothing")
    parser.add_argument(
        "--contender", metavar="NAME", action="append", help="only this contender (may be repeated); writes nothing"
    )
    parser.add_argument("--turns", type=int, metavar="N", help="how often each case is measured (3; with --quick 1)")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where the queues are made; on a real disk")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the results there, whatever was chosen")
    parser.add_argument("--list", action="store_true", help="name the cases and who takes part; measure nothing")
    parser.add_argument("--report", action="store_true", help="write RESULTS.md and the plot anew from RESULTS.json")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[plan.Case]:
    cases = plan.quick() if options.quick else plan.bars() if options.bars else plan.full()
    if options.only:
        cases = [case for case in cases if options.only in case.name]
    if options.contender:
        cases = [case.only(options.contender) for case in cases]
    return [case for case in cases if case.contenders]


def _what(options: argparse.Namespace) -> str:
    """Which of the cases a run is of; the table says what is missing, this says why."""
    whole = "the main figures" if options.quick else "what the bars need" if options.bars else "all cases"
    parts = [f"only {what}" for what in (options.only, *(options.contender or ())) if what]
    return ", ".join([whole, *parts]) + ("; files of a million jobs in the first turn only" if options.bars else "")


def tell(record: Record) -> None:
    figures = ", ".join(f"{name} {show(value)}" for name, value in record.figures.items())
    print(
        f"{record.turn + 1}  {record.case}  {record.contender}: {record.problem or figures}  [{record.seconds:.1f} s]",
        file=sys.stderr,
        flush=True,
    )


def print_tables(results: Results) -> None:
    if len(rows := report.figure_rows(results, spreads=False)) > 1:
        print(report.terminal(rows), end="\n\n")
    if rows := report.step_rows(results):
        print(report.terminal(rows), end="\n\n")
    if len(rows := [row for row in report.bar_rows(results) if row[-1] != "not measured"]) > 1:
        print(report.terminal(rows), end="\n\n")
    for problem, where in results.problems().items():
        print(f"not measured ({problem}): {'; '.join(where)}")


def write(raw: dict, folder: Path) -> None:
    """RESULTS.json has every single turn; the other two are drawn from it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.json").write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    results = Results([Record(**record) for record in raw["records"]])
    (folder / "RESULTS.md").write_text(report.markdown(results, raw["about"], raw["turns"]))
    plot.growth(results, folder / "growth.svg")


def main() -> int:
    options = arguments()
    if options.report:
        write(json.loads((HERE / "RESULTS.json").read_text()), HERE)
        return 0
    cases = chosen(options)
    if not cases:
        print(f"no case has {options.only!r} in its name; --list names them all", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{case.name}  ({', '.join(case.contenders)})" for case in cases))
        return 0
    count = options.turns or (1 if options.quick else 3)
    give_up_at = time.monotonic() + QUICK_S if options.quick else float("inf")
    about = {"run": _what(options), **machine.describe(options.folder)}
    records = turns.run(cases, count, options.folder, give_up_at=give_up_at, tell=tell)
    partial = options.quick or options.bars or options.only or options.contender
    if folder := options.out or (None if partial else HERE):
        write({"about": about, "turns": count, "records": [record.as_dict() for record in records]}, folder)
    print_tables(Results(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
