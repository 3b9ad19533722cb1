"""Reading sound from any file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cancellation import check_cancelled
from ..errors import AudioError, Cancelled
from ..files.heads import match_head, read_head, recognise
from .containers import JOINED, UNFINISHED, is_joined, is_unfinished, open_input, picture_stream, reason_of
from .frame_scan import FrameTable, scan_frames
from .sound_track import MAX_GAP_SECONDS, MIN_GAP_SECONDS, Track, check_decoded_size, mix, silence_noise
from .wave_chunks import narrow_scale, needs_rewriting, read_rewritten, wave_parts
from .waveform import check_waveform

logger = logging.getLogger("echomimic")

# Formats that libsndfile reads exactly; compressed ones go to FFmpeg first.
EXACT_FORMATS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"caff", b".snd")
# A reader whose sound is shorter than the file's packets by this share is not trusted.
LENGTH_TOLERANCE = 0.02

# First bytes of files that are often mistaken for sounds, and what to do about them.
NOT_SOUNDS = {
    b"mthd": "is a MIDI file, which holds notes and no sound: give a recording",
    b"pk\x03\x04": "is an archive or an office document: take the sound out of it",
}
# Samples without a header, as speech services stream them.
BARE_ENDINGS = (".pcm", ".raw", ".s16", ".s16le", ".f32le")
BARE_ADVICE = (
    "holds samples without a header, so nothing says their rate and kind: give it one, such as with "
    "`ffmpeg -f s16le -ar 24000 -ac 1 -i FILE voice.wav` for 16 bits, 24000 Hz and one channel"
)
# What a copy in text mode did to a file is judged by so many of its bytes, which hold some thousand line feeds.
TEXT_MODE_BYTES = 2**20
MIN_LINE_FEEDS = 32
NO_SOUND_TRACK = "it has no sound track"
# Not the fault of a packet: these end the reading.
PASSED_ON = (AudioError, Cancelled, MemoryError)

Reader = Callable[[Path], tuple[np.ndarray, int]]


def read_audio(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Read a sound file, or the first sound track of a video.

    What is damaged is skipped and what is good keeps its time; how much was skipped goes to the log. Sound of more than
    two channels becomes stereo by the standard weights (`to_stereo`).

    Returns:
        waveform float32 `[1 or 2, samples]` in -1..1, and its sample rate in Hz.

    Raises:
        AudioError: the file is missing, unreadable, without sound, empty, or longer than memory has room for.
    """
    path = Path(path)
    head = read_head(path, "sound file", AudioError)
    if not head:
        raise AudioError(f"{path} is empty: record or download it again")
    if went_through_text(path):
        raise AudioError(
            f"{path} was copied as text (every line feed has a carriage return before it), which makes noise of sound: "
            "copy or download it again, as binary data"
        )
    if is_joined(path):
        raise AudioError(f"{path} {JOINED}")
    exact = head[:4] in EXACT_FORMATS
    readers: list[Reader] = [read_with_soundfile, read_with_ffmpeg]
    parts = wave_parts(path) if head[:4] == b"RIFF" else []
    if needs_rewriting(parts):
        readers = [partial(read_rewritten, parts), *readers]
    if any(part.is_misread for part in parts):
        readers = readers[:1]  # the others would find more samples, of noise
    enough = (1 - LENGTH_TOLERANCE) * packet_seconds(path)
    found: tuple[np.ndarray, int] | None = None
    failures: list[str] = []
    for reader in readers if exact else reversed(readers):
        try:
            samples, sample_rate = reader(path)
        except Cancelled:
            raise
        except Exception as error:  # what a damaged file makes a decoder raise is not documented
            failures.append(reason_of(error))
            continue
        if found is None or duration(samples, sample_rate) > duration(*found):
            found = samples, sample_rate
        if samples.size and duration(*found) >= enough:
            break
    if found is None:
        advice = match_head(head.lower(), NOT_SOUNDS) or recognise(head, "sound")
        advice = UNFINISHED if is_unfinished(path) else advice
        if path.suffix.lower() in BARE_ENDINGS:
            advice = BARE_ADVICE
        if failures[0] == NO_SOUND_TRACK:
            advice = advice or "has no sound track: record it with sound, or give the sound itself"
        raise AudioError(f"{path} {advice or f'cannot be read as sound: {failures[0]}. Save it as WAV, MP3 or M4A'}")
    if not found[0].size:
        raise AudioError(f"{path} holds no sound: it is empty")
    samples, sample_rate = found
    return check_waveform(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate), sample_rate


