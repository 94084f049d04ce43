"""``queue.executor()`` under the cases of CPython's own tests of concurrent.futures, written anew and named after theirs.

Where a test's name is ``test_<theirs>__<what>``, the first part is the name of the case in Lib/test/test_concurrent_futures
(executor, shutdown, wait, as_completed, process_pool, deadlock, future). What does not apply, and why:

- test_initializer (also the failing one), test_max_tasks_per_child*, test_max_workers_*, test_default_workers,
  test_thread_names_*, test_idle_thread_reuse, test_idle_process_reuse_*, test_saturation,
  test_executor_map_current_future_cancel, test_spawn_process, test_process_fork_from_a_threaded_process: an executor here owns
  no threads and no processes; the
  queue's worker does, for everybody, and has tests of its own.
- test_threads_terminate, test_processes_terminate: of our own there is the thread that follows the futures; it ends, by test.
- test_submit_after_interpreter_shutdown: a durable submit at exit is as good as any other; it is not refused.
- test_interpreter_shutdown: there the interpreter waits for pending work. Here it need not: the jobs go on; see the test.
- test_cancel_futures_wait_false: the same, with a pool that is gone at exit.
- test_hang_gh83386, test_hang_issue39205, test_shutdown_deadlock*, test_shutdown_race_issue12456 with a manager thread,
  test_crash_big_data, test_gh105829_*, test_force_shutdown_workers: races within a process pool's management thread and call
  queue, which are not there. What a crash does to a job is here; it breaks no pool.
- test_context_switch / test_no_leaking_locks / test_pending_calls_race of the thread pool: of its work queue.
- test_ressources_gced_in_workers: results do not stay in a child; tests of the children hold that.
- FutureTests of the class itself (test_repr, test_multiple_set_result, test_exception_with_timeout of bare futures,
  test_invalid_state_transitions …): ``future()`` gives the standard library's class, and its own code does that. What our
  subclass changes (running, cancel, callbacks) is tested.
"""

import asyncio
import concurrent.futures as cf
import contextlib
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, as_completed
from gigq_nb.errors import JobFailed, NotSerializable, RemoteError, ResultLoadError
from tests import executor_jobs as jobs

PATIENCE_S = 60.0
CANCELLED_FUTURE: cf.Future[Any] = cf.Future()
CANCELLED_FUTURE.cancel()
CANCELLED_FUTURE.set_running_or_notify_cancel()
SUCCESSFUL_FUTURE: cf.Future[Any] = cf.Future()
SUCCESSFUL_FUTURE.set_result(42)
EXCEPTION_FUTURE: cf.Future[Any] = cf.Future()
EXCEPTION_FUTURE.set_exception(OSError())


@pytest.fixture
def queue(queue_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(queue_path)
    queue.start_worker(2)
    yield queue
    for one in queue.list_jobs(limit=1000):
        if one["status"] in ("pending", "running"):
            queue.cancel(one["id"])  # or their futures would be followed on and on
    wait_until(lambda: queue._futures._thread is None)
    queue.stop_worker(now=True)
    queue.close()


@pytest.fixture
def pool(queue: JobQueue) -> Any:
    return queue.executor()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[str], "Gate"]]:
    """gate(name): jobs wait at it until it is opened; all are opened at the end of the test."""
    gates: list[Gate] = []

    def make(name: str = "gate") -> Gate:
        gates.append(Gate(tmp_path / name))
        return gates[-1]

    yield make
    for one in gates:
        one.open()


