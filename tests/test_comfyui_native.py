"""The native MODEL in a real ComfyUI: core's samplers, guiders, loaders and patches; skipped without COMFYUI_PATH."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from echomimic.models import UNetConfig
from tests.comfy_host import STANDARD_FILES, ComfyUI, Listener, Run, checkout_or_skip, node, running
from tests.golden_cases import relative_error
from tests.published import write_published
from tests.recipe import recipe_array

pytestmark = pytest.mark.comfyui

# Two channels a norm group: with one, the time embedding would have no effect.
CONFIG = UNetConfig((64, 64, 128), layers_per_block=1, audio_dim=64)


def graph(
    frames: int,
    steps: int = 4,
    guidance: float = 1.0,
    looped: bool = True,
    sampler: dict[str, dict[str, Any]] | None = None,
    **changes: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Sampling a clip natively, its latent saved under the node's name `native`."""
    nodes = {
        "loaded": node("EchoMimicLoadModel", **STANDARD_FILES),
        "encoder": node("EchoMimicLoadAudioEncoder", audio_encoder="audio_processor/tiny.pt"),
        "sound": node("LoadAudio", audio="echomimic_speech.wav"),
        "speech": node(
            "EchoMimicEncodeAudio",
            audio=["sound", 0],
            audio_encoder=["encoder", 0],
            fps=24,
            start=0,
            duration=2,
            normalize_loudness=False,
        ),
        "clip": node("EchoMimicLoadPose", clip="explaining", fps=24),
        "pose": node("EchoMimicFitPose", pose=["clip", 0], audio=["speech", 0], mode="loop", blend_seconds=0.5),
        "picture": node("LoadImage", image="echomimic_portrait.png"),
        "small": fitted(128),
        "vae": node("EchoMimicLoadBundle", bundle="vae_only.safetensors"),
        "reference": node("VAEEncode", pixels=["small", 0], vae=["vae", 2]),
        "model": node("EchoMimicToModel", model=["loaded", 0], window_length=12, overlap=3, looped=looped),
        "conditions": node(
            "EchoMimicConditioning",
            model=["loaded", 0],
            reference=["reference", 0],
            audio=["speech", 0],
            pose=["pose", 0],
            frames=frames,
            pose_strength=1.0,
            audio_scale=1.0,
        ),
        "schedule": node("EchoMimicSchedule", steps=steps),
        "noise": node("RandomNoise", noise_seed=5),
        "guider": node(
            "CFGGuider",
            model=["model", 0],
            positive=["conditions", 0],
            negative=["conditions", 1],
            cfg=guidance,
        ),
        "sampled": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["schedule", 0],
            sigmas=["schedule", 1],
            latent_image=["conditions", 2],
        ),
        "native": node("SaveLatent", samples=["sampled", 0], filename_prefix="native"),
        **(sampler or {}),
    }
    return {**nodes, **changes}


FRAMING = {"framing": "keep the top", "fill": "edge", "scale": 1.0, "right": 0.0, "down": 0.0}


def fitted(side: int) -> dict[str, Any]:
    """The portrait in a square video of this side."""
    return node("EchoMimicFitPortrait", image=["picture", 0], width=side, height=side, **FRAMING)


def ours(frames: int, steps: int, guidance: float, looped: bool, model: Any = ("loaded", 0)) -> dict[str, Any]:
    """The pack's own sampler in the same graph, its latent saved under `engine`."""
    return {
        "own": node(
            "EchoMimicSampler",
            **{
                "model": list(model),
                "reference": ["reference", 0],
                "audio": ["speech", 0],
                "pose": ["pose", 0],
                "seed": 5,
                "preset": "custom",
                "preset.steps": steps,
                "preset.guidance": guidance,
                "window_length": 12,
                "overlap": 3,
                "looped": looped,
                "frames": frames,
                "pose_strength": 1.0,
                "audio_scale": 1.0,
            },
        ),
        "engine": node("SaveLatent", samples=["own", 0], filename_prefix="engine"),
    }


