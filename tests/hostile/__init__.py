"""Attacks at a server, mostly at a real process, and what they cost.

During each a good client makes requests, and every answer it gets has to be right. After each the
server has as many threads and descriptors as at its start, and no more memory than after the same
attack before; and its log has what whoever runs it needs to know. What the servers serve is in
``handlers.py``: on the loop (quick), on threads that are lent (blocking), or as sessions.

- ``test_silence.py``: nothing said, or next to nothing; leaving at once; urgent data.
- ``test_drip.py``: one byte at a time, to the server and from it.
- ``test_not_reading.py``: asking and not reading; leaving with half a reply.
- ``test_sizes.py``: messages that are too large, or say that they will be.
- ``test_floods.py``: very much, very fast; garbage.
- ``test_tls.py``, ``test_proxy.py``: what comes before the first message.
- ``test_refusals.py``: more clients than there may be, of one address or of all.
- ``test_descriptors.py``, ``test_threads.py``: nothing more to be had of the system.
- ``test_handlers.py``: handlers that fail, or never return.
- ``test_vanished.py``: peers that are gone without a word.
- ``test_collector.py``: nothing of them waits for the garbage collector.

The environment variable THREADWIRE_HOSTILE is the share of the full counts that are made [0.2].
``python -m tests.hostile.table`` makes all attacks once and prints a table of what happened;
what else it is given is for pytest, as ``-k drip``.

Tests say, under "With", what was taken out of threadwire to see them fail, and how they failed.
"""
