"""The demo's model from nothing: drawn people, synthetic voices, and the paper's stages.

    python -m assets.scripts.people.train_demo runs/demo

Each stage goes on where it was interrupted, and is left out where its result is there:

    vae      pictures to latents and back          vae/, as diffusers writes it
    audio    sound to features                     audio/audio_encoder.safetensors
    data     clips of drawn people who speak       data/metadata.jsonl
    latents  of these clips, and their features    data/*.latents.safetensors
    stage1   single pictures                       stage1/bundle.safetensors
    stage2   clips: time, and the voice            stage2/bundle.safetensors
    finish   single pictures once more              finish/bundle.safetensors
    distill  the accelerated student               distill/bundle.safetensors
    decoder  drawing clearly what they sample      decoder/, as diffusers writes it
    bundle   what ships                            assets/demo_bundle.safetensors

Their settings are the files of `configs`; paths in these count from the run's folder. Needs espeak-ng, and
`pip install -r requirements-train.txt`.

    python -m assets.scripts.people.train_demo runs/again --start assets/demo_bundle.safetensors

makes a bundle better instead: all networks start from its weights, and stages have the settings of `configs/again`
where these are there.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor

from echomimic.audio import SpeechFeatures, encode_speech, load_audio_encoder
from echomimic.audio.tokens import STEPS_PER_SECOND
from echomimic.audio.whisper import POSITIONS
from echomimic.files.atomic import atomic_write
from echomimic.media.waveform import SAMPLE_RATE, mono_16khz
from echomimic.models.networks import Networks
from echomimic.training.config import config_from
from echomimic.training.latent_cache import cache_latents
from echomimic.training.records import METADATA, read_records
from echomimic.training.train import train
from echomimic.vae import load_vae
from echomimic.weights import load_bundle, save_bundle

from . import train_audio, train_decoder, train_vae
from .clips import FPS
from .config import CONFIGS, read_config
from .dataset import write_dataset

logger = logging.getLogger("echomimic")

SHIPPED = Path(__file__).resolve().parents[2] / "demo_bundle.safetensors"
VAE, AUDIO_ENCODER = Path("vae"), Path("audio/audio_encoder.safetensors")
# The VAE that ships: the other one with this decoder.
DECODER = Path("decoder")
# The bundle that a run starts from, if it does, copied into the run's folder.
START = Path("start.safetensors")


@dataclass(frozen=True)
class DataSettings:
    """Of the clips; see `dataset.write_dataset`.

    Attributes:
        clips: how many.
        size: side of the pictures in pixels.
        seconds: length of each.
        headshots: share that shows a head only, for head partial attention.
        hard_mouths: share whose people are chosen because their mouth is hard to see; see `looks.random_person`.
        seed: of everything drawn; another one gives other people and voices.
    """

    clips: int
    size: int
    seconds: float
    headshots: float
    hard_mouths: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class ShippingSettings:
    """Of the bundle that ships.

    Attributes:
        stage: whose result it is.
        steps, guidance: that it recommends.
        start_share: of the networks' weights, the share of the bundle that the run started from; the rest are the
            stage's.
    """

    stage: str
    steps: int
    guidance: float
    start_share: float = 0.0


def config_file(run: Path, stage: str) -> Path:
    """The settings of a stage: those of `configs/again` where the run starts from a bundle and they are there."""
    again = CONFIGS / "again" / f"{stage}.yaml"
    return again if start_of(run) and again.is_file() else CONFIGS / f"{stage}.yaml"


def start_of(run: Path) -> str:
    """The bundle that a run starts from; empty if from nothing."""
    return str(run / START) if (run / START).is_file() else ""


def make_vae(run: Path) -> None:
    config = read_config(config_file(run, "vae"), train_vae.VaeTraining, run)
    train_vae.Run(replace(config, start=start_of(run))).train()


def make_audio_encoder(run: Path) -> None:
    config = read_config(config_file(run, "audio"), train_audio.AudioTraining, run)
    train_audio.Run(replace(config, start=start_of(run))).train()


def make_data(run: Path) -> None:
    settings = read_config(config_file(run, "data"), DataSettings)
    frames = round(settings.seconds * FPS)
    write_dataset(
        run / "data", settings.clips, settings.size, frames, settings.seed, settings.headshots, settings.hard_mouths
    )


def encode_within_a_talk(encoder: Any, waveform: Tensor, sample_rate: int, fps: float) -> SpeechFeatures:
    """A clip's features as it has them somewhere in half a minute, between repetitions of its own voice.

    The encoder's states tell where in its half minute a step is, and its lowest ones little else. Clips of one second,
    encoded alone, would show the networks the first 50 of 1500 positions only.
    """
    samples = mono_16khz(waveform, sample_rate)
    hop = SAMPLE_RATE // STEPS_PER_SECOND
    steps = len(samples) // hop
    # The same for the same clip, whatever was encoded before it.
    rng = np.random.default_rng(zlib.crc32(samples.numpy().tobytes()))
    before = int(rng.integers(POSITIONS - steps))
    after = int(rng.integers(POSITIONS - steps - before))
    talk = samples.repeat(2 + POSITIONS // steps)
    phase = -before % steps  # so that the clip begins where its sound does
    talk = talk[phase * hop : (phase + before + steps + after) * hop]
    features = encode_speech(encoder, talk, SAMPLE_RATE, fps)
    return replace(features, steps=features.steps[before : before + steps].clone())


def make_latents(run: Path) -> None:
    def report(done: int, clips: int) -> None:
        if done % 50 == 0:
            logger.info("latents of %d of %d clips", done, clips)

    # Half precision takes half the time, and its rounding is far below the VAE's own error.
    vae = load_vae(run / VAE).to(torch.bfloat16)
    cache_latents(run / "data", vae, load_audio_encoder(run / AUDIO_ENCODER), report, encode_within_a_talk)


def train_stage(name: str) -> Callable[[Path], None]:
    """A stage of the engine's own training, as `configs/NAME.yaml` says."""

    def run_stage(run: Path) -> None:
        content = yaml.safe_load(config_file(run, name).read_text(encoding="utf-8"))
        train(config_from(content, run), device="cpu")

    return run_stage


