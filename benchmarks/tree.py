"""The large document and what holding it takes: for processes that must hold nothing else, so
this module imports nothing."""

from __future__ import annotations


def document(records: int) -> list[dict[str, object]]:
    """Return the document: 97 bytes of JSON a record."""
    return [
        {
            "id": number,
            "name": f"the whole name of the record number {number:08d}",
            "price": number / 8,
            "sold": number % 3 == 0,
        }
        for number in range(records)
    ]


def memory(pid: int | str) -> int:
    """Return the bytes of a process that are in memory (resident).

    A save in a child process does not change this, as it would change the share that the process
    has of its memory. Raises OSError where the system does not tell (Linux does).
    """
    with open(f"/proc/{pid}/status", encoding="utf-8") as lines:
        [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kilobytes) * 1024