class Gate:
    """A file for which jobs wait."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def open(self) -> None:
        Path(self.path).touch()

    def wait_until_reached(self) -> None:
        wait_until(lambda: Path(self.path + ".begun").exists())


def wait_until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.005)


# --------------------------------------------------------------------------------------------------- ExecutorTest


def test_submit(pool: Any) -> None:
    assert pool.submit(pow, 2, 8).result(PATIENCE_S) == 256


def test_submit_keyword(pool: Any) -> None:
    assert pool.submit(jobs.mul, 2, y=8).result(PATIENCE_S) == 16
    future = pool.submit(jobs.capture, 1, self=2, fn=3)
    assert future.result(PATIENCE_S) == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        pool.submit(fn=jobs.capture, arg=1)
    with pytest.raises(TypeError):
        pool.submit(arg=1)


def test_map(pool: Any) -> None:
    assert list(pool.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(pool.map(pow, range(10), range(10), chunksize=3)) == list(map(pow, range(10), range(10)))


def test_map__takes_what_the_shortest_list_has(pool: Any) -> None:
    assert list(pool.map(jobs.mul, range(100), [2, 3])) == [0, 3]
    assert list(pool.map(jobs.mul, [], [])) == []


def test_map_exception(pool: Any) -> None:
    results = pool.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(results) == (0, 1)
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_timeout(pool: Any, gate: Any) -> None:
    closed = gate()
    results = pool.map(jobs.until, [closed.path], timeout=0.3)
    with pytest.raises(cf.TimeoutError):
        next(results)
    assert list(pool.map(jobs.mul, [2], [3], timeout=PATIENCE_S)) == [6]


def test_map_submits_without_iteration(pool: Any, queue: JobQueue) -> None:
    pool.map(jobs.mul, range(5), range(5))
    pool.shutdown()
    assert queue.stats()["completed"] == 5


def test_map_buffersize_validation(pool: Any) -> None:
    for bad in (0, -1):
        with pytest.raises(ValueError, match="buffersize"):
            pool.map(str, range(4), buffersize=bad)
    for bad_type in ("foo", 2.0):
        with pytest.raises(TypeError, match="buffersize"):
            pool.map(str, range(4), buffersize=bad_type)
    assert list(pool.map(str, range(4), buffersize=2)) == ["0", "1", "2", "3"]


def test_shutdown_race_issue12456(pool: Any) -> None:
    list(pool.map(str, [2] * 3))


def test_no_stale_references(pool: Any) -> None:
    thing = jobs.Thing()
    gone = threading.Event()
    ref = weakref.ref(thing, lambda _: gone.set())
    pool.submit(thing.my_method).result(PATIENCE_S)
    del thing
    assert gone.wait(PATIENCE_S), f"still referenced: {ref()}"


def test_free_reference(pool: Any) -> None:
    for one in pool.map(jobs.make_thing, range(10)):
        ref = weakref.ref(one)
        del one
        wait_until(lambda ref=ref: ref() is None)


# ------------------------------------------------------------------------------------------- ExecutorShutdownTest


def test_run_after_shutdown(pool: Any) -> None:
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(pow, 2, 5)
    with pytest.raises(RuntimeError):
        pool.map(pow, [2], [5])


def test_interpreter_shutdown__the_process_ends_and_the_job_goes_on(queue: JobQueue, gate: Any) -> None:
    closed = gate()
    script = f"""
        from gigq_nb import JobQueue
        from tests import executor_jobs as jobs
        pool = JobQueue({str(queue.path)!r}).executor()
        print(pool.submit(jobs.until, {closed.path!r}, 42).job)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stderr == ""
    job = queue.job(done.stdout.strip())
    assert not job.done()
    closed.open()
    assert job.result(PATIENCE_S) == 42


def test_hang_issue12364(pool: Any) -> None:
    futures = [pool.submit(time.sleep, 0.01) for _ in range(50)]
    pool.shutdown()
    for one in futures:
        assert one.result(0) is None


def test_cancel_futures(pool: Any, queue: JobQueue, gate: Any) -> None:
    first, second = gate("first"), gate("second")
    running = [pool.submit(jobs.until, one.path, 7) for one in (first, second)]
    first.wait_until_reached()
    second.wait_until_reached()
    wait_until(lambda: all(one.running() for one in running))
    waiting = [pool.submit(jobs.mul, 2, 3) for _ in range(48)]
    opener = threading.Timer(0.2, lambda: (first.open(), second.open()))
    opener.start()
    pool.shutdown(cancel_futures=True)
    opener.join()
    assert all(one.cancelled() for one in waiting)
    assert [one.result(0) for one in running] == [7, 7]
    assert queue.stats()["cancelled"] == 48


