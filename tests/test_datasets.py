"""Finding, downloading, verifying and reading data, without leaving this machine."""

import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import make_digits
import numpy as np
import pytest
import requests
from mirrors import (
    FILES,
    PACKED,
    PLAIN,
    Contents,
    NewMirror,
    contents_of,
    grey,
    is_the_small_set,
    mirrors,
    use,
    use_cache,
)
from patience import PATIENCE

import mnist_fn as mf
from mnist_fn import DatasetError, IdxError
from mnist_fn.effects import downloads
from mnist_fn.idx import encode

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


def write(directory: Path, contents: Contents) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return directory


def test_the_built_in_digits_are_what_they_say(digits: mf.Dataset) -> None:
    assert digits.name == "digits"
    assert digits.X_train.shape == (784, 1437)
    assert digits.X_test.shape == (784, 360)
    for X, Y in ((digits.X_train, digits.Y_train), (digits.X_test, digits.Y_test)):
        assert X.dtype == np.uint8
        assert len(Y) == X.shape[1]
        assert sorted(set(Y.tolist())) == list(range(10))
        assert X.T.flags.c_contiguous  # one image after the other
        assert not X.flags.writeable
        assert not Y.flags.writeable
        frames = X.T.reshape(-1, 28, 28).copy()
        assert frames.max() == 255
        frames[:, 4:24, 4:24] = 0
        assert not frames.any()


def test_the_built_in_digits_are_scikit_learns(digits: mf.Dataset, tmp_path: Path) -> None:
    (tmp_path / "made.npz").write_bytes(make_digits.archive())
    assert make_digits.TARGET.stat().st_size < 100_000
    with np.load(make_digits.TARGET) as packaged, np.load(tmp_path / "made.npz") as made:
        assert packaged.files == made.files
        for name in made.files:
            np.testing.assert_array_equal(packaged[name], made[name], strict=True)
        labels = packaged["labels"]
    np.testing.assert_array_equal(np.append(digits.Y_train, digits.Y_test), labels)


def enlarged(image: np.ndarray) -> np.ndarray:
    """Enlarge 8 x 8 grey levels of 0 to 16 to 20 x 20 of 0 to 255: slowly, point by point."""
    result = np.zeros((20, 20))
    for i in range(20):
        for j in range(20):
            y, x = (min(max((k + 0.5) * 0.4 - 0.5, 0.0), 7.0) for k in (i, j))
            top, left = min(int(y), 6), min(int(x), 6)
            above, below = (
                image[row, left] * (1 - (x - left)) + image[row, left + 1] * (x - left)
                for row in (top, top + 1)
            )
            result[i, j] = above * (1 - (y - top)) + below * (y - top)
    return result * 255 / 16


def test_the_built_in_digits_are_enlarged_bilinearly(digits: mf.Dataset) -> None:
    with np.load(make_digits.TARGET) as packaged:
        images = packaged["images"].astype(float)
    for i in range(0, 1437, 100):
        frame = digits.X_train[:, i].reshape(28, 28)[4:24, 4:24]
        assert np.abs(frame - enlarged(images[i])).max() <= 0.5 + 1e-9


def renamed(contents: Contents, *changes: tuple[str, str]) -> Contents:
    def new(name: str) -> str:
        for old, replacement in changes:
            name = name.replace(old, replacement)
        return name

    return {new(name): content for name, content in contents.items()}


@pytest.mark.parametrize(
    "contents",
    [
        PLAIN,
        PACKED,
        {**dict(list(PLAIN.items())[:2]), **dict(list(PACKED.items())[2:])},
        renamed(PLAIN, ("-idx", ".idx")),
        renamed(PACKED, ("-idx", ".idx")),
        renamed(PACKED, ("t10k", "test")),
        renamed(PACKED, ("train", "kmnist-train"), ("t10k", "kmnist-t10k")),
        {**PLAIN, "README.md": b"", "train-images-idx3-ubyte.part": b"", "SHA256SUMS": b""},
        {**PLAIN, **dict.fromkeys(PACKED, b"of a file that is there twice, the plain one counts")},
    ],
    ids=["plain", "gzip", "both", "dot", "dot gzip", "test", "prefix", "other files", "twice"],
)
def test_a_data_set_is_found_under_each_of_its_names(tmp_path: Path, contents: Contents) -> None:
    dataset = mf.load_idx_dataset(write(tmp_path, contents))
    assert is_the_small_set(dataset)
    assert dataset.name == str(tmp_path)


