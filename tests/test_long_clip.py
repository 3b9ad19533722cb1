"""A thousand frames take no more of the device than a few, and of the host no more than was promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from echomimic.models import UNetConfig
from echomimic.weights import load_weights, save_bundle
from tests.published import write_published

ROOT = Path(__file__).resolve().parents[1]

# Renders so many frames and prints the largest batch that each network saw, and the process's peak memory in bytes.
RENDER = """
import resource, sys
import numpy as np, torch
from echomimic.models import DenoisingUNet, PoseEncoder
from echomimic.pipeline import Inputs, RenderSettings, render
from echomimic.pose import PoseSequence
from echomimic.sampling import SamplingSettings
from echomimic.weights import load_bundle

bundle, output, frames, side = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
networks = load_bundle(bundle)
largest = {}
def watch(name, module, method):
    original = getattr(module, method)
    def watched(*args, **kwargs):
        tensor = next(value for value in args if isinstance(value, torch.Tensor))
        largest[name] = max(largest.get(name, 0), tensor.numel())
        return original(*args, **kwargs)
    setattr(module, method, watched)
watch("denoiser", networks.denoiser, "predict")
watch("pose encoder", networks.pose_encoder, "forward")
watch("decoder", networks.vae, "decode")
generator = np.random.default_rng(0)
poses = PoseSequence(generator.random((24, 134, 2)), np.ones((24, 134)), 24)
voice = torch.from_numpy(generator.standard_normal((1, 16000 * (frames // 24 + 1))).astype(np.float32) * 0.1)
inputs = Inputs(generator.integers(0, 255, (side, side, 3), np.uint8), voice, 16000, poses)
settings = RenderSettings(SamplingSettings(1, 1, window_length=24, overlap=0), side, side, frames=frames)
render(networks, inputs, settings, output)
print(sorted(largest.items()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_a_thousand_frames(tmp_path):
    config = UNetConfig((32, 32), layers_per_block=1, audio_dim=64)
    weights = write_published(tmp_path / "weights", config, variants=("_acc",), suffix=".safetensors")
    save_bundle(tmp_path / "small.safetensors", load_weights(weights))

    side = 128
    measured = []
    for frames in (200, 1000):
        arguments = [str(tmp_path / "small.safetensors"), str(tmp_path / f"{frames}.mp4"), str(frames), str(side)]
        done = subprocess.run(
            [sys.executable, "-c", RENDER, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        measured.append(done.stdout.strip().splitlines())
    (few_largest, few_peak), (many_largest, many_peak) = measured
    assert many_largest == few_largest
    # 0.6 MB a frame at 768x768; latents, and with them the bound, shrink with the picture.
    bound = 0.6e6 * (side / 768) ** 2
    # What a process takes beside its data differs from run to run; 20 MB is half of what 800 pictures would take.
    assert int(many_peak) - int(few_peak) <= 800 * bound + 20e6
