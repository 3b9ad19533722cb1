"""One utterance by espeak-ng: a JSON request on standard input, a line of JSON and the samples on standard output.

The library keeps a state from one utterance to the next, so the same words sound a little different each time. A
process of its own for each makes an utterance depend on nothing but its request. It imports little, so that it starts
within a few hundredths of a second. Used by `voices.speak`.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import sys

# Constants of espeak-ng's speak_lib.h.
SYNCHRONOUS, PHONEME_EVENTS, PHONEME_IPA = 2, 1, 2
UTF8, RATE, PITCH, RANGE = 1, 1, 3, 4
EVENT_LAST, EVENT_PHONEME = 0, 7


class Event(ctypes.Structure):
    """espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("string", ctypes.c_char * 8),
    )  # fmt: skip


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def main() -> None:
    """The request has `voice`, `speed`, `pitch`, `range` and `text`; the answer `rate` and `phonemes` or `error`."""
    request = json.load(sys.stdin)
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        return answer({"error": "espeak-ng is not installed: apt install espeak-ng, or brew install espeak-ng"})
    library = ctypes.CDLL(name)
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | PHONEME_IPA)
    if rate <= 0:
        return answer({"error": "espeak-ng cannot be started: its data folder is missing, install it again"})
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return answer({"error": f"espeak-ng has no voice {request['voice']}"})
    for parameter, key in ((RATE, "speed"), (PITCH, "pitch"), (RANGE, "range")):
        library.espeak_SetParameter(parameter, request[key], 0)
    parts: list[bytes] = []
    phonemes: list[tuple[int, str]] = []

    def receive(samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if count > 0:
            parts.append(ctypes.string_at(samples, 2 * count))
        number = 0
        while events[number].type != EVENT_LAST:
            if events[number].type == EVENT_PHONEME:
                phonemes.append((events[number].sample, events[number].string.decode("utf-8", "ignore")))
            number += 1
        return 0

    callback = Callback(receive)
    library.espeak_SetSynthCallback(callback)
    text = request["text"].encode() + b"\0"
    library.espeak_Synth(text, len(text), 0, 1, 0, UTF8, None, None)
    library.espeak_Synchronize()
    return answer({"rate": rate, "phonemes": phonemes}, b"".join(parts))


def answer(header: dict[str, object], samples: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)


if __name__ == "__main__":
    main()