def test_qmnist_labels_are_the_first_of_their_eight_columns(tmp_path: Path) -> None:
    rows = {TRAIN_LABELS: np.arange(24).reshape(3, 8), TEST_LABELS: np.arange(16).reshape(2, 8)}
    labels = {name: encode(array.astype(np.int32)) for name, array in rows.items()}
    changes = ("train", "qmnist-train"), ("t10k", "qmnist-test"), ("idx1-ubyte", "idx2-int")
    dataset = mf.load_idx_dataset(write(tmp_path, renamed({**PLAIN, **labels}, *changes)))
    assert dataset.Y_train.tolist() == [0, 8, 16]
    assert dataset.Y_test.tolist() == [0, 8]
    assert not dataset.Y_test.flags.writeable


def test_emnist_images_are_put_upright(tmp_path: Path) -> None:
    upright = {TRAIN_IMAGES: grey(3, 5, 5), TEST_IMAGES: grey(2, 5, 5)}
    sides = {name: encode(images.transpose(0, 2, 1)) for name, images in upright.items()}
    changes = ("train", "emnist-digits-train"), ("t10k", "emnist-digits-test")
    dataset = mf.load_idx_dataset(write(tmp_path, renamed({**PLAIN, **sides}, *changes)))
    np.testing.assert_array_equal(dataset.X_train.T.reshape(3, 5, 5), upright[TRAIN_IMAGES])
    np.testing.assert_array_equal(dataset.X_test.T.reshape(2, 5, 5), upright[TEST_IMAGES])
    assert not dataset.X_train.flags.writeable


def without(*names: str) -> Contents:
    return {name: content for name, content in PLAIN.items() if name not in names}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "lacks the train images, train labels, test images, test labels; it must hold train-"),
        (without(TEST_LABELS), "lacks the test labels; it must hold train-images-idx3-ubyte"),
        (without(TRAIN_IMAGES, TEST_IMAGES), "lacks the train images, test images; it must hold"),
        (
            {**PLAIN, **renamed(PLAIN, ("train", "k-train"), ("t10k", "k-t10k"))},
            "holds several data sets (*, k-*); give each its own directory",
        ),
        (
            {**PLAIN, TRAIN_IMAGES: encode(grey(3, 784))},
            f"{TRAIN_IMAGES}: the images are a uint8 array of shape (3, 784), "
            "but they must be uint8 (images, rows, columns)",
        ),
        (
            {**PLAIN, TEST_IMAGES: encode(np.zeros((2, 28, 28), np.float32))},
            f"{TEST_IMAGES}: the images are a float32 array of shape (2, 28, 28), but",
        ),
        (
            {**PLAIN, TEST_LABELS: encode(np.zeros(2))},
            f"{TEST_LABELS}: the labels are a float64 array of shape (2,), "
            "but they must be whole numbers, one for each image",
        ),
        (
            {**PLAIN, TRAIN_LABELS: encode(grey(3, 1, 1))},
            f"{TRAIN_LABELS}: the labels are a uint8 array of shape (3, 1, 1), but they must be",
        ),
        (
            {**PLAIN, TRAIN_LABELS: encode(np.array([7, -2, 9], np.int8))},
            f"{TRAIN_LABELS} holds the label -2, but classes are counted from 0",
        ),
        (
            {**PLAIN, TRAIN_LABELS: PLAIN[TEST_LABELS]},
            "holds 3 images, but {directory}/" + TRAIN_LABELS + " 2 labels",
        ),
        (
            {**PLAIN, TEST_IMAGES: encode(grey(2, 8, 8))},
            "the training images have (28, 28) pixels and the test images (8, 8)",
        ),
        (
            {
                **{TRAIN_IMAGES: encode(grey(0, 28, 28)), TRAIN_LABELS: encode(grey(0))},
                **{TEST_IMAGES: encode(grey(0, 28, 28)), TEST_LABELS: encode(grey(0))},
            },
            TRAIN_IMAGES,
        ),
    ],
)
def test_files_that_do_not_make_a_data_set_are_refused(
    tmp_path: Path, contents: Contents, message: str
) -> None:
    with pytest.raises(DatasetError) as refusal:
        mf.load_idx_dataset(write(tmp_path, contents))
    assert str(refusal.value).startswith(str(tmp_path))
    assert message.format(directory=tmp_path) in str(refusal.value)


def test_a_directory_that_is_not_there_and_a_file_in_its_place_are_refused(tmp_path: Path) -> None:
    file = tmp_path / TRAIN_IMAGES
    file.write_bytes(PLAIN[TRAIN_IMAGES])
    for path in (tmp_path / "nowhere", file):
        with pytest.raises(DatasetError, match=re.escape(f"{path} is not a directory; name one")):
            mf.load_idx_dataset(path)


