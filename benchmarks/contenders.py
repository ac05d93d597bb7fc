"""The same network, trained the same way, by this library and by others.

``python benchmarks/contenders.py NAME`` serves one contender over standard input and
output, a line of JSON each way: ``peers.py`` and ``predict.py`` start a process for each
and let them take turns.

All minimise the mean cross-entropy of a 784 -> hidden -> 10 ReLU network by plain
gradient descent in float32, on every image once an epoch, in a new random order each
time. First weights are drawn as each of them draws them. What a user would prepare once
is prepared once: the others are handed their images as float32 from 0 to 1, one image
per row; ours as the bytes of the file. Ours leaves out pixels that are 0 in the whole
training set, as its recipes do, and once does not, to tell what that is worth.
"""

import functools
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import config
from threadpoolctl import threadpool_info

import mnist_fn as mf


class Task(NamedTuple):
    """What is to be trained."""

    hidden: int
    batch_size: int
    learning_rate: float
    seed: int


class Images(NamedTuple):
    """Images as float32 from 0 to 1, one per row, and their labels."""

    X: np.ndarray
    Y: np.ndarray


class Contender(NamedTuple):
    """A network in training: one more epoch, and the classes of images."""

    train_epoch: Callable[[], None]
    predict: Callable[[np.ndarray], np.ndarray]


