"""The measures of the paper's table 2, each by a library; where weights are missing it is left out with the reason.

PSNR needs no package, SSIM torchmetrics. LPIPS and FID load networks that torchvision and torch-fidelity download at
their first use. FVD (cd-fvd), CSIM (insightface), Sync-C and Sync-D (syncnet-python) and the hands' measures (DWPose)
need packages or files of their own.
"""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import EchoMimicError
from ..pose.anatomy import SEEN
from ..pose.sequence import HANDS
from .similarity import psnr, ssim

logger = logging.getLogger("echomimic")

# Table 2's columns, and whether more is better.
METRICS = {
    "FID": False,
    "FVD": False,
    "PSNR": True,
    "SSIM": True,
    "LPIPS": False,
    "CSIM": True,
    "Sync-C": True,
    "Sync-D": False,
    "HKC": True,
    "HKV": True,
}


@dataclass(frozen=True)
class VideoPair:
    """A render and its truth, of equal length and size.

    Attributes:
        name: the files' common name.
        made, truth: uint8 RGB `[F, H, W, 3]`.
        made_path: the rendered file, for measures that listen to its sound.
    """

    name: str
    made: np.ndarray
    truth: np.ndarray
    made_path: Path


class Unavailable(Exception):
    """A measure cannot be taken here; the message says what is missing."""


@dataclass
class Measures:
    """Results by measure, and why others were left out."""

    videos: dict[str, dict[str, float]] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """One number a measure: over all videos together, or the mean of the videos' own."""
        found = dict(self.whole)
        for name in METRICS:
            values = [one[name] for one in self.videos.values() if name in one]
            if values:
                found[name] = float(np.mean(values))
        return {name: found[name] for name in METRICS if name in found}


# A measure of one video.
PerVideo = Callable[[VideoPair], dict[str, float]]


class OverAll(ABC):
    """A measure of all videos together."""

    names: Sequence[str] = ()

    @abstractmethod
    def add(self, pair: VideoPair) -> None:
        """Take a video in."""

    @abstractmethod
    def result(self) -> dict[str, float]:
        """The measures, by name."""


def as_tensor(frames: np.ndarray) -> Tensor:
    """uint8 `[F, H, W, 3]` -> `[F, 3, H, W]` in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


def in_parts(frames: np.ndarray, count: int) -> Iterator[Tensor]:
    """`as_tensor` of `count` frames at a time: a minute of 768x768 takes 20 GB as one tensor of float64."""
    for begin in range(0, len(frames), count):
        yield as_tensor(frames[begin : begin + count])


def ratio_measure(pair: VideoPair) -> dict[str, float]:
    """PSNR in dB, the mean of the frames'."""
    ratios = [psnr(made, truth) for made, truth in zip(in_parts(pair.made, 1), in_parts(pair.truth, 1))]
    return {"PSNR": float(np.mean(ratios))}


def similarity_measure(device: str) -> PerVideo:
    """SSIM by torchmetrics, the mean of the frames'."""
    if find_spec("torchmetrics") is None:
        raise Unavailable("pip install torchmetrics")

    def measure(pair: VideoPair) -> dict[str, float]:
        parts = zip(in_parts(pair.made, 1), in_parts(pair.truth, 1))
        return {"SSIM": float(np.mean([ssim(made.to(device), truth.to(device)) for made, truth in parts]))}

    return measure


def lpips_measure(device: str) -> PerVideo:
    """LPIPS with the AlexNet backbone, the mean of the frames'."""
    try:
        import lpips  # optional
    except ImportError as error:
        raise Unavailable("pip install lpips torchvision") from error
    try:
        network = lpips.LPIPS(net="alex", verbose=False).eval().to(device)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"its backbone could not be downloaded ({first_line(error)})") from error

    @torch.no_grad()
    def measure(pair: VideoPair) -> dict[str, float]:
        parts = zip(in_parts(pair.made, 8), in_parts(pair.truth, 8))
        values = [network(a.to(device) * 2 - 1, b.to(device) * 2 - 1).flatten().cpu() for a, b in parts]
        return {"LPIPS": float(torch.cat(values).mean())}

    return measure


