"""Every training stage on one short clip: small networks have to learn it by heart.

    python -m benchmarks.train_overfit FOLDER [STAGE ...]

Draws two people (the tests' own), trains a small VAE on them and caches their latents. Stage 1 learns the first
person from random weights; stage 2 and the LoRA go on from there with the second person's clip, whom those weights have
never seen; distillation folds the guidance of the first person's weights into six steps. For each it prints the latent
loss before and after, on the same noise, which no step of the run had, and the PSNR of a render, against the VAE's own
ceiling. Of distillation it says how far the student's six steps are from what the teacher draws in twelve guided ones,
and how far the undistilled weights are in the same six; of the LoRA how near the new person was before, and what is
left when the LoRA is taken off.
Everything lies in FOLDER, and the same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from echomimic.audio import load_audio_encoder
from echomimic.models import Networks
from echomimic.training.accelerator import make_accelerator
from echomimic.training.clip_files import read_clip_frames
from echomimic.training.conditions import Curriculum
from echomimic.training.config import TrainingConfig, WeightsConfig, config_from
from echomimic.training.data import TrainingClips
from echomimic.training.latent_cache import cache_latents
from echomimic.training.metrics import as_tensor
from echomimic.training.networks import start_networks
from echomimic.training.objective import encode_pictures
from echomimic.training.records import read_records
from echomimic.training.run_folder import RunFolder
from echomimic.training.similarity import psnr
from echomimic.training.train import Trainer, train
from echomimic.training.validation import Validation
from echomimic.vae import load_vae
from echomimic.vae.coding import SCALE, decode_frames
from echomimic.weights.lora import apply_lora
from tests.published import whisper_checkpoint
from tests.training_data import write_data

SIZE, FRAMES = 64, 12
# The VAE's steps, as often as it needs to leave the plateau at 25 dB, where it has colours and no details.
VAE_STEPS, VAE_ROUNDS, VAE_WANTED = 1000, 4, 34.0
NETWORKS = {"block_out_channels": [64, 128], "layers_per_block": 1, "attention_heads": 4, "norm_num_groups": 16}
# A step takes a half or a quarter of the clip: what a gradient is unsure of is the timestep, which a window has one of.
WINDOWS = {"stage2": 2, "lora": 2, "distill": 4}
# Optimiser steps of each stage.
STEPS = {"stage1": 600, "stage2": 400, "lora": 350, "distill": 700}
RENDER_STEPS = 20
# Windows that a loss is the mean of.
LOSS_DRAWS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stages", nargs="*", default=[], choices=[*STEPS, []], metavar="STAGE")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    torch.set_num_threads(1)
    data, vae = make_data(options.folder), train_vae(options.folder)
    audio = make_audio_encoder(options.folder)
    for number in (0, 1):
        cache_latents(options.folder / f"data-{number}", load_vae(vae), load_audio_encoder(audio))
    print(f"the VAE alone: {ceiling(data, vae):.1f} dB", flush=True)
    for stage in options.stages or STEPS:
        config = make_config(stage, options.folder, data, vae, audio)
        train(config, device="cpu")
        print(summary(config), flush=True)
        if stage in FURTHER:
            print(FURTHER[stage](config), flush=True)


def make_data(folder: Path) -> Path:
    """A folder for each person."""
    for number in (0, 1):
        data = folder / f"data-{number}"
        if not (data / "metadata.jsonl").is_file():
            write_data(data, clips=number + 1, frames=FRAMES, size=SIZE)
            keep_last_clip(data)
    return folder / "data-0"


def keep_last_clip(data: Path) -> None:
    """Leave only the last clip in the metadata."""
    line = json.loads((data / "metadata.jsonl").read_text().splitlines()[-1])
    (data / "metadata.jsonl").write_text(json.dumps(line) + "\n")


def frames_of(data: Path) -> torch.Tensor:
    """All frames of a data folder, uint8 `[n, 3, H, W]`."""
    record = read_records(data)[0]
    pictures = read_clip_frames(data / record.file_name, range(record.frames))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def train_vae(folder: Path) -> Path:
    """A small VAE that knows the two clips, as a diffusers folder."""
    from diffusers import AutoencoderKL

    place = folder / "vae"
    if (place / "config.json").is_file():
        return place
    torch.manual_seed(0)
    vae: Any = AutoencoderKL(
        block_out_channels=(16, 32, 64, 64), layers_per_block=1, norm_num_groups=8, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    pictures = torch.cat([frames_of(folder / f"data-{number}") for number in (0, 1)]).float() / 127.5 - 1
    generator = torch.Generator().manual_seed(0)
    for turn in range(VAE_ROUNDS):
        optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.2e-3, total_steps=VAE_STEPS)
        for _ in range(VAE_STEPS):
            part = pictures[torch.randint(len(pictures), (4,), generator=generator)]
            posterior = vae.encode(part).latent_dist
            # Scaled latents want unit variance; a little noise keeps neighbours in latent space alike.
            latents = posterior.mean * SCALE
            noisy = latents + 0.05 * torch.randn(latents.shape, generator=generator)
            error = (vae.decode(noisy / SCALE).sample - part).square().mean()
            loss = error + 1e-3 * (latents.std() - 1).square() + 1e-3 * latents.mean().square()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        reached = -10 * np.log10(float(error.detach()) / 4)
        print(f"VAE after {(turn + 1) * VAE_STEPS} steps: {reached:.1f} dB", flush=True)
        if reached >= VAE_WANTED:
            break
    else:
        raise SystemExit(
            f"the VAE stays at {reached:.1f} dB, and needs {VAE_WANTED:g}: its clips cannot be learnt with it"
        )
    vae.save_pretrained(place)
    return place


def ceiling(data: Path, path: Path) -> float:
    """PSNR in dB of the clip through the VAE and back."""
    vae, pictures = load_vae(path), frames_of(data)
    latents = encode_pictures(vae, pictures)
    decoded = np.concatenate(list(decode_frames(vae, latents.transpose(0, 1)[None])))
    error = (decoded.astype(np.float64) - pictures.permute(0, 2, 3, 1).numpy()) ** 2
    return float(10 * np.log10(255**2 / error.mean()))


def make_audio_encoder(folder: Path) -> Path:
    """One drawn by the recipe."""
    path = folder / "whisper.pt"
    if not path.is_file():
        torch.save(whisper_checkpoint(384), path)
    return path


def make_config(stage: str, folder: Path, data: Path, vae: Path, audio: Path) -> TrainingConfig:
    """A stage's configuration, starting from the result of the one before."""
    before = None if stage == "stage1" else "stage1"
    weights: dict[str, Any] = {"vae": str(vae), "audio_encoder": str(audio)}
    if before is None:
        weights |= {"start": "random", **NETWORKS}
    else:
        weights |= {"path": str(folder / before / "bundle.safetensors")}
    steps = STEPS[stage]
    return config_from(
        {
            "stage": stage,
            "data": str(folder / "data-1" if stage in ("stage2", "lora") else data),
            "output": str(folder / stage),
            "weights": weights,
            "size": SIZE,
            "frames": max(1, FRAMES // WINDOWS.get(stage, 1)),
            "steps": steps,
            "batch_size": 4 if stage == "stage1" else 1,
            "precision": "float32",
            # What guidance adds is the difference to the network without conditions: that has to be learnt well, too.
            "null_share": 0.25 if stage == "stage1" else 0.1,
            "gradient_checkpointing": False,
            "noise_offset": 0.0,
            "checkpoint_every": 50,
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 20,
                "final_share": 0.02,
                "ema_decay": 0.98,
                "weight_decay": 0.0,
            },
            "loss": {"phases": {"pose": 0.01, "detail": 0.001, "low_level": 0.01}, "low_level": "encoder", "crop": 32},
            "lora": {"rank": 8, "alpha": 8.0},
            "phases": [{"name": "hands only", "share": 1.0, "parts": ["hands"], "audio": "picture"}],
            "validation": {
                "every": steps,
                "clips": 1,
                "frames": FRAMES,
                "steps": 6 if stage == "distill" else RENDER_STEPS,
                # Without: it would exaggerate how a network that knows one clip differs from one without conditions.
                "guidance": 1.0,
            },
            "distill": {"student_steps": 6, "teacher_steps": 2, "guidance": 2.5},
        },
        Path(),
    )


