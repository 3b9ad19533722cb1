"""Listening, over stand-ins for ComfyUI and with a small Whisper."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.pack import Pack
from tests.published import whisper_checkpoint

WIDTH = 64


@pytest.fixture(scope="module")
def whisper() -> dict[str, Any]:
    return whisper_checkpoint(WIDTH)["model_state_dict"]


@pytest.fixture
def encoder(pack: Pack, whisper) -> Any:
    module = pack.part("echomimic.audio").load_audio_encoder(whisper)
    return pack.part("nodes.audio").SpeechEncoder(module)


def sound(seconds: float = 2.0, rate: int = 22050, channels: int = 2, clips: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(clips, channels, int(seconds * rate), generator=generator) * 0.1
    return {"waveform": waveform, "sample_rate": rate}


def encode(pack: Pack, encoder: Any, **inputs: Any) -> Any:
    return pack.run("EchoMimicEncodeAudio", audio_encoder=encoder, **{"audio": sound(), **inputs})


def test_frames_audio_and_rate_belong_together(pack, encoder):
    speech, frames, audio, fps = encode(pack, encoder, fps=24.0)
    assert (frames, fps, speech.fps) == (len(speech), 24.0, 24.0)
    assert abs(frames - 2 * 24) <= 2
    assert audio["waveform"].shape == (1, 2, round(frames / 24 * 22050))
    assert speech.tokens([0, frames - 1]).shape == (2, 50, WIDTH)


def test_the_sound_is_passed_on_as_it_was(pack, encoder):
    given = sound()
    _, _, audio, _ = encode(pack, encoder, audio=given)
    samples = given["waveform"].shape[-1]
    assert torch.equal(audio["waveform"][..., :samples], given["waveform"])


def test_start_and_duration_cut(pack, encoder):
    given = sound(4.0)
    _, frames, audio, _ = encode(pack, encoder, audio=given, start=1.0, duration=2.0)
    assert abs(frames - 48) <= 2
    begin = 22050
    assert torch.equal(audio["waveform"][..., :1000], given["waveform"][..., begin : begin + 1000])


def test_loudness_is_left_alone_by_default(pack, encoder):
    quiet = sound()
    quiet["waveform"] *= 0.01
    _, _, same, _ = encode(pack, encoder, audio=quiet)
    _, _, louder, _ = encode(pack, encoder, audio=quiet, normalize_loudness=True)
    assert same["waveform"].abs().max() < 0.01
    assert louder["waveform"].abs().max() > 0.05


def test_of_a_batch_the_first_clip_is_used_and_that_is_logged(pack, encoder, caplog):
    two = sound(clips=2)
    _, _, audio, _ = encode(pack, encoder, audio=two)
    assert torch.equal(audio["waveform"][0, :, :1000], two["waveform"][0, :, :1000])
    assert "batch of 2 clips; the first one is used" in caplog.text


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_rate_mono_or_stereo(pack, encoder, rate, channels):
    _, frames, audio, _ = encode(pack, encoder, audio=sound(1.0, rate, channels))
    assert abs(frames - 24) <= 2
    assert audio["sample_rate"] == rate


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"audio": None}, "there is no audio: the video it should come from has no sound"),
        ({"audio": {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44100}}, "the audio is empty"),
        ({"start": 5.0}, r"start is 5 s, but the recording lasts 2.00 s"),
        ({"audio": sound(0.005)}, "too short|at least 20 ms"),
    ],
)
def test_unusable_audio_is_refused(pack, encoder, inputs, message):
    with pytest.raises(ValueError, match=message):
        encode(pack, encoder, **inputs)


def test_another_encoder_is_refused_with_the_node_to_use(pack):
    with pytest.raises(ValueError, match="load it with 'EchoMimic Load Audio Encoder'"):
        pack.run("EchoMimicEncodeAudio", audio=sound(), audio_encoder=object())


def test_encoder_is_loaded_by_comfyui(pack, encoder):
    encode(pack, encoder)
    assert [models for models, _ in pack.memory.loads] == [[encoder.patcher]]


def test_cancel_stops_between_segments(pack, encoder):
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        encode(pack, encoder)


def test_comfyuis_own_node_can_use_the_encoder(pack, encoder):
    given = sound(2.0, clips=2)
    encoded = encoder.encode_audio(given["waveform"], given["sample_rate"])
    assert encoded["encoded_audio"].shape == (2, 100, WIDTH)
    assert len(encoded["encoded_audio_all_layers"]) == 5
    assert encoded["audio_samples"] == 2 * 16000
