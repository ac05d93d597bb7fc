"""Checkpoints: a training that was broken off goes on with the same bits, or says why not."""

import errno
import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from patience import until
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn.effects import checkpoints, cli, sessions, watching
from mnist_fn.effects.checkpoints import Checkpoint, CheckpointError
from mnist_fn.views import as_they_are, deslanted, deslanted_edges, standardized_edges

# Everything that a state can carry: momentum, distortions, dropout, a schedule, two members.
RECIPE = mf.recipes.elastic._replace(
    name="small",
    hidden=6,
    epochs=4,
    batch_size=200,
    hidden_dropout=0.2,
    views=(as_they_are, deslanted),
)
TRAIN = ["train", "--data", "digits", "--recipe", "small"]


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path.with_suffix(".state")))
    monkeypatch.setitem(mf.recipes.RECIPES, "small", RECIPE)


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments))
    return Result(result.exit_code, result.stdout, result.stderr)


def succeed(*arguments: str) -> list[str]:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result
    return result.stdout.splitlines()


def names(directory: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != "lock")


def broken_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Train until so many epochs are over, and one step of the next."""
    epochs = 0

    def stopping(*arguments: Any) -> Iterator[Any]:
        nonlocal epochs
        for state in mf.train_epochs(*arguments):
            yield state
            epochs += 1
            if epochs == after:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watching, "train_epochs", stopping)
        assert run(*TRAIN, "--checkpoint", "c", "--output", "part.npz").exit_code == 1


TO_BE_JOINED = RECIPE._replace(views=(deslanted_edges, standardized_edges), joined=True)


@pytest.mark.parametrize(
    ("recipe", "after"),
    [*((RECIPE, after) for after in (1, 3, 4, 5, 7)), (TO_BE_JOINED, 2), (TO_BE_JOINED, 5)],
)
def test_a_resumed_training_ends_with_the_same_file(
    monkeypatch: pytest.MonkeyPatch, recipe: mf.Recipe, after: int
) -> None:
    monkeypatch.setitem(mf.recipes.RECIPES, "small", recipe)
    whole = succeed(*TRAIN, "--output", "whole.npz")
    broken_off(monkeypatch, after)
    lines = succeed("train", "--resume", "c", "--output", "resumed.npz")
    assert lines[0] == whole[0]
    assert lines[1] == f"going on after {after} epochs"
    assert lines[2:-1] == whole[1 + after : -1]
    assert lines[-1].split(",")[0].split(" after ")[0] == whole[-1].split(" after ")[0]
    assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert len(mf.load_model("resumed.npz").members) == (1 if recipe.joined else 2)
    assert names("c") == ["epoch-00007.checkpoint", "epoch-00008.checkpoint"]


def test_a_training_that_is_over_is_only_saved_again() -> None:
    succeed(*TRAIN, "--checkpoint", "c", "--output", "a.npz")
    succeed("train", "--resume", "c", "--output", "b.npz")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


@pytest.mark.slow
def test_a_training_that_was_killed_before_its_first_epoch_begins_with_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*arguments: Any) -> Any:
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "train_and_save", killed)
        patch.setattr("mnist_fn.effects.train_command.train_and_save", killed)
        run(*TRAIN, "--seed", "3", "--hidden", "5", "--checkpoint", "c")
    assert names("c") == ["epoch-00000.checkpoint"]
    assert ": 2 networks 784-5-10" in succeed("train", "--resume", "c", "--output", "a.npz")[0]
    succeed(*TRAIN, "--seed", "3", "--hidden", "5", "--output", "b.npz")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
from mnist_fn import recipes
from mnist_fn.effects.cli import app

seed, kills = int(sys.argv[1]), int(sys.argv[2])
recipes.RECIPES["small"] = recipes.elastic._replace(name="small", hidden=16)
TRAIN = ["train", "--data", "digits", "--recipe", "small", "--epochs", "25"]

def start(*arguments):
    pid = os.fork()
    if pid:
        return pid
    try:
        app([*arguments, "--quiet"])
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(7)

def status(pid, moment=float("inf")):
    # Wait for the end of a process, or kill it at that moment if it comes first.
    while time.monotonic() < moment:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

began = time.monotonic()
assert status(start(*TRAIN, "--output", "whole.npz")) == 0
alone = time.monotonic() - began
chance, killed, finished, round_ = random.Random(seed), 0, 0, 0
while killed < kills or not finished:
    name = f"run{round_}"
    options = ["--output", name + ".npz"]
    if Path(name).is_dir() and any(Path(name).glob("*.checkpoint")):
        pid = start("train", "--resume", name, *options)
    else:
        pid = start(*TRAIN, "--checkpoint", name, *options)
    wait = chance.uniform(0, 0.6) * alone if killed < kills else float("inf")
    code = status(pid, time.monotonic() + wait)
    killed += code == -signal.SIGKILL
    if code == 0:
        finished += 1
        round_ += 1
        # It came too late: the machine had more to do when the time was taken.
        alone *= 0.7 if killed < kills else 1
    else:
        assert code == -signal.SIGKILL, code
print(json.dumps([killed, finished]))
"""