def ksampler(**inputs: Any) -> dict[str, Any]:
    """Core's KSampler in the place of SamplerCustomAdvanced."""
    given = {
        "model": ["model", 0],
        "seed": 5,
        "steps": 4,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": ["conditions", 0],
        "negative": ["conditions", 1],
        "latent_image": ["conditions", 2],
        "denoise": 1.0,
    }
    return {"sampled": node("KSampler", **{**given, **inputs})}


def latents(run: Run, name: str) -> Tensor:
    """The latent that a node saved."""
    assert not run.error
    saved = run.outputs[name]["latents"][0]
    return load_file(run.server.data / saved["type"] / saved["subfolder"] / saved["filename"])["latent_tensor"]


def native(server: ComfyUI, *arguments: Any, **keywords: Any) -> Tensor:
    return latents(server.run(graph(*arguments, **keywords)), "native")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ComfyUI]:
    with running(checkout_or_skip(), tmp_path_factory.mktemp("comfyui")) as server:
        folder = server.data / "models" / "echomimic"
        write_published(folder, CONFIG, audio=True)
        make_vae_bundle(folder)
        yield server


def make_vae_bundle(folder: Path) -> None:
    """A small VAE where a ComfyUI node can load it: the networks as one bundle."""
    from echomimic.weights import load_weights, save_bundle

    save_bundle(folder / "vae_only.safetensors", load_weights(folder, "standard"))


@pytest.fixture(scope="module")
def plain(server) -> Tensor:
    """Six frames, four steps, no guidance."""
    return native(server, 6)


@pytest.mark.parametrize("steps", [6, 30])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize(("frames", "looped"), [(12, False), (12, True), (30, False), (30, True)])
def test_sampler_and_sigmas_take_the_engines_steps(server, steps, guidance, frames, looped):
    small = fitted(64)  # a quarter of the other tests' pixels: a case takes up to thirty steps of four windows
    run = server.run({**graph(frames, steps, guidance, looped, small=small), **ours(frames, steps, guidance, looped)})
    clip = latents(run, "engine")
    assert clip.shape == (frames, 4, 8, 8)
    assert relative_error(latents(run, "native"), clip) <= 1e-5


def test_plain_ksampler_runs_any_length_and_comes_close(server):
    run = server.run({**graph(30, 10, sampler=ksampler(steps=10)), **ours(30, 10, 1.0, True)})
    assert latents(run, "native").shape == (30, 4, 16, 16)
    assert relative_error(latents(run, "native"), latents(run, "engine")) <= 0.05


def test_dual_guidance_strengthens_the_audio_alone(server, plain):
    silent = {"silent": node("ConditioningZeroOut", conditioning=["conditions", 0])}

    def guided(audio: float) -> Tensor:
        guider = node(
            "DualCFGGuider",
            model=["model", 0],
            cond1=["conditions", 0],
            cond2=["silent", 0],
            negative=["conditions", 1],
            cfg_conds=audio,
            cfg_cond2_negative=1.0,
            style="regular",
        )
        return native(server, 6, **silent, guider=guider)

    assert relative_error(guided(1.0), plain) <= 1e-5
    assert relative_error(guided(3.0), plain) > 0.01


def lora_file(server: ComfyUI, name: str) -> str:
    """A LoRA of rank 2 on one attention layer, by ComfyUI's names."""
    layer = "diffusion_model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    up = torch.from_numpy(recipe_array(f"{name}.up", (64, 2), "lora.")).float()
    down = torch.from_numpy(recipe_array(f"{name}.down", (2, 64), "lora.")).float()
    folder = server.data / "models" / "loras"
    folder.mkdir(exist_ok=True)
    state = {f"{layer}.lora_up.weight": up, f"{layer}.lora_down.weight": down, f"{layer}.alpha": torch.tensor(2.0)}
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{name}.safetensors")
    return f"{name}.safetensors"


