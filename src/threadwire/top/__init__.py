"""``threadwire top``: a server's admin endpoint, watched in a terminal.

- :mod:`.sse`, :mod:`.documents`: what the endpoint says, as values; no I/O.
- :mod:`.columns`, :mod:`.search`, :mod:`.view`, :mod:`.summary`, :mod:`.table`: what there is to
  show of it, in cells and lines; no I/O.
- :mod:`.connection`, :mod:`.endpoint`, :mod:`.feed`, :mod:`.listing`: asking the endpoint, and
  following it.
- :mod:`.app`, :mod:`.clients`, :mod:`.screens`: all of it live; these alone need textual.
"""
