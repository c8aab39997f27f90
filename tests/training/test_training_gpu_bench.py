"""The full-size benchmark runs with small shapes; what it counts is what a step does."""

from pathlib import Path

import pytest
import torch

from bench import gpu
from tasks.training.passes import Passes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", gpu.TINY.text)
def test_a_step_learns_and_its_tokens_are_counted(name: str) -> None:
    bench = gpu.set_up(name, gpu.TINY, CPU)
    batch, step = bench.batch(2), gpu.stepper(bench)
    before = {name: weight.clone() for name, weight in bench.student.named_parameters() if weight.requires_grad}
    losses = [step(batch), step(batch)]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert any(not torch.equal(weight, before[name]) for name, weight in bench.student.named_parameters() if name in before)
    with torch.autocast("cpu", torch.bfloat16):
        rollouts = Passes(bench.student, bench.cast, batch).rollouts()
    # Rollouts may end early by chance; the count takes them as long as they may be.
    assert rollouts.ids.shape == (2 * gpu.TINY.group, gpu.TINY.tokens)
    assert bench.tokens(batch) == int(batch["student"]["attention_mask"].sum()) + rollouts.ids.numel() + batch["reference_mask"].sum()


def test_the_largest_batch_is_the_last_power_of_two_that_fits() -> None:
    bench = gpu.set_up("Qwen2.5-Omni-3B thinker", gpu.TINY, CPU)

    def step(batch: dict[str, object], fits: int) -> float:
        if len(batch["position"]) > fits:  # type: ignore[arg-type]
            raise torch.cuda.OutOfMemoryError
        return 0.0

    assert [gpu.largest(lambda batch, fits=fits: step(batch, fits), bench) for fits in (0, 1, 9)] == [0, 1, 2]


def test_without_a_gpu_nothing_is_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench.gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = gpu.PAGE.read_bytes()
    assert gpu.main() == 2
    assert "no GPU" in capsys.readouterr().err and gpu.PAGE.read_bytes() == before
    assert gpu.PAGE.read_text(encoding="utf-8").count(gpu.MARK) == 2
