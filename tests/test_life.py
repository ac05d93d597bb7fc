"""The life of a model, in any order: trained, interrupted, killed, resumed, damaged, used.

What should hold is kept beside it: which model file has learnt what, and which epoch the
checkpoints of a directory have reached. What an epoch reaches is known from the pure part.
"""

import functools
import io
import itertools
import json
import os
import re
import signal
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from PIL import Image
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn.effects import checkpoints, cli, newest, watching
from mnist_fn.views import as_they_are, deslanted

# All that a state can carry, and two members.
RECIPE = mf.recipes.elastic._replace(
    name="small",
    hidden=3,
    epochs=2,
    batch_size=20,
    hidden_dropout=0.2,
    views=(as_they_are, deslanted),
)
EPOCHS = 4  # of both members
STEPS = 3  # in each
HELD_BACK = 5


@functools.cache
def data() -> mf.Dataset:
    digits = mf.load_digits()
    return digits._replace(
        X_train=digits.X_train[:, :60],
        Y_train=digits.Y_train[:60],
        X_test=digits.X_test[:, :40],
        Y_test=digits.Y_test[:40],
    )


@functools.cache
def picture() -> tuple[bytes, np.ndarray]:
    """A small picture of a digit, and what it is framed to."""
    pixels, file = data().X_test[:, 0].reshape(28, 28), io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue(), mf.frame(pixels).reshape(784, 1)


class Reached(NamedTuple):
    """What a training has after an epoch: its members, and the state of the one in training."""

    members: tuple[mf.Member, ...]
    finished: tuple[mf.Params, ...] = ()
    leaves: tuple[np.ndarray, ...] = ()


@functools.cache
def reached(seed: int) -> tuple[Reached, ...]:
    """What there is after each epoch, from before the first on."""
    parts = mf.hold_out(data().X_train, data().Y_train, HELD_BACK)
    result = [Reached(())]
    for alone, key in mf.members_of(RECIPE, mf.key(seed)):
        whole = result[-1].members
        run = mf.prepare(alone, key, parts.X_train, parts.Y_train)
        for state in mf.train_epochs(*run):
            over = state.epoch == run.epochs
            after = (*whole, mf.Member(state.params, *alone.views))
            finished = tuple(member.params for member in (after if over else whole))
            leaves = () if over else tuple(checkpoints.leaves_of(state))
            # Of a committee, whole members count, and else what there is.
            result.append(Reached(after if over else whole or after, finished, leaves))
    return tuple(result)


def same(one: Any, other: Any) -> bool:
    """Tell whether two trees of tuples hold the same bits."""
    mine, theirs = (list(checkpoints.leaves_of(tuple(tree))) for tree in (one, other))
    return len(mine) == len(theirs) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(mine, theirs, strict=True)
    )


OPEN = open


class Killed(BaseException):
    """What no handler may catch."""


