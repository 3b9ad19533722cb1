"""Makes assets/demo_bundle.safetensors: small networks with weights drawn at random, for `make demo` and the tests.

    python assets/scripts/make_bundle.py

Nothing about it is trained, so what it makes is noise; but it has every part, every tensor name and the format of a
real bundle, and runs in seconds on a CPU. The weights come from the tests' recipe, so the file is the same each time.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.models import UNetConfig  # noqa: E402
from echomimic.weights import load_weights, save_bundle  # noqa: E402
from tests.published import write_published  # noqa: E402

OUTPUT = ROOT / "assets" / "demo_bundle.safetensors"
SALT = "demo."
# Three levels, so that attending and plain stages both occur; few heads, which is what attention on a CPU costs most;
# Whisper of one head, with the four blocks that give 50 tokens a frame as the real one; a VAE that halves three times,
# as narrow as ComfyUI's own VAE code allows, which has 32 norm groups whatever the size.
CONFIG = UNetConfig((32, 32, 32), layers_per_block=1, attention_heads=2, audio_dim=64)
VAE = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "norm_num_groups": 32}
SIZE = 256


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        published = write_published(Path(folder), CONFIG, SALT, variants=("_acc",), vae=VAE)
        networks = load_weights(published, config=CONFIG)
        # Half the contrast keeps the noise in the middle tones instead of at black and white.
        networks.vae.decoder.conv_out.weight.mul_(0.5)
        networks = replace(networks, settings=replace(networks.settings, width=SIZE, height=SIZE))
        save_bundle(OUTPUT, networks, dtype=torch.float16, source="random weights, by assets/scripts/make_bundle.py")


if __name__ == "__main__":
    main()