def mnist_fn(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return this library, as its command line trains."""
    recipe = mf.Recipe(
        "peers",
        hidden=task.hidden,
        epochs=0,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
    )
    run = mf.prepare(recipe, mf.key(task.seed), dataset.X_train, dataset.Y_train)
    state = run.state

    def train_epoch() -> None:
        nonlocal state
        one_more = run._replace(state=state, epochs=state.epoch + 1)
        state = next(mf.train_epochs(*one_more))

    return Contender(train_epoch, lambda X: mf.predict(state.params, X.T))


def mnist_fn_all_pixels(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return this library, trained on every pixel."""
    params_key, order_key = mf.split(mf.key(task.seed))
    optimizer = mf.sgd(task.learning_rate)
    step = mf.make_step(optimizer)
    state = mf.init_state(optimizer, mf.init_params(params_key, hidden=task.hidden))
    X, Y = dataset.X_train, dataset.Y_train

    def train_epoch() -> None:
        nonlocal state
        batches = mf.epoch_batches(order_key, state.epoch, X, Y, task.batch_size)
        state = mf.train(step, state, batches)._replace(epoch=state.epoch + 1)

    return Contender(train_epoch, lambda X: mf.predict(state.params, X.T))


def mnist_fn_unchecked(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return this library with its contracts turned off."""
    config.update("jaxtyping_disable", True)
    return mnist_fn(task, dataset, train)


def numpy(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return the script that tutorials have: one image per row, one-hot labels."""
    random = np.random.default_rng(task.seed)
    W1 = (random.standard_normal((784, task.hidden)) * np.sqrt(2 / 784)).astype(np.float32)
    W2 = (random.standard_normal((task.hidden, 10)) * np.sqrt(2 / task.hidden)).astype(np.float32)
    b1, b2 = np.zeros(task.hidden, np.float32), np.zeros(10, np.float32)
    X, T = train.X, np.eye(10, dtype=np.float32)[train.Y]
    rate = task.learning_rate

    def train_epoch() -> None:
        nonlocal W1, b1, W2, b2
        order = random.permutation(len(X))
        for start in range(0, len(X), task.batch_size):
            part = order[start : start + task.batch_size]
            x, t = X[part], T[part]
            z1 = x @ W1 + b1
            a1 = np.maximum(z1, 0)
            z2 = a1 @ W2 + b2
            e = np.exp(z2 - z2.max(axis=1, keepdims=True))
            a2 = e / e.sum(axis=1, keepdims=True)
            dz2 = (a2 - t) / len(part)
            dW2 = a1.T @ dz2
            db2 = dz2.sum(axis=0)
            dz1 = (dz2 @ W2.T) * (z1 > 0)
            dW1 = x.T @ dz1
            db1 = dz1.sum(axis=0)
            W1 = W1 - rate * dW1
            b1 = b1 - rate * db1
            W2 = W2 - rate * dW2
            b2 = b2 - rate * db2

    def predict(x: np.ndarray) -> np.ndarray:
        labels: np.ndarray = (np.maximum(x @ W1 + b1, 0) @ W2 + b2).argmax(axis=1)
        return labels

    return Contender(train_epoch, predict)


def scikit_learn(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return scikit-learn's MLPClassifier; ``partial_fit`` is one epoch of it."""
    model = import_module("sklearn.neural_network").MLPClassifier(
        (task.hidden,),
        solver="sgd",
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        batch_size=task.batch_size,
        learning_rate_init=task.learning_rate,
        random_state=np.random.RandomState(task.seed),  # goes on from epoch to epoch
    )
    classes = np.arange(10)
    return Contender(lambda: model.partial_fit(train.X, train.Y, classes=classes), model.predict)


def _torch(task: Task, train: Images, compiled: bool) -> Contender:
    torch: Any = import_module("torch")
    torch.compiler.reset()
    torch.manual_seed(task.seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, task.hidden), torch.nn.ReLU(), torch.nn.Linear(task.hidden, 10)
    )
    cross_entropy = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.learning_rate)
    X, Y = torch.from_numpy(train.X), torch.from_numpy(train.Y)

    def loss_of(x: Any, y: Any) -> Any:
        return cross_entropy(model(x), y)

    train_loss = torch.compile(loss_of) if compiled else loss_of
    logits = torch.compile(model) if compiled else model

    def train_epoch() -> None:
        for part in torch.randperm(len(X)).split(task.batch_size):
            optimizer.zero_grad()
            train_loss(X[part], Y[part]).backward()
            optimizer.step()

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            labels: np.ndarray = logits(torch.from_numpy(x)).argmax(dim=1).numpy()
        return labels

    return Contender(train_epoch, predict)


def torch_eager(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return PyTorch as its tutorials use it."""
    return _torch(task, train, compiled=False)


def torch_compile(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return PyTorch with the forward and backward pass compiled."""
    return _torch(task, train, compiled=True)


def _jax(task: Task, train: Images, whole_epoch: bool) -> Contender:
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        log_A2 = jax.nn.log_softmax(logits(params, x))
        return -jnp.take_along_axis(log_A2, y[:, None], axis=1).mean()

    def logits(params: Any, x: Any) -> Any:
        W1, b1, W2, b2 = params
        return jax.nn.relu(x @ W1 + b1) @ W2 + b2

    def step(params: Any, part: Any, X: Any, Y: Any) -> Any:
        gradients = jax.grad(loss_of)(params, X[part], Y[part])
        return jax.tree.map(lambda p, dp: p - task.learning_rate * dp, params, gradients)

    def epoch(params: Any, key: Any, X: Any, Y: Any) -> Any:
        order = jax.random.permutation(key, len(X))
        whole = len(X) // task.batch_size * task.batch_size
        parts = order[:whole].reshape(-1, task.batch_size)
        params, _ = jax.lax.scan(lambda p, part: (step(p, part, X, Y), None), params, parts)
        return step(params, order[whole:], X, Y) if whole < len(X) else params

    jit_step, jit_epoch = jax.jit(step, donate_argnums=0), jax.jit(epoch, donate_argnums=0)
    jit_predict = jax.jit(lambda params, x: logits(params, x).argmax(axis=1))
    key, key1, key2 = jax.random.split(jax.random.key(task.seed), 3)
    params = (
        jax.random.normal(key1, (784, task.hidden)) * np.float32(np.sqrt(2 / 784)),
        jnp.zeros(task.hidden),
        jax.random.normal(key2, (task.hidden, 10)) * np.float32(np.sqrt(2 / task.hidden)),
        jnp.zeros(10),
    )
    X, Y = jnp.asarray(train.X), jnp.asarray(train.Y)

    def train_epoch() -> None:
        nonlocal params, key
        key, order_key = jax.random.split(key)
        if whole_epoch:
            params = jit_epoch(params, order_key, X, Y)
        else:
            order = np.asarray(jax.random.permutation(order_key, len(X)))
            for start in range(0, len(order), task.batch_size):
                params = jit_step(params, order[start : start + task.batch_size], X, Y)
        jax.block_until_ready(params)

    return Contender(train_epoch, lambda x: np.asarray(jit_predict(params, x)))


def jax_step(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return JAX with a jitted step, which takes its batch out of the training set."""
    return _jax(task, train, whole_epoch=False)


def jax_scan(task: Task, dataset: mf.Dataset, train: Images) -> Contender:
    """Return JAX with a whole epoch, its order too, in one jitted ``lax.scan``."""
    return _jax(task, train, whole_epoch=True)


# Each with the package that it needs.
CONTENDERS: dict[str, tuple[Callable[[Task, mf.Dataset, Images], Contender], str]] = {
    "mnist_fn": (mnist_fn, "numpy"),
    "mnist_fn unchecked": (mnist_fn_unchecked, "numpy"),
    "mnist_fn all pixels": (mnist_fn_all_pixels, "numpy"),
    "NumPy script": (numpy, "numpy"),
    "scikit-learn": (scikit_learn, "sklearn"),
    "PyTorch": (torch_eager, "torch"),
    "PyTorch compiled": (torch_compile, "torch"),
    "JAX step": (jax_step, "jax"),
    "JAX scan": (jax_scan, "jax"),
}


class ContenderError(Exception):
    """A contender does not run here; the message says why."""


def start(name: str) -> subprocess.Popen[str]:
    """Start a contender's process; ``ContenderError`` says which package is missing."""
    package = CONTENDERS[name][1]
    if importlib.util.find_spec(package) is None:
        raise ContenderError(f"the package {package} is not installed")
    command = [sys.executable, __file__, name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: subprocess.Popen[str], do: str, **request: object) -> Any:
    """Send a request to a contender's process, and return the answer."""
    assert process.stdin
    assert process.stdout
    try:
        print(json.dumps({"do": do, **request}), file=process.stdin, flush=True)
        answer = json.loads(process.stdout.readline())
    except (OSError, ValueError) as error:
        raise ContenderError("its process ended, or said what is no answer") from error
    if "error" in answer:
        raise ContenderError(answer["error"])
    return answer["answer"]


def stop(processes: dict[str, subprocess.Popen[str]]) -> None:
    """End the contenders' processes, and what they have started."""
    for process in processes.values():
        if process.stdin:
            process.stdin.close()
    for process in processes.values():
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def serve(name: str) -> None:
    """Answer the requests that come as lines of JSON."""
    dataset = mf.load_mnist()
    # `mf.scale` returns what nobody can write to, which PyTorch warns of.
    train, test = (
        Images(np.array(mf.scale(X).T), Y.astype(np.int64))
        for X, Y in ((dataset.X_train, dataset.Y_train), (dataset.X_test, dataset.Y_test))
    )
    contender = Contender(lambda: None, lambda X: np.zeros(len(X), np.int64))

    def answer(do: str, **request: Any) -> Any:
        nonlocal contender
        match do:
            case "start":
                contender = CONTENDERS[name][0](Task(**request), dataset, train)
            case "version":
                package = CONTENDERS[name][1]
                threads = {pool["prefix"]: pool["num_threads"] for pool in threadpool_info()}
                return {package: import_module(package).__version__, "threads": threads}
            case "epoch":
                return seconds(contender.train_epoch)
            case "accuracy":
                return float(np.mean(contender.predict(test.X) == test.Y))
            case "predict all":
                return seconds(lambda: contender.predict(test.X))
            case "predict one by one":
                images = (test.X[i : i + 1] for i in range(request["n"]))
                return [seconds(functools.partial(contender.predict, x)) for x in images]

    for line in sys.stdin:
        try:
            reply = {"answer": answer(**json.loads(line))}
        except Exception as error:  # whatever another library raises: the others go on
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(sys.argv[1])
