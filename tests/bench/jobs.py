"""The functions that the contenders run, and the program in which a measurement happens.

Run as a program (`python -m tests.bench.jobs SPEC`), this module is `__main__`, as a notebook is: the functions below
travel by value. Peers that can only import a function (gigq, huey) find the same ones here under their module's name.

Every function takes exactly one argument, `x`, so that one protocol serves peers with positional and with named
parameters.
"""

import os
import time


def noop(x):
    return x


def stamp(x):
    """The moment this job ran; CLOCK_MONOTONIC is one clock for all processes of a machine."""
    return time.monotonic()


def pause(x):
    """Sleep `x` milliseconds; the seconds that it really took (a sleep is never exact)."""
    begin = time.perf_counter()
    time.sleep(x / 1000)
    return time.perf_counter() - begin


def total(x):
    return sum(x)


def beat(x):
    """Write the moment of each start to the file `x`, then be long enough to be killed in the middle."""
    with open(x, "a") as file:
        file.write(f"{time.monotonic()} {os.getpid()}\n")
    time.sleep(0.3)
    return 1


if __name__ == "__main__":
    import sys

    from tests.bench.cell import main

    main(sys.argv[1], sys.modules["__main__"])
