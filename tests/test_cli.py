"""The command line, as its users meet it."""

import contextlib
import importlib.metadata
import io
import itertools
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from patience import until
from rich.text import Text
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn import __main__
from mnist_fn.effects import blas, cli, downloads, sessions, terminal, watching, workers
from mnist_fn.idx import encode
from mnist_fn.views import (
    as_they_are,
    both_edges,
    deslanted,
    deslanted_edges,
    standardized_edges,
)

SMALL = ["--data", "digits", "--hidden", "8", "--epochs", "2"]
COMMITTEE = ["--data", "digits", "--recipe", "three", "--validation", "0"]
FINAL_LINE = re.compile(r"test accuracy (\d+\.\d\d) % after \d+\.\d s of training, saved in (.+)")


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path.with_suffix(".state")))
    monkeypatch.delenv("MNIST_FN_DATA", raising=False)


@pytest.fixture
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mirrors that refuse the connection, and nothing in the cache."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(downloads, "_cache_directory", lambda: tmp_path / "cache")
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(downloads, "MIRRORS", (f"http://127.0.0.1:{bound.getsockname()[1]}/",))
        yield


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str
    exception: BaseException | None


@pytest.fixture
def own(digits: mf.Dataset, tmp_path: Path) -> Path:
    """A directory with a small data set."""
    directory = tmp_path / "own"
    directory.mkdir()
    for part, X, Y in (
        ("train", digits.X_train[:, :300], digits.Y_train[:300]),
        ("t10k", digits.X_test[:, :50], digits.Y_test[:50]),
    ):
        (directory / f"{part}-images-idx3-ubyte").write_bytes(encode(X.T.reshape(-1, 28, 28)))
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(encode(Y))
    return directory


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    return Result(result.exit_code, result.stdout, result.stderr, result.exception)


def lines_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result
    assert result.stderr == ""
    return result.stdout.splitlines()


def error_of(result: Result) -> str:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # and no other, so there is no traceback
    assert result.stderr.startswith("mnist-fn: ")
    return result.stderr


def process(*arguments: str | Path, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "mnist_fn"]
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_train_says_what_it_does_how_it_goes_and_what_came_of_it(tmp_path: Path) -> None:
    headline, *epochs, final = lines_of(run("train", *SMALL, "--seed", "3", "--output", "m.npz"))
    assert headline == (
        "recipe digits on 1,318 images of digits (119 more held back): 784-8-10, epochs 2, "
        "batch size 64, learning rate 0.1, seed 3"
    )
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    for line in epochs:
        loss = r"loss \d\.\d{4}  accuracy \d\d\.\d\d %"
        assert re.fullmatch(rf"epoch ./2  training {loss}  validation {loss}", line)
    match = FINAL_LINE.fullmatch(final)
    assert match
    assert match[2] == "m.npz"
    model = mf.load_model("m.npz")
    assert model.members[0].params.W1.shape == (8, 784)
    assert model.trained_on == "digits"
    assert os.listdir(tmp_path) == ["m.npz"]


def test_the_accuracy_that_train_prints_is_the_one_that_evaluate_prints() -> None:
    match = FINAL_LINE.fullmatch(lines_of(run("train", *SMALL))[-1])
    assert match
    evaluation = lines_of(run("evaluate", "model.npz"))
    assert evaluation[0] == "data set digits, 360 test images"
    assert evaluation[1].startswith(f"test accuracy {match[1]} %, loss ")


def percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f} %"