class FrameDistance(OverAll):
    """FID by torchmetrics, over all frames."""

    names = ("FID",)

    def __init__(self, device: str) -> None:
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance  # optional
        except ImportError as error:
            raise Unavailable("pip install torchmetrics torch-fidelity") from error
        try:
            self.metric = FrechetInceptionDistance(normalize=True).to(device)
        except ModuleNotFoundError as error:
            raise Unavailable("pip install torch-fidelity") from error
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"its Inception network is not there ({first_line(error)})") from error
        self.device = device

    def add(self, pair: VideoPair) -> None:
        for frames, real in ((pair.truth, True), (pair.made, False)):
            for part in in_parts(frames, 16):
                self.metric.update(part.to(self.device), real=real)

    def result(self) -> dict[str, float]:
        return {"FID": float(self.metric.compute())}


class VideoDistance(OverAll):
    """FVD by cd-fvd with I3D features, over all clips of 16 frames."""

    names = ("FVD",)
    length = 16

    def __init__(self, device: str) -> None:
        try:
            from cdfvd.fvd import cdfvd  # optional
        except ImportError as error:
            raise Unavailable("pip install cd-fvd") from error
        try:
            self.metric = cdfvd("i3d", n_fake="full", ckpt_path=None, device=device)
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"its I3D network is not there ({first_line(error)})") from error

    def add(self, pair: VideoPair) -> None:
        for begin in range(0, len(pair.made) - self.length + 1, self.length):
            part = slice(begin, begin + self.length)
            self.metric.add_real_stats(pair.truth[None, part])
            self.metric.add_fake_stats(pair.made[None, part])

    def result(self) -> dict[str, float]:
        return {"FVD": float(self.metric.compute_fvd_from_stats())}


def identity_measure(device: str) -> PerVideo:
    """CSIM: mean cosine of ArcFace embeddings of each rendered frame and the truth's first."""
    try:
        from insightface.app import FaceAnalysis  # optional
    except ImportError as error:
        raise Unavailable("pip install insightface onnxruntime") from error
    try:
        faces = FaceAnalysis(name="buffalo_l", allowed_modules=["detection", "recognition"])
        # Its number of a GPU; below zero the CPU.
        place = torch.device(device)
        faces.prepare(ctx_id=(place.index or 0) if place.type == "cuda" else -1)
    except Exception as error:  # insightface has no errors of its own
        raise Unavailable(f"its networks (buffalo_l) are not there ({first_line(error)})") from error

    def embedding(picture: np.ndarray) -> np.ndarray | None:
        found = faces.get(np.ascontiguousarray(picture[..., ::-1]))
        largest = max(found, key=lambda face: float(np.prod(face.bbox[2:] - face.bbox[:2])), default=None)
        return None if largest is None else largest.normed_embedding

    def measure(pair: VideoPair) -> dict[str, float]:
        wanted = embedding(pair.truth[0])
        if wanted is None:
            return {}
        found = [one for picture in pair.made if (one := embedding(picture)) is not None]
        return {"CSIM": float(np.mean([one @ wanted for one in found]))} if found else {}

    return measure


