"""Products, recurrent layers and training steps on a GPU against its FMA peak, cuBLAS and cuDNN.

Called by scripts/gpu_check. A step is `Trainer.advance`: reading, upload, forward, backward, sum of
the leaves, update, and the loss on the host. Counted are the operations of matrix products and
recurrences, 2 a term; all else a step does is in the time alone.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import device_training
import numpy as np

from majelpy.array import asarray, kernels, zeros
from majelpy.comm.world import World
from majelpy.gpu.launches import LAUNCHES
from majelpy.memory import Place
from majelpy.memory.pool import Pool, set_pool
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Pass
from majelpy.nn.model import Model
from majelpy.nn.networks import deep_speech_1
from majelpy.nn.parameters import Gradients, Layout
from majelpy.nn.recurrent import BiGru, BiLstm, BiRnn, Rnn
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.plan.layers import works
from majelpy.recipes.tables import ModelSettings
from majelpy.train.trainer import Trainer

WARM, TIMED = 3, 10

FLOAT = np.dtype(np.float32)

NETWORKS = [
    *(
        (f"{width} units", deep_speech_1(5, (width,) * 3, width, width, dropout=0.1), batch, 400)
        for width, batch in ((512, 32), (1024, 32), (1760, 32), (2048, 64))
    ),
    *(
        (
            f"Deep Speech 2, {units} units",
            device_training.deep_speech_2(32, (11, 21), ("bigru",) * 3, units),
            32,
            400,
        )
        for units in (512, 1280)
    ),
]
"""Name, layers, utterances and their mean frames."""

LAYERS = ((512, 32, 200), (1024, 32, 200), (1760, 16, 100), (1760, 32, 100))
"""Units, utterances and frames of the recurrent layers that are timed."""


def step_flops(model: Model, frames: int, utterances: int) -> float:
    """Operations of a step's products and recurrences, which `majel plan` counts too."""
    terms, first = 0.0, model.first_learning
    for place, (layer, work) in enumerate(works(model, "")):
        rows = frames / layer.outputs.stride
        # Forward, gradient by the weight, and by the input but for the first layer.
        passes = 3 if place > first else 2
        terms += passes * sum(p.rows * p.columns * p.terms for p in work.products) * rows
        terms += sum(p.columns * p.terms for p in work.weights) * rows
        if work.recurrence is not None:
            known = work.recurrence
            steps = 2 * known.directions * (rows - utterances)
            terms += steps * known.gates * known.hidden * known.units
    return 2.0 * terms


