"""Bytes of a server are replies or a ProtocolError; bytes of ours are what the draft says."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.core.errors import ProtocolError
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.wire import Extended, Limits, Reply, Version
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Code,
    Data,
    Handle,
    Names,
    OpenNew,
    SetHandle,
    Share,
    Space,
    Status,
    Symlink,
    Verb,
    Write,
)
from reconcile.remotes.words import one_line

U32 = st.integers(0, 2**32 - 1)
ATTRS = st.builds(Attrs, size=st.integers(0, 2**64 - 1), mode=U32, mtime=U32, gid=U32, uid=U32)
MESSAGES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WIRE_CODES = {
    Code.OK: 0,
    Code.EOF: 1,
    Code.MISSING: 2,
    Code.DENIED: 3,
    Code.FAILED: 4,
    Code.INVALID: 5,
    Code.UNSUPPORTED: 8,
}
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(Status, st.sampled_from([*WIRE_CODES][1:]), MESSAGES),
    st.just(OK),
    st.builds(Handle, st.binary(max_size=wire.MAX_HANDLE)),
    ATTRS,
    st.builds(Names, st.lists(st.tuples(st.binary(max_size=300), ATTRS), max_size=5).map(tuple)),
    st.builds(Extended, st.binary(max_size=100)),
    st.builds(Data, st.binary(max_size=100)),
)
NAMED = ("old", "new", "target", "source")  # paths and handles by other names
CONVERSATIONS = st.lists(st.tuples(U32, REPLIES), max_size=8)


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def attributes(attrs: Attrs) -> bytes:
    # With an extension, which is skipped.
    fixed = struct.pack(">IQIIIII", 0x8000000F, attrs.size, attrs.uid, attrs.gid, attrs.mode, 3, attrs.mtime)
    return fixed + struct.pack(">I", 1) + string(b"acl@example.org") + string(b"x")


def packet(ident: int, reply: Reply) -> bytes:
    """What a server would send."""
    match reply:
        case Status(code, message):
            words = string(message.encode()) + string(b"en")
            kind, body = wire.STATUS, struct.pack(">I", WIRE_CODES[code]) + words
        case Handle(handle):
            kind, body = wire.HANDLE, string(handle)
        case Attrs():
            kind, body = wire.ATTRS, attributes(reply)
        case Names(names):
            lines = [string(name) + string(b"-rw-r--r-- x") + attributes(attrs) for name, attrs in names]
            kind, body = wire.NAME, struct.pack(">I", len(names)) + b"".join(lines)
        case Extended(data):
            kind, body = wire.EXTENDED_REPLY, data
        case Data(data):
            kind, body = wire.DATA, string(data)
        case Version() | Space() | Limits():
            raise AssertionError
    return struct.pack(">IBI", len(body) + 5, kind, ident) + body


def decode(pieces: Sequence[bytes]) -> list[tuple[int, Reply]]:
    decoder = wire.Decoder()
    return [reply for piece in pieces for reply in decoder.feed(piece)]


@given(CONVERSATIONS, st.lists(st.integers(1, 50), max_size=20))
def test_replies_come_out_as_they_went_in_however_the_bytes_are_cut(
    replies: list[tuple[int, Reply]], cuts: list[int]
) -> None:
    stream = b"".join(packet(ident, reply) for ident, reply in replies)
    pieces = []
    for size in cuts:
        pieces.append(stream[:size])
        stream = stream[size:]
    shown = [
        (ident, Status(reply.code, one_line(reply.message)) if isinstance(reply, Status) else reply)
        for ident, reply in replies
    ]
    assert decode([*pieces, stream]) == shown


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_a_protocol_error_at_worst(pieces: list[bytes]) -> None:
    try:
        decode(pieces)
    except ProtocolError:
        pass


@given(st.sampled_from([2, *range(101, 106), 201]), st.binary(max_size=200))
def test_random_payloads_of_known_packets_are_a_protocol_error_at_worst(kind: int, payload: bytes) -> None:
    try:
        assert len(decode([struct.pack(">IB", len(payload) + 1, kind) + payload])) <= 1
    except ProtocolError:
        pass


@given(U32, REPLIES, st.data())
def test_a_truncated_packet_with_a_true_length_is_a_protocol_error_at_worst(
    ident: int, reply: Reply, data: st.DataObject
) -> None:
    whole = packet(ident, reply)[4:]
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        replies = decode([struct.pack(">I", len(short)) + short])
    except ProtocolError:
        return
    # Extended replies have no inner length; a status may lack its words, and an OK's are not looked at.
    assert not replies or isinstance(replies[0][1], Extended | Status)


@given(U32, REPLIES, st.data())
def test_a_flipped_byte_is_another_reply_or_a_protocol_error(
    ident: int, reply: Reply, data: st.DataObject
) -> None:
    damaged = bytearray(packet(ident, reply))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode([bytes(damaged)])
    except ProtocolError:
        pass


@pytest.mark.parametrize("length", [0, 1, 4, wire.MAX_PACKET + 1, 2**32 - 1])
def test_a_length_that_can_not_be_is_refused_before_its_bytes_are_waited_for(length: int) -> None:
    with pytest.raises(ProtocolError, match="bytes"):
        decode([struct.pack(">IBI", length, wire.STATUS, 1)])


def test_text_is_a_greeting_only_at_the_beginning() -> None:
    with pytest.raises(ProtocolError, match='said "Welcome!" where SFTP should begin'):
        decode([b"Welc", b"ome!\nand more"])
    with pytest.raises(ProtocolError, match="announced a packet"):
        decode([packet(1, OK), b"Welcome!\n"])
    with pytest.raises(ProtocolError, match="announced a packet"):
        decode([b"W\0lcome!\n"])


@pytest.mark.parametrize("kind", [0, 1, 3, 99, 100, 106, 255])
def test_a_packet_no_request_asks_for_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match=str(kind)):
        decode([struct.pack(">IBII", 9, kind, 1, 0)])


def test_a_count_of_names_beyond_the_packet_ends_at_once() -> None:
    with pytest.raises(ProtocolError, match="torn"):
        decode([struct.pack(">IBII", 9, wire.NAME, 1, 2**32 - 1)])


def test_version_with_and_without_extensions() -> None:
    plain = struct.pack(">IBI", 5, 2, 3)
    assert decode([plain]) == [(wire.NO_ID, Version(3, {}))]
    body = struct.pack(">BI", 2, 3) + string(b"posix-rename@openssh.com") + string(b"1")
    version = Version(3, {b"posix-rename@openssh.com": b"1"})
    assert decode([string(body)]) == [(wire.NO_ID, version)]


def test_requests_are_laid_out_as_in_the_draft() -> None:
    opened = wire.encode(OpenNew(b"/f", 0o640), 7)
    assert opened == struct.pack(">IBII2sIII", 23, 3, 7, 2, b"/f", 0x2A, 4, 0o640)
    both = wire.encode(SetHandle(b"h", 0o600, 9), 8)
    assert both == struct.pack(">IBII1sIIII", 26, 10, 8, 1, b"h", 0xC, 0o600, 9, 9)
    written = wire.encode(Write(b"h", 2**40, b"data"), 9)
    assert written == struct.pack(">IBII1sQI4s", 26, 6, 9, 1, b"h", 2**40, 4, b"data")


def test_the_target_of_a_symlink_goes_first_as_openssh_has_it() -> None:
    assert wire.encode(Symlink(b"target", b"/path"), 1)[9:] == string(b"target") + string(b"/path")


def test_limits_and_space() -> None:
    def unpack(numbers: Sequence[int], expects: type) -> Any:
        return wire.unpack(Extended(struct.pack(f">{len(numbers)}Q", *numbers)), expects)

    assert unpack((1, 2, 3, 4), Limits) == Limits(1, 2, 3, 4)
    assert unpack(range(1, 12), Space) == Space(2 * 5, False, False)
    assert unpack((1, 1, 9, 9, 9, 5, 0, 0, 0, 3, 255), Space) == Space(9, True, True)
    assert not unpack([0] * 11, Space).out_of_inodes  # counts none
    assert unpack([], Attrs) is None  # nothing that was asked for
    with pytest.raises(ProtocolError):
        unpack((1, 2, 3), Limits)


def test_every_verb_is_laid_out_with_its_true_length_and_the_one_that_is_told() -> None:
    assert set(get_args(Verb)) - {Share} <= set(wire.ENCODERS), "asked for only where a driver says it can"
    for verb in set(get_args(Verb)) - {Share}:
        values = {"path": b"/p", "handle": b"h", "mode": 0o600, "mtime": 1, "data": b"d", "truncate": True}
        made = verb(*(values.get(name, b"/x" if name in NAMED else 5) for name in verb.__struct_fields__))
        out: list[bytes] = []
        size = wire.ENCODERS[verb][0](out, 9, made)
        whole = b"".join(out)
        assert whole == wire.encode(made, 9)
        assert len(whole) == size == struct.unpack_from(">I", whole)[0] + 4
        assert struct.unpack_from(">I", whole, 5) == (9,)