def summary(config: TrainingConfig) -> str:
    """The loss before and after, and the last render's measures."""
    lines = [json.loads(line) for line in (Path(config.output) / "losses.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    render = [line for line in lines if "validation" in line][-1]
    before, after = loss_before_and_after(config)
    return (
        f"{config.stage}: latent loss {before:.4f} -> {after:.4f} ({before / after:.1f} times less) in {config.steps} "
        f"steps of {np.mean(seconds):.2f} s; render {render['psnr']:.1f} dB, SSIM {render['ssim']:.3f}"
    )


def loss_before_and_after(config: TrainingConfig) -> tuple[float, float]:
    """The mean latent loss of the start weights and of the averaged trained ones, on the same draws.

    Steps behind the run's last one draw them, so the noise is new to both.
    """
    trainer = Trainer(config, make_accelerator("cpu"), RunFolder(Path(config.output)))
    conditions = Curriculum(config.curriculum).at(config.steps - 1, config.steps)

    @torch.no_grad()
    def mean_loss() -> float:
        losses: list[float] = []
        for step in range(config.steps, config.steps + LOSS_DRAWS):
            batch = trainer.clips.batch(step, [0], conditions, trainer.sampling)
            losses += trainer.objective(trainer.model, batch)[1]["latent"]
        return float(np.mean(losses))

    before = mean_loss()
    trainer.resume()
    trainer.ema.copy_to([p for p in trainer.model.parameters() if p.requires_grad])
    return before, mean_loss()


def distance_to_teacher(config: TrainingConfig) -> str:
    """The student's render against the teacher's of many guided steps, and the undistilled weights' in as few steps."""
    settings = config.distill
    many = settings.student_steps * settings.teacher_steps
    student = WeightsConfig(path=str(Path(config.output) / "bundle.safetensors"))
    wanted = render(config, config.weights, many, settings.guidance)
    found = render(config, student, settings.student_steps, 1.0)
    before = render(config, config.weights, settings.student_steps, 1.0)
    ours, undistilled = picture_psnr(found, wanted), picture_psnr(before, wanted)
    return (
        f"from what the teacher draws in {many} steps with guidance {settings.guidance:g}: the student in "
        f"{settings.student_steps} steps {ours:.1f} dB, the teacher's own weights in as many {undistilled:.1f} dB "
        f"(squared error {10 ** ((ours - undistilled) / 10):.1f} times less)"
    )


def moved_by_lora(config: TrainingConfig) -> str:
    """The person's clip as the start weights draw it, with the LoRA, and with the LoRA taken off."""
    validation, networks = open_weights(config, config.weights)
    truth, before = validation.render(validation.clips.clip(0))
    applied = apply_lora(networks, Path(config.output) / "lora.safetensors")
    _, adapted = validation.render(validation.clips.clip(0))
    applied.remove()
    _, after = validation.render(validation.clips.clip(0))
    trace = "none" if np.array_equal(before, after) else f"up to {np.abs(before.astype(int) - after).max()} of 255"
    return (
        f"the new person without the LoRA {picture_psnr(before, truth):.1f} dB, with it "
        f"{picture_psnr(adapted, truth):.1f} dB; what is left once it is taken off: {trace}"
    )


def open_weights(config: TrainingConfig, weights: WeightsConfig) -> tuple[Validation, Networks]:
    """These weights, and what renders the run's clip with them."""
    networks = start_networks(replace(config, weights=weights), torch.float32)
    clips = TrainingClips(Path(config.data), networks.audio_encoder)
    return Validation(config, clips, networks, Path(config.output), torch.device("cpu"), torch.float32), networks


def render(config: TrainingConfig, weights: WeightsConfig, steps: int, guidance: float) -> np.ndarray:
    """The clip's first frames as these weights draw them, uint8 `[F, H, W, 3]`; start noise is the configuration's."""
    used = replace(config, validation=replace(config.validation, steps=steps, guidance=guidance))
    validation, _ = open_weights(used, weights)
    return validation.render(validation.clips.clip(0))[1]


def picture_psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of uint8 pictures, in dB."""
    return psnr(as_tensor(a), as_tensor(b))


# What else a stage's result is measured by.
FURTHER = {"lora": moved_by_lora, "distill": distance_to_teacher}


if __name__ == "__main__":
    main()
