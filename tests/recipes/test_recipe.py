"""Recipes: what a file and `--set` say, strictly; and what counts as the same recipe."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tomli_w

from majelpy import ARITHMETIC
from majelpy.errors import RecipeError
from majelpy.recipes import recipe as recipes
from majelpy.recipes import shipped
from majelpy.recipes.content import differences, digest, few, past, unfit
from majelpy.recipes.recipe import Recipe, load
from majelpy.settings import as_table
from majelpy.speech.joined import files

NAMES = ("old", "new")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "r.toml"
    file.write_text('[data]\ntrain = "t.h5"\n[optimizer]\nrate = 0.5\n')
    return file


def write(path: Path, table: dict[str, Any]) -> str:
    path.write_text(tomli_w.dumps(table))
    return str(path)


def settings_of(kind: type, prefix: str = "", of: str = "") -> list[tuple[str, Any, str]]:
    """Dotted name and field of each setting, and the kind that its table needs for it."""
    found = []
    for f in fields(kind):
        inner = get_type_hints(kind)[f.name]
        if is_dataclass(inner):
            assert isinstance(inner, type)
            found += settings_of(inner, f"{prefix}{f.name}.")
        elif kinds := f.metadata["kinds"]:
            for name, own in kinds.items():
                found += settings_of(own, prefix, f"{prefix}kind={name}")
        else:
            found.append((prefix + f.name, f, of))
    return found


def test_defaults_stand_where_the_file_is_silent(path: Path) -> None:
    recipe = load(str(path))
    assert recipe.data.train == str(path.parent / "t.h5")
    assert recipe.optimizer.rate == 0.5
    assert recipe.optimizer.own.momentum == 0.9
    assert recipe.data.leaves == 8
    assert [item["layer"] for item in recipe.model.layers].count("dense") == 4
    assert recipe.seed == 1


def test_paths_count_from_the_file_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a manifest; what is typed, or stands in a shipped recipe, counts from here."""
    folder = tmp_path / "conf[1]"
    folder.mkdir()
    (folder / "r.toml").write_text(
        '[data]\ntrain = ["a.h5", "b-*.h5", "/x/c.h5"]\ndev = ""\n[augment]\nnoise = "../n.h5"\n'
    )
    monkeypatch.chdir(tmp_path)
    recipe = load("conf[1]/r.toml")
    assert recipe.data.train == ("conf[1]/a.h5", "conf[[]1]/b-*.h5", "/x/c.h5")
    assert (recipe.data.dev, recipe.augment.noise) == ("", "conf[1]/../n.h5")
    assert load("conf[1]/r.toml", ["data.train=t.h5", "data.dev=d.h5"]).data.train == "t.h5"
    assert load("digits").data.train == "train.h5"
    whole = recipe.with_whole_paths()
    assert whole.data.train[0] == str(folder / "a.h5")
    assert whole.data.train[2] == "/x/c.h5"
    assert whole.content("A", "B") == recipe.content("A", "B")
    (folder / "b-1.h5").touch()
    monkeypatch.chdir("/")
    assert files(whole.data.train[1]) == [folder / "b-1.h5"]
    monkeypatch.chdir(folder)
    assert load("r.toml").data.train == ("a.h5", "b-*.h5", "/x/c.h5")


def test_a_recipe_cannot_be_changed(path: Path) -> None:
    recipe = load(str(path))
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize("name", ["digits", "synth", "sentences"])
def test_the_recipes_named_in_the_help_are_shipped(name: str) -> None:
    assert name in shipped()


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_recipes(name: str) -> None:
    recipe = load(name)
    assert recipe.data.train
    assert recipe.data.leaves >= 8
    text = (Path(recipes.__file__).parent.parent / "recipes" / f"{name}.toml").read_text("utf-8")
    assert text.isascii()
    table = recipes.read_table(name)
    assert set(table) <= {f.name for f in fields(Recipe)}


