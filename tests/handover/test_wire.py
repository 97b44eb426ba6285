"""Messages: any bytes are understood or refused, and what is sent arrives."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from threadwire.handover import wire


@given(st.one_of(st.binary(), st.recursive(st.none(), st.lists).map(lambda v: repr(v).encode())))
def test_any_packet_is_a_message_or_unintelligible(data: bytes) -> None:
    with contextlib.suppress(wire.Unintelligible):
        assert isinstance(wire.decode(data)["say"], str)


@given(
    st.text(),
    st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text())),
)
def test_a_description_arrives_as_it_was(address: str, options: dict[str, Any]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        wire.send(ours, {"say": "x", "address": address, "options": options})
        message, fds = wire.receive(theirs)
    assert message == {"handover": 1, "say": "x", "address": address, "options": options}
    assert fds == []
