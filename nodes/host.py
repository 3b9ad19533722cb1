"""What the nodes use of ComfyUI: sockets, where and in which precision to compute, memory, progress, cancel.

Nothing here computes; the engine gets what it needs of the host through arguments.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import comfy.cli_args
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io

from ..echomimic import kernels
from ..echomimic.cancellation import cancellable, check_cancelled, run_cancellable
from ..echomimic.kernels.layers import with_kernels
from ..echomimic.models import Networks, UNetConfig
from ..echomimic.runtime.memory import decode_bytes, window_bytes
from ..echomimic.runtime.plan import plan_decoding
from .native.denoiser import NativeDenoisingUNet
from .native.model import EchoMimicBaseModel

# Sockets of this pack.
EchoMimicModel = io.Custom("ECHOMIMIC_MODEL")
EchoMimicAudio = io.Custom("ECHOMIMIC_AUDIO")
EchoMimicPose = io.Custom("ECHOMIMIC_POSE")

# Of the published networks together; decides what fits into a graphics card.
PARAMETERS = 2_120_000_000
# Latents inside the engine are scaled, those between nodes are not.
LATENT_SCALE = comfy.latent_formats.SD15().scale_factor


@dataclass(frozen=True)
class Precision:
    """The dtypes that ComfyUI's flags and the device call for."""

    weights: torch.dtype
    compute: torch.dtype

    @classmethod
    def chosen(cls) -> Precision:
        device = comfy.model_management.get_torch_device()
        weights = comfy.model_management.unet_dtype(device, model_params=PARAMETERS)
        return cls(weights, comfy.model_management.unet_manual_cast(weights, device) or weights)


def placement(precision: Precision) -> dict[str, Any]:
    """What the engine's loaders build networks with, so that ComfyUI can move and patch them."""
    manual_cast = None if precision.compute == precision.weights else precision.compute
    operations = comfy.ops.pick_operations(precision.weights, manual_cast)
    if comfy.model_management.get_torch_device().type == "cpu" and kernels.enabled():
        operations = with_kernels(operations)
    return {
        "operations": operations,
        "attention": optimized_attention,
        "device": comfy.model_management.unet_offload_device(),
        "dtype": precision.weights,
    }


