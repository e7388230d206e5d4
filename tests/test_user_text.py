"""What users name is shown on a terminal, and does nothing there."""

import io
import re
import sys

import pytest

from tcmax_jax.data.inputs import ArrayInput
from tcmax_jax.files import file_name, write_atomically
from tcmax_jax.models import MLPEncoder
from tcmax_jax.section import SectionError
from tcmax_jax.training import processes
from tcmax_jax.training.config import Config, Modality
from tcmax_jax.user_text import columns, printable, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dog", "dog"),
        ("\x1b[31mred\a", "\\x1b[31mred\\x07"),
        ("a\r\nb\u2028c", "a b c"),
        ("x\u202egnp.exe", "x\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("狗 é \u200d \\x1b", "狗 é \u200d \\x1b"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert visible(text) == shown


def test_lines_stay_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    processes.say("one \x1b[2J\ntwo")
    assert sys.stderr.getvalue() == "one \\x1b[2J\ntwo\n"
    assert printable("a\n\nb\n") == "a\n\nb\n"


def test_columns_of_a_terminal():
    assert [columns(text) for text in ("dog", "狗狗", "e\u0301", "")] == [3, 4, 1, 0]


@pytest.mark.parametrize("text", ["../x", "a/b", "/a", "..", ".", "", "a\0b", "é" * 200])
def test_no_name_of_a_file_leads_out_of_a_folder(tmp_path, text):
    name = file_name(text)
    assert name != text
    write_atomically(tmp_path / name, "")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_of_files_differ_where_the_texts_do():
    texts = ["a/b", "a_b", "a\0b", "x" * 250, "x" * 251]
    assert len(set(map(file_name, texts))) == len(texts)


def test_text_with_bytes_that_are_no_text_is_written(tmp_path):
    write_atomically(tmp_path / "a", "\udcff")
    assert (tmp_path / "a").read_text() == "\\udcff"


@pytest.mark.parametrize("name", ["fused", "recalibrated", "label", "a+b"])
def test_modalities_are_not_called_like_what_results_call_otherwise(name):
    modality = Modality(input=ArrayInput(), encoder=MLPEncoder())
    with pytest.raises(SectionError, match=rf"{re.escape(name)}: Expected a name without"):
        Config(modalities={name: modality, "audio": modality})