def test_context_manager_shutdown(queue: JobQueue) -> None:
    with queue.executor() as pool:
        assert list(pool.map(abs, range(-5, 5))) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError):
        pool.submit(abs, 1)


def test_del_shutdown(queue: JobQueue) -> None:
    pool = queue.executor()
    results = pool.map(abs, range(-5, 5))
    del pool
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


def test_shutdown_no_wait(pool: Any) -> None:
    results = pool.map(abs, range(-5, 5))
    pool.shutdown(wait=False)
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


def test_threads_terminate(pool: Any, queue: JobQueue, gate: Any) -> None:
    closed = gate()
    futures = [pool.submit(jobs.until, closed.path, i) for i in range(3)]
    followers = [one for one in threading.enumerate() if one.name == "gigq_nb futures"]
    assert len(followers) == 1, "one thread, however many futures"
    closed.open()
    pool.shutdown()
    assert [one.result(0) for one in futures] == [0, 1, 2]
    followers[0].join(PATIENCE_S)
    assert not followers[0].is_alive()
    assert queue.executor().submit(jobs.mul, 2, 2).result(PATIENCE_S) == 4, "and one comes back when there is need"


# ------------------------------------------------------------------------------------------------------ WaitTests


def test_20369(pool: Any) -> None:
    future = pool.submit(time.sleep, 0.05)
    done, not_done = cf.wait([future, future], PATIENCE_S, return_when=cf.ALL_COMPLETED)
    assert (done, not_done) == ({future}, set())


def test_first_completed(pool: Any, gate: Any) -> None:
    quick = pool.submit(jobs.mul, 21, 2)
    slow = pool.submit(jobs.until, gate().path)
    done, not_done = cf.wait([CANCELLED_FUTURE, quick, slow], PATIENCE_S, return_when=cf.FIRST_COMPLETED)
    assert CANCELLED_FUTURE in done
    assert slow in not_done
    done, not_done = cf.wait([quick, slow], PATIENCE_S, return_when=cf.FIRST_COMPLETED)
    assert (done, not_done) == ({quick}, {slow})


def test_first_completed_some_already_completed(pool: Any, gate: Any) -> None:
    slow = pool.submit(jobs.until, gate().path)
    finished, pending = cf.wait([CANCELLED_FUTURE, SUCCESSFUL_FUTURE, slow], PATIENCE_S, return_when=cf.FIRST_COMPLETED)
    assert (finished, pending) == ({CANCELLED_FUTURE, SUCCESSFUL_FUTURE}, {slow})


def test_first_exception(pool: Any, gate: Any) -> None:
    raising, closed = gate("raising"), gate("closed")
    good = pool.submit(jobs.mul, 2, 21)
    bad = pool.submit(jobs.until_then_raise, raising.path)
    assert good.result(PATIENCE_S) == 42
    slow = pool.submit(jobs.until, closed.path)
    raising.open()
    finished, pending = cf.wait([good, bad, slow], PATIENCE_S, return_when=cf.FIRST_EXCEPTION)
    assert (finished, pending) == ({good, bad}, {slow})


def test_first_exception_some_already_complete(pool: Any, gate: Any) -> None:
    bad = pool.submit(divmod, 21, 0)
    slow = pool.submit(jobs.until, gate().path)
    finished, pending = cf.wait([SUCCESSFUL_FUTURE, CANCELLED_FUTURE, bad, slow], PATIENCE_S, return_when=cf.FIRST_EXCEPTION)
    assert (finished, pending) == ({SUCCESSFUL_FUTURE, CANCELLED_FUTURE, bad}, {slow})