def test_a_lora_changes_the_clip_reaches_our_sampler_and_leaves_no_trace(server, plain):
    lora = {
        "lora": node(
            "LoraLoaderModelOnly", model=["model", 0], lora_name=lora_file(server, "person"), strength_model=3.0
        )
    }
    guider = graph(6)["guider"]
    patched = {**lora, "guider": node("CFGGuider", **{**guider["inputs"], "model": ["lora", 0]})}
    back = {"back": node("EchoMimicFromModel", model=["lora", 0])}
    run = server.run({**graph(6, **patched), **back, **ours(6, 4, 1.0, True, ("back", 0))})
    assert relative_error(latents(run, "native"), plain) > 1e-3
    assert relative_error(latents(run, "native"), latents(run, "engine")) <= 1e-5
    server.forget()
    assert torch.equal(native(server, 6), plain)


def whole_lora(server: ComfyUI, name: str, *networks: str) -> int:
    """A LoRA of rank 2 on every attention layer of these networks, as the pack writes it; how many the first has."""
    from echomimic.models import DenoisingUNet, ReferenceUNet
    from echomimic.weights.lora import LowRank, save_lora

    built = {"denoising_unet": DenoisingUNet(CONFIG), "reference_unet": ReferenceUNet(CONFIG)}
    layers = {}
    for network in networks:
        for layer, module in built[network].named_modules():
            if layer.endswith(("to_q", "to_k", "to_v", "to_out.0")):
                outputs, inputs = module.weight.shape
                up = torch.from_numpy(recipe_array(f"{layer}.up", (outputs, 2), f"{name}.")).float()
                down = torch.from_numpy(recipe_array(f"{layer}.down", (2, inputs), f"{name}.")).float()
                layers[network, layer] = LowRank(up=up, down=down, scale=0.3)
    folder = server.data / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_lora(folder / f"{name}.safetensors", layers, {})
    return sum(network == networks[0] for network, _ in layers)


