"""Gestures: the library of clips, and pose sequences generated from a voice."""

from .generate import GestureSettings, choose_clips, generate_gestures
from .graph import build_motion_graph, strokes
from .library import clip_names, load_clip, load_library
from .prosody import analyse_voice

__all__ = [
    "GestureSettings",
    "analyse_voice",
    "build_motion_graph",
    "choose_clips",
    "clip_names",
    "generate_gestures",
    "load_clip",
    "load_library",
    "strokes",
]
