"""The native MODEL's parts over stand-ins; tests/test_comfyui_native.py runs them in a real ComfyUI."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.published import TINY, write_published
from tests.test_nodes_sampling import Speech, poses, reference


@pytest.fixture
def model(pack) -> Any:
    write_published(pack.models, TINY, variants=("",), audio=False, vae=None)
    return pack.run("EchoMimicLoadModel")[0]


def conditioning(pack, model, **inputs):
    given = {"model": model, "reference": reference(), "audio": Speech(), **inputs}
    return pack.run("EchoMimicConditioning", **given)


def test_to_model_and_back_is_the_same_denoiser(pack, model):
    (handle,) = pack.run("EchoMimicToModel", model=model)
    (back,) = pack.run("EchoMimicFromModel", model=handle)
    assert back.networks.denoiser is model.networks.denoiser
    assert back.denoiser is handle and back.reference_unet is model.reference_unet


def test_a_foreign_model_is_refused(pack):
    with pytest.raises(ValueError, match="make it with EchoMimic To MODEL"):
        pack.run("EchoMimicFromModel", model=object())


def test_windows_are_the_engines(pack, model):
    (handle,) = pack.run("EchoMimicToModel", model=model, window_length=4, overlap=1, looped=True)
    handler = handle.model_options["context_handler"]
    handler._step = 2
    windows = pack.part("echomimic.sampling").windows
    assert handler.schedule(10, handler, {}) == windows(10, 4, 1, 2, True)
    assert handler.should_use_context(None, None, torch.zeros(3, 4, 2, 2), None, {})
    (plain,) = pack.run("EchoMimicToModel", model=model, window_length=4, overlap=1, looped=False)
    assert not plain.model_options["context_handler"].should_use_context(None, None, torch.zeros(3, 4, 2, 2), None, {})


def test_an_impossible_overlap_is_refused(pack, model):
    with pytest.raises(ValueError, match="overlap must be"):
        pack.run("EchoMimicToModel", model=model, window_length=4, overlap=4)


def test_conditioning_has_one_latent_a_frame(pack, model):
    positive, negative, latent = conditioning(pack, model, pose=poses(pack), frames=7)
    assert latent["samples"].shape == (7, 4, *reference()["samples"].shape[-2:])
    assert positive[0][0].shape == (7, 50, TINY.audio_dim)
    condition = positive[0][1]["echomimic"]
    assert condition.frames == tuple(range(7)) and condition.pose is not None
    assert positive[0][1]["additional_models"] == [model.pose_encoder]
    assert negative[0][1]["echomimic"].reference is None


def test_the_two_layouts_of_a_latent_are_inverse(pack):
    clip = torch.randn(5, 4, 2, 3)
    (video,) = pack.run("EchoMimicClipLatent", latent={"samples": clip, "noise_mask": 1})
    assert video["samples"].shape == (1, 4, 5, 2, 3) and video["noise_mask"] == 1
    (back,) = pack.run("EchoMimicClipLatent", latent=video)
    assert torch.equal(back["samples"], clip)
    with pytest.raises(ValueError, match=r"got \[2, 4, 5, 2, 3\]"):
        pack.run("EchoMimicClipLatent", latent={"samples": torch.zeros(2, 4, 5, 2, 3)})


def test_a_retake_masks_its_frames_and_keeps_the_clip(pack):
    clip = torch.randn(8, 4, 2, 3)
    (chosen,) = pack.run("EchoMimicRetakeFrames", latent={"samples": clip}, first=2, last=4)
    assert chosen["samples"].data_ptr() == clip.data_ptr() and torch.equal(chosen["samples"], clip)  # no copy
    assert chosen["noise_mask"].shape == (8, 2, 3)
    assert chosen["noise_mask"].amax(dim=(1, 2)).tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("first", "last"), [(8, 9), (5, 4)])
def test_a_retake_of_frames_that_are_not_there_is_refused(pack, first, last):
    with pytest.raises(ValueError, match=f"frames {first} to {last} are not in a clip of 8 frames"):
        pack.run("EchoMimicRetakeFrames", latent={"samples": torch.zeros(8, 4, 2, 3)}, first=first, last=last)


def test_a_window_of_a_condition_keeps_its_frames(pack):
    condition = pack.part("nodes.native.condition").Condition(tuple(range(10)))
    assert condition.take([8, 9, 0, 1]).frames == (8, 9, 0, 1)


def test_chunks_of_a_batch_are_conditioned_each_on_its_own(pack, model):
    """What core hands over for guidance: the unconditional chunk first, both with all frames of the window."""
    frames, generator = 3, torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, frames, 16, 16, generator=generator)
    audio = torch.randn(1, frames, 50, TINY.audio_dim, generator=generator)
    portrait = torch.randn(1, 4, 16, 16, generator=generator)
    denoiser = model.networks.denoiser
    with torch.no_grad():
        tokens = model.networks.reference_unet(portrait)
        pose = torch.randn(1, TINY.block_out_channels[0], frames, 16, 16, generator=generator)
        conditional = denoiser.predict(latents, 500, audio, pose, tokens)
        plain = denoiser.predict(latents, 500)
        clip = latents[0].transpose(0, 1)
        both = denoiser(
            torch.cat([clip, clip]),
            torch.full((2 * frames,), 500.0),
            context=torch.cat([torch.zeros_like(audio[0]), audio[0]]),
            transformer_options={},
            references=[None, tokens],
            pose=torch.cat([torch.zeros_like(pose), pose]),
            audio_scales=[1.0, 1.0],
        )
    expected = torch.cat([plain[0].transpose(0, 1), conditional[0].transpose(0, 1)])
    torch.testing.assert_close(both, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "control", "words"),
    [
        ({"patches": {"output_block_patch": [1]}}, None, "patches Stable Diffusion's attention"),
        ({"patches_replace": {"attn1": {}}}, None, "attn1"),
        ({}, {"output": []}, "ControlNets"),
    ],
)
def test_what_cannot_work_is_a_sentence(pack, options, control, words):
    with pytest.raises(ValueError, match=words):
        pack.part("nodes.native.denoiser").check_supported(control, options)


@pytest.mark.parametrize("steps", [6, 61])  # diffusers lists one timestep too many for 61
def test_a_schedule_has_a_noise_level_a_step_and_zero_at_the_end(pack, steps):
    sampler, sigmas = pack.run("EchoMimicSchedule", steps=steps)
    assert sigmas.shape == (steps + 1,) and sigmas[-1] == 0
    assert (sigmas[:-1] > sigmas[1:]).all()
    assert len(sampler.extra_options["schedule"]) == steps


def test_frames_that_a_noise_mask_keeps_end_as_they_began(pack):
    """The published steps end with noise left in, which no frame outside a retake may show."""
    sampler, sigmas = pack.run("EchoMimicSchedule", steps=6)
    generator = torch.Generator().manual_seed(0)
    clip, noise = (torch.randn(4, 4, 2, 2, generator=generator) for _ in range(2))
    mask = torch.zeros(4, 1, 1, 1)
    mask[1:3] = 1

    class Masked:
        """Core's wrapper: what the mask keeps is the clip, whatever the network says."""

        def __init__(self) -> None:
            table = pack.part("nodes.native.schedule").make_sigmas(sampler.extra_options["schedule"])
            times = [step.timestep for step in sampler.extra_options["schedule"].steps]
            nearest = SimpleNamespace(
                timestep=lambda sigma: torch.tensor(times[int((table[:-1] - sigma).abs().argmin())])
            )
            self.inner_model = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=nearest))

        def __call__(self, x, sigma, denoise_mask, **keywords):
            return torch.zeros_like(clip) * denoise_mask + clip * (1 - denoise_mask)

    sample = pack.part("nodes.native.schedule").sample_ddim
    start = clip + noise * sigmas[0]
    ended = sample(Masked(), start, sigmas, {"denoise_mask": mask}, **sampler.extra_options)
    assert torch.equal(ended[[0, 3]], clip[[0, 3]])
    assert ended[1:3].abs().max() > 1e-3  # the noise that the schedule leaves in the others
    # SplitSigmas at the end leaves the last level alone: no step, and nothing changes.
    assert torch.equal(sample(Masked(), start, sigmas[-1:], {"denoise_mask": mask}, **sampler.extra_options), start)


