from __future__ import annotations
import threading, time, socket
import pytest, threadwire
from threadwire import CloseReason
from ..conftest import Events, Serving
from ..support import Peer, eventually, wait_for, reverse
from ..tls_support import Forger, client_side
from .secure import *

def show(events):
    for r in events._caplog.records:
        print(r.levelname, getattr(r.msg,'name',r.msg), getattr(r.msg,'fields',''), bool(r.exc_info))

@both_versions
def test_basic(serving, events, tmp_path, version):
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version)) as p:
        assert p.request(b"abc") == b"cba\n"
        p.finish()
        assert p.hear_all() == b""
        assert p.ended == "close_notify"
    show(events)

def test_s1(serving, events, tmp_path):
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as p, SecurePeer(server.address) as q:
        assert p.request(b"abc") == b"cba\n"
        good = p.sealed(b"good\n"); bad = bytearray(p.sealed(b"bad\n")); bad[-1] ^= 1
        p.say_plain(good + bad)
        begun = time.monotonic()
        try: print("heard", p.hear_all(), p.ended)
        except Exception as e: print("EXC", e)
        print(time.monotonic() - begun)
        assert q.request(b"abc") == b"cba\n"
    time.sleep(.2)
    show(events)

def test_s2(serving, events, tmp_path):
    server = serving(lambda m: bytes(3<<20), SECURE, **certified(tmp_path))
    ctx = client_side(); ctx.keylog_filename = str(tmp_path/"keys")
    with SecurePeer(server.address, ctx) as p:
        f = Forger(tmp_path/"keys")
        first, second = f.change_of_keys(cut_at=2)
        f2 = Forger(tmp_path/"keys")
        p.say_plain(f2.data(b"x\n") + f2.record(22, b"\x18\0"))
        p.socket.settimeout(3)
        try: print("heard", len(p.hear_all()), p.ended)
        except Exception as e: print("EXC", repr(e))
    time.sleep(.2)
    show(events)

@both_versions
def test_s3(serving, events, tmp_path, version):
    @threadwire.session
    def chat(c):
        for m in c: c.send(m)
    server = serving(chat, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version), shake=False) as p:
        p.socket.settimeout(3)
        p.shake_hands()
        assert p.request(b"abc") == b"abc\n"

def test_s4(serving, events, tmp_path):
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as p:
        assert p.request(b"abc") == b"cba\n"
        bad = bytearray(p.sealed(b"bad\n")); bad[-1] ^= 1
        p.say_plain(bad)
        try: print("heard", p.hear_all(), p.ended)
        except Exception as e: print("EXC", e)
    time.sleep(.2)
    show(events)

def test_s5(serving, events, tmp_path):
    server = serving(reverse, SECURE, handshake_timeout=0.3, **certified(tmp_path))
    with Peer(server.address) as p:
        p.say(b"garbage")
        print(p.hear_all())
        eventually(lambda: events.named("closed"))
    show(events)

def test_s7(serving, events, tmp_path):
    server = serving(reverse, SECURE,  **certified(tmp_path))
    with Peer(server.address) as p:
        eventually(lambda: server._connections)
        b = time.monotonic()
        print(server.close(3), time.monotonic()-b)
    show(events)
