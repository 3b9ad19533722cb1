"""The voice gives what the original's gives, from any file and waveform; what cannot be heard is refused."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from echomimic.audio import (
    SpeechFeatures,
    cut_waveform,
    encode_speech,
    fit_to_frames,
    frames_needed,
    load_audio_encoder,
    normalise_loudness,
    read_audio,
)
from echomimic.audio.loudness import frame_levels, k_weighting, loudness
from echomimic.audio.spectrum import log_mel
from echomimic.audio.tokens import frames_of
from echomimic.errors import AudioError, WeightsError
from echomimic.media.waveform import check_waveform
from tests.golden_cases import GoldenCase, relative_error
from tests.recipe import recipe_state

WIDTH, LAYERS = 128, 2


def whisper_shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of OpenAI's checkpoint, encoder part."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv1.weight": (width, 80, 3),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, 3),
        "conv2.bias": (width,),
        "ln_post.weight": (width,),
        "ln_post.bias": (width,),
    }
    for i in range(layers):
        for part, bias in (("query", True), ("key", False), ("value", True), ("out", True)):
            shapes[f"blocks.{i}.attn.{part}.weight"] = (width, width)
            if bias:
                shapes[f"blocks.{i}.attn.{part}.bias"] = (width,)
        for norm in ("attn_ln", "mlp_ln"):
            shapes[f"blocks.{i}.{norm}.weight"] = shapes[f"blocks.{i}.{norm}.bias"] = (width,)
        shapes[f"blocks.{i}.mlp.0.weight"], shapes[f"blocks.{i}.mlp.0.bias"] = (4 * width, width), (4 * width,)
        shapes[f"blocks.{i}.mlp.2.weight"], shapes[f"blocks.{i}.mlp.2.bias"] = (width, 4 * width), (width,)
    return {f"encoder.{name}": shape for name, shape in shapes.items()}


def synth(seconds: float, seed: int, sr: int = 16000) -> torch.Tensor:
    """The golden data's test tone (its README)."""
    t = np.arange(int(seconds * sr)) / sr
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / sr
    envelope = np.clip(np.sin(2 * np.pi * 2.3 * t + 0.4), 0, 1) ** 2
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * envelope * 0.2
    return torch.from_numpy((voice + 0.003 * np.random.RandomState(seed).standard_normal(len(t))).astype(np.float32))


@pytest.fixture(scope="module")
def small_state():
    return recipe_state(whisper_shapes(WIDTH, LAYERS), "audio.")


@pytest.fixture(scope="module")
def small(small_state):
    return load_audio_encoder(small_state)


@pytest.mark.parametrize("name", ["audio_24fps", "audio_25fps", "audio_long"])
def test_golden_features(name):
    case = GoldenCase.read(name)
    golden, meta = case.tensors, case.meta
    waveform = golden["waveform"] if "waveform" in golden else synth(meta["seconds"], meta["seed"])
    encoder = load_audio_encoder(recipe_state(whisper_shapes(384, 4), meta["salt"]))
    features = encode_speech(encoder, waveform, 16000, meta["fps"])
    assert len(features) == meta["total_frames"]
    assert len(features.steps) == meta["encoder_steps"]
    assert relative_error(features.tokens(golden["frames"].tolist()), golden["features"]) <= 1e-3


def test_all_channels_rates_and_shapes_sound_the_same(small):
    stereo = synth(1.5, 1, 48000).repeat(2, 1)
    first = encode_speech(small, stereo, 48000, 24)
    assert torch.equal(encode_speech(small, stereo[0], 48000, 24).steps, first.steps)
    direct = encode_speech(small, synth(1.5, 1), 16000, 24)
    assert direct.steps.shape == first.steps.shape == (75, LAYERS + 1, WIDTH)


def test_whole_numbers_and_arrays_sound_as_fractions_do(small):
    samples = (synth(1, 1) * 32768).to(torch.int16)
    expected = encode_speech(small, samples / 32768, 16000, 24).steps
    for waveform in (samples, samples.numpy(), samples.numpy().astype(np.int32) * 65536):
        assert torch.equal(encode_speech(small, waveform, 16000, 24).steps, expected)


