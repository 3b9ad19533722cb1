"""Drawn people who move and speak, a detector that knows them, and data folders of them, for tests of training."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from echomimic.media.video_writer import write_video
from echomimic.pose import Canvas, PoseSequence, save_poses
from echomimic.training.clip_files import write_wav
from echomimic.training.records import ClipRecord

HEAD = (230, 40, 40)


def skeleton(x: float, y: float, radius: float, hands: bool = True) -> np.ndarray:
    """The keypoints `[134, 3]` of the person whose head lies there, in pixels."""
    points = np.zeros((134, 3))
    offsets = {
        0: (0, 0), 1: (0, 1.5), 2: (-1.3, 1.7), 3: (-1.6, 3), 4: (-1, 3.6), 5: (1.3, 1.7), 6: (1.6, 3), 7: (1, 3.6),
        8: (-0.8, 4.2), 11: (0.8, 4.2), 14: (-0.3, -0.2), 15: (0.3, -0.2), 16: (-0.8, 0), 17: (0.8, 0),
    }  # fmt: skip
    for point, (dx, dy) in offsets.items():
        points[point] = x + dx * radius, y + dy * radius, 1
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points[24:72, :2] = np.stack([x + 0.8 * radius * np.sin(angles), y - 0.8 * radius * np.cos(angles)], axis=1)
    lips = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[72:92, :2] = np.stack([x + 0.3 * radius * np.sin(lips), y + (0.45 + 0.1 * np.cos(lips)) * radius], axis=1)
    points[24:92, 2] = 1
    if hands:
        for rows, wrist in ((slice(92, 113), 7), (slice(113, 134), 4)):
            spread = np.stack([np.linspace(-0.3, 0.3, 21), np.linspace(0, 0.5, 21)], axis=1) * radius
            points[rows, :2] = points[wrist, :2] + spread
            points[rows, 2] = 1
    return points


def draw_person(picture: np.ndarray, x: float, y: float, radius: float, mouth: float = 0.1) -> None:
    """A head, a body and hands, in place."""
    place = skeleton(x, y, radius)
    body, mouth_at = (round(x), round(y + 3.4 * radius)), (round(x), round(y + 0.45 * radius))
    cv2.ellipse(picture, body, (round(1.5 * radius), round(2 * radius)), 0, 0, 360, (40, 90, 160), -1)
    for wrist in (4, 7):
        cv2.circle(picture, place[wrist, :2].round().astype(int).tolist(), round(0.4 * radius), (240, 190, 150), -1)
    cv2.circle(picture, (round(x), round(y)), round(radius), HEAD, -1)
    cv2.ellipse(picture, mouth_at, (round(0.3 * radius), max(1, round(mouth * radius))), 0, 0, 360, (60, 0, 0), -1)


def person_frames(
    count: int, size: int = 128, people: int = 1, radius: float = 14, background: tuple[int, int, int] = (220, 225, 230)
) -> np.ndarray:
    """Frames `[n, size, size, 3]` of people who sway."""
    frames = np.full((count, size, size, 3), background, np.uint8)
    for number, frame in enumerate(frames):
        for person in range(people):
            x = size * (person + 1) / (people + 1) + 3 * np.sin(number / 5)
            draw_person(frame, x, size * 0.25, radius, 0.08 + 0.07 * np.sin(number))
    return frames


def voice(seconds: float) -> torch.Tensor:
    """A tone that swells and fades, mono at 16 kHz."""
    time = torch.arange(round(seconds * 16000)) / 16000
    return 0.3 * torch.sin(time * 2 * np.pi * 220) * (0.5 + 0.5 * torch.sin(time * 9))


def write_person_video(
    path: Path, frames: np.ndarray, fps: float = 24.0, sound: bool = True, loud: float = 1.0
) -> Path:
    """A video of these frames, with or without a voice."""
    audio = (voice(len(frames) / fps)[None] * loud, 16000) if sound else None
    return write_video(path, [frames], fps, audio=audio, crf=6)


class DrawnPersonDetector:
    """Finds drawn people by the colour of their heads."""

    identity = "drawn people"

    def __init__(self, hands: bool = True) -> None:
        self.hands = hands
        self.calls = 0

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        self.calls += 1
        heads = (np.abs(picture.astype(int) - HEAD).max(axis=-1) < 60).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(heads)
        found = []
        for label in range(1, count):
            left, top, width, height, area = stats[label]
            if area > 30:
                found.append(skeleton(left + width / 2, top + height / 2, max(width, height) / 2, self.hands))
        return np.array(sorted(found, key=lambda p: -np.ptp(p[24:92, 1]))).reshape(-1, 134, 3)


def write_data(folder: Path, clips: int = 1, frames: int = 16, size: int = 64, headshot: bool = False) -> Path:
    """A data folder as `prepare` makes it, of drawn people in different colours."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(clips):
        stem = f"clips/person-{number}"
        background = [(220, 225, 230), (60, 80, 60), (200, 160, 120)][number % 3]
        pictures = person_frames(frames, size, radius=size / 9, background=background)
        write_video(folder / f"{stem}.mp4", [pictures], 24.0, crf=4)
        write_wav(folder / f"{stem}.wav", voice(frames / 24))
        detect = DrawnPersonDetector()
        points = np.stack([detect(picture)[0] for picture in pictures])
        points[..., :2] /= size
        poses = PoseSequence(points[..., :2], points[..., 2], canvas=Canvas(size, (0, size), (0, size)))
        save_poses(poses, folder / f"{stem}.poses.safetensors")
        record = ClipRecord(
            f"{stem}.mp4", f"{stem}.wav", f"{stem}.poses.safetensors", frames, 24.0, size, headshot,
            (0.25, 0.0, 0.75, 0.5) if headshot else (0.0, 0.0, 1.0, 1.0), source="drawn",
        )  # fmt: skip
        lines.append(record.to_json())
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def edit_metadata(folder: Path, **changes: object) -> None:
    """Change the first clip's line."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **changes})
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
