"""Who judged the images of a finished audit, ready to be asked again about one of them: same model, head and pixels."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradattn_core.audit.heads import LinearHeads
from gradattn_core.audit.loading import audit_model, load_batches
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError, StoreError, UnreadableImageError
from gradattn_core.interpret.asking import Asker
from gradattn_core.interpret.measured import ALL_REGIONS, measured_evidence
from gradattn_core.model.classes import align_classes, class_names, outside_names
from gradattn_core.model.forward import Head
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.outfolder import AuditFolder
from gradattn_core.peers.registry import peer_maps
from gradattn_core.records import Evidence, FloatArray, ImageRecord
from gradattn_core.store.store import Store

# A checkpoint that was exchanged shows in the answer; another kind of processor does not, to this many log-odds.
_SAME, _SAME_SHARE = 0.05, 0.01
# A process holds one model, and two measurements side by side would only take each other's cores.
_turn = threading.Lock()


@dataclass(frozen=True)
class Case:
    """One image of an audit before its judge.

    Attributes:
        evidence: as it is stored.
        pixels: [1, channels, H, W], the picture as the model takes it.
        target, against: the head's outputs of the two classes of the evidence.
        head: that drew its map; the model's classifier where ``None``.
        width, height: of the upright original in pixels.
    """

    evidence: Evidence
    pixels: Tensor
    target: int
    against: int
    head: Head | None
    width: int
    height: int


@dataclass(frozen=True)
class Judge:
    """The model and head of a finished audit, in float32.

    Attributes:
        outputs: the head's output of each class, and of each class of the model that the dataset does not have.
        heads: the probe of each fold, where a probe judged.
    """

    audit_id: str
    config: AuditConfig
    model: nn.Module
    outputs: dict[str, int]
    heads: LinearHeads | None

    @classmethod
    def of(cls, store: Store, audit_id: str) -> Judge:
        """Load what judged this audit.

        Raises:
            GradattnError: it cannot be had any more; the message says what is gone.
        """
        audit = store.audits.one(audit_id)
        if audit.head == "finetune":
            raise StoreError(
                f"audit {audit_id}: each fold had a fine-tuned model of its own, and no audit keeps those; audits "
                "with --head as-is or --head probe can be asked again"
            )
        try:
            stored = AuditConfig.from_json(json.dumps(dict(audit.parameters)))
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"audit {audit_id}: its parameters are not stored as this version reads them ({error}); audit again"
            ) from error
        if not stored.has_model:
            raise StoreError(
                f"audit {audit_id}: it was made of {stored.judge} alone, and there is no model to ask; audit with "
                "--model beside it"
            )
        device = "cpu" if stored.device == "cpu" else "auto"
        config = replace(stored, device=device, runner="local", ray_address=None, ray_storage=None, workers=1)
        if audit.head == "as-is":
            model, classes = _loaded(config), store.audits.classes(audit_id)
            named, count = class_names(model), int(model.num_classes)  # type: ignore[arg-type]
            aligned = align_classes(classes, count, named, config.class_map)
            others = {name: output for output, name in outside_names(classes, aligned, named, count).items()}
            return cls(audit_id, config, model, others | dict(zip(classes, aligned.indices, strict=True)), None)
        file = AuditFolder(store.directory / audit.features).heads
        if not file.is_file():
            raise StoreError(
                f"audit {audit_id}: its probe is gone: a later audit of the dataset has taken its place, choose that"
            )
        heads = LinearHeads.load(file)
        # A probe has an output for each class of which an image could be read.
        names = sorted(store.audits.class_health(audit_id)["given_label"])
        return cls(audit_id, config, _loaded(config), {name: place for place, name in enumerate(names)}, heads)

    def case(self, store: Store, path: str) -> Case:
        """One image, read anew.

        Raises:
            GradattnError: it has no evidence, cannot be read, or is not what the audit saw.
        """
        evidence, prediction = store.images.evidence(self.audit_id, path), store.images.prediction(self.audit_id, path)
        if evidence is None or prediction is None:
            raise StoreError(f"no evidence was computed for {path}, so nothing of it can be measured")
        [place] = store.images.places(self.audit_id, [path])
        preprocessing = Preprocessing.of(self.model)
        record = ImageRecord(place.address, evidence.for_label, 0)
        [batch] = load_batches("", [record], preprocessing, self.config, torch.device("cpu"), place.white)
        if batch.failed:
            raise UnreadableImageError(f"{path}: {batch.failed[0].reason}")
        [image] = batch.images
        if image.content_hash != place.content_hash:
            raise UnreadableImageError(f"{path}: the picture has changed since it was audited; audit it anew")
        device = next(self.model.parameters()).device
        head = None
        if self.heads is not None:
            assert prediction.fold is not None
            drew = None if evidence.sums is None else evidence.sums.head
            head = self.heads.that_drew(drew, prediction.fold, device)
        return Case(
            evidence=evidence,
            pixels=preprocessing.normalised(batch.pixels.to(device)),
            target=self.outputs[evidence.for_label],
            against=self.outputs[evidence.against_label],
            head=head,
            width=image.width,
            height=image.height,
        )

    def measure(self, store: Store, path: str) -> Evidence:
        """Measure the four groups of an image's map and all its regions, and keep that in the database.

        What was measured already comes back as it is, so that whoever asks twice gets one answer.

        Raises:
            GradattnError: it cannot be measured or kept; the message says why.
        """
        with _turn:
            case = self.case(store, path)
            if case.evidence.numbers == "measured":
                return case.evidence
            self._check(case, path)
            size = (case.width, case.height)
            [evidence] = measured_evidence(
                self.model,
                case.pixels,
                [case.evidence],
                [size],
                case.target,
                case.against,
                head=case.head,
                ranks=ALL_REGIONS,
            )
            if not store.read_only:
                store.images.keep_measured(self.audit_id, path, evidence)
            return evidence

    def map(self, store: Store, path: str, method: str) -> tuple[Evidence, FloatArray]:
        """The stored evidence of an image, and its map [rows, columns] for the same classes by another method.

        Raises:
            GradattnError: the image cannot be had, or the method refuses the model.
        """
        with _turn:
            case = self.case(store, path)
            maps = peer_maps(method, self.model, case.pixels, case.target, case.against, head=case.head)
            return case.evidence, maps[0].float().cpu().numpy()

    def _check(self, case: Case, path: str) -> None:
        """Refuse a model that answers otherwise than the audit's did: its numbers would not belong to the map.

        Raises:
            GradattnError: it does, or the map adds up to nothing that could be measured.
        """
        sums = case.evidence.sums
        if sums is None:
            raise StoreError(
                f"{path}: its map does not add up to log-odds, so no part of it has a number to measure; audit again "
                "with --correction secant"
            )
        [now] = Asker(self.model, case.pixels, case.target, case.against, "difference", case.head).whole().tolist()
        if not abs(now - sums.log_odds) <= _SAME + _SAME_SHARE * abs(sums.log_odds):
            raise GradattnError(
                f"{path}: the model's log-odds were {sums.log_odds:+.2f} in the audit and are {now:+.2f} now; the "
                f"weights of {self.config.checkpoint or self.config.model} have changed, audit again"
            )


def _loaded(config: AuditConfig) -> nn.Module:
    """The model, which this process holds once; threads that ask for it at the same time wait for one another."""
    with _turn:
        return audit_model(config)
