"""``key``: the signing key, moved from machine to machine."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .. import signing
from ..errors import GigQError
from .command import Answer, Command, Door


class Key(Command):
    """Show, export or import the key that signs your jobs.

    Whoever has it can run code as you: keep the exported file as you keep an SSH key. Jobs that wait for another key
    run once that key is imported; the old one is kept beside it.
    """

    word = "key"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", nargs="?", choices=("show", "export", "import"), default="show", help="what to do")
        parser.add_argument("file", nargs="?", metavar="FILE", help="where to write it to, or to read it from")
        parser.add_argument("--replace", action="store_true", help="write over what is there")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        path = signing.key_path()
        if args.what == "show":
            if not path.exists():
                return Answer(data={"key": None, "file": str(path)}, text=f"No key yet: {path} is made by the first submit.")
            mark = signing.key_id(signing.load_key())
            return Answer(data={"key": mark, "file": str(path)}, text=f"key {mark[:8]} in {path}")
        if args.file is None:
            raise GigQError(f"a file is missing: {door.name} key {args.what} FILE")
        file = Path(args.file).expanduser()
        if args.what == "export":
            signing.export_key(file, replace=args.replace)
            mark = signing.key_id(signing.load_key())
            return Answer(
                data={"key": mark, "file": str(file)},
                text=f"key {mark[:8]} written to {file} (mode 0600). Take it to the other machine as you would an"
                f" SSH key, run '{door.name} key import {file.name}' there, then delete the file.",
            )
        return self._import(file, path, replace=args.replace)

    @staticmethod
    def _import(file: Path, path: Path, *, replace: bool) -> Answer:
        new = signing.read_exported_key(file)
        mark = signing.key_id(new)
        if not path.exists():
            signing.import_key(new)
            return Answer(data={"key": mark, "old": None}, text=f"key {mark[:8]} is yours now ({path}).")
        old = signing.key_id(signing.load_key())
        if old == mark:
            return Answer(data={"key": mark, "old": None}, text=f"key {mark[:8]} is yours already.")
        if not replace:
            raise GigQError(
                f"there is a key already ({old[:8]} in {path}), with which your jobs here were signed; add --replace to put"
                f" {mark[:8]} in its place, the old one is kept beside it"
            )
        keep = path.with_name(f"key-{old[:8]}-{time.strftime('%Y%m%d-%H%M%S')}")
        signing.import_key(new, keep_as=keep)
        return Answer(
            data={"key": mark, "old": old, "kept": str(keep)},
            text=f"key {mark[:8]} is yours now; the old one ({old[:8]}) is kept as {keep}. Workers and kernels that run use the"
            " old one until they are started again.",
        )
