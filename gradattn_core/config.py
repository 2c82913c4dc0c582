"""What an audit is asked to do: every parameter once, with its type, default, choices, bounds and help.

Command line, flow, page and schedules read the parameters from here; a new one is a field and its tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gradattn_core.dataset.address import absolute
from gradattn_core.dataset.secrets import remember, without_secrets
from gradattn_core.dataset.text import shown_all
from gradattn_core.errors import GradattnError, ModelError
from gradattn_core.files import digest, user_path
from gradattn_core.methods import ENGINES, MAP_PRECISIONS, PAIR_OBJECTIVES, PRECISIONS, SIGNED_CORRECTIONS, Method

DEFAULT_MODEL = "vit_small_patch16_224.augreg_in21k_ft_in1k"
DEFAULT_OUT = os.environ.get("GRADATTN_OUT") or "gradattn-out"
AUTO_MODEL, NO_MODEL = "auto", "none"
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".index.json")
_CHECKPOINTS = "a .safetensors file or a torch state dictionary"
MEASURED = 500
"""So many suspects, the first ones, have their strongest regions measured."""
BOX_MARGIN, MIN_BOX = 0.1, 10
"""Of annotated boxes: the margin in parts of a box's sides, and the pixels that its shorter side has at least."""

# Of the command line; a parameter without one stands before them all.
MODEL, INTERPRETATION, MANIFEST = "model", "interpretation", "manifest, table or samples"
BROUGHT = "features and predictions of one's own"
TUNING, RUNNING = "fine-tuning (--head finetune)", "running"

# Fields that say nothing where they have their first value, newer than some audits in people's output folders.
_LATER_OF_LISTING: Mapping[str, object] = {
    "classes": [],
    "limit": 0,
    "sample": 0,
    "box_margin": BOX_MARGIN,
    "min_box": MIN_BOX,
}
_LATER: Mapping[str, object] = {**_LATER_OF_LISTING, "map_precision": "auto", "engine": "torch"}
_TYPES = (str, int, float, bool, dict, list)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as whoever asks for its value sees it.

    Attributes:
        name: of the field; ``--shard-size`` on the command line is ``shard_size``.
        type: ``str``, ``int``, ``float``, ``bool``, ``dict`` or ``list`` (of texts, each given by itself).
        default: MISSING where a value is needed.
        help: one phrase that begins in lower case.
        choices: the only values, where they can be counted.
        least, most: bounds of a number.
        group: heading on the command line.
        placeholder: of a value on the command line.
        path: ``input`` or ``output`` where it may name a file or folder of the machine that runs the audit.
        is_result: whether it can change a number of the result beyond the last digits of a float.
        is_local: whether only whoever sits at the machine or runs a cluster may choose it.
    """

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    group: str = ""
    placeholder: str = ""
    path: Literal["", "input", "output"] = ""
    is_result: bool = True
    is_local: bool = False

    @property
    def option(self) -> str:
        """As it is typed."""
        return f"--{self.name.replace('_', '-')}"

    def check(self, value: Any) -> None:
        """Raises:
        GradattnError: it is none of the choices, or out of bounds.
        """
        name = self.name.replace("_", " ") if self.group == TUNING else self.name
        if self.choices and value not in self.choices:
            raise GradattnError(f"{name} {value!r} is unknown; choose one of {', '.join(self.choices)}")
        if self.least is not None and value < self.least:
            raise GradattnError(f"{name} {value} is too small; at least {self.least:g} works")
        if self.most is not None and value > self.most:
            raise GradattnError(f"{name} {value} is too large; at most {self.most:,.10g} works")


def _parameter(default: Any, help: str, **facts: Any) -> Any:
    """A field with what there is to know about the parameter beside its name, type and default."""
    metadata = {"help": help, **facts}
    if isinstance(default, dict | list):
        return field(default_factory=type(default), metadata=metadata)
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FineTuning:
    """How the folds are trained. ``learning_rate`` is reached after the first tenth, then falls along a cosine."""

    epochs: int = _parameter(5, "how often each training picture is seen", least=1, group=TUNING, placeholder="N")
    learning_rate: float = _parameter(
        1e-4, "the highest; 1e-5 to 1e-2 makes sense", least=1e-8, most=0.5, group=TUNING, placeholder="RATE"
    )
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    batch_size: int = 64


@dataclass(frozen=True)
class ModelSpec:
    """Which model to build.

    Attributes:
        name: a timm model name, optionally with a tag or a ``hf-hub:`` prefix.
        checkpoint: a safetensors file or a torch file of plain tensors; the published weights where ``None``.
        arguments: further keyword arguments of ``timm.create_model`` (``img_size``, ``embed_dim`` …).
        from_scratch: random weights, for ``finetune`` only.
    """

    name: str
    checkpoint: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    from_scratch: bool = False

    def __post_init__(self) -> None:
        if self.name == AUTO_MODEL:
            object.__setattr__(self, "name", DEFAULT_MODEL)

    @property
    def file(self) -> Path | None:
        """The checkpoint's file.

        Raises:
            ModelError: it is not there.
        """
        if self.checkpoint is None:
            return None
        file = user_path(self.checkpoint)
        if file.is_dir():
            instead = _CHECKPOINTS
            with suppress(OSError):
                weights = sorted(name for name in os.listdir(file) if name.lower().endswith(_WEIGHTS))
                instead = f"one of the files in it: {shown_all(weights)}" if weights else instead
            raise ModelError(f"checkpoint {self.checkpoint} is a folder, not a file; give {instead}")
        if not file.is_file():
            raise ModelError(f"checkpoint {self.checkpoint}: no such file; give {_CHECKPOINTS}")
        return file

    def digest(self) -> str:
        """A fingerprint of the checkpoint's bytes (empty without a checkpoint)."""
        return "" if self.file is None else digest(self.file)