def test_long_recordings_are_encoded_segment_by_segment(small):
    seen = []
    waveform = synth(61, 2)
    features = encode_speech(small, waveform, 16000, 24, on_segment=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(features.steps) == 61 * 50


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.0201, 0.5, 1.999, 30.011])
@pytest.mark.parametrize("fps", [24, 25, 29.97])
def test_frames_are_counted_without_the_encoder_as_with_it(small, seconds, rate, fps):
    waveform = synth(seconds, 1, rate)
    assert frames_needed(waveform, rate, fps) == len(encode_speech(small, waveform, rate, fps))


@pytest.mark.parametrize(("samples", "fps"), [(0, 24), (300, 24), (16000, 0), (16000, float("nan"))])
def test_frames_of_nothing_are_refused(samples, fps):
    with pytest.raises(AudioError):
        frames_needed(torch.zeros(samples), 16000, fps)


def test_mels_made_in_parts_equal_those_made_at_once():
    samples = synth(65, 3)
    spectrum = torch.stft(samples, 400, 160, window=torch.hann_window(400), return_complex=True)[:, :-1]
    import librosa

    mels = torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)) @ spectrum.abs().square()
    mels = mels.clamp(min=1e-10).log10()
    expected = (mels.maximum(mels.max() - 8) + 4) / 4
    torch.testing.assert_close(log_mel(samples), expected, atol=1e-4, rtol=1e-4)


def test_tokens_are_those_of_the_frame_clamped_to_the_clip():
    steps = torch.arange(20.0).repeat_interleave(3 * 2).view(20, 3, 2)
    features = SpeechFeatures(steps, fps=25)
    middle = features.tokens([5])[0].view(10, 3, 2)
    assert middle[:, 0, 0].tolist() == list(range(6, 16))
    assert features.tokens([0])[0].view(10, 3, 2)[:, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert features.tokens([999])[0].view(10, 3, 2)[:, 0, 0].tolist() == [19] * 10


@pytest.mark.parametrize(("context", "first", "last"), [(0, 10, 11), (1, 8, 13), (2, 6, 15), (4, 2, 19)])
def test_a_model_of_another_context_takes_other_steps(context, first, last):
    features = SpeechFeatures(torch.arange(20.0).view(20, 1, 1), fps=25).with_context(context)
    assert features.tokens([5])[0, :, 0].tolist() == list(range(first, last + 1))


def test_layers_lie_within_steps():
    steps = torch.arange(30.0).view(10, 3, 1)
    assert SpeechFeatures(steps, 25).tokens([2])[0, :6, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("form", ["openai checkpoint", "no prefix", "hugging face", "hugging face folder"])
def test_encoder_is_loaded_from_every_form(tmp_path, small_state, small, form):
    state = small_state
    if form == "openai checkpoint":
        source = tmp_path / "tiny.pt"
        torch.save(
            {"dims": {"n_audio_state": WIDTH}, "model_state_dict": {**state, "decoder.ln.weight": torch.ones(3)}},
            source,
        )
    elif form == "no prefix":
        source = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
    else:
        folder = tmp_path / "whisper"
        folder.mkdir()
        source = folder if form.endswith("folder") else folder / "model.safetensors"
        renamed = {f"model.encoder.{name}": tensor.clone() for name, tensor in small.state_dict().items()}
        save_file({**renamed, "model.decoder.x": torch.ones(2)}, folder / "model.safetensors")
    loaded = load_audio_encoder(source)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.blocks.1.mlp.2.bias"), r"lacks 1 tensors .* layers\.1\.fc2\.bias"),
        (lambda s: s.update({"encoder.conv2.bias": torch.ones(3)}), r"conv2\.bias: \[3\] instead of \[128\]"),
        (lambda s: s.update({"encoder.conv2.bias": torch.full((128,), float("nan"))}), r"conv2\.bias holds NaN"),
        (lambda s: s.clear(), "holds no Whisper encoder"),
        (lambda s: s.update({"encoder.conv1.weight": torch.ones(128, 128, 3)}), r"conv1\.weight is \[128, 128, 3\]"),
        (lambda s: s.update({"encoder.conv1.weight": torch.ones(100, 80, 3)}), r"a multiple of 64, 80, 3"),
    ],
)
def test_bad_weights_are_named(small_state, change, message):
    state = dict(small_state)
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_audio_encoder(state)


