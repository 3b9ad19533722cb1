"""Decoding: latents to pictures, or straight into a video file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import InputImpl, io, ui

from ..echomimic.errors import DeviceMemoryError, EchoMimicError
from ..echomimic.media.limits import FLOAT_PIXEL, check_room
from ..echomimic.media.video_writer import check_place, write_video
from ..echomimic.vae import decode_chunks, to_bytes
from . import folders, host, widgets
from .file_names import fill_in
from .values import to_latents, to_waveform


def frame_latents(latent: dict[str, Any]) -> torch.Tensor:
    """ComfyUI's LATENT as `[F, 4, h, w]`.

    Raises:
        EchoMimicError: latents of another kind.
    """
    latents = to_latents(latent)
    if latents.ndim != 4 or latents.shape[1] != 4:
        raise EchoMimicError(
            f"the latents must be [frames, 4, height / 8, width / 8] as EchoMimic Sampler makes them, got "
            f"{list(latents.shape)}"
        )
    return latents


def decoded(latents: torch.Tensor, vae: Any) -> Iterator[torch.Tensor]:
    """Pictures `[n, H, W, 3]` in 0..1, a few at a time, with progress; fewer when memory is short."""
    show_progress = host.progress()
    done = 0
    try:
        chunk = host.frames_to_decode(vae, *latents.shape[-2:])
        for pictures in decode_chunks(partial(decode_pictures, vae), latents, chunk):
            yield pictures
            done += len(pictures)
            show_progress(done, len(latents))
    except DeviceMemoryError:
        host.free_device()
        raise


def decode_pictures(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents `[n, 4, h, w]` to pictures `[n, H, W, 3]`.

    Raises:
        EchoMimicError: the VAE returns NaN, as some do in half precision, which would be black frames.
    """
    pictures = vae.decode(latents)[..., :3]
    if not pictures.isfinite().all():
        raise EchoMimicError(
            "the VAE returned NaN or infinite values: start ComfyUI with --bf16-vae or --fp32-vae, or load another"
        )
    return pictures


class EchoMimicDecode(io.ComfyNode):
    """Latents to IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicDecode",
            display_name="EchoMimic Decode",
            category="EchoMimic",
            description="Decodes the sampler's latents into images, a few frames at a time, with progress. A minute of "
            "768 x 768 takes 10 GB of memory as images: for long clips use EchoMimic Save Video.",
            search_aliases=["vae decode", "latent to image", "frames", "echomimic"],
            inputs=[
                io.Latent.Input("latent", tooltip="From EchoMimic Sampler."),
                io.Vae.Input("vae", tooltip="The Stable Diffusion 1.5 VAE that encoded the reference."),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="One picture per frame.")],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], vae: Any) -> io.NodeOutput:
        latents = frame_latents(latent)
        pixels = len(latents) * math.prod(latents.shape[-2:]) * 64  # 8 x 8 for each latent
        size = " x ".join(str(8 * side) for side in (latents.shape[-1], latents.shape[-2]))
        check_room(FLOAT_PIXEL * pixels, f"{len(latents):,} images of {size}", "use EchoMimic Save Video instead")
        images: torch.Tensor | None = None
        filled = 0
        for pictures in decoded(latents, vae):
            if images is None:
                images = pictures.new_empty(len(latents), *pictures.shape[1:])  # [F, H, W, 3]
            images[filled : filled + len(pictures)] = pictures
            filled += len(pictures)
        return io.NodeOutput(images)


class EchoMimicSaveVideo(io.ComfyNode):
    """Latents to an MP4 in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicSaveVideo",
            display_name="EchoMimic Save Video",
            category="EchoMimic",
            description="Decodes the sampler's latents straight into an MP4 in ComfyUI's output folder: memory does "
            "not grow with the length. The file holds the workflow; drag it onto ComfyUI to get it back.",
            search_aliases=["save video", "mp4", "export", "long video", "video combine", "echomimic"],
            inputs=[
                io.Latent.Input("latent", tooltip="From EchoMimic Sampler."),
                io.Vae.Input("vae", tooltip="The Stable Diffusion 1.5 VAE that encoded the reference."),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound, from EchoMimic Encode Audio; cut to the frames, or followed by silence. "
                    "Without it the video is silent.",
                ),
                widgets.rate("Frames a second, 1 to 120: the same as in EchoMimic Encode Audio (link its fps output)."),
                io.String.Input(
                    "filename_prefix",
                    default="video/EchoMimic",
                    tooltip="Folder and start of the name below ComfyUI's output folder; a number follows. Dates and "
                    "widgets' values can be part of it: %date:yyyy-MM-dd%, %EchoMimicSampler.seed%.",
                ),
                io.Int.Input(
                    "crf",
                    default=18,
                    min=0,
                    max=51,
                    advanced=True,
                    tooltip="Quality of H.264, 1 (huge) to 51 (worst). 18 looks like the original. 0 is written as 1.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video", tooltip="The file that was saved, for Get Video Components and other nodes."
                )
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        vae: Any,
        fps: float,
        filename_prefix: str,
        crf: int,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        latents = frame_latents(latent)
        height, width = (side * 8 for side in latents.shape[-2:])
        prefix = fill_in(filename_prefix, cls.hidden)
        folder, name, counter, subfolder = folders.output_place(prefix, width, height)
        file = f"{name}_{counter:05}_.mp4"
        check_place(Path(folder, file))  # before the frames are decoded
        write_video(
            Path(folder, file),
            (to_bytes(pictures) for pictures in decoded(latents, vae)),
            fps,
            audio=None if audio is None else to_waveform(audio),
            metadata={key: json.dumps(value) for key, value in host.save_metadata(cls.hidden).items()},
            crf=crf,
        )
        saved = ui.SavedResult(file, subfolder, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(Path(folder, file))), ui=ui.PreviewVideo([saved]))


NODES: list[type[io.ComfyNode]] = [EchoMimicDecode, EchoMimicSaveVideo]