def went_through_text(path: Path) -> bool:
    """Whether a copy in text mode put a carriage return before each line feed, which samples do not have."""
    with path.open("rb") as file:
        content = file.read(TEXT_MODE_BYTES)
    count = content.count(b"\n")
    return count >= MIN_LINE_FEEDS and count == content.count(b"\r\n") and b"\0" in content


def read_video_sound(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """The sound of a video from its first picture on, see `read_audio`; what sounds before that is cut off.

    Raises:
        AudioError: as `read_audio`.
    """
    waveform, sample_rate = read_audio(path)
    lead = seconds_before_pictures(Path(path))
    if lead < MIN_GAP_SECONDS:
        return waveform, sample_rate
    logger.info("%s: the sound begins %.2f s before the pictures, which is cut off", path, lead)
    return waveform[:, round(lead * sample_rate) :], sample_rate


def seconds_before_pictures(path: Path) -> float:
    """How much earlier a video's sound begins than its pictures, in seconds; 0 where it does not."""
    try:
        with open_input(path) as container:
            streams: list[Any] = [picture_stream(container), container.streams.audio[sound_tracks(container)[0]]]
            pictures, sound = (float(stream.start_time * stream.time_base) for stream in streams)
    except Exception:  # no pictures, no stamps
        return 0.0
    return pictures - sound if 0 < pictures - sound < MAX_GAP_SECONDS else 0.0


def duration(samples: np.ndarray, sample_rate: int) -> float:
    """Seconds of `[channels, samples]`."""
    return samples.shape[1] / sample_rate


def read_with_soundfile(path: Path) -> tuple[np.ndarray, int]:
    """What libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), `[channels, samples]` and the rate.

    Raises:
        AudioError: longer than memory has room for.
        Exception: whatever libsndfile raises.
    """
    import soundfile  # heavy

    with soundfile.SoundFile(path) as file:
        # A stream that was piped does not know its length; then libsndfile reports an absurd one and reads in blocks.
        known = 0 < file.frames < 2**40
        if known:
            check_decoded_size(file.frames * file.channels * 4, path)
        blocks, total = [], 0
        while True:
            check_cancelled()
            block = file.read(2**20, dtype="float32", always_2d=True)
            if not len(block):
                break
            if file.subtype not in ("FLOAT", "DOUBLE"):
                silence_noise(block)
            blocks.append(block)
            total += block.nbytes
            check_decoded_size(total, path)
        samples = np.concatenate(blocks).T if blocks else np.zeros((file.channels, 0), np.float32)
        scale = narrow_scale(path, file.subtype, float(np.abs(samples).max(initial=0)))
        if scale != 1:
            samples *= scale
        return mix(samples, channel_names(path) if file.channels > 2 else ()), int(file.samplerate)


def channel_names(path: Path) -> tuple[str, ...]:
    """The channels' names as FFmpeg reads them in the file; empty where it cannot."""
    try:
        with open_input(path) as container:
            return tuple(channel.name for channel in container.streams.audio[0].layout.channels)
    except Exception:  # a second opinion only
        return ()


def read_with_ffmpeg(path: Path) -> tuple[np.ndarray, int]:
    """What FFmpeg's libraries read (m4a, aac, wma, mp3, the sound of mp4, mov, webm, mkv, ...).

    Of several tracks the one that players choose, or the next one where that cannot be decoded or is silent.

    Raises:
        AudioError: no sound track, or longer than memory has room for.
        av.error.FFmpegError: nothing of it can be decoded.
    """
    with open_input(path) as container:
        tracks = sound_tracks(container)
    found: tuple[np.ndarray, int] | None = None
    failure: Exception | None = None
    for number in tracks:
        try:
            samples, rate = read_track(path, number)
        except PASSED_ON:
            raise
        except Exception as error:  # FFmpeg's decoders raise what their data lead them to
            failure = failure or error
            continue
        if samples.any():
            if len(tracks) > 1:
                logger.info("%s has %d sound tracks: number %d is used", path, len(tracks), number + 1)
            return samples, rate
        found = found or (samples, rate)
    if found is None:
        raise failure or AudioError(NO_SOUND_TRACK)
    return found


def sound_tracks(container: Any) -> list[int]:
    """The numbers of the sound tracks, those first that the file marks for playing."""
    from av.stream import Disposition  # heavy

    streams = container.streams.audio
    return sorted(range(len(streams)), key=lambda number: not streams[number].disposition & Disposition.default)


def read_track(path: Path, number: int) -> tuple[np.ndarray, int]:
    """One sound track of a file, see `read_with_ffmpeg`."""
    with open_input(path) as container:
        stream = container.streams.audio[number]
        # Uncompressed samples may be on another scale; what a decoder makes of damage is noise.
        track = Track(path, decoded=not stream.codec_context.name.startswith("pcm_"))
        pictures = picture_stream(container)
        if pictures is not None and pictures.start_time is not None and pictures.time_base:
            track.pictures_begin = float(pictures.start_time * pictures.time_base)
        table = scan_frames(path, container.format.name)
        if table is not None and table.is_broken:
            return read_by_table(table, stream, track)
        failure: Exception | None = None
        try:
            for packet in container.demux(stream):
                check_cancelled()
                try:
                    for frame in packet.decode():
                        if frame.time is not None:
                            track.fill_gap(float(frame.time), MIN_GAP_SECONDS, int(frame.sample_rate))
                        track.add(frame)
                except PASSED_ON:
                    raise
                except Exception as error:  # FFmpeg's decoders raise what their data lead them to
                    failure = error
                    track.skip(seconds_of(packet))
        except PASSED_ON:
            raise
        except Exception as error:  # the container itself is damaged from here on: what came before counts
            failure = error
            track.damaged += 1
        if not track.pieces and failure is not None:
            raise failure
        return track.finish()


def read_by_table(table: FrameTable, stream: Any, track: Track) -> tuple[np.ndarray, int]:
    """A raw MP3 or AAC stream with broken headers, each frame decoded by itself and put where it belongs.

    Args:
        table: the file's frames.
        stream: FFmpeg's, not read from yet; its start time is the delay of the encoder.
        track: to write to.
    """
    import av  # heavy

    delay = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    first = int(table.begins_with_info)
    track.start = table.times[first]
    for number, content in table.frames(first):
        check_cancelled()
        try:
            for frame in stream.codec_context.decode(av.Packet(content)):
                track.fill_gap(table.times[number], 0.6 * table.headers[number].seconds, int(frame.sample_rate))
                track.add(frame)
        except PASSED_ON:
            raise
        except Exception:  # as above
            track.damaged += 1
    samples, rate = track.finish()
    return samples[:, round(delay * rate) :], rate


def packet_seconds(path: Path) -> float:
    """How long the sound track's packets last together, in seconds, without decoding them; 0 where that is unknown."""
    total = 0.0
    try:
        with open_input(path) as container:
            tracks = sound_tracks(container)
            if not tracks:
                return 0.0
            for packet in container.demux(container.streams.audio[tracks[0]]):
                check_cancelled()
                total += seconds_of(packet)
    except Cancelled:
        raise
    except Exception:  # a second opinion only: the readers' own failures are reported
        logger.debug("the packets of %s cannot be counted to their end", path, exc_info=True)
    return total


def seconds_of(packet: Any) -> float:
    """How long a packet lasts; 0 where it does not say."""
    return float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0
