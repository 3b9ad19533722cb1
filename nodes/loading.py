"""Loading weights: published files, one-file bundles, the audio encoder."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import comfy.sd
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..echomimic.audio import load_audio_encoder
from ..echomimic.errors import WeightsError
from ..echomimic.models import VARIANTS
from ..echomimic.weights import (
    WeightFiles,
    load_bundle,
    load_bundle_audio_encoder,
    load_weights,
    read_bundle_info,
)
from ..echomimic.weights.bundle import AUDIO_PART, VAE_PART, read_bundle_part
from . import folders, host, widgets
from .audio import SpeechEncoder

logger = logging.getLogger("echomimic")

CATEGORY = "EchoMimic/loaders"
SOURCE = "https://huggingface.co/BadToBest/EchoMimicV2"
AUDIO_SOURCE = f"{SOURCE}/resolve/main/audio_processor/tiny.pt"
VAE_SOURCE = (
    "https://huggingface.co/stabilityai/sd-vae-ft-mse-original/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors"
)
INSIDE = "(inside denoising_unet)"
AUTOMATIC = "auto"
DEMO_BUNDLE = folders.ASSETS / "demo_bundle.safetensors"
ROLES = ("denoising_unet", "motion_module", "reference_unet", "pose_encoder")
# What to get first, in the order of the roles.
PUBLISHED = ("denoising_unet_acc.pth", "motion_module_acc.pth", "reference_unet.pth", "pose_encoder.pth")


def fitting(role: str) -> list[str]:
    """The model files named for the role, the accelerated ones first: they need a tenth of the work, and the defaults
    of two lists then belong together."""
    named = (name for name in folders.model_files() if Path(name).stem.startswith(role))
    return sorted(named, key=lambda name: "_acc" not in Path(name).stem)


class FileList(list[str]):
    """A list of files that core takes to hold any name, so that one message of `weight_files` names all files that a
    graph misses, instead of one message of core's for each widget."""

    def __contains__(self, name: object) -> bool:
        return True


def choices(role: str) -> FileList:
    """All model files, those named for the role first."""
    first = fitting(role)
    return FileList(first + [name for name in folders.model_files() if name not in first] or [widgets.NOTHING])


def bundles() -> dict[str, Path]:
    """Files that may be bundles, by name: the user's `.safetensors` that are not named as a published part, and the
    demo that ships here."""
    own = (name for name in folders.model_files() if name.endswith(".safetensors"))
    found = {
        name: folders.model_path(name)
        for name in own
        if not Path(name).stem.startswith((*ROLES, "whisper", "tiny", "model", "diffusion_pytorch_model"))
    }
    return {**found, DEMO_BUNDLE.name: DEMO_BUNDLE}


def is_whisper(name: str) -> bool:
    """Whether a file is named as Whisper, OpenAI's way or the published folder's."""
    return "whisper" in name.lower() or PureWindowsPath(name).stem == "tiny"


def audio_encoders() -> dict[str, str]:
    """Whisper files by name, with the folder key they are listed under; ComfyUI's own folder comes first."""
    fitting = filter(is_whisper, folders.model_files())
    return {
        **dict.fromkeys(fitting, folders.FOLDER),
        **dict.fromkeys(folder_paths.get_filename_list("audio_encoders"), "audio_encoders"),
    }


def weight_files(*names: str) -> WeightFiles:
    """The chosen files' paths, in the order of the roles.

    Raises:
        WeightsError: some are not there; says which, where they are from and where they go, and whether an audio
            encoder and a VAE are still to come as well.
    """
    paths = [weight_file(name) for name in names]
    lost = [
        published if name == widgets.NOTHING else name
        for name, path, published in zip(names, paths, PUBLISHED)
        if path is None and name != INSIDE
    ]
    if lost:
        whisper = "" if audio_encoders() else f", {AUDIO_SOURCE} into {folders.own_folder()}/audio_processor"
        vae = "" if has_vae() else f", {VAE_SOURCE} into {Path(folder_paths.models_dir, 'vae')}"
        raise WeightsError(
            f"model files are missing: download {', '.join(lost)} from {SOURCE} into {folders.own_folder()}{whisper}"
            f"{vae}, then press R to refresh the lists"
        )
    return WeightFiles(*paths)  # type: ignore[arg-type]


def weight_file(name: str) -> Path | None:
    """Where the file is that a graph names; None where it is not there."""
    return folders.find_file(name, folders.model_files(), folders.FOLDER)