# A network that has learnt nothing never predicts some digits: precision has no value there.
@pytest.mark.parametrize(("g", "epochs"), [(mf.relu, 9), (mf.tanh, 0), (mf.sigmoid, 9)])
def test_evaluate_agrees_with_scikit_learn(
    digits: mf.Dataset, g: mf.ActivationFunction, epochs: int
) -> None:
    recipe = mf.recipes.digits._replace(hidden=16, epochs=epochs, g=g)
    trained = mf.prepare(recipe, mf.key(0), digits.X_train, digits.Y_train)
    params = trained.state.params
    for state in mf.train_epochs(*trained):
        params = state.params
    mf.save_params("m.npz", params, g=g, trained_on="digits")

    X, Y = mf.scale(digits.X_test), digits.Y_test
    predicted = mf.predict(params, X, g)
    probabilities = mf.forward(params, X, g).A2.T.astype(float)
    nats = log_loss(Y, probabilities / probabilities.sum(axis=1, keepdims=True))
    oracle: Any = precision_recall_fscore_support  # pyright takes its types from its defaults
    precision, recall, _, _ = oracle(Y, predicted, zero_division=np.nan)
    assert np.isnan(precision).any() == (epochs == 0)

    lines = lines_of(run("evaluate", "m.npz"))
    assert lines[1] == f"test accuracy {percent(accuracy_score(Y, predicted))}, loss {nats:.4f}"
    assert [re.split(r"\s{2,}", line.strip()) for line in lines[-11:]] == [
        ["digit", "precision", "recall"],
        *([str(i), percent(precision[i]), percent(recall[i])] for i in range(10)),
    ]


def test_evaluate_reads_networks_of_double_precision() -> None:
    params = mf.init_params(mf.key(0), hidden=4, dtype=np.float64)
    mf.save_params("double.npz", params, trained_on="digits")
    assert lines_of(run("evaluate", "double.npz"))[1].startswith("test accuracy ")


