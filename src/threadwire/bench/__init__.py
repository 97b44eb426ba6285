"""Load on any request/reply service, and an honest report of how it bears it.

What is asked for is a :class:`~.plan.Plan`; :func:`~.run.run` carries it out and gives a
:class:`~.results.Result`. The load comes from processes of its own, so that nothing which
shows how it goes can disturb it.
"""