def has_vae() -> bool:
    """Whether there is a file that may be a VAE, or hold one."""
    return any(folder_paths.get_filename_list(folder) for folder in ("vae", "checkpoints"))


class EchoMimicLoadModel(io.ComfyNode):
    """The four published files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadModel",
            display_name="EchoMimic Load Model",
            category=CATEGORY,
            description="Loads EchoMimicV2's published weights from models/echomimic. Files of one variant belong "
            "together: standard (30 steps, best quality) or accelerated (_acc files, 6 steps).",
            search_aliases=["echomimic", "echo mimic", "talking head", "lip sync", "avatar", "echomimicv2 loader"],
            inputs=[
                io.Combo.Input(
                    "denoising_unet",
                    options=choices("denoising_unet"),
                    tooltip="The main network: denoising_unet.pth (standard) or denoising_unet_acc.pth (accelerated), "
                    "1.7 to 3.4 GB.",
                ),
                io.Combo.Input(
                    "motion_module",
                    options=FileList([*choices("motion_module"), INSIDE]),
                    tooltip="What makes frames belong together; of the same variant as the denoising UNet. Choose "
                    f"'{INSIDE}' for files that hold both.",
                ),
                io.Combo.Input(
                    "reference_unet",
                    options=choices("reference_unet"),
                    tooltip="Describes the portrait: reference_unet.pth, the same file for both variants.",
                ),
                io.Combo.Input(
                    "pose_encoder",
                    options=choices("pose_encoder"),
                    tooltip="Reads the hand poses: pose_encoder.pth, the same file for both variants.",
                ),
                io.Combo.Input(
                    "variant",
                    options=[AUTOMATIC, *VARIANTS],
                    default=AUTOMATIC,
                    advanced=True,
                    tooltip="Sets the recommended steps and guidance. Auto goes by the file names; choose one if you "
                    "renamed the files.",
                ),
            ],
            outputs=[
                host.EchoMimicModel.Output(
                    display_name="model", tooltip="The networks, under ComfyUI's memory management."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, denoising_unet: str | None) -> bool | str:
        # ComfyUI repeats this sentence for each input that is named in the signature: one is. The other files are
        # searched under the names that belong to it, since their choices are not known here.
        if denoising_unet is None or weight_file(denoising_unet) is not None:
            return True  # linked: known when it runs; or there
        motion = PUBLISHED[1] if denoising_unet == widgets.NOTHING or "_acc" in denoising_unet else "motion_module.pth"
        others = [(fitting(role) or [published])[0] for role, published in zip(ROLES[2:], PUBLISHED[2:])]
        try:
            weight_files(denoising_unet, motion, *others)
        except WeightsError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, denoising_unet: str, motion_module: str, reference_unet: str, pose_encoder: str, variant: Any
    ) -> io.NodeOutput:
        files = weight_files(denoising_unet, motion_module, reference_unet, pose_encoder)
        wanted = None if variant == AUTOMATIC else variant
        load = partial(load_weights, files, wanted, with_audio_encoder=False, with_vae=False)
        return io.NodeOutput(host.ManagedNetworks.load(load))


class EchoMimicLoadBundle(io.ComfyNode):
    """One file with everything."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadBundle",
            display_name="EchoMimic Load Bundle",
            category=CATEGORY,
            description="Loads a bundle: one .safetensors with all networks of a variant (made with "
            "'python -m echomimic bundle'). The small demo bundle ships with this pack.",
            search_aliases=["echomimic", "all in one", "checkpoint", "safetensors", "demo"],
            inputs=[
                io.Combo.Input(
                    "bundle",
                    options=list(bundles()),
                    tooltip="A bundle in models/echomimic, or the demo that ships here.",
                )
            ],
            outputs=[
                host.EchoMimicModel.Output(
                    display_name="model", tooltip="The networks, under ComfyUI's memory management."
                ),
                io.AudioEncoder.Output(
                    display_name="audio_encoder", tooltip="The bundle's Whisper, if it was made with one."
                ),
                io.Vae.Output(display_name="vae", tooltip="The bundle's VAE, if it was made with one."),
            ],
        )

    @classmethod
    def validate_inputs(cls, bundle: str | None) -> bool | str:
        try:
            return bundle is None or bool(bundle_file(bundle))  # None: linked
        except WeightsError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, bundle: str | None = None) -> Any:
        return folders.file_state(find_bundle(bundle or ""))

    @classmethod
    def execute(cls, bundle: str) -> io.NodeOutput:
        path = bundle_file(bundle)
        parts = read_bundle_info(path).parts
        load = partial(load_bundle, path, with_audio_encoder=False, with_vae=False)
        encoder = (
            SpeechEncoder(load_bundle_audio_encoder(path)) if AUDIO_PART in parts else blocked(bundle, "audio encoder")
        )
        vae = bundle_vae(path) if VAE_PART in parts else blocked(bundle, "VAE")
        return io.NodeOutput(host.ManagedNetworks.load(load), encoder, vae)


