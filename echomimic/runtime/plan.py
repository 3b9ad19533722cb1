"""How to use a device's memory: windows in a batch, guidance in one batch or two, frames decoded together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..models.config import UNetConfig
from ..vae import CHUNK
from .memory import decode_bytes, gigabytes, reference_bytes, window_bytes

# More latent pixels at once than one window has at 768x768, or more windows than this, gain nothing: the products are
# large enough, and a cancel would only wait longer.
MAX_PIXELS = 12 * 96 * 96
MAX_WINDOWS = 8
MAX_FRAMES = 16
# The denoiser with its motion modules, and the VAE, of all the weights (published: 0.59 and 0.04).
DENOISER_SHARE, DECODER_SHARE = 0.6, 0.05
# Left to the allocator's gaps and to the driver.
SAFETY = 0.85


@dataclass(frozen=True)
class Plan:
    """How to use a device.

    Attributes:
        windows_at_once: windows that go through the network in one batch.
        batch_guidance: whether the conditional and the unconditional branch go in one batch.
        decode_chunk: frames that the VAE decodes at once.
        offload: whether networks wait on the host while another one works.
        compile: whether the denoiser goes through torch's compiler (`runtime.compiler`).
        reason: the choice in words, with the numbers.
    """

    windows_at_once: int = 1
    batch_guidance: bool = False
    decode_chunk: int = CHUNK
    offload: bool = True
    compile: bool = False
    reason: str = "the cautious plan: one window and one branch at a time"

    def smaller(self) -> Plan | None:
        """What to try when this plan did not fit; None when nothing smaller is left."""
        if self.windows_at_once > 1:
            return replace(self, windows_at_once=self.windows_at_once // 2)
        if self.batch_guidance:
            return replace(self, batch_guidance=False)
        return None


def make_plan(
    config: UNetConfig,
    *,
    free: int | None,
    weights: int,
    height: int,
    width: int,
    window_length: int = 12,
    guided: bool = False,
    element_size: int = 2,
    vae_element_size: int | None = None,
    compiled: bool = False,
) -> Plan:
    """Choose by free memory; a device whose memory is unknown (a CPU, MPS) gets the cautious plan.

    Args:
        config: the networks' size.
        free: bytes that new tensors on the device may take, `weights` not being there yet; None if unknown.
        weights: bytes of all networks together; 0 where a host keeps them, and `free` is what it has left.
        height, width: latent size (image / 8).
        window_length: frames in a window.
        guided: whether there is an unconditional branch.
        element_size: bytes of one number: 2 in half precision, 4 in float32.
        vae_element_size: the same for the VAE; None: as the networks.
        compiled: whether the denoiser goes through torch's compiler, whose CUDA graphs keep their memory.
    """
    if free is None:
        return Plan(compile=compiled)
    one = window_bytes(config, window_length, height, width, element_size)
    kept = reference_bytes(config, height, width, element_size)
    usable = int(SAFETY * free)
    # Moving networks back and forth costs seconds a clip; it is needed only where they do not fit together.
    offload = weights + kept + 2 * one > usable
    room = usable - kept - (int(DENOISER_SHARE * weights) if offload else weights)
    frame = decode_bytes(height, width, vae_element_size or element_size)
    # A compiled denoiser stays on the device: CUDA graphs keep the addresses of its weights.
    there = DECODER_SHARE + DENOISER_SHARE * compiled if offload else 1
    decode_room = usable - int(there * weights)
    if compiled:
        # The decoder cannot use the memory that CUDA graphs hold: at least one frame must fit in the rest.
        room = min(room, decode_room - kept - frame)
    batch_guidance = guided and 2 * one <= room
    worth_it = min(MAX_WINDOWS, MAX_PIXELS // (window_length * height * width))
    windows_at_once = max(1, min(worth_it, room // (one * (2 if batch_guidance else 1))))
    if compiled:
        decode_room -= kept + windows_at_once * one * (2 if batch_guidance else 1)
    decode_chunk = frames_that_fit(decode_room, frame)
    branches = f", {'both branches' if batch_guidance else 'one branch'} at a time" if guided else ""
    reason = (
        f"{gigabytes(free)} free at {width * 8}x{height * 8}: {windows_at_once} window{'s' * (windows_at_once > 1)} of "
        f"{window_length} frames ({gigabytes(one)} each) at a time{branches}"
    )
    if weights:
        reason += f", {decode_chunk} frames decoded at once, networks "
        reason += "one by one on the device" if offload else "all on the device"
    if one > room:
        reason += "; a window may not fit"
    return Plan(windows_at_once, batch_guidance, decode_chunk, offload, compiled, reason)


def plan_decoding(free: int | None, height: int, width: int, element_size: int) -> int:
    """How many frames to decode at once, for a host that only decodes.

    Args:
        free: bytes that new tensors on the device may take besides the VAE's weights; None if unknown.
        height, width: latent size (image / 8).
        element_size: bytes of one number in the VAE: 2 in half precision, 4 in float32.
    """
    if free is None:
        return Plan().decode_chunk
    return frames_that_fit(int(SAFETY * free), decode_bytes(height, width, element_size))


def frames_that_fit(room: int, frame: int) -> int:
    """Frames that the decoder takes at once when each needs `frame` bytes: at least one, at most `MAX_FRAMES`."""
    return max(1, min(MAX_FRAMES, room // frame))
