"""Training that one can watch, interrupt and resume: a consumer of the stream of epochs."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from rich.console import Console

from ..batches import Batch, Dataset
from ..committees import Member
from ..evaluation import EpochRecord
from ..keys import Key
from ..recipes import Recipe
from ..runs import learning_rates, members_of, prepare
from ..training import Step, TrainState, train_epochs
from .checkpoints import Checkpoint, CheckpointError, leaves_of, with_leaves
from .mapping import released
from .terminal import interruptible, note_interruptions, percent, progress_bar, say
from .validation import record_of

_MOST_LINES = 20  # of progress: a run of 500 epochs is not 500 lines

_Batches: TypeAlias = Callable[[int], Iterable[Batch]]


class Training(NamedTuple):
    """What is to be trained, on what, and on what it is watched."""

    settings: Recipe
    key: Key
    dataset: Dataset
    X_validation: np.ndarray
    Y_validation: np.ndarray


class Trained(NamedTuple):
    """What a training reached, why it ended before its time, and if going on would help."""

    members: Sequence[Member]
    history: Sequence[EpochRecord]
    """Of these members."""
    ended: str = ""
    resumable: bool = False


def train_watched(
    training: Training,
    start: Checkpoint,
    keep: Callable[[Checkpoint], None],
    console: Console,
) -> Trained:
    """Consume the stream of epochs of each member, and show how it goes.

    It goes on from ``start``, and hands what each epoch reaches to ``keep``. It ends before
    its time with Ctrl-C, when the loss is no longer a number, and when ``keep`` raises a
    ``CheckpointError``. From then on, Ctrl-C is only noted, so that what was reached can be
    saved.
    """
    settings, key, dataset = training[:3]
    parts = dataset._replace(X_test=training.X_validation, Y_test=training.Y_validation)
    steps = math.ceil(len(dataset.Y_train) / (settings.batch_size or len(dataset.Y_train)))
    in_all = len(settings.views) * settings.epochs
    every = -(-in_all // _MOST_LINES)
    rates = learning_rates(settings, steps)
    members = members_of(settings, key)
    history = tuple(start.history)
    finished = tuple(
        Member(params, *alone.views)
        for params, (alone, _) in zip(start.finished, members, strict=False)
    )
    trained = _trained(finished, None, history)
    # A KeyboardInterrupt at any place could come between what was reached and its file, or be
    # swallowed by a callback of the garbage collector; a step is a good place, and soon there.
    interrupted = note_interruptions()
    # Numbers that overflow are found out by the loss, and reported in words.
    calm = np.errstate(over="ignore", invalid="ignore")
    try:
        with progress_bar(console) as progress, calm:
            bar = progress.add_task(
                "training", total=in_all * steps, completed=len(start.history) * steps
            )

            def shown(step: Step[Any]) -> Step[Any]:
                def shown_step(state: TrainState[Any], batch: Batch) -> TrainState[Any]:
                    if interrupted():
                        raise KeyboardInterrupt
                    after: TrainState[Any] = step(state, batch)
                    progress.advance(bar)
                    return after

                return shown_step

            def let_go(batches: _Batches) -> _Batches:
                return lambda epoch: released(batches(epoch), dataset.X_train)

            leaves = start.leaves
            for index, (alone, member_key) in list(enumerate(members))[len(finished) :]:
                with interruptible():
                    run = prepare(alone, member_key, dataset.X_train, dataset.Y_train)
                run = run._replace(step=shown(run.step), batches=let_go(run.batches))
                if leaves:
                    run = run._replace(state=with_leaves(run.state, leaves))
                    trained = _trained(finished, Member(run.state.params, *alone.views), history)
                    leaves = ()
                began = time.perf_counter()
                for state in train_epochs(*run):
                    seconds = time.perf_counter() - began
                    member = Member(state.params, *alone.views)
                    rate = rates(state.epoch * steps - 1)
                    record = record_of(
                        member,
                        settings.g,
                        parts,
                        index=index,
                        epoch=state.epoch,
                        learning_rate=rate,
                        seconds=seconds,
                    )
                    history = (*history, record)
                    over = state.epoch == run.epochs
                    if math.isfinite(record.training_loss):
                        finished = (*finished, member) if over else finished
                        trained = _trained(finished, member, history)
                    if len(history) % every == 0 or over:
                        say(console, _line(record, settings))
                    if not math.isfinite(record.training_loss):
                        loss, where = record.training_loss, _where(record, settings)
                        advice = f"try a --learning-rate below {settings.learning_rate:g}"
                        ended = f"the loss is {loss} after {where}; {advice}"
                        return _trained(finished, None, history)._replace(ended=ended)
                    rest = () if over else tuple(leaves_of(state))
                    params = tuple(member.params for member in finished)
                    keep(Checkpoint(start.settings, history, params, rest))
                    began = time.perf_counter()
    except KeyboardInterrupt:
        where = f"after {_where(history[-1], settings)}" if history else "in the first epoch"
        nothing = "" if trained.members else "; nothing was written"
        return trained._replace(ended=f"interrupted {where}{nothing}", resumable=True)
    except CheckpointError as error:
        return trained._replace(ended=str(error))
    return trained


def _trained(
    finished: tuple[Member, ...], member: Member | None, history: tuple[EpochRecord, ...]
) -> Trained:
    """Return what was reached: of a committee whole members count, and else what there is."""
    reached = finished or (() if member is None else (member,))
    return Trained(reached, [record for record in history if record.member < len(reached)])


def _line(record: EpochRecord, settings: Recipe) -> str:
    last = record._replace(member=len(settings.views) - 1, epoch=settings.epochs)
    width = len(_where(last, settings))
    line = (
        f"{_where(record, settings):<{width}}  training loss {record.training_loss:.4f}  "
        f"accuracy {percent(record.training_accuracy)}"
    )
    if math.isnan(record.validation_accuracy):
        return line
    return (
        f"{line}  validation loss {record.validation_loss:.4f}  "
        f"accuracy {percent(record.validation_accuracy)}"
    )


def _where(record: EpochRecord, settings: Recipe) -> str:
    """Name the epoch, of all that the members are trained for."""
    text = f"epoch {record.epoch}/{settings.epochs}"
    members = len(settings.views)
    return text if members == 1 else f"member {record.member + 1}/{members}  {text}"
