"""Faster ways to compute what the networks compute, each behind one switch."""