@pytest.mark.parametrize("spoiled", [None, torch.ones(3), torch.tensor(1.0)])
def test_every_missing_or_misshaped_tensor_is_an_error_of_ours(small_state, spoiled):
    # The last norm is not used.
    for name in [name for name in small_state if "ln_post" not in name]:
        state = {key: tensor for key, tensor in small_state.items() if key != name or spoiled is not None}
        if spoiled is not None:
            state[name] = spoiled
        with pytest.raises(WeightsError):
            load_audio_encoder(state)


def test_building_the_encoder_leaves_the_callers_random_numbers_alone(small_state):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_audio_encoder(small_state)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.full((1, 16000), 1e25), r"samples reach 1e\+25"),
        (torch.zeros(16000, 200), r"16000 channels: a waveform must be"),
        (torch.zeros(1, 0), "is empty"),
        (torch.zeros(1, 100), "lasts 6 ms, too short"),
        (torch.zeros(1, 300), "lasts 19 ms, but at least 20 ms"),
        (torch.tensor([[0.0, float("nan"), float("inf")]]), "2 samples that are NaN or infinite"),
        (torch.zeros(1, 2, 16000), r"must be \[channels, samples\], got \[1, 2, 16000\]"),
    ],
)
def test_bad_waveforms_are_refused(small, waveform, message):
    with pytest.raises(AudioError, match=message):
        encode_speech(small, waveform, 16000, 24)


def test_impossible_rate_is_refused(small):
    with pytest.raises(AudioError, match="got 0"):
        encode_speech(small, synth(1, 0), 16000, 0)


def test_silence_works_and_is_logged(small, caplog):
    with caplog.at_level("INFO", "echomimic"):
        features = encode_speech(small, torch.zeros(1, 16000), 16000, 24)
    assert features.steps.isfinite().all()
    assert "silent" in caplog.text


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_sound_files_are_read_at_their_own_rate(tmp_path, suffix):
    samples = torch.stack([synth(1, 1, 44100), -synth(1, 1, 44100)])
    soundfile.write(tmp_path / f"a.{suffix}", samples.T.numpy(), 44100)
    waveform, rate = read_audio(tmp_path / f"a.{suffix}")
    assert rate == 44100 and waveform.dtype == torch.float32
    assert waveform.shape[0] == 2 and abs(waveform.shape[1] - 44100) < 3000
    assert relative_error(waveform[0], -waveform[1]) < 0.1


@pytest.mark.parametrize("suffix", ["m4a", "mp4"])
def test_the_sound_of_a_video_is_read(tmp_path, suffix):
    from echomimic.media.video_writer import write_video

    frames = [np.zeros((48, 64, 64, 3), np.uint8)]
    path = write_video(tmp_path / "a.mp4", frames, 24, audio=(synth(2, 1, 32000)[None], 32000))
    path = path.rename(tmp_path / f"b.{suffix}")
    waveform, rate = read_audio(path)
    assert (rate, waveform.shape[0]) == (32000, 1)
    assert abs(waveform.shape[1] - 64000) < 3 * 1024
    # AAC begins with a frame of its own; the voice is recognised where it is alike at some small shift.
    voice = synth(2, 1, 32000)[4000:40000]
    shifts = [relative_error(waveform[0, 4000 + d : 40000 + d], voice) for d in range(2200)]
    assert min(shifts) < 0.3


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    from echomimic.media.video_writer import write_video

    path = write_video(tmp_path / "a.mp4", [np.zeros((24, 64, 64, 3), np.uint8)], 24, audio=(synth(1, 1), 16000))
    path.rename(tmp_path / "take 1:2 für 100%d.m4a")
    monkeypatch.chdir(tmp_path)
    assert read_audio("take 1:2 für 100%d.m4a")[1] == 16000


