"""The voice: from files and waveforms to the audio tokens that condition the denoising UNet."""

from ..media.recordings import read_audio, read_video_sound
from ..media.waveform import cut_waveform, fit_to_frames
from .loudness import frame_levels, normalise_loudness
from .tokens import SpeechFeatures, encode_speech, frames_needed
from .whisper import load_audio_encoder

__all__ = [
    "SpeechFeatures",
    "cut_waveform",
    "encode_speech",
    "fit_to_frames",
    "frame_levels",
    "frames_needed",
    "load_audio_encoder",
    "normalise_loudness",
    "read_audio",
    "read_video_sound",
]
