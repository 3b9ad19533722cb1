"""The sampler node, over stand-ins for ComfyUI and with tiny networks."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.pack import Pack
from tests.published import TINY, write_published

SIZE = (8, 6)
CUSTOM = {"preset": "custom", "steps": 2, "guidance": 1.0}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), TINY, audio=False)


@pytest.fixture
def model(pack: Pack, published) -> Any:
    pack.models.rmdir()
    pack.models.symlink_to(published)
    return pack.run("EchoMimicLoadModel")[0]


class Speech:
    """Tokens of a recording that never was."""

    def __init__(self, frames: int = 15, fps: float = 24.0, width: int = TINY.audio_dim) -> None:
        self.all = torch.randn(frames, 50, width, generator=torch.Generator().manual_seed(1))
        self.fps = fps

    def __len__(self) -> int:
        return len(self.all)

    def tokens(self, frames: Any) -> torch.Tensor:
        return self.all[list(frames)]


def reference(pictures: int = 1) -> dict[str, Any]:
    return {"samples": torch.randn(pictures, 4, *SIZE, generator=torch.Generator().manual_seed(2)) * 5}


def poses(pack: Pack, frames: int = 15, fps: float = 24.0) -> Any:
    points = np.random.default_rng(0).uniform(0.2, 0.8, (frames, 134, 2))
    return pack.part("echomimic.pose").PoseSequence(points, np.ones((frames, 134)), fps)


def sample(pack: Pack, model: Any, **inputs: Any) -> torch.Tensor:
    given = {"model": model, "reference": reference(), "audio": Speech(), "preset": CUSTOM}
    return pack.run("EchoMimicSampler", **{**given, **inputs})[0]["samples"]


def engine(pack: Pack, model: Any, **settings: Any) -> torch.Tensor:
    """The engine's latents for the node's inputs, as the node gives them."""
    sampling = pack.part("echomimic.sampling")
    latents = sampling.sample(
        denoiser=model.networks.denoiser,
        reference=model.networks.reference_unet(reference()["samples"] * 0.18215),
        audio=Speech(),
        pose=None,
        noise=sampling.make_noise(15, *SIZE, 0),
        settings=sampling.SamplingSettings(steps=2, **settings),
    )
    return latents[0].transpose(0, 1)


def test_latents_are_unscaled_with_frames_as_batch(pack, model):
    latents = sample(pack, model)
    assert latents.shape == (15, 4, *SIZE)
    torch.testing.assert_close(latents * 0.18215, engine(pack, model, guidance=1.0))


def test_approximations_are_the_engines(pack, model):
    fastest = pack.part("echomimic.sampling").FAST_MODES["fastest"]
    guided = {"preset": {**CUSTOM, "guidance": 2.0}}
    latents = sample(pack, model, fast="fastest", **guided)
    torch.testing.assert_close(latents * 0.18215, engine(pack, model, guidance=2.0, fast=fastest))
    assert not torch.allclose(latents, sample(pack, model, **guided), atol=0.01)


def test_room_on_the_device_is_used_and_logged(pack, model, monkeypatch, caplog):
    # (At a size whose lowest level is one pixel, norms of two numbers would blow rounding up.)
    portrait = {"samples": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2)) * 5}
    alone = sample(pack, model, reference=portrait)
    assert "free at" not in caplog.text
    monkeypatch.setattr(pack.part("nodes.host"), "free_bytes", lambda device, patchers: 10**9)
    batches = []
    predict = model.networks.denoiser.predict

    def counted(latents, *rest, **named):
        batches.append(len(latents))
        return predict(latents, *rest, **named)

    monkeypatch.setattr(model.networks.denoiser, "predict", counted)
    with caplog.at_level("INFO", "echomimic"):
        together = sample(pack, model, reference=portrait)
    # 15 frames are two windows, in two steps.
    assert batches == [2, 2]
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
    assert "1.0 GB free at 128x128: 8 windows of 12 frames" in caplog.text


class DynamicPatcher:
    """Weights of 6 GB under dynamic VRAM, of which 1 GB has been paged in."""

    def model_size(self):
        return 6 * 10**9

    def loaded_size(self):
        return 10**9


def test_weights_that_are_still_to_be_paged_in_count_as_taken(pack, monkeypatch):
    host = pack.part("nodes.host")
    memory = host.comfy.model_management
    monkeypatch.setattr(memory, "get_free_memory", lambda device: 8 * 10**9, raising=False)
    assert host.free_bytes(torch.device("cuda"), [DynamicPatcher()]) == 3 * 10**9
    assert host.free_bytes(torch.device("cuda"), [DynamicPatcher(), DynamicPatcher()]) == 0
    assert host.free_bytes(torch.device("cpu"), [DynamicPatcher()]) is None


def test_same_seed_same_latents_other_seed_other_latents(pack, model):
    first = sample(pack, model, seed=5)
    assert torch.equal(first, sample(pack, model, seed=5))
    assert not torch.allclose(first, sample(pack, model, seed=6), atol=0.1)


def test_largest_seed_is_accepted(pack, model):
    assert sample(pack, model, seed=0xFFFFFFFFFFFFFFFF).isfinite().all()


@pytest.mark.parametrize(
    "changes",
    [
        {"pose": 1.0},
        {"pose": 2.0},
        {"audio_scale": 2.0},
        {"window_length": 6},
        {"overlap": 5},
        {"looped": False},
        {"preset": {**CUSTOM, "guidance": 3.0}},
        {"preset": {**CUSTOM, "steps": 3}},
    ],
    ids=str,
)
def test_every_setting_reaches_the_engine(pack, model, changes):
    if "pose" in changes:
        changes = {"pose": poses(pack), "pose_strength": changes["pose"]}
    assert not torch.allclose(sample(pack, model, **changes), sample(pack, model), atol=1e-3)


def test_pose_strength_of_zero_is_no_pose(pack, model):
    torch.testing.assert_close(sample(pack, model, pose=poses(pack), pose_strength=0.0), sample(pack, model))


def test_preset_from_model_takes_the_variants_steps(pack, model):
    sample(pack, model, preset={"preset": "from model"}, audio=Speech(3))
    assert {total for _, total, _ in pack.updates} == {model.networks.settings.steps}
    assert model.networks.settings.steps == 6


@pytest.mark.parametrize(
    ("given", "steps", "guidance"), [({"steps": 0, "guidance": 0.0}, 6, 1.0), ({"steps": 2, "guidance": 0.0}, 2, 1.0)]
)
def test_zero_in_the_custom_preset_is_what_the_model_was_made_for(pack, model, given, steps, guidance):
    chosen = sample(pack, model, preset={"preset": "custom", **given}, audio=Speech(3))
    assert {total for _, total, _ in pack.updates} == {steps}
    spelled_out = {"preset": "custom", "steps": steps, "guidance": guidance}
    assert torch.equal(chosen, sample(pack, model, preset=spelled_out, audio=Speech(3)))


def test_the_custom_preset_opens_with_the_models_own_values(pack):
    preset = pack.choose("EchoMimicSampler", "preset", "custom")
    assert (preset["steps"], preset["guidance"]) == (0, 0.0)


def test_frames_shorten_the_clip(pack, model):
    assert len(sample(pack, model, frames=5)) == 5


def test_networks_are_loaded_together_with_room_for_the_work(pack, model):
    sample(pack, model)
    ((models, room),) = pack.memory.loads
    assert models == model.patchers
    expected = pack.part("echomimic.runtime.memory").clip_bytes(TINY, 15, 12, *SIZE, 4)
    assert room == expected


def test_progress_counts_windows_and_shows_a_picture_each_step(pack, model):
    sample(pack, model)
    assert [done for done, _, _ in pack.updates] == [1, 2, 3, 4]
    pictures = [preview for _, _, preview in pack.updates]
    assert [picture is not None for picture in pictures] == [False, True, False, True]
    kind, image, _ = pictures[1]
    assert (kind, image.size) == ("JPEG", (SIZE[1], SIZE[0]))


def test_the_node_shows_what_is_left_and_what_it_took_and_the_log_says_it_once(pack, model, caplog):
    import server
    from comfy_api.latest import io

    node = pack.nodes["EchoMimicSampler"]
    clone = type(node.__name__, (node,), {"hidden": io.HiddenHolder(unique_id="7")})
    with caplog.at_level("INFO", "echomimic"), torch.inference_mode():
        clone.execute(model, reference(), Speech(), 0, CUSTOM, 12, 3, True, 0, 1.0, 1.0)
    *running, (ended, shown) = server.texts
    assert [text.split(",")[0] for text, _ in running] == ["step 1 of 2"] * 2 + ["step 2 of 2"]
    assert all(text.endswith(" left") for text, _ in running)
    assert (ended.split(" in ")[0], shown) == ("done", "7")
    assert caplog.text.count("3 windows to go: about") == 1


def test_a_cancelled_run_leaves_no_time_that_seems_to_run_on(pack, model, monkeypatch):
    import server
    from comfy_api.latest import io

    def look():
        if any("left" in text for text, _ in server.texts):
            raise pack.memory.InterruptProcessingException

    monkeypatch.setattr(pack.memory, "throw_exception_if_processing_interrupted", look)
    node = pack.nodes["EchoMimicSampler"]
    clone = type(node.__name__, (node,), {"hidden": io.HiddenHolder(unique_id="6:206")})
    with pytest.raises(pack.memory.InterruptProcessingException), torch.inference_mode():
        clone.execute(model, reference(), Speech(), 0, CUSTOM, 12, 3, True, 0, 1.0, 1.0)
    assert server.texts[-2:] == [("stopped", "6"), ("stopped", "6:206")]


def test_the_nodes_around_a_subgraph_show_what_is_left_too(pack):
    import server

    pack.part("nodes.progress").show_text("about a minute left", "6:3:201")
    assert server.texts == [("about a minute left", shown) for shown in ("6", "6:3", "6:3:201")]


def test_no_picture_where_the_user_turned_previews_off(pack, model):
    import latent_preview

    latent_preview.enabled = False
    sample(pack, model)
    assert [preview for _, _, preview in pack.updates] == [None] * 4


def test_a_host_that_casts_weights_chooses_the_precision_of_the_computation(pack, published, monkeypatch):
    """ComfyUI stores float8 or bfloat16 weights and computes in another precision, through layers that cast."""
    import comfy.model_management
    import comfy.ops

    asked = []

    def pick_operations(*dtypes):
        asked.append(dtypes)
        return casting_layers

    casting_layers = pack.part("echomimic.models.casting_layers")
    monkeypatch.setattr(comfy.model_management, "unet_dtype", lambda *_, **__: torch.bfloat16)
    monkeypatch.setattr(comfy.model_management, "unet_manual_cast", lambda *_, **__: torch.float32)
    monkeypatch.setattr(comfy.ops, "pick_operations", pick_operations)
    pack.models.rmdir()
    pack.models.symlink_to(published)
    (model,) = pack.run("EchoMimicLoadModel")
    denoiser, computed = model.networks.denoiser, set()
    denoiser.conv_in.register_forward_hook(lambda layer, inputs, output: computed.add(output.dtype))
    encoder = model.networks.pose_encoder
    encoder.register_forward_pre_hook(lambda layer, inputs: computed.add(inputs[0].dtype))
    sample(pack, model, pose=poses(pack))
    assert asked == [(torch.bfloat16, torch.float32)]
    assert denoiser.conv_in.weight.dtype == torch.bfloat16
    assert computed == {torch.float32}


def test_cancel_stops_within_one_window(pack, model, monkeypatch):
    import comfy.utils

    calls = []
    model.networks.denoiser.conv_out.register_forward_hook(lambda *_: calls.append(1))
    update = comfy.utils.ProgressBar.update_absolute

    def cancel_after_first(self, value, total=None, preview=None):
        update(self, value, total, preview)
        pack.memory.interrupted = True

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", cancel_after_first)
    with pytest.raises(pack.memory.InterruptProcessingException):
        sample(pack, model)
    assert len(calls) == 1
    pack.memory.interrupted = False
    monkeypatch.undo()
    assert sample(pack, model).isfinite().all()


def test_of_several_references_the_first_is_used_and_that_is_logged(pack, model, caplog):
    three = reference(3)
    assert torch.equal(
        sample(pack, model, reference=three), sample(pack, model, reference={"samples": three["samples"][:1]})
    )
    assert "the reference has 3 pictures; the first one is used" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_length": 33}, "must be 1 to 32 frames, got 33"),
        ({"window_length": 4, "overlap": 4}, "below the window length, got 4 of 4"),
        ({"frames": 16}, "16 frames were requested, but the audio lasts 15 frames"),
        ({"audio": Speech(width=384)}, "tokens of 384 numbers, but this model takes 64"),
        (
            {"reference": {"samples": torch.zeros(1, 16, 8, 8)}},
            r"got \[1, 16, 8, 8\]: encode the portrait with the VAE",
        ),
        ({"reference": {"samples": torch.zeros(1, 4, 5, 8, 8)}}, r"got \[1, 4, 5, 8, 8\]"),
    ],
)
def test_bad_input_is_refused_before_anything_is_loaded(pack, model, change, message):
    with pytest.raises(ValueError, match=message):
        sample(pack, model, **change)
    assert not pack.memory.loads


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (10, 24.0, r"the poses have 10 frames, but 15 are needed: .*Fit Pose Length"),
        (15, 30.0, r"the poses have 30 frames a second and the audio 24.*Fit Pose Length"),
    ],
)
def test_poses_that_do_not_fit_name_the_node_to_add(pack, model, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        sample(pack, model, pose=poses(pack, frames, fps))
    assert not pack.memory.loads


def test_out_of_memory_names_settings_that_would_fit_and_frees_the_device(pack, model, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.networks.denoiser, "predict", full)
    with pytest.raises(ValueError, match="try a window length of"):
        sample(pack, model)
    assert pack.memory.unloaded == 1


@pytest.fixture
def each_step_is_written(pack, monkeypatch) -> None:
    """A clock on which a minute goes by whenever somebody looks: states are written every half minute."""
    clock = SimpleNamespace(monotonic=itertools.count(0, 60).__next__)
    monkeypatch.setattr(pack.part("echomimic.runtime.checkpoint"), "time", clock)


def cancel_in_window(pack: Pack, model: Any, windows: int, **inputs: Any) -> list[Path]:
    """Press cancel after so many windows; returns the states that are left."""
    import comfy.utils

    update = comfy.utils.ProgressBar.update_absolute

    def press(self, value, total=None, preview=None):
        update(self, value, total, preview)
        pack.memory.interrupted = value >= windows

    comfy.utils.ProgressBar.update_absolute = press
    try:
        with pytest.raises(pack.memory.InterruptProcessingException):
            sample(pack, model, **inputs)
    finally:
        comfy.utils.ProgressBar.update_absolute = update
        pack.memory.interrupted = False
    pack.updates.clear()
    return states(pack)


def states(pack: Pack) -> list[Path]:
    return sorted((pack.folder / "user" / "__echomimic" / "renders").glob("*"))


SIX = {"preset": {**CUSTOM, "steps": 6}}


@pytest.mark.usefixtures("each_step_is_written")
@pytest.mark.parametrize("chance", range(3))
def test_cancelled_work_continues_to_the_same_latents(pack, model, chance):
    whole = sample(pack, model, **SIX)
    # 15 frames are two windows a step.
    windows = random.Random(chance).randint(3, 11)
    pack.updates.clear()
    assert len(cancel_in_window(pack, model, windows, resume=True, **SIX)) == 1
    assert torch.equal(sample(pack, model, resume=True, **SIX), whole)
    assert [done for done, _, _ in pack.updates] == list(range(windows + 1, 13))
    assert states(pack) == []


@pytest.mark.usefixtures("each_step_is_written")
def test_another_seed_starts_over_and_leaves_the_first_its_state(pack, model):
    (kept,) = cancel_in_window(pack, model, 7, resume=True, **SIX)
    other = sample(pack, model, seed=1, resume=True, **SIX)
    assert len(pack.updates) == 12
    assert torch.equal(other, sample(pack, model, seed=1, **SIX))
    assert states(pack) == [kept]


@pytest.mark.usefixtures("each_step_is_written")
def test_another_strength_of_cores_lora_starts_over(pack, model):
    """Where core adds patches while it computes, the weights are the same with every strength."""

    def patched(strength: float) -> Any:
        denoiser = model.denoiser.clone()
        denoiser.add_patches({"diffusion_model.conv_in.bias": ("diff", (torch.ones(1),))}, strength)
        return model.with_denoiser(denoiser)

    (kept,) = cancel_in_window(pack, patched(1.0), 7, resume=True, **SIX)
    sample(pack, patched(0.5), resume=True, **SIX)
    assert len(pack.updates) == 12
    assert states(pack) == [kept]
    pack.updates.clear()
    sample(pack, patched(1.0), resume=True, **SIX)
    assert len(pack.updates) == 5


@pytest.mark.usefixtures("each_step_is_written")
def test_a_damaged_state_names_the_file_to_delete(pack, model):
    (kept,) = cancel_in_window(pack, model, 7, resume=True, **SIX)
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{kept.name} .*delete it to start over"):
        sample(pack, model, resume=True, **SIX)
    kept.unlink()
    assert sample(pack, model, resume=True, **SIX).isfinite().all()


@pytest.mark.usefixtures("each_step_is_written")
def test_no_state_is_kept_by_default(pack, model):
    assert cancel_in_window(pack, model, 7, **SIX) == []


@pytest.mark.usefixtures("each_step_is_written")
def test_a_comfyui_without_system_users_keeps_states_beside_its_users(pack, model, monkeypatch):
    import folder_paths

    monkeypatch.delattr(folder_paths, "get_system_user_directory")
    cancel_in_window(pack, model, 7, resume=True, **SIX)
    assert len(list((pack.folder / "user" / "echomimic").iterdir())) == 1


def test_a_cancel_within_a_window_takes_effect_in_the_next_part_of_the_network(pack, model, monkeypatch):
    """A window takes minutes on a CPU."""
    seen = []

    def look():
        seen.append(len(seen))
        if len(seen) == 30:
            raise pack.memory.InterruptProcessingException

    monkeypatch.setattr(pack.memory, "throw_exception_if_processing_interrupted", look)
    with pytest.raises(pack.memory.InterruptProcessingException):
        sample(pack, model)
    assert not pack.updates, "it stopped before the first window was done"
    assert not any(part._forward_pre_hooks for part in model.networks.denoiser.modules())
