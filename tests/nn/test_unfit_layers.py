"""Lists of layers that do not fit are refused in one line: which two layers, and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from training import Ground, Inside, own_lines

from majelpy.errors import RecipeError
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share

pytest_plugins = ["training"]

Table = dict[str, Any]
CONV: Table = {"layer": "conv", "channels": 4, "kernel": [3, 3]}
DENSE: Table = {"layer": "dense", "units": 32}
CONTEXT: Table = {"layer": "context", "frames": 2}
GRU: Table = {"layer": "gru", "units": 32}
FREQUENCY = "needs places of frequency: those of the features, or of a conv layer"
FIRST = "needs the input: make it the first layer"

UNFIT: list[tuple[list[Table], int, str]] = [
    (
        [DENSE, CONV],
        1,
        "[1] (conv) on top of model.layers[0] (dense): has 32 columns below it; " + FREQUENCY,
    ),
    (
        [CONV, GRU, CONV],
        1,
        "[2] (conv) on top of model.layers[1] (gru): has 32 columns below it; " + FREQUENCY,
    ),
    (
        [CONTEXT, CONV],
        1,
        "[1] (conv) on top of model.layers[0] (context): has 100 columns below it; " + FREQUENCY,
    ),
    (
        [DENSE, CONTEXT],
        1,
        "[1] (context) on top of model.layers[0] (dense): has 32 columns below it; " + FIRST,
    ),
    (
        [CONV, {"layer": "layer_norm"}, CONTEXT],
        1,
        "[2] (context) on top of model.layers[1] (layer_norm): has 80 columns (20 places of "
        "frequency) below it; " + FIRST,
    ),
    (
        [CONV | {"kernel": [3, 3, 3]}],
        1,
        "[0] (conv) on top of the features: kernel is [3, 3, 3]; needs two integers: time, "
        "frequency",
    ),
    (
        [CONV, CONV | {"stride": [2]}],
        1,
        "[1] (conv) on top of model.layers[0] (conv): stride is [2]; needs two integers: time, "
        "frequency",
    ),
    (
        [CONV, GRU | {"units": 48}],
        4,
        "[1] (gru) on top of model.layers[0] (conv): 48 units in 4 parts (model.parts); each "
        "needs 16, so 64 units",
    ),
    (
        [DENSE, CONV],
        2,
        "[1] (conv) on top of model.layers[0] (dense): has 32 columns below it; " + FREQUENCY,
    ),
    (
        [CONV | {"stride": [1, 8]}, {"layer": "row_conv"}],
        2,
        "[0] (conv) on top of the features: 12 units in 2 parts (model.parts); each needs 16, so "
        "32 units",
    ),
]


@pytest.mark.parametrize(("layers", "parts", "message"), UNFIT, ids=[m[:60] for *_, m in UNFIT])
def test_the_message_names_both_layers(layers: list[Table], parts: int, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        Model(Architecture(20, 5, read(layers, "model.layers", "")), Share(parts))
    assert str(raised.value) == f"model.layers{message}"


WRONG: list[tuple[Table, str]] = [
    (CONV | {"kernel": 3}, "kernel is 3; needs a list, each entry an integer"),
    (CONV | {"kernel": []}, "kernel is empty; needs at least one entry"),
    (CONV | {"kernel": [3, 0]}, "kernel[1] is 0; needs at least 1 and at most 512"),
    (CONV | {"kernel": [3, 2.5]}, "kernel[1] is 2.5; needs an integer"),
    (CONV | {"stride": [65, 1]}, "stride[0] is 65; needs at least 1 and at most 64"),
    (CONV | {"channels": 0}, "channels is 0; needs at least 1 and at most 4096"),
    (
        {"layer": "conv", "kernel": [3, 3]},
        "'channels' is missing: outputs at each place of frequency",
    ),
    (GRU | {"stride": 2}, "unknown key 'stride'; gru has units, gain, batch_norm"),
    (DENSE | {"kernel": [3, 3]}, "unknown key 'kernel'; dense has units, batch_norm"),
    (GRU | {"unit": 2}, "unknown key 'unit'; did you mean 'units'?"),
    ({"layer": "batch_norm", "units": 3}, "unknown key 'units'; batch_norm has no settings"),
    ({"layer": "row_conv", "future": -1}, "future is -1; needs at least 0 and at most 1000"),
    ({"layer": "layer_norm", "x": 1}, "unknown key 'x'; layer_norm has no settings"),
]


@pytest.mark.parametrize(("layer", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_wrong_setting_is_named_with_its_layer(layer: Table, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read([DENSE, layer], "model.layers", "")
    assert str(raised.value) == f"model.layers[1] ({layer['layer']}): {message}"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [CONV | {"stride": [8, 1]}, GRU],
            r"has 1?\d frames, of which the model makes [12], for \d labels; needs at least \d",
        ),
        ([DENSE, CONV], r"model\.layers\[1\] \(conv\) on top of model\.layers\[0\] \(dense\): .*"),
    ],
)
def test_majel_train_says_it_in_a_line(
    layers: list[Table], message: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    listed = json.dumps(layers).replace('": ', '" = ')
    change = f"model.layers={listed}"
    said = inside("train", ground.recipe, "--out", tmp_path / "r", "--set", change)
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    assert re.search(message + "$", line), line
    assert not (tmp_path / "r").exists()
