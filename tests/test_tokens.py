"""experiments/tokens.py with a tokenizer of nine words."""

import builtins
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tcmax_jax.data.array_files import read_row
from tcmax_jax.data.clips import Clip
from tests.data.sources import raw_folders

SCRIPT = Path(__file__).parents[1] / "experiments" / "tokens.py"
WORDS = ("<start>", "<end>", "<other>", "good", "bad", "day", "no", "very", "!")
# The texts of the tweets of `raw_folders.mvsa`; "4" is cut at six tokens, "5" has none of its own.
TWEETS = {
    "1": "Good bad",
    "2": "very GOOD day !",
    "3": "no\u2028bad",
    "4": "good good good bad bad bad bad",
    "5": "",
    "6": "é day",
}
IDS = {
    "1": [0, 3, 4, 1],
    "2": [0, 7, 3, 5, 8, 1],
    "3": [0, 6, 4, 1],
    "4": [0, 3, 3, 3, 4, 1],
    "5": [0, 1],
    "6": [0, 2, 5, 1],
}


def load_script():
    spec = importlib.util.spec_from_file_location("tokens_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_tokenizer(path, marks=True):
    """Writes a tokenizer.json; with settings of its own for length and padding, as some have."""
    model = models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<other>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
        )
        tokenizer.enable_padding(length=12, pad_id=1)
        tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def script():
    return load_script()


@pytest.fixture
def folder(tmp_path):
    raw_folders.mvsa(tmp_path)
    for name in ("train", "dev", "test"):
        path = tmp_path / f"{name}.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [
            json.dumps(entry | {"text": TWEETS[entry["id"]]}, ensure_ascii=False)
            for entry in entries
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path


def command(folder, *arguments):
    tokenizer = folder / "tokenizer.json"
    return subprocess.run(
        [sys.executable, SCRIPT, f"--tokenizer={tokenizer}", *arguments],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(SCRIPT.parents[1])},
    )  # fmt: skip


def test_mvsa(folder):
    done = command(folder, f"--raw_dir={folder}", "--max_length=6")
    assert done.returncode == 0, done.stderr
    expected = "6 texts of 2 .. 6 tokens, 2 of them with all 6 that are allowed; vocabulary_size=9"
    assert expected in done.stdout
    for name, ids in IDS.items():
        row = read_row(folder / "tokens.npz", Clip(name, "train", "x"))
        assert (row.dtype, row.tolist()) == (np.int32, ids)


def test_any_list(folder):
    """Texts may have commas and line breaks, ids may be called as arguments of numpy's are."""
    (folder / "texts.csv").write_text('id,text\n file ,"good,\nbad"\nb,day\n', encoding="utf-8-sig")
    done = command(folder, f"--list={folder / 'texts.csv'}")
    assert done.returncode == 0, done.stderr
    rows = {n: read_row(folder / "tokens.npz", Clip(n, "train", "x")) for n in ("file", "b")}
    assert {n: row.tolist() for n, row in rows.items()} == {
        "file": [0, 3, 2, 4, 1],
        "b": [0, 5, 1],
    }


def test_one_text_is_found_by_its_id(folder):
    (folder / "texts.csv").write_text("id,text\na,good day\n")
    assert command(folder, f"--list={folder / 'texts.csv'}").returncode == 0
    row = read_row(folder / "tokens.npz", Clip("a", "", "", row=0))
    assert (row.dtype, row.tolist()) == (np.int32, [0, 3, 5, 1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 4}', r'dev\.jsonl, line 1: Expected {"id": \.\., "text": \.\.}, got'),
        ("[]", r'dev\.jsonl, line 1: Expected {"id": '),
        (
            '{"id": 4, "text": null}',
            r"dev\.jsonl, line 1: Expected an id and a text, got '4' and N",
        ),
        ('{"id": 4, "text": "\\ud800"}', r"dev\.jsonl, line 1: Expected text, got .*surrogates"),
        (
            '{"id": 1, "text": ""}',
            r"dev\.jsonl, line 1: .* got '1' of .*train\.jsonl, line 1 again",
        ),
    ],
)
def test_bad_lines_are_named(script, folder, line, message):
    (folder / "dev.jsonl").write_text(line)
    tokenizer = script.load_tokenizer(folder / "tokenizer.json", 6)
    with pytest.raises(ValueError, match=message):
        script.tokenize(script.mvsa_texts(folder), tokenizer)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"id,txt\na,b\n", r"texts\.csv: Expected the columns id and text, got id, txt\. Add text"),
        (b"id,text\na\n", r"texts\.csv, line 2: Expected an id and a text, got 'a' and None"),
        (b"id,text\n,b\n", r"texts\.csv, line 2: Expected an id and a text, got '' and 'b'"),
        (b"id,text\na,\xff\n", r"texts\.csv: Expected UTF-8, got .* Save it as UTF-8"),
        (b"id,text\nids,b\nc,d\n", r"tokens\.npz: Expected other ids than 'ids'"),
    ],
)
def test_bad_lists_are_refused(folder, table, message):
    (folder / "texts.csv").write_bytes(table)
    done = command(folder, f"--list={folder / 'texts.csv'}")
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert re.search(message, done.stderr)
    assert not (folder / "tokens.npz").exists()


def test_a_list_that_is_not_there(script, tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: Expected a list of texts, got no such file"):
        list(script.listed_texts(tmp_path / "none.csv"))


def test_a_text_without_tokens(script, folder):
    tokenizer = script.load_tokenizer(write_tokenizer(folder / "bare.json", marks=False), 6)
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1: Expected a text, got '', of which"):
        script.tokenize(script.mvsa_texts(folder), tokenizer)


def test_tokenizers_that_cannot_be_used(script, folder, monkeypatch):
    with pytest.raises(ValueError, match=r"train\.jsonl: Expected a tokenizer\.json, got '"):
        script.load_tokenizer(folder / "train.jsonl", 6)
    with pytest.raises(ValueError, match=r"none\.json: Expected a tokenizer\.json, got 'No such"):
        script.load_tokenizer(folder / "none.json", 6)
    with pytest.raises(ValueError, match=r"more than the 2 tokens around a text, got 2\."):
        script.load_tokenizer(folder / "tokenizer.json", 2)
    real = builtins.__import__

    def without(name, *rest):
        if name == "tokenizers":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tcmax_jax\[text\]'"):
        script.load_tokenizer(folder / "tokenizer.json", 6)
