"""Ridge regression: how much of a value is linearly there in features."""

from __future__ import annotations

import numpy as np

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


class Ridge:
    """Fitted on rows of `inputs` `[n, d]` and `targets` `[n, k]`.

    Inputs are standardised; the strength is relative to the number of rows.
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, strength: float) -> None:
        self.mean, self.spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
        x, self.middle = self.scaled(inputs), targets.mean(axis=0)
        gram = x.T @ x + strength * len(x) * np.eye(x.shape[1])
        self.weights = np.linalg.solve(gram, x.T @ (targets - self.middle))

    def scaled(self, inputs: np.ndarray) -> np.ndarray:
        return (inputs - self.mean) / self.spread

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions `[n, k]`."""
        return self.scaled(inputs) @ self.weights + self.middle


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each column of `[n, k]`."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0) + 1e-12)


def ridge_correlation(
    inputs: np.ndarray, targets: np.ndarray, test_inputs: np.ndarray, test_targets: np.ndarray
) -> np.ndarray:
    """Correlation of each target on the test rows; a fifth of the other rows chooses the strength.

    Args:
        inputs, targets: `[n, d]` and `[n, k]`, fitted on.
        test_inputs, test_targets: what the correlation is taken on.
    """
    inner = len(inputs) * 4 // 5

    def quality(strength: float) -> float:
        fitted = Ridge(inputs[:inner], targets[:inner], strength)
        return float(correlations(fitted(inputs[inner:]), targets[inner:]).mean())

    best = max(STRENGTHS, key=quality)
    return correlations(Ridge(inputs, targets, best)(test_inputs), test_targets)
