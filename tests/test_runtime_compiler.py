"""The compiled denoiser gives the plain one's result, is compiled once whatever is rendered, and is never needed.

Torch's own code generator takes minutes for the smallest network on a slow machine, so that the tests put backends of
their own in its place: what is compiled, and how often, is decided before one is called.
"""

from __future__ import annotations

import pytest
import torch

from echomimic.cli.main import main
from echomimic.errors import EchoMimicError
from echomimic.runtime import compiler as compiling
from echomimic.runtime.plan import Plan
from echomimic.sampling import FastMode
from tests.golden_cases import relative_error
from tests.test_cli import bundle, inputs, weights
from tests.test_cli_long import batch, write_table
from tests.test_runtime_checkpoint import Stop, stop_at
from tests.tiny import clip_arguments, sample

__all__ = ["bundle", "inputs", "weights"]  # fixtures

COMPILED = Plan(compile=True)


class Backend:
    """A compiler that counts what it is given, and runs it as it is."""

    def __init__(self, fault: Exception | None = None, at: str = "compiling") -> None:
        self.count, self.fault, self.at = 0, fault, at

    def __call__(self, graph, inputs):
        self.count += 1
        if self.at == "compiling" and self.fault is not None:
            raise self.fault

        def run(*tensors):
            if self.fault is not None:
                fault, self.fault = self.fault, None
                raise fault
            return graph.forward(*tensors)

        return run


@pytest.fixture
def use(monkeypatch):
    """Put a backend in the place of torch's."""

    def put(backend):
        monkeypatch.setattr(compiling, "compiler_options", lambda device: {"backend": backend})
        return backend

    torch._dynamo.reset()
    compiling.compiler_for.cache_clear()
    yield put
    compiling.compiler_for.cache_clear()
    torch._dynamo.reset()


def close(value, expected):
    # Whole runs, whose steps and guidance make the rounding larger; compiled layers may use another library.
    assert relative_error(value, expected) < 1e-4


def test_result_is_the_plain_one_and_nothing_is_compiled_twice(use):
    backend = use(Backend())
    close(sample(**clip_arguments(plan=COMPILED)), sample(**clip_arguments()))
    # With conditions and without; four steps and five windows each.
    assert backend.count == 2
    # Another length, another render and fresh networks, other noise, weaker guidance, none, a render that is cancelled.
    close(sample(**clip_arguments(frames=9, plan=COMPILED)), sample(**clip_arguments(frames=9)))
    changes = {"noise": torch.zeros(1, 4, 14, 4, 4), "guidance": 1.2, "steps": 3, "looped": False, "overlap": 2}
    close(sample(**clip_arguments(**changes, plan=COMPILED)), sample(**clip_arguments(**changes)))
    close(sample(**clip_arguments(guidance=1.0, plan=COMPILED)), sample(**clip_arguments(guidance=1.0)))
    with pytest.raises(Stop):
        sample(**clip_arguments(plan=COMPILED), on_progress=stop_at(1))
    close(sample(**clip_arguments(plan=COMPILED)), sample(**clip_arguments()))
    assert backend.count == 2


def test_leftover_windows_are_of_one_shape_for_every_length(use):
    backend = use(Backend())
    plan = Plan(windows_at_once=3, batch_guidance=True, compile=True)
    for count, frames in ((2, 14), (2, 9), (2, 18)):  # 5, 3 and 6 windows
        close(sample(**clip_arguments(frames=frames, plan=plan)), sample(**clip_arguments(frames=frames)))
        assert backend.count == count


def test_a_clip_shorter_than_a_window_is_another_shape(use):
    backend = use(Backend())
    for count, frames in ((1, 14), (2, 3)):
        clip = {"frames": frames, "guidance": 1.0}
        close(sample(**clip_arguments(**clip, plan=COMPILED)), sample(**clip_arguments(**clip)))
        assert backend.count == count


def test_reused_deep_features_work_compiled(use):
    use(Backend())
    reuse = {"fast": FastMode(reuse_every=2), "guidance": 1.0}
    close(sample(**clip_arguments(**reuse, plan=COMPILED)), sample(**clip_arguments(**reuse)))


@pytest.mark.parametrize("at", ["compiling", "running"])
def test_without_a_compiler_the_plain_network_works_and_that_is_logged_once(use, caplog, at):
    use(Backend(RuntimeError("no working C++ compiler was found\nlook for g++"), at))
    plain = sample(**clip_arguments(guidance=1.0))
    for _ in range(2):
        assert torch.equal(sample(**clip_arguments(guidance=1.0, plan=COMPILED)), plain)
    message = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(message) == 1 and "cannot be compiled here" in message[0] and "no working C++ compiler" in message[0]
    assert "look for g++" not in message[0]


def test_a_torch_that_does_not_compile_is_a_missing_compiler(use, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", refuse)
    assert torch.equal(sample(**clip_arguments(plan=COMPILED)), sample(**clip_arguments()))


def test_full_memory_makes_the_plan_smaller_and_not_plain(use, caplog):
    backend = use(Backend(torch.OutOfMemoryError("CUDA out of memory"), at="running"))
    plan = Plan(windows_at_once=4, compile=True)
    close(sample(**clip_arguments(guidance=1.0, plan=plan)), sample(**clip_arguments(guidance=1.0)))
    assert caplog.text.count("continuing with less at once") == 1
    assert "cannot be compiled" not in caplog.text
    assert backend.count == 3  # four windows, two, one


def test_errors_of_the_work_pass_through(use):
    use(Backend())
    silent = torch.full((14, 50, 24), float("nan"))
    with pytest.raises(EchoMimicError, match="returned NaN"):
        sample(**clip_arguments(audio=silent, guidance=1.0, plan=COMPILED))


def test_a_batch_is_compiled_once(use, tmp_path, bundle, inputs):
    backend = use(Backend())
    table = "image,audio,pose,output,frames\n" + "".join(
        f"me.png,voice.wav,clip.safetensors,{frames}.mp4,{frames}\n" for frames in (13, 14)
    )
    command = batch(write_table(tmp_path, table), bundle)
    assert main([*command, "--compile", "--guidance", "1"]) == 0
    assert backend.count == 1
    assert len(list(tmp_path.glob("*.mp4"))) == 2
