"""Launch of the spectrogram (kernels/gpu/spectrogram.cu)."""

from __future__ import annotations

from majelpy.gpu.launcher import THREADS, Launcher, elements


def mj_spectrogram(
    on: Launcher, frames: int, window: int, hop: int, samples: int, out: int
) -> None:
    tables = on.scratch(4 * 3 * window)
    elements(on, "mj_spectrogram_tables_kernel", window, (window, tables))
    needed = 4 * 4 * window
    fits = needed <= on.shared_bytes
    blocks = frames if fits else min(frames, on.multiprocessors)
    work = on.scratch(0 if fits else blocks * needed)
    arguments = (frames, window, hop, samples, tables, 0 if fits else work, out)
    shared = needed if fits else 0
    on.launch("mj_spectrogram_kernel", (blocks,), (THREADS,), arguments, shared=shared)
