"""Gestures: an arm that moves like one, the clips written with it, and sequences made from a voice."""

from .library import clip_names, load_clip, load_library

__all__ = ["clip_names", "load_clip", "load_library"]
