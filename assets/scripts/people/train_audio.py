"""Train the demo's small audio encoder.

An encoder of Whisper's layout learns to read the mouth's values from synthetic speech, 50 steps a second, from each of
its layers, and from the mean of the steps that a frame takes: the denoising UNet takes them all, and knows no order.
The fewer these are, the more their mean says: see `context` in `AudioTraining`. Goes on where it was interrupted; the
result is `audio_encoder.safetensors` with Hugging Face's names. Needs espeak-ng.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from echomimic.audio import encode_speech, load_audio_encoder
from echomimic.audio.spectrum import HOP, MELS, SEGMENT, log_mel
from echomimic.audio.tokens import STEPS_PER_FRAME, STEPS_PER_SECOND
from echomimic.audio.whisper import HEAD_SIZE, POSITIONS, sinusoids
from echomimic.files.atomic import atomic_write
from echomimic.media.waveform import SAMPLE_RATE
from echomimic.weights import load_bundle_audio_encoder

from .clips import FPS
from .readout import ridge_correlation
from .training_run import TrainingRun, learning_rate
from .visemes import mouth_at_frames
from .voices import Speech, recorded, sample_speech

VALUES = ("opening", "width", "rounding")
# Of the learning rate, at the end of its cosine.
FINAL_SHARE = 0.02
KEPT = 1  # checkpoint


@dataclass(frozen=True)
class AudioTraining:
    """The configuration file.

    Attributes:
        output: folder of checkpoint, log and result.
        start: bundle whose encoder is trained on; empty to begin with a random one.
        width, layers: of the encoder; the width is a multiple of 64.
        context: frames before and after a frame whose steps the denoising UNet takes with the frame's own two. With the
            published 2, features that tell the mouth exactly at each step have a mean that correlates with the frame's
            opening by 0.86 only. The encoder hears what is around by itself, so 0 loses nothing.
        recordings: how many are synthesised; each step takes some, recorded in another room each time.
        batch: recordings a step.
        seconds: shortest and longest recording; what is missing to 30 seconds is padded as for Whisper.
        steps, warmup, learning_rate: of AdamW, with a cosine.
        checkpoint_every: in steps.
        test_recordings: of held-out voices, 10 seconds each, for the measure at the end.
        opening_weight: of the mouth's opening in the loss, where width and rounding have 1.
        seed: of everything drawn.
    """

    output: str
    start: str = ""
    width: int = 64
    layers: int = 2
    context: int = 2
    recordings: int = 150
    batch: int = 4
    seconds: tuple[float, ...] = (6.0, 20.0)
    steps: int = 1500
    warmup: int = 50
    learning_rate: float = 2e-3
    checkpoint_every: int = 100
    test_recordings: int = 20
    opening_weight: float = 1.0
    seed: int = 0


def make_encoder(config: AudioTraining) -> Any:
    """transformers' module, drawn at random, without the final norm, which the published model does without."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=config.width, encoder_layers=config.layers, encoder_attention_heads=config.width // HEAD_SIZE,
            encoder_ffn_dim=4 * config.width, num_mel_bins=MELS, max_source_positions=POSITIONS,
        )
    )  # fmt: skip
    encoder.layer_norm = nn.Identity()
    with torch.no_grad():
        encoder.embed_positions.weight.copy_(sinusoids(POSITIONS, config.width))
    return encoder


def targets(speech: Speech) -> Tensor:
    """The mouth at the encoder's steps, `[steps, 3]`."""
    steps = len(speech.samples) // HOP // 2
    return torch.from_numpy(mouth_at_frames(speech.track, steps, STEPS_PER_SECOND)).float()


def window_means(states: Tensor, context: int) -> Tensor:
    """The mean of the steps that a frame's tokens come from, around each step; `[n, steps, width]` both.

    The denoising UNet's attention does not know which of a frame's tokens comes first: at first it gets their mean. So
    the encoder has to write features whose mean tells the opening.
    """
    before = STEPS_PER_FRAME * context
    after = before + STEPS_PER_FRAME - 1
    padded = functional.pad(states.transpose(1, 2), (before, after), mode="replicate")
    return functional.avg_pool1d(padded, before + 1 + after, stride=1).transpose(1, 2)