@dataclass(frozen=True)
class AuditConfig:
    """The parameters of one audit; the help of each says what it does.

    Raises:
        GradattnError: a value that no audit can use, in one sentence.
    """

    dataset: str = _parameter(
        MISSING,
        "folder root/<label>/**/image, a zip or tar of one, WebDataset tars, Parquet with pictures, or a "
        "CSV/Parquet/JSONL manifest; a path, a URL (s3://, gs://, hf://, https://), or a pattern of several files",
        path="input",
    )
    out: str = _parameter(
        DEFAULT_OUT, "output folder; nothing is written elsewhere", placeholder="DIR", path="output", is_result=False
    )
    model: str = _parameter(
        AUTO_MODEL,
        f"name of a timm Vision Transformer; auto is {DEFAULT_MODEL}, or none beside --features, --probabilities and "
        "--logits, and then there are no maps",
        group=MODEL,
        placeholder="M",
    )
    checkpoint: str | None = _parameter(
        None,
        "safetensors, or a torch file of plain tensors; the published weights without it",
        group=MODEL,
        placeholder="FILE",
        path="input",
    )
    model_arguments: dict[str, object] = _parameter(  # noqa: RUF009 - it is a field
        {},
        'further arguments of timm.create_model as a JSON object, such as {"img_size": 384}',
        group=MODEL,
        placeholder="JSON",
    )
    from_scratch: bool = _parameter(False, "begin fine-tuning from random weights", group=TUNING)
    head: str = _parameter(
        "auto",
        "who judges: the model's own classifier (as-is), a K-fold linear probe on frozen features, K-fold fine-tuning; "
        "auto is as-is where the class names match, else probe",
        choices=("auto", "as-is", "probe", "finetune"),
    )
    features: str | None = _parameter(
        None,
        "of a model of one's own, a row for each picture: npy, npz, Parquet or CSV",
        group=BROUGHT,
        placeholder="FILE",
        path="input",
    )
    probabilities: str | None = _parameter(
        None,
        "out-of-sample class probabilities of a model of one's own, such as cleanlab's pred_probs: a row for each "
        "picture, a column for each class by name, or in the order of the sorted names",
        group=BROUGHT,
        placeholder="FILE",
        path="input",
    )
    logits: str | None = _parameter(
        None, "the same before the softmax", group=BROUGHT, placeholder="FILE", path="input"
    )
    paths: str | None = _parameter(
        None,
        "the picture of each row of those, a line each, or a table with a column of paths; the order of the manifest, "
        "or of the sorted paths, without it",
        group=BROUGHT,
        placeholder="FILE",
        path="input",
    )
    class_map: str | None = _parameter(
        None, "JSON or CSV (label, output): the model's output of each class (as-is)", placeholder="FILE", path="input"
    )
    folds: int = _parameter(
        5, "K of the cross-validation; a picture's fold follows from its content", least=2, placeholder="K"
    )
    in_sample: str = _parameter(
        "auto",
        "whether the model was trained on these very labels: then it has no vote; auto finds out",
        choices=("auto", "yes", "no"),
    )
    interpret: str = _parameter("suspects", "which images get a map of the evidence", choices=("suspects", "all"))
    threshold: float = _parameter(
        0.25,
        "suspicion, 0 to 1, from which an image is a suspect although the model agrees with its label",
        least=0.0,
        most=1.0,
        placeholder="P",
    )
    # Its maps are read as red for one class and blue for another, so only signed ones between two classes will do.
    objective: str = _parameter(
        Method().objective,
        "what is differentiated for the map; difference is the log-odds",
        choices=PAIR_OBJECTIVES,
        group=INTERPRETATION,
    )
    correction: str = _parameter(
        "secant",
        "how the map is made: secant adds up to the model's log-odds, complete and centred are the paper's and have no "
        "numbers; of another objective than the difference there is no secant map, complete takes its place",
        choices=SIGNED_CORRECTIONS,
        group=INTERPRETATION,
    )
    measured: str = _parameter(
        "strongest",
        f"what is measured by leaving patches out: the strongest region of either side, of the first {MEASURED} "
        "suspects; or all numbers of every map, for 14 to 16 more passes each",
        choices=("strongest", "all"),
        group=INTERPRETATION,
    )
    precision: str = _parameter(
        "auto",
        "of the sweep; auto is float16 on a GPU, and on a CPU bfloat16 where it has units for that, else float32",
        choices=PRECISIONS,
        group=RUNNING,
    )
    engine: str = _parameter(
        "torch",
        "what computes the sweep on a CPU: torch, or openvino, which is faster there and comes with pip install "
        "'gradattn[openvino]'; maps are torch's either way",
        choices=ENGINES,
        group=RUNNING,
    )
    map_precision: str = _parameter(
        "auto",
        "of the maps and what is measured of them; auto is tf32 on a GPU that has units for it, several times as fast "
        "and off by up to a hundredth of the greatest score, else float32",
        choices=MAP_PRECISIONS,
        group=RUNNING,
    )
    batch_size: int = _parameter(
        0,
        "images per forward pass; 0 is 32 on a CPU, and on a GPU 256 (64 for maps) or what fits",
        least=0,
        group=RUNNING,
        placeholder="N",
        is_result=False,
    )
    shard_size: int = _parameter(
        0,
        "images that are kept together when the audit is interrupted, at most 100,000; 0 is 1,024 on a CPU and up to "
        "16,384 on a GPU",
        least=0,
        # A shard is held in memory until it is written, with up to 20 kB of features an image.
        most=100_000,
        group=RUNNING,
        placeholder="N",
        is_result=False,
    )
    path_column: str = _parameter(
        "path", "column of the paths, or of a Parquet file's pictures", group=MANIFEST, placeholder="NAME"
    )
    label_column: str = _parameter(
        "label", "column of the labels, or field of a sample's JSON", group=MANIFEST, placeholder="NAME"
    )
    split_column: str = _parameter("split", "column of the split", group=MANIFEST, placeholder="NAME")
    split: str | None = _parameter(
        None, "only this split: rows, folder, or files named after it", group=MANIFEST, placeholder="VALUE"
    )
    image_root: str | None = _parameter(
        None,
        "folder, archive or URL where a table's paths start; its own folder without it",
        group=MANIFEST,
        placeholder="DIR",
        path="input",
    )
    image_ending: str | None = _parameter(
        None, "ending of the pictures' names where a table's paths have none", group=MANIFEST, placeholder=".EXT"
    )
    label_depth: str | None = _parameter(
        None,
        "which level of folders is the label: 1 the first below the dataset, 2 the second, 1-2 both, joined by a slash",
        placeholder="N",
    )
    exclude_label: list[str] = _parameter(  # noqa: RUF009 - it is a field
        [], "leave the pictures of this label out; may be given several times", placeholder="LABEL"
    )
    classes: list[str] = _parameter(  # noqa: RUF009 - it is a field
        [], "only the pictures of these classes, with commas between; may be given several times", placeholder="A,B"
    )
    limit: int = _parameter(
        0, "at most so many pictures, evenly from the whole list; 0 takes all", least=0, placeholder="N"
    )
    sample: int = _parameter(
        0, "so many pictures at random, the same ones for the same --seed; 0 takes all", least=0, placeholder="N"
    )
    merge_spellings: bool = _parameter(
        False, "take labels that differ only in case, blanks, _ and -, zeros or Unicode form for one"
    )
    box_margin: float = _parameter(
        BOX_MARGIN,
        "around each annotated box of a detection set, in parts of its sides",
        least=0.0,
        most=4.0,
        placeholder="PART",
    )
    min_box: int = _parameter(
        MIN_BOX, "pixels that the shorter side of an annotated box has at least", least=1, placeholder="PIXELS"
    )
    finetuning: FineTuning = field(
        default_factory=FineTuning, metadata={"help": "how the folds are trained (finetune)"}
    )
    seed: int = _parameter(0, "of everything random", least=0, most=2**63 - 1, group=RUNNING, placeholder="N")
    device: str = _parameter(
        "auto",
        "auto, cpu, cuda, cuda:1 …; auto is every GPU, else the CPU",
        group=MODEL,
        placeholder="D",
        is_result=False,
    )
    workers: int = _parameter(
        0,
        "that decode, threads for a CPU and processes for a GPU; 0 is one per core",
        least=0,
        group=RUNNING,
        placeholder="N",
        is_result=False,
    )
    restart: bool = _parameter(
        False, "begin anew instead of continuing or keeping a result", group=RUNNING, is_result=False
    )
    runner: str = _parameter(
        "local",
        "where the shards run: every GPU of this machine, else its CPU (local), or a Ray cluster, as a flow (ray)",
        choices=("local", "ray"),
        group=RUNNING,
        is_result=False,
        is_local=True,
    )
    ray_address: str | None = _parameter(
        None,
        "the cluster's head, HOST:PORT, or auto for the one that this machine is part of; without it that of "
        "RAY_ADDRESS, else one of this machine alone is started",
        group=RUNNING,
        placeholder="ADDRESS",
        is_result=False,
        is_local=True,
    )
    ray_storage: str | None = _parameter(
        None,
        "URL of a folder, such as s3://bucket/gradattn, over which nodes exchange files; without it --out lies on "
        "storage that all of them share",
        group=RUNNING,
        placeholder="URL",
        is_result=False,
        is_local=True,
    )

    def __post_init__(self) -> None:
        # What is stored, shown and logged from here on has no password in it; this process still reads with it.
        object.__setattr__(self, "dataset", remember(self.dataset))
        for name in ("dataset", "out"):
            # As an unset "$DATA" of a shell is; taken for a path it would be the current folder.
            if not getattr(self, name).strip():
                raise GradattnError(f"{name} is empty; give a folder, or . for the current one")
        if self.image_root is not None:
            object.__setattr__(self, "image_root", remember(self.image_root))
        for parameter in parameters():
            parameter.check(self.value(parameter.name))
        if self.objective != "difference" and self.correction == "secant":
            # Whoever names an objective alone wants its maps; which ones they are, the audit says.
            object.__setattr__(self, "correction", "complete")
        if self.measured == "all" and not self.adds_up:
            raise GradattnError(
                f"measured 'all' needs maps that add up, which those of objective {self.objective!r} and correction "
                f"{self.correction!r} do not; choose objective 'difference' and correction 'secant'"
            )
        for name in ("ray_address", "ray_storage"):
            value = getattr(self, name)
            if value is not None and self.runner != "ray":
                value = without_secrets(value)
                raise GradattnError(f"{name} {value!r} says nothing to runner 'local'; choose runner 'ray'")
        if self.limit and self.sample:
            raise GradattnError(f"limit {self.limit} and sample {self.sample} both say how many; give one of them")
        if self.from_scratch and self.head != "finetune":
            raise GradattnError("from_scratch needs head 'finetune': random weights have no features to probe")
        self._settle_model()

    def _settle_model(self) -> None:
        """Which model ``auto`` is, and that it goes with what is brought."""
        if self.model == AUTO_MODEL:
            own = self.checkpoint is not None or bool(self.model_arguments)
            object.__setattr__(self, "model", DEFAULT_MODEL if own or not self.brings else NO_MODEL)
        if self.probabilities is not None and self.logits is not None:
            raise GradattnError("probabilities and logits were both given; give one of them")
        if self.paths is not None and not self.brings:
            raise GradattnError(f"paths {self.paths!r} says nothing without features, probabilities or logits")
        if self.brings and self.head == "finetune":
            raise GradattnError(
                "head 'finetune' says nothing beside features, probabilities or logits of one's own; leave it out"
            )
        if self.has_model:
            return
        if not self.brings:
            raise GradattnError("model 'none' needs features, probabilities or logits of one's own to judge by")
        if self.checkpoint is not None or self.model_arguments:
            raise GradattnError("model 'none' has neither checkpoint nor model_arguments; name the model")
        if self.engine != "torch":
            raise GradattnError(f"engine {self.engine!r} has nothing to compute with model 'none'; leave it out")
        if self.head == "as-is" or (self.head == "probe" and self.features is None):
            raise GradattnError(
                f"head {self.head!r} needs a model; name one, or leave the head out: what was brought judges"
            )

    def refuse_idle(self) -> None:
        """Refuse what was asked for and would say nothing, for whoever asks for it anew.

        Raises:
            GradattnError: a parameter of another head than the chosen one, or a column of a split that is not chosen.
        """
        if self.class_map is not None and self.head in ("probe", "finetune"):
            raise GradattnError(
                f"class_map {self.class_map!r} says nothing to head {self.head!r}; choose head 'as-is', or leave it out"
            )
        for parameter in _described(FineTuning):
            value = self.value(parameter.name)
            if self.head != "finetune" and value != parameter.default:
                raise GradattnError(
                    f"{parameter.name} {value} says nothing to head {self.head!r}; choose head 'finetune', or leave it "
                    "out"
                )
        if self.split is None and self.split_column != "split":
            raise GradattnError(
                f"split_column {self.split_column!r} says nothing without a split; name one of its values with --split"
            )

    def value(self, name: str) -> Any:
        """Of a parameter by its name, those of the fine-tuning included."""
        return getattr(self if hasattr(self, name) else self.finetuning, name)

    @property
    def adds_up(self) -> bool:
        """Whether the maps are in log-odds and add up, so that their sums and regions have numbers."""
        return self.correction == "secant"

    @property
    def brings(self) -> bool:
        """Whether features or predictions come from outside."""
        return any(each is not None for each in (self.features, self.probabilities, self.logits))

    @property
    def has_model(self) -> bool:
        """Whether there is a model here to ask: without one there are no maps."""
        return self.model != NO_MODEL

    @property
    def judge(self) -> str:
        """What judges, as a person calls it: the model, or the names of the files that were brought."""
        files = (self.probabilities, self.logits, self.features)
        return self.model if self.has_model else ", ".join(Path(file).name for file in files if file is not None)

    @property
    def spec(self) -> ModelSpec:
        """The model to build."""
        return ModelSpec(self.model, self.checkpoint, self.model_arguments, self.from_scratch)

    def identity(self) -> dict[str, object]:
        """Every parameter that can change a number of the result; paths are absolute, files stand for their content."""
        values = {name: value for name, value in asdict(self).items() if name in self._of_result()}
        # Only where they are asked for: audits of before there were such parameters stay the same audits.
        values = {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}
        values["dataset"] = absolute(self.dataset)
        values["checkpoint"] = self.spec.digest()
        for name in ("features", "probabilities", "logits", "paths"):
            # What was audited before there were such parameters keeps its name.
            file = values.pop(name)
            if file is not None:
                values[name] = digest(user_path(str(file))) if user_path(str(file)).is_file() else file
        if self.image_root is not None:
            values["image_root"] = absolute(self.image_root)
        if self.class_map is not None and Path(self.class_map).is_file():
            values["class_map"] = digest(Path(self.class_map))
        return values

    def listing_key(self) -> str:
        """What is listed as the dataset, in a text that stays the same while its images and labels change."""
        columns: list[str | None] = [self.path_column, self.label_column, self.split_column, self.split]
        # Only where they are asked for: what was listed before there were such parameters keeps its key.
        if self.image_root is not None:
            columns.append(absolute(self.image_root))
        labels = [value for value in (self.label_depth, self.exclude_label, self.merge_spellings) if value]
        later = [(name, value) for name, first in _LATER_OF_LISTING.items() if (value := self.value(name)) != first]
        drawn = [("seed", self.seed)] if self.sample else []
        return json.dumps([absolute(self.dataset), *columns, *labels, *later, *drawn])

    def differences(self, earlier: Mapping[str, Any]) -> list[str]:
        """What this audit does otherwise than one whose parameters were ``earlier``, in words, a parameter each."""
        now = json.loads(json.dumps(asdict(self)))
        names = [name for name in now if name in earlier and name in self._of_result()]
        return [f"{name} {now[name]!r} (was {earlier[name]!r})" for name in names if now[name] != earlier[name]]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> AuditConfig:
        """From values by the names of :func:`parameters`; others are passed over, absent ones have their default."""
        tuning = {each.name: values[each.name] for each in _described(FineTuning) if each.name in values}
        if values.get("batch_size"):
            # Where fewer pictures fit into a forward pass, no more fit into a step of training.
            tuning["batch_size"] = values["batch_size"]
        own = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        return cls(**{**own, "finetuning": FineTuning(**tuning)})

    @classmethod
    def from_json(cls, text: str) -> AuditConfig:
        """The inverse of ``json.dumps(asdict(config))``."""
        values = json.loads(text)
        values["finetuning"] = FineTuning(**values["finetuning"])
        return cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})

    def _of_result(self) -> set[str]:
        """The fields that can change a number of the result."""
        names = {item.name for item in fields(self) if item.metadata.get("is_result", True)}
        idle = {"finetuning": self.head != "finetune", "measured": not self.adds_up}
        return names - {name for name, says_nothing in idle.items() if says_nothing}


@cache
def parameters() -> tuple[Parameter, ...]:
    """Every parameter of an audit in the order of the fields; those of the fine-tuning stand at its place."""
    return tuple(_described(AuditConfig))


def _described(config: type) -> list[Parameter]:
    types = get_type_hints(config)
    described: list[Parameter] = []
    for item in fields(config):
        kind = types[item.name]
        if kind is FineTuning:
            described += _described(FineTuning)
        elif item.metadata:
            plain = next(part for part in (get_origin(kind), *get_args(kind), kind) if part in _TYPES)
            default = item.default if item.default_factory is MISSING else item.default_factory()
            described.append(Parameter(item.name, plain, default, **item.metadata))
    return described
