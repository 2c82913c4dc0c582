"""The audit: plan ─► sweep shards ─► judge ─► interpret the suspects ─► findings ─► merge. No Prefect."""

from gradattn_core.audit.config import AuditConfig
from gradattn_core.audit.doubts import tell_doubts
from gradattn_core.audit.evidence import evidence_shards, interpret_shard
from gradattn_core.audit.folds import finetune_fold
from gradattn_core.audit.judge import judge
from gradattn_core.audit.merge import finish, is_stored, merge
from gradattn_core.audit.plan import Plan, load_plan, make_plan, output_folder
from gradattn_core.audit.previews import write_previews
from gradattn_core.audit.progress import Progress
from gradattn_core.audit.run import output_lock, plan_audit, run_audit
from gradattn_core.audit.survey import survey_dataset
from gradattn_core.audit.sweep import sweep_shard

__all__ = [
    "AuditConfig",
    "Plan",
    "Progress",
    "evidence_shards",
    "finetune_fold",
    "finish",
    "interpret_shard",
    "is_stored",
    "judge",
    "load_plan",
    "make_plan",
    "merge",
    "output_folder",
    "output_lock",
    "plan_audit",
    "run_audit",
    "survey_dataset",
    "sweep_shard",
    "tell_doubts",
    "write_previews",
]
