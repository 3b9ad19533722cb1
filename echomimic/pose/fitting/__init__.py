"""Fitting poses to portraits: retargeting, cropping, and a score of the fit."""
