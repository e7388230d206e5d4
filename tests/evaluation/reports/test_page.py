"""Pages replace pages, and leave all else as it is."""

import re

import pytest

from tcmax_jax.evaluation.reports.page import write_page


def write(folder, text, pictures=(), name="a"):
    """Writes a page of one paragraph."""
    panels = {picture: [b"1", b"2"] for picture in pictures}
    return write_page(folder, name, "Title", [{"text": text}], panels)


def test_texts_are_no_markup(tmp_path):
    bad = "<script>x</script> *a* [b](c) \x1b"
    blocks = [{"heading": bad, "level": 1}, {"text": bad}, {"items": [bad]}, {"code": "```\n# h"}]
    blocks += [{"table": [[bad], [bad]]}, {"aside": [{"text": bad}]}]
    html, markdown = (p.read_text() for p in write_page(tmp_path, "a", bad, blocks, {}))
    assert html.count("&lt;script&gt;x&lt;/script&gt; *a* [b](c) \\x1b") == 7
    assert markdown.count("\\<script>x\\</script> \\*a\\* \\[b\\](c) \\\\x1b") == 6
    assert "````sh\n```\n# h\n````" in markdown


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_page_replaces_an_earlier_one(tmp_path):
    paths = write(tmp_path, "one", ("curves", "noise"))
    assert paths == [tmp_path / "a.html", tmp_path / "a.md"]
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "notes.md").write_text("mine")
    write(tmp_path, "two", ("curves",))
    assert names(tmp_path) == [
        "a.html", "a.md", "figures/curves-1.svg", "figures/curves-2.svg", "figures/mine.png",
        "notes.md", "written.json",
    ]  # fmt: skip
    assert (tmp_path / "a.md").read_text() == "two\n"
    assert (tmp_path / "figures" / "curves-1.svg").read_bytes() == b"1"


@pytest.mark.parametrize("earlier", [True, False])
def test_a_file_of_somebody_else_stays(tmp_path, earlier):
    if earlier:
        write(tmp_path, "one", ("curves",))
    (tmp_path / "a.md").write_text("mine")
    before = names(tmp_path)
    with pytest.raises(FileExistsError, match=r"with a a\.md that no page has written, or"):
        write(tmp_path, "two", ("noise",))
    assert (tmp_path / "a.md").read_text() == "mine"
    assert names(tmp_path) == before


def test_a_figure_that_was_changed_is_not_removed(tmp_path):
    write(tmp_path, "one", ("curves",))
    (tmp_path / "figures" / "curves-1.svg").write_bytes(b"mine")
    write(tmp_path, "one")
    assert (tmp_path / "figures" / "curves-1.svg").read_bytes() == b"mine"


def test_nothing_outside_of_the_folder_is_removed(tmp_path):
    out = tmp_path / "out"
    write(out, "one")
    (tmp_path / "b").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (out / "written.json").write_text(f'{{"../b": "{empty}", "{tmp_path}/b": "{empty}"}}')
    (out / "a.md").unlink()
    (out / "a.html").unlink()
    write(out, "one", name="c")
    assert (tmp_path / "b").exists()


def test_a_damaged_list_of_files_is_an_error(tmp_path):
    (tmp_path / "written.json").write_text("{")
    with pytest.raises(ValueError, match=r"written\.json is damaged, so that it is unknown"):
        write(tmp_path, "one")


def test_panels_of_a_figure_stand_side_by_side_or_stack(tmp_path):
    block = {"figure": "curves", "caption": "What *it* shows."}
    html, markdown = write_page(tmp_path, "a", "Title", [block], {"curves": [b"1", b"2"]})
    assert markdown.read_text() == (
        "![curves, panel 1](figures/curves-1.svg)\n![curves, panel 2](figures/curves-2.svg)\n\n"
        "*What \\*it\\* shows.*\n"
    )
    text = html.read_text()
    assert text.count('src="data:image/svg+xml;base64,M') == 2
    (panels,) = re.findall(r"\.panels \{(.*?)\}", text.split("@media")[0])
    assert "flex-wrap: wrap" in panels
    (images,) = re.findall(r"^img \{(.*?)\}", text, re.M)
    # Never wider than a phone, and never narrower than they are where there is room.
    assert "max-width: 100%" in images and "min-width" not in images
