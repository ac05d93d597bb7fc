"""``python -m mnist_fn`` and ``mnist-fn``: the command line, if what it needs is there."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .effects.blas import restart_with_better_kernel

        restart_with_better_kernel()
        from .effects.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mnist_fn"):
            raise
        sys.exit(
            f"mnist-fn: the command line needs {error.name}, which is not installed; "
            "install the extra 'app' with: pip install -e '.[app]' in the project's directory"
        )
    except KeyboardInterrupt:
        sys.exit("mnist-fn: interrupted; begin again with the same command")
    try:
        app()
    except OSError as error:  # of a screen or file that cannot show what is asked for
        sys.exit(f"mnist-fn: this cannot be shown or written: {error.strerror}")


if __name__ == "__main__":
    main()