@pytest.mark.parametrize("name", [*PLAIN, *PACKED])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    contents = {**(PLAIN if name in PLAIN else PACKED)}
    write(tmp_path, {**contents, name: contents[name][:-1]})
    with pytest.raises(IdxError, match=re.escape(f"{tmp_path / name}: ")):
        mf.load_idx_dataset(tmp_path)


def test_load_mnist_gives_the_real_digits(mnist: mf.Dataset) -> None:
    assert mnist.name == "mnist"
    assert mnist.X_train.shape == (784, 60_000)
    assert mnist.X_test.shape == (784, 10_000)
    assert mnist.Y_test[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert not any(array.flags.writeable for array in mnist[1:])


@pytest.mark.parametrize("side", [28, 4])
def test_load_mnist_refuses_another_data_set_and_says_how_to_read_it(
    tmp_path: Path, side: int
) -> None:
    images = {TRAIN_IMAGES: encode(grey(3, side, side)), TEST_IMAGES: encode(grey(2, side, side))}
    advice = r"is not MNIST's; read another .* load_idx_dataset\(directory\), or --data DIRECTORY"
    with pytest.raises(DatasetError, match=advice):
        mf.load_mnist(write(tmp_path, {**PLAIN, **images}))


@pytest.fixture
def new_mirror() -> Iterator[NewMirror]:
    with mirrors() as new:
        yield new


@pytest.fixture
def closed_mirror() -> Iterator[str]:
    with socket.socket() as bound:  # but not listening: a connection to it is refused
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, for a MNIST that is the small data set."""
    directory = tmp_path / "mnist_fn" / "mnist"
    use_cache(monkeypatch, directory)
    return directory


def test_mnist_is_downloaded_once(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_mirror(PACKED), new_mirror(PACKED)
    use(monkeypatch, first, second)
    assert is_the_small_set(mf.load_mnist())
    assert contents_of(cache) == PACKED
    # From the mirror that was the first to answer.
    assert sorted(name for name in first.log + second.log if name != "HEAD") == sorted(PACKED)
    first.log.clear()
    second.log.clear()
    assert is_the_small_set(mf.load_mnist())
    assert first.log == second.log == []


def test_only_what_was_verified_is_read_from_the_cache(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, new_mirror(PACKED))
    mf.load_mnist()
    (cache / "train-labels-idx1-ubyte").write_bytes(b"half a file")
    assert is_the_small_set(mf.load_mnist())


def test_what_is_damaged_in_the_cache_is_downloaded_again(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = new_mirror(PACKED)
    use(monkeypatch, mirror)
    mf.load_mnist()
    mirror.log.clear()
    damaged = f"{TEST_IMAGES}.gz"
    (cache / damaged).write_bytes(PACKED[damaged][:-5])
    assert is_the_small_set(mf.load_mnist())
    assert mirror.log == ["HEAD", damaged]
    assert contents_of(cache) == PACKED


def test_a_network_that_never_answers_is_not_waited_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(url: str, **options: object) -> None:
        released.wait(PATIENCE)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", hang)
    use(monkeypatch, "http://first.invalid/", "http://second.invalid/")
    monkeypatch.setattr(downloads, "_SECONDS_TO_ANSWER", 0.05)
    try:  # load_mnist returns while both threads still hang
        with pytest.raises(DatasetError) as refusal:
            mf.load_mnist()
    finally:
        released.set()
    for mirror in ("first", "second"):
        expected = f"http://{mirror}.invalid/ does not answer within 0.05 seconds"
        assert expected in str(refusal.value)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_named(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.write_text("a file where a directory should be")
    use(monkeypatch, new_mirror(PACKED))
    with pytest.raises(DatasetError, match=re.escape(f"MNIST cannot be stored in {cache}: ")):
        mf.load_mnist()


def test_without_pooch_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_FN_DATA", "")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        DatasetError, match=r"pip install -e '.\[app\]' in .*, or set MNIST_FN_DATA"
    ):
        mf.load_mnist()
    assert is_the_small_set(mf.load_idx_dataset(write(tmp_path, PACKED)))


def test_a_directory_comes_before_the_environment_and_that_before_the_cache(
    cache: Path, tmp_path: Path, closed_mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, closed_mirror)
    given, environment = write(tmp_path / "given", PLAIN), tmp_path / "environment"
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        mf.load_mnist()
    monkeypatch.setenv("MNIST_FN_DATA", str(environment))
    with pytest.raises(DatasetError, match=re.escape(f"{environment} is not a directory")):
        mf.load_mnist()
    assert is_the_small_set(mf.load_mnist(given))
    write(environment, PACKED)
    assert is_the_small_set(mf.load_mnist())
    with pytest.raises(DatasetError, match="other is not a directory"):
        mf.load_mnist(tmp_path / "other")
