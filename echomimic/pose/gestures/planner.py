"""Chooses the movements: the walk through the motion graph with the lowest cost under a voice.

The cost of a walk counts movements that are larger or smaller than the voice is loud, raised hands in silence, strokes
that miss a stressed syllable, changes between poses that are far apart, stretching, and repetition. It grows
movement by movement; of all walks that end at about the same time the cheapest few are kept (beam search).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import MotionGraph
from .prosody import RATE, Prosody

MAX_STRETCH = 0.2  # a movement is played at most this much slower or faster
_BEAM = 8  # walks kept for each stretch of time
_STRETCH_OF_TIME = 0.3  # seconds
_CANDIDATES = 5  # continuations kept of each walk
# Poses further apart than this (sides of the canvas) follow each other only where there is no other way.
_FARTHEST = 0.09
_STROKE = 0.25  # a movement of at least this effort is a stroke, which should land on a stressed syllable
_MEMORY = 5.0  # seconds in which the penalty for repeating a movement falls to a third


@dataclass(frozen=True)
class GestureTargets:
    """What the gestures aim at; the numbers come from `GestureSettings`.

    Attributes:
        activity: `[T]` at `RATE`, how large and lively the hands should be, 0 at rest to about 1.
        silent: `[T]` bool, where the hands should rest.
        beats: `[n]` seconds at which a stroke may land, ascending.
        weight: `[n]`, how important it is to land there, 0..1.
        variety: how freely movements are chosen among nearly equal ones.
        seed: for that choice.
    """

    activity: np.ndarray
    silent: np.ndarray
    beats: np.ndarray
    weight: np.ndarray
    variety: float
    seed: int


@dataclass(frozen=True)
class Step:
    """One movement of the plan: which, and the output frames it fills."""

    movement: int
    begin: int
    end: int


@dataclass(eq=False)
class _Walk:
    """A walk so far: its last step and the walk before it.

    `memory` holds how recently each movement, and after them each theme, was used; it is set when a walk is continued.
    """

    cost: float
    step: Step
    before: _Walk | None
    memory: np.ndarray | None = None


def gesture_targets(voice: Prosody, energy: float, expressiveness: float, seed: int) -> GestureTargets:
    """The targets that a voice sets for the hands.

    Args:
        voice: its prosody.
        energy: 0 (hardly moving) to 1 (as lively as the clips get).
        expressiveness: 0 (even) to 1 (loud phrases and stresses make all the difference).
        seed: for choices among equals.
    """
    loudness = voice.loudness.copy()
    for begin, end in ((round(a * RATE), round(b * RATE)) for a, b in voice.phrases):
        # What counts is the phrase, not the syllable; half of it is how the phrase compares with the others.
        loudness[begin:end] = voice.loudness[begin:end].mean()
    mean = float(loudness[voice.speaking].mean()) if voice.speaking.any() else 0.0
    contrast = 1 + 2.5 * expressiveness * (loudness - mean)
    activity = np.where(voice.speaking, np.clip((0.12 + 0.75 * energy) * contrast, 0, 1.2), 0)
    # The hands get ready a little before the voice and come down after it.
    early = round(0.25 * RATE)
    silent = ~(voice.speaking | np.append(voice.speaking[early:], np.zeros(early, bool))[: len(voice.speaking)])
    return GestureTargets(activity, silent, voice.onsets, 0.4 + 0.6 * voice.stress, 0.15 + 0.35 * expressiveness, seed)


def plan(graph: MotionGraph, targets: GestureTargets, frames: int, fps: float) -> list[Step]:
    """Movements that fill `frames` frames without a gap; the last may be cut off.

    Deterministic: the same graph, targets and length give the same plan.
    """
    planner = _Planner(graph, targets, frames, fps)
    start = _Walk(0.0, Step(graph.rest, 0, 0), None)
    finished: list[_Walk] = []
    waiting: dict[int, list[_Walk]] = {0: [start]}
    while waiting:
        walks: dict[int, _Walk] = {}
        for walk in sorted(waiting.pop(min(waiting)), key=lambda walk: walk.cost):
            # Two walks that end with the same movement at about the same time have the same future.
            walks.setdefault(walk.step.movement, walk)
        for walk in planner.continued(list(walks.values())[:_BEAM]):
            if walk.step.end >= frames:
                finished.append(walk)
            else:
                waiting.setdefault(int(walk.step.end / (_STRETCH_OF_TIME * fps)) + 1, []).append(walk)
    last = min(finished, key=lambda walk: walk.cost)
    steps = []
    while last.before is not None:
        steps.append(last.step)
        last = last.before
    return steps[::-1]


class _Planner:
    """The costs of continuing walks, for a few walks and all movements at once: arrays are [walks, movements]."""

    def __init__(self, graph: MotionGraph, targets: GestureTargets, frames: int, fps: float) -> None:
        self.graph, self.targets, self.fps = graph, targets, fps
        # Running sums, so that the mean over any stretch of time is one difference.
        self.activity = np.concatenate([[0], np.cumsum(targets.activity)])
        self.squares = np.concatenate([[0], np.cumsum(targets.activity**2)])
        self.silent = np.concatenate([[0], np.cumsum(targets.silent)])
        rng = np.random.default_rng(targets.seed)
        self.jitter = 0.5 * targets.variety * rng.gumbel(size=(int(frames / fps) + 2, len(graph)))
        self.level = 0.6 * graph.size + 0.4 * graph.effort
        self.stroke = np.minimum(graph.effort, 1.0) * (graph.effort >= _STROKE)
        # Frames that each movement may last.
        self.natural = graph.seconds * fps
        self.shortest = np.maximum(np.ceil(self.natural * (1 - MAX_STRETCH)), 1).astype(np.int64)
        self.longest = np.maximum(np.floor(self.natural * (1 + MAX_STRETCH)), self.shortest).astype(np.int64)
        self.preferred_length = np.clip(np.round(self.natural), self.shortest, self.longest).astype(np.int64)
        self.beats = np.round(targets.beats * fps).astype(np.int64)

        self.change = np.where(graph.distance == 0, 0, 0.35 + (graph.distance / 0.045) ** 2)
        near = np.less_equal(graph.distance, _FARTHEST)
        self.change[~near & near.any(axis=1, keepdims=True)] += 1e3
        # At the beginning any pose will do, best the resting one.
        self.opening = 20 * graph.from_rest

    def continued(self, walks: list[_Walk]) -> list[_Walk]:
        """Each walk with each of its cheapest next movements."""
        begin = np.array([walk.step.end for walk in walks])
        lengths, landing = self._lengths(begin)
        cost = self._shape_cost(begin, lengths) + landing + 4.0 * (lengths / self.natural - 1) ** 2
        cost += self._repetition(walks) - self.jitter[(begin / self.fps).astype(np.int64)]
        cost += np.array([self.change[walk.step.movement] if walk.before else self.opening for walk in walks])
        kept = min(_CANDIDATES, len(self.graph))
        best = np.sort(np.argpartition(cost, kept - 1, axis=1)[:, :kept], axis=1)
        return [
            _Walk(walk.cost + float(cost[row, i]), Step(i, walk.step.end, walk.step.end + int(lengths[row, i])), walk)
            for row, walk in enumerate(walks)
            for i in best[row].tolist()
        ]

    def _lengths(self, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How long each movement should last if it begins then, in frames, and what its landing costs.

        A stroke takes the length, within its limits, that lands it on the weightiest syllable.
        """
        lengths = np.tile(self.preferred_length, (len(begin), 1))
        strokes = np.flatnonzero(self.stroke)
        first = np.searchsorted(self.beats, begin[:, None] + self.shortest[strokes], side="left")
        last = np.searchsorted(self.beats, begin[:, None] + self.longest[strokes], side="right")
        chosen, gain = lengths[:, strokes], np.zeros(first.shape)
        for offset in range(int((last - first).max(initial=0))):
            beat = np.minimum(first + offset, len(self.beats) - 1)
            there = self.beats[beat] - begin[:, None]
            worth = self.targets.weight[beat] - 2 * (there / self.natural[strokes] - 1) ** 2
            better = (first + offset < last) & (worth > gain)
            chosen, gain = np.where(better, there, chosen), np.where(better, worth, gain)
        lengths[:, strokes] = chosen
        landing = np.zeros(lengths.shape)
        landing[:, strokes] = 3.0 * self.stroke[strokes] * (0.5 - gain)
        return lengths, landing

    def _shape_cost(self, begin: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The cost of hands that are not as lively as the target, and not at rest in silences."""
        known = len(self.activity) - 1
        until = (begin[:, None] + lengths) * (RATE / self.fps)
        a = np.minimum((begin * (RATE / self.fps)).astype(np.int64), known)[:, None]
        b = np.minimum(until.astype(np.int64), known)
        wanted, squares = self.activity[b] - self.activity[a], self.squares[b] - self.squares[a]
        liveliness = (b - a) * self.level**2 - 2 * self.level * wanted + squares
        # The time after the recording counts as silence.
        resting = (self.silent[b] - self.silent[a] + np.maximum(until - b, 0)) * self.graph.size
        return (3.0 * liveliness + 2.5 * resting) / RATE

    def _repetition(self, walks: list[_Walk]) -> np.ndarray:
        """The cost of repetition: a recent movement, and to a lesser degree another movement of a recent clip."""
        count = len(self.graph)
        cost = np.zeros((len(walks), count))
        for row, walk in enumerate(walks):
            walk.memory = np.zeros(count + len(self.graph.clips), np.float32)
            if walk.before is None or walk.before.memory is None:
                continue
            length = (walk.step.end - walk.step.begin) / self.fps
            walk.memory += walk.before.memory * np.float32(np.exp(-length / _MEMORY))
            walk.memory[walk.step.movement] += 1
            themes, current = walk.memory[count:], self.graph.theme[walk.step.movement]
            themes[current] += length
            cost[row] = 0.9 * walk.memory[:count]
            cost[row] += 0.25 * np.where(self.graph.theme == current, 0, themes[self.graph.theme])
        # Resting does not count as repetition.
        return cost * np.minimum(self.graph.size * 3, 1)
