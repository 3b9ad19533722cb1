"""Training inside ComfyUI: clips of a person, and a LoRA of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from PIL import Image

from ..echomimic.errors import Cancelled, EchoMimicError
from ..echomimic.files.fingerprint import hash_state, hash_weights
from ..echomimic.files.tensors import read_state_dict
from ..echomimic.models import MAX_WINDOW, DenoisingUNet, Networks, PoseEncoder, ReferenceUNet
from ..echomimic.pose import PoseSequence
from ..echomimic.pose.sources.cache import file_key, pictures_key
from ..echomimic.training.avatar import AvatarSettings, avatar_config
from ..echomimic.training.clip_files import frames_at_rate
from ..echomimic.training.clip_maker import make_clip_from_frames, write_data_folder
from ..echomimic.training.config import ValidationConfig
from ..echomimic.training.run_folder import RunFolder
from ..echomimic.training.train import train
from ..echomimic.vae import vae_from_state_dict
from . import folders, host, widgets
from .progress import says_when_stopped, show_text
from .values import pictures_of

EchoMimicClips = io.Custom("ECHOMIMIC_CLIPS")
LoraModel, LossMap = io.Custom("LORA_MODEL"), io.Custom("LOSS_MAP")


@dataclass(frozen=True)
class Clips:
    """What goes through an `ECHOMIMIC_CLIPS` socket: clips whose files lie in the pack's folder for training."""

    records: tuple[Any, ...]


def training_folder() -> Path:
    """Where clips and runs are kept."""
    return folders.user_folder() / "training"


