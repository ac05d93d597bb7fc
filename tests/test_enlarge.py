"""Larger data sets: what is in them, that they are written whole, and trained on."""

import contextlib
import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from memory import traced
from typer.testing import CliRunner, Result

import mnist_fn as mf
from mnist_fn import DatasetError, IdxError, runs
from mnist_fn.effects import cli, datasets, enlarging
from mnist_fn.effects.enlarging import enlarge
from mnist_fn.idx import encode

KEY = mf.key(7)
FILES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
FILES += ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


@pytest.fixture
def few(digits: mf.Dataset) -> mf.Dataset:
    """One image and a half for every part that is in memory at a time, and a rest of a block."""
    return digits._replace(X_train=digits.X_train[:, :150], Y_train=digits.Y_train[:150])


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enlarging, "_PART", 64)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def enlarged(dataset: mf.Dataset, directory: Path, times: int = 4, key: mf.Key = KEY) -> mf.Dataset:
    enlarge(dataset, times, key, directory)
    assert sorted(contents(directory)) == FILES
    return mf.load_idx_dataset(directory)


def test_the_originals_come_first_and_the_test_images_stay(few: mf.Dataset, tmp_path: Path) -> None:
    dataset = enlarged(few, tmp_path / "large")
    assert dataset.X_train.shape == (784, 600)
    np.testing.assert_array_equal(dataset.X_train[:, :150], few.X_train)
    np.testing.assert_array_equal(dataset.Y_train, np.tile(few.Y_train, 4))
    np.testing.assert_array_equal(dataset.X_test, few.X_test)
    np.testing.assert_array_equal(dataset.Y_test, few.Y_test)


@pytest.mark.slow
def test_mnists_own_files_are_written_of_mnist(mnist: mf.Dataset, tmp_path: Path) -> None:
    enlarge(mnist, 1, KEY, tmp_path / "same")
    again = mf.load_mnist(tmp_path / "same")  # which refuses any other bytes
    np.testing.assert_array_equal(again.X_train, mnist.X_train)


def test_copies_are_distorted_each_differently(few: mf.Dataset, tmp_path: Path) -> None:
    X = enlarged(few, tmp_path / "large").X_train.astype(float)
    copies = np.hsplit(X, 4)
    for i, copy in enumerate(copies):
        for other in copies[:i]:
            # Hardly any pixel is as it was, and yet it is the same digit: most ink lies there.
            changed = (copy != other).sum(axis=0)
            assert changed.min() > 50
            together = (copy * other).sum(axis=0)
            alike = together / np.sqrt((copy**2).sum(axis=0) * (other**2).sum(axis=0))
            assert np.median(alike) > 0.5
            assert 0.8 < copy.sum() / other.sum() < 1.25


def test_sixteen_images_share_a_distortion(few: mf.Dataset, tmp_path: Path) -> None:
    same = few._replace(X_train=np.repeat(few.X_train[:, :1], 150, axis=1))
    X = enlarged(same, tmp_path / "large", times=2).X_train[:, 150:]
    distorted = [image.tobytes() for image in X.T]
    # Blocks begin anew with each part of 64.
    blocks = [distorted[i : i + 16] for i in range(0, 150, 16)]
    assert all(len(set(block)) == 1 for block in blocks)
    assert len({block[0] for block in blocks}) == len(blocks) == 10


