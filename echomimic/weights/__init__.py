"""Weights: reading files, building the networks from them, one-file bundles, and the download."""

from ..files.tensors import read_state_dict
from .build import load_weights
from .bundle import BundleInfo, load_bundle, load_bundle_audio_encoder, load_bundle_vae, read_bundle_info, save_bundle
from .published import WeightFiles, find_weights

__all__ = [
    "BundleInfo",
    "WeightFiles",
    "find_weights",
    "load_bundle",
    "load_bundle_audio_encoder",
    "load_bundle_vae",
    "load_weights",
    "read_bundle_info",
    "read_state_dict",
    "save_bundle",
]
