"""Everything that can go wrong, by name. The docstring of each class says what to do about it.

One base class, so ``except GigQError`` catches all of it. What refuses an argument is also a :class:`ValueError` or a
:class:`TypeError`; an unknown id is also a :class:`KeyError`. Magics print the message in one line, Python raises.
"""

from __future__ import annotations


class GigQError(Exception):
    """Base of all errors of gigq_nb. Read the message: it says what happened and what to do."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument; these messages are sentences for people.
        return str(self.args[0]) if self.args else (type(self).__doc__ or "").split("\n", 1)[0]


class InvalidArgument(GigQError, ValueError):
    """A value is outside what is allowed. The message names the argument and the range."""


class InvalidType(GigQError, TypeError):
    """A value is of the wrong type. The message names the argument and the types that work."""


class JobNotFound(GigQError, KeyError):
    """No job with this id is in the file. List the jobs with ``queue.jobs()`` or ``%gigq list``."""


class NotConnected(GigQError):
    """No queue is connected in this process. Run ``%gigq connect jobs.db`` or pass a JobQueue."""


class NotSerializable(GigQError, TypeError):
    """Something captured or passed cannot leave the kernel. Pass it as an argument or open it inside the function."""


class PayloadTooLarge(GigQError, ValueError):
    """A function or its arguments exceed the hard size limit. Save the data to a file and pass the path."""


class PayloadRefused(GigQError):
    """A payload is not signed by this user's key, so it was not unpickled. ``gigq-nb trust FILE`` shows and signs it."""


class PayloadDamaged(PayloadRefused):
    """The stored bytes do not match their signature: they were changed or cut. Restore a backup, or submit again."""


class ResultLoadError(GigQError):
    """The result exists but cannot be loaded here (a missing module, say). The message holds the cause."""


class JobFailed(GigQError):
    """The job ended without a result. ``job.error`` holds the text, ``job.logs()`` what it printed."""


class JobLost(JobFailed):
    """The processes that ran the job died too often. Look at ``job.executions()`` for the signals."""


class JobTimeout(JobFailed, TimeoutError):
    """The job ran into its own ``timeout`` and its processes were ended. Give it more time, or less to do."""


class JobCancelled(JobFailed):
    """The job was cancelled, by a person or because a parent ended badly. ``job.retry()`` revives it."""


class WaitTimeout(GigQError, TimeoutError):
    """The job is not done within the time you gave to wait. It goes on: wait again, or ``job.cancel()``."""


class RemoteError(GigQError):
    """The traceback of the process where the job ran; the cause of the exception that ``result()`` raises."""


class QueueError(GigQError):
    """Base of what can be wrong with the file."""


class NotAQueue(QueueError, ValueError):
    """The path is no queue of gigq_nb and was left untouched. Choose another path; a new file is made where none is."""


class QueueBusy(QueueError):
    """Another process holds the write lock of the file. Nothing was changed; try again, or end that process."""


class QueueFull(QueueError):
    """The disk is full or a size limit is reached. Nothing was changed; make room and try again."""


class QueueReadOnly(QueueError):
    """The file or its folder cannot be written. Reading works; submitting needs write permission."""


class QueueCorrupt(QueueError):
    """SQLite cannot read the file. Keep it, restore a backup, or salvage it with ``sqlite3 FILE .recover``."""


class QueueReplaced(QueueError):
    """The file was deleted or replaced while it was in use. Open the path again with a new JobQueue."""


class Unsynced(QueueError):
    """The disk refused an fsync: what was just stored is seen by all, and may be gone after a power failure. Look at the disk."""


class QueueTooNew(QueueError):
    """The file was written by a newer gigq_nb. Update with ``pip install -U gigq-nb``; nothing was changed."""


class NetworkFileSystem(QueueError):
    """SQLite's locks are not safe on this file system. Put the queue on a local disk."""


class LeaseLost(GigQError):
    """The attempt was ended by someone else meanwhile; what this process had to say about it is dropped."""


class WorkerFailed(GigQError):
    """The worker process could not start. The message holds the last lines of its log."""


class CycleError(InvalidArgument):
    """Jobs wait for each other in a circle. The message names the jobs of the circle."""
