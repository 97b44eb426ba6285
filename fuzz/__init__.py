"""Coverage-guided fuzzing of everything that takes apart what others have written.

A target is a function ``target(data: bytes) -> None``, in plain Python, that raises when
threadwire breaks a promise. :mod:`fuzz.registry` lists them all; README.md says how they are run.
"""
