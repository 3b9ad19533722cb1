"""Gestures of one's own: from a video, fitted to the portrait, or made from the voice."""

from __future__ import annotations

from workflow_graph import Choice, Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import (
    DWPOSE,
    NETWORKS,
    SDPOSE,
    SHARED,
    VAE,
    WHISPER,
    explanation,
    loaders,
    prepare,
    retarget,
    sample,
    save,
)


def own_gestures() -> Workflow:
    flow = Workflow("echomimic_own_gestures", KINDS)
    about = (
        "# Your own gestures\n\nFilm yourself from head to waist, hands visible. SDPose finds the keypoints, and the "
        "portrait moves its hands like you.\n\n"
        "- Choose your video in **Load Video**. To speak with its own sound, link *audio* of **Get Video Components** "
        "to **Encode Audio**.\n"
        "- Look at step 4 before the long run: the hands must lie where the portrait's hands could be."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDPOSE]), (360, 660))
    model, whisper, vae = loaders(flow)
    detector = flow.add("CheckpointLoaderSimple", models=[SDPOSE], ckpt_name=SDPOSE.name)
    image, sound, film = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("LoadVideo")
    parts = flow.add("GetVideoComponents", video=film["VIDEO"])
    keypoints = flow.add("SDPoseKeypointExtractor", model=detector["MODEL"], vae=detector["VAE"], image=parts["images"])
    pose = flow.add("EchoMimicPoseFromKeypoints", keypoints=keypoints["keypoints"], fps=parts["fps"])
    portrait, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    retargeted, overlay, report = retarget(flow, pose["pose"], portrait)
    fitted = flow.add("EchoMimicFitPose", pose=retargeted["pose"], audio=speech["speech"])
    skeleton = flow.add("EchoMimicPoseToKeypoints", pose=fitted["pose"])
    drawn = flow.add("SDPoseDrawKeypoints", keypoints=skeleton["keypoints"])
    drawing = flow.add("PreviewImage", images=drawn["IMAGE"])
    sampler = sample(flow, model, reference, speech, fitted)
    images, video, saved = save(flow, sampler["latent"], vae["VAE"], speech, "video/EchoMimic_own_gestures")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae, detector]]),
                Group("Step 2 - Portrait, voice and your video", [[image, sound, film]]),
            ],
            [Group("Step 3 - Prepare", [[parts, keypoints, pose, speech], [portrait, reference]])],
            [
                Group(
                    "Step 4 - Gestures on the portrait",
                    [[retargeted, overlay, report, fitted], [skeleton, drawn, drawing]],
                )
            ],
            [Group("Step 5 - Make the video", [[sampler, images, video]]), Group("Step 6 - Save", [[saved]])],
        ],
    )
    return flow


def voice_only() -> Workflow:
    flow = Workflow("echomimic_voice_only", KINDS)
    about = (
        "# A portrait and a voice are enough\n\nThe gestures are made from the voice: hands rest in pauses and beat on "
        "stressed words.\n\n"
        "- **Mark Portrait**: click nose, neck, shoulders and a wrist on the picture, or drag the marks. **Fit "
        "Portrait** frames the person by them.\n"
        "- The overlay (white on green) and the score say how well gestures and person fit. Mute steps 5 and 6 until "
        "you like it (select, Ctrl+M).\n"
        "- Other gestures: another **seed**. Calmer or livelier: **energy** and **expressiveness**."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 730))
    model, whisper, vae = loaders(flow)
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    marks = flow.add("EchoMimicMarkPortrait", image=image["IMAGE"])
    portrait, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"], portrait=marks["portrait"])
    cut = flow.add("PreviewImage", images=portrait["preview"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    gestures = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
    fitted, overlay, report = retarget(flow, gestures["pose"], portrait)
    plot = flow.add(
        "EchoMimicPreviewPose",
        pose=fitted["pose"],
        audio=speech["audio"],
        view=Choice("hands and voice", {"width": 1280, "height": 480}),
    )
    plotted = flow.add("PreviewImage", images=plot["images"])
    sampler = sample(flow, model, reference, speech, fitted)
    images, video, saved = save(flow, sampler["latent"], vae["VAE"], speech, "video/EchoMimic_voice_only")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait and voice", [[image, sound]]),
            ],
            [Group("Step 3 - Mark and frame the portrait", [[marks, cut], [portrait, reference]])],
            [
                Group(
                    "Step 4 - Gestures from the voice, and a look",
                    [[speech, gestures, fitted], [overlay, report, plot, plotted]],
                )
            ],
            [Group("Step 5 - Make the video", [[sampler, images, video]]), Group("Step 6 - Save", [[saved]])],
        ],
    )
    return flow


def retargeted() -> Workflow:
    flow = Workflow("echomimic_retarget", KINDS)
    about = (
        "# Anyone's gestures on anyone\n\nThe gestures of your video, found by DWPose and repaired, are brought onto "
        "the body of the person in a picture of any size. The finished frames are put back into the full picture.\n\n"
        "- **Extract Pose** needs two packages in ComfyUI's Python: `pip install onnxruntime` (NVIDIA: "
        "`onnxruntime-gpu`) and `pip install --no-deps rtmlib`.\n"
        "- **Align Portrait** cuts out head to waist; **Retarget Pose** fits the arms. Look at overlay and report "
        "before the long run, and move by hand where needed.\n"
        "- The repaired clip is saved: load it next time with **Load Pose**, also as material for **Generate "
        "Gestures**."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, *DWPOSE, VAE]), (360, 820))
    model, whisper, vae = loaders(flow)
    image, sound, film = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("LoadVideo")
    found = flow.add("EchoMimicExtractPose", video=film["VIDEO"])
    person = flow.add("EchoMimicExtractPose", video=image["IMAGE"])
    repaired = flow.add("EchoMimicEditPose", pose=found["pose"])
    kept = flow.add("EchoMimicSavePose", pose=repaired["pose"], filename_prefix="poses/my_gestures")
    sheet = flow.add(
        "EchoMimicPreviewPose",
        pose=repaired["pose"],
        view=Choice("contact sheet", {"pictures": 24, "columns": 6, "side": 256}),
    )
    sheeted = flow.add("PreviewImage", images=sheet["images"])
    aligned = flow.add("EchoMimicAlignPortrait", image=image["IMAGE"], portrait=person["pose"], pose=repaired["pose"])
    fitted, overlay, report = retarget(flow, repaired["pose"], aligned)
    reference = flow.add("VAEEncode", pixels=aligned["image"], vae=vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    timed = flow.add("EchoMimicFitPose", pose=fitted["pose"], audio=speech["speech"])
    sampler = sample(flow, model, reference, speech, timed)
    images = flow.add("EchoMimicDecode", latent=sampler["latent"], vae=vae["VAE"])
    pasted = flow.add(
        "EchoMimicPasteBack", images=images["images"], picture=image["IMAGE"], crop_box=aligned["crop_box"]
    )
    video = flow.add("CreateVideo", images=pasted["images"], audio=speech["audio"], fps=speech["fps"])
    saved = flow.add("SaveVideo", video=video["VIDEO"], filename_prefix="video/EchoMimic_retarget")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Picture, voice and your video", [[image, sound, film]]),
            ],
            [Group("Step 3 - Find the poses", [[found, repaired, kept, person], [sheet, sheeted]])],
            [Group("Step 4 - Fit them, and look", [[aligned, fitted], [overlay, report]])],
            [Group("Step 5 - Prepare", [[reference, speech, timed]])],
            [Group("Step 6 - Make the video", [[sampler, images, pasted, video]]), Group("Step 7 - Save", [[saved]])],
        ],
    )
    return flow
