"""Downloads, from a server of the test's own: whole and checked, or nothing."""

import shutil
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from altprop.experiment import InputError
from altprop.experiment.data.memory import download_data
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from tests.experiment.data.originals import cifar, idx, svhn


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(autouse=True)
def _own_locks(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture
def mnist(server, monkeypatch):
    """MNIST as it is published, at a server."""
    folder, url = server
    idx(folder, monkeypatch)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{url}MNIST/raw/"])
    return folder / "MNIST" / "raw"


def test_idx_files_are_downloaded_unpacked_and_read(mnist, tmp_path, capfd):
    root = tmp_path / "new" / "data"
    assert download_data(f"mnist:{root}") == "mnist: 20 examples for training, 10 for testing."
    assert "100%" in capfd.readouterr().err, "no progress was shown"
    assert [file.name for file in root.iterdir()] == ["MNIST"]
    shutil.rmtree(mnist)
    # From then on no server is needed.
    assert len(open_data(DataSection(name="mnist", root=root, download=True)).train) == 20


def test_of_several_at_once_one_downloads(mnist, tmp_path, monkeypatch):
    root, fetched = tmp_path / "data", []
    published = datasets.utils._urlretrieve

    def slowly(url, *args, **kwargs):
        fetched.append(url)
        time.sleep(0.05)  # so that the others come meanwhile
        published(url, *args, **kwargs)

    monkeypatch.setattr(datasets.utils, "_urlretrieve", slowly)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(download_data, [f"mnist:{root}"] * 4))
    assert told == ["mnist: 20 examples for training, 10 for testing."] * 4
    assert len(fetched) == len(set(fetched)) == 4
    assert [file.name for file in root.iterdir()] == ["MNIST"]


def test_archives_are_unpacked_and_not_kept(server, tmp_path, monkeypatch):
    folder, url = server
    cifar(folder, monkeypatch)
    archive = folder / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{url}{archive.name}")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(archive))
    root = tmp_path / "data"
    splits = open_data(DataSection(name="cifar-10", root=root, download=True))
    assert splits.train.batch(torch.arange(50), 0)[0].shape == (50, 3, 32, 32)
    assert [file.name for file in root.iterdir()] == ["cifar-10-batches-py"]


def test_a_damaged_file_is_replaced(server, tmp_path, monkeypatch):
    folder, url = server
    svhn(folder, monkeypatch)
    listed = {part: [f"{url}{name}", name, md5] for part, (_, name, md5) in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    (tmp_path / "test_32x32.mat").write_bytes(b"damaged")
    section = DataSection(name="svhn", root=tmp_path)
    with pytest.raises(InputError, match=r"has no train_32x32.mat"):
        open_data(section)
    assert len(open_data(section.model_copy(update={"download": True})).test) == 10


def test_a_file_with_a_wrong_checksum_is_refused_and_not_kept(mnist, tmp_path):
    (mnist / "t10k-images-idx3-ubyte.gz").write_bytes(b"half of i")
    root = tmp_path / "data"
    with pytest.raises(InputError, match=r"mnist could not be downloaded .*corrupted.*Put train-images") as caught:
        download_data(f"mnist:{root}")
    assert "\n" not in str(caught.value)
    assert not root.exists()


def test_without_a_network_the_line_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    (tmp_path / "mine.txt").write_text("stays")
    with pytest.raises(InputError) as caught:
        download_data(f"mnist:{tmp_path}")
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith("mnist could not be downloaded (")
    assert f"t10k-labels-idx1-ubyte.gz into {tmp_path}/MNIST/raw yourself, from http://yann.lecun.com" in told
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_download_leaves_nothing(mnist, tmp_path, monkeypatch):
    def interrupted(_, file, **__):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.utils, "_urlretrieve", interrupted)
    root = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        download_data(f"mnist:{root}")
    assert not root.exists()


def test_what_altprop_cannot_download_says_where_it_is_published(tmp_path):
    with pytest.raises(InputError, match=r"food-11: .*food-11 has no training, valid.*https://www.epfl.ch") as caught:
        download_data(f"food-11:{tmp_path}")
    assert "altprop data download" not in str(caught.value)
    assert not list(tmp_path.iterdir())
