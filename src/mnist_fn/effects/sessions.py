"""A training from what it was told to the file it leaves, begun anew or resumed."""

import contextlib
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console

from ..batches import Dataset
from ..committees import Member
from ..idx import IdxError
from ..keys import key
from ..recipes import RECIPES, Recipe
from ..runs import assemble
from .checkpoints import (
    Checkpoint,
    CheckpointError,
    checkpoints_in,
    load_checkpoint,
    save_checkpoint,
)
from .datasets import DatasetError, load_digits, load_idx_dataset, load_mnist
from .files import check_replaceable
from .models import ModelError, save_params
from .newest import remember
from .terminal import CommandError, interruptible, percent, say, version
from .validation import digest_of, evaluate_members, hold_back
from .watching import Training, train_watched


def load_data(data: str | None, console: Console) -> Dataset:
    """Return the data set of that name or directory; without one MNIST, or else the digits."""
    match data:
        case "mnist":
            dataset = load_mnist()
        case "digits":
            dataset = load_digits()
        case None if os.environ.get("MNIST_FN_DATA"):
            dataset = load_mnist()  # where to look was said, so that it must be there
        case None:
            try:
                dataset = load_mnist()
            except (DatasetError, IdxError, OSError) as error:
                say(console, f"{error}\nTraining on the built-in digits instead.")
                dataset = load_digits()
        case directory if Path(directory).is_dir():
            dataset = load_idx_dataset(directory)._replace(name=os.path.abspath(directory))
        case other:
            raise CommandError(f"{other!r} is neither mnist, nor digits, nor a directory with data")
    label = int(max(dataset.Y_train.max(), dataset.Y_test.max()))
    if label > 9:
        raise CommandError(
            f"{dataset.name} has the label {label}, but these networks tell ten classes apart, "
            "0 to 9"
        )
    return dataset


def training_of(
    settings: Recipe, seed: int, dataset: Dataset, held_back: int | None
) -> tuple[Training, Mapping[str, str]]:
    """Return a training, and in words what it is told."""
    try:
        parts = hold_back(dataset.X_train, dataset.Y_train, held_back)
    except ValueError as error:
        raise CommandError(f"{error} with --validation") from error
    told = told_of(settings, seed, dataset, len(parts.Y_test))
    dataset = dataset._replace(X_train=parts.X_train, Y_train=parts.Y_train)
    words = {name: str(value) for name, value in told.items()}
    return Training(settings, key(seed), dataset, parts.X_test, parts.Y_test), words


def told_of(
    settings: Recipe, seed: int, dataset: Dataset, held_back: int, digest: str | None = None
) -> dict[str, object]:
    """Return all that decides on the bits of a training, but for the machine."""
    X, Y = dataset.X_train, dataset.Y_train
    told: dict[str, object] = {"recipe": settings.name, "data": dataset.name, "seed": seed}
    told |= {"training images": len(Y) - held_back, "held back": held_back}
    of_recipe = settings._asdict()
    for name in ("name", "about", "g"):
        del of_recipe[name]
    told |= {name.replace("_", " "): value for name, value in of_recipe.items()}
    told |= {"activation": settings.g.name, "training data": digest or digest_of(X, Y)}
    return told | {"mnist_fn": version(), "numpy": np.__version__}


@contextlib.contextmanager
def own_directory(directory: Path | None, begun: bool) -> Iterator[None]:
    """Keep other trainings out of a directory of checkpoints; if this one is killed, no longer."""
    if directory is None:
        yield
        return
    if begun and not directory.is_dir():
        raise CommandError(
            f"{directory} is not a directory with checkpoints; "
            f"begin a training with mnist-fn train --checkpoint {directory}"
        )
    lock = FileLock(directory / "lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CommandError(
            f"{directory} is in use by another training; wait for its end, or name another "
            "directory"
        ) from error
    except OSError as error:
        raise CommandError(
            f"checkpoints cannot be written to {directory}: {error.strerror}; name a directory "
            "that can be written to"
        ) from error
    try:
        yield
    finally:
        lock.release()


def newest_checkpoint(directory: Path, console: Console) -> Checkpoint:
    """Return the newest checkpoint that is as it was written; say which are not."""
    try:
        paths = checkpoints_in(directory)
    except OSError as error:
        raise CommandError(
            f"{directory} cannot be read: {error.strerror}; name the directory of --checkpoint"
        ) from error
    for path in paths:
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            say(console, f"{error}; it is left out")
    raise CommandError(
        f"there is no checkpoint to go on from in {directory}; "
        f"begin a training with mnist-fn train --checkpoint {directory}"
    )