class Run(TrainingRun):
    """Training of the audio encoder."""

    def __init__(self, config: AudioTraining) -> None:
        super().__init__(Path(config.output))
        self.config = config
        torch.manual_seed(config.seed)
        self.encoder = make_encoder(config)
        if config.start:
            self.encoder.load_state_dict(load_bundle_audio_encoder(config.start).state_dict())
        self.heads, self.window_heads = (
            nn.ModuleList(nn.Linear(config.width, len(VALUES)) for _ in range(config.layers + 1)) for _ in range(2)
        )
        self.model = nn.ModuleList([self.encoder, self.heads, self.window_heads])
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.98), weight_decay=1e-2)
        rng = np.random.default_rng([config.seed, 41])
        self.speeches = [sample_speech(rng, float(rng.uniform(*config.seconds))) for _ in range(config.recordings)]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mels `[n, 80, 3000]`, targets `[n, 1500, 3]` and which steps count `[n, 1500]`; by seed and step alone."""
        rng = np.random.default_rng([self.config.seed, 43, step])
        count = self.config.batch
        mels, values, counted = torch.zeros(count, MELS, SEGMENT), torch.zeros(count, POSITIONS, 3), torch.zeros(
            count, POSITIONS
        )  # fmt: skip
        for row, number in enumerate(rng.integers(len(self.speeches), size=count)):
            speech = recorded(self.speeches[number], rng)
            columns = log_mel(torch.from_numpy(speech.samples))
            mels[row, :, : columns.shape[1]] = columns
            true = targets(speech)
            values[row, : len(true)], counted[row, : len(true)] = true, 1
        return mels, values, counted

    def loss(self, mels: Tensor, values: Tensor, counted: Tensor) -> tuple[Tensor, list[float]]:
        """Mean squared error of every layer's readouts, and each layer's own: step by step, then of windows."""
        with torch.autocast("cpu", torch.bfloat16):
            states = self.encoder(mels, output_hidden_states=True).hidden_states

        weights = torch.tensor([self.config.opening_weight, 1.0, 1.0])

        def error(found: Tensor, true: Tensor) -> Tensor:
            return (((found - true).square() * weights).mean(dim=-1) * counted).sum() / counted.sum()

        # A frame lies between its step and the next.
        between = (values + torch.cat([values[:, 1:], values[:, -1:]], dim=1)) / 2
        steps = [error(head(state.float()), values) for head, state in zip(self.heads, states)]
        means = [window_means(state.float(), self.config.context) for state in states]
        windows = [error(head(mean), between) for head, mean in zip(self.window_heads, means)]
        errors = torch.stack([*steps, *windows])
        return errors.mean(), [round(float(e), 5) for e in errors.detach()]

    def train(self) -> Path:
        config = self.config
        for step in range(self.resume(), config.steps):
            rate = learning_rate(config.learning_rate, step, config.steps, config.warmup, FINAL_SHARE)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, errors = self.loss(*self.batch(step))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            done = step + 1
            if done % 20 == 0:
                self.log(step=done, loss=float(loss.detach()), layers=errors)
            if done % config.checkpoint_every == 0:
                self.save(done)
        return self.finish()

    def save(self, step: int) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.folder.save(step, {"config": asdict(self.config), **state}, KEPT)

    def resume(self) -> int:
        state = self.load()
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def finish(self) -> Path:
        """Write the encoder, and measure it as the engine loads it."""
        path = self.folder.path / "audio_encoder.safetensors"
        with atomic_write(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}, temporary)
        found = measure(path, self.config)
        self.log(step=self.config.steps, **{f"held_out_{name}": value for name, value in found.items()})
        return path


def measure(path: Path, config: AudioTraining) -> dict[str, float]:
    """Correlation of each mouth value with its ridge regression from the mean of a frame's tokens over its steps, which
    is what attention without an order can read, on voices never trained on."""
    encoder = load_audio_encoder(path)

    def gather(held_out: bool, count: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([config.seed, 47, int(held_out)])
        rows, values = [], []
        for _ in range(count):
            speech = sample_speech(rng, 10.0, held_out)
            features = encode_speech(encoder, torch.from_numpy(speech.samples), SAMPLE_RATE, FPS)
            frames = int(speech.seconds * FPS)
            tokens = features.with_context(config.context).tokens(range(frames))  # step by step, each with its layers
            rows.append(tokens.unflatten(1, (-1, config.layers + 1)).mean(dim=1).flatten(1).numpy())
            values.append(mouth_at_frames(speech.track, frames, FPS))
        return np.concatenate(rows).astype(np.float64), np.concatenate(values)

    values = ridge_correlation(*gather(False, 60), *gather(True, config.test_recordings))
    return dict(zip(VALUES, map(float, values)))
