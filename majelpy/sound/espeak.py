"""espeak-ng through ctypes: one utterance from a text, always the same samples.

Policy: espeak-ng keeps the phase of its wave generator and other state in static variables
from one utterance to the next, and neither `espeak_Terminate` nor its random seed resets
them. So the library is loaded afresh for every utterance and unloaded after it (some 3 ms).
Then an utterance is a function of its arguments, whatever was spoken before it.
"""

from __future__ import annotations

import ctypes
import os

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from majelpy.errors import BuildError

RATE = 22050
"""Sample rate of espeak-ng's formant voices in Hz."""

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_SPEED, _PITCH = 1, 3

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def speak(text: str, voice: str, speed: int, pitch: int) -> NDArray[np.int16]:
    """Return a spoken text: int16, (S,), 22050 Hz.

    Parameters
    ----------
    text : str
        What to say.
    voice : str
        A language with a variant, such as `en-us+m3`.
    speed : int
        Words per minute, 80..450.
    pitch : int
        0..100; 50 is the voice's own.

    Raises
    ------
    BuildError
        If espeak-ng cannot be used, lacks the voice, or is loaded in this process by
        somebody else (its state could then not be reset).
    """
    library = _load()
    try:
        return _speak(library, text, voice, speed, pitch)
    finally:
        library.espeak_Terminate()
        _unload(library)


def _load() -> ctypes.CDLL:
    path = espeakng_loader.get_library_path()
    if _is_loaded(path):
        raise BuildError(
            f"espeak-ng: {path} is already loaded in this process, so that its speech would "
            f"depend on what was spoken before; run in a process of its own"
        )
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise BuildError(f"espeak-ng: cannot load {path}: {error}") from None


def _is_loaded(path: str) -> bool:
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    _unload(library)
    return True


def _unload(library: ctypes.CDLL) -> None:
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    dlclose(library._handle)


def _speak(
    library: ctypes.CDLL, text: str, voice: str, speed: int, pitch: int
) -> NDArray[np.int16]:
    pieces: list[bytes] = []

    def collect(samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        return 0

    callback = _Callback(collect)
    data = espeakng_loader.get_data_path()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
    if rate != RATE:
        raise BuildError(f"espeak-ng: starting with {data} gave rate {rate}, needed is {RATE}")
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise BuildError(f"espeak-ng: there is no voice {voice!r} in {data}")
    library.espeak_SetParameter(_SPEED, speed, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    # Breath and roughness of some voices are random; unseeded they depend on the time.
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    words = text.encode()
    size = ctypes.c_size_t(len(words) + 1)
    # text, size, position, its type (character), end position, flags, identifier, user data
    status = library.espeak_Synth(words, size, 0, 1, 0, _UTF8, None, None)
    if status != 0:
        raise BuildError(f"espeak-ng: speaking {text!r} failed with status {status}")
    library.espeak_Synchronize()
    return np.frombuffer(b"".join(pieces), np.int16)
