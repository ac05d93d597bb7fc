"""``mnist-fn``, which Ctrl-C ends without a stack trace from its first moment on.

It lies beside the package, for whatever lies in it is imported after it: with NumPy some four
tenths of a second, in which there is nothing to lose yet.
"""

import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mnist_fn.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
