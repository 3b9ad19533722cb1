"""What `measure_nodes.js` is to measure, and its answers as `node_heights.json`.

python assets/scripts/measure_nodes.py                              prints the list for the browser
python assets/scripts/measure_nodes.py CLASSIC.json NODES2.json     writes the larger of both renderers' heights
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HEIGHTS = Path(__file__).with_name("node_heights.json")
# Nodes that are drawn by what is chosen in them.
CHOICES = {
    "EchoMimicFitPortrait": ("marks", ("by click",)),
    "EchoMimicPreviewPose": ("view", ("contact sheet", "hands and voice")),
}
# What a run gives nodes that show it, by samples that ship as inputs.
PICTURE = {"filename": "echomimic_portrait.png", "subfolder": "", "type": "input"}
VIDEO = {"images": [{**PICTURE, "filename": "echomimic_driving.mp4"}], "animated": [True]}
RESULTS = {
    "PreviewImage": {"images": [PICTURE] * 6},
    "PreviewAny": {"text": ["one line\n" * 20]},
    "LossGraphNode": {"images": [PICTURE]},
    "SaveVideo": VIDEO,
    "EchoMimicSaveVideo": VIDEO,
    "EchoMimicLoadPose": {"echomimic_poses": [PICTURE]},
    "EchoMimicGenerateGestures": {"echomimic_poses": [PICTURE]},
    "EchoMimicFitPortrait": {"echomimic_marked": [PICTURE]},
    "EchoMimicMarkPortrait": {"echomimic_marked": [PICTURE]},
    "EchoMimicSavePose": {"text": ["96 frames: output/poses/EchoMimic_00001_.safetensors"]},
}
# Nodes that show a picture while they run, whatever the user's setting for previews.
PREVIEWS = {"EchoMimicTrainAvatar": PICTURE}


def note_key(text: str) -> str:
    """What a note's height is found by: its title."""
    return "MarkdownNote:" + text.splitlines()[0]


def wanted() -> list[dict[str, Any]]:
    """Every node type that the workflows use."""
    from make_workflows import WORKFLOWS
    from workflow_kinds import KINDS

    entries = [{"key": type, "type": type, "choices": {}, "width": kind.size[0]} for type, kind in KINDS.items()]
    for type, (widget, choices) in CHOICES.items():
        width = KINDS[type].size[0]
        entries += [
            {"key": f"{type}:{choice}", "type": type, "choices": {widget: choice}, "width": width} for choice in choices
        ]
    for note in (node for make in WORKFLOWS for node in make().nodes if node.type == "MarkdownNote"):
        (text,) = note.values.values()
        entries.append({"key": note_key(text), "type": note.type, "choices": {"text": text}, "width": note.size[0]})
    return [
        {**entry, "result": RESULTS.get(entry["type"]), "preview": PREVIEWS.get(entry["type"])} for entry in entries
    ]


def main() -> None:
    if not sys.argv[1:]:
        print(json.dumps(wanted()))
        return
    measured = [json.loads(Path(name).read_text()) for name in sys.argv[1:3]]
    keys = sorted(set().union(*measured))
    heights = {key: [max(part[key][i] for part in measured if key in part) for i in range(3)] for key in keys}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in heights.items())
    HEIGHTS.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
