"""Latents and speech features of prepared clips, computed once: training then runs without VAE encoder and Whisper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..audio import SpeechFeatures, encode_speech, read_audio
from ..files.tensor_writer import write_safetensors
from .clip_files import read_clip_frames
from .objective import encode_pictures
from .records import METADATA, ClipRecord, read_records
from .run_folder import write_text

# Frames encoded between two reads of the video.
FRAMES_AT_ONCE = 48


def cache_latents(
    folder: Path,
    vae: Any,
    audio_encoder: Any,
    on_clip: Callable[[int, int], Any] | None = None,
    encode: Callable[..., SpeechFeatures] = encode_speech,
) -> list[ClipRecord]:
    """Add a file of latents and speech features to every clip that has none.

    Args:
        folder: the data folder.
        vae, audio_encoder: on the device that computes.
        on_clip: called with clips done and clips in all.
        encode: computes a clip's speech features, called as `encode_speech` is.

    Returns:
        the records, as `metadata.jsonl` now has them.

    Raises:
        TrainingError: a clip cannot be read.
        OutputError: a file cannot be written.
    """
    records = read_records(folder)
    for number, record in enumerate(records):
        if not record.latents:
            name = record.latents_name
            speech = encode(audio_encoder, *read_audio(folder / record.audio), record.fps)
            parts = []
            for begin in range(0, record.frames, FRAMES_AT_ONCE):
                numbers = range(begin, min(begin + FRAMES_AT_ONCE, record.frames))
                pictures = read_clip_frames(folder / record.file_name, numbers)
                stacked = torch.stack([torch.from_numpy(picture) for picture in pictures]).permute(0, 3, 1, 2)
                parts.append(encode_pictures(vae, stacked.to(vae.device)).cpu())
            tensors = {"latents": torch.cat(parts), "steps": speech.steps}
            write_safetensors(folder / name, tensors, {"format": "pt", "source": record.file_name})
            records[number] = replace(record, latents=name)
            write_text(folder / METADATA, "".join(f"{one.to_json()}\n" for one in records))
        if on_clip is not None:
            on_clip(number + 1, len(records))
    return records
