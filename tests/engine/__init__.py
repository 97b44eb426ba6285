"""The engine's invariants and promises, each seen to be kept, and seen to break.

1. One at a time, in order, whole, once: ``test_order.py``.
2. One owner at every instant: ``test_ownership.py``; the baton alone in ``test_baton.py``.
3. No reply lost, doubled, reordered, interleaved: ``test_replies.py``.
4. Framing does no I/O and never rescans: ``tests/test_layers.py``,
   ``tests/framing/test_memory.py``, and through the loop ``test_ceilings.py``.
5. Who does not read is not read from; what a connection takes has a ceiling:
   ``test_ceilings.py``.
6. Nothing a peer does, and no way of leaving, ends anything but its own connection:
   ``test_leaving.py``.
7. Closing accounts for every thread and socket: ``test_closing.py``.

The promises are in ``test_promises.py``. What a handler blocks on in all these is an event, or
the hand-off itself: it waits until its thread is its client's own. Every test says, under "With",
what was taken out of the engine to see it fail, and how it failed.

The other modules test one part of the engine each, with what the whole reaches only by luck.
"""
