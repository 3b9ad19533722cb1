"""What each of the paper's ways of training brings: short runs on drawn people, each without one of them.

    python -m benchmarks.ablations FOLDER [VARIANT ...] [--seeds 3] [--steps 160] [--people 6]

The demo's networks forget the voice and the pose - the audio attention and the pose encoder are drawn anew - and learn
both again from single pictures, by stage 1 of the engine's own training: with the whole method, and without one phase
of pose or audio, head partial attention, or a phase-specific loss. What people look like they still know, so that short
runs are enough. Renders of people and voices that training never had are compared with the drawn truth, as
`benchmarks.demo_model` does it. The table gives the mean over seeds, and how far each seed's result lies from the whole
method's with the same seed.

Everything lies in FOLDER, a run a folder; the same command goes on where it was interrupted. Needs espeak-ng, and
`pip install -r requirements-train.txt`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from assets.scripts.people.clips import FPS
from assets.scripts.people.config import CONFIGS
from assets.scripts.people.dataset import write_dataset
from assets.scripts.people.train_demo import encode_within_a_talk, latents_are_there
from benchmarks.demo_model import ASSETS, make_case, measure, render, summary
from echomimic.models.networks import Networks
from echomimic.training.config import WeightsConfig, config_from
from echomimic.training.latent_cache import cache_latents
from echomimic.training.networks import new_networks
from echomimic.training.records import METADATA, read_records
from echomimic.training.run_folder import write_text
from echomimic.training.train import train
from echomimic.weights import load_bundle, load_bundle_audio_encoder, load_bundle_vae, read_bundle_info, save_bundle

BUNDLE = ASSETS / "demo_bundle.safetensors"
CLIPS, HEADSHOTS, DATA_SEED = 240, 0.25, 5
# Of the renders.
SECONDS, STEPS, VOICES, CASES_SEED = 0.5, 4, 10, 11
WHOLE = "the whole method"
# What the table shows; of each, more is better.
MEASURES = {
    "mouth": "mouth, correlation", "hands within 5 %": "hands within 5 %", "psnr": "PSNR, dB", "ssim": "SSIM",
}  # fmt: skip


def without_pose_phases(content: dict[str, Any]) -> None:
    for phase in content["phases"]:
        phase |= {"parts": ["hands"], "pose_drop": [0.05, 0.05]}


def without_audio_phase(region: str) -> Callable[[dict[str, Any]], None]:
    """The other phases take its steps."""

    def change(content: dict[str, Any]) -> None:
        content["phases"] = [phase for phase in content["phases"] if phase["audio"] != region]

    return change


def without_head_partial_attention(content: dict[str, Any]) -> None:
    content["data"] = f"{content['data']}-whole"


def without_loss(name: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["loss"]["phases"][name] = 0.0

    return change


# What each changes in the configuration.
VARIANTS: dict[str, Callable[[dict[str, Any]], None]] = {
    WHOLE: lambda content: None,
    "no pose phases": without_pose_phases,
    "no lips phase": without_audio_phase("lips"),
    "no face phase": without_audio_phase("face"),
    "no body phase": without_audio_phase("picture"),
    "no head partial attention": without_head_partial_attention,
    "no pose loss": without_loss("pose"),
    "no detail loss": without_loss("detail"),
    "no low-level loss": without_loss("low_level"),
}


def picture_size() -> int:
    """Side of all pictures: the bundle's own."""
    return read_bundle_info(BUNDLE).settings.width


def start_name(seed: int) -> str:
    return f"start-{seed}.safetensors"


def forget(seed: int) -> Networks:
    """The demo's networks with another audio attention and pose encoder, drawn at random."""
    networks = load_bundle(BUNDLE, kernels=False)
    config = networks.config
    torch.manual_seed(seed)
    size = WeightsConfig(
        "random", block_out_channels=config.block_out_channels, layers_per_block=config.layers_per_block,
        attention_heads=config.attention_heads, norm_num_groups=config.norm_num_groups,
    )  # fmt: skip
    fresh = new_networks(size, torch.float32, config.audio_dim)
    for known, drawn in zip(networks.denoiser.blocks(), fresh.denoiser.blocks()):
        known.attn2.load_state_dict(drawn.attn2.state_dict())
    return replace(networks, pose_encoder=fresh.pose_encoder)