def patcher(module: torch.nn.Module, kind: Any = None) -> Any:
    """ComfyUI's handle on a network, through which it loads, offloads and frees it."""
    comfy.model_management.archive_model_dtypes(module)
    # The class is looked up when it is used: ComfyUI's main.py puts another in its place.
    return (kind or comfy.model_patcher.CoreModelPatcher)(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


@dataclass(frozen=True)
class ManagedNetworks:
    """What goes through an `ECHOMIMIC_MODEL` socket: the networks, and ComfyUI's handles on them.

    Attributes:
        networks: the engine's; their denoiser is the network inside the handle `denoiser`.
        precision: of the weights and of the activations.
        denoiser: the handle on core's `BaseModel`, which EchoMimic To MODEL gives to core's samplers; with other nodes'
            patches (LoRA) after EchoMimic From MODEL.
        reference_unet, pose_encoder: the handles on these two; EchoMimic Load LoRA patches the first.
    """

    networks: Networks
    precision: Precision
    denoiser: Any
    reference_unet: Any
    pose_encoder: Any

    @classmethod
    def load(cls, load: Callable[..., Networks], kind: Any = None) -> ManagedNetworks:
        """Build the networks and their handles.

        Args:
            load: an engine loader that takes `operations`, `attention`, `device`, `dtype` and `denoiser_class`.
            kind: class of the handle on the denoising UNet, ComfyUI's usual one unless given.
        """
        precision = Precision.chosen()
        networks = load(**placement(precision), denoiser_class=NativeDenoisingUNet)
        model = EchoMimicBaseModel(networks.denoiser, precision.weights, precision.compute)  # type: ignore[arg-type]
        managed = cls(
            networks, precision, patcher(model, kind), patcher(networks.reference_unet), patcher(networks.pose_encoder)
        )
        model.managed = managed
        # Core makes a second, plainly loaded copy with this for training and for torch.compile under dynamic VRAM.
        managed.denoiser.cached_patcher_init = (load_denoiser, (load,))
        return managed

    @property
    def config(self) -> UNetConfig:
        return self.networks.config

    @property
    def patchers(self) -> list[Any]:
        return [self.denoiser, self.reference_unet, self.pose_encoder]

    def with_denoiser(self, denoiser: Any) -> ManagedNetworks:
        """The same networks with another handle on the denoising UNet."""
        networks = replace(self.networks, denoiser=denoiser.model.diffusion_model)
        return replace(self, networks=networks, denoiser=denoiser)

    def to_device(self, activation_bytes: int) -> torch.device:
        """Let ComfyUI load the networks together, with this much memory free for activations."""
        comfy.model_management.load_models_gpu(self.patchers, memory_required=activation_bytes)
        return self.denoiser.load_device

    def encode_reference(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """The portrait's scaled latents `[1, 4, h, w]` as the reference UNet's tokens, on the host."""
        height, width = latents.shape[-2:]
        room = window_bytes(self.config, 1, height, width, self.precision.compute.itemsize)
        comfy.model_management.load_models_gpu([self.reference_unet], memory_required=room)
        device, dtype = self.reference_unet.load_device, self.precision.compute

        def encode() -> dict[str, torch.Tensor]:
            with check_in_networks(self.networks.reference_unet):
                return self.networks.reference_unet(latents.to(device, dtype))

        # On a CPU one attention of a large picture takes seconds, during which nothing checks for a cancel.
        with stops_on_cancel():
            tokens = compute_cancellable(encode) if device.type == "cpu" else encode()
        return {name: value.cpu() for name, value in tokens.items()}


def load_denoiser(load: Callable[..., Networks], disable_dynamic: bool = False) -> Any:
    """A handle on the denoising UNet loaded once more; without dynamic VRAM where core wants that."""
    return ManagedNetworks.load(load, comfy.model_patcher.ModelPatcher if disable_dynamic else None).denoiser


def free_bytes(device: torch.device, patchers: list[Any]) -> int | None:
    """Memory that ComfyUI will have left on the device when these networks are there; None where it is not limited.

    With dynamic VRAM their weights are paged in while they are used: what is still to come is counted as taken.
    """
    if device.type != "cuda":
        return None
    missing = sum(max(0, patcher.model_size() - patcher.loaded_size()) for patcher in patchers)
    return max(0, comfy.model_management.get_free_memory(device) - missing)


def frames_to_decode(vae: Any, height: int, width: int) -> int:
    """How many frames of this size, in latents, to give to ComfyUI's VAE at once, by the memory that its weights leave.

    ComfyUI may still split them, by an estimate of its own.
    """
    if not hasattr(vae, "patcher"):
        return plan_decoding(None, height, width, 4)  # another pack's decoder, which manages its memory itself
    element = vae.vae_dtype.itemsize
    # What the sampler has left on the device makes room for one frame before the memory is measured.
    room = decode_bytes(height, width, element)
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=room)
    return plan_decoding(free_bytes(vae.patcher.load_device, [vae.patcher]), height, width, element)


def free_device() -> None:
    """Empty the device after an out-of-memory, as ComfyUI does after its own, so that smaller settings can run."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


def progress() -> Callable[[int, int], None]:
    """A progress bar; called with how much is done and how much there is, raises when the user has pressed cancel."""
    bar: Any = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar = bar or comfy.utils.ProgressBar(total)
        bar.update_absolute(done, total)

    return report


def stops_on_cancel() -> AbstractContextManager[None]:
    """While the block runs, the engine's loops stop when the user presses cancel."""
    return cancellable(comfy.model_management.throw_exception_if_processing_interrupted)


@contextmanager
def networks_stop_on_cancel(*networks: torch.nn.Module) -> Iterator[None]:
    """As `stops_on_cancel`, and the networks check before each of their modules: a window takes minutes on a CPU."""
    with stops_on_cancel(), check_in_networks(*networks):
        yield


@contextmanager
def check_in_networks(*networks: torch.nn.Module) -> Iterator[None]:
    """While the block runs, the networks call `check_cancelled` before each of their modules."""

    def check(*_: Any) -> None:
        check_cancelled()

    parts = [part for network in networks for part in network.modules() if next(part.children(), None) is not None]
    hooks = [part.register_forward_pre_hook(check) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def compute_cancellable(work: Callable[[], Any]) -> Any:
    """`run_cancellable` for what computes tensors, with the caller's inference mode: a thread has its own."""
    inference = torch.is_inference_mode_enabled()

    def run() -> Any:
        with torch.inference_mode(inference):
            return work()

    return run_cancellable(run)


def interruptible(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """A node that computes in a thread, so that a cancel takes effect within 0.1 seconds while a library is busy."""
    execute = node.execute.__func__  # type: ignore[attr-defined]

    @wraps(execute)
    def run(cls: type[io.ComfyNode], *given: Any, **named: Any) -> Any:
        with stops_on_cancel():
            return compute_cancellable(lambda: execute(cls, *given, **named))

    node.execute = classmethod(run)  # type: ignore[assignment]
    return node


@contextmanager
def video_file(video: Any) -> Iterator[tuple[Path, float, float]]:
    """ComfyUI's VIDEO as a file, with the second it begins at and its seconds (0: to the end)."""
    start, duration = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
    source = video.get_stream_source()
    if isinstance(source, str):
        yield Path(source), start, duration
        return
    with tempfile.TemporaryDirectory(dir=folder_paths.get_temp_directory()) as folder:
        path = Path(folder, "video")
        path.write_bytes(source.getbuffer())
        yield path, start, duration


def save_metadata(hidden: Any) -> dict[str, Any]:
    """Prompt and workflow as ComfyUI writes them into its files; nothing where the user turned that off."""
    if comfy.cli_args.args.disable_metadata:
        return {}
    metadata = dict(hidden.extra_pnginfo or {})
    if hidden.prompt is not None:
        metadata["prompt"] = hidden.prompt
    return metadata
