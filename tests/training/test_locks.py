"""Temporary folders outlive no process for long, and no living one loses its own."""

from tcmax_jax.training.locks import temporary_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_temporary_folder_is_removed_with_its_lock(tmp_path):
    with temporary_folder(tmp_path, ".made-") as folder:
        (folder / "file").touch()
        assert names(tmp_path) == [folder.name, f"{folder.name}.lock"]
    assert not names(tmp_path)


def test_a_folder_that_is_moved_away_stays(tmp_path):
    with temporary_folder(tmp_path, ".made-") as folder:
        folder.replace(tmp_path / "kept")
    assert names(tmp_path) == ["kept"]


def test_what_a_killed_process_has_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    (tmp_path / ".made-left" / "sub").mkdir(parents=True)
    (tmp_path / ".made-left.lock").touch()
    (tmp_path / ".made-of-others").mkdir()
    with temporary_folder(tmp_path, ".made-") as one, temporary_folder(tmp_path, ".made-") as other:
        assert one.is_dir()
        assert other.is_dir()
        assert not {".made-left", ".made-left.lock"} & set(names(tmp_path))
    assert names(tmp_path) == [".made-of-others"]
