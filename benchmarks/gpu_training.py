"""Whole training steps on a GPU against its FMA peak, and the recurrent layer against cuDNN's.

Called by scripts/gpu_check. A step is `Trainer.advance`: reading, upload, forward, backward, sum of
the leaves, update, and the loss on the host. Counted are the operations of matrix products and
recurrences, 2 a term; all else a step does is in the time alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import device_training
import numpy as np

from majelpy.array import Place, asarray, launch, zeros
from majelpy.comm.world import World
from majelpy.nn.batch import Batch
from majelpy.nn.dense import Dense
from majelpy.nn.layer import Pass
from majelpy.nn.model import Model
from majelpy.nn.networks import deep_speech_1
from majelpy.nn.parameters import Gradients, Layout
from majelpy.nn.recurrent import BiRnn, Rnn
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.train.recipe import ModelSettings
from majelpy.train.trainer import Trainer

WARM, TIMED = 3, 10

LAYERS = ((512, 32, 200), (1024, 32, 200), (1760, 16, 100), (1760, 32, 100))
"""Units, utterances and frames of the recurrent layers that are timed."""


def step_flops(model: Model, frames: int, utterances: int) -> float:
    """Operations of a step's products and recurrences."""
    terms = recurrent = 0
    first = True
    for layer in model.layers:
        inputs, units = layer.inputs.units, layer.outputs.units
        if isinstance(layer, Rnn):
            # Forward, gradient by the weight, and by the input but for the first layer.
            terms += layer.directions * units * (units + (2 if first else 3) * inputs)
            recurrent += 2 * layer.directions * units * units * (frames - utterances)
        elif isinstance(layer, Dense):
            terms += (2 if first else 3) * inputs * units
        first = first and not layer.learns
    return 2.0 * (terms * frames + recurrent)


def training_steps(place: Place, peak: float) -> dict[str, Any]:
    """Return seconds, frames a second and share of the peak of steps of some sizes."""
    results = {}
    for width, batch, length in ((512, 32, 400), (1024, 32, 400), (1760, 32, 400), (2048, 64, 400)):
        recipe = replace(
            device_training.RECIPE,
            data=replace(device_training.RECIPE.data, batch=batch),
            model=ModelSettings(deep_speech_1(5, (width,) * 3, width, width, dropout=0.1)),
            schedule=replace(device_training.RECIPE.schedule, epochs=100),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "train.h5"
            device_training.write_corpus(corpus, 2 * batch, (length - 50, length + 50), 161)
            trainer = device_training.trainer(corpus, str(place), World.alone(), recipe)
            name = f"training step: {batch} utterances of {length} frames, {width} units"
            results[name] = _timed(trainer, peak)
            trainer.close()
    return results


def _timed(trainer: Trainer, peak: float) -> dict[str, float]:
    frames, flops, seconds = 0, 0.0, 0.0
    for step in range(WARM + TIMED):
        start = time.perf_counter()
        done = trainer.advance()
        launch.device(trainer.place).synchronize()
        if step >= WARM:
            seconds += time.perf_counter() - start
            frames += done.frames
            flops += step_flops(trainer.model, done.frames, done.utterances)
    return {
        "seconds": seconds / TIMED,
        "frames_per_second": frames / seconds,
        "flops": flops / seconds,
        "share_of_peak": flops / seconds / peak,
    }


def recurrent_layers(place: Place, seconds: Callable[[Callable[[], None]], float]) -> Any:
    """Return times of the layer, forward and backward, ours and cuDNN's through PyTorch.

    Parameters
    ----------
    seconds : callable
        Time of some work on the GPU.
    """
    try:
        import torch
    except ImportError:
        return "not run: no PyTorch"
    if not torch.cuda.is_available():
        return "not run: this PyTorch has no GPU"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    results = {}
    for hidden, batch, frames in (
        (512, 32, 200),
        (1024, 32, 200),
        (1760, 16, 100),
        (1760, 32, 100),
    ):
        ours = seconds(_our_layer(place, hidden, batch, frames))
        rnn = torch.nn.RNN(hidden, hidden, nonlinearity="relu", bidirectional=True).cuda()
        x = torch.rand(frames, batch, hidden, device="cuda", requires_grad=True)
        dy = torch.full((frames, batch, 2 * hidden), 1e-3, device="cuda")

        def theirs(rnn: Any = rnn, x: Any = x, dy: Any = dy) -> None:
            rnn(x)[0].backward(dy)
            torch.cuda.synchronize()

        name = f"birnn forward and backward: {batch} utterances of {frames} frames, {hidden} units"
        results[name] = {"seconds": ours, "cudnn_seconds": seconds(theirs)}
        results[name]["ratio"] = results[name]["cudnn_seconds"] / ours
    return results


def _our_layer(place: Place, hidden: int, batch: int, frames: int) -> Callable[[], None]:
    layer = BiRnn(BiRnn.Settings(hidden), "birnn", 0, Columns(hidden), Share())
    layout = Layout(layer.parameters())
    weights = dict(layout.items(layout.initial(1).to_device(place)))
    offsets = np.arange(batch + 1, dtype=np.int64) * frames
    random = np.random.default_rng(1)
    x = asarray(random.random((frames * batch, hidden), dtype=np.float32)).to_device(place)
    dy = asarray(np.full((frames * batch, hidden), 1e-3, np.float32)).to_device(place)
    slots = zeros((1, layout.gradient_size), device=place)
    gradients, run = Gradients(layout, slots), Pass(weights)
    signal = Signal(layer.share, Batch.unlabelled(x, offsets), hidden, own=x)

    def work() -> None:
        _, saved = layer.forward(signal, run)
        layer.backward(dy, saved, run, gradients, needed=True)

    return work
