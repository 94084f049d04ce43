"""What a pickled payload refers to, read from its opcodes (pickletools): nothing is unpickled."""

from __future__ import annotations

import contextlib
import pickletools


def names_in(payload: bytes | memoryview, most: int = 200) -> list[str]:
    """What a payload refers to (``os.system``, ``sklearn.svm.SVC``), read from its opcodes: nothing is unpickled.

    A help for whoever reads somebody else's file, no proof: code can be hidden where only running it shows it.
    """
    found: set[str] = set()
    texts: list[str] = []  # the texts pushed so far
    memo: dict[int, tuple[str, str]] = {}
    top = ("", "")  # what was pushed last: its kind ("text" or "name") and value
    with contextlib.suppress(ValueError, EOFError, IndexError, AttributeError):  # cut, or no pickle at all
        for opcode, argument, _ in pickletools.genops(bytes(payload)):
            name = opcode.name
            if name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = top
                continue
            before, top = top, ("", "")
            if name in ("GLOBAL", "INST"):
                top = ("name", str(argument).replace(" ", "."))
            elif name == "STACK_GLOBAL":
                top = ("name", ".".join(texts[-2:]))
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                top = memo.get(int(str(argument)), top)
            elif isinstance(argument, str):
                top = ("text", argument)
            if top[0] == "text":
                texts.append(top[1])
                if before == ("name", _MODULE):  # a module that the function uses
                    found.add(top[1])
            elif top[0] == "name" and not top[1].startswith(_PLUMBING):
                found.add(top[1])
            if len(found) >= most:
                break
    return sorted(found)


_MODULE = "cloudpickle.cloudpickle.subimport"
#: What cloudpickle itself needs to put a function or class together.
_PLUMBING = ("cloudpickle.", "_cloudpickle_wrapper", "gigq_nb.", "types.CodeType", "types.FunctionType", "builtins.set")
