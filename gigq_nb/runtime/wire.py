"""What a worker and a child say to each other: packets over a SOCK_SEQPACKET pair, large bodies in a memory file.

The worker keeps the child's end open, too: what the child has not read yet can be read by the worker, which is how a
job that waits behind a long one is taken back without asking the child.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct

INLINE_BYTES = 32 * 1024
PACKET_BYTES = INLINE_BYTES + 1024
_ANCILLARY = socket.CMSG_SPACE(array.array("i", [0]).itemsize)

#: worker -> child: kind, a number, another number, length of the body
TO_CHILD = struct.Struct("<cqqq")
#: child -> worker: kind, token, started and finished (monotonic ns; of an output: its place), lengths of five sections
TO_WORKER = struct.Struct("<cqqqqqqqq")
#: The page that a child shares with its worker: the token of what runs now (0: nothing), and since when (monotonic ns)
NOW = struct.Struct("<qq")
#: Further down on that page, how far it is: a count at both ends (equal: the record is whole), token, done, total (nan: not
#: known), length of the text that follows. A job may write it a million times a second; the worker looks four times.
FAR = struct.Struct("<QqddHxxxxxxQ")
FAR_AT, FAR_TEXT_AT, FAR_TEXT_BYTES = 64, 128, 800
#: And once, before the child runs anything, the key with which it checks what it is given and signs what it gives back.
KEY_AT, KEY_BYTES = 1024, 32

FUNCTION, TASK, JOB, FORGET = b"F", b"T", b"J", b"G"
RESULT, ERROR, OUTPUT, STALE = b"R", b"E", b"D", b"X"

#: In front of a job's body: number of bytes of the arguments, attempt, the job's id, its signature
JOB_HEAD = struct.Struct("<qi36s32s")
#: In front of each parent's result: the parent's id, 1 if it has a result, the execution it is of, its length and signature
PARENT_HEAD = struct.Struct("<36s?qq32s")
#: In the log pipe after each job: the child's nonce, the job's token
MARK = struct.Struct("<16sq")


def send(sock: socket.socket, head: bytes, body: bytes | memoryview = b"") -> None:
    """One packet. A large body goes into an anonymous memory file whose descriptor travels with the packet.

    Raises:
        BlockingIOError: the socket does not block and has no room; nothing was sent.
    """
    if len(body) <= INLINE_BYTES:
        sock.send(b"".join((head, body)) if body else head)
        return
    handle = os.memfd_create("gigq_nb", os.MFD_CLOEXEC)
    try:
        with memoryview(body) as view:
            done = 0
            while done < len(view):
                done += os.write(handle, view[done : done + 2**28])
        socket.send_fds(sock, [head], [handle])
    finally:
        os.close(handle)


def receive(sock: socket.socket) -> tuple[bytes, bytes | memoryview | None]:
    """(packet, body of a large one). An empty packet: the other side is gone."""
    packet, ancillary, _flags, _ = sock.recvmsg(PACKET_BYTES, _ANCILLARY)
    if not ancillary:
        return packet, None
    handles = array.array("i")
    handles.frombytes(ancillary[0][2][:4])
    size = os.fstat(handles[0]).st_size
    try:
        return packet, memoryview(mmap.mmap(handles[0], size, prot=mmap.PROT_READ))
    finally:
        os.close(handles[0])
