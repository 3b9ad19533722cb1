"""Train the demo's decoder on what the networks sample.

Sampled latents are softer than the encoder's: a decoder that has learned from those alone draws softly what the
networks are unsure of. Here the networks sample frames of training's own clips, and the decoder, alone, learns to draw
of them what was there: lines, buttons, eyes. A part of each step are the encoder's latents, so that it goes on to draw
these.

Goes on where it was interrupted. Its folder is one of diffusers', with the encoder that it began with.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echomimic.audio import encode_speech, read_audio
from echomimic.files.atomic import atomic_write
from echomimic.models.networks import Networks
from echomimic.pose import load_poses
from echomimic.sampling import DrawnPose, SamplingSettings, make_noise, sample
from echomimic.training.clip_files import read_clip_frames
from echomimic.training.records import ClipRecord, read_records
from echomimic.training.similarity import ssim
from echomimic.vae import load_vae
from echomimic.vae.coding import SCALE
from echomimic.weights import load_bundle

from .train_vae import VAE_WEIGHTS, picture_terms, psnr, weighted_sum, write_vae
from .training_run import TrainingRun, follow

logger = logging.getLogger("echomimic")

RESULT = VAE_WEIGHTS
# Of the learning rate, at the end of its cosine.
FINAL_SHARE = 0.03


@dataclass(frozen=True)
class DecoderTraining:
    """The configuration file.

    Attributes:
        output: folder of samples, checkpoints, log and result.
        weights: bundle whose networks sample; counts from the run's folder, as `data` and `vae` do.
        data, vae: clips with cached latents, and the VAE that made these.
        clips, frames: how many clips, and how many frames of each, from the first one on.
        sampling_steps: of each clip.
        measured: so many of the clips are never learned from: the measure is taken on these.
        batch: pictures of a step that the networks sampled.
        encoded: pictures of a step from the encoder's own latents.
        steps, warmup, learning_rate: of AdamW, with a cosine.
        colour_weight, ssim_weight, edges_weight: see `VaeTraining`.
        ema_decay: of the averaged weights, which are the result.
        checkpoint_every: in steps.
        seed: of everything drawn.
    """

    output: str
    weights: str
    data: str = "data"
    vae: str = "vae"
    clips: int = 160
    frames: int = 4
    sampling_steps: int = 4
    measured: int = 10
    batch: int = 2
    encoded: int = 1
    steps: int = 900
    warmup: int = 20
    learning_rate: float = 3e-4
    colour_weight: float = 2.0
    ssim_weight: float = 1.0
    edges_weight: float = 1.0
    ema_decay: float = 0.98
    checkpoint_every: int = 50
    seed: int = 0


@torch.no_grad()
def sample_clip_latents(
    networks: Networks, folder: Path, record: ClipRecord, frames: int, steps: int, seed: int
) -> Tensor:
    """What the networks sample of a clip's first frames, its last one being the portrait; scaled, `[F, 4, h, w]`."""
    speech = encode_speech(networks.audio_encoder, *read_audio(folder / record.audio), record.fps)
    poses = load_poses(folder / record.poses)
    reference = load_file(folder / record.latents)["latents"][-1:].float()
    window = min(frames, 12)
    clean = sample(
        denoiser=networks.denoiser,
        reference=networks.reference_unet(reference),
        audio=speech,
        pose=DrawnPose(networks.pose_encoder, poses, record.size, record.size, torch.device("cpu"), torch.float32),
        noise=make_noise(frames, *reference.shape[-2:], seed),
        settings=SamplingSettings(steps, 1.0, window_length=window, overlap=min(3, window - 1)),
    )
    return clean[0].transpose(0, 1).contiguous()


