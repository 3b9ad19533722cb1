"""Progress on the terminal."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm

UNITS = {"extract": "frame", "encode": "input", "sample": "window", "decode": "frame"}


class StageBars:
    """One tqdm bar a stage, made when the stage begins; a callback for `echomimic.pipeline.render`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.stage = ""
        self.bar: tqdm | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self.stage:
            self.close()
            self.stage = stage
            self.bar = tqdm(total=total, desc=f"{stage:<7}", unit=f" {UNITS[stage]}", disable=self.quiet)
        assert self.bar is not None
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> StageBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
