"""Audio-Pose Dynamic Harmonization: what each training step shows of the pose, and where audio may act.

The paper (arXiv 2411.10061, section 3.2) lets the pose step back while the audio steps forward. Pose sampling has an
initial, an iterative and a spatial phase; audio diffusion grows from the lips over the face to the whole picture. Phase
lengths are not published: they are configuration.

Everything is a pure function of the step, so that a resumed run gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from ..errors import TrainingError

Part = Literal["body", "head", "lips", "hands"]
AudioRegion = Literal["none", "lips", "face", "picture"]
PARTS: tuple[str, ...] = get_args(Part)
AUDIO_REGIONS: tuple[str, ...] = get_args(AudioRegion)


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: for logs.
        share: of the training steps, relative to the other phases' shares.
        parts: which keypoints the pose picture shows.
        audio: where the audio attention's output is let through.
        pose_drop: probability that a sample's whole pose is dropped, at the phase's begin and end (linear between).
    """

    name: str
    share: float
    parts: tuple[str, ...] = PARTS
    audio: str = "picture"
    pose_drop: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "pose_drop", tuple(self.pose_drop))
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            raise TrainingError(f"phase {self.name!r} shows {unknown[0]!r}; the parts are {', '.join(PARTS)}")
        if self.audio not in AUDIO_REGIONS:
            raise TrainingError(
                f"phase {self.name!r} lets audio through in {self.audio!r}; the regions are {', '.join(AUDIO_REGIONS)}"
            )
        if not self.share > 0:
            raise TrainingError(f"phase {self.name!r} has the share {self.share}; it must be above 0")
        if len(self.pose_drop) != 2 or not all(0 <= p <= 1 for p in self.pose_drop):
            raise TrainingError(f"phase {self.name!r}: pose_drop is two probabilities, not {self.pose_drop}")


# Hands stay to the end; the released weights know hands only. The pairs of pose and audio are the paper's, but for
# "lips", whose partner is our reading. The shares are ours (a third party trained with quarters), and so is how often
# the pose is dropped after the iterative phase: neither is published.
PAPER_PHASES = (
    Phase("initial", 0.25, ("body", "head", "lips", "hands"), "none", (0.0, 0.0)),
    Phase("iterative", 0.25, ("body", "head", "lips", "hands"), "none", (0.0, 0.2)),
    Phase("no lips", 1 / 6, ("body", "head", "hands"), "lips", (0.2, 0.2)),
    Phase("no head", 1 / 6, ("body", "hands"), "face", (0.2, 0.2)),
    Phase("hands only", 1 / 6, ("hands",), "picture", (0.2, 0.2)),
)
# Fine-tuning starts where the released weights' training ended.
FINE_TUNING_PHASES = (Phase("hands only", 1.0, ("hands",), "picture", (0.0, 0.0)),)


@dataclass(frozen=True)
class StepConditions:
    """What one training step does to its samples' conditions; see `Phase`."""

    phase: str
    parts: tuple[str, ...]
    audio: str
    pose_drop: float


@dataclass(frozen=True)
class Curriculum:
    """The phases of a training run, in order."""

    phases: tuple[Phase, ...] = PAPER_PHASES

    def __post_init__(self) -> None:
        if not self.phases:
            raise TrainingError("a curriculum needs at least one phase")

    def boundaries(self, steps: int) -> list[int]:
        """First step of each phase, and `steps` at the end."""
        total = sum(phase.share for phase in self.phases)
        edges, passed = [0], 0.0
        for phase in self.phases:
            passed += phase.share
            edges.append(round(steps * passed / total))
        return edges

    def at(self, step: int, steps: int) -> StepConditions:
        """The conditions of step `step`, `0 <= step < steps`.

        Raises:
            TrainingError: the step lies outside the run.
        """
        if not 0 <= step < steps:
            raise TrainingError(f"step {step} lies outside a training run of {steps} steps")
        edges = self.boundaries(steps)
        number = max(i for i, edge in enumerate(edges[:-1]) if edge <= step and edges[i + 1] > step)
        phase, begin, end = self.phases[number], edges[number], edges[number + 1]
        progress = (step - begin) / max(1, end - 1 - begin)
        low, high = phase.pose_drop
        return StepConditions(phase.name, phase.parts, phase.audio, low + (high - low) * progress)


@dataclass(frozen=True)
class RowConditions:
    """What one sample of a batch keeps.

    Attributes:
        conditioned: has its reference, audio and pose; False is a row of the unconditional branch.
        posed: has its pose picture; always False where `conditioned` is.
    """

    conditioned: bool
    posed: bool


def draw_row(conditions: StepConditions, null_share: float, generator: torch.Generator) -> RowConditions:
    """Drop a sample's conditions: all together with probability `null_share` (for guidance), else maybe the pose.

    Two numbers are drawn in any case, so that what follows in the generator does not depend on the outcome.
    """
    null, pose = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    conditioned = null >= null_share
    return RowConditions(conditioned, conditioned and pose >= conditions.pose_drop)


def row_generator(seed: int, step: int, row: int) -> torch.Generator:
    """A generator for one row of one step, independent of every other."""
    words = np.random.SeedSequence([seed, step, row]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
