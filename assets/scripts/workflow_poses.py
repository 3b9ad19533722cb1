"""Gestures of one's own: from a video, fitted to the portrait, or made from the voice."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS, PORTRAIT_MARKS
from workflow_parts import (
    DWPOSE,
    FIT,
    NETWORKS,
    SDPOSE,
    SHARED,
    SHORT_REPORT,
    VAE,
    VERDICT,
    WHISPER,
    explanation,
    look,
    marked,
    stream,
)
from workflow_steps import WIDTH, animated, drawn, framed, models, prepared, sample_prepared


def own_gestures() -> Workflow:
    flow = Workflow("echomimic_own_gestures", KINDS)
    about = [
        "Film yourself from head to waist, hands visible: SDPose finds the keypoints.",
        "To speak with the video's own sound, link *audio* of **Get Video Components** to **EchoMimic prepare**.",
        "Look at the fit in step 6 before the long run: hands lie where the portrait's could be.",
    ]
    note = flow.note(
        explanation("Your own gestures", about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDPOSE]), (340, 460)
    )
    loaded = flow.add_subgraph(models())
    image, sound, film = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("LoadVideo")
    detector = flow.add("CheckpointLoaderSimple", models=[SDPOSE], ckpt_name=SDPOSE.name)
    parts = flow.add("GetVideoComponents", video=film["VIDEO"])
    keypoints = flow.add("SDPoseKeypointExtractor", model=detector["MODEL"], vae=detector["VAE"], image=parts["images"])
    pose = flow.add("EchoMimicPoseFromKeypoints", keypoints=keypoints["keypoints"], fps=parts["fps"])
    skeleton = flow.add_subgraph(drawn(), pose=pose["pose"])
    drawing = flow.add("PreviewImage", images=skeleton["image"], title="Poses that were found")
    ready = flow.add_subgraph(
        prepared("clip"),
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        pose=pose["pose"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
    )
    fit, report = look(flow, ready, SHORT_REPORT)
    sampler = sample_prepared(flow, loaded, ready)
    saved = stream(flow, sampler["latent"], loaded["vae"], ready, "video/EchoMimic_own_gestures")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Portrait, voice and your video", [[image, sound, film]])],
            [Group("Step 3 - Find the gestures", [[detector, parts, keypoints, pose, skeleton, drawing]])],
            [
                Group("Step 4 - Gestures on the portrait", [[ready, report]]),
                Group("Step 5 - Make the video", [[sampler]]),
            ],
            [Group("Step 6 - Look at the fit, and watch", [[fit, saved]])],
        ],
    )
    return flow


def voice_only() -> Workflow:
    flow = Workflow("echomimic_voice_only", KINDS)
    about = [
        "Click nose, neck, shoulders and a wrist in **Mark Portrait**.",
        "Do gestures (white) and person (green) fit? Mute steps 5 and 6 until you like it (select them, Ctrl+M).",
    ]
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]
    note = flow.note(explanation("A portrait and a voice are enough", about, files), (340, 370))
    loaded = flow.add_subgraph(models())
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=loaded["audio_encoder"])
    marks = marked(flow, image["IMAGE"], PORTRAIT_MARKS)
    gestures = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
    fitted = flow.add_subgraph(
        framed(),
        image=image["IMAGE"],
        portrait=marks["portrait"],
        pose=gestures["pose"],
        audio=speech["audio"],
        vae=loaded["vae"],
    )
    fit, report = look(flow, fitted, SHORT_REPORT)
    plotted = flow.add("PreviewImage", images=fitted["hands_and_voice"], title="Hands under the voice")
    sampler = flow.add(
        "EchoMimicSampler",
        model=loaded["model"],
        reference=fitted["reference"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
    saved = stream(flow, sampler["latent"], loaded["vae"], speech, "video/EchoMimic_voice_only")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models, and a portrait", [[loaded, image]])],
            [Group("Step 2 - Voice and gestures", [[sound, speech, gestures]])],
            [Group("Step 3 - Mark and fit", [[marks, fitted, report]])],
            [Group("Step 4 - Look", [[fit, plotted]]), Group("Step 5 - Make the video", [[sampler]])],
            [Group("Step 6 - Watch", [[saved]])],
        ],
    )
    return flow


def retargeted() -> Workflow:
    flow = Workflow("echomimic_retarget", KINDS)
    about = [
        "Your video's gestures, found by DWPose, on the person in a picture of any size.",
        "**Extract Pose** needs two packages: `pip install onnxruntime` (NVIDIA: `onnxruntime-gpu`) and `pip install "
        "--no-deps rtmlib`.",
        "Look at step 4 before the long run, and move by hand where needed.",
        "The repaired clip is saved: next time take **Load Pose**.",
    ]
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, *DWPOSE, VAE]
    note = flow.note(explanation("Anyone's gestures on anyone", about, files), (340, 550))
    loaded = flow.add_subgraph(models())
    image, sound, film = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("LoadVideo")
    found = flow.add("EchoMimicExtractPose", video=film["VIDEO"], title="EchoMimic Extract Pose: video")
    person = flow.add("EchoMimicExtractPose", video=image["IMAGE"], title="EchoMimic Extract Pose: picture")
    repaired = flow.add("EchoMimicEditPose", pose=found["pose"])
    kept = flow.add("EchoMimicSavePose", pose=repaired["pose"], filename_prefix="poses/my_gestures")
    aligned = flow.add("EchoMimicAlignPortrait", image=image["IMAGE"], portrait=person["pose"], pose=repaired["pose"])
    fitted = flow.add(
        "EchoMimicRetargetPose", pose=repaired["pose"], portrait=aligned["portrait"], image=aligned["image"]
    )
    overlay = flow.add("PreviewImage", images=fitted["overlay"], title=FIT)
    report = flow.add("PreviewAny", source=fitted["report"], size=(WIDTH, 158), title=VERDICT)
    whole = flow.add_subgraph(
        animated(),
        model=loaded["model"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
        image=aligned["image"],
        audio=sound["AUDIO"],
        pose=fitted["pose"],
        picture=image["IMAGE"],
        crop_box=aligned["crop_box"],
    )
    saved = flow.add("SaveVideo", video=whole["video"], filename_prefix="video/EchoMimic_retarget", size=(332, 430))
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Picture, voice and your video", [[image, sound, film]])],
            [Group("Step 3 - Find the poses", [[person, found, repaired, kept]])],
            [Group("Step 4 - Fit them, and look", [[aligned, fitted, overlay, report]])],
            [Group("Step 5 - Make the video", [[whole, saved]])],
        ],
    )
    return flow