def lora_file(pack: Any, model: Any, name: str = "me", **extra: torch.Tensor) -> Any:
    """A LoRA on one layer of each UNet, written by the pack, with further tensors."""
    lora = pack.part("echomimic.weights.lora")
    layers = {}
    for network, module in lora.lora_targets(model.networks).items():
        layer = next(name for name, _ in module.named_modules() if name.endswith("attn1.to_q"))
        outputs, inputs = module.get_submodule(layer).weight.shape
        layers[network, layer] = lora.LowRank(torch.ones(2, inputs), torch.ones(outputs, 2), 0.5)
    folder = pack.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    lora.save_lora(path, layers, {})
    if extra:
        save_file({**load_file(path), **extra}, path)
    return path


def test_a_lora_goes_on_both_unets_and_leaves_the_loaded_model_alone(pack, model):
    lora_file(pack, model)
    patched, report = pack.run("EchoMimicLoadLora", model=model, lora="me.safetensors", strength=0.5)
    (denoiser,), (reference_unet,) = patched.denoiser.patches.items(), patched.reference_unet.patches.items()
    assert denoiser[0].startswith("diffusion_model.") and denoiser[0].endswith("attn1.to_q.weight")
    assert not reference_unet[0].startswith("diffusion_model.")
    strength, (up, down, alpha) = denoiser[1]
    assert (strength, float(alpha), up.shape[1], down.shape[0]) == (0.5, 1.0, 2, 2)
    assert report == "me.safetensors: 1 layers of the denoising UNet and 1 layers of the reference UNet changed"
    assert not model.denoiser.patches and not model.reference_unet.patches


