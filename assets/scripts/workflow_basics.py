"""A portrait from text; minutes of audio; and the one that needs no download."""

from __future__ import annotations

from workflow_blueprint import blueprint
from workflow_graph import Group, Workflow
from workflow_kinds import KINDS, PORTRAIT_MARKS
from workflow_parts import (
    NETWORKS,
    SDXL,
    SHARED,
    SHORT_REPORT,
    VAE,
    WHISPER,
    explanation,
    look,
    marked,
    save_frames,
    stream,
)
from workflow_people import NAME, animate, person
from workflow_steps import add_prepared_by_clip, sample_prepared

PROMPT = (
    "half-body portrait photo of a friendly woman facing the camera, head to waist, centered, orange sweater, both "
    "hands folded in front of the belly, arms visible, plain light studio background, soft light, sharp focus"
)
NEGATIVE = "close-up, full body, cropped head, hidden hands, extra fingers, deformed hands, side view, text, watermark"


def from_text() -> Workflow:
    flow = Workflow("echomimic_from_text", KINDS)
    about = [
        "A text-to-image checkpoint paints the portrait, then it speaks.",
        "Any checkpoint will do. Ask for *half body, facing the camera, hands visible*.",
        "Until you like the portrait, mute steps 5 and 6 (select their nodes, Ctrl+M) and change the seed of step 3.",
    ]
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDXL]
    note = flow.note(explanation("From text to a speaking person", about, files), (340, 480))
    painter = flow.add("CheckpointLoaderSimple", models=[SDXL], ckpt_name=SDXL.name)
    wanted = flow.add("CLIPTextEncode", clip=painter["CLIP"], text=PROMPT)
    unwanted = flow.add("CLIPTextEncode", clip=painter["CLIP"], text=NEGATIVE)
    canvas = flow.add("EmptyLatentImage")
    painting = flow.add(
        "KSampler",
        model=painter["MODEL"],
        positive=wanted["CONDITIONING"],
        negative=unwanted["CONDITIONING"],
        latent_image=canvas["LATENT"],
    )
    image = flow.add("VAEDecode", samples=painting["LATENT"], vae=painter["VAE"])
    painted = flow.add("PreviewImage", images=image["IMAGE"])
    sound = flow.add("LoadAudio")
    whole = flow.add_subgraph(blueprint(), image=image["IMAGE"], audio=sound["AUDIO"])
    saved = flow.add("SaveVideo", video=whole["video"], filename_prefix="video/EchoMimic_from_text")
    fit, report = look(flow, whole)
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load the painter", [[painter]]), Group("Step 2 - Voice", [[sound]])],
            [Group("Step 3 - Say what to paint", [[wanted, unwanted, canvas, painting]])],
            [Group("Step 4 - Look at the portrait", [[image, painted]])],
            [Group("Step 5 - Make it, and look at the fit", [[whole, fit]])],
            [Group("Step 6 - Watch", [[saved, report]])],
        ],
    )
    return flow


def long_audio() -> Workflow:
    flow = Workflow("echomimic_long", KINDS)
    about = [
        "**Save Video** decodes a few frames at a time into the file: the memory does not grow with the length.",
        "Try *duration* 5 in **EchoMimic prepare** first, then 0 for all.",
        "The clip goes round, blended at the seam.",
        "The file holds this workflow: drag it onto ComfyUI.",
    ]
    note = flow.note(explanation("Minutes of audio", about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (340, 480))
    loaded, image, sound, gestures, ready = add_prepared_by_clip(flow, "small_talk", mode="loop", blend_seconds=1.0)
    fit, report = look(flow, ready, SHORT_REPORT)
    sampler = sample_prepared(flow, loaded, ready)
    saved = stream(flow, sampler["latent"], loaded["vae"], ready, "video/EchoMimic_long")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]])],
            [
                Group("Step 3 - Prepare", [[ready, report]]),
                Group("Step 4 - Make the video", [[sampler]]),
            ],
            [Group("Step 5 - Look at the fit, and watch", [[fit, saved]])],
        ],
    )
    return flow


DEMO_NOTE = explanation(
    "Does it work here?",
    [
        "Press **Run**. All that it needs ships with the pack; it takes a minute or two on a CPU.",
        "A voice and a picture of your own: choose them in step 1, and click the marks in step 2.",
        "A photograph comes out smeared by this small model. For photographs open *echomimic_accelerated*.",
    ],
    [],
)


# The small model learned from drawn people, whose heads are large: they stand a little smaller and lower in their frame
# than the published clips' people, whom Fit Portrait's auto goes by. By this much, in the median over 60 of them; the
# sample portrait is shown whole then. Without it lips come out twice, or not on the face.
DRAWN = {"scale": 0.97, "down": 0.045}


def demo() -> Workflow:
    flow = Workflow("echomimic_demo", KINDS)
    note = flow.note(DEMO_NOTE, (340, 310))
    bundle = flow.add("EchoMimicLoadBundle")
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    marks = marked(flow, image["IMAGE"], PORTRAIT_MARKS)
    frames = animate(flow, bundle, image, marks, sound, person(f"{NAME}, drawn", **DRAWN), width=192, height=192)
    fit, report = look(flow, frames)
    video, saved = save_frames(flow, frames["images"], frames, "video/EchoMimic_demo")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Portrait and voice", [[image, sound]])],
            [Group("Step 2 - Mark the portrait", [[marks]]), Group("Step 3 - The demo's weights", [[bundle]])],
            [Group("Step 4 - Animate it, and look at the fit", [[frames, fit, report]])],
            [Group("Step 5 - Watch", [[video, saved]])],
        ],
    )
    return flow
