"""What an audit is asked to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gradattn_core.dataset.address import absolute
from gradattn_core.dataset.secrets import remember, without_secrets
from gradattn_core.errors import GradattnError
from gradattn_core.methods import OBJECTIVES, PRECISIONS
from gradattn_core.model.spec import FineTuning, ModelSpec

HEADS = ("auto", "as-is", "probe", "finetune")
INTERPRET = ("suspects", "all")
RUNNERS = ("local", "ray")
IN_SAMPLE = ("auto", "yes", "no")
DEFAULT_MODEL = "vit_small_patch16_224.augreg_in21k_ft_in1k"

# What changes where or how fast an audit runs, but no number beyond the last digits of a float.
_NOT_IN_FINGERPRINT = (
    *("out", "device", "workers", "batch_size", "shard_size", "restart"),
    *("runner", "ray_address", "ray_storage"),
)
# A shard is held in memory until it is written, with up to 20 kB of features an image.
_LARGEST_SHARD = 100_000
# An audit's maps are read as red for one class and blue for another, so only signed ones between two classes will do.
AUDIT_OBJECTIVES = tuple(name for name in OBJECTIVES if name != "logit")
AUDIT_CORRECTIONS = ("complete", "centred")


@dataclass(frozen=True)
class AuditConfig:
    """The parameters of one audit.

    Attributes:
        dataset: class folder, archive, WebDataset, or manifest; a path, URL or pattern, see
            :func:`~gradattn_core.dataset.list_dataset`.
        out: output folder; nothing is written elsewhere.
        model, checkpoint, model_arguments, from_scratch: see :class:`~gradattn_core.model.ModelSpec`.
        head: ``as-is`` (the model's classifier), ``probe`` (K-fold linear classifier on frozen features), ``finetune``
            (K-fold fine-tuning), or ``auto``: as-is where the classes align by name, else probe.
        class_map: file that says which output speaks for which class (``as-is``).
        folds: K of the cross-validation of ``probe`` and ``finetune``; an image's fold follows from its content, so
            copies share it. The ranking cross-validates on its own.
        in_sample: whether the model was trained on these labels and may know the wrong ones by heart. If so, it has no
            vote in the ranking, and of its features only the shallowest. ``auto`` finds out, see
            :func:`~gradattn_core.ranking.knows_by_heart`; fine-tuned folds never saw the labels they judge.
        interpret: which images get a map, ``suspects`` or ``all``.
        threshold: suspicion from which an image is a suspect even if the model agrees with its label.
        objective, correction: of the map, see :func:`~gradattn_core.interpret.interpret`; signed ones between two
            classes only.
        precision: of the sweep's matrix products, see :func:`~gradattn_core.model.forward`; ``auto`` is float16 on a
            GPU and float32 elsewhere. Maps are always float32.
        batch_size: images per forward pass; 0 is 32 on a CPU, and on a GPU 64 or what fits.
        shard_size: images per shard, the unit that is kept when an audit is interrupted, at most 100,000; 0 is 1,024 on
            a CPU and up to 16,384 on a GPU, seconds of work in either case.
        path_column, label_column, split_column, split: of a manifest.
        finetuning: how the folds are trained (``finetune``).
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
        workers: that decode, threads for a CPU and processes for a GPU; 0 is one per core.
        restart: begin anew instead of continuing an interrupted audit or keeping a finished one.
        runner: ``local`` (every GPU of this machine, else its CPU) or ``ray`` (a Ray cluster; as a flow only).
        ray_address: ``HOST:PORT`` of the cluster's head, or ``auto`` for the one that this machine is part of;
            without it that of ``RAY_ADDRESS``, else one of this machine alone is started for the audit.
        ray_storage: URL of a folder over which nodes that share none exchange files (anything that fsspec knows).
    """

    dataset: str
    out: str = "gradattn-out"
    model: str = DEFAULT_MODEL
    checkpoint: str | None = None
    model_arguments: dict[str, Any] = field(default_factory=dict)
    from_scratch: bool = False
    head: str = "auto"
    class_map: str | None = None
    folds: int = 5
    in_sample: str = "auto"
    interpret: str = "suspects"
    threshold: float = 0.25
    objective: str = "difference"
    correction: str = "complete"
    precision: str = "auto"
    batch_size: int = 0
    shard_size: int = 0
    path_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    split: str | None = None
    finetuning: FineTuning = field(default_factory=FineTuning)
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    restart: bool = False
    runner: str = "local"
    ray_address: str | None = None
    ray_storage: str | None = None

    def __post_init__(self) -> None:
        # What is stored, shown and logged from here on has no password in it; this process still reads with it.
        object.__setattr__(self, "dataset", remember(self.dataset))
        choices = (
            ("head", self.head, HEADS),
            ("in_sample", self.in_sample, IN_SAMPLE),
            ("interpret", self.interpret, INTERPRET),
            ("precision", self.precision, PRECISIONS),
            ("objective", self.objective, AUDIT_OBJECTIVES),
            ("correction", self.correction, AUDIT_CORRECTIONS),
            ("runner", self.runner, RUNNERS),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                raise GradattnError(f"{name} {value!r} is unknown; choose one of {', '.join(allowed)}")
        at_least = (("folds", self.folds, 2), ("batch_size", self.batch_size, 0), ("shard_size", self.shard_size, 0))
        tuning = (("epochs", self.finetuning.epochs, 1), ("fine-tuning batch size", self.finetuning.batch_size, 1))
        for name, number, least in (*at_least, *tuning, ("workers", self.workers, 0), ("seed", self.seed, 0)):
            if number < least:
                raise GradattnError(f"{name} {number} is too small; at least {least} works")
        if self.shard_size > _LARGEST_SHARD:
            raise GradattnError(f"shard_size {self.shard_size} is too large for memory; at most {_LARGEST_SHARD} works")
        if not 0.0 <= self.threshold <= 1.0:
            raise GradattnError(f"threshold {self.threshold} is not a probability; 0 to 1 works")
        if not 0.0 < self.finetuning.learning_rate < 1.0:
            raise GradattnError(f"learning rate {self.finetuning.learning_rate} makes no sense; 1e-5 to 1e-2 works")
        for name in ("ray_address", "ray_storage"):
            value = getattr(self, name)
            if value is not None and self.runner != "ray":
                value = without_secrets(value)
                raise GradattnError(f"{name} {value!r} says nothing to runner 'local'; choose runner 'ray'")
        if self.from_scratch and self.head != "finetune":
            raise GradattnError("from_scratch needs head 'finetune': random weights have no features to probe")

    @property
    def spec(self) -> ModelSpec:
        """The model to build."""
        return ModelSpec(self.model, self.checkpoint, self.model_arguments, self.from_scratch)

    def identity(self) -> dict[str, Any]:
        """Every parameter that can change a number of the result; paths are absolute, files stand for their content."""
        values = {name: value for name, value in asdict(self).items() if name not in _NOT_IN_FINGERPRINT}
        if self.head != "finetune":
            del values["finetuning"]
        values["dataset"] = absolute(self.dataset)
        values["checkpoint"] = self.spec.digest()
        if self.class_map is not None and Path(self.class_map).is_file():
            values["class_map"] = hashlib.blake2b(Path(self.class_map).read_bytes(), digest_size=16).hexdigest()
        return values

    def listed(self) -> str:
        """What is listed as the dataset, in a text that stays the same while its images and labels change."""
        columns = (self.path_column, self.label_column, self.split_column, self.split)
        return json.dumps([absolute(self.dataset), *columns])

    def differences(self, earlier: dict[str, Any]) -> list[str]:
        """What this audit does otherwise than one whose parameters were ``earlier``, in words, a parameter each."""
        now = json.loads(json.dumps(asdict(self)))
        skipped = {*_NOT_IN_FINGERPRINT, *(() if self.head == "finetune" else ("finetuning",))}
        names = [name for name in now if name in earlier and name not in skipped]
        return [f"{name} {now[name]!r} (was {earlier[name]!r})" for name in names if now[name] != earlier[name]]

    @classmethod
    def from_json(cls, text: str) -> AuditConfig:
        """The inverse of ``json.dumps(asdict(config))``."""
        values = json.loads(text)
        values["finetuning"] = FineTuning(**values["finetuning"])
        return cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})