def find_bundle(name: str) -> Path | None:
    """Where the bundle is that a graph names; None where it is not there."""
    listed = folders.find_listed(name, found := bundles())
    return None if listed is None else found[listed]


def bundle_file(name: str) -> Path:
    """Where the bundle is that a graph names.

    Raises:
        WeightsError: it is not there.
    """
    path = find_bundle(name)
    if path is None:
        raise WeightsError(
            f"the bundle {name} is not there: put it into {folders.own_folder()} (made with 'python -m echomimic "
            "bundle'), or use EchoMimic Load Model with the published files"
        )
    return path


def blocked(bundle: str, part: str) -> ExecutionBlocker:
    """Blocks only the nodes that need the part that the bundle lacks."""
    node = "EchoMimic Load Audio Encoder" if part == "audio encoder" else "Load VAE"
    return ExecutionBlocker(f"{bundle} was made without {part}: take it from the node '{node}'")


def bundle_vae(path: Path) -> comfy.sd.VAE:
    """The bundle's VAE as ComfyUI's. Its size is given, since ComfyUI knows the published size only."""
    config = read_bundle_info(path).vae_config or {}
    widths = config.get("block_out_channels", (128, 256, 512, 512))
    sizes = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": config.get("layers_per_block", 2),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    vae = comfy.sd.VAE(sd=read_bundle_part(path, VAE_PART), config={"params": {"embed_dim": 4, "ddconfig": sizes}})
    # ComfyUI builds every norm with 32 groups. Norms have the same weights for any number of groups.
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = config.get("norm_num_groups", 32)
    return vae


class EchoMimicLoadAudioEncoder(io.ComfyNode):
    """Whisper tiny."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadAudioEncoder",
            display_name="EchoMimic Load Audio Encoder",
            category=CATEGORY,
            description="Loads Whisper tiny, which encodes the voice: OpenAI's tiny.pt or openai/whisper-tiny, from "
            "models/audio_encoders or models/echomimic.",
            search_aliases=["whisper", "tiny.pt", "speech encoder", "audio processor", "echomimic"],
            inputs=[
                io.Combo.Input(
                    "audio_encoder",
                    options=FileList(audio_encoders() or [widgets.NOTHING]),
                    tooltip="Whisper tiny (72 MB), in models/audio_encoders or models/echomimic.",
                )
            ],
            outputs=[
                io.AudioEncoder.Output(
                    display_name="audio_encoder", tooltip="Also for ComfyUI's own AudioEncoderEncode."
                )
            ],
        )

    @classmethod
    def execute(cls, audio_encoder: str) -> io.NodeOutput:
        listed = find_audio_encoder(audio_encoder)
        if listed is None:
            raise WeightsError(
                f"the audio encoder is missing: download {AUDIO_SOURCE} into {folders.own_folder()}/audio_processor "
                "(or model.safetensors of openai/whisper-tiny into models/audio_encoders), then press R to refresh the "
                "list"
            )
        return io.NodeOutput(SpeechEncoder(load_audio_encoder(folders.model_path(*listed))))


def find_audio_encoder(name: str) -> tuple[str, str] | None:
    """The file that a graph names, and its folder key: that file, or the only one that is named as Whisper."""
    encoders = audio_encoders()
    listed = folders.find_listed(name, encoders)
    if listed is None:
        named = [one for one in encoders if is_whisper(one)]
        if len(named) != 1:
            return None
        listed = named[0]
        logger.info("%s is not listed: %s is taken", name, listed)
    return listed, encoders[listed]


NODES: list[type[io.ComfyNode]] = [EchoMimicLoadModel, EchoMimicLoadBundle, EchoMimicLoadAudioEncoder]
