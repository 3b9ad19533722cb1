"""Train the demo's small audio encoder.

An encoder of Whisper's layout learns to read the mouth's values from synthetic speech, 50 steps a second, from each of
its layers, and from the mean of the steps that a frame takes: the denoising UNet takes them all, and knows no order.
The fewer these are, the more their mean says: see `context` in `AudioTraining`.

A head of the encoder can begin as one that looks a certain number of steps ahead or back (`look_at_neighbours`): drawn
at random, two heads a layer hardly find their neighbours in thousands of steps, and what a mouth does is heard around
it.

Goes on where it was interrupted; the result is `audio_encoder.safetensors` with Hugging Face's names. Needs espeak-ng.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from echomimic.audio import encode_speech, load_audio_encoder
from echomimic.audio.spectrum import HOP, MELS, log_mel
from echomimic.audio.tokens import STEPS_PER_FRAME, STEPS_PER_SECOND
from echomimic.audio.whisper import HEAD_SIZE, POSITIONS, POSITIONS_NAME, sinusoids, wave_rates
from echomimic.files.atomic import atomic_write
from echomimic.media.waveform import SAMPLE_RATE
from echomimic.weights import load_bundle_audio_encoder

from .clips import FPS
from .readout import ridge_correlation
from .training_run import TrainingRun
from .visemes import TRACK_RATE, mouth_at_frames
from .voices import Speech, recorded, sample_speech

logger = logging.getLogger("echomimic")

VALUES = ("opening", "width", "rounding")
# Of the learning rate, at the end of its cosine.
FINAL_SHARE = 0.02
STEP = 2 * HOP  # samples
# Of heads that begin by looking at a neighbour: how many of the positions' waves they see, how sharply, and how much of
# a random head is left in the other channels.
WAVES, SHARPNESS, QUIET = 12, 2.5, 0.1


@dataclass(frozen=True)
class AudioTraining:
    """The configuration file.

    Attributes:
        output: folder of checkpoint, log and result.
        start: bundle whose encoder is trained on if it has the same size; else, or where this is empty, a new one is
            drawn.
        width, layers: of the encoder; the width is a multiple of 64.
        feed_forward: width inside the layers' feed-forward part; Whisper has four times the encoder's.
        offsets: for a new encoder: how many steps of 20 ms ahead each head looks, all heads of the first layer, then of
            the next; negative: back; empty: heads are drawn at random.
        context: frames before and after a frame whose steps the denoising UNet takes with the frame's own two. With the
            published 2, features that tell the mouth exactly at each step have a mean that correlates with the frame's
            opening by 0.86 only. The encoder hears what is around by itself, so 0 loses nothing.
        recordings: how many are synthesised; each step takes some, recorded in another room each time.
        seconds: shortest and longest recording; what is missing to 30 seconds is padded as for Whisper.
        batch, piece: a step takes so many pieces of so many seconds, each at a place of its own in the half minute.
        whole_every, whole_batch: each so manieth step takes so many whole recordings instead, with all 1500 places, as
            the encoder has them in use.
        steps, warmup, learning_rate: of AdamW, with a cosine.
        checkpoint_every: in steps.
        test_recordings: of held-out voices, 10 seconds each, for the measure at the end.
        opening_weight: of the mouth's opening in the loss, where width and rounding have 1.
        last_weight: of what the last layer says, where each of the others has 1.
        seed: of everything drawn.
    """

    output: str
    start: str = ""
    width: int = 64
    layers: int = 2
    feed_forward: int = 256
    offsets: tuple[int, ...] = ()
    context: int = 2
    recordings: int = 150
    seconds: tuple[float, ...] = (6.0, 20.0)
    batch: int = 8
    piece: float = 4.0
    whole_every: int = 8
    whole_batch: int = 2
    steps: int = 1500
    warmup: int = 50
    learning_rate: float = 2e-3
    checkpoint_every: int = 100
    test_recordings: int = 20
    opening_weight: float = 1.0
    last_weight: float = 1.0
    seed: int = 0


def make_encoder(config: AudioTraining) -> Any:
    """transformers' module, drawn at random, without the final norm, which the published model does without."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=config.width, encoder_layers=config.layers, encoder_attention_heads=config.width // HEAD_SIZE,
            encoder_ffn_dim=config.feed_forward, num_mel_bins=MELS, max_source_positions=POSITIONS,
        )
    )  # fmt: skip
    encoder.layer_norm = nn.Identity()
    with torch.no_grad():
        encoder.embed_positions.weight.copy_(sinusoids(POSITIONS, config.width))
        if config.offsets:
            look_at_neighbours(encoder, config.offsets)
    return encoder


