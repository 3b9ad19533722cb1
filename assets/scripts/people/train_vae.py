"""Train the demo's small VAE on drawn people.

Goes on where it was interrupted. Beside its checkpoints it writes a log and contact sheets (truth above, decoded
below). When the encoder is done, and again at the end, its folder is one of diffusers' (`config.json` and the weights),
its latents of unit variance after x 0.18215. In between only the decoder learns: latents that were made by then stay
right, and the networks can be trained on them meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from echomimic.files.atomic import atomic_write
from echomimic.training.run_folder import RunFolder
from echomimic.vae.coding import SCALE
from echomimic.weights import load_bundle_vae

from .canvas import Region
from .clips import sample_clip
from .looks import HELD_OUT_SEEDS, TRAINING_SEEDS
from .readout import ridge_correlation
from .training_run import TrainingRun, follow

# Of the learning rate, at the end of its cosine.
FINAL_SHARE = 0.03
VAE_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class VaeTraining:
    """The configuration file.

    Attributes:
        output: folder of checkpoints, log, sheets and result.
        widths: channels of each level; the first three halve the picture.
        layers, norm_groups: of diffusers' AutoencoderKL. ComfyUI's own VAE code has 32 groups whatever the widths.
        sizes: pictures are drawn with one of these sides, in pixels.
        crop, crops: side and number of a step's crops.
        encoder_steps: after so many the encoder stays as it is.
        latent_noise: strength of the noise on the latents, of unit variance, that the decoder then has to bear: a
            sampled latent is never quite the encoder's.
        steps, warmup, learning_rate: of AdamW, with a cosine.
        edges_after, edges_weight: from which step on, and how much, the error of the picture's gradient counts. From
            the first step on it makes the pictures collapse to one colour.
        colour_weight: how much the error of the means of 8x8 pixels counts. A whole wall in the wrong hue is a small
            error at each pixel.
        readout_weight: how much the error of the same means counts when they are read by linear layers, which are
            thrown away in the end, from the latents and from each of the encoder's levels. Without it the encoder can
            leave a colour axis out for thousands of steps, because all levels and the decoder would have to find it at
            the same time.
        ssim_weight: how much 1 - SSIM counts.
        kl_weight: of the latents' divergence from a unit normal, per element.
        ema_decay: of the averaged weights, which are the result.
        checkpoint_every, sheet_every: in steps.
        people: held-out people that the measures are taken on.
        seed: of everything drawn.
        start: a bundle whose VAE, of the same layout, the training starts from; drawn at random without.
    """

    output: str
    widths: tuple[int, ...] = (64, 64, 96, 128)
    layers: int = 1
    norm_groups: int = 32
    sizes: tuple[int, ...] = (128, 128, 192, 256)
    crop: int = 64
    crops: int = 12
    encoder_steps: int = 8000
    latent_noise: float = 0.05
    steps: int = 12000
    warmup: int = 100
    learning_rate: float = 1e-3
    edges_after: int = 600
    edges_weight: float = 1.0
    colour_weight: float = 2.0
    readout_weight: float = 2.0
    ssim_weight: float = 0.0
    kl_weight: float = 1e-4
    ema_decay: float = 0.998
    checkpoint_every: int = 100
    sheet_every: int = 500
    people: int = 20
    seed: int = 0
    start: str = ""


def make_vae(config: VaeTraining) -> Any:
    """The network, drawn at random, or as the bundle `start` has it."""
    levels = len(config.widths)
    vae = AutoencoderKL(
        block_out_channels=config.widths,
        layers_per_block=config.layers,
        norm_num_groups=config.norm_groups,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
    )
    if config.start:
        vae.load_state_dict(load_bundle_vae(config.start).state_dict())
    return vae


def batch(config: VaeTraining, step: int) -> tuple[Tensor, Tensor]:
    """A step's crops `[n, 3, crop, crop]` in -1..1 and their weights `[n, 1, crop, crop]`, by seed and step alone.

    Small crops lie by thirds on a mouth, on a hand and anywhere. Large ones, which the group norms see as they see a
    whole picture, are each of another person and hold the mouth.
    """
    rng = np.random.default_rng([config.seed, step])
    crops, weights = [], []
    while len(crops) < config.crops:
        drawn = sample_clip(rng, int(rng.choice(config.sizes)), 1, headshots=0.05)
        picture, regions = drawn.frames[0], drawn.regions[0]
        size = len(picture)
        hand = Region.HAND_A if rng.random() < 0.5 else Region.HAND_B
        for region in (Region.MOUTH, hand, None)[: 1 if 2 * config.crop > size else 3]:
            middle = rng.uniform(0, size, 2)
            rows, columns = np.nonzero(regions == region) if region is not None else ((), ())
            if len(rows):
                middle = np.array([np.mean(rows), np.mean(columns)]) + rng.normal(0, config.crop / 8, 2)
            top, left = np.clip(middle - config.crop / 2, 0, size - config.crop).astype(int)
            part = slice(top, top + config.crop), slice(left, left + config.crop)
            crop, at = picture[part], regions[part]
            weight = np.ones(at.shape, np.float32)
            weight[(at == Region.HAND_A) | (at == Region.HAND_B)] = 2
            weight[at == Region.FACE] = 4  # eyes are a few pixels each
            weight[at == Region.MOUTH] = 5
            crops.append(crop)
            weights.append(weight)
    pixels = torch.from_numpy(np.stack(crops[: config.crops])).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(), torch.from_numpy(np.stack(weights[: config.crops]))[:, None]


def edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and the lower neighbour."""
    return pictures[..., :, 1:] - pictures[..., :, :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


def opponent(colours: Tensor) -> Tensor:
    """RGB `[n, 3, h, w]` as brightness, red against blue, and green against magenta, alike in spread on drawn people.

    In RGB nearly all of the error is brightness, and a network learns to tell walls of one brightness apart last.
    """
    axes = colours.new_tensor([[1 / 3, 1 / 3, 1 / 3], [1.5, 0.0, -1.5], [-1.5, 3.0, -1.5]])
    return torch.einsum("oc,nchw->nohw", axes, colours)


class Readout(nn.Module):
    """Reads the mean colours of 8x8 pixels from the latents, and from what an encoder's levels put out on the way."""

    def __init__(self, config: VaeTraining, vae: Any) -> None:
        super().__init__()
        self.latents = nn.Conv2d(4, 3, 1)
        widths = [*config.widths, config.widths[-1]]
        self.levels = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths)
        self.seen: dict[int, Tensor] = {}
        for number, level in enumerate([*vae.encoder.down_blocks, vae.encoder.mid_block]):
            level.register_forward_hook(lambda _, __, output, number=number: self.seen.__setitem__(number, output))

    def forward(self, latents: Tensor, colours: Tensor) -> Tensor:
        """The error of the readouts' mean: of latents `[n, 4, h, w]` and of what the levels last put out."""
        read = [self.latents(latents)]
        for number, layer in enumerate(self.levels):
            read.append(layer(functional.adaptive_avg_pool2d(self.seen[number].float(), colours.shape[-2:])))
        return torch.stack([opponent(one - colours).abs().mean() for one in read]).mean()


