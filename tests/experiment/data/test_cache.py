"""The cache: made once, and done without where it does not work."""

import numpy as np
import pytest

from altprop.experiment.data.cache import cached


class Made:
    """Makes arrays, and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"x": np.arange(6.0).reshape(2, 3), "y": np.array([1, 2])}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def assert_read(arrays):
    expected = Made()()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_arrays_are_made_once_and_read_from_then_on(cache):
    make = Made()
    for _ in range(2):
        assert_read(cached("toy-1", make))
    assert make.times == 1
    assert [path.name for path in (cache / "altprop").iterdir()] == ["toy-1.npz"]
    cached("toy-2", make)
    assert make.times == 2


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_file_that_cannot_be_read_is_made_anew(cache, damage):
    make = Made()
    cached("toy-1", make)
    (cache / "altprop" / "toy-1.npz").write_bytes(damage)
    for _ in range(2):
        assert_read(cached("toy-1", make))
    assert make.times == 2


def test_a_folder_that_cannot_be_written_to_is_done_without(cache):
    (cache / "altprop").write_text("a file is in the way")
    make = Made()
    for _ in range(2):
        assert_read(cached("toy-1", make))
    assert make.times == 2


def test_the_cache_is_in_the_home_folder_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    cached("toy-1", Made())
    assert (tmp_path / ".cache" / "altprop" / "toy-1.npz").exists()