def test_first_exception_one_already_failed(pool: Any, gate: Any) -> None:
    slow = pool.submit(jobs.until, gate().path)
    finished, pending = cf.wait([EXCEPTION_FUTURE, slow], PATIENCE_S, return_when=cf.FIRST_EXCEPTION)
    assert (finished, pending) == ({EXCEPTION_FUTURE}, {slow})


def test_all_completed(pool: Any) -> None:
    bad, good = pool.submit(divmod, 2, 0), pool.submit(jobs.mul, 2, 21)
    futures = [SUCCESSFUL_FUTURE, CANCELLED_FUTURE, EXCEPTION_FUTURE, bad, good]
    finished, pending = cf.wait(futures, PATIENCE_S, return_when=cf.ALL_COMPLETED)
    assert (finished, pending) == (set(futures), set())


def test_timeout(pool: Any, gate: Any) -> None:
    quick = pool.submit(jobs.mul, 6, 7)
    assert quick.result(PATIENCE_S) == 42
    slow = pool.submit(jobs.until, gate().path)
    futures = [CANCELLED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, quick, slow]
    finished, pending = cf.wait(futures, timeout=0.2, return_when=cf.ALL_COMPLETED)
    assert (finished, pending) == (set(futures[:-1]), {slow})


# ----------------------------------------------------------------------------------------------- AsCompletedTests


def test_no_timeout(pool: Any) -> None:
    one, two = pool.submit(jobs.mul, 2, 21), pool.submit(jobs.mul, 7, 6)
    completed = set(cf.as_completed([CANCELLED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, one, two]))
    assert completed == {CANCELLED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, one, two}


def test_future_times_out(pool: Any, gate: Any) -> None:
    slow = pool.submit(jobs.until, gate().path)
    for timeout in (0, 0.05):
        completed: set[Any] = set()
        with pytest.raises(cf.TimeoutError):
            completed.update(cf.as_completed([CANCELLED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, slow], timeout=timeout))
        assert not completed & {slow}


def test_duplicate_futures(pool: Any) -> None:
    future = pool.submit(time.sleep, 0.05)
    assert len(list(cf.as_completed([future] * 3))) == 1


def test_free_reference_yielded_future(pool: Any) -> None:
    futures = [pool.submit(jobs.make_thing, i) for i in range(5)]
    for future in cf.as_completed(futures):
        futures.remove(future)
        ref = weakref.ref(future)
        del future
        wait_until(lambda ref=ref: ref() is None)


def test_correct_timeout_exception_msg(pool: Any, gate: Any) -> None:
    futures = [CANCELLED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, pool.submit(jobs.until, gate().path)]
    with pytest.raises(cf.TimeoutError, match=r"1 \(of 4\) futures unfinished"):
        list(cf.as_completed(futures, timeout=0))


# ------------------------------------------------------------------------------------- ProcessPoolExecutorTest


def test_killed_child__only_its_job_fails(pool: Any) -> None:
    dead, alive = pool.submit(jobs.die), pool.submit(jobs.mul, 6, 7)
    with pytest.raises(JobFailed, match="exited with code 3"):
        dead.result(PATIENCE_S)
    assert alive.result(PATIENCE_S) == 42
    assert pool.submit(pow, 2, 8).result(PATIENCE_S) == 256, "nothing is broken by it"


def test_map_chunksize(pool: Any, queue: JobQueue) -> None:
    expected = list(map(pow, range(40), range(40)))
    assert list(pool.map(pow, range(40), range(40), chunksize=6)) == expected
    assert queue.stats()["total"] == 7
    assert list(pool.map(pow, range(40), range(40), chunksize=50)) == expected
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(pow, range(40), range(40), chunksize=-1)


def test_traceback(pool: Any) -> None:
    future = pool.submit(jobs.raise_here)
    with pytest.raises(RuntimeError) as caught:
        future.result(PATIENCE_S)
    assert type(caught.value) is RuntimeError
    assert caught.value.args == (123,)
    cause = caught.value.__cause__
    assert type(cause) is RemoteError
    assert "raise RuntimeError(123)  # some comment" in str(cause)


