"""Training that one can watch and interrupt: a consumer of the stream of epochs."""

import math
import signal
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from ..activation_functions import ActivationFunction
from ..batches import Batch, Dataset, ordered_batches
from ..committees import Member
from ..evaluation import Evaluation, evaluate
from ..keys import Key
from ..recipes import Recipe, members_of, prepare
from ..training import Step, TrainState, train_epochs
from .terminal import percent, progress_bar, say

_MOST_LINES = 20  # of progress: a run of 500 epochs is not 500 lines
_SAMPLE = 10_000  # training images that the loss and accuracy of an epoch are taken on


class Trained(NamedTuple):
    """What a training reached, the seconds that it took, and why it ended before its time."""

    members: Sequence[Member]
    seconds: float
    ended: str = ""


def train_watched(settings: Recipe, key: Key, dataset: Dataset, console: Console) -> Trained:
    """Consume the stream of epochs of each member, and show how it goes.

    It ends before its time with Ctrl-C, and when the loss is no longer a number. From its
    end on, Ctrl-C is ignored, so that what was reached can be saved.
    """
    m = len(dataset.Y_train)
    steps = math.ceil(m / (settings.batch_size or m))
    in_all = len(settings.views) * settings.epochs
    every = -(-in_all // _MOST_LINES)
    finished: list[Member] = []
    reached: Sequence[Member] = finished
    seconds, epoch, where = 0.0, 0, ""
    # Numbers that overflow are found out by the loss, and reported in words.
    with progress_bar(console) as progress, np.errstate(over="ignore", invalid="ignore"):
        bar = progress.add_task("training", total=in_all * steps)

        def shown(step: Step[Any]) -> Step[Any]:
            def shown_step(state: TrainState[Any], batch: Batch) -> TrainState[Any]:
                after: TrainState[Any] = step(state, batch)
                progress.advance(bar)
                return after

            return shown_step

        try:
            start = time.perf_counter()
            for alone, member_key in members_of(settings, key):
                run = prepare(alone, member_key, dataset.X_train, dataset.Y_train)
                for state in train_epochs(*run._replace(step=shown(run.step))):
                    seconds += time.perf_counter() - start
                    epoch += 1
                    where = _where(settings, epoch)
                    member = Member(state.params, *alone.views)
                    if epoch % every == 0 or state.epoch == run.epochs:
                        loss = _report(member, where, settings, dataset, console)
                        if not math.isfinite(loss):
                            advice = f"try a --learning-rate below {settings.learning_rate:g}"
                            ended = f"the loss is {loss} after {where}; {advice}"
                            return Trained(tuple(finished), seconds, ended)
                    if state.epoch == run.epochs:
                        finished.append(member)
                    # Of a committee whole members count, and else what there is.
                    reached = finished or [member]
                    start = time.perf_counter()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            nothing = "in the first epoch; nothing was written"
            return Trained(
                reached, seconds, f"interrupted {f'after {where}' if where else nothing}"
            )
    return Trained(finished, seconds)


def _report(
    member: Member, where: str, settings: Recipe, dataset: Dataset, console: Console
) -> float:
    """Print how a member does on images that it is trained on, and return its loss."""
    X, Y = dataset.X_train[:, :_SAMPLE], dataset.Y_train[:_SAMPLE]
    result = evaluate_members([member], X, Y, settings.g)
    width = len(_where(settings, len(settings.views) * settings.epochs))
    say(
        console,
        f"{where:<{width}}  training loss {result.loss:.4f}  accuracy {percent(result.accuracy)}",
    )
    return result.loss


def _where(settings: Recipe, epoch: int) -> str:
    """Name the epoch, of all that the members are trained for."""
    member, epoch = divmod(epoch - 1, settings.epochs)
    text = f"epoch {epoch + 1}/{settings.epochs}"
    members = len(settings.views)
    return text if members == 1 else f"member {member + 1}/{members}  {text}"


def evaluate_members(
    members: Sequence[Member], X: np.ndarray, Y: np.ndarray, g: ActivationFunction
) -> Evaluation:
    """Return how well a network or a committee does on images as they are stored."""
    dtype = members[0].params.W1.dtype.type
    return evaluate(members, ordered_batches(X, Y, dtype=dtype), g)