def loss_terms(
    config: VaeTraining, vae: Any, readout: Readout, pixels: Tensor, weight: Tensor, step: int
) -> dict[str, Tensor]:
    """The loss by its terms; `total` is what is minimised."""
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(step < config.encoder_steps):
        posterior = vae.encode(pixels).latent_dist
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    spread = (0.5 * logvar).exp() if step < config.encoder_steps else config.latent_noise / SCALE
    latents = mean + spread * torch.randn(mean.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = vae.decode(latents).sample
    terms = {
        **picture_terms(decoded.float(), pixels, weight, bool(config.ssim_weight), step >= config.edges_after),
        "kl": 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(),
        "readout": readout(mean, functional.avg_pool2d(pixels, 8)),
    }
    weights = {
        "kl": config.kl_weight, "readout": config.readout_weight, "colour": config.colour_weight,
        "ssim": config.ssim_weight, "edges": config.edges_weight,
    }  # fmt: skip
    return {"total": weighted_sum(terms, weights), **terms}


def picture_terms(decoded: Tensor, pixels: Tensor, weight: Tensor, ssim: bool, gradients: bool) -> dict[str, Tensor]:
    """How far decoded pictures are from the true ones, both `[n, 3, H, W]` in -1..1.

    Args:
        weight: of each pixel `[n, 1, H, W]`.
        ssim: whether `ssim` (1 - SSIM) is among the terms.
        gradients: whether `edges`, the error of the picture's gradient, is.
    """
    error = decoded - pixels
    norm = weight.mean()
    terms = {
        "absolute": (weight * error.abs()).mean() / norm,
        "square": (weight * error.square()).mean() / norm,
        "colour": opponent(functional.avg_pool2d(error, 8)).abs().mean(),
    }
    if ssim:
        # In 0..1, as it is measured: near 0, the grey of -1..1, small errors of the mean would weigh too much.
        alike = structural_similarity_index_measure((decoded + 1) / 2, (pixels + 1) / 2, data_range=1.0)
        terms["ssim"] = 1 - alike  # type: ignore[operator]
    if gradients:
        terms["edges"] = sum((e.abs()).mean() for e in edges(error))  # type: ignore[assignment]
    return terms


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """What is minimised; a term counts once unless it has a weight."""
    return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()


def held_out(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures `[n, size, size, 3]`, regions and mouth values `[n, 3]` of people that training never draws."""
    rng = np.random.default_rng([17, seed])
    clips = [sample_clip(rng, size, 1, seeds=HELD_OUT_SEEDS) for _ in range(count)]
    return tuple(np.concatenate([getattr(c, name) for c in clips]) for name in ("frames", "regions", "mouth"))  # type: ignore[return-value]


@torch.no_grad()
def encode(vae: Any, pictures: np.ndarray) -> Tensor:
    """Means of the latents, `[n, 4, h, w]`."""
    parts = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1).split(8)
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([vae.encode(part).latent_dist.mean.float() for part in parts])


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> np.ndarray:
    """Pictures uint8 `[n, H, W, 3]`."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [vae.decode(part).sample.float() for part in latents.split(8)]
    return torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of uint8 pictures, in dB, each picture's own and then their mean."""
    error = np.square(a.astype(np.float64) - b).reshape(len(a), -1).mean(axis=1)
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-3))))