@pytest.mark.slow
def test_sigkill_at_twenty_moments_leaves_the_same_bits() -> None:
    """The moments are random anew each time; the driver imports the library but once."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    seed = str(np.random.SeedSequence().entropy % 2**32)  # type: ignore[operator]  # one number
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, seed, "20"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, (seed, done.stderr)
    killed, finished = map(int, re.findall(r"\d+", done.stdout))
    assert killed >= 20
    assert finished >= 1
    whole = Path("whole.npz").read_bytes()
    for i in range(finished):
        assert Path(f"run{i}.npz").read_bytes() == whole, (seed, i)
    left = [name for name in os.listdir() if name.endswith(".tmp")]
    assert left == [] or killed  # what a kill leaves is never read


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = mf.init_state(mf.momentum(0.1), mf.init_params(mf.key(0), pixels=4, hidden=2))
    history = [mf.EpochRecord(0, 1, 0.1, 0.5, 0.9, float("nan"), float("nan"), 1.5)]
    finished = [mf.init_params(mf.key(1), pixels=4, hidden=2)]
    leaves = tuple(checkpoints.leaves_of(state))
    value = Checkpoint({"seed": "0"}, history, finished, leaves)
    checkpoints.save_checkpoint(tmp_path, value)
    return tmp_path / "epoch-00001.checkpoint"


def test_what_is_saved_comes_back(checkpoint: Path) -> None:
    loaded = checkpoints.load_checkpoint(checkpoint)
    assert loaded.settings == {"seed": "0"}
    assert repr(loaded.history) == (
        "(EpochRecord(member=0, epoch=1, learning_rate=0.1, training_loss=0.5, "
        "training_accuracy=0.9, validation_loss=nan, validation_accuracy=nan, seconds=1.5),)"
    )
    (params,) = loaded.finished
    for array, other in zip(params, mf.init_params(mf.key(1), pixels=4, hidden=2), strict=True):
        np.testing.assert_array_equal(array, other)
        assert array.flags.f_contiguous == other.flags.f_contiguous
        assert not array.flags.writeable
    fresh = mf.init_state(mf.momentum(0.1), mf.init_params(mf.key(5), pixels=4, hidden=2))
    state = checkpoints.with_leaves(fresh, loaded.leaves)
    assert type(state.epoch) is int
    before = mf.init_state(mf.momentum(0.1), mf.init_params(mf.key(0), pixels=4, hidden=2))
    for leaf, other in zip(
        checkpoints.leaves_of(state), checkpoints.leaves_of(before), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
        assert leaf.dtype == other.dtype


def test_a_state_of_another_form_is_refused(checkpoint: Path) -> None:
    leaves = checkpoints.load_checkpoint(checkpoint).leaves
    state = mf.init_state(mf.momentum(0.1), mf.init_params(mf.key(0), pixels=4, hidden=2))
    wider = mf.init_state(mf.momentum(0.1), mf.init_params(mf.key(0), pixels=4, hidden=3))
    for other, given in ((wider, leaves), (state, leaves[:-1]), (state, (*leaves, leaves[0]))):
        with pytest.raises(CheckpointError, match=r"^the state in the checkpoint is not one of"):
            checkpoints.with_leaves(other, given)


@pytest.mark.slow
def test_a_checkpoint_cut_off_or_altered_anywhere_is_never_used(tmp_path: Path) -> None:
    checkpoints.save_checkpoint(tmp_path, Checkpoint({}, leaves=[np.array(1.5)]))
    checkpoint = tmp_path / "epoch-00000.checkpoint"
    content = checkpoint.read_bytes()
    for length in range(len(content)):
        checkpoint.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"is damaged: it is not as it was written$"):
            checkpoints.load_checkpoint(checkpoint)
    for i in range(len(content)):
        altered = bytearray(content)
        altered[i] ^= 1 << i % 8
        checkpoint.write_bytes(altered)
        with pytest.raises(CheckpointError, match=r"is damaged: it is not as it was written$"):
            checkpoints.load_checkpoint(checkpoint)
    checkpoint.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=r"is damaged"):
        checkpoints.load_checkpoint(checkpoint)


def test_a_damaged_checkpoint_is_left_out_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    succeed(*TRAIN, "--output", "whole.npz")
    broken_off(monkeypatch, after=3)
    newest = Path("c/epoch-00003.checkpoint")
    newest.write_bytes(newest.read_bytes()[:-1])
    lines = succeed("train", "--resume", "c", "--output", "resumed.npz")
    assert lines[0] == f"{newest} is damaged: it is not as it was written; it is left out"
    assert lines[2] == "going on after 2 epochs"
    assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_where_all_are_damaged_nothing_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(monkeypatch, after=3)
    for name in names("c"):
        Path("c", name).write_bytes(b"")
    result = run("train", "--resume", "c", "--output", "resumed.npz")
    assert result.exit_code == 1
    assert result.stderr == (
        "mnist-fn: there is no checkpoint to go on from in c; begin a training with "
        "mnist-fn train --checkpoint c\n"
    )
    assert not Path("resumed.npz").exists()


def test_what_cannot_be_read_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"^c cannot be read: No such file or directory$"):
        checkpoints.load_checkpoint(Path("c"))
    Path("c").mkdir()

    def refuse(directory: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(sessions, "checkpoints_in", refuse)  # which a mode would not do to root
    result = run("train", "--resume", "c")
    assert (result.exit_code, result.stderr) == (
        1,
        "mnist-fn: c cannot be read: Permission denied; name the directory of --checkpoint\n",
    )


def test_a_second_training_does_not_write_among_the_checkpoints_of_a_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken_off(monkeypatch, after=3)
    before = names("c")
    result = run(*TRAIN, "--checkpoint", "c")
    assert result.stderr == (
        "mnist-fn: c holds the checkpoints of a training already; go on from them with "
        "mnist-fn train --resume c, or name another directory\n"
    )
    assert names("c") == before


@pytest.mark.parametrize("changed", ["data", "recipe", "library", "no recipe"])
def test_what_would_not_end_with_the_same_bits_is_not_resumed(
    monkeypatch: pytest.MonkeyPatch, digits: mf.Dataset, changed: str
) -> None:
    broken_off(monkeypatch, after=1)
    expected = "the training cannot go on with the same bits, for what was {} is another now"
    match changed:
        case "data":
            other = digits._replace(Y_train=digits.Y_train[::-1])
            monkeypatch.setattr(sessions, "load_digits", lambda: other)
            expected = expected.format("training data")
        case "recipe":
            other_recipe = RECIPE._replace(momentum=0.8)
            monkeypatch.setitem(mf.recipes.RECIPES, "small", other_recipe)
            expected = expected.format("momentum")
        case "library":
            monkeypatch.setattr(sessions, "version", lambda: "99")
            expected = expected.format("mnist_fn")
        case _:
            monkeypatch.delitem(mf.recipes.RECIPES, "small")
            expected = (
                "the checkpoint is of a recipe that this version of mnist_fn does not have; go on "
                "with the version that it was begun with, or begin a new training"
            )
    result = run("train", "--resume", "c", "--output", "resumed.npz")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"mnist-fn: {expected}")
    assert not Path("resumed.npz").exists()


def test_a_full_disk_ends_the_training_and_leaves_the_last_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    succeed(*TRAIN, "--output", "whole.npz")
    saved = 0

    def until_full(directory: Path, checkpoint: Checkpoint) -> None:
        nonlocal saved
        saved += 1
        if saved == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        checkpoints.save_checkpoint(directory, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "save_checkpoint", until_full)
        result = run(*TRAIN, "--checkpoint", "c")
    assert result.stderr == (
        "mnist-fn: a checkpoint cannot be written to c: No space left on device; once it can, "
        "go on from the one before with mnist-fn train --resume c; what was reached, "
        "1 of 2 networks, is in model.npz\n"
    )
    succeed("train", "--resume", "c", "--output", "resumed.npz")
    assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_an_interrupted_training_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield next(mf.train_epochs(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "train_epochs", interrupted)
    result = run(*TRAIN, "--checkpoint", "c", "--output", "part.npz")
    assert result.stderr == (
        "mnist-fn: interrupted after member 1/2  epoch 1/4; what was reached, 1 of 2 networks, "
        "is in part.npz; go on with mnist-fn train --resume c\n"
    )


def test_the_history_tells_how_each_epoch_went(digits: mf.Dataset) -> None:
    succeed(*TRAIN, "--validation", "137", "--output", "m.npz")
    model = mf.load_model("m.npz")
    assert [(record.member, record.epoch) for record in model.history] == [
        (member, epoch) for member in (0, 1) for epoch in (1, 2, 3, 4)
    ]
    assert model.settings["recipe"] == "small"
    assert model.settings["held back"] == "137"
    assert model.settings["training images"] == "1300"
    last = model.history[-1]
    X, Y = digits.X_train, digits.Y_train
    held = mf.evaluate([model.members[1]], mf.ordered_batches(X[:, 1300:], Y[1300:]))
    trained = mf.evaluate([model.members[1]], mf.ordered_batches(X[:, :1300], Y[:1300]))
    assert (last.validation_loss, last.validation_accuracy) == (held.loss, held.accuracy)
    assert (last.training_loss, last.training_accuracy) == (trained.loss, trained.accuracy)
    # One epoch of warm-up, then half a cosine: 7 steps an epoch.
    assert model.history[0].learning_rate == pytest.approx(0.1)
    assert last.learning_rate == pytest.approx(0.05 * (1 + np.cos(np.pi * 20 / 21)))


def test_without_validation_all_images_are_trained_on() -> None:
    succeed(*TRAIN, "--validation", "0", "--output", "m.npz")
    model = mf.load_model("m.npz")
    assert model.settings["training images"] == "1437"
    assert all(np.isnan(record.validation_accuracy) for record in model.history)


def test_the_seconds_are_in_checkpoints_and_not_in_the_model_file() -> None:
    last = succeed(*TRAIN, "--checkpoint", "c", "--output", "m.npz")[-1]
    history = checkpoints.load_checkpoint(Path("c/epoch-00008.checkpoint")).history
    assert all(record.seconds > 0 for record in history)
    assert f" after {sum(record.seconds for record in history):.1f} s of training" in last
    assert all(np.isnan(record.seconds) for record in mf.load_model("m.npz").history)


def test_quiet_prints_nothing() -> None:
    assert succeed(*TRAIN, "--quiet") == []


def test_two_trainings_do_not_share_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(monkeypatch, after=1)
    with sessions.own_directory(Path("c"), begun=True):
        for how in (["train", "--resume", "c"], [*TRAIN, "--checkpoint", "c"]):
            result = run(*how)
            assert (result.exit_code, result.stderr) == (
                1,
                "mnist-fn: c is in use by another training; wait for its end, or name another "
                "directory\n",
            )
    succeed("train", "--resume", "c")


def test_damaged_checkpoints_of_later_epochs_do_not_push_out_good_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken_off(monkeypatch, after=2)
    for epoch in (5, 6, 7):
        Path(f"c/epoch-0000{epoch}.checkpoint").write_bytes(b"damaged")
    broken = Checkpoint(checkpoints.load_checkpoint(Path("c/epoch-00002.checkpoint")).settings)
    records = [mf.EpochRecord(0, i, 0.1, 1, 1, 1, 1, 1) for i in (1, 2, 3)]
    checkpoints.save_checkpoint(Path("c"), broken._replace(history=records))
    assert [name[10] for name in names("c")] == ["2", "3", "5", "6", "7"]


def test_a_checkpoint_of_another_layout_is_left_out(checkpoint: Path) -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, other=np.zeros(1))
    for payload in (content.getvalue(), b"no archive"):
        checkpoint.write_bytes(hashlib.sha256(payload).digest() + payload)
        with pytest.raises(CheckpointError, match=r"is of another version of mnist_fn$"):
            checkpoints.load_checkpoint(checkpoint)


@pytest.mark.slow
def test_sigterm_ends_a_training_as_ctrl_c_does() -> None:
    code = "from mnist_fn.__main__ import main; main()"
    arguments = ["train", "--data", "digits", "--epochs", "10000", "--checkpoint", "c"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--output", "m.npz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as training:
        until(lambda: any(Path("c").glob("epoch-*[1-9].checkpoint")))
        training.terminate()
        _, errors = training.communicate()
    assert re.fullmatch(
        rb"mnist-fn: interrupted after epoch \d+/10000; what was reached is in m.npz; "
        rb"go on with mnist-fn train --resume c\n",
        errors,
    )
    assert mf.load_model("m.npz").history
