"""The loaders, over stand-ins for ComfyUI: what they find, what they refuse, how ComfyUI gets hold of the networks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.pack import Pack
from tests.published import TINY, write_published

STANDARD = {"denoising_unet": "denoising_unet.pth", "motion_module": "motion_module.pth"}
ACCELERATED = {"denoising_unet": "denoising_unet_acc.pth", "motion_module": "motion_module_acc.pth"}
SHARED = {"reference_unet": "reference_unet.pth", "pose_encoder": "pose_encoder.pth"}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"), TINY)


@pytest.fixture
def stocked(pack: Pack, published: Path) -> Pack:
    """The pack with the published files in models/echomimic."""
    shutil.copytree(published, pack.models, dirs_exist_ok=True)
    return pack


def options(pack: Pack, node_id: str, name: str) -> list[str]:
    schema = pack.nodes[node_id].GET_SCHEMA()
    return next(entry.options["options"] for entry in schema.inputs if entry.id == name)


@pytest.mark.parametrize(("files", "variant", "steps"), [(STANDARD, "standard", 30), (ACCELERATED, "accelerated", 6)])
def test_published_files_load(stocked, files, variant, steps):
    (model,) = stocked.run("EchoMimicLoadModel", **files, **SHARED)
    assert model.networks.variant == variant
    assert model.networks.settings.steps == steps
    assert model.config.block_out_channels == TINY.block_out_channels


def test_defaults_belong_together_and_are_the_accelerated_ones(stocked):
    (model,) = stocked.run("EchoMimicLoadModel")
    assert model.networks.variant == "accelerated"


def test_networks_are_built_of_the_hosts_layers_and_attention(stocked):
    import comfy.ldm.modules.attention as attention
    import comfy.ops

    (model,) = stocked.run("EchoMimicLoadModel")
    denoiser = model.networks.denoiser
    layers = [m for m in denoiser.modules() if next(m.parameters(recurse=False), None) is not None]
    hosts = (comfy.ops.manual_cast.Linear, comfy.ops.manual_cast.Conv2d)
    hosts += (comfy.ops.manual_cast.GroupNorm, comfy.ops.manual_cast.LayerNorm)
    assert all(isinstance(layer, hosts) for layer in layers)
    before = attention.calls
    denoiser(torch.zeros(1, 4, 2, 8, 8), 0)
    assert attention.calls > before


def test_layers_that_hold_nothing_before_they_are_filled_load_too(stocked, monkeypatch):
    """ComfyUI's Linear is so under dynamic VRAM, its default on NVIDIA cards."""
    import comfy.ops

    class Lazy(torch.nn.Linear):
        def __init__(self, inputs, outputs, bias=True, device=None, dtype=None):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features, self.weight, self.bias = inputs, outputs, None, None

        def _load_from_state_dict(self, state, prefix, *_):
            self.weight = torch.nn.Parameter(state[f"{prefix}weight"], requires_grad=False)
            if f"{prefix}bias" in state:
                self.bias = torch.nn.Parameter(state[f"{prefix}bias"], requires_grad=False)

    (eager,) = stocked.run("EchoMimicLoadModel")
    monkeypatch.setattr(comfy.ops.manual_cast, "Linear", Lazy)
    (lazy,) = stocked.run("EchoMimicLoadModel")
    latents = torch.randn(1, 4, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(lazy.networks.denoiser(latents, 5), eager.networks.denoiser(latents, 5))


def test_comfyui_gets_a_handle_on_every_network_and_loads_them_together(stocked):
    (model,) = stocked.run("EchoMimicLoadModel")
    networks = model.networks
    base, *held = [patcher.model for patcher in model.patchers]
    assert base.diffusion_model is networks.denoiser
    assert held == [networks.reference_unet, networks.pose_encoder]
    model.to_device(12345)
    assert stocked.memory.loads == [(model.patchers, 12345)]


def test_the_other_packs_folder_is_found(pack, published):
    other = pack.folder / "models" / "echo_mimic" / "v2"
    shutil.copytree(published, other)
    names = options(pack, "EchoMimicLoadModel", "denoising_unet")
    assert names[0] == "v2/denoising_unet_acc.pth"
    (model,) = pack.run("EchoMimicLoadModel")
    assert model.networks.variant == "accelerated"


def test_mixed_variants_are_refused(stocked):
    mixed = {"denoising_unet": "denoising_unet.pth", "motion_module": "motion_module_acc.pth"}
    with pytest.raises(ValueError, match="Both must be standard, or both accelerated"):
        stocked.run("EchoMimicLoadModel", **mixed, **SHARED)


@pytest.mark.parametrize("chosen", ["denoising_unet.pth", "denoising_unet_acc.pth", None])
def test_files_that_are_there_or_linked_pass_before_the_run(stocked, chosen):
    assert stocked.nodes["EchoMimicLoadModel"].validate_inputs(denoising_unet=chosen) is True


def test_renamed_files_need_the_variant(stocked):
    for new, old in (("mine.pth", "denoising_unet.pth"), ("my_motion.pth", "motion_module.pth")):
        (stocked.models / old).rename(stocked.models / new)
    chosen = {"denoising_unet": "mine.pth", "motion_module": "my_motion.pth"}
    with pytest.raises(ValueError, match="choose standard or accelerated"):
        stocked.run("EchoMimicLoadModel", **chosen, **SHARED)
    (model,) = stocked.run("EchoMimicLoadModel", **chosen, **SHARED, variant="standard")
    assert model.networks.variant == "standard"


def test_without_files_one_message_names_all_six(pack):
    (name,) = options(pack, "EchoMimicLoadModel", "denoising_unet")
    message = pack.nodes["EchoMimicLoadModel"].validate_inputs(denoising_unet=name)
    published = "denoising_unet_acc.pth, motion_module_acc.pth, reference_unet.pth, pose_encoder.pth"
    assert f"download {published} from https://huggingface.co/BadToBest/EchoMimicV2 into {pack.models}" in message
    assert f"audio_processor/tiny.pt into {pack.models / 'audio_processor'}" in message
    assert f"vae-ft-mse-840000-ema-pruned.safetensors into {pack.models.parent / 'vae'}" in message


def test_what_is_there_is_not_called_missing(stocked):
    vae = stocked.folder / "models" / "vae"
    vae.mkdir()
    (vae / "some.safetensors").touch()
    message = stocked.nodes["EchoMimicLoadModel"].validate_inputs(denoising_unet="other.pth")
    assert "download other.pth, motion_module.pth" not in message
    assert "download other.pth from" in message and "vae-ft" not in message


def test_a_workflows_files_that_are_not_there_are_named(pack):
    message = pack.nodes["EchoMimicLoadModel"].validate_inputs(denoising_unet="denoising_unet.pth")
    assert "download denoising_unet.pth, motion_module.pth, reference_unet.pth, pose_encoder.pth from" in message


@pytest.mark.parametrize(
    ("node_id", "widget"),
    [
        *(
            ("EchoMimicLoadModel", role)
            for role in ("denoising_unet", "motion_module", "reference_unet", "pose_encoder")
        ),
        ("EchoMimicLoadAudioEncoder", "audio_encoder"),
    ],
)
def test_core_leaves_missing_files_to_that_message(pack, node_id, widget):
    (entry,) = [entry for entry in pack.nodes[node_id].GET_SCHEMA().inputs if entry.id == widget]
    listed = entry.options["options"]
    assert "not_there.pth" in listed
    assert json.loads(json.dumps(listed)) == list(listed)


def test_a_file_that_went_away_is_named(stocked):
    (stocked.models / "pose_encoder.pth").unlink()
    with pytest.raises(ValueError, match=r"missing: download pose_encoder.pth from https://huggingface"):
        stocked.run("EchoMimicLoadModel", **STANDARD, **SHARED)


def test_a_name_cannot_lead_out_of_the_folder(stocked, tmp_path):
    shutil.copyfile(stocked.models / "denoising_unet.pth", tmp_path / "outside.pth")
    with pytest.raises(ValueError, match="model files are missing"):
        stocked.run("EchoMimicLoadModel", denoising_unet="../../../outside.pth", motion_module="motion_module.pth")


def test_a_foreign_file_is_refused_by_name(stocked):
    with pytest.raises(ValueError, match=r"pose_encoder.pth is a pose encoder, but a reference UNet is needed"):
        stocked.run(
            "EchoMimicLoadModel", **STANDARD, reference_unet="pose_encoder.pth", pose_encoder="pose_encoder.pth"
        )


@pytest.fixture(scope="module")
def bundle(published, tmp_path_factory) -> Path:
    from echomimic.weights import load_weights, save_bundle

    path = tmp_path_factory.mktemp("bundle") / "small.safetensors"
    save_bundle(path, load_weights(published, "accelerated"))
    return path


def test_bundle_gives_model_audio_encoder_and_vae(pack, bundle):
    shutil.copyfile(bundle, pack.models / "small.safetensors")
    model, encoder, vae = pack.run("EchoMimicLoadBundle", bundle="small.safetensors")
    assert model.networks.variant == "accelerated"
    assert encoder.encode_audio(torch.zeros(1, 1, 16000), 16000)["encoded_audio"].shape == (1, 50, TINY.audio_dim)
    sizes = vae.config["params"]["ddconfig"]
    assert (sizes["ch"], sizes["ch_mult"], sizes["num_res_blocks"]) == (32, [1, 1, 2, 2], 1)


def test_a_bundles_vae_has_its_own_norm_groups(pack, tmp_path):
    from echomimic.weights import load_weights, save_bundle

    sizes = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 8}
    published = write_published(tmp_path, TINY, variants=("_acc",), vae=sizes)
    save_bundle(pack.models / "groups.safetensors", load_weights(published, "accelerated", config=TINY))
    _, _, vae = pack.run("EchoMimicLoadBundle", bundle="groups.safetensors")
    assert vae.first_stage_model[0].num_groups == 8


