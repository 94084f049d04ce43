"""The benchmark: gigq_nb side by side with its peers, in one interleaved run.

    python -m tests.bench                  all of it; writes RESULTS.md, RESULTS.json and growth.svg beside this file
    python -m tests.bench --quick          the bars that a change can break, in under two minutes; writes nothing
    python -m tests.bench --only latency   the cases whose name holds that word; writes nothing
    python -m tests.bench --turns 5        more turns
    python -m tests.bench --report         RESULTS.md and the plot anew, from RESULTS.json

A *contender* is a queue or a pool behind one small protocol (contenders/base.py). A *measure* is a way to use a
contender and the figures that come of it (measures/). A *case* is a measure with its sizes and who takes part
(plan.py). A *turn* runs each contender of each case once, one after the other, so that a slow minute of the machine
hits all of them; each run has a fresh process, a fresh folder and a hard time limit (turns.py).

Nothing here is a test with a clock: the bars (bars.py) are ratios within one run, printed as pass or fail for a
person.
"""