# ------------------------------------------------------------------------------------------- ExecutorDeadlockTest


@pytest.mark.parametrize(
    ("error", "function", "argument"),
    [
        pytest.param(NotSerializable, jobs.ignore, jobs.ErrorAtPickle, id="error_at_task_pickle"),
        pytest.param(RuntimeError, jobs.ignore, jobs.ErrorAtUnpickle, id="error_at_task_unpickle"),
        pytest.param(JobFailed, jobs.ignore, jobs.CrashAtUnpickle, id="crash_at_task_unpickle"),
    ],
)
def test_deadlock__arguments_that_fail_on_their_way(pool: Any, error: Any, function: Any, argument: Any) -> None:
    with pytest.raises(error):
        pool.submit(function, argument()).result(PATIENCE_S)
    assert pool.submit(jobs.mul, 6, 7).result(PATIENCE_S) == 42


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(JobFailed, jobs.ErrorAtPickle, id="error_during_result_pickle_on_worker"),
        pytest.param(JobFailed, jobs.CrashAtPickle, id="crash_during_result_pickle_on_worker"),
        pytest.param(ResultLoadError, jobs.ErrorAtUnpickle, id="error_during_result_unpickle_in_result_handler"),
    ],
)
def test_deadlock__results_that_fail_on_their_way(pool: Any, error: Any, kind: type) -> None:
    with pytest.raises(error):
        pool.submit(jobs.make, kind).result(PATIENCE_S)
    assert pool.submit(jobs.mul, 6, 7).result(PATIENCE_S) == 42


def test_deadlock__exit_during_func_exec_on_worker(pool: Any) -> None:
    with pytest.raises(JobFailed, match="exited with code"):
        pool.submit(sys.exit).result(PATIENCE_S)


# ---------------------------------------------------------------------------------------------------- FutureTests


def test_done_callback_with_result(pool: Any) -> None:
    called = threading.Event()
    results = []
    future = pool.submit(jobs.mul, 1, 5)
    future.add_done_callback(lambda one: (results.append(one.result()), called.set()))
    assert called.wait(PATIENCE_S)
    assert results == [5]


def test_done_callback_with_exception(pool: Any) -> None:
    called = threading.Event()
    errors = []
    future = pool.submit(jobs.raise_here)
    future.add_done_callback(lambda one: (errors.append(one.exception()), called.set()))
    assert called.wait(PATIENCE_S)
    assert [one.args for one in errors] == [(123,)]


def test_done_callback_with_cancel(pool: Any, queue: JobQueue, gate: Any) -> None:
    blocked = [pool.submit(jobs.until, gate(name).path) for name in "ab"]
    wait_until(lambda: all(one.running() for one in blocked))
    future = pool.submit(jobs.mul, 1, 5)
    seen = []
    future.add_done_callback(lambda one: seen.append(one.cancelled()))
    assert future.cancel()
    assert seen == [True]


def test_running_and_cancel(pool: Any, gate: Any) -> None:
    closed = gate()
    future = pool.submit(jobs.until, closed.path, 3)
    wait_until(future.running)
    assert not future.done()
    assert not future.cancel(), "what runs is not cancelled through its future"
    closed.open()
    assert future.result(PATIENCE_S) == 3
    assert not future.cancel()
    assert not future.cancelled()


def test_cancel__reaches_the_queue_and_whoever_waits(pool: Any, queue: JobQueue, gate: Any) -> None:
    blocked = [pool.submit(jobs.until, gate(name).path) for name in "ab"]
    wait_until(lambda: all(one.running() for one in blocked))
    future = pool.submit(jobs.mul, 1, 5)
    waiter = threading.Thread(target=cf.wait, args=([future], PATIENCE_S))
    waiter.start()
    assert future.cancel()
    assert future.cancel(), "a second time says the same"
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()
    assert future.job.status == "cancelled"
    assert cf.wait([future], 0).done == {future}
    assert list(cf.as_completed([future], timeout=0)) == [future]
    with pytest.raises(cf.CancelledError):
        future.result(0)


