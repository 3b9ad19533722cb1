"""Stand-in for ComfyUI's server: texts that nodes show while they run are recorded."""

from __future__ import annotations

from types import SimpleNamespace

texts: list[tuple[str, str]] = []


class PromptServer:
    instance = SimpleNamespace(send_progress_text=lambda text, node_id: texts.append((text, node_id)))
