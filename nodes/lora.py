"""LoRA files for both UNets: core's own loader patches the denoising one only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.lora
import folder_paths
import torch
from comfy_api.latest import io

from ..echomimic.errors import WeightsError
from ..echomimic.files.state_dicts import name_some
from ..echomimic.weights.lora import DENOISER, REFERENCE, LowRank, read_lora
from ..echomimic.weights.lora_alpha import CONFIG_NAME
from . import folders, host, widgets

logger = logging.getLogger("echomimic")

TITLES = {DENOISER: "denoising UNet", REFERENCE: "reference UNet"}


def lora_files() -> list[str]:
    return folder_paths.get_filename_list("loras") or [widgets.NOTHING]


def lora_file(name: str) -> Path | None:
    """Where the LoRA is that a graph names; None where it is not there."""
    return folders.find_file(name, folder_paths.get_filename_list("loras"), "loras")


class EchoMimicLoadLora(io.ComfyNode):
    """A LoRA file on the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadLora",
            display_name="EchoMimic Load LoRA",
            category="EchoMimic/loaders",
            description="Puts a LoRA on the model: on the denoising UNet and, where the file has a part for it, on the "
            "reference UNet, which ComfyUI's own LoRA loader leaves out. Reports which parts of the file were used.",
            search_aliases=["lora", "load lora", "avatar", "adapter", "echomimic"],
            inputs=[
                host.EchoMimicModel.Input(
                    "model",
                    tooltip="From EchoMimic Load Model, EchoMimic Load Bundle or another EchoMimic Load LoRA.",
                ),
                io.Combo.Input(
                    "lora",
                    options=lora_files(),
                    tooltip="A file in models/loras, named as ComfyUI, kohya, diffusers or peft name its tensors.",
                ),
                widgets.factor("strength", 1.0, "How much of it is added, -10 to 10; 0 adds nothing.", -10.0, 10.0),
            ],
            outputs=[
                host.EchoMimicModel.Output(
                    display_name="model", tooltip="For EchoMimic Sampler, To MODEL and Conditioning."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="How many layers were changed, and what has no place in the networks.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **others: Any) -> Any:
        path = lora_file(lora or "")
        # Of peft's files, the strength stands beside them.
        return folders.file_state(path), folders.file_state(path and path.with_name(CONFIG_NAME))

    @classmethod
    def execute(cls, model: host.ManagedNetworks, lora: str, strength: float) -> io.NodeOutput:
        path = lora_file(lora)
        if path is None:
            raise WeightsError(
                f"the LoRA {lora} is not there: put LoRA files into {Path(folder_paths.models_dir, 'loras')}, then "
                "press R to refresh the list"
            )
        patched, report = with_lora(model, path, strength)
        return io.NodeOutput(patched, report)


def with_lora(model: host.ManagedNetworks, path: Path, strength: float) -> tuple[host.ManagedNetworks, str]:
    """The model with a LoRA on handles of its own, and what of the file was used.

    Raises:
        WeightsError: no LoRA for these networks, or one of another size.
    """
    found, unused = read_lora(path, model.networks)
    denoiser, reference_unet = model.denoiser.clone(), model.reference_unet.clone()
    denoiser.add_patches(core_patches(found, DENOISER, "diffusion_model."), strength)
    reference_unet.add_patches(core_patches(found, REFERENCE, ""), strength)
    counts = [f"{sum(network == name for network, _ in found)} layers of the {title}" for name, title in TITLES.items()]
    report = f"{path.name}: {' and '.join(counts)} changed"
    if unused:
        report += f"; {len(unused)} tensors have no place in the networks: {name_some(unused)}"
        logger.warning("%s", report)
    return replace(model, denoiser=denoiser, reference_unet=reference_unet), report


def core_patches(found: Mapping[tuple[str, str], LowRank], network: str, prefix: str) -> dict[str, Any]:
    """One network's adaptations as core's patches, by the weights' names below `prefix`."""
    tensors: dict[str, torch.Tensor] = {}
    keys: dict[str, str] = {}
    for (name, layer), low_rank in found.items():
        if name == network:
            keys[layer] = f"{prefix}{layer}.weight"
            tensors[f"{layer}.lora_down.weight"] = low_rank.down
            tensors[f"{layer}.lora_up.weight"] = low_rank.up
            tensors[f"{layer}.alpha"] = torch.tensor(low_rank.scale * low_rank.down.shape[0])
    return comfy.lora.load_lora(tensors, keys, log_missing=False)


NODES: list[type[io.ComfyNode]] = [EchoMimicLoadLora]