def test_what_comes_before_damage_is_read(tmp_path, caplog):
    import av

    with av.open(tmp_path / "a.aac", "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(synth(3, 1)[None].numpy(), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole = (tmp_path / "a.aac").read_bytes()
    (tmp_path / "a.aac").write_bytes(whole[: len(whole) // 2])
    waveform, rate = read_audio(tmp_path / "a.aac")
    assert 1 < waveform.shape[1] / rate < 2
    assert "1 packets could not be decoded" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF" + bytes(60)])
def test_unreadable_sound_is_named(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.wav"):
        read_audio(tmp_path / "a.wav")


def test_missing_and_mute_files_are_named(tmp_path):
    from echomimic.media.video_writer import write_video

    with pytest.raises(AudioError, match="there is no sound file"):
        read_audio(tmp_path / "gone.wav")
    mute = write_video(tmp_path / "mute.mp4", [np.zeros((2, 64, 64, 3), np.uint8)], 24)
    with pytest.raises(AudioError, match="has no sound track"):
        read_audio(mute)
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 16000)
    with pytest.raises(AudioError, match="holds no sound"):
        read_audio(tmp_path / "empty.wav")


def test_excerpt():
    waveform = torch.arange(100.0)[None] / 128
    assert cut_waveform(waveform, 10, start=2, duration=3).tolist() == [[n / 128 for n in range(20, 50)]]
    assert cut_waveform(waveform, 10, start=8).shape == (1, 20)
    with pytest.raises(AudioError, match=r"start is 10 s, but the recording lasts 10\.00 s"):
        cut_waveform(waveform, 10, start=10)
    assert cut_waveform(waveform, 10, start=9.99).shape == (1, 1)
    for start in (-1, float("nan")):
        with pytest.raises(AudioError, match="must be 0 or more"):
            cut_waveform(waveform, 10, start=start)


def test_samples_that_run_backwards():
    samples = np.linspace(-0.5, 0.5, 100, dtype=np.float32)
    assert torch.equal(check_waveform(samples[::-1], 16000)[0], torch.from_numpy(samples).flip(0))


@pytest.mark.parametrize(("frames", "expected"), [(12, 8000), (48, 32000)])
def test_sound_is_made_as_long_as_the_frames(frames, expected):
    fitted = fit_to_frames(torch.ones(2, 20000), 16000, frames, 24)
    assert fitted.shape == (2, expected)
    assert fitted.sum() == 2 * min(expected, 20000)


def test_weighting_filters_are_the_standards_table():
    """ITU-R BS.1770-4, tables 1 and 2, for 48 kHz."""
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    high_pass = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(k_weighting(48000), [shelf, high_pass], rtol=1e-9)


def test_loudness_of_the_standards_own_signal():
    # EBU Tech 3341, case 1: a 1 kHz sine at -23 dBFS in both channels has -23 LUFS.
    sine = 10 ** (-23 / 20) * torch.sin(2 * torch.pi * 1000 * torch.arange(20 * 48000) / 48000)
    assert loudness(sine.repeat(2, 1), 48000) == pytest.approx(-23, abs=0.1)


def test_levels_are_those_of_each_frame():
    """At 30 samples a second and 10 frames, each frame has 3 samples, and the last one only one of its own."""
    sound = torch.tensor([0.0, 0, 0, 0.5, -0.5, 0.5, 1, -1, 1, 0.6])
    expected = [0, 0.5, 1, 0.6 / 3**0.5, 0]
    assert frame_levels(sound[None], 30, 10, 5) == pytest.approx(expected, abs=1e-7)
    both = torch.stack([2 * sound, torch.zeros_like(sound)]) / 2
    assert frame_levels(both, 30, 10, 5) == pytest.approx(np.divide(expected, 2), abs=1e-7)


def test_levels_stay_with_the_picture_where_a_frame_has_no_whole_number_of_samples():
    click = torch.zeros(1, 44100 * 60)
    click[0, round(44100 * 59.02)] = 1
    assert frame_levels(click, 44100, 29.97, 1798).argmax() == int(59.02 * 29.97)


def test_normalised_loudness_and_peak():
    quiet = synth(4, 1)[None] * 0.05
    assert loudness(normalise_loudness(quiet, 16000, -30), 16000) == pytest.approx(-30, abs=0.1)
    assert normalise_loudness(quiet, 16000, 0).abs().max() <= 1.0
    silence = torch.zeros(1, 16000)
    assert torch.equal(normalise_loudness(silence, 16000), silence)


@pytest.mark.parametrize("fps", [0.5, 1, 7.3, 23.976, 24, 25, 29.97, 50, 59.94, 100, 120, 1000])
def test_the_number_of_frames_is_the_originals_for_any_length(fps):
    """Counted one by one as the original does, but not from the first one on."""
    for steps in (*range(1, 60), 999, 12345):
        frames = 0
        while int(frames * 50 / fps) <= steps:
            frames += 1
        assert frames_of(steps, fps) == frames + 1
