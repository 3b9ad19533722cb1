"""What saved workflows depend on, and what people read at the nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pack import ROOT, Pack

GOLDEN = Path(__file__).parent / "nodes_schema.json"
DOCS, LOCALES = ROOT / "web" / "docs", ROOT / "locales"
LANGUAGES = ("en", "zh")
IDS = (
    "EchoMimicLoadModel",
    "EchoMimicLoadBundle",
    "EchoMimicLoadAudioEncoder",
    "EchoMimicEncodeAudio",
    "EchoMimicLoadPose",
    "EchoMimicExtractPose",
    "EchoMimicPoseFromKeypoints",
    "EchoMimicGenerateGestures",
    "EchoMimicEditPose",
    "EchoMimicFitPose",
    "EchoMimicMarkPortrait",
    "EchoMimicRetargetPose",
    "EchoMimicFitPortrait",
    "EchoMimicAlignPortrait",
    "EchoMimicPasteBack",
    "EchoMimicPreviewPose",
    "EchoMimicPoseToKeypoints",
    "EchoMimicSavePose",
    "EchoMimicSampler",
    "EchoMimicDecode",
    "EchoMimicSaveVideo",
    "EchoMimicToModel",
    "EchoMimicFromModel",
    "EchoMimicConditioning",
    "EchoMimicSchedule",
    "EchoMimicClipLatent",
    "EchoMimicRetakeFrames",
    "EchoMimicTrainingClips",
    "EchoMimicTrainAvatar",
    "EchoMimicLoadLora",
)
# Lists of files differ from machine to machine.
FILE_LISTS = (
    "denoising_unet",
    "motion_module",
    "reference_unet",
    "pose_encoder",
    "bundle",
    "audio_encoder",
    "clip",
    "clips",
    "lora",
)


def contract(info: dict[str, Any]) -> dict[str, Any]:
    """What a saved workflow holds a node to: sockets, and widgets by their position."""
    inputs = {
        kind: [
            [name, kind_and_options[0], *bounds(name, kind_and_options[1])]
            for name, kind_and_options in entries.items()
        ]
        for kind, entries in info["input"].items()
        if kind != "hidden"
    }
    return {"inputs": inputs, "outputs": [list(pair) for pair in zip(info["output"], info["output_name"])]}


def bounds(name: str, options: dict[str, Any]) -> list[Any]:
    kept = {key: options[key] for key in ("default", "min", "max", "step", "round", "advanced") if key in options}
    if "options" in options and name not in FILE_LISTS:
        kept["options"] = [
            o if isinstance(o, str) else [o["key"], contract({"input": o["inputs"], "output": [], "output_name": []})]
            for o in options["options"]
        ]
    return [kept]


def schemas(pack: Pack) -> dict[str, dict[str, Any]]:
    return {node_id: node.GET_SCHEMA().info() for node_id, node in pack.nodes.items()}


def widgets(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All inputs of a node by name, those inside a dynamic list (`preset.steps`) included."""
    found = {}
    for kind in ("required", "optional"):
        for name, (_, options) in info["input"].get(kind, {}).items():
            found[name] = options
            for option in options.get("options", []):
                if isinstance(option, dict):
                    inner = widgets({"input": option["inputs"]})
                    found.update({f"{name}.{part}": part_options for part, part_options in inner.items()})
    return found


def locale_key(name: str) -> str:
    """The frontend looks for `preset_steps` where the input is `preset.steps`."""
    return name.replace(".", "_")


def test_all_nodes_are_there_and_in_this_order(pack):
    assert tuple(pack.nodes) == IDS


