"""A real ComfyUI on a CPU for tests: started from a checkout, spoken to over HTTP.

`COMFYUI_PATH` names the checkout, `COMFYUI_PYTHON` the Python that has its requirements and ours (the tests' own unless
given).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300

LAUNCHER = """
import runpy, sys
declare()
checkout = sys.argv.pop(1)
sys.path.insert(0, checkout)
sys.argv[0] = checkout + "/main.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SHIM = Path(__file__).with_name("torchvision_operators.py")


# The standard model's files, as EchoMimic Load Model takes them.
STANDARD_FILES = {
    "denoising_unet": "denoising_unet.pth",
    "motion_module": "motion_module.pth",
    "reference_unet": "reference_unet.pth",
    "pose_encoder": "pose_encoder.pth",
    "variant": "auto",
}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt in API format."""
    return {"class_type": kind, "inputs": inputs}


class ComfyUI:
    """A running server, its folders below `data`."""

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.base = data, f"http://127.0.0.1:{port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.base + path, timeout=60) as reply:
            return reply.read()

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str, body: Any) -> Any:
        """Raises: urllib.error.HTTPError when it is refused."""
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any], workflow: Any = None, client: str = "", previews: str = "") -> str:
        """Queue a prompt in API format, perhaps for a listener and with a method of previews; its id."""
        body: dict[str, Any] = {"prompt": prompt, "client_id": client or uuid.uuid4().hex, "extra_data": {}}
        if workflow is not None:
            body["extra_data"]["extra_pnginfo"] = {"workflow": workflow}
        if previews:
            body["extra_data"]["preview_method"] = previews
        return self.post("/prompt", body)["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 3600) -> Run:
        """Wait for the end of a run; the demo's takes five minutes of one core, which may have other work."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            history = self.json(f"/history/{prompt_id}")
            if prompt_id in history:
                return Run(self, history[prompt_id])
            time.sleep(0.1)
        raise TimeoutError(f"the prompt has not ended after {seconds} s; ComfyUI's log ends:\n{self.log()[-3000:]}")

    def run(self, prompt: dict[str, Any], workflow: Any = None) -> Run:
        return self.wait(self.queue(prompt, workflow))

    def refusal(self, prompt: dict[str, Any]) -> str:
        """The error of a prompt that is refused before it runs."""
        try:
            self.queue(prompt)
        except urllib.error.HTTPError as error:
            return error.read().decode()
        raise AssertionError("the prompt was not refused")

    def forget(self) -> None:
        """Empty the cache of results, so that the next run computes everything."""
        self.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1.5)  # it is done between two looks at the queue

    def log(self) -> str:
        return (self.data / "server.log").read_text(errors="replace")


class Listener:
    """A frontend's connection to the server: the messages of its prompts (RFC 6455, as far as it is needed)."""

    PREVIEW, TEXT = 1, 3

    def __init__(self, server: ComfyUI) -> None:
        self.client = uuid.uuid4().hex
        host, port = server.base.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws?clientId={self.client} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass  # the header of the answer

    def messages(self, prompt_id: str) -> tuple[list[dict[str, Any]], list[bytes]]:
        """What is sent up to the end of a prompt: events, and binary messages, whose first four bytes say of which
        kind each is."""
        events, binary = [], []
        while True:
            kind, payload = self.read()
            if kind == 2:
                binary.append(payload)
            elif kind == 1:
                events.append(json.loads(payload))
                ended = events[-1]["type"] in ("execution_success", "execution_error", "execution_interrupted")
                if ended and events[-1]["data"].get("prompt_id") == prompt_id:
                    return events, binary

    def until(self, kind: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Read up to an event of this type whose data are those that are waited for."""
        while True:
            form, payload = self.read()
            event = json.loads(payload) if form == 1 else {"type": ""}
            if event["type"] == kind and wanted(event["data"]):
                return

    def read(self) -> tuple[int, bytes]:
        """A message's kind (1 text, 2 binary) and its contents."""
        kind, parts, last = 0, [], False
        while not last:
            first, length = self.stream.read(2)
            last, kind, length = bool(first & 0x80), kind or first & 0x0F, length & 0x7F
            if length >= 126:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            parts.append(self.stream.read(length))
        return kind, b"".join(parts)

    def close(self) -> None:
        self.socket.close()


class Run:
    """What the history tells of a run."""

    def __init__(self, server: ComfyUI, history: dict[str, Any]) -> None:
        self.server = server
        self.outputs = history["outputs"]
        self.status = history["status"]["status_str"]
        self.messages = dict(history["status"]["messages"])

    @property
    def error(self) -> str:
        """The node and its error; empty after success."""
        error = self.messages.get("execution_error")
        return "" if error is None else f"{error['node_type']}: {error['exception_message']}"

    @property
    def interrupted(self) -> bool:
        return "execution_interrupted" in self.messages

    def file(self, node: str) -> Path:
        """The file that a node saved."""
        saved = self.outputs[node]["images"][0]
        return self.server.data / saved["type"] / saved["subfolder"] / saved["filename"]


def checkout_or_skip() -> Path:
    """The ComfyUI that tests drive; skips the test where there is none."""
    checkout = os.environ.get("COMFYUI_PATH")
    if not checkout:
        pytest.skip("no ComfyUI: set COMFYUI_PATH to a checkout (and COMFYUI_PYTHON to a Python that runs it)")
    return Path(checkout).resolve()


@contextmanager
def running(checkout: Path, data: Path) -> Iterator[ComfyUI]:
    """Start ComfyUI with this pack and empty folders; end it."""
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (data / name).mkdir(parents=True)
    (data / "custom_nodes" / "echomimic").symlink_to(ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), "-c", SHIM.read_text() + LAUNCHER, str(checkout)]
    command += ["--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(data)]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    with (data / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    server = ComfyUI(data, port)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                server.get("/system_stats")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"ComfyUI did not start; its log ends:\n{server.log()[-3000:]}") from None
                time.sleep(0.25)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
