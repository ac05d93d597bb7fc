"""Every public function with arguments that it accepts, for the tests that go over all of them."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import mnist_fn as mf
from mnist_fn import recipes

PARAMS = mf.init_params(mf.key(0), pixels=6, hidden=5, classes=3)
X = np.random.default_rng(0).random((6, 4), dtype=np.float32)
Y = np.array([0, 2, 1, 2], np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (6, 4), dtype=np.uint8)
ACTIVATIONS = mf.forward(PARAMS, X)
GRADIENTS = mf.backward(PARAMS, ACTIVATIONS, X, Y)
BATCH = mf.Batch(X, Y)
MOMENTUM = mf.momentum(0.1)
MEMBERS = [mf.Member(PARAMS), mf.Member(PARAMS)]
STATE = mf.init_state(MOMENTUM, PARAMS)
STEP = mf.make_step(MOMENTUM)
ADAM = mf.adam(0.1)
RMSPROP = mf.rmsprop(0.1)
AVERAGE = mf.average_params(MOMENTUM, 0.9)
DECAYED = mf.decay_weights(MOMENTUM, 0.1)
SQUARE = np.random.default_rng(2).random((9, 4), dtype=np.float32)
EVEN = np.random.default_rng(6).random((16, 4), dtype=np.float32)
PICTURE = np.random.default_rng(4).integers(0, 256, (12, 9, 3), dtype=np.uint8)
POSITIONS = mf.random_positions(mf.key(3), 3)
RECIPE = recipes.digits._replace(hidden=5, epochs=2, batch_size=3)


class Call(NamedTuple):
    function: Callable[..., Any]
    arguments: dict[str, Any]


CALLS: dict[str, Call] = {
    "key": Call(mf.key, {"seed": 1}),
    "split": Call(mf.split, {"key": mf.key(1), "n": 3}),
    "fold_in": Call(mf.fold_in, {"key": mf.key(1), "i": 3}),
    "generator": Call(mf.generator, {"key": mf.key(1)}),
    "init_params": Call(mf.init_params, {"key": mf.key(1), "pixels": 6, "hidden": 5}),
    "forward": Call(mf.forward, {"params": PARAMS, "X": X}),
    "loss": Call(mf.loss, {"params": PARAMS, "X": X, "Y": Y}),
    "backward": Call(mf.backward, {"params": PARAMS, "activations": ACTIVATIONS, "X": X, "Y": Y}),
    "update": Call(mf.update, {"params": PARAMS, "gradients": GRADIENTS, "learning_rate": 0.1}),
    "predict": Call(mf.predict, {"params": PARAMS, "X": X}),
    "accuracy": Call(mf.accuracy, {"params": PARAMS, "X": X, "Y": Y}),
    "constant": Call(mf.constant, {"learning_rate": 0.1}),
    "cosine": Call(mf.cosine, {"learning_rate": 0.1, "steps": 10}),
    "sgd": Call(mf.sgd, {"learning_rate": 0.1}),
    "sgd.init": Call(mf.sgd(0.1).init, {"params": PARAMS}),
    "sgd.update": Call(
        mf.sgd(0.1).update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": mf.SgdState(3)},
    ),
    "momentum": Call(mf.momentum, {"learning_rate": 0.1}),
    "momentum.init": Call(MOMENTUM.init, {"params": PARAMS}),
    "momentum.update": Call(
        MOMENTUM.update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": STATE.optimizer_state},
    ),
    "rmsprop": Call(mf.rmsprop, {"learning_rate": 0.1}),
    "rmsprop.init": Call(RMSPROP.init, {"params": PARAMS}),
    "rmsprop.update": Call(
        RMSPROP.update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": RMSPROP.init(PARAMS)},
    ),
    "adam": Call(mf.adam, {"learning_rate": 0.1, "weight_decay": 0.1}),
    "adam.init": Call(ADAM.init, {"params": PARAMS}),
    "adam.update": Call(
        ADAM.update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": ADAM.init(PARAMS)},
    ),
    "average_params": Call(mf.average_params, {"optimizer": MOMENTUM}),
    "average_params.init": Call(AVERAGE.init, {"params": PARAMS}),
    "average_params.update": Call(
        AVERAGE.update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": AVERAGE.init(PARAMS)},
    ),
    "decay_weights": Call(mf.decay_weights, {"optimizer": MOMENTUM, "weight_decay": 0.1}),
    "decay_weights.init": Call(DECAYED.init, {"params": PARAMS}),
    "decay_weights.update": Call(
        DECAYED.update,
        {"params": PARAMS, "gradients": GRADIENTS, "state": STATE.optimizer_state},
    ),
    "distort": Call(mf.distort, {"key": mf.key(1), "X": SQUARE}),
    "random_positions": Call(mf.random_positions, {"key": mf.key(1), "side": 3}),
    "resample": Call(mf.resample, {"X": SQUARE, "positions": POSITIONS}),
    "drop": Call(mf.drop, {"key": mf.key(1), "X": X, "rate": 0.5}),
    "dropped": Call(mf.dropped, {"key": mf.key(1), "g": mf.relu, "rate": 0.5}),
    "committee_probabilities": Call(mf.committee_probabilities, {"members": MEMBERS, "X": X}),
    "predict_committee": Call(mf.predict_committee, {"members": MEMBERS, "X": X}),
    "join": Call(mf.join, {"members": [PARAMS, PARAMS]}),
    "one_cycle": Call(mf.one_cycle, {"learning_rate": 0.1, "steps": 10}),
    "warm_up": Call(mf.warm_up, {"schedule": mf.constant(0.1), "steps": 3}),
    "scale": Call(mf.scale, {"X": GREY}),
    "live_pixels": Call(mf.live_pixels, {"X": GREY}),
    "ordered_batches": Call(mf.ordered_batches, {"X": GREY, "Y": Y, "batch_size": 3}),
    "epoch_batches": Call(
        mf.epoch_batches, {"key": mf.key(1), "epoch": 2, "X": GREY, "Y": Y, "batch_size": 3}
    ),
    "epoch_batches.block": Call(
        mf.epoch_batches,
        {"key": mf.key(1), "epoch": 2, "X": GREY, "Y": Y, "batch_size": 3, "block": 1},
    ),
    "sharded_gradients": Call(
        mf.sharded_gradients, {"params": PARAMS, "shards": [BATCH, mf.Batch(X[:, :1], Y[:1])]}
    ),
    "hold_out": Call(mf.hold_out, {"X": GREY, "Y": Y, "n": 1}),
    "init_state": Call(mf.init_state, {"optimizer": MOMENTUM, "params": PARAMS}),
    "make_step": Call(mf.make_step, {"optimizer": MOMENTUM}),
    "make_step.step": Call(STEP, {"state": STATE, "batch": BATCH}),
    "make_step.dropout": Call(
        mf.make_step(MOMENTUM, dropout=mf.Dropout(mf.key(4)), label_smoothing=0.1),
        {"state": STATE, "batch": BATCH},
    ),
    "train": Call(mf.train, {"step": STEP, "state": STATE, "batches": [BATCH, BATCH]}),
    "train_epochs": Call(
        mf.train_epochs,
        {"step": STEP, "state": STATE, "batches": lambda epoch: [BATCH], "epochs": 2},
    ),
    "train_epochs.pixels": Call(
        mf.train_epochs,
        {
            "step": STEP,
            "state": STATE,
            "batches": lambda epoch: [mf.Batch(X[[0, 2, 5]], Y)],
            "epochs": 2,
            "pixels": np.array([0, 2, 5]),
        },
    ),
    "stop_early": Call(
        mf.stop_early, {"states": [3.0, 1.0, 2.0], "loss_of": math.sqrt, "patience": 1}
    ),
    "evaluate.committee": Call(mf.evaluate, {"params": MEMBERS, "batches": [BATCH]}),
    "evaluate": Call(mf.evaluate, {"params": PARAMS, "batches": [BATCH, BATCH]}),
    "class_scores": Call(mf.class_scores, {"confusion": np.array([[3, 1], [0, 4]])}),
    "prepare": Call(mf.prepare, {"recipe": RECIPE, "key": mf.key(1), "X": GREY, "Y": Y}),
    "assemble": Call(mf.assemble, {"recipe": RECIPE, "members": MEMBERS}),
    "members_of": Call(mf.members_of, {"recipe": recipes.committee, "key": mf.key(1)}),
    "page": Call(mf.page, {"params": mf.init_params(mf.key(1), hidden=2)}),
    "calibration": Call(mf.calibration, {"probabilities": ACTIVATIONS.A2, "Y": Y}),
    "mistakes": Call(mf.mistakes, {"probabilities": ACTIVATIONS.A2, "Y": Y}),
    "frame": Call(mf.frame, {"picture": PICTURE}),
    "standardize": Call(mf.standardize, {"X": SQUARE}),
    "deslant": Call(mf.deslant, {"X": SQUARE}),
    "edges": Call(mf.edges, {"X": EVEN}),
    "idx.decode": Call(mf.idx.decode, {"content": mf.idx.encode(GREY)}),
    "idx.encode": Call(mf.idx.encode, {"array": GREY}),
    "idx.encode_header": Call(mf.idx.encode_header, {"dtype": np.dtype(np.uint8), "shape": (6, 4)}),
}

OTHERS = {
    "checked": "it takes and returns functions",
    "load_digits": "it reads a file",
    "load_idx_dataset": "it reads files",
    "load_mnist": "it reads files",
    "load_model": "it reads a file",
    "load_params": "it reads a file",
    "save_params": "it writes a file",
    "sweep": "it measures time",
}


def public_functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that the package exports, by name."""
    return {
        name: value
        for name, value in vars(mf).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
