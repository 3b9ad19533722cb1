"""Sound files written by FFmpeg, for tests of reading them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def encode(
    path: Path,
    samples: np.ndarray,
    rate: int,
    codec: str,
    layout: str = "mono",
    form: str | None = None,
    source: tuple[int, str] | None = None,
) -> Path:
    """Write float samples.

    Args:
        path: the file.
        samples: `[channels, n]`.
        rate, codec, layout: of the file.
        form: FFmpeg's name of the file's format; None goes by the name's ending.
        source: rate and layout of the samples, where they are not the file's.
    """
    given_rate, given_layout = source or (rate, layout)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        whole = np.ascontiguousarray(samples, np.float32)
        frame = av.AudioFrame.from_ndarray(whole, format="fltp", layout=given_layout)
        frame.sample_rate = given_rate
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path
