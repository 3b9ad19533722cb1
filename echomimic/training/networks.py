"""The networks that a run trains: where they start from, which of their parameters learn, and LoRA layers."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..audio import load_audio_encoder
from ..errors import TrainingError, WeightsError
from ..files.fingerprint import hash_weights
from ..files.state_dicts import name_some
from ..files.tensors import read_state_dict
from ..models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig, scaled_dot_product_attention
from ..models.networks import RECOMMENDED_SETTINGS, Networks, Variant
from ..vae import load_vae
from ..weights import find_weights, load_bundle, load_weights, read_bundle_info
from ..weights.identify import infer_config, is_motion
from ..weights.lora import LowRank
from ..weights.published import find_audio_encoder, find_vae, search_places
from .config import TrainingConfig, WeightsConfig
from .packages import missing_package

logger = logging.getLogger("echomimic")

# Which parameters a stage trains, as patterns over `NETWORK.PARAMETER`; a later "!" takes away. Stage 1 learns single
# pictures, stage 2 leaves the pictures as they are and learns time and the voice (EchoMimic V1's paper; V2's does not
# say).
TRAINED: dict[str, tuple[str, ...]] = {
    "stage1": ("denoising_unet.*", "!*.motion_modules.*", "reference_unet.*", "pose_encoder.*"),
    "stage2": ("denoising_unet.*.motion_modules.*", "denoising_unet.*.attn2.*", "denoising_unet.*.norm2.*"),
    "lora": ("*.lora_A.*", "*.lora_B.*"),
    "distill": ("denoising_unet.*",),
}
# The attention projections that LoRA layers stand beside: spatial, audio and temporal.
LORA_LAYERS = r".*\.(to_q|to_k|to_v|to_out\.0)"


def attention_for_training(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """`scaled_dot_product_attention`, on a CPU in float32 whatever the precision.

    torch's attention for CPUs takes 2 to 6 times as long in bfloat16, most of it in the backward pass (torch 2.13,
    heads of 16 channels, 50 to 1152 keys).
    """
    if query.device.type != "cpu":
        return scaled_dot_product_attention(query, key, value, heads)
    return scaled_dot_product_attention(query.float(), key.float(), value.float(), heads).to(query.dtype)


class TrainedNetworks(nn.Module):
    """The three networks as one module, so that one call does all that gradients go through."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.denoising_unet = networks.denoiser
        self.reference_unet = networks.reference_unet
        self.pose_encoder = networks.pose_encoder

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        *,
        reference: Tensor,
        audio: Tensor,
        pose: Tensor,
        audio_mask: Tensor | None,
        conditioned: list[bool],
        posed: list[bool],
        dtype: torch.dtype,
    ) -> Tensor:
        """Velocity of noisy latents.

        Args:
            noisy: `[B, 4, F, h, w]`.
            timesteps: `[B]`.
            reference: latents of the reference pictures, `[B, 4, h, w]`.
            audio: tokens `[B, F, N, A]`.
            pose: pictures `[B, 3, F, H, W]` in 0..1.
            audio_mask: `[B, F, h, w]`; None: 1 everywhere.
            conditioned, posed: of each row, see `RowConditions`.
            dtype: to compute in.

        Returns:
            `[B, 4, F, h, w]` float32.
        """
        rows = [row for row, flag in enumerate(conditioned) if flag]
        conditions: dict[str, Any] = {}
        if rows:
            features = self.pose_encoder(pose[rows].to(dtype))
            shown = torch.tensor([posed[row] for row in rows], device=features.device, dtype=features.dtype)
            conditions = {
                "audio": audio[rows].to(dtype),
                "pose": features * shown.view(-1, 1, 1, 1, 1),
                "reference": self.reference_unet(reference[rows].to(dtype)),
            }
        mask = None if audio_mask is None else audio_mask.to(dtype)
        # On a CPU, torch 2.13's GroupNorm crashes in the backward pass where its channels-last input needs no gradient
        # and its weight needs one, as in stage 2's first motion module: so the input gets one.
        noisy = noisy.detach().to(dtype).requires_grad_(torch.is_grad_enabled())
        velocity = self.denoising_unet.predict(noisy, timesteps, **conditions, audio_mask=mask, conditioned=conditioned)
        return velocity.float()