def through_core(name: str) -> dict[str, Any]:
    """Core's LoRA loader before the guider."""
    loader = node("LoraLoaderModelOnly", model=["model", 0], lora_name=f"{name}.safetensors", strength_model=1.0)
    return {"lora": loader, "guider": node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": ["lora", 0]})}


def through_ours(name: str) -> dict[str, Any]:
    """EchoMimic Load LoRA before the MODEL and the conditioning, and its report."""
    nodes = graph(6)
    return {
        "ours": node("EchoMimicLoadLora", model=["loaded", 0], lora=f"{name}.safetensors", strength=1.0),
        "report": node("PreviewAny", source=["ours", 1]),
        "model": node("EchoMimicToModel", **{**nodes["model"]["inputs"], "model": ["ours", 0]}),
        "conditions": node("EchoMimicConditioning", **{**nodes["conditions"]["inputs"], "model": ["ours", 0]}),
    }


def test_cores_lora_loader_takes_every_layer_of_our_files(server, plain):
    count = whole_lora(server, "whole", "denoising_unet")
    log = len(server.log())
    by_core = native(server, 6, **through_core("whole"))
    assert "not loaded" not in server.log()[log:].lower()
    run = server.run(graph(6, **through_ours("whole")))
    assert f"{count} layers of the denoising UNet and 0 layers of the reference UNet" in str(run.outputs["report"])
    assert count > 40
    assert relative_error(by_core, plain) > 1e-2
    assert relative_error(by_core, latents(run, "native")) <= 1e-5


def test_a_lora_on_both_unets_is_half_used_by_core_and_wholly_by_our_loader(server):
    whole_lora(server, "both", "denoising_unet", "reference_unet")
    by_core = native(server, 6, **through_core("both"))
    ours_run = server.run({**graph(6, **through_ours("both")), **ours(6, 4, 1.0, True, ("ours", 0))})
    whole = latents(ours_run, "native")
    assert relative_error(whole, latents(ours_run, "engine")) <= 1e-5
    assert relative_error(whole, by_core) > 1e-3
    back = {"back": node("EchoMimicFromModel", model=["model", 0])}
    again = server.run({**graph(6, **through_ours("both")), **back, **ours(6, 4, 1.0, True, ("back", 0))})
    assert relative_error(latents(again, "engine"), whole) <= 1e-5


def test_previews_show_the_middle_frame_and_our_sampler_says_what_is_left(server):
    listener = Listener(server)
    try:
        prompt = {**graph(6, 4, sampler=ksampler(seed=31)), **ours(6, 4, 1.0, True)}
        prompt_id = server.queue(prompt, client=listener.client, previews="latent2rgb")
        _, messages = listener.messages(prompt_id)
    finally:
        listener.close()
    run = server.wait(prompt_id)
    texts = [m[8:].decode(errors="replace") for m in messages if m[:4] == Listener.TEXT.to_bytes(4, "big")]
    assert any("step 3 of 4, about " in text for text in texts)
    assert "done in " in texts[-1]
    pictures = [m[8:] for m in messages if m[:4] == Listener.PREVIEW.to_bytes(4, "big")]
    assert len(pictures) == 8  # four of each sampler
    pixels = [np.asarray(Image.open(io.BytesIO(p)).resize((16, 16), Image.Resampling.BOX)) / 255 for p in pictures]
    # A preview's colours are a linear function of the latents that it shows: which frame explains them?
    for name in ("native", "engine"):
        clip = latents(run, name)
        fits = [min(misfit(frame, picture) for picture in pixels) for frame in clip]
        assert int(np.argmin(fits)) == 3


def misfit(frame: Tensor, picture: np.ndarray) -> float:
    """What a linear function of a frame's latents `[4, h, w]` leaves unexplained of a picture `[h, w, 3]`."""
    known = np.column_stack([frame.flatten(1).T.numpy(), np.ones(picture[..., 0].size)])
    colours = picture.reshape(-1, 3)
    return float(np.square(colours - known @ np.linalg.lstsq(known, colours, rcond=None)[0]).mean())


def test_saved_model_loads_again_with_our_loader(server, plain):
    saved = server.run(
        {**graph(6), "save": node("ModelSave", model=["model", 0], filename_prefix="denoising_unet_saved")}
    )
    assert not saved.error
    file = next((server.data / "output").rglob("denoising_unet_saved*.safetensors"))
    with safe_open(file, "pt") as written:
        assert all(name.startswith("model.diffusion_model.") or name in ("v_pred", "ztsnr") for name in written.keys())  # noqa: SIM118
    target = server.data / "models" / "echomimic" / "denoising_unet_saved.safetensors"
    target.write_bytes(file.read_bytes())
    chosen = {"denoising_unet": target.name, "motion_module": "(inside denoising_unet)", "variant": "standard"}
    again = native(server, 6, loaded=node("EchoMimicLoadModel", **{**STANDARD_FILES, **chosen}))
    assert relative_error(again, plain) <= 1e-5


def other_model(server: ComfyUI) -> dict[str, Any]:
    """A second denoiser with other weights, as the MODEL `second`."""
    folder = server.data / "models" / "echomimic" / "other"
    if not folder.is_dir():
        write_published(folder, CONFIG, salt="other.", variants=("",), vae=None, audio=False)
    files = {
        role: f"other/{role}.pth" for role in ("denoising_unet", "motion_module", "reference_unet", "pose_encoder")
    }
    return {
        "other": node("EchoMimicLoadModel", **{**STANDARD_FILES, **files}),
        "second": node("EchoMimicToModel", model=["other", 0], window_length=12, overlap=3, looped=True),
    }


def test_a_merge_goes_from_one_models_clip_to_the_others(server, plain):
    def by(model: str, **nodes: Any) -> Tensor:
        guider = node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": [model, 0]})
        return native(server, 6, **other_model(server), **nodes, guider=guider)

    def merged(ratio: float) -> Tensor:
        merge = node("ModelMergeSimple", model1=["model", 0], model2=["second", 0], ratio=ratio)
        return by("merged", merged=merge)

    others = by("second")
    assert relative_error(others, plain) > 0.01
    assert relative_error(merged(1.0), plain) <= 1e-5
    assert relative_error(merged(0.0), others) <= 1e-5
    between = merged(0.5)
    assert relative_error(between, plain) > 0.001 and relative_error(between, others) > 0.001


def test_cores_context_windows_replace_ours(server):
    windows = {
        "windows": node(
            "ContextWindowsManual",
            model=["model", 0],
            context_length=12,
            context_overlap=3,
            context_schedule="standard_static",
            context_stride=1,
            closed_loop=False,
            fuse_method="flat",
            dim=0,
            freenoise=False,
            cond_retain_index_list="",
            split_conds_to_windows=False,
            latent_retain_index_list="",
            causal_window_fix=False,
        ),
        "guider": node("CFGGuider", **{**graph(21)["guider"]["inputs"], "model": ["windows", 0]}),
    }
    own, cores = native(server, 21, looped=False), native(server, 21, looped=False, **windows)
    assert relative_error(cores, own) <= 1e-3


def test_lower_denoise_stays_closer_to_the_finished_clip(server, plain):
    finished = {"finished": graph(6)["sampled"]}

    def again(denoise: float) -> Tensor:
        retake = ksampler(seed=77, denoise=denoise, steps=8, latent_image=["finished", 0])
        return native(server, 6, sampler=retake, **finished)

    little, much = relative_error(again(0.2), plain), relative_error(again(0.8), plain)
    assert 0.001 < little < much


def test_a_noise_mask_changes_only_its_frames(server):
    masked = {
        "finished": graph(20)["sampled"],
        "black": node("SolidMask", value=0.0, width=128, height=128),
        "white": node("SolidMask", value=1.0, width=128, height=128),
        "images_black": node("MaskToImage", mask=["black", 0]),
        "images_white": node("MaskToImage", mask=["white", 0]),
        "before": node("RepeatImageBatch", image=["images_black", 0], amount=8),
        "middle": node("RepeatImageBatch", image=["images_white", 0], amount=4),
        "joined": node("ImageBatch", image1=["before", 0], image2=["middle", 0]),
        "all": node("ImageBatch", image1=["joined", 0], image2=["before", 0]),
        "mask": node("ImageToMask", image=["all", 0], channel="red"),
        "partly": node("SetLatentNoiseMask", samples=["finished", 0], mask=["mask", 0]),
    }
    run = server.run(
        {
            **graph(20, sampler=ksampler(seed=9, latent_image=["partly", 0]), **masked),
            "before_it": node("SaveLatent", samples=["finished", 0], filename_prefix="finished"),
        }
    )
    again, first = latents(run, "native"), latents(run, "before_it")
    kept = [*range(8), *range(12, 20)]
    assert relative_error(again[kept], first[kept]) <= 1e-5
    assert relative_error(again[8:12], first[8:12]) > 0.05


def test_a_retake_by_the_published_steps_keeps_the_other_frames(server):
    """Those steps end with a little noise left in, which the kept frames may not show."""
    masked = {
        "finished": graph(20)["sampled"],
        "chosen": node("EchoMimicRetakeFrames", latent=["finished", 0], first=8, last=11),
        "noise_again": node("RandomNoise", noise_seed=9),
        "sampled": node(
            "SamplerCustomAdvanced",
            **{**graph(20)["sampled"]["inputs"], "noise": ["noise_again", 0], "latent_image": ["chosen", 0]},
        ),
        "before_it": node("SaveLatent", samples=["finished", 0], filename_prefix="finished"),
    }
    run = server.run(graph(20, **masked))
    again, first = latents(run, "native"), latents(run, "before_it")
    kept = [*range(8), *range(12, 20)]
    assert relative_error(again[kept], first[kept]) <= 1e-5
    assert relative_error(again[8:12], first[8:12]) > 0.05


def easy_cache(kind: str) -> dict[str, Any]:
    return {
        "cached": node(
            kind, model=["model", 0], reuse_threshold=0.2, start_percent=0.15, end_percent=0.95, verbose=False
        ),
        "guider": node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": ["cached", 0]}),
    }


def test_easycache_runs_on_one_open_window(server):
    cached = native(server, 6, 12, looped=False, **easy_cache("EasyCache"))
    assert relative_error(cached, native(server, 6, 12, looped=False)) < 0.6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (easy_cache("EasyCache"), "EasyCache cannot tell windows apart"),
        (easy_cache("LazyCache"), "LazyCache gives wrong frames"),
        (
            {
                "free": node("FreeU", model=["model", 0], b1=1.1, b2=1.2, s1=0.9, s2=0.2),
                "guider": node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": ["free", 0]}),
            },
            "cannot change EchoMimic's",
        ),
        (
            {
                "sag": node("SelfAttentionGuidance", model=["model", 0], scale=0.5, blur_sigma=2.0),
                "guider": node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": ["sag", 0]}),
            },
            "patches Stable Diffusion's attention",
        ),
    ],
)
def test_what_cannot_work_ends_in_a_sentence(server, changes, words):
    run = server.run(graph(6, **changes))
    assert words in run.error


