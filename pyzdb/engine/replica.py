"""A database that another server writes: it does again what is done there, and only answers."""

from __future__ import annotations

from collections.abc import Callable

from pyzdb.engine.commits import ReadOnlyLog
from pyzdb.engine.core import Core
from pyzdb.engine.filing import Filing
from pyzdb.engine.history import MAX_BYTES
from pyzdb.errors import StaleReplica
from pyzdb.protocol.replies import Reply, encode_reply, failed
from pyzdb.protocol.requests import Envelope
from pyzdb.storage.file_folder import FileFolder


class Replica(Core):
    """What `load` and `replay` tell it to hold. ``folder`` is where the large files lie.

    ``catch_up`` is called when a client wants what is not there yet. While ``stale`` says why the
    files cannot be read, every request gets that for an answer.
    """

    def __init__(self, folder: FileFolder | None = None, history_bytes: int = MAX_BYTES) -> None:
        super().__init__(ReadOnlyLog(), Filing(None, folder), history_bytes=history_bytes)
        self.catch_up: Callable[[], object] = lambda: None
        self.stale: str | None = None

    def answer(self, envelope: Envelope) -> bytes | Envelope:
        request = envelope.request
        if request.at_least > self.sequence:
            self.catch_up()
            if request.at_least > self.sequence:
                return encode_reply(Reply(wait="behind"), 2, self.sequence)
        if self.stale is not None:
            reply = failed(StaleReplica(self.stale), request.version)
            return encode_reply(reply, request.version, self.sequence)
        return super().answer(envelope)

    def _admits(self, envelope: Envelope) -> bool:
        return True  # it does not see the lock being used, so it does not know its end