def test_every_setting_has_help() -> None:
    names = [(name, kind) for name, _, kind in settings_of(Recipe)]
    assert len(names) == len(set(names)) > 15
    for name, f, _ in settings_of(Recipe):
        assert len(f.metadata["help"]) > 4, name


ASSIGNMENTS = [
    ("seed=7", lambda r: r.seed, 7),
    ("optimizer.rate=0.25", lambda r: r.optimizer.rate, 0.25),
    ("optimizer.rate=1", lambda r: r.optimizer.rate, 1.0),
    ("optimizer.rate = 1e-3 ", lambda r: r.optimizer.rate, 0.001),
    (
        'model.layers=[{ layer = "dense", units = 8 }]',
        lambda r: r.model.layers,
        ({"layer": "dense", "units": 8, "batch_norm": False},),
    ),
    ('data.dev="a b.h5"', lambda r: r.data.dev, "a b.h5"),
    ("data.dev=a b.h5", lambda r: r.data.dev, "a b.h5"),
    ("data.dev=/x/y=z.h5", lambda r: r.data.dev, "/x/y=z.h5"),
    ("data.dev=你.h5", lambda r: r.data.dev, "你.h5"),
    ("data.dev=", lambda r: r.data.dev, ""),
    ("data.outside=drop", lambda r: r.data.outside, "drop"),
]


@pytest.mark.parametrize(("assignment", "get", "value"), ASSIGNMENTS, ids=lambda x: str(x)[:24])
def test_set(path: Path, assignment: str, get: Any, value: Any) -> None:
    found = get(load(str(path), [assignment]))
    assert found == value
    assert type(found) is type(value)


def test_the_last_of_two_counts(path: Path) -> None:
    assert load(str(path), ["seed=7", "seed=8"]).seed == 8


