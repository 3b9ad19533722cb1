"""Writers of the result: frames go into an MP4 with sound, or into a folder of pictures, as they are decoded."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import OutputError
from ..files.atomic import atomic_folder, atomic_write, check_name, link_end, sweep, temporary_path
from .containers import open_output
from .waveform import check_waveform, to_stereo

logger = logging.getLogger("echomimic")

# Below this x264 writes without loss, in the profile High 4:4:4 Predictive, which many players do not show.
MIN_CRF = 1
# What AAC encoders take; a voice at another rate is resampled to the last of them.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov")
BT709 = 1
LIMITED_RANGE = 1


def exact_rate(fps: float) -> Fraction:
    """Frames a second as a fraction; 23.976, 29.97 and their like are the exact 24000/1001, 30000/1001.

    Raises:
        OutputError: no rate that a video can have.
    """
    if not 0.1 <= fps <= 1000:
        raise OutputError(f"a video has 0.1 to 1000 frames a second, not {float(fps):g}")
    ntsc = fps * 1.001
    if abs(ntsc - round(ntsc)) < 1e-3 and abs(fps - round(fps)) > 1e-3:
        return Fraction(round(ntsc) * 1000, 1001)
    return Fraction(fps).limit_denominator(1000)


def write_video(
    path: str | os.PathLike[str],
    chunks: Iterable[np.ndarray],
    fps: float,
    *,
    audio: tuple[Tensor, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    crf: int = 18,
) -> Path:
    """Write H.264 and AAC as the frames come, never holding more than two chunks.

    The sound is cut to the frames, or followed by silence. The file appears under its name when it is complete; after
    an interruption nothing is left.

    Args:
        path: the `.mp4`; its folder is made if need be, a file of that name is replaced.
        chunks: uint8 RGB `[n, H, W, 3]`, H and W even.
        fps: frames a second.
        audio: waveform `[channels, samples]` in -1..1 and its sample rate; more than two channels become two.
        metadata: texts to store in the file, by name.
        crf: constant rate factor of x264, 1 (huge) to 51 (worst); 0 is written as 1, which is logged.

    Returns:
        the path.

    Raises:
        OutputError: the file cannot be written, there were no frames, frames of odd or changing size, or arrays of
            another kind. Where only the file of that name cannot be replaced, the video is kept beside it, and the
            message names it.
        AudioError: the waveform is empty or not finite.
    """
    import av  # heavy

    path = Path(path)
    with translate_errors(path, av.error.FFmpegError), atomic_write(path, keep=True) as partial:
        options = {"movflags": "+faststart+use_metadata_tags"}
        with open_output(partial, "mp4", options) as container:
            container.metadata.update(metadata or {})
            writer = StreamWriter(container, exact_rate(fps), audio, crf)
            write_behind(chunks, writer.write)
            writer.close()
    return path


def write_behind(chunks: Iterable[np.ndarray], write: Callable[[np.ndarray], None]) -> None:
    """Call `write` with one chunk after another, each while the next one is being made.

    What `write` or the making of a chunk raises passes through, once nothing is being written any more.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="echomimic-writer") as writer:
        last: Future[None] | None = None
        for chunk in chunks:
            if last is not None:
                last.result()
            last = writer.submit(write, chunk)
        if last is not None:
            last.result()


class StreamWriter:
    """Feeds an open container: pictures, and as much sound as there are pictures."""

    def __init__(self, container: Any, rate: Fraction, audio: tuple[Tensor, int] | None, crf: int) -> None:
        self.container = container
        self.rate = rate
        self.frames = 0
        if crf < MIN_CRF:
            logger.info("crf %d is written as %d: players do not show what x264 writes without loss", crf, MIN_CRF)
        options = {"crf": str(max(crf, MIN_CRF)), "preset": "medium"}
        self.video = container.add_stream("libx264", rate=rate, options=options)
        self.video.pix_fmt = "yuv420p"
        context = self.video.codec_context
        context.color_range = LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = BT709
        self.sound = None if audio is None else SoundTrack(container, *audio)

    def write(self, chunk: np.ndarray) -> None:
        from av import VideoFrame  # heavy

        if chunk.ndim != 4 or chunk.shape[3] != 3 or chunk.dtype != np.uint8:
            raise OutputError(f"frames must be uint8 [n, height, width, 3], got {chunk.dtype} {list(chunk.shape)}")
        if not len(chunk):
            return
        height, width = chunk.shape[1:3]
        if not self.frames:
            if height % 2 or width % 2:
                raise OutputError(f"H.264 needs an even width and height, the frames are {width}x{height}")
            self.video.height, self.video.width = height, width
        elif (height, width) != (self.video.height, self.video.width):
            raise OutputError(
                f"frame {self.frames} is {width}x{height}, but those before are {self.video.width}x{self.video.height}"
            )
        for picture in chunk:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = self.frames
            self.container.mux(self.video.encode(frame))
            self.frames += 1
        if self.sound is not None:
            self.sound.write_until(self.frames / self.rate)

    def close(self) -> None:
        """Flush the encoders."""
        if not self.frames:
            raise OutputError("there are no frames to write")
        self.container.mux(self.video.encode(None))
        if self.sound is not None:
            self.sound.close()


