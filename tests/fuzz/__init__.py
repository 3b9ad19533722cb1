"""Mutated real files for every reader: nothing but our own exceptions comes out, and the promises hold.

`make fuzz` (python -m tests.fuzz) runs it for ten minutes; `tests/test_fuzz.py` is a short slice of it in the suite.
"""