def start_networks(config: TrainingConfig, dtype: torch.dtype) -> Networks:
    """The networks that a run starts from, with VAE and audio encoder, on the CPU.

    Args:
        dtype: of the weights of the networks; the trained ones become float32 later.

    Raises:
        TrainingError, WeightsError: files are missing or of another kind.
    """
    weights = config.weights
    if weights.start == "published":
        networks = load_published(weights, dtype)
        if weights.vae:
            networks = replace(networks, vae=load_vae(weights.vae))
        if weights.audio_encoder:
            networks = replace(networks, audio_encoder=load_audio_encoder(weights.audio_encoder))
    else:
        vae, audio_encoder = companions(weights)
        torch.manual_seed(config.seed)
        audio_dim = UNetConfig().audio_dim if audio_encoder is None else audio_encoder.config.d_model
        networks = replace(new_networks(weights, dtype, audio_dim), vae=vae, audio_encoder=audio_encoder)
    if networks.vae is None:
        raise TrainingError("training needs a VAE: give weights.vae, or weights.path with one")
    if weights.audio_context >= 0:
        networks = networks.with_audio_context(weights.audio_context)
    return networks


def weights_digests(networks: Networks) -> dict[str, str]:
    """Hashes of the weights that a run starts from, by the names that messages give them."""
    parts = {
        "denoising UNet": networks.denoiser,
        "reference UNet": networks.reference_unet,
        "pose encoder": networks.pose_encoder,
        "VAE": networks.vae,
        "audio encoder": networks.audio_encoder,  # None is well where the clips' features are cached
    }
    return {name: hash_weights(module) for name, module in parts.items() if module is not None}


def load_published(weights: WeightsConfig, dtype: torch.dtype | None) -> Networks:
    """A folder or bundle of ours."""
    path = Path(weights.path)
    if path.is_file():
        stored = read_bundle_info(path).variant
        if weights.variant not in ("", stored):
            raise TrainingError(f"weights.variant is {weights.variant}, but the bundle {path} is {stored}")
        return load_bundle(path, dtype=dtype, kernels=False, attention=attention_for_training)
    # The standard weights are the better start, as the velocity loss undoes a distillation; a folder without either is
    # to be completed with them.
    only_accelerated = holds(path, "accelerated") and not holds(path, "standard")
    variant: Any = weights.variant or ("accelerated" if only_accelerated else "standard")
    # Clips with cached features need no audio encoder; of others `TrainingClips.check` says so.
    with_audio_encoder = not weights.audio_encoder and find_weights(path, variant).audio_encoder is not None
    return load_weights(
        path,
        variant,
        dtype=dtype,
        kernels=False,
        attention=attention_for_training,
        with_vae=not weights.vae,
        with_audio_encoder=with_audio_encoder,
    )


def holds(folder: Path, variant: Variant) -> bool:
    """Whether a folder has the networks of a variant."""
    try:
        find_weights(folder, variant)
    except WeightsError:
        return False
    return True


def new_networks(weights: WeightsConfig, dtype: torch.dtype, audio_dim: int) -> Networks:
    """Networks drawn at random, or with Stable Diffusion's and AnimateDiff's tensors where they have a place.

    Args:
        weights: where they start.
        dtype: of their parameters.
        audio_dim: width of the audio encoder's features.
    """
    tensors: dict[str, Tensor] = {}
    if weights.start == "sd15":
        tensors = read_state_dict(weights.sd15_unet)
        config = infer_config({name: tuple(t.shape) for name, t in tensors.items()}, weights.sd15_unet)
        config = replace(config, audio_dim=audio_dim)
        motion = {name: t for name, t in read_state_dict(weights.motion_module).items() if is_motion(name)}
        if not motion:
            raise TrainingError(
                f"{weights.motion_module} holds no weights of a motion module: give AnimateDiff's, such as "
                "mm_sd_v15_v2.ckpt"
            )
    else:
        motion = {}
        config = UNetConfig(
            weights.block_out_channels, weights.layers_per_block, weights.attention_heads, weights.norm_num_groups,
            audio_dim,
        )  # fmt: skip
    denoiser = DenoisingUNet(config, attention=attention_for_training)
    reference = ReferenceUNet(config, attention=attention_for_training)
    pose_encoder = PoseEncoder(config.block_out_channels[0])
    # Paths that start as nothing: the pose's last layer (as published), and the motion modules', as AnimateDiff has it.
    zero = [pose_encoder.conv_out]
    zero += [module for name, module in denoiser.named_modules() if name.endswith("temporal_transformer.proj_out")]
    for layer in zero:
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if tensors:
        fill_from(denoiser, {**tensors, **motion}, ".attn2.to_", f"{weights.sd15_unet} and {weights.motion_module}")
        fill_from(reference, tensors, "", weights.sd15_unet)
    return Networks(
        config,
        "standard",
        denoiser.to(dtype),
        reference.to(dtype),
        pose_encoder.to(dtype),
        RECOMMENDED_SETTINGS["standard"],
    )