def sync_measure(weights: Path | None, device: str) -> PerVideo:
    """Sync-C and Sync-D by syncnet-python: confidence and distance of SyncNet between lips and sound."""
    try:
        from syncnet_python import SyncNetPipeline  # optional
    except ImportError as error:
        raise Unavailable("pip install syncnet-python") from error
    files = ("syncnet_v2.model", "sfd_face.pth")
    if weights is None or not all((weights / name).is_file() for name in files):
        raise Unavailable(f"--syncnet must name a folder with {' and '.join(files)}")
    if shutil.which("ffmpeg") is None:
        raise Unavailable("syncnet-python calls the program ffmpeg, which is not there")
    pipeline = SyncNetPipeline(
        {"s3fd_weights": str(weights / "sfd_face.pth"), "syncnet_weights": str(weights / "syncnet_v2.model")},
        device=device if device.startswith("cuda") else "cpu",
    )

    def measure(pair: VideoPair) -> dict[str, float]:
        try:
            result = pipeline.inference(video_path=str(pair.made_path), audio_path=None)
        except Exception as error:  # FFmpeg's and the face detector's have no common base
            logger.warning("%s has no Sync-C and Sync-D: %s", pair.name, first_line(error))
            return {}
        _, confidences, distances = result[0], result[1], result[2]
        if not len(confidences):
            logger.warning("%s has no Sync-C and Sync-D: no face is seen for two seconds", pair.name)
            return {}
        return {"Sync-C": float(np.max(confidences)), "Sync-D": float(np.min(distances))}

    return measure


def hand_measures(detect: Callable[[np.ndarray], np.ndarray]) -> PerVideo:
    """HKC and HKV of the render's hands, as a detector of 134 points sees them.

    HKC is the mean confidence of the hands' keypoints; HKV is how much they move: the variance over time of each
    point's place in units of a picture of 768 pixels, averaged over points and axes, its root taken. (CyberHost, which
    introduced HKV, gives no unit.)
    """

    def measure(pair: VideoPair) -> dict[str, float]:
        rows = np.r_[HANDS[0], HANDS[1]]
        people = [detect(picture) for picture in pair.made]
        hands = np.stack([found[0][rows] if len(found) else np.zeros((42, 3)) for found in people])
        places = np.where(hands[..., 2:] >= SEEN, hands[..., :2], np.nan) / pair.made.shape[2] * 768
        known = np.isfinite(places).all(axis=-1).sum(axis=0) > 1
        result = {"HKC": float(hands[..., 2].clip(0, 1).mean())}
        if known.any():
            result["HKV"] = float(np.sqrt(np.nanvar(places[:, known], axis=0).mean()))
        return result

    return measure


def first_line(error: BaseException) -> str:
    """An error's first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def measure_all(
    pairs: Mapping[str, Callable[[], VideoPair]],
    per_video: dict[str, Callable[[], PerVideo]],
    over_all: dict[str, Callable[[], OverAll]],
    on_video: Callable[[int, int], Any] | None = None,
) -> Measures:
    """Take all measures that can be taken.

    Args:
        pairs: each reads one pair, by name; one is in memory at a time.
        per_video, over_all: measures by name ("HKC, HKV"), made once; `Unavailable` leaves one out.
        on_video: called with videos done and videos in all.

    Raises:
        EchoMimicError: no pair can be read; one of several is left out.
    """
    measures = Measures()
    ready: dict[str, Any] = {}
    for name, make in {**per_video, **over_all}.items():
        try:
            ready[name] = make()
        except (Unavailable, EchoMimicError) as error:
            measures.skipped.update({one: str(error) for one in name.split(", ")})
    for number, (name, read) in enumerate(pairs.items(), 1):
        try:
            pair = read()
        except EchoMimicError as error:  # an hour's measures of the others are not thrown away for it
            if number == len(pairs) and not measures.videos:
                raise
            logger.warning("%s is left out: %s", name, error)
            measures.skipped[name] = str(error)
        else:
            measures.videos[name] = measure_pair(pair, ready.values())
            del pair  # before the next is read
        if on_video is not None:
            on_video(number, len(pairs))
    for measure in ready.values():
        if isinstance(measure, OverAll):
            try:
                measures.whole |= measure.result()
            except Exception as error:  # too few frames: each library has its own error for it
                measures.skipped.update({one: first_line(error) for one in measure.names})
    return measures


def measure_pair(pair: VideoPair, ready: Iterable[Any]) -> dict[str, float]:
    """The pair's own measures; those over all videos take it in."""
    values: dict[str, float] = {}
    for measure in ready:
        if isinstance(measure, OverAll):
            measure.add(pair)
        else:
            values |= measure(pair)
    return values
