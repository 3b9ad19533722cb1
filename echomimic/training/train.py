"""The training loop: `train(config)` reads top to bottom."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Cancelled, TrainingError
from ..models.networks import RECOMMENDED_SETTINGS, Networks
from ..weights import save_bundle
from ..weights.lora import save_lora
from .accelerator import make_accelerator
from .conditions import Curriculum, StepConditions
from .config import TrainingConfig
from .curves import plot_curves
from .data import SamplingOfData, TrainingClips
from .losses import NoiseSchedule
from .networks import (
    TrainedNetworks,
    WithoutMotion,
    add_lora,
    lora_layers,
    mark_trained,
    start_networks,
    weights_digests,
)
from .objective import Objective, Terms, add_terms, make_phase_loss, pose_digest
from .packages import missing_package
from .records import read_records
from .run_folder import RunFolder, locked
from .validation import Validation

logger = logging.getLogger("echomimic")

TERMS = ("total", "latent", "pose", "detail", "low_level")


@dataclass(frozen=True)
class StepReport:
    """The result of a step.

    Attributes:
        step, steps: the step just done, from 0, and their number.
        losses: means by term; a phase-specific term is there when a row fell into its share of time.
        strip: the picture of the last validation, where this step had one.
    """

    step: int
    steps: int
    losses: dict[str, float]
    strip: Path | None = None


# Called after each step; returning False stops the run, which can be resumed.
OnStep = Callable[[StepReport], bool | None]


def train(
    config: TrainingConfig, on_step: OnStep | None = None, device: str = "auto", networks: Networks | None = None
) -> Path:
    """Train, or resume the run in `config.output`.

    Args:
        config: see `TrainingConfig`.
        on_step: see `OnStep`.
        device: "auto" leaves it to accelerate, "cpu" stays there.
        networks: to start from, with a VAE, instead of those that `config.weights` names; they are changed.

    Returns:
        the bundle or LoRA file.

    Raises:
        TrainingError: data or configuration cannot be used, or the loss is NaN; names the samples.
        WeightsError, OutputError: see their classes; a checkpoint that was whole stays.
        MissingPackageError: one of training's packages is not installed.
        Cancelled: `on_step` returned False; the checkpoint is written.
    """
    accelerator = make_accelerator(device)
    folder = RunFolder(Path(config.output))
    if Path(config.weights.path).resolve() == result_path(config).resolve():
        raise TrainingError(
            f"{config.weights.path} would be replaced by the result, which has that name: give another output"
        )
    if not accelerator.is_main_process:
        return Trainer(config, accelerator, folder, networks).run(on_step)
    with locked(folder.path):
        folder.check_config(config)
        folder.check_clips(read_records(Path(config.data)))
        trainer = Trainer(config, accelerator, folder, networks)
        folder.check_weights(trainer.digests)
        folder.keep_config(config)
        return trainer.run(on_step)


def result_path(config: TrainingConfig) -> Path:
    """The file that a run ends with."""
    return Path(config.output) / ("lora.safetensors" if config.stage == "lora" else "bundle.safetensors")


class Trainer:
    """A run: what is set up once, and the loop over it."""

    def __init__(
        self, config: TrainingConfig, accelerator: Any, folder: RunFolder, networks: Networks | None = None
    ) -> None:
        self.config, self.accelerator, self.folder = config, accelerator, folder
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        # 1. Networks, and which of their parameters learn; those are float32, and a LoRA's base never learns.
        stored = self.dtype if config.stage == "lora" else torch.float32
        networks = networks or start_networks(config, stored)
        self.digests = weights_digests(networks)
        if networks.variant == "accelerated" and config.stage != "distill":
            logger.warning(
                "these are the accelerated weights, and the velocity loss undoes their distillation: better start from "
                "the standard ones (download --variant standard)"
            )
        teacher = None
        if config.stage == "distill":  # the start weights as they are; student and teacher share what does not learn
            # Only the copy is cast: the result stores the shared ones as they came.
            denoiser = copy.deepcopy(networks.denoiser).to(accelerator.device, self.dtype)
            teacher = TrainedNetworks(replace(networks, denoiser=denoiser)).requires_grad_(False)
        if config.stage == "lora":
            add_lora(networks, config)
        self.model = TrainedNetworks(networks)
        mark_trained(self.model, config.stage)
        self.networks = networks
        self.motion = WithoutMotion(networks.denoiser)
        for network in (networks.denoiser, networks.reference_unet):
            network.gradient_checkpointing = config.gradient_checkpointing  # type: ignore[assignment]
        # 2. Data.
        self.clips = TrainingClips(Path(config.data), networks.audio_encoder, networks.config)
        vae = networks.vae.to(accelerator.device)
        phase_loss = make_phase_loss(config, vae, accelerator.device)
        self.digests["DWPose"] = pose_digest(phase_loss)
        # The student has guidance folded in: it never runs without its conditions.
        null_share = 0.0 if teacher is not None else config.null_share
        self.sampling = SamplingOfData(
            config.window, config.size, null_share, config.noise_offset, config.seed, config.loss.regions,
            needs_targets=phase_loss is not None,
        )  # fmt: skip
        self.clips.check(self.sampling)
        # 3. Losses.
        self.objective = Objective(config, NoiseSchedule(accelerator.device), vae, phase_loss, self.dtype, teacher)
        # 4. Optimiser, and the averaged weights that validation and the result use.
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        settings = config.optimizer
        self.optimizer: Any = torch.optim.AdamW(
            parameters,
            settings.learning_rate,
            settings.betas,
            weight_decay=settings.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.model.to(accelerator.device)
        from diffusers.training_utils import EMAModel  # heavy

        self.ema: Any = EMAModel(parameters, decay=settings.ema_decay, foreach=True)
        self.validation = Validation(config, self.clips, networks, folder.path, accelerator.device, self.dtype)

    def run(self, on_step: OnStep | None) -> Path:
        config, accelerator = self.config, self.accelerator
        first = self.resume()
        if config.stage == "stage1":  # single pictures have no time
            self.motion.take_out()
        model, optimizer = accelerator.prepare(self.model, self.optimizer)
        model.train()
        curriculum = Curriculum(config.curriculum)
        with self.tracker() or nullcontext() as tracker:
            for step in range(first, config.steps):
                started = time.monotonic()
                conditions = curriculum.at(step, config.steps)
                set_learning_rate(optimizer, config, step)
                terms = self.accumulate(model, step, conditions)
                norm = self.update(model, optimizer, step)
                losses = self.mean_terms(terms)
                strip = self.after_step(step, {
                    **losses, "norm": norm, "phase": conditions.phase, "seconds": round(time.monotonic() - started, 3),
                }, tracker)  # fmt: skip
                if on_step is not None and on_step(StepReport(step, config.steps, losses, strip)) is False:
                    self.save(step + 1)
                    raise Cancelled(
                        f"stopped after step {step + 1} of {config.steps}; the same command resumes from there"
                    )
        return self.finish()

    def accumulate(self, model: nn.Module, step: int, conditions: StepConditions) -> Terms:
        """Add up the gradients of a step's micro-batches; returns their loss terms."""
        config, accelerator = self.config, self.accelerator
        terms: Terms = {}
        for micro in range(config.accumulation):
            # Rows are numbered over all processes, so that their samples do not depend on how many there are.
            place = micro * accelerator.num_processes + accelerator.process_index
            rows = range(place * config.batch_size, (place + 1) * config.batch_size)
            batch = self.clips.batch(step, rows, conditions, self.sampling).to(accelerator.device)
            # Processes add up their gradients once a step, with the last micro-batch.
            is_last = micro == config.accumulation - 1
            with nullcontext() if is_last else accelerator.no_sync(model):
                loss, batch_terms = self.objective(model, batch)
                accelerator.backward(loss / config.accumulation)
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(
                    f"the loss of step {step} is {float(loss.detach())} on {'; '.join(batch.names)}: look at that "
                    f"clip, or lower the learning rate. {self.last_checkpoint()}"
                )
            add_terms(terms, batch_terms)
        return terms

    def update(self, model: nn.Module, optimizer: Any, step: int) -> float:
        """One step of the optimiser; returns the gradient's norm before clipping."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in parameters:
            # A parameter that no row used gets a zero: with None the optimiser would skip it in one process and not
            # in two.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        norm = float(self.accelerator.clip_grad_norm_(parameters, self.config.optimizer.clip_norm))
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradient of step {step} is {norm}: lower the learning rate. {self.last_checkpoint()}"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.ema.step(parameters)
        return norm

    def mean_terms(self, terms: Terms) -> dict[str, float]:
        """Each term's mean over all processes' rows."""
        sums = torch.tensor([[sum(terms.get(n, [])), len(terms.get(n, []))] for n in TERMS], dtype=torch.float64)
        sums = self.accelerator.reduce(sums.float().to(self.accelerator.device), "sum").cpu()
        return {name: float(total / count) for name, (total, count) in zip(TERMS, sums) if count}

    def after_step(self, step: int, line: dict[str, Any], tracker: Any) -> Path | None:
        """Log, checkpoint and validate, as the configuration says."""
        config, strip = self.config, None
        done = step + 1
        if not self.accelerator.is_main_process:
            return None
        self.folder.log({"step": step, **line})
        if tracker is not None:
            for name in TERMS:
                if name in line:
                    tracker.add_scalar(name, line[name], step)
        if config.validation.every and (done % config.validation.every == 0 or done == config.steps):
            strip = self.validate(done)
        if done % config.checkpoint_every == 0 or done == config.steps:
            self.save(done)
            plot_curves(self.folder)
        return strip

    def validate(self, done: int) -> Path:
        """Render the validation clips with the averaged weights."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        if self.config.stage == "stage1":
            self.motion.put_back()
        self.model.eval()
        try:
            return self.validation.run(done)
        finally:
            self.ema.restore(parameters)
            if self.config.stage == "stage1":
                self.motion.take_out()
            self.model.train()

    def save(self, step: int) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        if not self.accelerator.is_main_process:
            return
        weights = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        state = {"weights": weights, "optimizer": self.optimizer.state_dict(), "ema": self.ema.state_dict()}
        self.folder.save(step, state, self.config.keep_checkpoints)

    def resume(self) -> int:
        """Resume from the newest checkpoint; returns the next step."""
        state = self.folder.load()
        if state is None:
            if self.accelerator.is_main_process:
                self.folder.cut_log(0)
            return 0
        own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        stored: dict[str, Tensor] = state["weights"]
        if own.keys() != stored.keys() or any(own[name].shape != stored[name].shape for name in own):
            raise TrainingError(f"the checkpoints of {self.folder.path} are of other networks: give another output")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(stored[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.accelerator.device)
        if self.accelerator.is_main_process:
            self.folder.cut_log(state["step"])
            logger.info("resuming after step %d of %d", state["step"], self.config.steps)
        return int(state["step"])

    def finish(self) -> Path:
        """Write the result, of the averaged weights."""
        config = self.config
        path = result_path(config)
        if not self.accelerator.is_main_process:
            return path
        if config.stage == "stage1":
            self.motion.put_back()
        self.ema.copy_to([p for p in self.model.parameters() if p.requires_grad])
        if config.stage == "lora":
            settings = config.lora
            # The name only: the file is passed on, and folders of this machine are nobody's business.
            base = Path(config.weights.path).name
            metadata = {"trained_steps": str(config.steps), "base": base, "rank": str(settings.rank)}
            save_lora(path, lora_layers(self.model, settings.alpha / settings.rank), metadata)
        else:
            save_bundle(path, self.result(), source=f"trained by {config.stage}, {config.steps} steps")
        return path

    def result(self) -> Networks:
        """The networks as a bundle should have them."""
        if self.config.stage != "distill":
            return self.networks
        steps = self.config.distill.student_steps
        return replace(
            self.networks,
            variant="accelerated",
            settings=replace(RECOMMENDED_SETTINGS["accelerated"], steps=steps, guidance=1.0),
        )

    def last_checkpoint(self) -> str:
        """A sentence about it."""
        found = self.folder.checkpoints()
        return f"The last checkpoint is {found[-1].name}." if found else "There is no checkpoint yet."

    def tracker(self) -> Any:
        """TensorBoard's writer, where one is wanted."""
        if not self.config.tracker or not self.accelerator.is_main_process:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter  # optional
        except ImportError as error:
            raise missing_package("tensorboard", "the tracker tensorboard") from error
        return SummaryWriter(str(self.folder.path / "tensorboard"))


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then a cosine from the full rate to its final share."""
    settings = config.optimizer
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    progress = max(0, step - settings.warmup_steps) / max(1, config.steps - settings.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.learning_rate * warm * (settings.final_share + (1 - settings.final_share) * cosine)


def set_learning_rate(optimizer: Any, config: TrainingConfig, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
