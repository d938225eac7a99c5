"""Estimating a language model: probabilities sum to 1, and a case by hand."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import pytest
from language import log10_prob, plain
from training import Ground, Inside, own_lines

from majelpy.decoding.kneser_ney import USUAL, estimate, sentences, write_arpa
from majelpy.decoding.ngram import read_arpa
from majelpy.runs.trained import load_trained

pytest_plugins = ["training"]


def some_texts(count: int, seed: int = 1) -> list[list[str]]:
    """Texts of a small language in which some words follow others more often."""
    choose = random.Random(seed)
    words = [f"w{i}" for i in range(30)]
    texts = []
    for _ in range(count):
        text = [words[int(30 * choose.random() ** 3)]]
        while choose.random() < 0.85:
            last = int(text[-1][1:])
            text.append(words[(last * 3 + int(8 * choose.random() ** 2)) % 30])
        texts.append(text)
    return texts


@pytest.mark.parametrize("count", [1, 5, 400])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_after_any_history(tmp_path: Path, order: int, count: int) -> None:
    write_arpa(tmp_path / "lm.arpa", estimate(some_texts(count), order))
    grams = plain((tmp_path / "lm.arpa").read_text())
    vocabulary = [gram[0] for gram in grams if len(gram) == 1 and gram[0] != "<s>"]
    assert {"</s>", "<unk>"} < set(vocabulary)
    choose = random.Random(2)
    histories = [(), ("<s>",), *[gram for gram in grams if 1 < len(gram) < order][:30]]
    for _ in range(30):
        length = choose.randrange(1, order + 1)
        histories.append(tuple(choose.choice(["<unk>", *vocabulary[2:]]) for _ in range(length)))
    for history in histories:
        kept = history[len(history) - min(order - 1, len(history)) :]
        total = math.fsum(10 ** log10_prob(grams, kept, word) for word in vocabulary)
        # Seven digits of a logarithm above -10 and of some back-offs: 1e-6 * log(10) each.
        assert abs(total - 1) < 2e-5, history


def test_two_sentences_by_hand() -> None:
    """'a b' and 'a c' as bigrams: continuation counts a 1, b 1, c 1, </s> 2."""
    model = estimate([["a", "b"], ["a", "c"]], 2)
    d1, d2, _ = USUAL
    left = (3 * d1 + d2) / 5  # of five kinds of bigrams
    unigram = {"a": (1 - d1) / 5 + left / 5, "</s>": (2 - d2) / 5 + left / 5}
    assert model.prob[0][("a",)] == pytest.approx(unigram["a"], rel=1e-15)
    assert model.prob[0][("</s>",)] == pytest.approx(unigram["</s>"], rel=1e-15)
    assert model.prob[0][("<unk>",)] == pytest.approx(left / 5, rel=1e-15)
    after_start = (2 - d2) / 2 + d2 / 2 * unigram["a"]
    assert model.prob[1][("<s>", "a")] == pytest.approx(after_start, rel=1e-15)
    b_after_a = (1 - d1) / 2 + 2 * d1 / 2 * unigram["a"]
    assert model.prob[1][("a", "b")] == pytest.approx(b_after_a, rel=1e-15)
    assert model.backoff[0] == pytest.approx(
        {("<s>",): d2 / 2, ("a",): d1, ("b",): d1, ("c",): d1}, rel=1e-15
    )


def test_the_order_of_the_texts_does_not_matter(tmp_path: Path) -> None:
    texts = some_texts(100)
    for name, order in (("a", texts), ("b", texts[::-1])):
        write_arpa(tmp_path / name, estimate(order, 3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_of_text_is_likelier_than_of_other_text(tmp_path: Path) -> None:
    write_arpa(tmp_path / "lm.arpa", estimate(some_texts(400), 3))
    grams = plain((tmp_path / "lm.arpa").read_text())

    def bits(texts: list[list[str]]) -> float:
        total, count = 0.0, 0
        for text in texts:
            history: list[str] = ["<s>"]
            for word in [*text, "</s>"]:
                total -= log10_prob(grams, tuple(history[-2:]), word)
                history.append(word)
                count += 1
        return total / count

    fresh = some_texts(50, seed=9)
    shuffled = [random.Random(i).sample(text, len(text)) for i, text in enumerate(fresh)]
    assert bits(fresh) + 0.1 < bits(shuffled)


def test_the_program_writes_what_the_reader_reads(inside: Inside, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("Die Katze  sass\n\nda DA\n你好 你\n", "utf-8")
    said = inside("lm", text, "-o", out, "--order", "2")
    assert said.code == 0
    assert said.err == f"lm: reading {text}\nlm: smoothing\nlm: writing {out}\n"
    assert said.out == f"{out}: 9 1-grams, 10 2-grams\n"
    model = read_arpa(out)
    assert set(model.tokens) >= {"die", "katze", "sass", "da", "你好", "<s>", "</s>", "<unk>"}
    assert inside("lm", text, "-o", out, "--characters", "--force").code == 0
    assert {"你", "好", "<space>", "k"} < set(read_arpa(out).tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lm.arpa", "text.txt"]


def test_text_is_fitted_to_an_alphabet_as_training_does(
    ground: Ground, inside: Inside, tmp_path: Path
) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("Full. It's -- 'full'!\n...\n", "utf-8")
    marks = {"<s>", "</s>", "<unk>"}
    assert inside("lm", text, "-o", out, "--order", "1").code == 0
    assert set(read_arpa(out).tokens) - marks == {"full.", "it's", "--", "'full'!", "..."}
    assert inside("lm", text, "-o", out, "--force", "--alphabet", "' ilfstu").code == 0
    assert set(read_arpa(out).tokens) - marks == {"full", "it's", "'full'"}
    fitted = out.read_bytes()
    text.write_text("full it's 'full'\n", "utf-8")
    assert inside("lm", text, "-o", out, "--force").code == 0
    assert out.read_bytes() == fitted

    text.write_text("ab, a-b B0b\n", "utf-8")
    letters = load_trained(str(ground.undisturbed.folder)).alphabet.characters
    assert {"a", "b"} < set(letters) and not set(",-0") & set(letters)
    assert inside("lm", text, "-o", out, "--force", "--like", ground.undisturbed.folder).code == 0
    assert set(read_arpa(out).tokens) - marks == {"ab", "bb"}


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (b"", (), "majel lm: no text; needs one line with a word at least\n"),
        (b"a\n\xff\n", (), "text.txt:2: no UTF-8"),
        (b"a <unk>\n", (), "text.txt:1: the word '<unk>' is a mark of language models\n"),
        (b"a.\n", ("--alphabet", "b "), "majel lm: no text; needs one line with a word at least"),
        (b"a\n", ("--alphabet", "bb"), "'b' (U+0062) stands more than once"),
        (b"a\n", ("--like", "nowhere"), "nowhere"),
        (b"a\n", ("--order", "0"), "majel lm: order is 0; needs 1..9\n"),
        (b"a\n", ("-o", "/nowhere/lm.arpa"), "majel lm: /nowhere: there is no such folder\n"),
    ],
)
def test_bad_input_is_one_line(
    inside: Inside, tmp_path: Path, content: bytes, words: tuple[str, ...], message: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    said = inside("lm", text, "-o", tmp_path / "lm.arpa", *words)
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    assert message in f"{line}\n" and said.err.endswith(f"{line}\n")
    assert not (tmp_path / "lm.arpa").exists()


def test_a_byte_order_mark_is_no_part_of_a_word(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n", "utf-8-sig")
    assert inside("lm", tmp_path / "text.txt", "-o", tmp_path / "lm.arpa").code == 0
    assert set(read_arpa(tmp_path / "lm.arpa").tokens) == {"<s>", "</s>", "<unk>", "a", "b"}


def test_text_in_another_encoding_is_one_line(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n", "utf-16")
    said = inside("lm", tmp_path / "text.txt", "-o", tmp_path / "lm.arpa")
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    assert "text.txt:1: no UTF-8" in line
    assert not (tmp_path / "lm.arpa").exists()


def test_characters_of_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("A b\n", "utf-8")
    assert list(sentences([str(tmp_path / "t")], True)) == [["a", "<space>", "b"]]


def test_a_device_is_not_replaced(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = inside("lm", tmp_path / "text.txt", "-o", pipe)
    assert (said.code, said.out) == (2, "")
    assert own_lines(said.err) == [f"majel lm: {pipe}: not a file; give the output another name"]
    assert pipe.is_fifo()
