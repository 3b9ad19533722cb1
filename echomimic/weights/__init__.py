"""Weights: reading files, building the networks from them, one-file bundles, and the download."""
