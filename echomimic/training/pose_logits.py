"""The pose loss as the paper has it: what the pose detector sees in the estimate against what it sees in the truth."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MissingPackageError, TrainingError
from ..pose.sources.dwpose import POSE_FILE, WHERE
from .config import TrainingConfig
from .onnx_network import OnnxNetwork

logger = logging.getLogger("echomimic")

# What the detector's preprocessing does to RGB pictures in 0..255, and how much it adds around a person's box.
MEAN, DEVIATION, PADDING = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 1.25


class PoseLogits:
    """Squared difference of the detector's responses along x and y (SimCC), averaged over the points that it sees.

    A point counts as much as the detector is sure of it in the truth: the smaller of its two responses there.

    Args:
        network: pictures `[n, 3, height, width]` to responses `[n, points, bins]` along x and along y, as DWPose's.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        _, _, height, width = network.input_shape  # type: ignore[misc]
        if height is None or width is None:
            raise TrainingError(
                f"the pose network leaves its picture's size open, and DWPose's has 384 x 288: take {POSE_FILE}"
            )
        self.height, self.width = int(height), int(width)

    def __call__(self, pictures: Tensor, targets: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """`[n]`, with the pictures' graph.

        Args:
            pictures, targets: `[n, 3, H, W]` in -1..1.
            points: on the person, `[n, P, 2]` in pixels: their box is where the detector looks.
            weights: of the points, `[n, P]`; 0 for those that are not seen. A row of zeros comes to 0.
        """
        boxes = person_boxes(points, weights, self.width / self.height)
        with torch.no_grad():
            wanted = self.network(self.look(targets, boxes))
            sure = torch.minimum(wanted[0].amax(dim=2), wanted[1].amax(dim=2)).clamp(0, 1)  # [n, points]
            sure = sure * (weights.sum(dim=1, keepdim=True) > 0)
        found = self.network(self.look(pictures, boxes))
        error = sum((a - b).square().sum(dim=2) for a, b in zip(found[:2], wanted[:2]))  # [n, points]
        return (error * sure).sum(dim=1) / sure.sum(dim=1).clamp(min=1)

    def look(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """The part in a box, in the detector's size and colours, by bilinear interpolation; black outside.

        Args:
            pictures: `[n, 3, H, W]` in -1..1.
            boxes: middle and size `[n, 4]` in pixels.
        """
        rows, columns = pictures.shape[-2:]
        x = torch.arange(self.width, device=boxes.device) / self.width
        y = torch.arange(self.height, device=boxes.device) / self.height
        across = boxes[:, :1] + (x - 0.5) * boxes[:, 2:3]  # [n, width], in pixels of the picture
        down = boxes[:, 1:2] + (y - 0.5) * boxes[:, 3:4]
        across, down = 2 * across / (columns - 1) - 1, 2 * down / (rows - 1) - 1
        grid = torch.stack(
            [across[:, None].expand(-1, self.height, -1), down[:, :, None].expand(-1, -1, self.width)], dim=-1
        )
        coloured = (pictures.float() + 1) * 127.5  # black outside is 0 here
        part = F.grid_sample(coloured, grid, align_corners=True)
        mean, deviation = (torch.tensor(v, device=part.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        return (part - mean) / deviation


def person_boxes(points: Tensor, weights: Tensor, aspect: float) -> Tensor:
    """Middle and size `[n, 4]` of the boxes around points `[n, P, 2]`, grown as the detector's preprocessing does.

    Args:
        weights: `[n, P]`; points of weight 0 do not count.
        aspect: width through height of the boxes.
    """
    counted = (weights > 0)[..., None]
    low = torch.where(counted, points, torch.inf).amin(dim=1)
    high = torch.where(counted, points, -torch.inf).amax(dim=1)
    nobody = ~counted.any(dim=1)
    low, high = torch.where(nobody, 0.0, low), torch.where(nobody, 1.0, high)
    middle, size = (low + high) / 2, ((high - low) * PADDING).clamp(min=1.0)
    width = torch.maximum(size[:, 0], size[:, 1] * aspect)
    return torch.stack([middle[:, 0], middle[:, 1], width, width / aspect], dim=1)


def find_pose_logits(config: TrainingConfig, device: torch.device | str) -> PoseLogits | None:
    """The pose loss through DWPose's network where the configuration and the files allow it; None: Gaussians instead.

    Raises:
        MissingPackageError, TrainingError: it cannot be had, and `loss.pose` is dwpose or `weights.dwpose` names it.
    """
    kind, named = config.loss.pose, config.weights.dwpose
    if kind == "gaussians":
        return None
    given = named or config.weights.path
    path = Path(given) / POSE_FILE if Path(given).is_dir() else Path(given)
    if not given or path.suffix != ".onnx" or not path.is_file():
        if named:
            raise TrainingError(f"weights.dwpose names {named}, where there is no {POSE_FILE}; get it from {WHERE}")
        if kind == "dwpose":
            raise TrainingError(f"the pose loss needs {POSE_FILE} from {WHERE}: name its folder as weights.dwpose")
        return None
    try:
        network = OnnxNetwork(path).requires_grad_(False).eval().to(device)
        return PoseLogits(network)
    except (MissingPackageError, TrainingError) as error:
        if kind == "dwpose" or named:
            raise
        logger.info("%s cannot be used for the pose loss: %s", path.name, error)
        return None