class Run(TrainingRun):
    """Training of the decoder.

    Args:
        config: the settings.
        base: the run's folder.
    """

    def __init__(self, config: DecoderTraining, base: Path) -> None:
        super().__init__(config)
        self.base = base
        self.records = [r for r in read_records(base / config.data) if not r.headshot][: config.clips]
        self.vae, self.average = load_vae(base / config.vae), load_vae(base / config.vae)
        for part in (self.vae.encoder, self.vae.quant_conv, self.average):
            part.requires_grad_(False)
        trained = [*self.vae.decoder.parameters(), *self.vae.post_quant_conv.parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=1e-4)
        self.parts = {"vae": self.vae, "average": self.average, "optimizer": self.optimizer}

    def samples_file(self, record: ClipRecord) -> Path:
        return self.folder.path / "samples" / f"{Path(record.file_name).stem}.safetensors"

    def make_samples(self) -> None:
        """Sample each clip that has not been yet."""
        config = self.config
        missing = [(n, record) for n, record in enumerate(self.records) if not self.samples_file(record).is_file()]
        if not missing:
            return
        (self.folder.path / "samples").mkdir(exist_ok=True)
        networks = load_bundle(self.base / config.weights)
        for number, record in missing:
            latents = sample_clip_latents(
                networks, self.base / config.data, record, config.frames, config.sampling_steps, config.seed + number
            )
            with atomic_write(self.samples_file(record)) as temporary:
                save_file({"latents": latents}, temporary)
            if (number + 1) % 25 == 0:
                logger.info("sampled %d of %d clips", number + 1, len(self.records))

    def frames_of(self, record: ClipRecord, numbers: list[int]) -> Tensor:
        """The drawn frames, `[n, 3, H, W]` in -1..1."""
        frames = read_clip_frames(self.base / self.config.data / record.file_name, numbers)
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """A step's latents, as the decoder takes them, `[n, 4, h, w]` and true pictures; by seed and step alone."""
        config = self.config
        rng = np.random.default_rng([config.seed, 53, step])
        latents, pictures = [], []
        chosen = rng.choice(np.arange(config.measured, len(self.records)), config.batch + config.encoded, replace=False)
        for row, number in enumerate(chosen):
            record = self.records[number]
            if row < config.batch:
                frame, path = int(rng.integers(config.frames)), self.samples_file(record)
            else:
                frame, path = int(rng.integers(record.frames)), self.base / config.data / record.latents
            latents.append(load_file(path)["latents"][frame].float() / SCALE)
            pictures.append(self.frames_of(record, [frame])[0])
        return torch.stack(latents), torch.stack(pictures)

    def loss(self, latents: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """The loss by its terms; `total` is what is minimised."""
        config = self.config
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.vae.decode(latents).sample
        everywhere = torch.ones_like(pictures[:, :1])
        terms = picture_terms(decoded.float(), pictures, everywhere, ssim=True, gradients=True)
        weights = {"colour": config.colour_weight, "ssim": config.ssim_weight, "edges": config.edges_weight}
        return {"total": weighted_sum(terms, weights), **terms}

    def train(self) -> Path:
        """Sample what is missing, train to the end; returns the result."""
        self.make_samples()
        config, begin = self.config, self.resume()
        if begin == 0:
            self.log(step=0, **self.measures())
        clock = time.monotonic()
        for step in range(begin, config.steps):
            self.set_learning_rate(step, FINAL_SHARE)
            terms = self.loss(*self.batch(step))
            terms["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            follow(self.average, self.vae, step, config.ema_decay)
            done = step + 1
            if done % 20 == 0:
                numbers = {name: float(term.detach()) for name, term in terms.items()}
                self.log(step=done, seconds=(time.monotonic() - clock) / 20, **numbers)
                clock = time.monotonic()
            if done % config.checkpoint_every == 0:
                self.save(done)
        return self.finish()

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """PSNR and SSIM of the measured clips' sampled frames, and PSNR of the encoder's own."""
        sampled, encoded, true = [], [], []
        for record in self.records[: self.config.measured]:
            sampled.append(load_file(self.samples_file(record))["latents"])
            encoded.append(load_file(self.base / self.config.data / record.latents)["latents"][: self.config.frames])
            true.append(self.frames_of(record, list(range(self.config.frames))))
        pictures = torch.cat(true)

        def drawn(latents: list[Tensor]) -> Tensor:
            parts = (torch.cat(latents).float() / SCALE).split(8)
            return torch.cat([self.average.decode(part).sample for part in parts]).clamp(-1, 1)

        def as_bytes(values: Tensor) -> np.ndarray:
            return values.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()

        made, own = drawn(sampled), drawn(encoded)
        return {
            "sampled_psnr": psnr(as_bytes(pictures), as_bytes(made)),
            "sampled_ssim": ssim((made + 1) / 2, (pictures + 1) / 2),
            "encoded_psnr": psnr(as_bytes(pictures), as_bytes(own)),
        }

    def finish(self) -> Path:
        """Write the averaged weights, and log what they reach."""
        path = write_vae(self.average, self.folder.path)
        self.log(step=self.config.steps, **self.measures())
        return path
