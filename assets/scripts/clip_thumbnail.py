"""The small picture beside a gesture clip: its most telling moment on a grey figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echomimic.pose import PoseSequence
from echomimic.pose.drawing.hands import BONE_COLOURS, HAND_BONES
from echomimic.pose.sequence import HAND_A, HAND_B, HANDS

THUMBNAIL_SIDE = 192
# Where the most telling moment is not the widest gesture, in seconds.
TELLING = {"explaining": 2.4, "hand_on_heart": 2.2, "pointing": 1.4, "presenting": 2.0}


def widest_frame(clip: PoseSequence) -> int:
    """The stillest of the frames in which the hands are far from where the clip begins: its gesture at full reach."""
    hands = clip.keypoints[:, HAND_A.start : HAND_B.stop]
    reach = np.linalg.norm(hands - hands[:1], axis=-1).mean(axis=1)
    speed = np.linalg.norm(np.gradient(hands, axis=0), axis=-1).mean(axis=1)
    return int(np.argmin(np.where(reach >= 0.85 * reach.max(), speed, np.inf)))


def write_thumbnail(clip: PoseSequence, path: Path) -> None:
    """The clip's most telling moment: the hands in the colours that the model sees, over a grey figure."""
    import cv2

    name = clip.info["name"]
    frame = round(TELLING[name] * clip.fps) if name in TELLING else widest_frame(clip)
    side = 4 * THUMBNAIL_SIDE
    figure = np.full((side, side, 3), 18, np.uint8)
    points = clip.keypoints[frame] * side

    grey, dark = (74, 76, 86), (54, 56, 64)

    def line(indices: list[int], width: int, colour: tuple[int, int, int]) -> None:
        cv2.polylines(figure, [np.round(points[indices]).astype(np.int32)], False, colour, width, cv2.LINE_AA)

    jaw = points[24 : 24 + 17]
    centre, radius = (jaw[0] + jaw[16]) / 2, np.linalg.norm(jaw[16] - jaw[0]) / 2
    middle = np.round(centre).astype(int).tolist()
    torso = np.round(points[[2, 8, 11, 5]]).astype(np.int32)
    cv2.polylines(figure, [torso], True, dark, 70, cv2.LINE_AA)
    cv2.fillPoly(figure, [torso], dark, cv2.LINE_AA)
    line([4, 3, 2], 44, grey)
    line([5, 6, 7], 44, grey)
    cv2.line(figure, middle, np.round(points[1]).astype(int).tolist(), grey, 76, cv2.LINE_AA)
    for height in (jaw[8][1] - centre[1], 1.45 * radius):
        cv2.ellipse(figure, middle, (int(radius), int(height)), 0, 0, 360, grey, -1, cv2.LINE_AA)
    for part in HANDS:
        hand = np.round(points[part]).astype(int)
        for (a, b), colour in zip(HAND_BONES, BONE_COLOURS):
            cv2.line(
                figure, hand[a].tolist(), hand[b].tolist(), [255 * value for value in colour[::-1]], 9, cv2.LINE_AA
            )
    small = cv2.resize(figure, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
