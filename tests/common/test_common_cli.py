"""What a stage says on the command line."""

import pytest

from tasks.common.cli import guarded
from tasks.common.errors import UserError
from tasks.common.fanout import progress


def test_an_error_beside_an_open_bar_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        bar = progress(3, "caad")
        bar.update()
        raise UserError("models/caad", "no space left", "Free some")

    with pytest.raises(SystemExit) as left:
        guarded(body)
    assert left.value.code == 2
    assert "error: models/caad: no space left. Free some" in capsys.readouterr().err.replace("\r", "\n").split("\n")
