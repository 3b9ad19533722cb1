"""A person of one's own: a LoRA from a video of them."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import DWPOSE, NETWORKS, SHARED, SHORT_REPORT, VAE, VERDICT, WHISPER, explanation, save_frames
from workflow_people import person
from workflow_steps import models, with_lora

ABOUT = [
    "A few minutes of a person who speaks, head to waist, become a LoRA. Choose the same file for **Load Video** and, "
    "for its sound, **Load Audio**. **Train Avatar** shows the step and the loss.",
    "**Extract Pose** needs two packages: `pip install onnxruntime` (NVIDIA: `onnxruntime-gpu`) and `pip install "
    "--no-deps rtmlib`. Training needs those of `requirements-train.txt`.",
    "A cancelled training goes on when it runs again.",
    "Step 4 tries the LoRA. Later: move it from `output/loras` to `models/loras`, and take **EchoMimic Load LoRA** "
    "instead.",
]


def avatar() -> Workflow:
    flow = Workflow("echomimic_train_avatar", KINDS)
    files = [*NETWORKS[""], *SHARED, WHISPER, *DWPOSE, VAE]
    note = flow.note(explanation("Train the model on a person", ABOUT, files), (340, 570))
    loaded = flow.add_subgraph(models(""))
    film = flow.add("LoadVideo")
    # Get Video Components would hold all frames for the sound: 25 MB for each of 1920x1080.
    voice = flow.add("LoadAudio", audio="echomimic_driving.mp4")
    pose = flow.add("EchoMimicExtractPose", video=film["VIDEO"])
    speech = flow.add("EchoMimicEncodeAudio", audio=voice["AUDIO"], audio_encoder=loaded["audio_encoder"])
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
    report = flow.add("PreviewAny", source=frames["report"], size=SHORT_REPORT, title=VERDICT)
    video, saved = save_frames(flow, frames["images"], frames, "video/EchoMimic_avatar", size=(332, 430))
    flow.arrange(
        note,
        [
            [Group("Step 1 - Models, and a voice to try it", [[loaded, sound]])],
            [Group("Step 2 - A video of the person", [[film, voice, pose, speech]])],
            [Group("Step 3 - Train", [[clips, trained, losses]])],
            [Group("Step 4 - Keep it, and try it", [[kept, patched, image, frames]])],
            [Group("Step 5 - Watch", [[report, video, saved]])],
        ],
    )
    return flow