def make_decoder(run: Path) -> None:
    train_decoder.Run(read_config(config_file(run, "decoder"), train_decoder.DecoderTraining, run), run).train()


def ship(run: Path) -> None:
    """A stage's result with the VAE whose decoder knows what it samples, in half precision."""
    settings = read_config(config_file(run, "bundle"), ShippingSettings)
    networks = load_bundle(run / settings.stage / "bundle.safetensors", kernels=False)
    if settings.start_share:
        add_start(networks, load_bundle(start_of(run), kernels=False), settings.start_share)
    size = read_config(config_file(run, "data"), DataSettings).size
    recommended = replace(networks.settings, width=size, height=size, steps=settings.steps, guidance=settings.guidance)
    networks = replace(networks, vae=load_vae(run / DECODER), settings=recommended)
    save_bundle(SHIPPED, networks, dtype=torch.float16, source="drawn people, by assets/scripts/people/train_demo.py")


@torch.no_grad()
def add_start(networks: Networks, start: Networks, share: float) -> None:
    """Make the networks the mean of themselves and of those that their training started from, in place.

    Between the two ends of a fine-tuning lie weights that are better than either (arXiv 2203.05482). VAE and audio
    encoder stay as they are.
    """
    for name in ("denoiser", "reference_unet", "pose_encoder"):
        before = dict(getattr(start, name).named_parameters())
        for parameter, value in getattr(networks, name).named_parameters():
            value.lerp_(before[parameter].to(value.dtype), share)


def latents_are_there(run: Path) -> bool:
    return all(record.latents for record in read_records(run / "data"))


def result_is_there(path: str | Path) -> Callable[[Path], bool]:
    return lambda run: (run / path).is_file()


# Name, what does it, and whether its result is there.
STAGES: dict[str, tuple[Callable[[Path], None], Callable[[Path], bool]]] = {
    "vae": (make_vae, train_vae.is_finished),
    "audio": (make_audio_encoder, result_is_there(AUDIO_ENCODER)),
    "data": (make_data, result_is_there(Path("data") / METADATA)),
    "latents": (make_latents, latents_are_there),
    "stage1": (train_stage("stage1"), result_is_there("stage1/bundle.safetensors")),
    "stage2": (train_stage("stage2"), result_is_there("stage2/bundle.safetensors")),
    "finish": (train_stage("finish"), result_is_there("finish/bundle.safetensors")),
    "distill": (train_stage("distill"), result_is_there("distill/bundle.safetensors")),
    "decoder": (make_decoder, result_is_there(DECODER / train_decoder.RESULT)),
    "bundle": (ship, lambda run: False),
}

# Of these, the ones of a run that starts from a bundle.
STAGES_AGAIN = ("vae", "audio", "data", "latents", "stage1", "stage2", "decoder", "bundle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of everything on the way")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all by default")
    parser.add_argument("--start", type=Path, metavar="BUNDLE", help="start from its networks, in a folder that is new")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: all")
    options = parser.parse_intermixed_args()  # stages may stand behind an option
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}; there are {', '.join(STAGES)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    cv2.setNumThreads(1)
    if options.threads:
        torch.set_num_threads(options.threads)
    run = options.run.absolute()
    if options.start and not start_of(run):
        if (run / VAE).exists():
            parser.error(f"{run} holds a run from nothing: give another folder")
        run.mkdir(parents=True, exist_ok=True)
        with atomic_write(run / START) as temporary:
            shutil.copyfile(options.start, temporary)
    for name in options.stages or (STAGES_AGAIN if start_of(run) else STAGES):
        work, is_finished = STAGES[name]
        if is_finished(run):
            logger.info("%s: there", name)
            continue
        logger.info("%s", name)
        work(run)


if __name__ == "__main__":
    main()