def make_data(folder: Path) -> None:
    """Drawn clips with their latents; and the same with headshots that pass for whole pictures, padding and all."""
    data, whole = folder / "data", folder / "data-whole"
    if not (data / METADATA).is_file():
        write_dataset(data, CLIPS, picture_size(), round(FPS), DATA_SEED, HEADSHOTS)
    if not latents_are_there(folder):
        vae, encoder = load_bundle_vae(BUNDLE).to(torch.bfloat16), load_bundle_audio_encoder(BUNDLE)
        cache_latents(data, vae, encoder, encode=encode_within_a_talk)
    if not (whole / METADATA).is_file():
        shutil.copytree(data, whole, copy_function=os.link, ignore=shutil.ignore_patterns(METADATA), dirs_exist_ok=True)
        lines = [replace(record, headshot=False).to_json() for record in read_records(data)]
        write_text(whole / METADATA, "".join(f"{line}\n" for line in lines))


def configuration(variant: str, seed: int, steps: int) -> dict[str, Any]:
    """A run's, as a configuration file in its folder has it; the phases of pose and audio are the demo's."""
    demo = yaml.safe_load((CONFIGS / "stage1.yaml").read_text(encoding="utf-8"))
    content: dict[str, Any] = {
        "stage": "stage1",
        "data": "data",
        "output": run_name(variant, seed),
        "weights": {"path": start_name(seed)},
        "size": picture_size(),
        "steps": steps,
        "batch_size": 3,
        "gradient_checkpointing": False,
        "checkpoint_every": 80,
        "noise_offset": 0.0,
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 20, "ema_decay": 0.98},
        "seed": seed,
        "loss": {
            "snr_gamma": 0.0,
            "regions": demo["loss"]["regions"],
            "phases": {"pose": 0.02, "detail": 0.02, "low_level": 0.02},
            "low_level": "encoder",
            "crop": 32,
        },
        "phases": demo["phases"],
        "validation": {"every": 0},
    }  # fmt: skip
    VARIANTS[variant](content)
    return content


def run_name(variant: str, seed: int) -> str:
    return f"{variant.replace(' ', '-')}-{seed}"


def result(folder: Path, variant: str, seed: int, steps: int, people: int) -> dict[str, float]:
    """The measures of a run, which is trained if it has not been."""
    path = folder / f"{run_name(variant, seed)}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    bundle = folder / run_name(variant, seed) / "bundle.safetensors"
    if not bundle.is_file():
        train(config_from(configuration(variant, seed, steps), folder), device="cpu")
    networks = load_bundle(bundle)
    cases = [make_case(number, CASES_SEED, picture_size(), round(SECONDS * FPS), VOICES) for number in range(people)]
    rows = [
        measure(render(networks, case, STEPS, 1.0), case, cases[(number + 1) % people], number, CASES_SEED)
        for number, case in enumerate(cases)
    ]
    found = summary(rows)
    write_text(path, json.dumps(found))
    return found


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: the mean over seeds, and the mean and spread of the differences to the whole method, seed by seed."""
    lines = [f"| | {' | '.join(MEASURES.values())} |", "|---|" + "---|" * len(MEASURES)]
    for variant, rows in results.items():
        cells = []
        for name in MEASURES:
            values = np.array([row[name] for row in rows])
            cell = f"{values.mean():.3f}"
            whole = np.array([row[name] for row in results.get(WHOLE, [])])
            if variant != WHOLE and len(whole) == len(values):
                away = values - whole
                cell += f" ({away.mean():+.3f} ± {away.std():.3f})"
            cells.append(cell)
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"of: {', '.join(VARIANTS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--steps", type=int, default=160, help="of each run")
    parser.add_argument("--people", type=int, default=6, help="unseen ones that each run is measured on")
    options = parser.parse_args()
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown:
        parser.error(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder = options.folder.absolute()
    make_data(folder)
    results: dict[str, list[dict[str, float]]] = {}
    # Seed by seed, so that an interrupted run has a whole table of fewer seeds.
    for seed in range(options.seeds):
        if not (folder / start_name(seed)).is_file():
            save_bundle(folder / start_name(seed), forget(seed))
        for variant in options.variants or VARIANTS:
            found = result(folder, variant, seed, options.steps, options.people)
            results.setdefault(variant, []).append(found)
            print(f"{variant}, seed {seed}: { ({name: round(found[name], 3) for name in MEASURES}) }", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