class EchoMimicTrainingClips(io.ComfyNode):
    """Frames, poses and a voice to a training clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicTrainingClips",
            display_name="EchoMimic Training Clips",
            category="EchoMimic/training",
            description="Makes a training clip of a video's frames, their poses and their voice: cropped from head to "
            "waist and encoded. Chain several nodes to train on several videos.",
            search_aliases=["training data", "dataset", "lora", "avatar", "echomimic"],
            is_experimental=True,
            inputs=[
                io.MultiType.Input(
                    "video",
                    [io.Video, io.Image],
                    tooltip="A video (Load Video; read frame by frame, so it may be long), or its frames at the rate "
                    "of the poses.",
                ),
                host.EchoMimicPose.Input("pose", tooltip="This video's poses, from EchoMimic Extract Pose."),
                host.EchoMimicAudio.Input(
                    "speech", tooltip="The video's voice, from EchoMimic Encode Audio at the same rate."
                ),
                io.Vae.Input("vae", tooltip="A Stable Diffusion 1.5 VAE."),
                widgets.pixels(
                    "size", 512, "Side of the training pictures in pixels, a multiple of 8. 512 fits a card of 12 GB."
                ),
                EchoMimicClips.Input("clips", optional=True, tooltip="Clips of other videos of the same person."),
            ],
            outputs=[EchoMimicClips.Output(display_name="clips", tooltip="For EchoMimic Train Avatar.")],
        )

    @classmethod
    def execute(
        cls, video: Any, pose: PoseSequence, speech: Any, vae: Any, size: int, clips: Clips | None = None
    ) -> io.NodeOutput:
        encoder = hash_state(vae.get_sd())

        def encode(pictures: torch.Tensor) -> torch.Tensor:
            return vae.encode(pictures.permute(0, 2, 3, 1).float() / 255) * host.LATENT_SCALE

        def make(frames: Any, source: str) -> Any:
            # "clip 2": clips of earlier versions may have frames twice that the video has once.
            about = "clip 2", size, encoder, float(pose.fps), pose.canvas, min(len(pose), len(speech))
            facts = (source, *about, *map(digest, (pose.keypoints, pose.scores, speech.steps)))
            name = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
            return make_clip_from_frames(
                training_folder() / "clips", name, frames, pose, speech, encode, size, host.progress()
            )

        if not hasattr(video, "get_stream_source"):
            record = make(pictures_of(video), pictures_key(pictures_of(video)))
        else:
            with host.video_file(video) as (path, start, _):
                begin = round(start * pose.fps)
                record = make(frames_at_rate(path, pose.fps, begin), file_key(path, begin))
        return io.NodeOutput(Clips((*(clips.records if clips is not None else ()), record)))


def digest(numbers: Any) -> str:
    """A hash of an array's or a tensor's numbers."""
    return hashlib.sha256(torch.as_tensor(numbers).contiguous().cpu().numpy().data).hexdigest()


class EchoMimicTrainAvatar(io.ComfyNode):
    """Clips of a person to a LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicTrainAvatar",
            display_name="EchoMimic Train Avatar",
            category="EchoMimic/training",
            description="Trains a LoRA of the person in the clips. Save it with core's Save LoRA Weights. After a "
            "cancel the same graph resumes the run.",
            search_aliases=["train lora", "finetune", "avatar", "training", "echomimic"],
            is_experimental=True,
            inputs=[
                host.EchoMimicModel.Input(
                    "model", tooltip="The standard weights: from EchoMimic Load Model or EchoMimic Load Bundle."
                ),
                EchoMimicClips.Input("clips", tooltip="From EchoMimic Training Clips."),
                io.Vae.Input("vae", tooltip="The Stable Diffusion 1.5 VAE that encoded the clips."),
                io.Int.Input("steps", default=500, min=1, max=100_000, tooltip="Training steps, 1 to 100000."),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=256,
                    tooltip="Rank of the LoRA, 1 to 256: a higher rank learns more and makes a larger file.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-7,
                    max=1.0,
                    step=1e-6,
                    round=1e-7,
                    tooltip="Learning rate of the optimiser AdamW, 0.0000001 to 1.",
                ),
                io.Int.Input(
                    "frames",
                    default=12,
                    min=1,
                    max=MAX_WINDOW,
                    advanced=True,
                    tooltip=f"Frames of a window, 1 to {MAX_WINDOW}. 12 is the model's own; memory grows with it.",
                ),
                io.Int.Input(
                    "preview_every",
                    default=100,
                    min=0,
                    max=100_000,
                    advanced=True,
                    tooltip="Steps between previews: truth above, render below. 0: none.",
                ),
                widgets.seed("Seed of all random numbers of the run."),
            ],
            outputs=[
                LoraModel.Output(display_name="lora", tooltip="For core's Save LoRA Weights."),
                LossMap.Output(display_name="loss_map", tooltip="For core's Plot Loss Graph."),
                io.Int.Output(display_name="steps", tooltip="Training steps, for the file's name."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: host.ManagedNetworks,
        clips: Clips,
        vae: Any,
        steps: int,
        rank: int,
        learning_rate: float,
        frames: int,
        preview_every: int,
        seed: int,
    ) -> io.NodeOutput:
        if any(patcher.patches for patcher in model.patchers):
            raise EchoMimicError(
                "the model has a LoRA or other patches on it, which training would leave out: connect the model as "
                "EchoMimic Load Model gives it"
            )
        sizes = {record.size for record in clips.records}
        if len(sizes) > 1:
            raise EchoMimicError(f"the clips have pictures of {sorted(sizes)} pixels: give all of them one size")
        about = [record.to_json() for record in clips.records]
        # Before the weights are hashed: another branch's LoRA may lie on those that are shared.
        comfy.model_management.unload_all_models()
        given, weights = model.networks, hash_weights(model.networks.denoiser)
        others = hash_weights(given.reference_unet), hash_weights(given.pose_encoder), hash_state(vae.get_sd())
        precision = "float32" if model.precision.compute == torch.float32 else "bfloat16"
        # All that a run depends on: there is no field for an output, so a run that does not fit must not be found.
        facts = [about, weights, *others, steps, rank, learning_rate, frames, seed, precision]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        data = write_data_folder(training_folder() / f"data-{key}", clips.records)
        settings = AvatarSettings(
            size=sizes.pop(), frames=frames, steps=steps, rank=rank, learning_rate=learning_rate, seed=seed % 2**63
        )
        config = avatar_config(data, Path(weights), training_folder() / f"run-{key}", settings)
        config = replace(
            config,
            precision=precision,
            # Core's loader patches the denoising network only, so nothing else may be trained with it.
            lora=replace(config.lora, networks=("denoising_unet",)),
            validation=ValidationConfig(every=preview_every, clips=1, frames=frames),
        )
        device = "cpu" if comfy.model_management.get_torch_device().type == "cpu" else "auto"
        # ComfyUI runs nodes in inference mode, whose tensors have no gradients.
        with torch.inference_mode(False), torch.enable_grad():
            networks = plain_networks(model, vae, torch.float32 if config.precision == "float32" else torch.bfloat16)
            try:
                with says_when_stopped(cls.hidden.unique_id):
                    path = train(config, progress(cls.hidden.unique_id), device, networks)
            except Cancelled:
                comfy.model_management.throw_exception_if_processing_interrupted()
                raise
        losses = [line["total"] for line in RunFolder(Path(config.output)).read_log() if "total" in line]
        return io.NodeOutput(read_state_dict(path, plain=False), {"loss": losses}, steps)


def plain_networks(model: host.ManagedNetworks, vae: Any, dtype: torch.dtype) -> Any:
    """The engine's own networks with the model's weights, copied so that gradients can flow, and the VAE's."""
    given = model.networks
    config = given.config

    def filled(module: torch.nn.Module, source: torch.nn.Module) -> Any:
        state = {name: tensor.detach().to("cpu", dtype, copy=True) for name, tensor in source.state_dict().items()}
        module.load_state_dict(state, assign=True)
        return module

    return Networks(
        config,
        given.variant,
        filled(DenoisingUNet(config, device="meta", dtype=dtype), given.denoiser),
        filled(ReferenceUNet(config, device="meta", dtype=dtype), given.reference_unet),
        filled(PoseEncoder(config.block_out_channels[0], device="meta", dtype=dtype), given.pose_encoder),
        given.settings,
        vae=vae_from_state_dict({name: tensor.clone() for name, tensor in vae.get_sd().items()}, label="the VAE"),
    )


def progress(node_id: str | None) -> Any:
    """A callback for `train`: ComfyUI's progress bar with the last strip as preview, and in the node the loss; a cancel
    stops training."""
    bar: Any = None
    preview: Any = None

    def on_step(report: Any) -> bool:
        nonlocal bar, preview
        # Before the bar, which raises on a cancel: the engine is to write its checkpoint first.
        if comfy.model_management.processing_interrupted():
            return False
        bar = bar or comfy.utils.ProgressBar(report.steps)
        if report.strip is not None:
            preview = strip_preview(report.strip)
        show_text(f"step {report.step + 1} of {report.steps}, loss {report.losses['total']:.4f}", node_id)
        bar.update_absolute(report.step + 1, report.steps, preview)
        return True

    return on_step


def strip_preview(path: Path) -> tuple[str, Any, int]:
    """A picture as ComfyUI's bar takes it."""
    return "JPEG", Image.open(path).convert("RGB"), 1024


NODES: list[type[io.ComfyNode]] = [EchoMimicTrainingClips, EchoMimicTrainAvatar]
