"""Small real files of every kind, made once."""

from __future__ import annotations

import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file

from echomimic.models import RECOMMENDED_SETTINGS, DenoisingUNet, Networks, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.pose import PoseSequence, save_poses
from echomimic.runtime.checkpoint import RenderCheckpoint
from echomimic.weights import save_bundle
from tests.published import whisper_checkpoint, write_vae
from tests.recipe import fill
from tests.sound_files import encode

ROOT = Path(__file__).parents[2]
CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=4, norm_num_groups=8, audio_dim=24)
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def networks() -> Networks:
    """The smallest networks there are."""
    return Networks(
        CONFIG,
        "standard",
        fill(DenoisingUNet(CONFIG), "f."),
        fill(ReferenceUNet(CONFIG), "r."),
        fill(PoseEncoder(32), "p."),
        RECOMMENDED_SETTINGS["standard"],
    )


def sounds(folder: Path) -> list[Path]:
    voice, rate = soundfile.read(ROOT / "assets" / "speech.wav", dtype="float32", frames=14000)
    for name, subtype in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("c.wav", "PCM_24"), ("a.flac", None)):
        soundfile.write(folder / name, voice, rate, subtype=subtype)
    write_pieces(folder / "d.wav", voice, rate)
    soundfile.write(folder / "a.ogg", voice, rate)
    soundfile.write(folder / "a.aiff", np.stack([voice, -voice], 1), rate)
    made = [encode(folder / f"a.{ending}", voice[None], coded, codec, layout, source=(rate, "mono"))
            for ending, codec, coded, layout in (
        ("mp3", "mp3", 22050, "mono"),
        ("aac", "aac", 22050, "stereo"),
        ("m4a", "aac", 44100, "5.1"),
        ("opus", "libopus", 48000, "mono"),
        ("mka", "pcm_s16le", 16000, "stereo"),
        ("mp4", "aac", 16000, "mono"),
    )]  # fmt: skip
    return [*sorted(path for path in folder.iterdir() if path not in made), *made]


def write_pieces(path: Path, samples: np.ndarray, rate: int) -> None:
    """A WAV of 12 bits in 16, in two chunks with silence between them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content

    data = np.round(samples * 2047).astype("<i2").tobytes()
    half = len(data) // 4 * 2
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 12))
    pieces = chunk(b"data", data[:half]) + chunk(b"slnt", struct.pack("<I", rate)) + chunk(b"data", data[half:])
    path.write_bytes(chunk(b"RIFF", b"WAVE" + form + chunk(b"LIST", b"wavl" + pieces)))


def pictures(folder: Path) -> list[Path]:
    y, x = np.mgrid[0:48, 0:40]
    picture = Image.fromarray(np.stack([x * 5, y * 4, x + y], -1).astype(np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(folder / "a.png", exif=exif)
    picture.save(folder / "a.jpg", exif=exif, icc_profile=b"no profile")
    picture.save(folder / "a.webp")
    picture.save(folder / "a.bmp")
    picture.save(folder / "a.tif", compression="tiff_lzw")
    fractions = Image.fromarray(np.linspace(-1, 1, 48 * 40, dtype=np.float32).reshape(48, 40))
    fractions.save(folder / "b.tif", save_all=True, append_images=[picture.resize((80, 96)), fractions])
    picture.convert("P").save(folder / "a.gif", save_all=True, append_images=[picture.rotate(90).convert("P")])
    picture.convert("CMYK").save(folder / "b.jpg")
    Image.fromarray((np.arange(48 * 40).reshape(48, 40) * 30).astype(np.uint16)).save(folder / "b.png")
    picture.convert("RGBA").quantize(16).save(folder / "c.png", transparency=3)
    picture.save(folder / "a.avif")
    cv2.imwrite(str(folder / "d.png"), np.asarray(picture).astype(np.uint16) * 16)
    content, points = (folder / "a.png").read_bytes(), b"cICP\x09\x10\0\1"
    coded = struct.pack(">I", 4) + points + struct.pack(">I", zlib.crc32(points))
    (folder / "e.png").write_bytes(content[:33] + coded + content[33:])  # behind the header
    return sorted(folder.iterdir())


def videos(folder: Path) -> list[Path]:
    for name, codec, form in (
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mov", "libx264", "yuv420p"),
    ):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 48, form
            for number in range(12):
                picture = np.full((48, 64, 3), 20 * number, np.uint8)
                picture[:, number * 4 : number * 4 + 8, 0] = 255
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=form)
                frame.pts, frame.time_base = number, Fraction(1, 24)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return sorted(folder.iterdir())


def poses() -> PoseSequence:
    points = np.random.default_rng(0).uniform(0.2, 0.8, (3, 134, 2))
    return PoseSequence(points, np.ones((3, 134)), info={"name": "fuzz"})


def keypoint_frames(folder: Path) -> list[dict[str, object]]:
    save_poses(poses(), folder / "keypoints.json")
    return json.loads((folder / "keypoints.json").read_text())


def weights(folder: Path) -> dict[str, Path]:
    """Files of every kind of weights, by kind."""
    small = networks()
    save_bundle(folder / "bundle.safetensors", small)
    state = {"a.weight": torch.randn(16, 8), "a.bias": torch.ones(16), "b.weight": torch.randn(4, 4, 1, 1)}
    save_file(state, folder / "state.safetensors", metadata={"format": "pt", "variant": "standard"})
    quantised = {"a.weight": state["a.weight"].to(torch.float8_e4m3fn), "a.scale_weight": torch.ones(1)}
    save_file(quantised, folder / "float8.safetensors")
    torch.save({"model": state, "epoch": 3}, folder / "state.pth")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    down, up = torch.randn(2, 64), torch.randn(64, 2)
    lora = {f"diffusion_model.{LAYER}.lora_down.weight": down, f"diffusion_model.{LAYER}.lora_up.weight": up}
    save_file({**lora, f"diffusion_model.{LAYER}.alpha": torch.tensor(2.0)}, folder / "lora.safetensors")
    pose = {name: tensor.contiguous() for name, tensor in small.pose_encoder.state_dict().items()}
    save_file(pose, folder / "pose_encoder.safetensors")
    torch.save(whisper_checkpoint(64, 1), folder / "whisper.pt")
    write_vae(folder / "vae", {"block_out_channels": (32, 32), "layers_per_block": 1})
    checkpoint = RenderCheckpoint(folder / "state.render.safetensors", 0)
    checkpoint.begin({"seed": 1}, torch.zeros(2, 4, 4, 4))
    checkpoint.write(1, torch.zeros(2, 4, 4, 4))
    return {path.stem: path for path in folder.iterdir()}


TABLE = "image,audio,pose,output,seed,fps\nanna é.png,hello.wav,,out/a.mp4,1,24\nben.png,news.mp3,c,b.mp4,2,\n"
# Lines above and below a header, and names in a code page.
HEADS = ("", "# a note, with commas\n\n", "sep=,\n", "Videos,,\n", "#")
NAMES = {"cp1251": "анна", "cp949": "안나 인터뷰", "cp950": "測試影片", "mac_roman": "zoé", "utf-8": "zoé"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")
CONFIG_TEXT = """\
stage: lora
data: data
output: run
seed: 3
frames: 12
weights: {start: published, path: bundle.safetensors}
optimizer: {learning_rate: 0.0001, betas: [0.9, 0.99]}
lora: {rank: 4}
"""
