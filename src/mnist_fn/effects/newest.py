"""Which model file ``train`` wrote last, for commands that are told none."""

import contextlib
import os
from pathlib import Path

import platformdirs

from .files import replacing
from .terminal import CommandError


def _note() -> Path:
    return Path(platformdirs.user_state_dir("mnist_fn")) / "newest-model"


def remember(model: Path) -> None:
    """Note where a model file is. Without a place for notes nothing is lost: it can be named."""
    with contextlib.suppress(OSError, RuntimeError):  # of a user without a home
        _note().parent.mkdir(parents=True, exist_ok=True)
        with replacing(_note()) as file:
            file.write(os.fsencode(model.resolve()))


def newest_model() -> Path:
    """Return the model file that was written last."""
    try:
        model = Path(os.fsdecode(_note().read_bytes()))
    except (OSError, RuntimeError):
        model = None
    if model is None or not model.is_file():
        moved = f" ({model}, the newest, is not there any more)" if model else ""
        raise CommandError(
            f"there is no model file to use{moved}; make one with mnist-fn train, which takes "
            "some seconds, or name one"
        )
    return model