def test_set_makes_tables(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert load(str(empty), ["data.train=x.h5", "model.parts=2"]).model.parts == 2


WRONG = [
    ("optimizer.momentun=1", "unknown key 'optimizer.momentun'; did you mean 'momentum'?"),
    ("sede=1", "unknown key 'sede'; did you mean 'seed'?"),
    ("optimiser.rate=1", "unknown key 'optimiser'; did you mean 'optimizer'?"),
    (
        "zzz=1",
        "unknown key 'zzz'; the top level has data, model, optimizer, schedule, augment, seed",
    ),
    (
        "schedule.zzz=1",
        "unknown key 'schedule.zzz'; 'schedule' has kind, epochs, warmup, hold, anneal, "
        "early_stop, average, result",
    ),
    ("optimizer.kind=sgd", "optimizer.kind is 'sgd'; needs one of nesterov, adam, adagrad"),
    (
        "optimizer.beta1=0.5",
        "optimizer.beta1 is 0.5; optimizer.kind is 'nesterov', and only adam has it",
    ),
    (
        "optimizer.epsilon=1e-6",
        "optimizer.epsilon is 1e-06; optimizer.kind is 'nesterov', and only adam and adagrad "
        "have it",
    ),
    ("optimizer.weight_noise=2", "optimizer.weight_noise is 2.0; needs at least 0 and at most 1"),
    (
        "schedule.patience=2",
        "schedule.patience is 2; schedule.kind is 'hold', and only plateau has it",
    ),
    ("schedule.result=worst", "schedule.result is 'worst'; needs one of last, best, average"),
    (
        "schedule.result=average",
        "schedule.result is 'average' and schedule.average is 0; needs at least 1",
    ),
    ("data.sort_first=1", "data.sort_first is 1; needs true or false"),
    ("seed=1.0", "seed is 1.0; needs an integer"),
    ("seed=true", "seed is True; needs an integer"),
    ("seed=", "seed is ''; needs an integer"),
    ("seed=-1", "seed is -1; needs at least 0 and at most 2^63 - 1"),
    ("seed=[1]", "seed is [1]; needs an integer"),
    ("optimizer.rate=fast", "optimizer.rate is 'fast'; needs a number"),
    ("optimizer.rate=nan", "optimizer.rate is nan; needs a finite float32"),
    ("optimizer.rate=inf", "optimizer.rate is inf; needs a finite float32"),
    ("optimizer.rate=1e39", "optimizer.rate is 1e+39; needs a finite float32"),
    ("optimizer.rate=-0.1", "optimizer.rate is -0.1; needs at least 0"),
    ("optimizer.momentum=1.5", "optimizer.momentum is 1.5; needs at least 0 and at most 1"),
    ("data.train=3", "data.train is 3; needs a text in quotes, or a list of them"),
    ("data.train=[]", "data.train is []; needs a text in quotes, or a list of them"),
    ('data.dev=["a", 3]', "data.dev is ['a', 3]; needs a text in quotes, or a list of them"),
    (
        "augment.gain_decibels=[3, -3]",
        "augment.gain_decibels is [3, -3]; needs two numbers, least and most, of -100 to 100",
    ),
    (
        "augment.noise_decibels=10",
        "augment.noise_decibels is 10; needs two numbers, least and most, of -100 to 100",
    ),
    (
        "augment.speeds=[0.9, 3]",
        "augment.speeds is [0.9, 3]; needs a list of numbers from 0.5 to 2, to three decimals",
    ),
    (
        "augment.speeds=[0.9999]",
        "augment.speeds is [0.9999]; needs a list of numbers from 0.5 to 2, to three decimals",
    ),
    ("augment.time_masks=17", "augment.time_masks is 17; needs at least 0 and at most 16"),
    ("augment.noise_share=1.5", "augment.noise_share is 1.5; needs at least 0 and at most 1"),
    ("augment.speed=1", "unknown key 'augment.speed'; did you mean 'speeds'?"),
    ("data.outside=maybe", "data.outside is 'maybe'; needs one of error, drop"),
    ("data.leaves=0", "data.leaves is 0; needs at least 1 and at most 4096"),
    ("data.batch=0", "data.batch is 0; needs at least 1"),
    ("schedule.epochs=0", "schedule.epochs is 0; needs at least 1"),
    ("model.layers=16", "model.layers is 16; needs a list of layers"),
    ("model.layers=[]", "model.layers is []; needs a list of layers"),
    (
        "model.layers=[3]",
        'model.layers[0] is 3; needs a table such as { layer = "dense", ... }',
    ),
    (
        'model.layers=[{layer="dens"}]',
        'model.layers[0] is "dens"; needs one of context, dense, dropout, conv, rnn, birnn, gru, '
        'bigru, lstm, bilstm, row_conv, batch_norm, layer_norm, or "file.py:Class"',
    ),
    (
        'model.layers=[{layer="dense"}]',
        "model.layers[0] (dense): 'units' is missing: outputs",
    ),
    (
        'model.layers=[{layer="dense", units=0}]',
        "model.layers[0] (dense): units is 0; needs at least 1 and at most 65536",
    ),
    (
        'model.layers=[{layer="dense", unit=9}]',
        "model.layers[0] (dense): unknown key 'unit'; did you mean 'units'?",
    ),
    ("model=3", "model is 3; needs a table of settings"),
]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["optimizer.kind=adam", "optimizer.epsilon=0"],
            "optimizer.epsilon is 0.0; needs at least 1e-20",
        ),
        (
            ["optimizer.kind=adam", "optimizer.beta2=1"],
            "optimizer.beta2 is 1.0; needs at least 0 and at most 0.999999",
        ),
        (
            ["schedule.kind=plateau", "schedule.patience=0"],
            "schedule.patience is 0; needs at least 1",
        ),
        (
            ["optimizer.kind=adam", "optimizer.momentum=0.5"],
            "optimizer.momentum is 0.5; optimizer.kind is 'adam', and only nesterov has it",
        ),
        (
            ["optimizer.kind=adagrad", "optimizer.beta2=0.5"],
            "optimizer.beta2 is 0.5; optimizer.kind is 'adagrad', and only adam has it",
        ),
    ],
)
def test_a_wrong_setting_of_a_kind_is_named(
    path: Path, assignments: list[str], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(str(path), assignments)
    assert str(caught.value) == f"{path}: {message}"
    load(str(path), assignments[:1])


@pytest.mark.parametrize(("assignment", "message"), WRONG, ids=[a for a, _ in WRONG])
def test_a_wrong_setting_is_named(path: Path, assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(str(path), [assignment])
    assert str(caught.value) == f"{path}: {message}"


def test_a_wrong_setting_in_the_file_is_named(tmp_path: Path) -> None:
    name = write(tmp_path / "r.toml", {"data": {"train": "t"}, "optimizer": {"rates": 1}})
    with pytest.raises(RecipeError, match=r"r\.toml: unknown key 'optimizer\.rates'; did you mean"):
        load(name)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for table in ({}, {"data": {}}):
        with pytest.raises(RecipeError, match=r"r\.toml: 'data\.train' is missing: path of the"):
            load(write(tmp_path / "r.toml", table))


@pytest.mark.parametrize("assignment", ["seed", "", "=3", " =3"])
def test_set_needs_a_key_and_a_value(path: Path, assignment: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(str(path), [assignment])
    assert str(caught.value) == (
        f"--set {assignment}: needs key=value, such as optimizer.rate=0.01"
    )


def test_set_into_a_setting_that_is_no_table(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--set data\.train\.x: 'train' is a setting, not a t"):
        load(str(path), ["data.train.x=3"])


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n")
    with pytest.raises(RecipeError, match=r"broken\.toml: not TOML: .*line 1"):
        load(str(broken))
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"broken\.toml: not UTF-8 text$"):
        load(str(broken))
    with pytest.raises(RecipeError, match=r"missing\.toml: cannot be read \(No such file or dir"):
        load(str(tmp_path / "missing.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RecipeError, match=r"folder\.toml: cannot be read \(Is a directory\)"):
        load(str(tmp_path / "folder.toml"))


@pytest.mark.parametrize("name", ["digit", "", "../recipes/digits", "r.tml"])
def test_an_unknown_name_lists_the_shipped(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(name)
    assert str(caught.value) == (
        f"recipe {name!r}: not shipped (there are {', '.join(shipped())}) "
        "and not a file that ends in .toml"
    )


# What counts as the same recipe.


def test_paths_are_not_in_the_digest_but_their_contents_are(path: Path) -> None:
    here, there = load(str(path)), load(str(path), ["data.train=/x.h5", "data.dev=d.h5"])
    assert here != there
    assert digest(here.content("A", "B")) == digest(there.content("A", "B"))
    assert digest(here.content("A", "B")) != digest(here.content("A", "C"))
    assert digest(here.content("A", "B")) != digest(here.content("C", "B"))


def changed(value: Any) -> Any:
    if isinstance(value, tuple) and type(value[-1]) is float:
        return [*value[:-1], value[-1] + 1]
    if isinstance(value, tuple):
        return [*value, {"layer": "dense", "units": 3}]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        others = {"error": "drop", "float32": "bfloat16", "nesterov": "adam", "hold": "plateau"}
        others |= {"stop": "skip"}
        return (others | {"last": "best"}).get(value, value + "x")
    if isinstance(value, float):
        return value / 2 or 0.25
    return value + 1


def test_every_other_setting_is_in_the_digest(path: Path) -> None:
    digests = {digest(load(str(path)).content("A", "B"))}
    varied = 0
    for name, _, kind in settings_of(Recipe):
        if name in ("data.train", "data.dev", "augment.noise"):
            continue
        of_kind = [kind] if kind else []
        base = load(str(path), of_kind)
        value: Any = as_table(base)
        for part in name.split("."):
            value = value[part]
        table = recipes.read_table(str(path))
        recipes.assign(table, name, changed(value))
        other = load(write(path.with_name("other.toml"), table), of_kind)
        contents = base.content("", ""), other.content("", "")
        lines = differences(*contents, NAMES)
        if name.endswith(".kind"):  # brings settings of its own
            lines = [line for line in lines if line.startswith(name)]
        (line,) = lines
        ends = name in ("schedule.epochs", "schedule.early_stop")
        assert (past(contents[0]) == past(contents[1])) == ends, name
        table_alone = f"{name.split('.')[0]} is "  # [augment] counts when something is on
        assert line.startswith((f"{name} is ", table_alone))
        digests.add(digest(other.content("A", "B")))
        varied += 1
    assert varied > 12
    assert len(digests) == varied + 1


def test_the_arithmetic_is_in_the_digest(path: Path) -> None:
    content = load(str(path)).content("A", "B")
    assert content["arithmetic"] == ARITHMETIC
    assert digest(content | {"arithmetic": ARITHMETIC + 1}) != digest(content)


def test_the_digest_does_not_depend_on_the_order_in_the_file(tmp_path: Path) -> None:
    one, two = tmp_path / "1.toml", tmp_path / "2.toml"
    one.write_text('seed = 2\n[data]\ntrain = "t"\nbatch = 4\n[model]\nparts = 2\n')
    two.write_text('seed = 2\n[model]\nparts = 2\n[data]\nbatch = 4\ntrain = "t"\n')
    digests = {digest(load(str(path)).content("A", "")) for path in (one, two)}
    assert len(digests) == 1


def test_an_integer_for_a_float_is_the_same(path: Path) -> None:
    contents = [load(str(path), [f"optimizer.rate={v}"]).content("A", "") for v in ("1", "1.0")]
    assert digest(contents[0]) == digest(contents[1])
    assert differences(*contents, NAMES) == []


def test_differences_name_settings_and_values(path: Path) -> None:
    one = load(str(path)).content("A", "")
    two = load(str(path), ["seed=2", "model.parts=2", "optimizer.rate=0.1"]).content("B", "")
    lines = [
        "data.train is 'A' (old) and 'B' (new)",
        "model.parts is 1 (old) and 2 (new)",
        "optimizer.rate is 0.5 (old) and 0.1 (new)",
        "seed is 1 (old) and 2 (new)",
    ]
    assert differences(one, two, NAMES) == lines
    assert few(lines) == "; ".join([*lines[:3], "and 1 more"])
    assert few(lines[:3]) == "; ".join(lines[:3])
    assert differences({"a": 1}, {}, NAMES) == ["a is 1 (old) and missing (new)"]
    assert differences({"a": [1]}, {"a": (1,)}, NAMES) == []  # JSON has one kind of list


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        ([], ["schedule.epochs=7"], None),
        (["schedule.epochs=7"], [], None),
        (["schedule.early_stop=2"], ["schedule.early_stop=3"], None),
        (["schedule.early_stop=2"], ["schedule.early_stop=0"], None),
        (
            ["schedule.early_stop=3"],
            ["schedule.early_stop=2"],
            "schedule.early_stop is 3 (saved) and 2",
        ),
        ([], ["schedule.early_stop=9"], "schedule.early_stop is 0 (saved) and 9 (requested)"),
        ([], ["schedule.hold=9"], "schedule.hold is 10 (saved) and 9 (requested)"),
    ],
)
def test_what_a_run_may_go_on_with(
    before: list[str], now: list[str], line: str | None, path: Path
) -> None:
    """What it might have had to stop for already, or what its past depends on, it may not."""
    saved, requested = (load(str(path), given).content("A", "") for given in (before, now))
    lines = unfit(saved, requested)
    assert (not lines) if line is None else (len(lines) == 1 and lines[0].startswith(line))
    # The past depends on nothing that is not there.
    assert unfit({}, requested)
