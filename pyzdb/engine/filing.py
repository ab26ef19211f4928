"""The large files of requests: taken in before a change, kept with it, and named in its record.

Rules this module keeps:

- What is done to the tree has the full path of a file, a record its name in the folder.
- A file that was taken for a change that was not kept is given back at once; the source of one that
  was kept is removed when its record is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from pyzdb.protocol.messages import Command, Envelope, Request, encode_request
from pyzdb.storage.file_folder import FileFolder, with_files
from pyzdb.storage.files import Files, IngestedFile, Moved, ingest
from pyzdb.values.types import File


class Filing:
    """The files of one database's requests. ``files`` takes them in (None: none are), ``folder``
    (default: that of ``files``) is where they lie (None: nowhere)."""

    def __init__(self, files: Files | None, folder: FileFolder | None) -> None:
        self._files = files
        self._folder = files.folder if folder is None and files is not None else folder
        self._kept: list[IngestedFile] = []
        self._moved: list[tuple[Any, ...]] = []

    def begin(self) -> None:
        """Remove what a crash left of files that were moved."""
        if self._files is not None:
            for moved in self._moved:
                self._files.finish(moved)
            self._moved.clear()

    def tell(self, request: Request) -> None:
        """Put full paths in the place of names in a request of a record."""
        if request.tagged and self._folder is not None:
            _change_files(request, self._folder.told)
        self._moved += request.moved

    def take(self, commands: tuple[Command, ...]) -> tuple[tuple[Command, ...], list[IngestedFile]]:
        """Take every File of some commands, all or none: the commands to do, and what was taken.

        Raises what `Files.take` does.
        """
        taken: list[IngestedFile] = []
        if self._files is None:
            return commands, taken
        resolved = []
        try:
            for command in commands:
                args, new = ingest(self._files, command.args)
                taken += new
                kwargs, new = ingest(self._files, command.kwargs)
                taken += new
                resolved.append(Command(command.index, command.func, args, kwargs))
        except BaseException:
            self.give_back(taken)
            raise
        return tuple(resolved), taken

    def refuse_new(self, command: Command) -> None:
        """Raise FileRefused for a File that is not stored yet."""
        if self._files is not None:
            ingest(self._files, (command.args, command.kwargs), new=False)

    def keep(self, taken: Sequence[IngestedFile]) -> None:
        """Have files stay, as the change that they were taken for does."""
        self._kept += taken

    def give_back(self, taken: Sequence[IngestedFile]) -> None:
        """Let go of those of some files that are not kept."""
        for each in taken:
            if each not in self._kept:
                each.discard()

    def commit(self) -> None:
        """The records of all files that are kept are durable."""
        for each in self._kept:
            each.commit()
        self._kept.clear()

    def recorded(
        self,
        envelope: Envelope,
        commands: tuple[Command, ...],
        taken: Sequence[IngestedFile] = (),
        printed: str | None = None,
        failed: bool = False,
    ) -> Envelope:
        """What was asked, with what it came to in place of what it said, as a record has it."""
        request = envelope.request
        if request.mode in ("batch", "exec"):
            request = replace(request, commands=commands, command=printed)
        else:
            (one,) = commands
            request = replace(request, args=one.args, kwargs=one.kwargs)
        moved: tuple[Moved, ...] = tuple([each.moved for each in taken if each.moved is not None])
        request = replace(request, version=2, moved=moved, failed=failed)
        if self._folder is not None:
            _change_files(request, self._folder.stored)
        message = encode_request(request)
        return Envelope(request, message, on_lock_socket=envelope.on_lock_socket)


def _change_files(request: Request, change: Callable[[File], File]) -> None:
    """Change every File that a request names, in the request itself."""
    if request.index is not None:
        request.index = with_files(request.index, change)
    request.args = with_files(request.args, change)
    request.kwargs = with_files(request.kwargs, change)
    request.commands = tuple(
        [
            Command(
                with_files(one.index, change),
                one.func,
                with_files(one.args, change),
                with_files(one.kwargs, change),
            )
            for one in request.commands
        ]
    )