class SoundTrack:
    """The waveform as an AAC stream, written up to a time."""

    def __init__(self, container: Any, waveform: Tensor, sample_rate: int) -> None:
        waveform = to_stereo(check_waveform(waveform, sample_rate))
        self.container = container
        self.samples = waveform.numpy().clip(-1, 1)
        self.sample_rate = sample_rate
        self.written = 0
        self.layout = "mono" if len(self.samples) == 1 else "stereo"
        self.stream = container.add_stream(
            "aac", rate=sample_rate if sample_rate in AAC_RATES else AAC_RATES[-1], layout=self.layout
        )

    def write_until(self, seconds: Fraction) -> None:
        """Write the samples up to this time, silence where there are none left."""
        from av import AudioFrame  # heavy

        end = round(seconds * self.sample_rate)
        part = self.samples[:, self.written : end]
        part = np.pad(part, ((0, 0), (0, end - self.written - part.shape[1])))
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=self.layout)
        frame.sample_rate = self.sample_rate
        frame.pts = self.written
        frame.time_base = Fraction(1, self.sample_rate)
        self.container.mux(self.stream.encode(frame))
        self.written = end

    def close(self) -> None:
        self.container.mux(self.stream.encode(None))


def write_pictures(folder: str | os.PathLike[str], chunks: Iterable[np.ndarray]) -> Path:
    """Write `00000.png`, `00001.png`, ... as the frames come.

    Args:
        folder: a new or empty folder; it appears when all pictures are there.
        chunks: uint8 RGB `[n, H, W, 3]`.

    Returns:
        the folder.

    Raises:
        OutputError: it cannot be written, or holds something already.
    """
    folder = Path(folder)
    with translate_errors(folder):
        refuse_full_folder(folder)
        with atomic_folder(folder) as partial:
            numbers = count()

            def save(chunk: np.ndarray) -> None:
                for picture, number in zip(chunk, numbers):
                    Image.fromarray(picture).save(partial / f"{number:05d}.png")

            write_behind(chunks, save)
    return folder


def write_picture(path: str | os.PathLike[str], picture: np.ndarray) -> Path:
    """Write one PNG; it appears under its name when it is whole, and replaces a file of that name.

    Args:
        path: the `.png`; its folder is made if need be.
        picture: uint8 RGB `[H, W, 3]`.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    with translate_errors(path), atomic_write(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
    return path


def check_output(path: str | os.PathLike[str], pictures: bool = False) -> None:
    """Check, before the long work, that the result can be written, by writing a video of two small frames.

    Raises:
        OutputError: it cannot.
    """
    path = Path(path)
    if pictures:
        refuse_full_folder(path)
        check_place(path)
        return
    check_name(path)
    with translate_errors(path):
        is_folder = path.is_dir()  # a name that is too long fails here already
    if is_folder:
        raise OutputError(f"{path} is a folder: name a file, such as {path / 'video.mp4'}")
    if path.name.lower() in VIDEO_ENDINGS:
        raise OutputError(
            f"{path} has nothing before its ending: name the video, such as {path.with_name('video.mp4')}"
        )
    if path.suffix.lower() not in VIDEO_ENDINGS:
        raise OutputError(f"{path.name} does not end in .mp4: videos are written as MP4 (pictures with --png)")
    check_place(path)
    trial = temporary_path(link_end(path))  # of this process: torchrun's check one output at once
    try:
        write_video(trial, [np.zeros((2, 16, 16, 3), np.uint8)], 24)
    except OutputError as error:
        raise OutputError(str(error).replace(str(trial), str(path))) from error
    finally:
        with suppress(OSError):
            trial.unlink()


def check_place(path: str | os.PathLike[str]) -> None:
    """Make sure that something can be written under that name; makes its folder and clears what killed processes left.

    Nothing appears under the name itself, where another process would take it for a result.

    Raises:
        OutputError: it cannot.
    """
    check_name(path)
    with translate_errors(Path(path)):
        path = link_end(path)
        temporary = temporary_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        try:
            temporary.touch()
        finally:
            temporary.unlink(missing_ok=True)
        if path.is_file():
            check_replaceable(path)
        elif not path.exists():
            # The name itself may be too long, or one that the system refuses.
            with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
                Path(folder, path.name).touch()


def check_replaceable(path: Path) -> None:
    """Raises: OutputError when another program has the file open in a way by which Windows does not let it go."""
    try:
        path.rename(path)
    except FileExistsError:
        pass
    except PermissionError as error:
        raise OutputError(
            f"{path} cannot be replaced ({error.strerror or error}): close the program that has it open, or name "
            "another file"
        ) from error


def refuse_full_folder(folder: Path) -> None:
    """Raises: OutputError when there is something at that name that pictures would be mixed into."""
    with translate_errors(folder):
        in_the_way = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if in_the_way:
        raise OutputError(f"{folder} is there already and not an empty folder: name another folder for the pictures")


def write_advice(path: Path, error: OSError) -> str:
    """What to do when a file cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free space, or name another place"
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name"
    if path.is_symlink():
        return f"It is a link to {path.readlink()}: name another file"
    above = next((parent for parent in path.parents if parent.exists() or parent.is_symlink()), None)
    if above is not None and not above.is_dir():
        return f"{above} is not a folder: name another place"
    return "Name another place"


@contextmanager
def translate_errors(path: Path, *failures: type[Exception]) -> Iterator[None]:
    """Failures of the file system, and these, as a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. {write_advice(path, error)}") from error
    except failures as error:
        raise OutputError(f"cannot write {path}: the encoder failed ({error})") from error