def test_the_seed_decides_on_every_byte(few: mf.Dataset, tmp_path: Path) -> None:
    for name, key in (("a", KEY), ("b", KEY), ("c", mf.key(8))):
        enlarge(few, 2, key, tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    different = {
        name for name in FILES if contents(tmp_path / "a")[name] != contents(tmp_path / "c")[name]
    }
    assert different == {"train-images-idx3-ubyte"}


def test_more_copies_begin_with_the_fewer(few: mf.Dataset, tmp_path: Path) -> None:
    fewer, more = (enlarged(few, tmp_path / str(times), times) for times in (2, 3))
    np.testing.assert_array_equal(more.X_train[:, :300], fewer.X_train)


def test_it_takes_no_more_memory_for_more_images(digits: mf.Dataset, tmp_path: Path) -> None:
    def peak(times: int) -> float:
        with traced() as most:
            enlarge(digits, times, KEY, tmp_path / str(times))
            return most() / (1 << 20)

    peak(1)  # what is remembered of the first call
    assert peak(5) < peak(2) + 0.2  # of 3 MB more


def test_progress_is_told_image_by_image(few: mf.Dataset, tmp_path: Path) -> None:
    told: list[int] = []
    enlarge(few, 3, KEY, tmp_path / "large", told.append)
    assert told == [64, 64, 22] * 3


@pytest.mark.parametrize("kind", ["file", "empty", "full", "link"])
def test_nothing_is_overwritten(few: mf.Dataset, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "there"
    match kind:
        case "file":
            target.write_text("mine")
        case "link":
            target.symlink_to(tmp_path / "nowhere")
        case _:
            target.mkdir()
            if kind == "full":
                (target / FILES[0]).write_text("mine")
    with pytest.raises(DatasetError) as caught:
        enlarge(few, 2, KEY, target)
    assert str(caught.value) == f"{target} is there already; name a directory that is not"
    assert list(tmp_path.iterdir()) == [target]
    if kind == "full":
        assert contents(target) == {FILES[0]: b"mine"}


def test_a_directory_that_appears_meanwhile_is_kept(few: mf.Dataset, tmp_path: Path) -> None:
    target = tmp_path / "there"

    def appear(images: int) -> None:
        target.mkdir(exist_ok=True)
        (target / "mine").write_text("mine")

    with pytest.raises(DatasetError, match=r"cannot be written: .*; name another one"):
        enlarge(few, 2, KEY, target, appear)
    assert contents(target) == {"mine": b"mine"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_directory_in_nothing_is_refused(few: mf.Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/no is not a directory; name one, or make it first"):
        enlarge(few, 2, KEY, tmp_path / "no" / "large")


def test_too_little_space_is_found_out_first(
    few: mf.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 16 + 300 * 784 + 8 + 300 + 16 + 360 * 784 + 8 + 360
    free = [size - 1]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free[0]))
    target = tmp_path / "large"
    with pytest.raises(DatasetError) as caught:
        enlarge(few, 2, KEY, target)
    assert str(caught.value) == (
        f"the images take 1 MB, but 1 MB are free where {target} is to be; free some space, or "
        "name a directory on a larger disk"
    )
    assert list(tmp_path.iterdir()) == []
    free[0] += 1
    enlarge(few, 2, KEY, target)
    assert sum(len(content) for content in contents(target).values()) == size


@contextlib.contextmanager
def files_below(size: int) -> Iterator[None]:
    """Let the system refuse to write more than that into a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_is_told_and_left_as_it_was(few: mf.Dataset, tmp_path: Path) -> None:
    target = tmp_path / "large"
    with files_below(200_000), pytest.raises(DatasetError) as caught:
        enlarge(few, 2, KEY, target)
    assert str(caught.value) == (
        f"the directory {target} cannot be written: {os.strerror(errno.EFBIG)}; nothing was kept; "
        "free some space, or name one on a larger disk"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(few: mf.Dataset, tmp_path: Path) -> None:
    def interrupt(images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enlarge(few, 2, KEY, tmp_path / "large", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_more_images_than_the_format_can_count_are_refused(few: mf.Dataset, tmp_path: Path) -> None:
    with pytest.raises(IdxError, match=r"IDX sizes must be below 2\^32"):
        enlarge(few, 1 << 32, KEY, tmp_path / "large")
    assert list(tmp_path.iterdir()) == []


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


@pytest.fixture
def own(few: mf.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a small data set, and nothing of the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "own"
    directory.mkdir()
    arrays = [few.X_test.T.reshape(-1, 28, 28), few.Y_test.astype(np.uint8)]
    arrays += [few.X_train.T.reshape(-1, 28, 28), few.Y_train.astype(np.uint8)]
    for name, array in zip(FILES, arrays, strict=True):
        (directory / name).write_bytes(encode(array))
    return directory


def test_the_command_enlarges_what_train_then_learns(own: Path, tmp_path: Path) -> None:
    result = run("enlarge", "--data", own, "--times", "3", "--seed", "5", "large")
    assert result.output == "large: 450 images to train with (0 MB), 360 to test on\n"
    enlarge(mf.load_idx_dataset(own), 3, mf.key(5), tmp_path / "expected")
    assert contents(tmp_path / "large") == contents(tmp_path / "expected")
    for name in FILES[:2]:
        assert (tmp_path / "large" / name).read_bytes() == (own / name).read_bytes()
    trained = run("train", "--data", "large", "--epochs", "1", "--validation", "50")
    assert trained.exit_code == 0, trained.output
    assert "recipe quick on 400 images of" in trained.output
    again = run("enlarge", "--data", own, "large")
    assert again.exit_code == 1
    assert again.stderr == ("mnist-fn: large is there already; name a directory that is not\n")


def test_what_is_mapped_is_enlarged_and_trained_on_as_what_is_read(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "--data", "read", "--recipe", "plain", "--hidden", "8", "--epochs", "2"]
    run("enlarge", "--data", own, "--times", "2", "-q", "read")
    # That it is shuffled in blocks goes with its size; here for both, to compare them.
    monkeypatch.setattr(runs, "_LARGE", 0)
    assert run(*command, "--output", "read.npz").exit_code == 0
    monkeypatch.setattr(datasets, "_LARGE", 0)
    run("enlarge", "--data", own, "--times", "2", "-q", "mapped")
    assert contents(tmp_path / "mapped") == contents(tmp_path / "read")
    result = run(*command, "--output", "mapped.npz")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mapped.npz").read_bytes() == (tmp_path / "read.npz").read_bytes()


def test_quiet_is_quiet(own: Path) -> None:
    assert run("enlarge", "--data", own, "--quiet", "large").output == ""


@pytest.mark.parametrize("option", [["--times", "0"], ["--seed", "-1"], ["--times", "x"]])
def test_a_wrong_option_is_a_usage_error(own: Path, option: list[str]) -> None:
    result = run("enlarge", "--data", own, *option, "large")
    assert result.exit_code == 2
    assert option[0] in result.stderr
