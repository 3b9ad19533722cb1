"""A person of one's own: a LoRA from a video of them."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import DWPOSE, NETWORKS, SHARED, SHORT_REPORT, VAE, WHISPER, explanation, save_frames
from workflow_people import person
from workflow_steps import models, with_lora

ABOUT = """# Train the model on a person

A minute or two of a person who speaks, filmed from head to waist, becomes a LoRA: their face, their hands, their way
to move. A card of 12 GB takes an hour or two for 500 steps at 512 pixels; without a card it is not practical.

- **Extract Pose** needs two packages in ComfyUI's Python: `pip install onnxruntime` (NVIDIA: `onnxruntime-gpu`) and
  `pip install --no-deps rtmlib`.
- Several videos: chain several **Training Clips** by *clips*.
- A cancelled training goes on where it was when the same graph runs again.
- The LoRA lies in `output/loras`. Step 4 tries it at once. Later: move it to `models/loras`, and put **EchoMimic Load
  LoRA** in the place of **EchoMimic with a LoRA**."""


def avatar() -> Workflow:
    flow = Workflow("echomimic_train_avatar", KINDS)
    note = flow.note(explanation(ABOUT, [*NETWORKS[""], *SHARED, WHISPER, *DWPOSE, VAE]), (340, 740))
    loaded = flow.add_subgraph(models(""))
    film = flow.add("LoadVideo")
    parts = flow.add("GetVideoComponents", video=film["VIDEO"])
    pose = flow.add("EchoMimicExtractPose", video=film["VIDEO"])
    speech = flow.add("EchoMimicEncodeAudio", audio=parts["audio"], audio_encoder=loaded["audio_encoder"])
    clips = flow.add(
        "EchoMimicTrainingClips", video=film["VIDEO"], pose=pose["pose"], speech=speech["speech"], vae=loaded["vae"]
    )
    trained = flow.add("EchoMimicTrainAvatar", model=loaded["model"], clips=clips["clips"], vae=loaded["vae"])
    kept = flow.add("SaveLoRA", lora=trained["lora"], steps=trained["steps"])
    losses = flow.add("LossGraphNode", loss=trained["loss_map"])
    patched = flow.add_subgraph(with_lora(), model=loaded["model"], lora=trained["lora"])
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    frames = flow.add_subgraph(
        person(),
        model=patched["model"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        width=512,
        height=512,
        duration=3.0,
    )
    report = flow.add("PreviewAny", source=frames["report"], size=SHORT_REPORT)
    video, saved = save_frames(flow, frames["images"], frames, "video/EchoMimic_avatar", size=(332, 430))
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - A video of the person", [[film, parts, pose, speech]])],
            [Group("Step 3 - Train", [[clips, trained, kept, losses]])],
            [Group("Step 4 - Try it on a picture", [[patched, image, sound, frames]])],
            [Group("Step 5 - Watch", [[report, video, saved]])],
        ],
    )
    return flow