class Fuse:
    """Kill a training at its step, write or other act of that number; then nothing happens."""

    def __init__(self, patch: pytest.MonkeyPatch, act: str, number: int) -> None:
        self.act, self.left, self.blown = act, number, False
        acts = {"fsync": os, "replace": Path, "unlink": Path, "mkdir": Path}
        for name, owner in acts.items():
            patch.setattr(owner, name, self.guarded(name, getattr(owner, name)))
        patch.setattr(watching, "prepare", with_steps(functools.partial(self.guarded, "step")))
        patch.setattr("builtins.open", self.opened)

    def burn(self, act: str) -> bool:
        self.left -= act == self.act
        self.blown |= self.left < 0
        return self.blown

    def guarded(self, act: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.burn(act):
                raise Killed
            return function(*arguments, **options)

        return call

    def opened(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode not in ("wb", "xb"):
            return OPEN(file, mode, *arguments, **options)
        fuse = self

        class File(io.FileIO):
            def write(self, content: Any, /) -> int:
                part = memoryview(content).cast("B")
                if fuse.blown:
                    raise Killed
                if fuse.burn("write"):
                    super().write(part[: len(part) // 2])
                    raise Killed
                return super().write(part)

        return File(file, mode)


def with_steps(change: Any) -> Any:
    """Return a ``prepare`` whose steps are changed."""

    def prepare(*arguments: Any) -> mf.Run:
        run = mf.prepare(*arguments)
        return run._replace(step=change(run.step))

    return prepare


def press_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C during a step, counted from 0."""
    numbers = itertools.count()

    def pressing(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(numbers) == step:
                signal.raise_signal(signal.SIGINT)
            return function(*arguments)

        return call

    patch.setattr(watching, "prepare", with_steps(pressing))


class Learnt(NamedTuple):
    """What a model file holds: so many epochs of the training of that seed."""

    seed: int
    epochs: int


def damaged(content: bytes, place: int, cut: bool, flipped: slice = slice(None)) -> bytes:
    """Return it cut short, or with a bit flipped, which is in that part."""
    if cut:
        return content[: place % len(content)]
    places = range(len(content))[flipped]
    result = bytearray(content)
    result[places[place % len(places)]] ^= 1
    return bytes(result)


# In a model file, numbers of its first array: of what is around the arrays, some says nothing.
NUMBERS = slice(500, 9000)
DIRECTORIES = st.sampled_from(["c", "d"])
MODELS = st.sampled_from(["m.npz", "n.npz"])
SEEDS = st.sampled_from([0, 1])
PRESSED = st.integers(0, EPOCHS * STEPS - 1)
ACTS = ["step", "write", "fsync", "replace", "unlink", "mkdir"]
KILLED = st.tuples(st.sampled_from(ACTS), st.integers(0, EPOCHS * STEPS - 1))
KILLED |= st.tuples(st.just("write"), st.integers(0, 130))  # of them, most are the model's


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Learnt] = {}
        self.spoilt: dict[str, bytes] = {}
        self.whole: dict[int, bytes] = {}
        # Of each directory the seed, and of each of its checkpoints the epoch.
        self.seeds: dict[str, int] = {}
        self.good: dict[str, set[int]] = {"c": set(), "d": set()}
        self.damaged: dict[Path, bytes] = {}
        self.newest = ""
        self.kills = 0
        self.patch = pytest.MonkeyPatch()
        self.temporary = tempfile.TemporaryDirectory()
        root = Path(self.temporary.name).resolve()
        (root / "here").mkdir()
        (root / "digit.png").write_bytes(picture()[0])
        self.patch.chdir(root / "here")
        self.patch.setenv("XDG_STATE_HOME", str(root / "state"))
        self.patch.setitem(mf.recipes.RECIPES, "small", RECIPE)
        self.patch.setattr("mnist_fn.effects.sessions.load_digits", data)

    def teardown(self) -> None:
        self.patch.undo()
        self.temporary.cleanup()

    def run(self, *arguments: str) -> tuple[int, str]:
        """Return the exit status, and what was printed."""
        result = CliRunner().invoke(cli.app, list(arguments))
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result.exit_code, result.output

    def start(self, directory: str, seed: int, output: str) -> tuple[list[str], int] | None:
        """Return how to train, and from which epoch on it goes; None if it must be refused."""
        begin = ["train", "--data", "digits", "--recipe", "small", "--seed", str(seed)]
        begin += ["--output", output, "--validation", str(HELD_BACK)]
        if not directory:
            return begin, 0
        if not self.on_disk(directory):
            self.seeds[directory] = seed
            return [*begin, "--checkpoint", directory], 0
        code, text = self.run(*begin, "--checkpoint", directory)
        assert code == 1
        assert f"{directory} holds the checkpoints of a training already; go on" in text
        resume = ["train", "--resume", directory, "--output", output]
        if not self.good[directory]:
            code, text = self.run(*resume)
            assert code == 1
            assert f"there is no checkpoint to go on from in {directory}; begin" in text
            return None
        return resume, max(self.good[directory])

    def on_disk(self, directory: str) -> set[int]:
        names = os.listdir(directory) if Path(directory).is_dir() else []
        matches = (re.fullmatch(r"epoch-(\d+)\.checkpoint", name) for name in names)
        return {int(match[1]) for match in matches if match}

    def has_reached(self, directory: str, begun: int, epochs: int) -> None:
        """Note which checkpoints there are when a training got from one epoch to another."""
        if not directory:
            return
        good = self.good[directory]
        # What a resumed training begins with, it does not write again.
        for epoch in range(begun + 1 if begun in good else begun, epochs + 1):
            older = [e for e in good | self.epochs_damaged(directory) if e < epoch]
            gone = set(older) - {max(older, default=0)}
            good -= gone
            good.add(epoch)
            for path in [*self.damaged]:
                if path.parent.name == directory and epoch_of(path) in gone | {epoch}:
                    del self.damaged[path]

    def save(self, output: str, seed: int, epochs: int) -> None:
        """Note that a model file was written."""
        self.models[output] = Learnt(seed, epochs)
        self.spoilt.pop(output, None)

    def epochs_damaged(self, directory: str) -> set[int]:
        return {epoch_of(path) for path in self.damaged if path.parent.name == directory}

    @rule(directory=st.just("") | DIRECTORIES, seed=SEEDS, output=MODELS)
    def train(self, directory: str, seed: int, output: str) -> None:
        if (how := self.start(directory, seed, output)) is None:
            return
        command, begun = how
        seed = self.seeds.get(directory, seed)
        code, text = self.run(*command)
        assert code == 0, text
        assert (f"going on after {begun} epochs" in text) == (begun > 0)
        assert text.splitlines()[-1].endswith(f"saved in {output}")
        self.save(output, seed, EPOCHS)
        self.newest = output
        self.has_reached(directory, begun, EPOCHS)

    @rule(directory=st.just("") | DIRECTORIES, seed=SEEDS, output=MODELS, step=PRESSED)
    def interrupt(self, directory: str, seed: int, output: str, step: int) -> None:
        if (how := self.start(directory, seed, output)) is None:
            return
        command, begun = how
        seed = self.seeds.get(directory, seed)
        with self.patch.context() as patch:
            press_at(patch, step)
            code, text = self.run(*command)
        steps = step + 1
        if steps >= (EPOCHS - begun) * STEPS:  # in the last step, or not at all
            assert code == 0, text
            epochs = EPOCHS
        else:
            epochs = begun + steps // STEPS
            assert code == 1
            assert ("; nothing was written" in text) == (epochs == 0)
            assert (f"; go on with mnist-fn train --resume {directory}" in text) == bool(directory)
        if epochs:
            self.save(output, seed, epochs)
            self.newest = output
        self.has_reached(directory, begun, epochs)

    @rule(directory=st.just("") | DIRECTORIES, seed=SEEDS, output=MODELS, at=KILLED)
    def kill(self, directory: str, seed: int, output: str, at: tuple[str, int]) -> None:
        if (how := self.start(directory, seed, output)) is None:
            return
        command, _ = how
        seed = self.seeds.get(directory, seed)
        before = content_of(output)
        with self.patch.context() as patch:
            Fuse(patch, *at)
            try:
                code, text = self.run(*command)
                assert code == 0, text
            except Killed:
                self.kills += 1
        if content_of(output) != before:
            self.save(output, seed, EPOCHS)
        note = newest._note()
        self.newest = Path(os.fsdecode(note.read_bytes())).name if note.exists() else ""
        if directory:
            # What was on disk may have been replaced by better, and by nothing else.
            there = self.on_disk(directory)
            newest_before = max(self.good[directory], default=0)
            for path in [*self.damaged]:
                if path.parent.name == directory and content_of(path) != self.damaged[path]:
                    del self.damaged[path]
            self.good[directory] = there - self.epochs_damaged(directory)
            assert max(self.good[directory], default=0) >= newest_before

    @rule(
        directory=DIRECTORIES,
        index=st.integers(0, 1),
        place=st.integers(0, 99_999),
        cut=st.booleans(),
    )
    def damage(self, directory: str, index: int, place: int, cut: bool) -> None:
        good = sorted(self.good[directory], reverse=True)
        if index >= len(good):
            return
        path = Path(directory, f"epoch-{good[index]:05}.checkpoint")
        self.damaged[path] = damaged(path.read_bytes(), place, cut)
        path.write_bytes(self.damaged[path])
        self.good[directory].remove(good[index])

    @rule(output=MODELS, place=st.integers(0, 99_999), cut=st.booleans())
    def damage_model(self, output: str, place: int, cut: bool) -> None:
        if self.models.pop(output, None):
            self.spoilt[output] = damaged(Path(output).read_bytes(), place, cut, NUMBERS)
            Path(output).write_bytes(self.spoilt[output])

    @rule(directory=DIRECTORIES)
    def remove(self, directory: str) -> None:
        """Delete the checkpoints, so that another training can be begun there."""
        for epoch in self.on_disk(directory):
            Path(directory, f"epoch-{epoch:05}.checkpoint").unlink()
        self.good[directory] = set()
        for path in [*self.damaged]:
            if path.parent.name == directory:
                del self.damaged[path]

    @rule(output=MODELS)
    def use(self, output: str) -> None:
        evaluated = self.run("evaluate", output)
        predicted = self.run("predict", output, "../digit.png", "--json")
        if output not in self.models:
            why = "is damaged, or not a model file: "
            if output not in self.spoilt:
                why = "cannot be read: No such file or directory"
            for code, text in (evaluated, predicted):
                assert code == 1
                assert f"{output} {why}" in " ".join(text.split())
            return
        seed, epochs = self.models[output]
        members, X, Y = reached(seed)[epochs].members, data().X_test, data().Y_test
        right = np.mean(mf.predict_committee(members, mf.scale(X)) == Y)
        code, text = evaluated
        assert code == 0
        assert f"test accuracy {100 * right:.2f} %" in text
        code, text = predicted
        assert code == 0
        [answer] = json.loads(text)
        probabilities = mf.committee_probabilities(members, picture()[1])[:, 0]
        assert answer["probabilities"] == probabilities.tolist()
        assert answer["digit"] == probabilities.argmax()

    @invariant()
    def each_model_file_is_what_it_should_be(self) -> None:
        for output, (seed, epochs) in self.models.items():
            model = mf.load_model(output)
            members = reached(seed)[epochs].members
            assert same([m.params for m in model.members], [m.params for m in members])
            assert [m.view for m in model.members] == [m.view for m in members]
            assert len(model.history) == len(members) * min(epochs, RECIPE.epochs)
            assert model.settings["seed"] == str(seed)
            if epochs == EPOCHS:
                assert Path(output).read_bytes() == self.whole.setdefault(
                    seed, Path(output).read_bytes()
                )
        for output in ("m.npz", "n.npz"):
            assert (output in self.models or output in self.spoilt) == Path(output).exists()
        for output, content in self.spoilt.items():
            assert Path(output).read_bytes() == content
            with pytest.raises(mf.ModelError, match=f"^{output} is damaged, or not a model file: "):
                mf.load_model(output)

    @invariant()
    def each_checkpoint_is_what_it_should_be(self) -> None:
        for directory, epochs in self.good.items():
            assert self.on_disk(directory) == epochs | self.epochs_damaged(directory)
            for epoch in epochs:
                loaded = checkpoints.load_checkpoint(
                    Path(directory, f"epoch-{epoch:05}.checkpoint")
                )
                expected = reached(self.seeds[directory])[epoch]
                assert same(loaded.leaves, expected.leaves)
                assert same(loaded.finished, expected.finished)
                assert len(loaded.history) == epoch
        for path, content in self.damaged.items():
            assert path.read_bytes() == content
            with pytest.raises(checkpoints.CheckpointError):
                checkpoints.load_checkpoint(path)

    @invariant()
    def nothing_is_left_but_by_a_kill(self) -> None:
        assert len(list(Path().rglob("*.tmp"))) <= self.kills
        if self.newest:
            assert newest.newest_model() == Path(self.newest).resolve()


def epoch_of(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def content_of(path: str | Path) -> bytes:
    return Path(path).read_bytes() if Path(path).exists() else b""


def live(lives: int, length: int) -> None:
    # How long a life takes says something about the machine, not about the code.
    calm = [HealthCheck.too_slow]
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=lives, stateful_step_count=length, suppress_health_check=calm
        ),
    )


def test_some_short_lives_in_any_order() -> None:
    live(4, 8)


@pytest.mark.slow
def test_many_long_lives_in_any_order() -> None:
    live(50, 15)