def test_cancel__of_the_job_ends_the_future(pool: Any, gate: Any) -> None:
    running = pool.submit(jobs.until, gate().path)
    wait_until(running.running)
    assert running.job.cancel()
    with pytest.raises(cf.CancelledError):
        running.result(PATIENCE_S)


def test_result_with_timeout(pool: Any, gate: Any) -> None:
    future = pool.submit(jobs.until, gate().path)
    with pytest.raises(cf.TimeoutError):
        future.result(timeout=0)
    with pytest.raises(cf.TimeoutError):
        future.exception(timeout=0)


def test_a_pruned_job_ends_its_future(pool: Any, queue: JobQueue) -> None:
    from gigq_nb.errors import JobNotFound

    job = pool.submit(jobs.mul, 2, 3).job
    assert job.wait(PATIENCE_S)
    queue.prune(0)
    with pytest.raises(JobNotFound):
        job.future().result(PATIENCE_S)


# ----------------------------------------------------------------------------------- what asyncio makes of them


def test_run_in_executor__awaits_jobs_and_leaves_the_loop_free(pool: Any, gate: Any) -> None:
    async def main() -> tuple[list[Any], int]:
        loop = asyncio.get_running_loop()
        closed = gate()
        work = [loop.run_in_executor(pool, jobs.until, closed.path, 1), loop.run_in_executor(pool, jobs.mul, 6, 7)]
        ticks = 0
        while not work[1].done():
            await asyncio.sleep(0)
            ticks += 1
        closed.open()
        return await asyncio.gather(*work), ticks

    results, ticks = asyncio.run(main())
    assert results == [1, 42]
    assert ticks > 1


def test_run_in_executor__raises_the_functions_own_error(pool: Any) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, jobs.raise_here)

    with pytest.raises(RuntimeError, match="123"):
        asyncio.run(main())


def test_await_and_async_for_leave_the_loop_free(queue: JobQueue, gate: Any) -> None:
    async def main() -> tuple[list[Any], Any, int]:
        closed = gate()
        slow, quick = queue.submit(jobs.until, closed.path, "slow"), queue.submit(jobs.mul, 6, 7)
        order, ticks = [], 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticker = asyncio.create_task(tick())
        async for job in as_completed([slow, quick], timeout=PATIENCE_S):
            order.append(job.result())
            closed.open()
        value = await queue.submit(jobs.mul, 2, 3)
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
        return order, value, ticks

    order, value, ticks = asyncio.run(main())
    assert order == [42, "slow"]
    assert value == 6
    assert ticks > 0


def test_async_for_times_out_and_the_jobs_go_on(queue: JobQueue, gate: Any) -> None:
    closed = gate()
    slow = queue.submit(jobs.until, closed.path, 5)

    async def main() -> None:
        async for _ in as_completed([slow], timeout=0.05):
            pass

    with pytest.raises(TimeoutError, match="go on"):
        asyncio.run(main())
    closed.open()
    assert slow.result(PATIENCE_S) == 5


def test_jobs_of_two_queues_come_as_they_end(queue: JobQueue, tmp_path: Path, gate: Any) -> None:
    closed = gate()
    with JobQueue(tmp_path / "other.db") as other:
        other.start_worker(1)
        slow, quick = queue.submit(jobs.until, closed.path, "slow"), other.submit(jobs.mul, 2, 3)
        order = []
        for job in as_completed([slow, quick], timeout=PATIENCE_S):
            order.append(job.result())
            closed.open()
        other.stop_worker(now=True)
    assert order == [6, "slow"]


def test_options_are_refused_when_the_executor_is_made(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="timeout"):
        queue.executor(timeout=-1)
    with pytest.raises(TypeError, match="colour"):
        queue.executor(colour="red")
