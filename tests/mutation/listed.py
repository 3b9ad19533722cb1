"""Faults that once went unnoticed, each with the tests that notice it now: `python -m tests.mutation.listed [WORD]`.

Every fault is put into a copy of the tree and its tests are run there; WORD picks the faults whose description has it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fault:
    """A change of one place in the code.

    Attributes:
        what: what is wrong then.
        file: the changed file.
        right, wrong: its text, which occurs there once, and what takes its place.
        tests: where pytest finds those that must fail.
    """

    what: str
    file: str
    right: str
    wrong: str
    tests: str

    def apply(self, tree: Path) -> str:
        """Put the fault into this tree; returns the file's text without it."""
        text = (tree / self.file).read_text("utf-8")
        if text.count(self.right) != 1:
            raise SystemExit(f"{self.file} has {self.right!r} {text.count(self.right)} times, not once: mend this list")
        (tree / self.file).write_text(text.replace(self.right, self.wrong), "utf-8")
        return text


WRITER = "echomimic/media/video_writer.py"
CLICK = "tests/test_media_video_writer.py::test_a_click_sounds_with_its_flash_in_the_written_file"
LENGTH = "tests/test_media_video_writer.py::test_sound_lasts_exactly_as_long_as_the_pictures"
GOLDEN_RUN = "tests/test_pipeline_golden.py::test_pose_files_lead_to_the_latents_of_the_golden_pictures"
POSES_REACH = "tests/test_pipeline.py::test_poses_reach_the_sampler_at_the_videos_rate_and_length"

FAULTS = (
    Fault(
        "the sound comes 100 ms early",
        WRITER,
        "self.samples = waveform.numpy().clip(-1, 1)",
        "self.samples = waveform.numpy().clip(-1, 1)[:, sample_rate // 10 :]",
        CLICK,
    ),
    Fault(
        "the sound is a frame short",
        WRITER,
        "self.sound.write_until(self.frames / self.rate)",
        "self.sound.write_until((self.frames - 1) / self.rate)",
        LENGTH,
    ),
    Fault(
        "the picture is a frame short",
        WRITER,
        "for picture in chunk:",
        "for picture in chunk[1:] if not self.frames else chunk:",
        LENGTH,
    ),
    Fault(
        "poses come one frame late",
        "echomimic/sampling/conditions.py",
        "frames[begin : begin + PICTURES_AT_ONCE], self.width",
        "[max(i - 1, 0) for i in frames[begin : begin + PICTURES_AT_ONCE]], self.width",
        GOLDEN_RUN,
    ),
    Fault(
        "pose pictures are not divided by 255",
        "echomimic/sampling/conditions.py",
        "video.to(self.dtype) / 255",
        "video.to(self.dtype)",
        GOLDEN_RUN,
    ),
    Fault(
        "poses are not resampled to the video's rate",
        "echomimic/pipeline.py",
        "return fit_length(poses, frames, fps)",
        "return fit_length(poses, frames)",
        GOLDEN_RUN,
    ),
    Fault(
        "a clip that is too short is held instead of going back and forth",
        "echomimic/pipeline.py",
        "return fit_length(poses, frames, fps)",
        'return fit_length(poses, frames, fps, "hold")',
        POSES_REACH,
    ),
    Fault(
        "aligned keypoints are divided by the wrong side of the crop",
        "echomimic/pose/fitting/align.py",
        "/ [right - left, bottom - top]",
        "/ [bottom - top, right - left]",
        "tests/test_pose_align.py",
    ),
    Fault(
        "a fitted picture has width and height exchanged",
        "echomimic/media/pictures.py",
        "Image.fromarray(image), (width, height)",
        "Image.fromarray(image), (height, width)",
        "tests/test_images.py",
    ),
    Fault(
        "a render's state does not record the denoiser's weights",
        "echomimic/sampling/sampler.py",
        ', "weights": hash_weights(denoiser)}',
        "}",
        "tests/test_runtime_checkpoint.py",
    ),
    Fault(
        "a render's state does not record the encoders' weights",
        "echomimic/pipeline.py",
        '"voice": speech.source, "encoders": encoders}',
        '"voice": speech.source}',
        "tests/test_pipeline.py",
    ),
    Fault(
        "a failed write leaves its temporary file",
        "echomimic/files/atomic.py",
        "        temporary.replace(path)\n    finally:\n        temporary.unlink(missing_ok=True)",
        "        temporary.replace(path)\n    finally:\n        pass",
        "tests/test_runtime_checkpoint.py",
    ),
    Fault(
        "a host that casts weights computes in the weights' precision",
        "nodes/host.py",
        "comfy.model_management.unet_manual_cast(weights, device) or weights",
        "weights",
        "tests/test_nodes_sampling.py",
    ),
    Fault(
        "a loaded VAE ignores its precision",
        "echomimic/vae/loading.py",
        "loaded[name] = tensor.to(dtype)",
        "loaded[name] = tensor.float()",
        "tests/test_vae.py",
    ),
    Fault(
        "a render ignores the precision chosen for the VAE",
        "echomimic/pipeline.py",
        "        networks.vae.to(vae_dtype(dtype, device))\n",
        "        pass\n",
        "tests/test_pipeline.py",
    ),
)


def copy_tree(target: Path) -> None:
    """The files that git knows, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def failed_test(tree: Path, tests: str) -> str | None:
    """The first of these tests that fails there; None when all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-rf", "--tb=no"]
    result = subprocess.run([*command, tests], cwd=tree, capture_output=True, text=True)
    failures = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("FAILED")]
    if result.returncode not in (0, 1) or (result.returncode == 1 and not failures):
        raise SystemExit(f"the tests did not run: {result.stdout}{result.stderr}")
    return failures[0] if failures else None


def main(word: str = "") -> int:
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        for fault in FAULTS:
            if word not in fault.what:
                continue
            text = fault.apply(tree)
            killer = failed_test(tree, fault.tests)
            (tree / fault.file).write_text(text, "utf-8")
            survivors += killer is None
            print(f"{fault.what}: {killer or 'NOT NOTICED'}", flush=True)
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