def test_every_node_stands_in_the_readmes_table(pack):
    cells = re.findall(r"^\| (EchoMimic [^|]+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = [f"EchoMimic {name.removeprefix('EchoMimic ')}" for cell in cells for name in cell.split(", ")]
    assert sorted(named) == sorted(node.define_schema().display_name for node in pack.nodes.values())


def test_no_widget_has_moved(pack):
    """A node may gain inputs at its end; then run `python -m tests.test_nodes_schema` and look at the difference."""
    golden = json.loads(GOLDEN.read_text())
    assert {node_id: contract(info) for node_id, info in schemas(pack).items()} == golden


def test_every_node_and_input_explains_itself(pack):
    for node_id, info in schemas(pack).items():
        assert info["display_name"].startswith("EchoMimic "), node_id
        assert info["category"].split("/")[0] == "EchoMimic", node_id
        assert len(info["description"]) > 40 and info["search_aliases"], node_id
        assert all(info["output_tooltips"]), node_id
        for name, options in widgets(info).items():
            assert options.get("tooltip", "").endswith("."), f"{node_id}.{name}"


def test_numbers_have_a_range_with_the_default_inside(pack):
    for node_id, info in schemas(pack).items():
        for name, options in widgets(info).items():
            if isinstance(options.get("default"), (int, float)) and not isinstance(options["default"], bool):
                assert options["min"] <= options["default"] <= options["max"], f"{node_id}.{name}"


def test_search_aliases_are_single_words_or_short_phrases(pack):
    for node_id, info in schemas(pack).items():
        assert all(re.fullmatch(r"[\w. -]{2,30}", alias) for alias in info["search_aliases"]), node_id


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_has_a_help_page(pack, language):
    for node_id, info in schemas(pack).items():
        page = help_page(node_id, language).read_text(encoding="utf-8")
        for name in widgets(info):
            assert f"`{name.split('.')[-1]}`" in page, f"{node_id}/{language}.md does not speak of {name}"


def help_page(node_id: str, language: str) -> Path:
    """The frontend asks for a page in the person's language, then for the one without, which is English."""
    return DOCS / f"{node_id}.md" if language == "en" else DOCS / node_id / f"{language}.md"


@pytest.mark.parametrize("language", LANGUAGES)
def test_locale_names_every_node_input_and_output(pack, language):
    locale = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(locale) == set(IDS)
    for node_id, info in schemas(pack).items():
        entry = locale[node_id]
        assert entry["display_name"] and entry["description"]
        translated = {name for name, text in entry["inputs"].items() if text["name"] and text["tooltip"]}
        assert translated == set(map(locale_key, widgets(info)))
        assert set(entry.get("outputs", {})) == {str(index) for index in range(len(info["output"]))}


def test_chinese_texts_call_nodes_by_their_chinese_names():
    """A reader searches the node that a tooltip or help page names."""
    locale = json.loads((LOCALES / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    names = {entry["display_name"] for entry in locale.values()}
    for node_id, entry in locale.items():
        page = help_page(node_id, "zh").read_text(encoding="utf-8")
        assert page.splitlines()[0] == f"# {entry['display_name']}"
        quoted = set(re.findall("“(EchoMimic [^”]+)”", page + json.dumps(entry, ensure_ascii=False)))
        assert quoted <= names, f"{node_id}: {quoted - names} are no node's Chinese name"


def test_english_locale_matches_the_nodes(pack):
    locale = json.loads((LOCALES / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert locale == english_locale(schemas(pack))


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_are_named(pack, language):
    main = json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))
    used = {part for info in schemas(pack).values() for part in info["category"].split("/")} - {"EchoMimic"}
    assert used <= set(main["nodeCategories"])


def test_import_brings_nothing_heavy():
    """Every pack's import delays ComfyUI's start (`python -m benchmarks.startup` measures by how much)."""
    command = [sys.executable, "-m", "tests.import_pack"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"diffusers", "transformers", "librosa", "cv2", "av", "scipy", "soundfile", "torchaudio"}
    assert not heavy & set(json.loads(done.stdout)["modules"])


def test_the_pack_defines_nothing_that_hides_its_entry_point():
    source = (ROOT / "__init__.py").read_text()
    assert "NODE_CLASS_MAPPINGS" not in source


def english_locale(infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`locales/en/nodeDefs.json` for these nodes."""
    return {
        node_id: {
            "display_name": info["display_name"],
            "description": info["description"],
            "inputs": {
                locale_key(name): {"name": name.split(".")[-1], "tooltip": options["tooltip"]}
                for name, options in widgets(info).items()
            },
            **(
                {
                    "outputs": {
                        str(index): {"name": name, "tooltip": tooltip}
                        for index, (name, tooltip) in enumerate(zip(info["output_name"], info["output_tooltips"]))
                    }
                }
                if info["output"]
                else {}
            ),
        }
        for node_id, info in infos.items()
    }


def main() -> None:
    """Write the golden copy and the English locale."""
    import tempfile

    infos = schemas(Pack(Path(tempfile.mkdtemp())))
    contracts = {node_id: contract(info) for node_id, info in infos.items()}
    GOLDEN.write_text(json.dumps(contracts, indent=1) + "\n")
    english = json.dumps(english_locale(infos), indent=2, ensure_ascii=False)
    (LOCALES / "en" / "nodeDefs.json").write_text(english + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
