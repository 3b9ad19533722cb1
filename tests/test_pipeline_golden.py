"""A whole run from pose files: what the sampler returns is what the original's drawings of these poses lead to.

The clip on disk has the golden frames at every second place, at twice the video's rate. The expected latents come from
the golden pictures, `tests/golden/pose_draw_own`, without our reader, our timing and our drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from echomimic import pipeline
from echomimic.audio import SpeechFeatures
from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.pipeline import Inputs, RenderSettings, render
from echomimic.pose import PoseSequence, load_poses
from echomimic.pose.sources.folders import write_folder
from echomimic.sampling import SamplingSettings, sample
from echomimic.weights import load_bundle
from tests.golden_cases import GOLDEN, relative_error
from tests.recipe import fill

FRAMES = ["waving.40", "open_palms.33", "counting.77"]
BETWEEN = ["pointing.55", "thumbs_up.30"]
# The recipe's pose encoder is faint: its features count twenty times, so that a wrong picture shows in the latents.
SETTINGS = SamplingSettings(1, 1, pose_strength=20)
CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=1, norm_num_groups=32, audio_dim=24)


@dataclass(frozen=True)
class Run:
    """What `render` gave to the sampler, and the latents that came of it."""

    arguments: dict[str, Any]
    latents: Tensor

    @torch.no_grad()
    def again(self, pictures: np.ndarray) -> Tensor:
        """Latents of the same run with these pose pictures `[F, H, W, 3]` in 0..1."""
        video = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None]  # [1, 3, F, H, W]
        encoder = self.arguments["pose"].encoder
        return sample(**{**self.arguments, "pose": encoder(video)[0]})


def golden_pictures(cases: list[str]) -> np.ndarray:
    """The original's drawings `[F, 768, 768, 3]` in 0..1."""
    files = [GOLDEN / "pose_draw_own" / f"{case}.png" for case in cases]
    return np.stack([cv2.imread(str(file))[..., ::-1] / np.float32(255) for file in files])


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_bundle) -> Run:
    """The clip written as files, read again and rendered, one step at 768x768."""
    folder = tmp_path_factory.mktemp("run")
    order = [FRAMES[0], BETWEEN[0], FRAMES[1], BETWEEN[1], FRAMES[2]]
    frames = [np.load(GOLDEN / "pose_draw_own" / f"{case}.npz") for case in order]
    clip = PoseSequence(*(np.stack([frame[name] for frame in frames]) for name in ("keypoints", "scores")), fps=48.0)
    write_folder(clip, folder / "clip")

    networks = replace(
        load_bundle(small_bundle),
        config=CONFIG,
        denoiser=fill(DenoisingUNet(CONFIG), "golden run.").eval(),
        reference_unet=fill(ReferenceUNet(CONFIG), "golden run.").eval(),
        pose_encoder=fill(PoseEncoder(CONFIG.block_out_channels[0]), "golden run.").eval(),
    )
    speech = SpeechFeatures(torch.randn(50, 5, 24, generator=torch.Generator().manual_seed(0)), 24.0)
    taken: dict[str, Any] = {}

    def watched(**arguments: Any) -> Tensor:
        latents = sample(**arguments)
        taken.update(arguments=arguments, latents=latents)
        return latents

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "encode_speech", lambda *_: speech)
        patch.setattr(pipeline, "sample", watched)
        patch.setattr(pipeline, "decode_frames", lambda *_: iter([np.zeros((3, 768, 768, 3), np.uint8)]))
        portrait = np.random.default_rng(0).integers(0, 255, (768, 768, 3), np.uint8)
        inputs = Inputs(portrait, torch.zeros(1, 16000), 16000, load_poses(folder / "clip", fps=48.0))
        render(networks, inputs, RenderSettings(SETTINGS, frames=3), folder / "a.mp4")
    return Run(**taken)


def test_pose_files_lead_to_the_latents_of_the_golden_pictures(run):
    assert relative_error(run.latents, run.again(golden_pictures(FRAMES))) < 1e-5


@pytest.mark.parametrize(
    ("cases", "factor"),
    [
        ([FRAMES[0], *FRAMES[:2]], 1),
        ([FRAMES[0], BETWEEN[0], FRAMES[1]], 1),
        (FRAMES, 255),
    ],
    ids=["one frame late", "not resampled", "in 0..255"],
)
def test_the_latents_show_wrong_pose_pictures(run, cases, factor):
    """Each fault moves the latents by far more than the golden run allows, so that run would find it."""
    assert relative_error(run.again(golden_pictures(cases) * np.float32(factor)), run.latents) > 1e-2
