"""People in larger pictures: each is cut out, animated and put back where they were."""

from __future__ import annotations

from typing import Any

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_nodes import Node
from workflow_parts import (
    NETWORKS,
    SHARED,
    VAE,
    VERDICT,
    WHISPER,
    explanation,
    look,
    marked,
    prepare,
    save_frames,
    verdict,
)
from workflow_steps import WIDTH, joined, models
from workflow_subgraph import Port, Subgraph, ports, setting_ports

NAME = "EchoMimic person in a picture"
FIRST_ID = 201
# With room for the line of the time that is left.
SIZE = (340, 392)
# Room for a video of 832 x 1216 in Save Video.
TALL_VIDEO = (340, 595)
# Where the people of the sample pictures are, as `draw_pictures.py` prints it.
FULL_BODY = (50.2, 13.1, 49.9, 24.2, 38.6, 24.1, 61.3, 24.1, 41.5, 40.9)
LEFT_PERSON = (25.2, 24.0, 24.9, 49.7, 15.5, 49.5, 34.4, 49.5, 18.0, 88.9)
RIGHT_PERSON = (75.2, 23.8, 74.9, 49.7, 65.7, 49.5, 84.2, 49.5, 68.0, 90.0)


def person(name: str = NAME, **framing: Any) -> Subgraph:
    """One person of a picture, marked, to frames that Paste Back puts into it; `framing` are Fit Portrait's widgets."""
    flow = Workflow(name, KINDS, first_id=FIRST_ID)
    fitted, reference = prepare(flow, None, 768, None, **framing)
    speech = flow.add("EchoMimicEncodeAudio")
    gestures = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
    retargeted = flow.add(
        "EchoMimicRetargetPose", pose=gestures["pose"], portrait=fitted["portrait"], image=fitted["image"]
    )
    sampler = flow.add(
        "EchoMimicSampler", reference=reference["LATENT"], audio=speech["speech"], pose=retargeted["pose"]
    )
    images = flow.add("EchoMimicDecode", latent=sampler["latent"])
    flow.arrange_groups(
        [
            [Group("Portrait", [[fitted, reference]])],
            [Group("Voice and gestures", [[speech, gestures]])],
            [Group("Fit", [[retargeted]])],
            [Group("Frames", [[sampler, images]])],
        ]
    )
    return Subgraph(
        name,
        "Cuts a marked person out of a picture, animates them by a voice, and gives frames and box for EchoMimic Paste "
        "Back. Several in one picture: one of these for each, and voices of one length.",
        flow,
        [
            *ports(sampler, "model"),
            *ports(speech, "audio_encoder"),
            # One input for both: the frames are decoded by what encoded the portrait.
            Port("vae", reference, "vae", ((images, "vae"),)),
            *ports(fitted, "image", "portrait"),
            *ports(speech, "audio"),
            *setting_ports(fitted, speech, gestures, sampler),
        ],
        {
            "images": images["images"],
            "crop_box": fitted["crop_box"],
            "audio": speech["audio"],
            "fps": speech["fps"],
            **verdict(retargeted),
        },
        SIZE,
    )


def animate(
    flow: Workflow,
    loaded: Node,
    image: Node,
    marks: Node | None,
    sound: Node,
    whole: Subgraph | None = None,
    **widgets: Any,
) -> Node:
    """The blueprint's node, or that of another `person`; `loaded` gives model, audio encoder and VAE."""
    node = flow.add_subgraph(
        whole or person(),
        model=loaded["model"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
        image=image["IMAGE"],
        portrait=marks and marks["portrait"],
        audio=sound["AUDIO"],
        **widgets,
    )
    node.title = NAME
    return node


def full_body() -> Workflow:
    flow = Workflow("echomimic_full_body", KINDS)
    about = [
        "Head to waist is cut out of the picture, animated and put back, so that no seam is seen.",
        "Click nose, neck, shoulders and a wrist in **Mark Portrait**.",
        "Head to waist should have 512 pixels or more. Below that box nothing moves.",
    ]
    note = flow.note(explanation("A full-body picture", about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (340, 430))
    loaded = flow.add_subgraph(models())
    image, sound = flow.add("LoadImage", image="echomimic_full_body.png"), flow.add("LoadAudio")
    marks = marked(flow, image["IMAGE"], FULL_BODY)
    frames = animate(flow, loaded, image, marks, sound)
    pasted = flow.add(
        "EchoMimicPasteBack", images=frames["images"], picture=image["IMAGE"], crop_box=frames["crop_box"]
    )
    video, saved = save_frames(flow, pasted["images"], frames, "video/EchoMimic_full_body", size=TALL_VIDEO)
    fit, report = look(flow, frames)
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Picture and voice", [[image, sound]])],
            [Group("Step 3 - Mark the person", [[marks]]), Group("Step 4 - Animate head to waist", [[frames]])],
            [Group("Step 5 - Look at the fit", [[fit, report]]), Group("Step 6 - Put it back", [[pasted, video]])],
            [Group("Step 7 - Watch", [[saved]])],
        ],
    )
    return flow


def two_people() -> Workflow:
    flow = Workflow("echomimic_two_people", KINDS)
    about = [
        "Two recordings of one length, each silent while the other speaks.",
        "Click nose, neck, shoulders and a wrist of each person, one in each **Mark Portrait**.",
        "Step 7 puts each back into their half: give it your picture's **width** and **height**, and where its left "
        "half ends.",
    ]
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]
    note = flow.note(explanation("Two people in one picture", about, files), (340, 450))
    loaded = flow.add_subgraph(models())
    image = flow.add("LoadImage", image="echomimic_two_people.png")
    sounds = [flow.add("LoadAudio", audio=f"echomimic_dialogue_{number}.wav") for number in (1, 2)]
    marks = [marked(flow, image["IMAGE"], shares) for shares in (LEFT_PERSON, RIGHT_PERSON)]
    left, right = [
        animate(flow, loaded, image, one, sound, gestures_seed=number)
        for number, (one, sound) in enumerate(zip(marks, sounds, strict=True), 1)
    ]
    # The taller one makes the whole graph taller, so that all of it begins higher and the video ends above the map.
    sizes = (left, 182), (right, 138)
    reports = [flow.add("PreviewAny", source=one["report"], size=(WIDTH, height)) for one, height in sizes]
    for side, mark, fitted, report in zip(("left", "right"), marks, (left, right), reports, strict=True):
        mark.title = f"EchoMimic Mark Portrait: {side}"
        fitted.title, report.title = f"{NAME}: {side}", f"{VERDICT}: {side}"
    both = flow.add_subgraph(
        joined(),
        picture=image["IMAGE"],
        left_images=left["images"],
        left_box=left["crop_box"],
        left_audio=left["audio"],
        right_images=right["images"],
        right_box=right["crop_box"],
        right_audio=right["audio"],
        fps=left["fps"],
    )
    saved = flow.add("SaveVideo", video=both["video"], filename_prefix="video/EchoMimic_two_people", size=(WIDTH, 290))
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Picture", [[image]]), Group("Step 3 - The left person", [[marks[0]]])],
            [Group("Step 4 - Voices: left, right", [sounds]), Group("Step 5 - The right person", [[marks[1]]])],
            [Group("Step 6 - Animate left and right", [[left, right, reports[0]]])],
            [Group("Step 7 - Put both back, and watch", [[reports[1], both, saved]])],
        ],
    )
    return flow
