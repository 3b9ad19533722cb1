"""The rows that a step takes: what they hold, and that nothing but seed, step and row decides it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from echomimic.training.clip_files import read_clip_frames
from echomimic.training.conditions import StepConditions
from echomimic.training.data import SamplingOfData, TrainingClips
from echomimic.training.records import read_records
from echomimic.training.regions import RegionWeights
from tests.training_data import write_data

FRAMES, SIZE = 8, 64
SAMPLING = SamplingOfData(frames=3, size=SIZE, null_share=0.0, noise_offset=0.0)
ALL = StepConditions("initial", ("body", "head", "lips", "hands"), "picture", 0.0)
# The head box of `write_data`'s headshots, in latent pixels: rows 0..3, columns 2..5.
ROWS, COLUMNS = slice(0, 4), slice(2, 6)


def clips_of(folder: Path, headshot: bool = False) -> TrainingClips:
    """A folder of two clips with cached features of noise."""
    write_data(folder, clips=2, frames=FRAMES, size=SIZE, headshot=headshot)
    records = []
    for number, record in enumerate(read_records(folder)):
        generator = torch.Generator().manual_seed(number)
        tensors = {
            "latents": torch.randn(FRAMES, 4, SIZE // 8, SIZE // 8, generator=generator),
            "steps": torch.randn(2 * FRAMES + 1, 5, 384, generator=generator),
        }
        save_file(tensors, folder / record.latents_name)
        records.append(replace(record, latents=record.latents_name))
    (folder / "metadata.jsonl").write_text("".join(f"{record.to_json()}\n" for record in records))
    return TrainingClips(folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> TrainingClips:
    return clips_of(tmp_path_factory.mktemp("half body"))


@pytest.fixture(scope="module")
def headshots(tmp_path_factory: pytest.TempPathFactory) -> TrainingClips:
    return clips_of(tmp_path_factory.mktemp("headshots"), headshot=True)


class TestRows:
    def test_a_row_does_not_depend_on_the_rows_beside_it(self, clips: TrainingClips) -> None:
        together = clips.batch(5, range(4), ALL, SAMPLING)
        alone = clips.batch(5, [2], ALL, SAMPLING)
        for name in ("latents", "reference", "audio", "pose", "noise", "timesteps"):
            assert torch.equal(getattr(together, name)[2], getattr(alone, name)[0])
        assert not torch.equal(together.noise[1], together.noise[2])

    @pytest.mark.parametrize(("step", "seed"), [(6, 0), (5, 1)])
    def test_another_step_or_seed_draws_others(self, clips: TrainingClips, step: int, seed: int) -> None:
        one = clips.batch(5, [0], ALL, SAMPLING)
        other = clips.batch(step, [0], ALL, replace(SAMPLING, seed=seed))
        assert not torch.equal(one.noise, other.noise)

    def test_window_reference_and_target_are_the_clips(self, clips: TrainingClips) -> None:
        batch = clips.batch(3, range(6), ALL, SAMPLING)
        for row, name in enumerate(batch.names):
            found = re.fullmatch(r"(clips/person-\d\.mp4) from frame (\d+)", name)
            assert found is not None
            begin = int(found[2])
            record = next(one for one in clips.records if one.file_name == found[1])
            cached = clips.clip(clips.records.index(record))
            latents = load_file(clips.folder / record.latents)["latents"]
            assert torch.equal(batch.latents[row], latents[begin : begin + 3].transpose(0, 1))
            assert any(torch.equal(batch.reference[row], one) for one in latents)
            assert torch.equal(batch.audio[row], cached.speech.tokens(range(begin, begin + 3)))
            true = read_clip_frames(clips.folder / record.file_name, [begin + int(batch.targets.frame[row])], SIZE)[0]
            picture = (batch.targets.pictures[row] + 1) * 127.5
            assert torch.equal(picture.round().to(torch.uint8), torch.from_numpy(true).permute(2, 0, 1))

    def test_noise_offset_is_one_number_a_frame_and_channel(self, clips: TrainingClips) -> None:
        plain = clips.batch(1, [0], ALL, SAMPLING).noise
        offset = (clips.batch(1, [0], ALL, replace(SAMPLING, noise_offset=0.5)).noise - plain)[0]
        assert torch.allclose(offset, offset[..., :1, :1].expand_as(offset), atol=1e-6)
        assert len(offset[..., 0, 0].unique()) == 4 * 3

    def test_regions_weigh_the_loss(self, clips: TrainingClips) -> None:
        assert (clips.batch(1, [0], ALL, SAMPLING).loss_mask == 1).all()
        heavy = clips.batch(1, [0], ALL, replace(SAMPLING, regions=RegionWeights(face=3.0))).loss_mask
        assert heavy.max() > 2
        assert heavy.min() == 1


class TestHeadPartialAttention:
    def test_the_pose_is_empty(self, headshots: TrainingClips, clips: TrainingClips) -> None:
        assert not headshots.batch(0, range(3), ALL, SAMPLING).pose.any()
        assert clips.batch(0, range(3), ALL, SAMPLING).pose.any()

    def test_the_padding_counts_in_no_loss(self, headshots: TrainingClips) -> None:
        batch = headshots.batch(0, [0], ALL, SAMPLING)
        expected = torch.zeros(SIZE // 8, SIZE // 8)
        expected[ROWS, COLUMNS] = 1
        assert torch.equal(batch.loss_mask[0], expected.expand(3, -1, -1))
        assert not batch.targets.valid.any()

    @pytest.mark.parametrize("region", ["lips", "face", "picture"])
    def test_audio_stays_on_the_head(self, headshots: TrainingClips, region: str) -> None:
        mask = headshots.batch(0, [0], replace(ALL, audio=region), SAMPLING).audio_mask[0, 0]
        outside = mask.clone()
        outside[ROWS, COLUMNS] = 0
        assert not outside.any()
        assert mask.any()

    def test_where_audio_acts_everywhere_it_acts_on_a_headshots_face(
        self, headshots: TrainingClips, clips: TrainingClips
    ) -> None:
        face, picture = (
            headshots.batch(0, [0], replace(ALL, audio=region), SAMPLING).audio_mask for region in ("face", "picture")
        )
        assert torch.equal(face, picture)
        assert not headshots.batch(0, [0], replace(ALL, audio="none"), SAMPLING).audio_mask.any()
        assert (clips.batch(0, [0], ALL, SAMPLING).audio_mask == 1).all()