def test_a_seed_decides_on_every_bit() -> None:
    for output, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        lines_of(run("train", *SMALL, "--seed", seed, "--output", output))
    a, b, c = (Path(name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_defaults_learn_the_built_in_digits() -> None:
    lines = lines_of(run("train", "--data", "digits"))
    match = FINAL_LINE.fullmatch(lines[-1])
    assert match
    assert float(match[1]) >= 95


@pytest.mark.usefixtures("no_mnist")
def test_without_mnist_it_says_why_and_learns_the_built_in_digits() -> None:
    why, instead, headline, *_ = lines_of(run("train", "--epochs", "1"))
    assert why.startswith("MNIST is not at hand and cannot be downloaded: http://127.0.0.1:")
    assert instead == "Training on the built-in digits instead."
    assert headline.startswith("recipe digits on 1,318 images of digits (119 more held back): ")


@pytest.mark.usefixtures("no_mnist")
def test_who_insists_on_mnist_gets_nothing_else() -> None:
    assert "cannot be downloaded" in error_of(run("train", "--data", "mnist"))
    assert not Path("model.npz").exists()


def test_mnist_is_the_first_choice(digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "load_mnist", lambda: digits._replace(name="mnist"))
    assert (
        "images of mnist (119 more held back): 784-256-10"
        in lines_of(run("train", "--epochs", "1"))[0]
    )
    assert lines_of(run("evaluate", "model.npz"))[0] == "data set mnist, 360 test images"


def test_evaluate_finds_the_directory_that_train_was_given(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(run("train", "--data", "own", "--epochs", "2"))
    assert lines[0].startswith(f"recipe quick on 275 images of {own} (25 more held back): ")
    monkeypatch.chdir(own)
    lines = lines_of(run("evaluate", tmp_path / "model.npz"))
    assert lines[0] == f"data set {own}, 50 test images"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--epochs", "3"], "784-10-10, epochs 3, batch size 1,437, learning rate 0.1, seed 0"),
        (
            ["--hidden", "5", "--epochs", "2", "--batch-size", "500", "--learning-rate", "0.25"],
            "784-5-10, epochs 2, batch size 500, learning rate 0.25, seed 0",
        ),
        (
            ["--epochs", "1", "--learning-rate", "0"],
            "784-10-10, epochs 1, batch size 1,437, learning rate 0, seed 0",
        ),
    ],
)
def test_options_override_the_recipe(options: list[str], settings: str) -> None:
    headline, *_ = lines_of(
        run("train", "--data", "digits", "--validation", "0", "--recipe", "seed", *options)
    )
    assert headline == f"recipe seed on 1,437 images of digits: {settings}"


def test_the_activation_function_of_the_recipe_goes_into_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(mf.recipes.RECIPES, "digits", mf.recipes.digits._replace(g=mf.tanh))
    lines_of(run("train", *SMALL))
    assert mf.load_model("model.npz").g == mf.tanh


@pytest.mark.parametrize("epochs", [20, 21, 39, 500])
def test_progress_is_at_most_20_lines_and_the_last_epoch_is_one_of_them(
    own: Path, epochs: int
) -> None:
    options = ["--hidden", "1", "--batch-size", "300", "--epochs", str(epochs)]
    progress = lines_of(run("train", "--data", own, *options))[1:-1]
    assert len(progress) <= 20
    assert progress[-1].startswith(f"epoch {epochs}/{epochs} ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--hidden", "0"], "--hidden"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--learning-rate", "-1"], "--learning-rate"),
        (["train", "--recipe", "worst"], "'worst' is not one of quick, digits, plain"),
        (["train", "--colour"], "--colour"),
        (["predict"], "Missing argument"),
        (["report", "--format", "pdf"], "'pdf' is not html or png"),
        (["train", "--resume", "c", "--epochs", "3"], "--epochs and --resume exclude each other"),
        (["train", "--resume", "c", "--checkpoint", "c"], "--checkpoint and --resume exclude"),
        (["train", "--validation", "-1"], "--validation"),
        (["train", "--checkpoint", ""], "'--checkpoint': the name is empty; give one, or leave"),
        (["train", "--resume", ""], "'--resume': the name is empty; give one, or leave"),
        (["train", "--output", ""], "'--output': the name is empty; give one, or leave"),
        (["learn"], "learn"),
    ],
)
def test_usage_errors_name_the_option_and_exit_with_2(arguments: list[str], named: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert named in Text.from_ansi(result.stderr).plain
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--data", "MNIST"],
            "'MNIST' is neither mnist, nor digits, nor a directory with data",
        ),
        (
            ["train", *SMALL, "--output", "no/m.npz"],
            "no/m.npz cannot be written: No such file or directory; name a file in a directory "
            "that is there and can be written to, with --output",
        ),
        (["train", *SMALL, "--output", "."], ". cannot be written: it is a directory; name a file"),
        (["train", *SMALL, "--output", os.devnull], f"{os.devnull} cannot be written"),
        (["train", *SMALL, "--output", "loop"], "loop cannot be written"),
        (["train", *SMALL, "--output", "dangling"], "dangling cannot be written"),
        (["train", "--data", "digits", "--hidden", str(10**12)], "Unable to allocate"),
        (
            ["train", "--data", "digits", "--validation", "1437"],
            "1437 images are to be held back for validation, but there are 1,437; name fewer with "
            "--validation",
        ),
        (
            ["train", "--resume", "nowhere"],
            "nowhere is not a directory with checkpoints; begin a training with mnist-fn train "
            "--checkpoint nowhere",
        ),
        (
            ["train", "--resume", "own"],
            "there is no checkpoint to go on from in own; begin a training with mnist-fn train "
            "--checkpoint own",
        ),
        (
            ["train", *SMALL, "--checkpoint", "text.npz"],
            "checkpoints cannot be written to text.npz: File exists; name a directory that can "
            "be written to",
        ),
        *(
            (
                [command],
                "there is no model file to use; make one with mnist-fn train, which takes some "
                "seconds, or name one",
            )
            for command in ("evaluate", "report", "page")
        ),
        (["report", "text.npz", "--output", "no/r"], "no/r cannot be written: No such file"),
        (["page", "text.npz", "--output", "no/r"], "no/r cannot be written: No such file"),
        (
            ["page", "small.npz"],
            "small.npz is for images of 64 pixels and tells 10 classes apart, but pictures become "
            "images of 784 pixels, of ten digits",
        ),
        (["evaluate", "no.npz"], "no.npz cannot be read: No such file or directory"),
        (["evaluate", "text.npz"], "text.npz is damaged, or not a model file"),
        (
            ["evaluate", "small.npz", "--data", "digits"],
            "small.npz is for images of 64 pixels, but those of digits have 784; name the data set",
        ),
        (
            ["evaluate", "lost.npz"],
            "lost.npz was trained on the data in gone, which is not there; name where it is now",
        ),
        (
            ["evaluate", "small.npz"],
            "small.npz does not say what it was trained on; name a data set with --data",
        ),
    ],
)
def test_failures_say_what_is_wrong_before_any_training_and_exit_with_1(
    arguments: list[str], message: str
) -> None:
    Path("text.npz").write_text("not a model")
    Path("own").mkdir()
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("no/m.npz")
    mf.save_params("small.npz", mf.init_params(mf.key(0), pixels=64))
    mf.save_params("lost.npz", mf.init_params(mf.key(0), hidden=2), trained_on="gone")
    result = run(*arguments)
    assert message in error_of(result)
    assert "epoch " not in result.stdout


