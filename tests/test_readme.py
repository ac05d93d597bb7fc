import re
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

import mnist_fn as mf

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_is_a_twenty_line_example() -> None:
    assert any(15 <= len(example.splitlines()) <= 25 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run_as_they_are(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    for expected in re.findall(r"print\(.*\)  # (.*)", example):
        assert expected in capsys.readouterr().out


def test_the_message_shown_is_the_message_given() -> None:
    dataset = mf.load_digits()
    rows = mf.scale(dataset.X_test).T
    with pytest.raises(TypeCheckError) as caught:
        mf.forward(mf.init_params(mf.key(0)), rows)
    assert f"jaxtyping.TypeCheckError: {caught.value}\n" in README