def fill_from(module: nn.Module, tensors: Mapping[str, Tensor], excused: str, label: str) -> None:
    """Copy the tensors that a module has by name; those of other shapes stay random where the name holds `excused`.

    Raises:
        TrainingError: another tensor is missing or misshaped.
    """
    state, drawn = module.state_dict(), []
    for name, own in state.items():
        given = tensors.get(name)
        if given is not None and given.numel() == own.numel() and not name.endswith(".pe"):
            own.copy_(given.reshape(own.shape))  # projections are linear layers there, 1x1 convolutions here
        elif not name.endswith(".pe"):
            drawn.append(name)
    unexcused = [name for name in drawn if not excused or excused not in name]
    if unexcused:
        raise TrainingError(f"{label}: {len(unexcused)} tensors are missing or misshaped: {name_some(unexcused)}")
    if drawn:
        logger.info("%d tensors start at random, the audio's projections: %s", len(drawn), name_some(drawn))


def companions(weights: WeightsConfig) -> tuple[Any, Any]:
    """The VAE and the audio encoder that new networks are trained with, each None where none is named or there."""
    path = Path(weights.path)
    vae: Any = weights.vae
    audio_encoder: Any = weights.audio_encoder
    if weights.path and path.is_file():
        bundle = load_bundle(path, kernels=False)
        vae = load_vae(vae) if vae else bundle.vae
        return vae, load_audio_encoder(audio_encoder) if audio_encoder else bundle.audio_encoder
    if weights.path:
        places = search_places(path)
        vae, audio_encoder = vae or find_vae(places), audio_encoder or find_audio_encoder(places)
    return load_vae(vae) if vae else None, load_audio_encoder(audio_encoder) if audio_encoder else None


def add_lora(networks: Networks, config: TrainingConfig) -> None:
    """Put LoRA layers beside the attention projections, in place; their output starts at zero.

    Raises:
        MissingPackageError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # optional
    except ImportError as error:
        raise missing_package("peft", "LoRA training") from error
    settings = config.lora
    layers = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=LORA_LAYERS)  # type: ignore[arg-type]
    torch.manual_seed(config.seed)
    targets = {"denoising_unet": networks.denoiser, "reference_unet": networks.reference_unet}
    for name in settings.networks:
        inject_adapter_in_model(layers, targets[name])


def lora_layers(model: TrainedNetworks, scale: float) -> dict[tuple[str, str], LowRank]:
    """The LoRA layers by network and layer name, as `save_lora` takes them."""
    state = {
        name: p.detach().float().cpu()
        for name, p in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }
    found = {}
    for name, down in state.items():
        if ".lora_A." in name:
            network, layer = name.split(".lora_A.")[0].split(".", 1)
            found[network, layer] = LowRank(down, state[name.replace(".lora_A.", ".lora_B.")], scale)
    return found


def mark_trained(model: TrainedNetworks, stage: str) -> list[str]:
    """Let exactly the stage's parameters learn; returns their names.

    The reference UNet is run for the tokens before each attention only, so what follows its last block's first norm
    has no effect and is never trained.
    """
    patterns = TRAINED[stage]
    idle = unused_reference_parameters(model.reference_unet)
    trained = []
    for name, parameter in model.named_parameters():
        chosen = False
        for pattern in patterns:
            if fnmatch.fnmatchcase(name, pattern.lstrip("!")):
                chosen = not pattern.startswith("!")
        chosen = chosen and name not in idle
        parameter.requires_grad_(chosen)
        if chosen:
            parameter.data = parameter.data.float()
            trained.append(name)
    return trained


def unused_reference_parameters(reference: nn.Module) -> set[str]:
    """Names, with `reference_unet.` before them, of parameters that the reference's tokens do not depend on."""
    attending = [
        name for name, _ in reference.named_modules() if re.fullmatch(r"up_blocks\.\d+\.attentions\.\d+", name)
    ]
    last = max(attending, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    after = re.compile(rf"{re.escape(last)}\.(proj_out|transformer_blocks\.0\.(attn1|norm3|ff))\.")
    return {f"reference_unet.{name}" for name, _ in reference.named_parameters() if after.match(name)}


class WithoutMotion:
    """Takes the motion modules out of a denoising UNet, for stage 1's single pictures, and puts them back."""

    def __init__(self, denoiser: nn.Module) -> None:
        stages = [stage for stage in denoiser.modules() if hasattr(stage, "motion_modules")]
        self.places = [(stage, stage.motion_modules) for stage in stages]

    def take_out(self) -> None:
        for stage, _ in self.places:
            stage.motion_modules = nn.ModuleList()

    def put_back(self) -> None:
        for stage, modules in self.places:
            stage.motion_modules = modules
