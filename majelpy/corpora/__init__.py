"""Public corpora: what a downloaded folder holds becomes a manifest.

Policy: a module a corpus; it knows where that corpus keeps recordings and transcripts and how it
writes them down, and nothing else. Only text and paths are read, recordings by their headers. What
a line says must be so: a fault stops the import and names file and line, unless the caller asked
to leave such utterances out.
"""

from __future__ import annotations

from majelpy.corpora.aishell1 import AISHELL1
from majelpy.corpora.an4 import AN4
from majelpy.corpora.asterisk import ASTERISK
from majelpy.corpora.common_voice import COMMON_VOICE
from majelpy.corpora.fsdd import FSDD
from majelpy.corpora.librispeech import LIBRISPEECH
from majelpy.corpora.speechocean762 import SPEECHOCEAN762
from majelpy.corpora.tedlium3 import TEDLIUM3
from majelpy.corpora.voxforge import VOXFORGE

CORPORA = {
    "librispeech": LIBRISPEECH,
    "aishell1": AISHELL1,
    "common-voice": COMMON_VOICE,
    "tedlium3": TEDLIUM3,
    "an4": AN4,
    "voxforge": VOXFORGE,
    "fsdd": FSDD,
    "asterisk": ASTERISK,
    "speechocean762": SPEECHOCEAN762,
}
"""The importers by the names that `majel corpus` knows."""
