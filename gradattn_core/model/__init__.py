"""The model room: a timm Vision Transformer, its preprocessing, its classes and its heads."""

from gradattn_core.model.backbone import ModelSpec, load_model, pick_device, weights_digest
from gradattn_core.model.classes import Alignment, ClassNames, align_classes, class_names, find_class
from gradattn_core.model.features import PRECISIONS, Forward, forward, sweep_precision
from gradattn_core.model.finetune import FineTuning, finetune
from gradattn_core.model.preprocessing import Preprocessing

__all__ = [
    "PRECISIONS",
    "Alignment",
    "ClassNames",
    "FineTuning",
    "Forward",
    "ModelSpec",
    "Preprocessing",
    "align_classes",
    "class_names",
    "find_class",
    "finetune",
    "forward",
    "load_model",
    "pick_device",
    "sweep_precision",
    "weights_digest",
]
