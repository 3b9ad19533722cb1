"""A bundle of small networks with weights drawn by the golden recipe: every part is there, and it renders noise."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from echomimic.models import UNetConfig
from echomimic.weights import load_weights, save_bundle
from tests.published import write_published

# Three levels, so that attending and plain stages both occur; few heads, which is what attention on a CPU costs most;
# a VAE that halves three times.
CONFIG = UNetConfig((32, 32, 32), layers_per_block=1, attention_heads=2, audio_dim=64)
VAE = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "norm_num_groups": 32}
SIZE = 256


def write_small_bundle(path: Path, source: str = "random weights") -> None:
    """Write it, in half precision, with `source` in its header."""
    with tempfile.TemporaryDirectory() as folder:
        published = write_published(Path(folder), CONFIG, "demo.", variants=("_acc",), vae=VAE)
        networks = load_weights(published, config=CONFIG)
        # Half the contrast keeps the noise in the middle tones instead of at black and white.
        networks.vae.decoder.conv_out.weight.mul_(0.5)
        networks = replace(networks, settings=replace(networks.settings, width=SIZE, height=SIZE))
        save_bundle(path, networks, dtype=torch.float16, source=source)
