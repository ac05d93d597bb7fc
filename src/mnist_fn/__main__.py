"""``python -m mnist_fn`` and ``mnist-fn``: the command line, if what it needs is there."""

import signal
import sys


def main() -> None:
    """Run the command line."""
    try:
        from .effects.blas import restart_with_better_kernel

        restart_with_better_kernel(sys.argv[1:])
        from .effects.cli import app

        signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mnist_fn"):
            raise
        sys.exit(
            f"mnist-fn: the command line needs {error.name}, which is not installed; "
            "install the extra 'app' with: pip install -e '.[app]' in the project's directory"
        )
    except KeyboardInterrupt:
        sys.exit("mnist-fn: interrupted")
    app()


if __name__ == "__main__":
    main()