def look_at_neighbours(encoder: Any, offsets: tuple[int, ...]) -> None:
    """Let each head attend so many steps ahead of its own, by the fastest waves of the positions.

    The waves are sines and cosines of `rate * place`; a query that turns them by `rate * offset` is most like the key
    at that offset. Sound begins without a part in these channels, so that it does not blur them.

    Raises:
        ValueError: not one offset a head.
    """
    width = encoder.config.d_model
    heads = encoder.config.encoder_attention_heads
    if len(offsets) != heads * len(encoder.layers):
        raise ValueError(f"{len(offsets)} offsets for {len(encoder.layers)} layers of {heads} heads")
    waves = torch.arange(WAVES)
    sines, cosines = waves, width // 2 + waves
    rates = wave_rates(width)[:WAVES]
    for channels in (sines, cosines):
        encoder.conv2.weight[channels] = 0
        encoder.conv2.bias[channels] = 0
    for number, offset in enumerate(offsets):
        attention, first = encoder.layers[number // heads].self_attn, number % heads * HEAD_SIZE
        query, key = (part.weight[first : first + HEAD_SIZE] for part in (attention.q_proj, attention.k_proj))
        attention.q_proj.bias[first : first + HEAD_SIZE] = 0
        for part in (query, key):
            part *= QUIET
            part[: 2 * WAVES] = 0
        sine, cosine = SHARPNESS * torch.sin(rates * offset), SHARPNESS * torch.cos(rates * offset)
        key[waves, sines] = SHARPNESS
        key[WAVES + waves, cosines] = SHARPNESS
        query[waves, sines], query[waves, cosines] = cosine, sine
        query[WAVES + waves, cosines], query[WAVES + waves, sines] = cosine, -sine


def states_at(encoder: Any, mels: Tensor, places: list[int]) -> list[Tensor]:
    """The states of pieces of sound that begin at these of the 1500 places, `[n, steps, width]` of each layer.

    Args:
        mels: `[n, 80, 2 * steps]`.
    """
    hidden = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mels)))).transpose(1, 2)
    steps = hidden.shape[1]
    hidden = hidden + torch.stack([encoder.embed_positions.weight[place : place + steps] for place in places])
    states = [hidden]
    for layer in encoder.layers:
        states.append(layer(states[-1], attention_mask=None))
    return states


def piece_of(speech: Speech, steps: int, rng: np.random.Generator) -> Speech:
    """So many steps of a recording, from anywhere in it; all of a shorter one."""
    begin = int(rng.integers(max(1, len(speech.samples) // STEP - steps + 1)))
    samples = speech.samples[begin * STEP : (begin + steps) * STEP]
    track = speech.track[round(begin / STEPS_PER_SECOND * TRACK_RATE) :]
    return Speech(samples, [], track)


def sizes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def targets(speech: Speech) -> Tensor:
    """The mouth at the encoder's steps, `[steps, 3]`."""
    steps = len(speech.samples) // STEP
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
        super().__init__(config)
        torch.manual_seed(config.seed)
        self.encoder = make_encoder(config)
        if config.start:
            known = load_bundle_audio_encoder(config.start)
            if sizes(known) == sizes(self.encoder):
                self.encoder.load_state_dict(known.state_dict())
            else:
                logger.info("the audio encoder of %s has another size: a new one is drawn", config.start)
        self.heads, self.window_heads = (
            nn.ModuleList(nn.Linear(config.width, len(VALUES)) for _ in range(config.layers + 1)) for _ in range(2)
        )
        self.model = nn.ModuleList([self.encoder, self.heads, self.window_heads])
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.98), weight_decay=1e-2)
        self.parts = {"model": self.model, "optimizer": self.optimizer}
        rng = np.random.default_rng([config.seed, 41])
        self.speeches = [sample_speech(rng, float(rng.uniform(*config.seconds))) for _ in range(config.recordings)]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """Mels `[n, 80, 2 * steps]`, targets `[n, steps, 3]`, which steps count `[n, steps]`, and where in the half
        minute each row lies; by seed and step alone."""
        config = self.config
        rng = np.random.default_rng([config.seed, 43, step])
        whole = step % config.whole_every == 0
        count = config.whole_batch if whole else config.batch
        steps = POSITIONS if whole else round(config.piece * STEPS_PER_SECOND)
        mels, values, counted = (
            torch.zeros(count, MELS, 2 * steps), torch.zeros(count, steps, len(VALUES)), torch.zeros(count, steps)
        )  # fmt: skip
        for row, number in enumerate(rng.integers(len(self.speeches), size=count)):
            speech = self.speeches[number]
            if not whole:
                speech = piece_of(speech, steps, rng)
            speech = recorded(speech, rng)
            columns, true = log_mel(torch.from_numpy(speech.samples))[:, : 2 * steps], targets(speech)
            mels[row, :, : columns.shape[1]] = columns
            values[row, : len(true)], counted[row, : len(true)] = true, 1
        places = [0] * count if whole else rng.integers(POSITIONS - steps + 1, size=count).tolist()
        return mels, values, counted, places

    def loss(self, mels: Tensor, values: Tensor, counted: Tensor, places: list[int]) -> tuple[Tensor, list[float]]:
        """Mean squared error of every layer's readouts, and each layer's own: step by step, then of windows."""
        states = states_at(self.encoder, mels, places)
        weights = torch.tensor([self.config.opening_weight, 1.0, 1.0])

        def error(found: Tensor, true: Tensor) -> Tensor:
            return (((found - true).square() * weights).mean(dim=-1) * counted).sum() / counted.sum()

        # A frame lies between its step and the next.
        between = (values + torch.cat([values[:, 1:], values[:, -1:]], dim=1)) / 2
        steps = [error(head(state), values) for head, state in zip(self.heads, states)]
        means = [window_means(state, self.config.context) for state in states]
        windows = [error(head(mean), between) for head, mean in zip(self.window_heads, means)]
        errors = torch.stack([*steps, *windows])
        shares = torch.tensor([*[1.0] * self.config.layers, self.config.last_weight]).repeat(2)
        return (errors * shares).sum() / shares.sum(), [round(float(e), 5) for e in errors.detach()]

    def train(self) -> Path:
        config = self.config
        for step in range(self.resume(), config.steps):
            self.set_learning_rate(step, FINAL_SHARE)
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

    def finish(self) -> Path:
        """Write the encoder, and measure it as the engine loads it."""
        path = self.folder.path / "audio_encoder.safetensors"
        with atomic_write(path) as temporary:
            state = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
            del state[POSITIONS_NAME]  # loading adds them; those of a bundle that this went on from are rounded
            save_file(state, temporary)
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
