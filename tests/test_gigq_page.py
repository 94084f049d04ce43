"""The example of GigQ's own page, with one word changed; and what GigQ's users know of its Worker."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from gigq_nb import Job, JobQueue, Worker
from gigq_nb.runtime.bell import Bell

PAGE = """\
from gigq_nb import Job, JobQueue, Worker

# Define a job function
def process_data(filename, threshold=0.5):
    # Process some data
    print(f"Processing {filename} with threshold {threshold}")
    return {"processed": True, "count": 42}

# Submit a job
queue = JobQueue("jobs.db")
job_id = queue.submit(Job(
    name="process_data_job",
    function=process_data,
    params={"filename": "data.csv", "threshold": 0.7}
))

# Start a worker to process jobs
worker = Worker("jobs.db")
worker.start()
"""

READER = """
import json
from gigq_nb import JobQueue
queue = JobQueue("jobs.db")
job = queue.list_jobs()[0]
print(json.dumps([queue.get_status(job["id"]), queue.get_result(job["id"]), queue.logs(job["id"])]))
"""


def test_the_page_runs_as_a_script_is_read_by_another_process_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(PAGE)
    process = subprocess.Popen(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        path = tmp_path / "jobs.db"
        while not path.exists() or not path.stat().st_size:
            assert process.poll() is None
            threading.Event().wait(0.05)
        queue = JobQueue(path)
        with Bell(queue.path).listen("k") as ear:
            while queue.stats()["completed"] == 0:
                assert process.poll() is None
                ear.wait(0.5)
        read = subprocess.run(
            [sys.executable, "-c", READER], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        status, result, logs = json.loads(read.stdout)
        assert (status["exists"], status["status"], status["name"]) == (True, "completed", "process_data_job")
        assert status["result"] == result == {"processed": True, "count": 42}
        assert logs == "Processing data.csv with threshold 0.7\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_worker_can_be_started_again_after_it_was_stopped(queue_path: Path) -> None:
    queue, worker = JobQueue(queue_path), Worker(queue_path, worker_id="bob")
    for i in range(2):
        thread = threading.Thread(target=worker.start)
        thread.start()
        assert queue.submit(abs, -i).result(60) == i
        worker.stop()
        thread.join(60)
        assert not thread.is_alive()
    job = queue.submit(abs, -7)
    assert worker.process_one() is True
    assert job.result(0) == 7


def test_process_one_says_whether_there_was_a_job(queue_path: Path) -> None:
    queue, worker = JobQueue(queue_path), Worker(queue_path)
    assert worker.process_one() is False
    jobs = [queue.submit(Job("n", abs, args=(-i,))) for i in range(2)]
    assert worker.process_one() is True
    assert [job.done() for job in jobs] == [True, False]
    worker.close()


def test_the_workers_parameters_have_gigqs_names_and_order(queue_path: Path) -> None:
    worker = Worker(queue_path, "bob", 1, 2)
    assert (worker.worker_id, worker.polling_interval, worker.concurrency) == ("bob", 1, 2)
