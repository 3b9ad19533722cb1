"""The download, against a hub on this machine that answers as the real one does."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from echomimic.errors import OutputError, WeightsError
from echomimic.training.config import WeightsConfig
from echomimic.training.networks import load_published
from echomimic.weights import load_weights
from echomimic.weights.download import download
from echomimic.weights.published import find_weights

pytest.importorskip("huggingface_hub")

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NETWORKS = "BadToBest/EchoMimicV2"
VAE = "stabilityai/sd-vae-ft-mse"
WHISPER = "openai/whisper-tiny"


@dataclass
class FakeHub:
    """Repositories in memory; counts requests, and can close the connection in the middle of a file."""

    repositories: dict[str, dict[str, bytes]]
    endpoint: str = ""
    got: list[tuple[str, str | None]] = field(default_factory=list)
    hang_up_after: int | None = None
    status: int = 200
    knows_ranges: bool = True

    def names(self) -> list[str]:
        return sorted({name for name, _ in self.got})


def content(name: str, size: int = 5000) -> bytes:
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def described(name: str, data: bytes) -> dict[str, object]:
    """A file's entry in a listing; only large files have a SHA-256 there."""
    lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return {"rfilename": name, "size": len(data), "blobId": "0", **({} if name.endswith(".json") else {"lfs": lfs})}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    stems = ["denoising_unet", "denoising_unet_acc", "motion_module", "motion_module_acc"]
    networks = [f"{stem}.pth" for stem in (*stems, "reference_unet", "pose_encoder")] + ["README.md"]
    fake = FakeHub(
        {
            NETWORKS: {name: content(name) for name in networks},
            VAE: {name: content(name) for name in ("config.json", "diffusion_pytorch_model.safetensors", "vae.bin")},
            WHISPER: {name: content(name) for name in ("config.json", "model.safetensors", "pytorch_model.bin")},
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(fake))
    fake.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def handler_for(fake: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = unquote(urlparse(self.path).path).strip("/")
            if fake.status != 200:
                self.reply(fake.status, b"{}", {})
            elif path.startswith("api/models/"):
                self.listing(path.removeprefix("api/models/"))
            else:
                repository, _, name = path.partition(f"/resolve/{COMMIT}/")
                self.file(repository, name, with_body)

        def listing(self, path: str) -> None:
            repository = "/".join(path.split("/")[:2])
            files = fake.repositories.get(repository)
            if files is None:
                self.reply(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
                return
            siblings = [described(name, data) for name, data in files.items()]
            body = {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            body |= {"downloads": 0, "likes": 0}
            self.reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def file(self, repository: str, name: str, with_body: bool) -> None:
            data = fake.repositories[repository].get(name)
            if data is None:
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            wanted = self.headers.get("Range")
            if not with_body:
                self.reply(200, data, headers, with_body=False)
                return
            fake.got.append((name, wanted))
            if fake.hang_up_after is not None:
                fake.status = 503
                self.reply(200, data, headers, upto=fake.hang_up_after)
            elif wanted and fake.knows_ranges:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.reply(206, data[start:], headers)
            else:
                self.reply(200, data, headers)

        def reply(
            self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True, upto: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body[:upto])
            if upto is not None:
                self.close_connection = True

    return Handler


def test_accelerated_variant_arrives_as_published_and_nothing_else(hub, tmp_path):
    download(tmp_path / "weights", "accelerated", endpoint=hub.endpoint, quiet=True)
    assert hub.names() == [
        "config.json",
        "denoising_unet_acc.pth",
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "motion_module_acc.pth",
        "pose_encoder.pth",
        "reference_unet.pth",
    ]
    files = find_weights(tmp_path / "weights")
    assert files.denoising_unet.read_bytes() == content("denoising_unet_acc.pth")
    assert files.audio_encoder is not None and files.audio_encoder.read_bytes() == content("model.safetensors")
    assert files.vae == tmp_path / "weights" / "sd-vae-ft-mse"


def test_both_variants_share_the_other_networks(hub, tmp_path):
    download(tmp_path, "both", endpoint=hub.endpoint, quiet=True, with_vae=False, with_audio_encoder=False)
    assert len(hub.got) == len(hub.names()) == 6


def test_the_repositorys_own_audio_encoder_is_preferred(hub, tmp_path):
    hub.repositories[NETWORKS]["audio_processor/tiny.pt"] = content("tiny")
    download(tmp_path, endpoint=hub.endpoint, quiet=True, with_vae=False)
    assert find_weights(tmp_path).audio_encoder == tmp_path / "audio_processor" / "tiny.pt"


def test_whole_files_are_not_fetched_again(hub, tmp_path):
    first = download(tmp_path, endpoint=hub.endpoint, quiet=True)
    hub.got.clear()
    (tmp_path / "pose_encoder.pth").unlink()
    seen: list[tuple[str, int, int]] = []
    again = download(
        tmp_path, endpoint=hub.endpoint, quiet=True, on_progress=lambda file, i, n: seen.append((file.name, i, n))
    )
    assert again == first
    assert hub.names() == ["pose_encoder.pth"]
    assert seen == [("pose_encoder.pth", 0, 1)]


def test_a_broken_download_resumes(hub, tmp_path, monkeypatch):
    # The library keeps whole chunks only, of 10 MB, of a connection that breaks.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setattr("huggingface_hub.file_download.DOWNLOAD_CHUNK_SIZE", 500, raising=False)  # before 0.25
    hub.hang_up_after = 2000
    with pytest.raises(WeightsError, match="resumes where it stopped"):
        download(tmp_path, endpoint=hub.endpoint, quiet=True)
    broken = hub.got[0][0]
    assert not (tmp_path / broken).exists()

    hub.hang_up_after, hub.status = None, 200
    hub.got.clear()
    download(tmp_path, endpoint=hub.endpoint, quiet=True)
    assert hub.got[0] == (broken, "bytes=2000-")
    assert (tmp_path / broken).read_bytes() == content(broken)


def test_a_server_that_cannot_resume_sends_the_file_again(hub, tmp_path):
    hub.knows_ranges = False
    partial = tmp_path / f".pose_encoder.pth.{COMMIT[:12]}.part"
    partial.write_bytes(content("pose_encoder.pth")[:1000])
    try:
        download(tmp_path, endpoint=hub.endpoint, quiet=True)
    except WeightsError:  # older versions of the library notice too late, and only the next attempt starts over
        download(tmp_path, endpoint=hub.endpoint, quiet=True)
    assert (tmp_path / "pose_encoder.pth").read_bytes() == content("pose_encoder.pth")


def test_damaged_bytes_are_found_out_and_removed(hub, tmp_path):
    partial = tmp_path / f".pose_encoder.pth.{COMMIT[:12]}.part"
    partial.write_bytes(bytes(1000))
    with pytest.raises(WeightsError, match=r"pose_encoder\.pth arrived damaged"):
        download(tmp_path, endpoint=hub.endpoint, quiet=True)
    assert not partial.exists() and not (tmp_path / "pose_encoder.pth").exists()


def test_hub_out_of_reach_is_one_sentence(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be downloaded .* resumes where it stopped") as caught:
        download(tmp_path, endpoint="http://127.0.0.1:9", quiet=True)
    assert "\n" not in str(caught.value)


def test_missing_repository_is_named(hub, tmp_path):
    del hub.repositories[VAE]
    with pytest.raises(WeightsError, match=f"no public repository {VAE}"):
        download(tmp_path, endpoint=hub.endpoint, quiet=True)


def test_missing_network_is_named(hub, tmp_path):
    del hub.repositories[NETWORKS]["motion_module_acc.pth"]
    with pytest.raises(WeightsError, match=r"has no motion_module_acc\.pth"):
        download(tmp_path, endpoint=hub.endpoint, quiet=True)


WHOLE = ("denoising_unet", "motion_module", "reference_unet", "pose_encoder")


@pytest.mark.parametrize(
    ("there", "variant", "training", "taken"),
    [
        ((), None, False, "denoising_unet_acc"),
        ((), "standard", False, "denoising_unet"),
        ((), None, True, "denoising_unet"),  # training begins with the standard weights
        (WHOLE, None, False, "denoising_unet"),
        (WHOLE, None, True, "denoising_unet"),
        (("denoising_unet_acc", "motion_module_acc", *WHOLE[2:]), None, True, "denoising_unet_acc"),
        (("motion_module", "pose_encoder"), None, False, "denoising_unet"),
        (("denoising_unet", "motion_module_acc"), None, False, "denoising_unet"),
        (("denoising_unet_acc",), None, False, "denoising_unet_acc"),
    ],
)
def test_the_command_that_an_error_recommends_gets_what_is_missing(hub, tmp_path, there, variant, training, taken):
    folder = tmp_path / "my models"
    folder.mkdir()
    networks = hub.repositories[NETWORKS]
    networks.update({name: b"PK\x03\x04" + data for name, data in networks.items()})  # as torch.save begins
    for stem in there:
        (folder / f"{stem}.pth").write_bytes(networks[f"{stem}.pth"])

    def load() -> None:
        if training:
            load_published(WeightsConfig(path=str(folder), variant=variant or ""), None)
        else:
            load_weights(folder, variant)

    with pytest.raises(WeightsError, match="python -m echomimic download") as caught:
        load()
    done = command(hub, *shlex.split(str(caught.value).split("`")[1])[4:])
    assert done.returncode == 0, done.stderr
    files = find_weights(folder, variant)
    assert files.audio_encoder is not None and files.vae is not None
    with pytest.raises(WeightsError, match=rf"{taken}\.pth is damaged"):  # all is there; the bytes are noise
        load()


def test_too_little_disk_space_is_found_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="GB free"):
        download(tmp_path, endpoint=hub.endpoint, quiet=True)
    assert hub.got == []


def test_a_folder_that_cannot_be_made_is_named(hub, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        download(tmp_path / "file" / "weights", endpoint=hub.endpoint)


def test_unknown_variant_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="'fast'"):
        download(tmp_path, "fast", endpoint="http://127.0.0.1:9")  # type: ignore[arg-type]


def command(hub: FakeHub, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, whose hub is ours by the variable that people set."""
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "echomimic", "download", *arguments]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_command(hub, tmp_path):
    done = command(hub, str(tmp_path / "weights"), "--variant", "standard", "--no-vae", "--no-audio-encoder")
    assert done.returncode == 0, done.stderr
    assert find_weights(tmp_path / "weights", "standard").motion_module is not None
    assert "1 of 4: denoising_unet.pth" in done.stderr


def test_command_prints_one_line_about_a_failure(hub, tmp_path):
    hub.status = 500
    done = command(hub, str(tmp_path), "--quiet")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"echomimic: the hub answered 500 for {NETWORKS}")
    assert "Traceback" not in done.stderr
