"""A person of one's own: a LoRA from a video of them."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import DWPOSE, NETWORKS, SHARED, VAE, WHISPER, explanation, loaders
from workflow_people import person

ABOUT = """# Train the model on a person

A minute or two of a person who speaks, filmed from head to waist, becomes a LoRA: their face, their hands, their way
to move. A card of 12 GB takes an hour or two for 500 steps at 512 pixels; without a card it is not practical.

- **Extract Pose** needs two packages in ComfyUI's Python: `pip install onnxruntime` (NVIDIA: `onnxruntime-gpu`) and
  `pip install --no-deps rtmlib`.
- Several videos: chain several **Training Clips** by *clips*.
- A cancelled training goes on where it was when the same graph runs again.
- The LoRA lies in `output/loras`. Step 5 tries it at once; later, use **Load LoRA (Model)** in the same place."""


def avatar() -> Workflow:
    flow = Workflow("echomimic_train_avatar", KINDS)
    note = flow.note(explanation(ABOUT, [*NETWORKS[""], *SHARED, WHISPER, *DWPOSE, VAE]), (360, 960))
    model, whisper, vae = loaders(flow, "")
    film = flow.add("LoadVideo")
    parts = flow.add("GetVideoComponents", video=film["VIDEO"])
    pose = flow.add("EchoMimicExtractPose", video=film["VIDEO"])
    speech = flow.add("EchoMimicEncodeAudio", audio=parts["audio"], audio_encoder=whisper["audio_encoder"])
    clips = flow.add(
        "EchoMimicTrainingClips", video=film["VIDEO"], pose=pose["pose"], speech=speech["speech"], vae=vae["VAE"]
    )
    trained = flow.add("EchoMimicTrainAvatar", model=model["model"], clips=clips["clips"], vae=vae["VAE"])
    kept = flow.add("SaveLoRA", lora=trained["lora"], steps=trained["steps"])
    losses = flow.add("LossGraphNode", loss=trained["loss_map"])
    plain = flow.add("EchoMimicToModel", model=model["model"])
    patched = flow.add("LoraModelLoader", model=plain["model"], lora=trained["lora"])
    back = flow.add("EchoMimicFromModel", model=patched["model"])
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    frames = flow.add_subgraph(
        person(),
        model=back["model"],
        audio_encoder=whisper["audio_encoder"],
        vae=vae["VAE"],
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        width=512,
        height=512,
        duration=3.0,
    )
    video = flow.add("CreateVideo", images=frames["images"], audio=frames["audio"], fps=frames["fps"])
    saved = flow.add("SaveVideo", video=video["VIDEO"], filename_prefix="video/EchoMimic_avatar")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[model, whisper, vae]]), Group("Step 2 - A video of the person", [[film]])],
            [Group("Step 3 - Training clips", [[parts, pose, speech, clips]])],
            [Group("Step 4 - Train", [[trained, kept, losses]])],
            [
                Group(
                    "Step 5 - Try it on a picture of them",
                    [[plain, patched, back, image, sound], [frames, video, saved]],
                )
            ],
        ],
    )
    return flow
