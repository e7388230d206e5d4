"""How many processes decode."""

import pytest

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.preparation import decode
from tcmax_jax.data.preparation.chunks import Chunk


class Started(Exception):  # noqa: N818 no error
    """Says how many processes would start."""


@pytest.mark.parametrize(("asked", "processes"), [(0, 3), (5, 5), (20, 9)])
def test_all_usable_cores_decode_unless_some_number_is_asked_for(
    asked, processes, tmp_path, monkeypatch
):
    def pool(number, *_):
        raise Started(number)

    monkeypatch.setattr(decode.concurrent.futures, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(decode, "usable_cores", lambda: 3)
    chunks = [Chunk(tmp_path / str(n), [Clip(str(n), "train", "dog")]) for n in range(9)]
    with pytest.raises(Started) as started:
        next(decode.decode_chunks({}, chunks, asked))
    assert started.value.args == (processes,)
