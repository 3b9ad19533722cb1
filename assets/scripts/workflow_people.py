"""People in larger pictures: each is cut out, animated and put back where they were."""

from __future__ import annotations

from workflow_graph import Group, Node, Workflow
from workflow_kinds import KINDS, MARKS
from workflow_parts import NETWORKS, SHARED, VAE, WHISPER, explanation, loaders, prepare
from workflow_subgraph import Port, Subgraph, setting_ports

NAME = "EchoMimic person in a picture"
FIRST_ID = 201
SIZE = (340, 360)
# Where the people of the sample pictures are, as `draw_pictures.py` prints it.
FULL_BODY = (50.2, 13.1, 49.9, 24.2, 38.6, 24.1, 61.3, 24.1, 41.5, 40.9)
LEFT_PERSON = (25.2, 24.0, 24.9, 49.7, 15.5, 49.5, 34.4, 49.5, 18.0, 88.9)
RIGHT_PERSON = (75.2, 23.8, 74.9, 49.7, 65.7, 49.5, 84.2, 49.5, 68.0, 90.0)
TWO_PEOPLE_SIZE = (1280, 640)


def person() -> Subgraph:
    """One person of a picture, marked, to frames that Paste Back puts into it."""
    flow = Workflow(NAME, KINDS, first_id=FIRST_ID)
    fitted, reference = prepare(flow, None, 768, None)
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
        NAME,
        "Cuts a marked person out of a picture, animates them by a voice, and gives frames and box for EchoMimic Paste "
        "Back. Several in one picture: one of these for each, and voices of one length.",
        flow,
        [
            Port("model", sampler, "model"),
            Port("audio_encoder", speech, "audio_encoder"),
            # One input for both: the frames are decoded by what encoded the portrait.
            Port("vae", reference, "vae", ((images, "vae"),)),
            Port("image", fitted, "image"),
            Port("portrait", fitted, "portrait"),
            Port("audio", speech, "audio"),
            *setting_ports(fitted, speech, gestures, sampler),
        ],
        {
            "images": images["images"],
            "crop_box": fitted["crop_box"],
            "audio": speech["audio"],
            "fps": speech["fps"],
            "fit": retargeted["overlay"],
            "report": retargeted["report"],
        },
        SIZE,
    )


def marked(flow: Workflow, image: tuple[Node, int], shares: tuple[float, ...]) -> Node:
    """Mark Portrait with a person's marks."""
    return flow.add("EchoMimicMarkPortrait", image=image, **dict(zip(MARKS, shares, strict=True)))


def full_body() -> Workflow:
    flow = Workflow("echomimic_full_body", KINDS)
    about = (
        "# A full-body picture\n\nThe model animates head to waist. Here that part is cut out of a full-body picture, "
        "animated, and put back where it was: the edge is blended, so that no seam is seen.\n\n"
        "- **Mark Portrait**: click nose, neck, shoulders and a wrist on your picture.\n"
        "- A large picture is best: the part from head to waist should have 512 pixels or more.\n"
        "- The hands should rest within the box; below it nothing moves."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 800))
    model, whisper, vae = loaders(flow)
    image, sound = flow.add("LoadImage", image="echomimic_full_body.png"), flow.add("LoadAudio")
    marks = marked(flow, image["IMAGE"], FULL_BODY)
    frames = flow.add_subgraph(
        person(),
        model=model["model"],
        audio_encoder=whisper["audio_encoder"],
        vae=vae["VAE"],
        image=image["IMAGE"],
        portrait=marks["portrait"],
        audio=sound["AUDIO"],
    )
    fit = flow.add("PreviewImage", images=frames["fit"])
    report = flow.add("PreviewAny", source=frames["report"])
    pasted = flow.add(
        "EchoMimicPasteBack", images=frames["images"], picture=image["IMAGE"], crop_box=frames["crop_box"]
    )
    video = flow.add("CreateVideo", images=pasted["images"], audio=frames["audio"], fps=frames["fps"])
    saved = flow.add("SaveVideo", video=video["VIDEO"], filename_prefix="video/EchoMimic_full_body")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Picture and voice", [[image, sound]]),
            ],
            [Group("Step 3 - Mark the person", [[marks]])],
            [Group("Step 4 - Animate head to waist", [[frames, fit, report]])],
            [Group("Step 5 - Put it back", [[pasted, video]]), Group("Step 6 - Watch", [[saved]])],
        ],
    )
    return flow


def two_people() -> Workflow:
    flow = Workflow("echomimic_two_people", KINDS)
    about = (
        "# Two people in one picture\n\nEach of them has a voice. Both are cut out, animated and put back one after "
        "the other, frame by frame.\n\n"
        "- **Two recordings of one length**, each silent while the other speaks: the tracks of a talk, or one track "
        "twice with the other's words silenced.\n"
        "- Click nose, neck, shoulders and a wrist of each person, one in each **Mark Portrait**.\n"
        "- The masks split the picture in the middle, so that boxes which overlap do not cover the other person: give "
        "**Solid Mask** your picture's size, the second one half its width."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 910))
    model, whisper, vae = loaders(flow)
    image = flow.add("LoadImage", image="echomimic_two_people.png")
    people, marks, sounds, frames = person(), [], [], []
    for number, shares in enumerate((LEFT_PERSON, RIGHT_PERSON), 1):
        sounds.append(flow.add("LoadAudio", audio=f"echomimic_dialogue_{number}.wav"))
        marks.append(marked(flow, image["IMAGE"], shares))
        frames.append(
            flow.add_subgraph(
                people,
                model=model["model"],
                audio_encoder=whisper["audio_encoder"],
                vae=vae["VAE"],
                image=image["IMAGE"],
                portrait=marks[-1]["portrait"],
                audio=sounds[-1]["AUDIO"],
                gestures_seed=number,
            )
        )
    width, height = TWO_PEOPLE_SIZE
    black = flow.add("SolidMask", value=0.0, width=width, height=height)
    half = flow.add("SolidMask", value=1.0, width=width // 2, height=height)
    left = flow.add("MaskComposite", destination=black["MASK"], source=half["MASK"], operation="add")
    right = flow.add("InvertMask", mask=left["MASK"])
    first = flow.add(
        "EchoMimicPasteBack",
        images=frames[0]["images"],
        picture=image["IMAGE"],
        crop_box=frames[0]["crop_box"],
        mask=left["MASK"],
    )
    both = flow.add(
        "EchoMimicPasteBack",
        images=frames[1]["images"],
        picture=first["images"],
        crop_box=frames[1]["crop_box"],
        mask=right["MASK"],
    )
    sound = flow.add("AudioMerge", audio1=frames[0]["audio"], audio2=frames[1]["audio"])
    video = flow.add("CreateVideo", images=both["images"], audio=sound["AUDIO"], fps=frames[0]["fps"])
    saved = flow.add("SaveVideo", video=video["VIDEO"], filename_prefix="video/EchoMimic_two_people")
    fits = [flow.add("PreviewImage", images=one["fit"]) for one in frames]
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Picture and voices", [[image, *sounds]]),
            ],
            [Group("Step 3 - Mark both", [marks])],
            [Group("Step 4 - Animate each", [[frames[0], fits[0], frames[1], fits[1]]])],
            [Group("Step 5 - Masks", [[black, half, left, right]])],
            [Group("Step 6 - Put both back", [[first, both, sound, video]]), Group("Step 7 - Watch", [[saved]])],
        ],
    )
    return flow