@pytest.mark.parametrize("name", ["m[red].npz", "m[/x].npz", "m:dog:.npz"])
def test_the_name_of_a_file_is_no_markup(name: str) -> None:
    output = Path(name)
    output.parent.mkdir(exist_ok=True)
    assert lines_of(run("train", *SMALL, "--output", output))[-1].endswith(f"saved in {output}")


def test_python_m_mnist_fn_is_the_command() -> None:
    finished = process("train", *SMALL, "--output", "m.npz")
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert FINAL_LINE.fullmatch(finished.stdout.splitlines()[-1])
    finished = process("evaluate", "no.npz")
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("mnist-fn: no.npz cannot be read: No such file")
    assert "Traceback" not in finished.stderr


def test_a_training_that_diverges_gives_advice_and_keeps_the_old_file() -> None:
    Path("m.npz").write_bytes(b"what was there before")
    finished = process("train", *SMALL, "--learning-rate", "1e30", "--output", "m.npz")
    assert finished.returncode == 1
    assert finished.stderr == (
        "mnist-fn: the loss is nan after epoch 1/2; try a --learning-rate below 1e+30\n"
    )
    assert Path("m.npz").read_bytes() == b"what was there before"
    assert os.listdir() == ["m.npz"]


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_network_whose_numbers_overflow_is_a_message(command: str) -> None:
    params = mf.init_params(mf.key(0), hidden=3)
    large = mf.Params(*(np.full_like(p, 3e38) for p in params))
    mf.save_params("large.npz", large, trained_on="digits")
    assert error_of(run(command, "large.npz")) == (
        "mnist-fn: evaluate: the probabilities of sample 0 (counted from 0) are NaN, so that no "
        "class is the most probable; look for NaN, infinite or too large numbers in its image "
        "and in params\n"
    )
    assert not Path("report.html").exists()


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_how_to_install_it(missing: str) -> None:
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from mnist_fn.__main__ import main
main()
"""
    finished = process("train", code=code)
    assert finished.returncode == 1
    assert finished.stderr == (
        f"mnist-fn: the command line needs {missing}, which is not installed; "
        "install the extra 'app' with: pip install -e '.[app]' in the project's directory\n"
    )


def test_a_report_without_what_draws_it_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from mnist_fn.__main__ import main; main()"
    )
    finished = process("report", code=code)
    assert finished.returncode == 1
    assert finished.stderr == (
        "mnist-fn: a report needs matplotlib, which is not installed; install the extra 'app'\n"
    )


def test_a_module_of_its_own_that_is_missing_is_no_matter_of_extras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mnist_fn.effects.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"mnist_fn\.effects\.cli"):
        __main__.main()


def test_ctrl_c_while_it_starts_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blas, "restart_with_better_kernel", interrupt)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == "mnist-fn: interrupted; begin again with the same command"


def test_where_nothing_is_installed_there_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert lines_of(run("--version")) == ["mnist-fn unknown"]
    assert workers.versions.__wrapped__()["mnist_fn"] == "unknown"


def test_any_stream_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()  # as notebooks and tests have it, with no encoding to choose
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say(terminal.new_console(), "[red] \u4e03.npz")
    assert stream.getvalue() == "[red] \u4e03.npz\n"


@pytest.mark.slow
def test_an_interrupted_training_keeps_what_was_reached(digits: mf.Dataset, own: Path) -> None:
    options = ["--data", str(own), "--hidden", "16", "--batch-size", "20", "--epochs", "10000"]
    options += ["--learning-rate", "0.01", "--checkpoint", "c", "--output", "m.npz"]
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_fn", "train", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        until(lambda: max(map(str, Path("c").glob("*.checkpoint")), default="") >= "c/epoch-00010")
        training.send_signal(signal.SIGINT)
        _, errors = training.communicate()
    assert training.returncode == 1
    assert re.fullmatch(
        r"mnist-fn: interrupted after epoch \d+/10000; what was reached is in m.npz; "
        r"go on with mnist-fn train --resume c\n",
        errors,
    )
    assert sorted(os.listdir()) == ["c", "m.npz", "own"]
    reached = mf.load_params("m.npz")
    # Trained, not as it was drawn.
    assert mf.accuracy(reached, mf.scale(digits.X_test), digits.Y_test) > 0.6


THREE = (as_they_are, deslanted, as_they_are)


def interrupt_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when so many epochs of all members are over."""
    numbers = itertools.count(1)

    def interrupted(*run: Any) -> Iterator[Any]:
        for state in mf.train_epochs(*run):
            yield state
            if next(numbers) == epochs:
                raise KeyboardInterrupt

    monkeypatch.setattr(watching, "train_epochs", interrupted)


