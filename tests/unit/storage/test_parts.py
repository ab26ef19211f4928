"""The bytes of the journal: what is whole, what is torn, and what is damage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyzdb.errors import CorruptFile
from pyzdb.storage.disk import Disk
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import (
    HEADER_SIZE,
    SECTOR,
    Part,
    part_header,
    part_names,
    read_part,
    record_head,
)

SALT = b"saltsalt"
NAME = Layout("db.pkl").part(1)
PREALLOCATION = bytes(2000)


def build(
    bodies: list[bytes], first: int = 1, salt: bytes = SALT, group: int = 1
) -> tuple[bytes, list[int]]:
    """A part whose records were synced ``group`` at a time, and where each record ends."""
    data, seed = part_header(first, 77, salt)
    chain, ends = 77, []
    for number, body in enumerate(bodies):
        synced = first - 1 + number // group * group
        head, chain = record_head(body, first + number, synced, chain, seed)
        record = head + body
        data += record
        ends.append(len(data))
    return data, ends


def bodies_of(part: Part) -> list[bytes]:
    return [body for _, body in part.bodies()]


BODIES = [b'{"number": %d, "text": "%s"}' % (n, b"x" * n) for n in range(30)]


@given(st.lists(st.binary(max_size=1500), max_size=12), st.integers(0, 2000))
@settings(max_examples=60)
def test_what_was_written_is_read(bodies: list[bytes], padding: int) -> None:
    data, _ = build(bodies)
    part = read_part(data + bytes(padding), NAME)
    assert list(part.bodies()) == list(enumerate(bodies, 1))
    assert (part.first, part.previous, part.sequence) == (1, 77, len(bodies))
    assert part.end == len(data)
    assert part.torn == b""


def test_a_part_says_where_each_record_ends() -> None:
    data, ends = build(BODIES)
    part = read_part(data, NAME)
    assert [part.end_of(number) for number in range(1, 31)] == ends
    assert part.end_of(0) == HEADER_SIZE


def test_a_part_knows_which_record_was_on_the_disk_last() -> None:
    assert read_part(build(BODIES)[0], NAME).synced == 29
    assert read_part(build(BODIES, group=8)[0], NAME).synced == 24


def test_a_cut_at_any_byte_leaves_exactly_the_whole_records_before_it() -> None:
    data, ends = build(BODIES)
    places = [*range(ends[-4], len(data) + 1)]
    places += random.Random(1).sample(range(HEADER_SIZE, ends[-4]), 300)
    for padding in (b"", PREALLOCATION):
        for place in places:
            part = read_part(data[:place] + padding, NAME)
            whole = sum(end <= place for end in ends)
            assert bodies_of(part) == BODIES[:whole]
            assert part.end == ([HEADER_SIZE, *ends])[whole]
            assert part.torn == data[part.end : place].rstrip(b"\0")


def test_every_single_bit_that_is_wrong_is_damage() -> None:
    data, ends = build(BODIES[:8])
    for padding in (b"", PREALLOCATION):
        for bit in range(len(data) * 8):
            changed = bytearray(data + padding)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CorruptFile) as raised:
                read_part(bytes(changed), NAME)
            before = [0, HEADER_SIZE, *ends]
            assert raised.value.offset == max(end for end in before if end <= bit // 8)


def test_a_wrong_bit_in_the_room_is_told_and_loses_nothing() -> None:
    data, _ = build(BODIES)
    for bit in random.Random(2).sample(range(len(PREALLOCATION) * 8), 200):
        changed = bytearray(data + PREALLOCATION)
        changed[len(data) + bit // 8] ^= 1 << bit % 8
        part = read_part(bytes(changed), NAME)
        assert bodies_of(part) == BODIES
        assert part.torn


def test_sectors_that_were_never_written_are_a_torn_tail() -> None:
    bodies = [b"%04d" % number * 300 for number in range(6)]
    data, ends = build(bodies, group=6)
    sectors = range(SECTOR, len(data), SECTOR)
    for lost in sectors:
        torn = data[:lost] + bytes(SECTOR) + data[lost + SECTOR :]
        part = read_part(torn[: len(data)] + PREALLOCATION, NAME)
        assert bodies_of(part) == bodies[: sum(end <= lost for end in ends)]
        assert part.torn


def test_a_lost_sector_of_what_had_been_on_the_disk_is_damage() -> None:
    bodies = [b"%04d" % number * 300 for number in range(6)]
    data, ends = build(bodies)
    for lost in range(SECTOR, ends[-2] - SECTOR, SECTOR):
        changed = data[:lost] + bytes(SECTOR) + data[lost + SECTOR :]
        with pytest.raises(CorruptFile, match="had been on the disk"):
            read_part(changed + PREALLOCATION, NAME)


@pytest.mark.parametrize(
    "order",
    [[0, 1, 1, 2], [0, 2, 3], [1, 0, 2], [0, 1, 2, 0]],
    ids=["twice", "gap", "order", "old"],
)
def test_a_record_in_the_wrong_place_is_damage(order: list[int]) -> None:
    data, ends = build(BODIES[:4])
    starts = [HEADER_SIZE, *ends]
    moved = b"".join(data[starts[n] : starts[n + 1]] for n in order)
    with pytest.raises(CorruptFile, match="does not continue record"):
        read_part(data[:HEADER_SIZE] + moved, NAME)


def test_a_record_of_another_journal_is_damage() -> None:
    data, ends = build(BODIES[:4])
    other, _ = build(BODIES[:4], salt=b"01234567")
    with pytest.raises(CorruptFile, match="what follows record 3 fails its checksum"):
        read_part(data[: ends[2]] + other[ends[2] :], NAME)


def test_a_body_that_looks_like_a_record_is_only_a_body() -> None:
    inner, _ = build(BODIES[:3], salt=b"01234567")
    data, ends = build([inner, b"after"])
    assert bodies_of(read_part(data, NAME)) == [inner, b"after"]
    assert bodies_of(read_part(data[: ends[0] - 10] + PREALLOCATION, NAME)) == []


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE - 1])
def test_a_part_without_its_header_is_damage(size: int) -> None:
    with pytest.raises(CorruptFile, match="offset 0: it has no whole header"):
        read_part(build(BODIES)[0][:size], NAME)


def test_a_part_under_the_name_of_another_is_damage() -> None:
    with pytest.raises(CorruptFile, match="it is the part of record 1"):
        read_part(build(BODIES)[0], Layout("db.pkl").part(2))


def test_parts_are_found_in_order_and_nothing_else_is_one(tmp_path: object) -> None:
    filename = f"{tmp_path}/db.pkl"
    firsts = [1, 10, 2, 1_000_000_000_000]
    others = [f"{filename}.journal-000000000003.broken", f"{filename}.journal-new", f"{filename}x"]
    for path in [Layout(filename).part(first) for first in firsts] + others:
        with open(path, "wb"):
            pass
    found = [(first, Layout(filename).part(first)) for first in sorted(firsts)]
    assert part_names(Disk(), filename) == found
