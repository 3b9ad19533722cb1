"""The audio encoder under ComfyUI's memory management, and the node that turns AUDIO into speech features."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from comfy_api.latest import io

from ..echomimic.audio import SpeechFeatures, cut_waveform, encode_speech, fit_to_frames, normalise_loudness
from ..echomimic.audio.loudness import TARGET_LUFS
from ..echomimic.audio.spectrum import mel_filters
from ..echomimic.cancellation import run_cancellable
from ..echomimic.errors import AudioError
from ..echomimic.media.waveform import SAMPLE_RATE
from . import host, widgets
from .values import to_waveform

logger = logging.getLogger("echomimic")


class ManagedWhisper(torch.nn.ModuleList):
    """A list that holds only Whisper's encoder: ComfyUI sets `device` on what it manages, and on transformers' modules
    that is read-only."""


class SpeechEncoder:
    """What goes through an `AUDIO_ENCODER` socket: Whisper's encoder under ComfyUI's memory management."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            ManagedWhisper([module]),
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    def encode(self, waveform: torch.Tensor, sample_rate: int, fps: float) -> SpeechFeatures:
        """Features of `[channels, samples]` for a video of this rate."""
        comfy.model_management.load_models_gpu([self.patcher])
        show_progress = host.progress()
        with host.networks_stop_on_cancel(self.patcher.model):
            return encode_speech(self.patcher.model[0], waveform, sample_rate, fps, on_segment=show_progress)

    def encode_audio(self, audio: torch.Tensor, sample_rate: int) -> dict[str, Any]:
        """The method that ComfyUI's own AudioEncoderEncode calls: `[B, channels, samples]` to hidden states."""
        batch = [self.encode(waveform, sample_rate, fps=50).steps for waveform in audio]
        steps = torch.stack(batch)  # [B, S, layers, width]
        layers = tuple(steps.unbind(dim=2))
        samples = round(audio.shape[-1] * SAMPLE_RATE / sample_rate)
        return {"encoded_audio": layers[-1], "encoded_audio_all_layers": layers, "audio_samples": samples}


class EchoMimicEncodeAudio(io.ComfyNode):
    """The voice, for a frame rate."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicEncodeAudio",
            display_name="EchoMimic Encode Audio",
            category="EchoMimic/audio",
            description="Computes the speech features that drive the mouth, and the number of frames of the video. Any "
            "sample rate, mono or stereo.",
            search_aliases=["whisper", "speech", "voice", "audio features", "lip sync", "echomimic"],
            inputs=[
                io.Audio.Input("audio", tooltip="The voice; music and other speakers disturb the lips."),
                io.AudioEncoder.Input(
                    "audio_encoder",
                    tooltip="Whisper tiny, from EchoMimic Load Audio Encoder or EchoMimic Load Bundle.",
                ),
                widgets.rate("Frames a second of the video, 1 to 120. The model was made for 24."),
                widgets.seconds("start", 0.0, "Where in the audio to begin, in seconds."),
                widgets.seconds("duration", 0.0, "How much of it to use, in seconds; 0 uses all that follows."),
                io.Boolean.Input(
                    "normalize_loudness",
                    default=False,
                    label_on=f"{TARGET_LUFS:g} LUFS",
                    label_off="as it is",
                    tooltip="Bring quiet or loud recordings to broadcast loudness (EBU R 128). The sound that "
                    "comes out changes too.",
                ),
            ],
            outputs=[
                host.EchoMimicAudio.Output(
                    display_name="speech", tooltip="For EchoMimic Sampler and EchoMimic Fit Pose Length."
                ),
                io.Int.Output(display_name="frames", tooltip="Frames that the video will have."),
                io.Audio.Output(display_name="audio", tooltip="The sound of exactly those frames, for the video file."),
                io.Float.Output(display_name="fps", tooltip="The frame rate, for the video file."),
            ],
        )

    @classmethod
    def execute(
        cls,
        audio: dict[str, Any] | None,
        audio_encoder: Any,
        fps: float,
        start: float,
        duration: float,
        normalize_loudness: bool,
    ) -> io.NodeOutput:
        if not isinstance(audio_encoder, SpeechEncoder):
            raise AudioError(
                "this audio encoder is not Whisper tiny, which EchoMimicV2 was trained with: load it with 'EchoMimic "
                "Load Audio Encoder'"
            )
        with host.stops_on_cancel():
            run_cancellable(mel_filters)  # imports librosa, which takes seconds
            waveform, sample_rate = to_waveform(audio)
            waveform = cut_waveform(waveform, sample_rate, start, duration)
            if normalize_loudness:
                waveform = normalise_loudness(waveform, sample_rate)
            speech = audio_encoder.encode(waveform, sample_rate, fps)
        sound = fit_to_frames(waveform, sample_rate, len(speech), fps)[None]  # [1, channels, samples]
        return io.NodeOutput(speech, len(speech), {"waveform": sound, "sample_rate": sample_rate}, fps)


NODES: list[type[io.ComfyNode]] = [EchoMimicEncodeAudio]