def test_patches_with_another_strength_or_alpha_are_other_ones(pack, model):
    """A kept render must not be continued with them, by whichever loader they came."""
    hash_patches = pack.part("nodes.sampling").hash_patches
    path = lora_file(pack, model)

    def hashes(strength: float = 1.0) -> tuple[str, str]:
        (patched, _) = pack.run("EchoMimicLoadLora", model=model, lora="me.safetensors", strength=strength)
        return hash_patches(patched.denoiser), hash_patches(patched.reference_unet)

    first = hashes()
    assert hashes() == first
    assert all(one != other for one, other in zip(hashes(0.5), first))
    tensors = load_file(path)
    save_file({name: value * 4 if name.endswith(".alpha") else value for name, value in tensors.items()}, path)
    assert all(one != other for one, other in zip(hashes(), first))

    # Core's own patches: an adapter, functions, and a key with an offset.
    def core(alpha: float, down: float = 1.0) -> str:
        adapter = SimpleNamespace(weights=(torch.ones(4, 2), torch.full((2, 4), down), alpha, None))
        patches = {"a.weight": [(1.0, adapter, 1.0, None, lambda weight: weight)], ("b.weight", (0, 1, 2)): []}
        return hash_patches(SimpleNamespace(patches=patches))

    assert core(1.0) == core(1.0)
    assert len({core(1.0), core(2.0), core(1.0, 3.0)}) == 3


def test_a_lora_that_was_trained_again_is_read_again(pack, model):
    """`avatar` with more videos writes the same name."""
    path, node = lora_file(pack, model), pack.nodes["EchoMimicLoadLora"]
    before = node.fingerprint_inputs(lora="me.safetensors", strength=1.0)
    assert before[0] and node.fingerprint_inputs(lora="me.safetensors") == before
    os.utime(path, (1, 1))
    assert node.fingerprint_inputs(lora="me.safetensors") != before
    assert node.fingerprint_inputs(lora=None) == node.fingerprint_inputs(lora="gone.safetensors") == (None, None)


def test_what_of_a_lora_has_no_place_is_named(pack, model, caplog):
    lora_file(pack, model, **{"lora_te_text_model.lora_up.weight": torch.zeros(4, 2)})
    _, report = pack.run("EchoMimicLoadLora", model=model, lora="me.safetensors")
    assert "1 tensors have no place in the networks: lora_te_text_model.lora_up.weight" in report
    assert report in caplog.text


def test_a_lora_on_the_reference_comes_back_from_a_model(pack, model):
    lora_file(pack, model)
    (patched, _) = pack.run("EchoMimicLoadLora", model=model, lora="me.safetensors")
    (handle,) = pack.run("EchoMimicToModel", model=patched)
    (back,) = pack.run("EchoMimicFromModel", model=handle.clone())
    assert back.reference_unet is patched.reference_unet


def test_a_lora_that_is_not_there_is_named_with_its_folder(pack, model):
    with pytest.raises(ValueError, match=r"the LoRA gone.safetensors is not there: put LoRA files into .*loras"):
        pack.run("EchoMimicLoadLora", model=model, lora="gone.safetensors")