def resumed(checkpoint: Checkpoint, console: Console) -> Training:
    """Return the training that a checkpoint is of, if it would be the same today."""
    told = checkpoint.settings
    try:
        settings = RECIPES[told["recipe"]]._replace(
            hidden=int(told["hidden"]),
            epochs=int(told["epochs"]),
            batch_size=None if told["batch size"] == "None" else int(told["batch size"]),
            learning_rate=float(told["learning rate"]),
        )
        seed, held_back = int(told["seed"]), int(told["held back"])
    except (KeyError, ValueError) as error:
        raise CommandError(
            "the checkpoint is of a recipe that this version of mnist_fn does not have; go on with "
            "the version that it was begun with, or begin a new training"
        ) from error
    dataset = load_data(told["data"], console)
    training, now = training_of(settings, seed, dataset, held_back)
    if now != told:
        other = [name for name in told if now.get(name) != told[name]]
        raise CommandError(
            f"the training cannot go on with the same bits, for what was {', '.join(other)} is "
            "another now; begin a new one with --checkpoint and an empty directory"
        )
    return training


def begin_checkpoints(directory: Path, start: Checkpoint) -> None:
    """Write the first checkpoint, from before the first epoch."""
    if checkpoints_in(directory):
        raise CommandError(
            f"{directory} holds the checkpoints of a training already; go on from them with "
            f"mnist-fn train --resume {directory}, or name another directory"
        )
    try:
        save_checkpoint(directory, start)
    except OSError as error:
        raise CommandError(
            f"checkpoints cannot be written to {directory}: {error.strerror}; name a directory "
            "that can be written to"
        ) from error


def train_and_save(
    training: Training, start: Checkpoint, directory: Path | None, output: Path, console: Console
) -> None:
    """Train, save what came of it, and say how good it is."""
    settings, dataset = training.settings, training.dataset

    def keep(checkpoint: Checkpoint) -> None:
        if not directory:
            return
        try:
            save_checkpoint(directory, checkpoint)
        except OSError as error:
            raise CheckpointError(
                f"a checkpoint cannot be written to {directory}: {error.strerror}; once it can, "
                f"go on from the one before with mnist-fn train --resume {directory}"
            ) from error

    trained = train_watched(training, start, keep, console)
    again = f"; go on with mnist-fn train --resume {directory}"
    again = again if directory and trained.resumable else ""
    if not trained.members:
        raise CommandError(trained.ended + again)
    members = assemble(settings, trained.members)

    def save(path: Path) -> None:
        save_params(
            path,
            members,
            g=settings.g,
            trained_on=dataset.name,
            # Without times, so that the same command writes the same bytes.
            history=[record._replace(seconds=math.nan) for record in trained.history],
            settings=start.settings,
        )

    saved, why_there = _save(save, output, directory)
    remember(saved)
    if ended := "; ".join(filter(None, [trained.ended, why_there])):
        reached = _of(settings, trained.members)
        raise CommandError(f"{ended}; what was reached{reached} is in {saved}{again}")
    try:
        with interruptible():
            result = evaluate_members(members, dataset.X_test, dataset.Y_test, settings.g)
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted while testing the network, which is saved in {output}; "
            "mnist-fn evaluate tests it again"
        ) from None
    seconds = sum(record.seconds for record in trained.history)
    say(
        console,
        f"test accuracy {percent(result.accuracy)} after {seconds:.1f} s of training, "
        f"saved in {output}",
    )


def _save(save: Callable[[Path], None], output: Path, directory: Path | None) -> tuple[Path, str]:
    """Save a network, if need be among the temporary files; return where, and why not as told."""
    try:
        save(output)
    except ModelError as error:
        with contextlib.suppress(ModelError, OSError):
            elsewhere = Path(tempfile.gettempdir(), f"mnist_fn-{secrets.token_hex(8)}.npz")
            save(elsewhere)
            return elsewhere, str(error)
        again = f"--resume {directory}" if directory else "and the same options"
        raise CommandError(f"{error}; once it can, use mnist-fn train {again}") from error
    return output, ""


def headline(training: Training, seed: int) -> str:
    """Return what is trained, on what and how, in a line."""
    settings, dataset = training.settings, training.dataset
    pixels, m = dataset.X_train.shape
    held_back = len(training.Y_validation)
    validation = f" ({held_back:,} more held back)" if held_back else ""
    members = f"{len(settings.views)} networks " if len(settings.views) > 1 else ""
    joined = ", joined in the end" if settings.joined else ""
    return (
        f"recipe {settings.name} on {m:,} images of {dataset.name}{validation}: "
        f"{members}{pixels}-{settings.hidden}-10{joined}, epochs {settings.epochs}, "
        f"batch size {settings.batch_size or m:,}, "
        f"learning rate {settings.learning_rate:g}, seed {seed}"
    )


def check_can_write(path: Path) -> None:
    """Refuse before the training, not after it."""
    try:
        check_replaceable(path)
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}; name a file in a directory that is "
            "there and can be written to, with --output"
        ) from error


def _of(settings: Recipe, members: Sequence[Member]) -> str:
    in_all = len(settings.views)
    return f", {len(members)} of {in_all} networks," if in_all > 1 else ""