def test_bundle_without_vae_stops_only_what_needs_it(pack, published):
    from echomimic.weights import load_weights, save_bundle

    networks = load_weights(published, "accelerated", with_audio_encoder=False, with_vae=False)
    save_bundle(pack.models / "bare.safetensors", networks)
    model, encoder, vae = pack.run("EchoMimicLoadBundle", bundle="bare.safetensors")
    assert model.networks.variant == "accelerated"
    assert "without audio encoder" in encoder.message and "EchoMimic Load Audio Encoder" in encoder.message
    assert "without VAE" in vae.message and "Load VAE" in vae.message


def test_published_parts_are_not_offered_as_bundles(pack, bundle, published):
    shutil.copyfile(bundle, pack.models / "small.safetensors")
    for stem in ("denoising_unet_acc", "reference_unet"):
        (pack.models / f"{stem}.safetensors").touch()
    assert "small.safetensors" in (names := options(pack, "EchoMimicLoadBundle", "bundle"))
    assert not [name for name in names if "unet" in name]


def test_bundle_that_is_none_is_refused(pack):
    (pack.models / "other.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError, match="is not a bundle of EchoMimicV2"):
        pack.run("EchoMimicLoadBundle", bundle="other.safetensors")


def test_audio_encoder_is_found_in_both_folders(stocked):
    own = stocked.folder / "models" / "audio_encoders"
    own.mkdir()
    shutil.copyfile(stocked.models / "audio_processor" / "tiny.pt", own / "whisper_tiny.pt")
    names = options(stocked, "EchoMimicLoadAudioEncoder", "audio_encoder")
    assert set(names) == {"audio_processor/tiny.pt", "whisper_tiny.pt"}
    for name in names:
        (encoder,) = stocked.run("EchoMimicLoadAudioEncoder", audio_encoder=name)
        assert len(encoder.encode_audio(torch.zeros(1, 2, 44100), 44100)["encoded_audio_all_layers"]) == 5


class TestFilesOfOtherPlaces:
    """Workflows are shared between systems, and between people who keep the files in other folders."""

    @pytest.fixture
    def on_windows(self, stocked, monkeypatch):
        """The lists as Windows has them."""
        import folder_paths

        listed = folder_paths.get_filename_list
        monkeypatch.setattr(
            folder_paths, "get_filename_list", lambda folder: [name.replace("/", "\\") for name in listed(folder)]
        )
        found = folder_paths.get_full_path
        monkeypatch.setattr(folder_paths, "get_full_path", lambda folder, name: found(folder, name.replace("\\", "/")))
        return stocked

    def test_the_audio_encoder_of_a_workflow_with_slashes(self, on_windows):
        assert options(on_windows, "EchoMimicLoadAudioEncoder", "audio_encoder") == ["audio_processor\\tiny.pt"]
        (encoder,) = on_windows.run("EchoMimicLoadAudioEncoder", audio_encoder="audio_processor/tiny.pt")
        assert len(encoder.encode_audio(torch.zeros(1, 2, 44100), 44100)["encoded_audio_all_layers"]) == 5

    def test_names_with_backslashes_elsewhere(self, stocked, bundle):
        assert stocked.run("EchoMimicLoadAudioEncoder", audio_encoder="audio_processor\\tiny.pt")
        (stocked.models / "mine").mkdir()
        shutil.copyfile(bundle, stocked.models / "mine" / "small.safetensors")
        node = stocked.nodes["EchoMimicLoadBundle"]
        assert node.validate_inputs(bundle="mine\\small.safetensors") is True
        assert node.validate_inputs(bundle=None) is True  # linked
        assert stocked.run("EchoMimicLoadBundle", bundle="mine\\small.safetensors")

    def test_the_same_files_in_another_folder(self, pack, published, caplog):
        shutil.copytree(published, pack.folder / "models" / "echo_mimic" / "v2")
        assert pack.nodes["EchoMimicLoadModel"].validate_inputs(denoising_unet="denoising_unet.pth") is True
        with caplog.at_level("INFO"):
            (model,) = pack.run("EchoMimicLoadModel", **STANDARD, **SHARED)
        assert model.networks.variant == "standard"
        assert "denoising_unet.pth is not listed: v2/denoising_unet.pth is taken" in caplog.text

    def test_of_two_namesakes_none_is_guessed(self, stocked):
        for folder in ("one", "two"):
            (stocked.models / folder).mkdir()
            shutil.copyfile(stocked.models / "pose_encoder.pth", stocked.models / folder / "other.pth")
        with pytest.raises(ValueError, match=r"download other\.pth"):
            stocked.run("EchoMimicLoadModel", denoising_unet="other.pth")

    def test_the_only_whisper_under_another_name(self, stocked):
        place = stocked.models / "audio_processor"
        (place / "tiny.pt").rename(place / "whisper_tiny.pt")
        assert stocked.run("EchoMimicLoadAudioEncoder", audio_encoder="audio_processor/tiny.pt")

    def test_a_bundle_that_is_not_there_is_named_before_the_run(self, pack):
        assert "gone.safetensors is not there" in pack.nodes["EchoMimicLoadBundle"].validate_inputs("gone.safetensors")

    def test_a_bundle_that_was_made_again_is_read_again(self, pack, bundle):
        path = pack.models / "small.safetensors"
        shutil.copyfile(bundle, path)
        node = pack.nodes["EchoMimicLoadBundle"]
        before = node.fingerprint_inputs(bundle="small.safetensors")
        assert before and before == node.fingerprint_inputs(bundle="small.safetensors")
        os.utime(path, (1, 1))
        assert node.fingerprint_inputs(bundle="small.safetensors") != before
        assert node.fingerprint_inputs(bundle=None) is None


def test_missing_audio_encoder_is_named_with_source_and_target(pack):
    (name,) = options(pack, "EchoMimicLoadAudioEncoder", "audio_encoder")
    with pytest.raises(ValueError, match=r"download https://huggingface.co/.*/tiny.pt into .*audio_processor"):
        pack.run("EchoMimicLoadAudioEncoder", audio_encoder=name)


def test_folders_that_extra_model_paths_added_are_kept(pack, published):
    import folder_paths

    elsewhere = pack.folder / "elsewhere"
    shutil.copytree(published, elsewhere)
    folder_paths.use(pack.folder)
    folder_paths.add_model_folder_path("echomimic", str(elsewhere))  # with no file endings, as ComfyUI leaves it
    pack.part("nodes.folders").register_folders()
    names = pack.part("nodes.folders").model_files()
    assert "denoising_unet.pth" in names
    assert not [name for name in names if name.endswith(".json")]


def test_read_only_installation_still_loads(pack, monkeypatch, caplog):
    samples = pack.part("nodes.samples")

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(samples.shutil, "copyfile", refuse)
    input_file(pack, "portrait.png").unlink(missing_ok=True)
    samples.offer_samples()
    assert "portrait.png is not offered" in caplog.text


def input_file(pack, sample: str) -> Path:
    """A sample's copy in the input folder."""
    return pack.folder / "input" / f"echomimic_{sample}"


def test_an_earlier_version_of_a_sample_is_renewed(pack, monkeypatch, tmp_path):
    samples = pack.part("nodes.samples")
    copy = input_file(pack, "portrait.png")
    copy.write_bytes(b"an earlier portrait")
    versions = json.loads(samples.VERSIONS.read_text())
    versions["portrait.png"].insert(0, hashlib.sha256(b"an earlier portrait").hexdigest())
    monkeypatch.setattr(samples, "VERSIONS", tmp_path / "samples.json")
    samples.VERSIONS.write_text(json.dumps(versions))
    samples.offer_samples()
    assert copy.read_bytes() == (samples.ASSETS / "portrait.png").read_bytes()


def test_a_sample_that_a_person_has_changed_stays(pack):
    samples = pack.part("nodes.samples")
    copy = input_file(pack, "speech.wav")
    copy.write_bytes(b"a voice of one's own")
    samples.offer_samples()
    assert copy.read_bytes() == b"a voice of one's own"


def test_a_missing_sample_comes_back_and_a_present_one_is_not_written_again(pack):
    samples = pack.part("nodes.samples")
    samples.offer_samples()
    present, missing = input_file(pack, "portrait.png"), input_file(pack, "speech.wav")
    written = present.stat().st_mtime_ns
    missing.unlink()
    samples.offer_samples()
    assert missing.read_bytes() == (samples.ASSETS / "speech.wav").read_bytes()
    assert present.stat().st_mtime_ns == written