def test_other_conditioning_and_other_lengths_are_refused_with_a_sentence(server):
    longer = {"longer": node("EmptyLatentImage", width=128, height=128, batch_size=9)}
    run = server.run(graph(6, sampler=ksampler(latent_image=["longer", 0]), **longer))
    assert "the latent has 9 frames, but the conditioning was made for 6" in run.error
    larger = {"larger": node("EmptyLatentImage", width=192, height=128, batch_size=6)}
    run = server.run(graph(6, sampler=ksampler(latent_image=["larger", 0]), **larger))
    assert "192x128 pixels, but the reference is 128x128" in run.error


def test_both_layouts_give_the_same_clip(server, plain):
    turned = {
        "video": node("EchoMimicClipLatent", latent=["conditions", 2]),
        "sampled": node("SamplerCustomAdvanced", **{**graph(6)["sampled"]["inputs"], "latent_image": ["video", 0]}),
        "back": node("EchoMimicClipLatent", latent=["sampled", 0]),
        "native": node("SaveLatent", samples=["back", 0], filename_prefix="native"),
    }
    video = native(server, 6, **turned)
    assert video.shape == plain.shape
    # The noise of a video is drawn in another order, so the clips differ; both are clips.
    assert video.isfinite().all()


@pytest.mark.parametrize("sampler", [{}, ksampler(steps=200)], ids=["SamplerCustomAdvanced", "KSampler"])
def test_cancel_stops_within_a_step_and_the_model_still_works(server, plain, sampler):
    listener = Listener(server)
    try:
        prompt_id = server.queue(graph(40, 200, sampler=sampler), client=listener.client)
        listener.until("progress", lambda data: data["max"] == 200 and data["value"] >= 2)
        server.post("/interrupt", {})
        events, _ = listener.messages(prompt_id)
    finally:
        listener.close()
    assert server.wait(prompt_id).interrupted
    # A step that was just ending may still be told.
    assert len([event for event in events if event["type"] == "progress"]) <= 1
    assert relative_error(native(server, 6), plain) <= 1e-5


def test_a_compiled_model_gives_the_same_clip(server, plain):
    compiled = {
        "compiled": node("TorchCompileModel", model=["model", 0], backend="inductor"),
        "guider": node("CFGGuider", **{**graph(6)["guider"]["inputs"], "model": ["compiled", 0]}),
    }
    assert relative_error(native(server, 6, **compiled), plain) <= 1e-3
