"""Write the built-in digits from scikit-learn's copy: ``python tests/make_digits.py``.

They are the 1,797 images of the test part of "Optical Recognition of Handwritten
Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0), put into a random order once and for
all: as they come, the last 360 are other writers' than the first 1,437.
"""

import io
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "src/mnist_fn/effects/digits.npz"


def archive() -> bytes:
    """Return the content of the file: ``images`` (m, 8, 8) of 0 to 16, and ``labels``."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(1998)).permutation(len(labels))
    content = io.BytesIO()
    np.savez_compressed(
        content,
        images=pixels.reshape(-1, 8, 8).astype(np.uint8)[order],
        labels=labels.astype(np.uint8)[order],
    )
    return content.getvalue()


if __name__ == "__main__":
    TARGET.write_bytes(archive())
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")
