"""The large files of requests: taken in before a change, kept with it, and named in its record.

Rules this module keeps:

- What is done to the tree has the full path of a file, a record its name in the folder.
- A file that was taken for a change that was not kept is given back at once; the source of one that
  was kept is removed when its record is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from msgspec.structs import asdict

from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import (
    MODES,
    Call,
    ChangeRecord,
    Envelope,
    Request,
    change_commands,
    encode_request,
)
from pyzdb.storage.file_folder import FileFolder, with_files
from pyzdb.storage.files import Files, IngestedFile, Moved, ingest
from pyzdb.values.types import File

_CHANGES = frozenset(get_args(ChangeRecord))


class Filing:
    """The files of one database's requests. ``files`` takes them in (None: none are), ``folder``
    is where they lie (None: nowhere)."""

    def __init__(self, files: Files | None, folder: FileFolder | None) -> None:
        self._files = files
        self._folder = folder
        self._kept: list[IngestedFile] = []
        self._moved: list[tuple[Any, ...]] = []

    def begin(self) -> None:
        """Remove what a crash left of files that were moved."""
        if self._files is not None:
            for moved in self._moved:
                self._files.complete_move(moved)
            self._moved.clear()

    def tell(self, record: Any) -> None:
        """Put full paths in the place of names in a record, and take note of what it moved."""
        if record.tagged and self._folder is not None:
            _change_files(record, self._folder.told)
        if type(record) in _CHANGES:  # quicker than a look at its bases, for every record
            self._moved += record.moved

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
        **more: Any,
    ) -> Envelope:
        """What was asked, with what it came to in place of what it said, as a record has it;
        ``more`` are further fields of the record."""
        request = envelope.request
        fields = asdict(request) | more
        if isinstance(request, Call):
            (one,) = commands
            fields |= {"args": one.args, "kwargs": one.kwargs}
        else:
            fields["commands"] = commands
        moved: tuple[Moved, ...] = tuple([each.moved for each in taken if each.moved is not None])
        record_of = MODES[request.mode].record
        assert record_of is not None
        record = record_of(**(fields | {"version": 2, "moved": moved}))
        if self._folder is not None:
            _change_files(record, self._folder.stored)
        return Envelope(record, encode_request(record), on_lock_socket=envelope.on_lock_socket)


def _change_files(request: Request, change: Callable[[File], File]) -> None:
    """Change every File that a request names, in the request itself."""
    change_commands(
        request,
        lambda command: Command(
            with_files(command.index, change),
            command.func,
            with_files(command.args, change),
            with_files(command.kwargs, change),
        ),
    )
