"""The steps of training: batches in, changed weights out, and everything around that a long run needs.

Shapes: B pictures, H W their size.
"""

import argparse
import contextlib
import copy
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from experiments.training.data import Batch, stream
from experiments.training.losses import make_loss
from experiments.training.models import freeze, make_model, make_optimizers, parameter_groups, train_mode
from experiments.training.processes import Processes
from experiments.training.records import STATE, Clock, Records, check_same_run, load_state, options_of, save_state
from experiments.training.sources import SceneSource, make_source
from experiments.training.validation import is_trained_on, make_examples, validate
from lib.checkpoints.files import save_dpt
from lib.errors import UserError
from lib.image_processor import DPTImageProcessor, PictureRule

NUM_PANELS = 4


class Training:
    """One run: `run()` makes the steps that are left. See experiments/training/options.py for args."""

    def __init__(self, args: argparse.Namespace, processes: Processes):
        self.args, self.processes = args, processes
        self.folder = Path(args.output_folder)
        state = self.find_state()
        torch.manual_seed(args.seed)
        self.config, model = make_model(args)
        self.model = model.to(processes.device)
        freeze(self.model, args.freeze)
        if hasattr(model, "set_fused_attention"):
            is_slow = args.bf16 and processes.device.type == "cpu"
            model.set_fused_attention(not is_slow if args.fused_attention is None else args.fused_attention)
        self.imgproc = DPTImageProcessor(PictureRule(**self.config["picture"]))
        self.loss = make_loss(
            args.loss,
            gradient_weight=args.gradient_weight,
            far_weight=args.far_weight,
            trim=args.trim,
            max_depth=self.config["output"]["value_range"][1],
        )
        self.samples_per_step = args.batch_size * args.accumulate * processes.count
        self.make_optimizer()
        self.ema = None
        if args.ema and processes.is_first:
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(args.ema))
        self.step, self.best, self.loss_sum, self.loss_count = 0, -math.inf, 0.0, 0
        self.clock = Clock(0.0)
        if state is not None:
            self.load(state)
        self.wrapped = processes.wrap(self.model)
        mean, std = (
            torch.tensor(values, device=processes.device) for values in (self.imgproc.rule.mean, self.imgproc.rule.std)
        )
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def find_state(self) -> dict | None:
        """The state to go on from. Raises UserError where a run would be overwritten."""
        state = load_state(self.folder)
        if state is not None and not self.args.resume:
            raise UserError(f"{self.folder} holds a run: pass --resume to go on with it, or another folder with -o")
        return state

    def make_optimizer(self) -> None:
        """The optimizers, and for each the one-cycle schedule: in cosines up from largest rate / start_ratio, and down
        to nearly 0.
        """
        args = self.args
        rate = args.rate or (1e-3 if args.new else 5e-5)
        encoder_rate = args.encoder_rate or (rate if args.new else rate / 10)
        groups = parameter_groups(self.model, rate=rate, encoder_rate=encoder_rate, weight_decay=args.weight_decay)
        self.trained = [parameter for group in groups for parameter in group["params"]]
        self.optimizers = make_optimizers(args.optimizer, groups)
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                total_steps=args.steps + 1,
                pct_start=args.warm_up,
                div_factor=args.start_ratio,
                cycle_momentum=False,
            )
            for optimizer in self.optimizers
        ]

    def run(self) -> None:
        """Make the steps that are left, validate and save on the way. Raises UserError where training has to stop."""
        args, is_first = self.args, self.processes.is_first
        source = make_source(args, num_processes=self.processes.count)
        batches = stream(source, batch_size=args.batch_size, numbers=self.batch_numbers(), workers=args.workers)
        self.records = self.examples = None
        if is_first:
            scenes = SceneSource(seed=0, size_hw=tuple(args.size), device=args.render_device)
            val_data = args.val_data or args.data[0]
            self.examples = make_examples(val_data, scenes, self.imgproc, args.val_count, scale=args.scale)
            if is_trained_on(val_data, args.data, scale=args.scale):
                print(f"{val_data}: the best model is chosen by pictures that it learns from; hold some out, with --val_data")
            self.records = Records(self.folder, options_of(args), step=self.step, tensorboard=args.tensorboard)
            print(self.describe(), flush=True)
        train_mode(self.model)
        interval = 0.1 if sys.stderr.isatty() else 60  # a log file should not grow by ten lines a second
        with tqdm(
            total=args.steps, initial=self.step, unit="step", disable=not is_first, mininterval=interval
        ) as progress:
            while self.step < args.steps:
                loss = self.make_step(batches)
                progress.update()
                progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if is_first:
                    self.after_step()
        batches.close()
        if is_first:
            self.records.close()
            samples, hours = self.step * self.samples_per_step, self.clock.seconds() / 3600
            print(f"{self.step} steps, {samples} samples, {hours:.2f} hours; best δ1 {self.best:.4f}")

    def batch_numbers(self) -> Iterator[int]:
        """This process' batches, see `stream`: those of one step follow each other, process by process."""
        args, processes = self.args, self.processes
        for step in range(self.step, args.steps):
            for part in range(args.accumulate):
                yield (step * processes.count + processes.rank) * args.accumulate + part

    def make_step(self, batches: Iterator[Batch]) -> float:
        """One change of the weights; returns the mean loss of its samples. Raises UserError before a bad change."""
        args = self.args
        total = torch.zeros((), device=self.processes.device)
        for part in range(args.accumulate):
            is_last = part == args.accumulate - 1
            with contextlib.nullcontext() if is_last or self.processes.count == 1 else self.wrapped.no_sync():
                loss = self.batch_loss(next(batches)) / args.accumulate
                loss.backward()
            total += loss.detach()
        loss = self.processes.mean(total)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, args.clip).item()  # gradients are the same in all processes
        if not (math.isfinite(loss) and math.isfinite(norm)):
            state = self.folder / STATE
            kept = f"{state} has the last good weights" if state.exists() else "nothing had been saved yet"
            raise UserError(
                f"step {self.step + 1}: the loss is {loss:g} and its gradient's norm {norm:g}; stopped before the "
                f"weights were changed by it ({kept}). A smaller --rate may help"
            )
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        self.step += 1
        self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
        return loss

    def batch_loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, with gradients."""
        images, depth = (tensor.to(self.processes.device) for tensor in batch)
        with self.autocast():
            prediction = self.wrapped((images - self.mean) / self.std)  # B 3 H W -> B H W
        return self.loss(prediction.float(), depth).mean()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.args.bf16)

    def after_step(self) -> None:
        """Write down, validate, save: whichever is due. Saving comes last, so that the state knows of the other two."""
        args = self.args
        is_end = self.step == args.steps
        if self.step % args.log_every == 0 or is_end:
            rates = self.schedules[0].get_last_lr()
            self.records.write(self.step, {"loss": self.loss_sum / self.loss_count, "rate": rates[-1]})
            self.loss_sum, self.loss_count = 0.0, 0
        if self.step % args.val_every == 0 or is_end:
            self.make_validation()
        if self.step % args.save_every == 0 or is_end:
            self.save()

    def make_validation(self) -> None:
        """Validate the averaged model, or else the model as it is, and keep it if it is the best so far."""
        model = self.model if self.ema is None else self.ema.module
        with self.autocast():
            validation = validate(model, self.imgproc, self.examples, num_panels=NUM_PANELS)
        train_mode(self.model)
        self.records.write(self.step, validation.metrics)
        self.records.show(self.step, validation.panels)
        tqdm.write(
            f"step {self.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation.metrics.items())
        )
        if validation.metrics["delta1"] > self.best:
            self.best = validation.metrics["delta1"]
            self.export("best.safetensors")

    def export(self, name: str) -> None:
        """Write the (averaged) model for `make_dpt_from_state_dict`, with a note on how it was trained."""
        args = self.args
        model = self.model if self.ema is None else self.ema.module
        if args.file_dtype == "float16":
            model = copy.deepcopy(model).half()
        note = {
            "steps": self.step,
            "samples": self.step * self.samples_per_step,
            "started_from": args.new or args.model_path,
        }
        note |= {key: getattr(args, key) for key in ("data", "loss", "size", "seed")}
        save_dpt(self.folder / name, self.config | {"training": note}, model)

    def save(self) -> None:
        """Write everything that the next step depends on, and the last model."""
        self.export("last.safetensors")
        cuda = torch.cuda.get_rng_state_all() if self.processes.device.type == "cuda" else []
        state = {
            "step": self.step,
            "samples_per_step": self.samples_per_step,
            "best": self.best,
            "loss": [self.loss_sum, self.loss_count],
            "seconds": self.clock.seconds(),
            "options": json.dumps(options_of(self.args)),
            "random": {"torch": torch.get_rng_state(), "cuda": cuda},
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
        }
        save_state(self.folder, state)

    def load(self, state: dict) -> None:
        """Go on from what `save` wrote. Raises UserError if the options do not fit."""
        check_same_run(json.loads(state["options"]), options_of(self.args))
        if state["samples_per_step"] != self.samples_per_step:
            raise UserError(
                f"--resume: the run has {state['samples_per_step']} samples in each step, these options give "
                f"{self.samples_per_step}: batch_size x accumulate x processes must stay the same"
            )
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.step, self.best = state["step"], state["best"]
        self.loss_sum, self.loss_count = state["loss"]
        self.clock = Clock(state["seconds"])
        torch.set_rng_state(state["random"]["torch"])
        if state["random"]["cuda"] and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["random"]["cuda"])

    def describe(self) -> str:
        """What is about to happen, in two lines."""
        args = self.args
        count, trained = (
            sum(weight.numel() for weight in weights) / 1e6 for weights in (self.model.parameters(), self.trained)
        )
        where = f"{self.processes.device}{' in bfloat16' if args.bf16 else ''}"
        where += f" in {self.processes.count} processes" if self.processes.count > 1 else ""
        size, data = " x ".join(map(str, args.size)), ", ".join(args.data)
        return (
            f"{args.new or args.model_path}: {count:.2f} M parameters, {trained:.2f} M of them trained, on {where}\n"
            f"steps {self.step} to {args.steps} of {self.samples_per_step} samples at {size} from {data}; "
            f"loss {args.loss}; results in {self.folder}"
        )


def train(args: argparse.Namespace) -> int:
    """The exit code of train_depth.py. Raises UserError with one sentence where the run cannot start or has to stop."""
    if args.threads:
        torch.set_num_threads(args.threads)
    with Processes(args.device) as processes:
        quiet = contextlib.nullcontext() if processes.is_first else contextlib.redirect_stdout(None)
        with quiet:
            Training(args, processes).run()
    return 0