def three_members(monkeypatch: pytest.MonkeyPatch) -> mf.Recipe:
    recipe = mf.recipes.digits._replace(name="three", views=THREE, hidden=8, epochs=2)
    monkeypatch.setitem(mf.recipes.RECIPES, "three", recipe)
    return recipe


def test_a_committee_is_trained_saved_and_evaluated(
    digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = three_members(monkeypatch)
    headline, *progress, last = lines_of(run("train", *COMMITTEE))
    assert ": 3 networks 784-8-10, epochs 2, " in headline
    expected = [f"member {i}/3  epoch {j}/2  training loss " for i in (1, 2, 3) for j in (1, 2)]
    assert [line[: len(start)] for line, start in zip(progress, expected, strict=True)] == expected
    model = mf.load_model("model.npz")
    X, Y = digits.X_train, digits.Y_train
    members = []
    for alone, key in mf.members_of(recipe, mf.key(0)):
        *_, state = mf.train_epochs(*mf.prepare(alone, key, X, Y))
        members.append(mf.Member(state.params, *alone.views))
    for loaded, member in zip(model.members, members, strict=True):
        np.testing.assert_array_equal(loaded.params.W1, member.params.W1)
        assert loaded.view == member.view
    predicted = mf.predict_committee(members, mf.scale(digits.X_test))
    accuracy = f"test accuracy {100 * np.mean(predicted == digits.Y_test):.2f} %"
    assert last.startswith(accuracy)
    assert lines_of(run("evaluate", "model.npz"))[1].startswith(accuracy)


@pytest.mark.parametrize(
    ("views", "seen", "inputs"),
    [
        ((deslanted, deslanted), deslanted, 784),
        ((deslanted_edges, standardized_edges), both_edges, 1568),
    ],
)
def test_networks_that_are_joined_are_saved_as_one(
    views: tuple[mf.View, ...], seen: mf.View, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = three_members(monkeypatch)._replace(views=views, joined=True)
    monkeypatch.setitem(mf.recipes.RECIPES, "three", recipe)
    headline, *_, last = lines_of(run("train", *COMMITTEE))
    assert ": 2 networks 784-8-10, joined in the end, epochs " in headline
    ((params, view),) = mf.load_model("model.npz").members
    assert (params.W1.shape, view) == ((16, inputs), seen)
    match = FINAL_LINE.fullmatch(last)
    assert match
    assert lines_of(run("evaluate"))[1].startswith(f"test accuracy {match[1]} %")


@pytest.mark.parametrize("whole_members", [0, 2])
def test_an_interrupted_committee_keeps_its_whole_members_or_else_the_first(
    whole_members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = three_members(monkeypatch)
    interrupt_after(whole_members * recipe.epochs + 1, monkeypatch)
    message = error_of(run("train", *COMMITTEE))
    where = f"member {whole_members + 1}/3  epoch 1/2"
    kept = max(whole_members, 1)
    assert message == (
        f"mnist-fn: interrupted after {where}; what was reached, {kept} of 3 networks, "
        "is in model.npz\n"
    )
    assert len(mf.load_model("model.npz").members) == max(whole_members, 1)


def test_members_that_are_finished_survive_one_that_diverges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three_members(monkeypatch)
    runs = 0

    def diverging(*arguments: Any) -> mf.Run:
        nonlocal runs
        runs += 1
        run = mf.prepare(*arguments)
        nothing = run.state.params.W1 * np.float32(np.nan)
        broken = run.state._replace(params=run.state.params._replace(W1=nothing))
        return run._replace(state=broken) if runs == 3 else run

    monkeypatch.setattr(watching, "prepare", diverging)
    message = error_of(run("train", *COMMITTEE))
    assert message == (
        "mnist-fn: the loss is nan after member 3/3  epoch 1/2; try a --learning-rate below 0.1; "
        "what was reached, 2 of 3 networks, is in model.npz\n"
    )
    assert len(mf.load_model("model.npz").members) == 2


def test_ctrl_c_after_the_last_epoch_does_not_cost_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers: list[object] = []

    def save_slowly(*arguments: Any, **options: Any) -> None:
        handlers.append(signal.getsignal(signal.SIGINT))
        mf.save_params(*arguments, **options)

    monkeypatch.setattr(sessions, "save_params", save_slowly)
    before = signal.getsignal(signal.SIGINT)
    lines_of(run("train", *SMALL))
    (handler,) = handlers
    assert callable(handler)
    assert handler(signal.SIGINT, None) is None  # and no KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is before


def test_a_model_for_other_classes_is_not_evaluated_on_digits() -> None:
    mf.save_params("model.npz", mf.init_params(mf.key(0), classes=3))
    message = error_of(run("evaluate", "model.npz", "--data", "digits"))
    assert message == "mnist-fn: model.npz tells 3 classes apart, but digits are of ten\n"


def test_images_that_are_not_square_are_refused(own: Path, digits: mf.Dataset) -> None:
    images = digits.X_train[:, :300].T.reshape(-1, 16, 49)
    (own / "train-images-idx3-ubyte").write_bytes(encode(images))
    message = error_of(run("train", "--data", own))
    assert message.endswith("the images have 16 x 49 pixels, but they must be square\n")


def test_the_recipes_are_listed_with_what_to_expect() -> None:
    lines = lines_of(run("train", "--recipe", "list"))
    assert [line.split(":")[0] for line in lines] == list(mf.recipes.RECIPES)
    for line, recipe in zip(lines, mf.recipes.RECIPES.values(), strict=True):
        assert re.search(r"\d %.*\b(seconds?|minutes?)\b", line)
        assert recipe.about in line
    listed = " ".join(Text.from_ansi(run("train", "--help").stdout).plain.split())
    assert all(" ".join(line.split()) in listed for line in lines)


@pytest.mark.parametrize("epoch", [0, 1])
def test_how_much_was_reached_decides_what_is_written(
    epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare_to_be_interrupted(*arguments: Any) -> mf.Run:
        run = mf.prepare(*arguments)

        def batches(number: int) -> Iterator[mf.Batch]:
            for i, batch in enumerate(run.batches(number)):
                if (number, i) == (epoch, 3):
                    raise KeyboardInterrupt
                yield batch

        return run._replace(batches=batches)

    monkeypatch.setattr(watching, "prepare", prepare_to_be_interrupted)
    mf.save_params("m.npz", mf.init_params(mf.key(0)))
    before = Path("m.npz").read_bytes()
    message = error_of(run("train", *SMALL, "--output", "m.npz"))
    if epoch == 0:
        assert message == "mnist-fn: interrupted in the first epoch; nothing was written\n"
        assert Path("m.npz").read_bytes() == before
    else:
        assert "interrupted after epoch 1/2; what was reached is in m.npz" in message
        assert mf.load_params("m.npz").W1.shape == (8, 784)


def test_a_reader_that_goes_away_does_not_cost_the_training() -> None:
    training = subprocess.Popen(
        [sys.executable, "-m", "mnist_fn", "train", *SMALL, "--output", "m.npz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert training.stdout
    assert training.stderr
    training.stdout.close()
    errors = training.stderr.read()
    training.stderr.close()
    training.wait()
    assert b"Traceback" not in errors
    assert mf.load_params("m.npz").W1.shape == (8, 784)


def test_a_place_that_was_named_must_hold_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_FN_DATA", "nowhere")
    assert "nowhere is not a directory; name one that holds" in error_of(run("train"))
    assert not Path("model.npz").exists()


def test_more_than_ten_classes_are_refused_before_the_training(digits: mf.Dataset) -> None:
    Path("letters").mkdir()
    for part in ("train", "t10k"):
        Path(f"letters/{part}-images-idx3-ubyte").write_bytes(
            mf.idx.encode(digits.X_test.T.reshape(-1, 28, 28))
        )
        Path(f"letters/{part}-labels-idx1-ubyte").write_bytes(mf.idx.encode(digits.Y_test + 17))
    message = error_of(run("train", "--data", "letters"))
    assert "letters has the label 26, but these networks tell ten classes apart, 0 to 9" in message


def test_a_learning_rate_that_is_no_number_is_a_usage_error() -> None:
    result = run("train", *SMALL, "--learning-rate", "inf")
    assert result.exit_code == 2
    assert "inf is not a finite number" in result.stderr


def test_without_arguments_it_tells_a_newcomer_what_to_type() -> None:
    result = run()
    assert result.exit_code in (0, 2)  # as the installed click has it
    text = " ".join(Text.from_ansi(result.stdout + result.stderr).plain.split())
    assert "Begin with: mnist-fn train learn MNIST" in text
    for command in ("train", "evaluate", "predict", "report", "page", "doctor"):
        assert f" {command} " in text


def test_the_version_is_that_of_the_package() -> None:
    assert lines_of(run("--version")) == [f"mnist-fn {importlib.metadata.version('mnist-fn')}"]


@pytest.mark.slow
def test_a_page_and_a_report_are_of_the_newest_model() -> None:
    lines_of(run("train", *SMALL, "--output", "m.npz"))
    Path("m.npz").rename("n.npz")
    lines_of(run("train", *SMALL, "--output", "m.npz"))
    newest = Path("m.npz").resolve()
    assert lines_of(run("page")) == [f"the page for {newest} is in page.html; open it in a browser"]
    loaded = mf.load_model("m.npz")
    assert Path("page.html").read_text(encoding="utf-8") == mf.page(loaded.members, loaded.g)
    assert lines_of(run("report")) == [f"the report on {newest} is in report.html"]
    report = Path("report.html").read_text(encoding="utf-8")
    accuracy = lines_of(run("evaluate"))[1].split(",")[0].removeprefix("test accuracy ")
    assert accuracy.replace(" ", "") in re.sub(r"\s|&nbsp;", "", report)
    assert lines_of(run("report", "n.npz", "--format", "png"))[0].endswith("report.png")
    assert Path("report.png").read_bytes().startswith(b"\x89PNG")
    newest.unlink()
    assert error_of(run("page")) == (
        f"mnist-fn: there is no model file to use ({newest}, the newest, is not there any more); "
        "make one with mnist-fn train, which takes some seconds, or name one\n"
    )


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}])
def test_colours_are_left_out_where_they_are_not_wanted(no_color: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color"} | no_color
    training = subprocess.Popen(
        [sys.executable, "-m", "mnist_fn", "train", *SMALL],
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how Linux says that the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert training.wait() == 0
    assert b"test accuracy" in shown
    assert (re.search(rb"\x1b\[[0-9;]*3[0-9]", shown) is None) == bool(no_color)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_learn_the_commands(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnist_fn", "--show-completion", shell],
        capture_output=True,
        text=True,
    )
    assert "mnist" in done.stdout.lower()


@pytest.mark.slow
def test_a_report_is_of_the_kind_that_its_name_says() -> None:
    lines_of(run("train", *SMALL))
    lines_of(run("report", "--output", "r.png"))
    assert Path("r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_name_that_the_console_cannot_show_costs_nothing() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "mnist_fn", "train", *SMALL, "--output", "\u4e03.npz"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("saved in \\u4e03.npz\n")


def test_without_a_home_a_model_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_state_dir", homeless)
    lines_of(run("train", *SMALL))
    assert error_of(run("page")).startswith("mnist-fn: there is no model file to use; make one")
    lines_of(run("page", "model.npz"))


def test_an_interrupted_committee_has_the_history_of_its_whole_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three_members(monkeypatch)
    interrupt_after(3, monkeypatch)
    error_of(run("train", *COMMITTEE))
    model = mf.load_model("model.npz")
    assert len(model.members) == 1
    assert [(record.member, record.epoch) for record in model.history] == [(0, 1), (0, 2)]
