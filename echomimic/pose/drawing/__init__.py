"""Poses to look at: what the model sees, over a portrait, at a glance, in time with a voice."""