def mouth_readout(vae: Any, size: int, count: int = 800) -> float:
    """How well mouth opening is read from the latents around it, by ridge regression on unseen people."""
    pictures, regions, mouth = held_out(count, size, seed=1)
    latents = encode(vae, pictures).numpy()
    crops = []
    for latent, region in zip(latents, regions):
        rows, columns = np.nonzero(region == Region.MOUTH)
        middle = (np.mean(rows) / 8, np.mean(columns) / 8) if len(rows) else (5 * size / 128, 8 * size / 128)
        reach = max(2, round(2 * size / 128))
        top, left = (int(np.clip(round(at) - reach, 0, size // 8 - 2 * reach)) for at in middle)
        part = latent[:, top : top + 2 * reach, left : left + 2 * reach].ravel()
        offset = np.array([middle[0] - top, middle[1] - left])
        # The opening is read in pixels of the latent's grid, so where the mouth lies in it is an input, too.
        crops.append(np.concatenate([part, np.outer(part, offset).ravel(), offset]))
    inputs, split = np.stack(crops).astype(np.float64), count * 3 // 4
    found = ridge_correlation(inputs[:split], mouth[:split, :1], inputs[split:], mouth[split:, :1])
    return float(found[0])


def write_sheet(vae: Any, path: Path, sizes: tuple[int, ...] = (128, 256)) -> float:
    """Held-out people, truth above and decoded below; returns the PSNR at 128."""
    rows, value = [], 0.0
    for size in sizes:
        pictures, _, _ = held_out(1024 // size, size, seed=2)
        made = decode(vae, encode(vae, pictures))
        rows += [np.concatenate(list(pictures), axis=1), np.concatenate(list(made), axis=1)]
        value = psnr(pictures, made) if size == sizes[0] else value
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])
    return value


def unit_variance(vae: Any, latents: Tensor) -> None:
    """Fold into the quantising layers that latents have mean 0 and, after x 0.18215, variance 1, channel by channel."""
    with torch.no_grad():
        mean, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        factor = 1 / (spread * SCALE)
        # decode(z) = post_quant(z): z_old = z_new / factor + mean.
        post = vae.post_quant_conv
        post.bias += (post.weight[..., 0, 0] @ mean[:, None])[:, 0]
        post.weight *= (1 / factor)[None, :, None, None]
        quant = vae.quant_conv
        quant.weight[:4] *= factor[:, None, None, None]
        quant.bias[:4] = (quant.bias[:4] - mean) * factor
        quant.bias[4:] += 2 * factor.log()


def write_vae(vae: Any, folder: Path) -> Path:
    """Write the network as diffusers does; returns the path of its weights."""
    vae.save_config(folder)
    path = folder / VAE_WEIGHTS
    state = {name: tensor.contiguous() for name, tensor in vae.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(state, temporary)
    return path


class Run(TrainingRun):
    """Training of the VAE."""

    def __init__(self, config: VaeTraining) -> None:
        super().__init__(config)
        torch.manual_seed(config.seed)
        self.vae, self.average = make_vae(config), make_vae(config)
        self.average.load_state_dict(self.vae.state_dict())
        self.average.requires_grad_(False).eval()
        self.readout = Readout(config, self.vae)
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
        self.readout_optimizer = torch.optim.Adam(self.readout.parameters(), lr=1e-2)
        self.parts = {
            "vae": self.vae, "average": self.average, "optimizer": self.optimizer, "readout": self.readout,
            "readout_optimizer": self.readout_optimizer,
        }  # fmt: skip

    def train(self) -> Path:
        """Train to the end; returns the result."""
        config, begin = self.config, self.resume()
        clock = time.monotonic()
        for step in range(begin, config.steps):
            if step == config.encoder_steps:
                self.finish_encoder()
            self.set_learning_rate(step, FINAL_SHARE)
            terms = loss_terms(config, self.vae, self.readout, *batch(config, step), step)
            terms["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
            for optimizer in (self.optimizer, self.readout_optimizer):
                optimizer.step()
                optimizer.zero_grad()
            follow(self.average, self.vae, step, config.ema_decay)
            done = step + 1
            if done % 20 == 0:
                numbers = {name: float(term.detach()) for name, term in terms.items()}
                self.log(step=done, seconds=(time.monotonic() - clock) / 20, **numbers)
                clock = time.monotonic()
            if done % config.checkpoint_every == 0:
                self.save(done)
            if done % config.sheet_every == 0:
                self.log(step=done, psnr=write_sheet(self.average, self.folder.path / f"sheet-{done:06d}.png"))
                clock = time.monotonic()
        return self.finish()

    def resume(self) -> int:
        step = super().resume()
        if step > self.config.encoder_steps:
            self.freeze_encoder()
        return step

    def freeze_encoder(self) -> None:
        for part in (self.vae.encoder, self.vae.quant_conv):
            part.requires_grad_(False)

    def finish_encoder(self) -> None:
        """Take the averaged weights, normalise their latents, write them, and leave the encoder alone from now on."""
        rng = np.random.default_rng([self.config.seed, 2**31])
        pictures = np.concatenate([sample_clip(rng, 128, 1, seeds=TRAINING_SEEDS).frames for _ in range(200)])
        unit_variance(self.average, encode(self.average, pictures))
        self.vae.load_state_dict(self.average.state_dict())
        self.freeze_encoder()
        self.write()
        self.log(step=self.config.encoder_steps, mouth_128=mouth_readout(self.average, 128))

    def write(self) -> Path:
        return write_vae(self.average, self.folder.path)

    def finish(self) -> Path:
        """Write the averaged weights, and log what they reach on unseen people."""
        config, path, measures = self.config, self.write(), {}
        for size in (128, 256):
            truth, _, _ = held_out(config.people, size)
            measures[f"psnr_{size}"] = psnr(truth, decode(self.average, encode(self.average, truth)))
            measures[f"mouth_{size}"] = mouth_readout(self.average, size)
        self.log(step=config.steps, **measures)
        return path


def is_finished(run: Path) -> bool:
    """Whether the VAE of a run, the folder above its own, is trained to the end."""
    return any("psnr_256" in line for line in RunFolder(run / "vae").read_log())
