"""Stand-in for ComfyUI's V3 schema: the inputs, outputs and schema that the pack uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

COMMON = ("display_name", "tooltip", "lazy", "extra_dict", "raw_link", "advanced")
WIDGET = ("default", "socketless", "force_input")


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class NumberDisplay(str, Enum):
    number = "number"
    slider = "slider"


class Input:
    io_type = ""
    keywords: tuple[str, ...] = ()

    def __init__(self, id: str, *, optional: bool = False, **options: Any) -> None:
        unknown = options.keys() - set(COMMON + self.keywords)
        if unknown:
            raise TypeError(f"{self.io_type} input {id!r}: unexpected keywords {sorted(unknown)}")
        if self.io_type == "BOUNDING_BOX":
            options = {"default": WHOLE_BOX, **options}
        self.id, self.optional, self.options = id, optional, options
        self.tooltip = options.get("tooltip")

    def as_dict(self) -> dict[str, Any]:
        renamed = {"force_input": "forceInput", "raw_link": "rawLink", "display_mode": "display"}
        info = {renamed.get(key, key): plain(value) for key, value in self.options.items() if value is not None}
        return {**info, **info.pop("extra_dict", {})}


class Output:
    io_type = ""

    def __init__(self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None) -> None:
        self.id, self.display_name, self.tooltip = id, display_name or id, tooltip


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def make_type(name: str, *keywords: str) -> type:
    input_class = type("Input", (Input,), {"io_type": name, "keywords": keywords})
    output_class = type("Output", (Output,), {"io_type": name})
    return type(name.title(), (), {"io_type": name, "Input": input_class, "Output": output_class})


def Custom(io_type: str) -> type:
    return make_type(io_type)


Int = make_type("INT", *WIDGET, "min", "max", "step", "control_after_generate", "display_mode")
Float = make_type("FLOAT", *WIDGET, "min", "max", "step", "round", "display_mode")
Boolean = make_type("BOOLEAN", *WIDGET, "label_on", "label_off")
String = make_type("STRING", *WIDGET, "multiline", "placeholder", "dynamic_prompts")
Combo = make_type("COMBO", "default", "socketless", "options", "control_after_generate", "upload", "image_folder")
Image = make_type("IMAGE")
Mask = make_type("MASK")
Audio = make_type("AUDIO")
Latent = make_type("LATENT")
Model = make_type("MODEL")
Conditioning = make_type("CONDITIONING")
Sampler = make_type("SAMPLER")
Sigmas = make_type("SIGMAS")
Vae = make_type("VAE")
Video = make_type("VIDEO")
AudioEncoder = make_type("AUDIO_ENCODER")
BoundingBox = make_type("BOUNDING_BOX", *WIDGET, "component")
WHOLE_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}


class MultiCombo:
    io_type = "COMBO"

    class Input(Combo.Input):
        keywords = (*Combo.Input.keywords, "placeholder", "chip")

        def as_dict(self) -> dict[str, Any]:
            return {**super().as_dict(), "multiselect": True}


class MultiType:
    class Input(Input):
        def __init__(self, id: str, types: list[type], **options: Any) -> None:
            super().__init__(id, **options)
            self.io_type = ",".join(kind.io_type for kind in types)


class DynamicCombo:
    io_type = "COMFY_DYNAMICCOMBO_V3"

    @dataclass
    class Option:
        key: str
        inputs: list[Input]

        def as_dict(self) -> dict[str, Any]:
            return {"key": self.key, "inputs": input_types(self.inputs)}

    class Input(Input):
        io_type = "COMFY_DYNAMICCOMBO_V3"
        keywords = ("options",)

        def as_dict(self) -> dict[str, Any]:
            return {**super().as_dict(), "options": [option.as_dict() for option in self.options["options"]]}


def input_types(inputs: list[Input]) -> dict[str, Any]:
    """The inputs as `/object_info` tells them."""
    info: dict[str, Any] = {"required": {}}
    for entry in inputs:
        info.setdefault("optional" if entry.optional else "required", {})[entry.id] = (entry.io_type, entry.as_dict())
    return info


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False

    def finalize(self) -> None:
        if self.is_output_node:
            self.hidden += [h for h in (Hidden.prompt, Hidden.extra_pnginfo) if h not in self.hidden]

    def validate(self) -> None:
        ids = [entry.id for entry in self.inputs]
        if len(set(ids)) != len(ids):
            raise ValueError(f"input ids must be unique: {ids}")

    def info(self) -> dict[str, Any]:
        """The part of `/object_info` that saved workflows depend on, and what people read."""
        info = input_types(self.inputs)
        if self.hidden:
            info["hidden"] = {entry.name: (entry.value,) for entry in self.hidden}
        return {
            "name": self.node_id,
            "display_name": self.display_name,
            "category": self.category,
            "description": self.description,
            "search_aliases": self.search_aliases,
            "output_node": self.is_output_node,
            "input": info,
            "output": [entry.io_type for entry in self.outputs],
            "output_name": [entry.display_name or entry.io_type for entry in self.outputs],
            "output_tooltips": [entry.tooltip for entry in self.outputs],
        }


class HiddenHolder:
    """Hidden values; those that were not given are None."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> None:
        return None


class ComfyNode:
    hidden = HiddenHolder()

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        return schema


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, block_execution: str | None = None) -> None:
        self.args, self.ui, self.block_execution = args, ui, block_execution

    def __getitem__(self, index: int) -> Any:
        return self.args[index]

    def __iter__(self) -> Any:
        return iter(self.args)