def training_steps(place: Place, peak: float) -> dict[str, Any]:
    """Return seconds, frames a second and share of the peak of steps of some networks."""
    results = {}
    for network, layers, batch, length in NETWORKS:
        recipe = replace(
            device_training.RECIPE,
            data=replace(device_training.RECIPE.data, batch=batch),
            model=ModelSettings(layers),
            schedule=replace(device_training.RECIPE.schedule, epochs=100),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "train.h5"
            device_training.write_corpus(corpus, 2 * batch, (length - 50, length + 50), 161)
            trainer = device_training.trainer(corpus, str(place), World.alone(), recipe)
            name = f"training step: {batch} utterances of {length} frames, {network}"
            results[name] = _timed(trainer, peak)
            trainer.close()
            # The next one sizes its pool by what is free.
            del trainer
            gc.collect()
            set_pool(Pool(0, place))
    return results


def seconds(on: Any, work: Callable[[], None], repeats: int = 5) -> float:
    """Return the least time of some runs, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        on.synchronize()
        start = time.perf_counter()
        work()
        on.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def everything() -> dict[str, Any]:
    """Return times of products, layers and steps, with their share of the FMA peak."""
    import cupy

    place = Place("gpu", 0)
    set_pool(Pool(4 << 30, place))
    on = kernels.device(place)
    attributes = cupy.cuda.Device(0).attributes
    capability = int(cupy.cuda.Device(0).compute_capability)
    lanes = 64 if capability in (70, 72, 75, 80) else 128
    peak = 2.0 * lanes * attributes["MultiProcessorCount"] * attributes["ClockRate"] * 1e3
    results: dict[str, Any] = {"capability": capability, "fma_peak_flops": peak}

    def row(flops: float, work: Callable[[], None]) -> dict[str, float]:
        least = seconds(on, work)
        return {"seconds": least, "flops": flops / least, "share_of_peak": flops / least / peak}

    results |= _products(on, row) | _layers(on, row)
    memory = 2.0 * attributes["MemoryClockRate"] * 1e3 * attributes["GlobalMemoryBusWidth"] / 8
    results["memory_peak_bytes_per_second"] = memory
    results |= _maps(on, memory)
    results |= training_steps(place, peak)
    results["cudnn"] = recurrent_layers(place, lambda work: seconds(on, work))
    try:
        import allocations
    except ImportError as error:
        results["allocations"] = f"not run: {error}"
    else:
        results["allocations"] = allocations.main(place)
    return results


def _random(on: Any, *shape: int) -> Any:
    numbers = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    return on.upload(numbers / np.float32(8))


def _products(on: Any, row: Callable[..., dict[str, float]]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for m, n, k in ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096), (8192, 2048, 8192)):
        a, b, c = _random(on, m, k), _random(on, k, n), on.scratch(4 * m * n)
        for kind, b_strides in (("nn", (n, 1)), ("nt", (1, k))):
            arguments = (m, n, k, 1, a.pointer, k, 1, b.pointer, *b_strides, c.pointer, n)
            flops = 2.0 * m * n * k
            ours = row(flops, partial(LAUNCHES["mj_gemm"], on, *arguments))
            left, out = on.view(a, (m, k), FLOAT), on.view(c, (m, n), FLOAT)
            right = on.view(b, (k, n), FLOAT) if kind == "nn" else on.view(b, (n, k), FLOAT).T
            theirs = cublas(left, right, out, partial(row, flops))
            results[f"gemm {kind} {m}x{n}x{k}"] = ours | {"cublas": theirs}
            if isinstance(theirs, dict):
                results[f"gemm {kind} {m}x{n}x{k}"]["ratio"] = theirs["seconds"] / ours["seconds"]
    return results


def cublas(left: Any, right: Any, out: Any, row: Callable[..., dict[str, float]]) -> Any:
    """Return times of a product by cuBLAS, through CuPy, whose float32 is not rounded to TF32."""
    import cupy

    try:
        return row(partial(cupy.matmul, left, right, out=out))
    except ImportError as error:  # CuPy without CUDA's libraries
        return f"not run: {error}"


def _layers(on: Any, row: Callable[..., dict[str, float]]) -> dict[str, Any]:
    results = {}
    for hidden, batch in ((512, 32), (1760, 16), (1760, 32), (2048, 32), (2560, 32)):
        frames = 100
        offsets = np.arange(batch + 1, dtype=np.int64) * frames
        rows = frames * batch
        x, weight = _random(on, rows, 2 * hidden), _random(on, 2, hidden, hidden)
        h, last = on.scratch(8 * rows * hidden), on.scratch(8 * batch * hidden)
        sizes = (0, 0, 2, batch, offsets.ctypes.data, hidden, 1, 0)
        pointers = (x.pointer, weight.pointer, None, None, h.pointer, None, last.pointer)
        results[f"birnn forward {hidden} batch {batch} frames {frames}"] = row(
            4.0 * (rows - batch) * hidden * hidden,
            partial(LAUNCHES["mj_rnn_forward_rows"], on, *sizes, *pointers),
        )
    return results


def _maps(on: Any, peak: float) -> dict[str, Any]:
    """Return times of maps, with their share of the memory's peak."""
    rows, columns = 1 << 14, 1 << 12
    count = rows * columns
    a, b, c, d = (on.upload(np.zeros(count, np.float32)) for _ in range(4))
    one = on.upload(np.ones(2, np.float32)).pointer, on.upload(np.ones(2, np.float32)).pointer
    states = (a.pointer, b.pointer, c.pointer)
    maps: dict[str, tuple[int, tuple[Any, ...]]] = {
        "mj_add_arrays": (3, (count, *states)),
        "mj_rectify_array": (2, (count, *states[:2])),
        "mj_bias_rectify_rows": (2, (rows, columns, *states)),
        "mj_nesterov_array": (5, (count, *states, *one, 0.99, 0.0)),
        "mj_adam_array": (
            7, (count, *states, d.pointer, *one, one[1], 0.9, 0.999, 1e-8, 0.0)
        ),
    }  # fmt: skip
    results = {}
    for entry, (arrays, arguments) in maps.items():
        least = seconds(on, partial(LAUNCHES[entry], on, *arguments))
        rate = 4.0 * arrays * count / least
        results[f"{entry}: {count} numbers"] = {
            "seconds": least,
            "bytes_per_second": rate,
            "share_of_peak": rate / peak,
        }
    return results


def _timed(trainer: Trainer, peak: float) -> dict[str, float]:
    frames, flops, seconds = 0, 0.0, 0.0
    for step in range(WARM + TIMED):
        start = time.perf_counter()
        done = trainer.advance()
        kernels.device(trainer.place).synchronize()
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
    networks: dict[type[Rnn], Callable[..., Any]] = {
        BiRnn: partial(torch.nn.RNN, nonlinearity="relu"),
        BiGru: torch.nn.GRU,
        BiLstm: torch.nn.LSTM,
    }
    results = {}
    for (kind, network), (hidden, batch, frames) in product(networks.items(), LAYERS):
        ours = seconds(_our_layer(kind, place, hidden, batch, frames))
        rnn = network(hidden, hidden, bidirectional=True).cuda()
        x = torch.rand(frames, batch, hidden, device="cuda", requires_grad=True)
        dy = torch.full((frames, batch, 2 * hidden), 1e-3, device="cuda")

        def theirs(rnn: Any = rnn, x: Any = x, dy: Any = dy) -> None:
            rnn(x)[0].backward(dy)
            torch.cuda.synchronize()

        name = f"{kind.__name__.lower()} forward and backward: "
        name += f"{batch} utterances of {frames} frames, {hidden} units"
        results[name] = {"seconds": ours, "cudnn_seconds": seconds(theirs)}
        results[name]["ratio"] = results[name]["cudnn_seconds"] / ours
    return results


def _our_layer(
    kind: type[Rnn], place: Place, hidden: int, batch: int, frames: int
) -> Callable[[], None]:
    layer = kind(kind.Settings(hidden), "layer", 0, Columns(hidden), Share())
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
