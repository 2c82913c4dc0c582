"""What the maps of whole audits add up to: contradictions before and after, sums, origins, regions against hiding.

    gradattn audit ROOT --out OUT …
    python -m bench.evidence OUT [OUT …]

Each OUT is audited again with the parameters of its newest audit, with *complete* maps (before) and with *secant* ones
(after), but for those that are there already; what was swept is taken over. All tables are over all suspects that have
a map.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.records import Evidence, Region
from gradattn_core.store.store import Store
from gradattn_core.sums import Sums, two_scales

BEFORE, AFTER = "complete", "secant"


@dataclass(frozen=True)
class Audited:
    """One audit's suspects, most suspect first.

    Attributes:
        suspects: how many there are; ``evidence`` has those with a map.
        seconds: of the step that makes the maps; NaN where the audit was there already.
    """

    name: str
    head: str
    images: int
    suspects: int
    seconds: float
    evidence: list[Evidence]

    @property
    def sums(self) -> list[Sums]:
        return [each.sums for each in self.evidence if each.sums is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="+", help="folder with an audit")
    pairs = [(audited(out, BEFORE), audited(out, AFTER)) for out in parser.parse_args().out]
    after = [pair[1] for pair in pairs]
    print_table("contradictions", (contradictions(*pair) for pair in pairs))
    print_table("sums", map(additions, after))
    print_table("origins", map(origins, after))
    print_table("regions against measured hiding", map(hidings, after))
    print_table("counts and times", (counts(*pair) for pair in pairs))


def audited(out: Path, correction: str) -> Audited:
    """The newest audit in ``out`` with these maps, made unless it is there."""
    store = Store(out)
    audits = [store.audits.one(audit_id) for audit_id in store.audits.all()["audit_id"]]
    audit = next((each for each in audits if each.parameters["correction"] == correction), None)
    seconds = np.nan
    if audit is None:
        config = AuditConfig.from_json(json.dumps(dict(audits[0].parameters)))
        summary = audit_images(replace(config, out=str(out), correction=correction))
        audit, seconds = store.audits.one(summary.audit_id), summary.seconds["interpret"]
    paths = store.candidates.page(audit.audit_id)["path"]
    found = [store.images.evidence(audit.audit_id, path) for path in paths]
    evidence = [each for each in found if each is not None]
    return Audited(out.name, audit.head, audit.images, len(paths), seconds, evidence)


def contradictions(before: Audited, after: Audited) -> dict[str, str]:
    """Share of suspects where the colours tell another class than the model: more red than blue, or the reverse."""
    return {
        "audit": f"{after.name} ({after.head})",
        "suspects with a map": f"{len(after.evidence):,}",
        f"{BEFORE}: more red than blue": share(
            (positive(each) > negative(each)) != (each.for_logit > each.against_logit) for each in before.evidence
        ),
        f"{AFTER}, from no picture": share((s.red > -s.blue) != (s.log_odds > 0) for s in after.sums),
        "from the average answer": share(
            (s.red > -s.blue) != (s.log_odds > 0) for s in (each.seen_from("average") for each in after.sums)
        ),
        "origin + red + blue": share(
            (s.base + s.red + s.blue > 0) != (s.log_odds > 0)
            for each in after.sums
            for s in (each, each.seen_from("average"))
        ),
    }


def additions(after: Audited) -> dict[str, str]:
    """How far a map as it is stored is from f − f₀, and the shown sums from the answer."""
    told = [(each, each.sums) for each in after.evidence if each.sums is not None]
    gaps = np.array([abs(each.scores.sum(dtype=np.float64) - (s.log_odds - s.base)) for each, s in told])
    size = np.array([abs(s.log_odds) for _, s in told])
    shown = [abs(s.base + s.red + s.blue - s.log_odds) for each, _ in told for s in both_origins(each.sums)]
    return {
        "audit": f"{after.name} ({after.head})",
        "Σ S − (f − f₀), median": f"{np.median(gaps):.1e}",
        "greatest": f"{gaps.max():.1e}",
        "greatest, of the larger of 1 and f": f"{(gaps / np.maximum(size, 1)).max():.1e}",
        "origin + red + blue − f, greatest, either origin": f"{max(shown):.1e}",
    }


def both_origins(sums: Sums | None) -> Sequence[Sums]:
    assert sums is not None
    return (sums.seen_from("picture"), sums.seen_from("average"))


def origins(after: Audited) -> dict[str, str]:
    """How loud the origins are beside the answer, and by how much one's map is scaled to have the other's sum."""
    sums = after.sums
    scales = [abs(np.log(two_scales(s.red, -s.blue, s.log_odds - s.average)[0])) for s in sums if s.average is not None]
    return {
        "audit": f"{after.name} ({after.head})",
        "mean of abs(f)": f"{np.mean([abs(s.log_odds) for s in sums]):.2f}",
        "of abs(f₀), no picture": f"{np.mean([abs(s.base) for s in sums]):.2f}",
        "of abs(average answer)": f"{np.mean([abs(s.average) for s in sums if s.average is not None]):.2f}",
        "scale from one to the other, median": f"{np.exp(np.median(scales)):.2f}",
        "nine of ten below": f"{np.exp(np.quantile(scales, 0.9)):.2f}",
    }


def hidings(after: Audited) -> dict[str, str]:
    """In how many measured regions the number has the sign of what leaving the region out does, by colour."""
    told = [region for each in after.evidence for region in each.statistics.regions if region.measured is not None]
    row = {"audit": f"{after.name} ({after.head})"}
    for name, sign in (("red", 1), ("blue", -1)):
        mine = [region for region in told if region.sign == sign and region.rank == 1]
        row |= {f"strongest {name}, measured": f"{len(mine):,}", f"{name}: same sign": share(map(agrees, mine))}
    either = [region for region in told if region.rank == 1]
    sizes = [(abs(region.log_odds or 0), abs(region.measured or 0)) for region in either]
    number, effect = np.array(sizes or [(np.nan, np.nan)]).T
    return row | {
        "both: same sign": share(map(agrees, either)),
        "the stronger of the two": share(
            agrees(max(regions, key=lambda region: abs(region.log_odds or 0)))
            for each in after.evidence
            if (regions := [region for region in each.statistics.regions if region.measured is not None])
        ),
        "number, mean size": f"{number.mean():.2f}",
        "measured, mean size": f"{effect.mean():.2f}",
        "correlation": f"{correlation(either):.3f}",
    }


def agrees(region: Region) -> bool:
    return (region.log_odds or 0) * (region.measured or 0) > 0


def correlation(regions: list[Region]) -> float:
    """Of the numbers with the measured effects."""
    if len(regions) < 2:
        return float("nan")
    return float(np.corrcoef([r.log_odds or 0 for r in regions], [r.measured or 0 for r in regions])[0, 1])


def counts(before: Audited, after: Audited) -> dict[str, str]:
    """How many there are, and what their maps took."""
    return {
        "audit": f"{after.name} ({after.head})",
        "images": f"{after.images:,}",
        "suspects": f"{after.suspects:,}",
        "maps": f"{len(after.evidence):,}",
        f"{BEFORE} maps": seconds(before),
        f"{AFTER} maps": seconds(after),
    }


def seconds(audit: Audited) -> str:
    return "–" if np.isnan(audit.seconds) else f"{audit.seconds:.0f} s"


def positive(evidence: Evidence) -> float:
    return float(evidence.scores.clip(min=0).sum(dtype=np.float64))


def negative(evidence: Evidence) -> float:
    return float(-evidence.scores.clip(max=0).sum(dtype=np.float64))


def share(values: Iterable[bool | np.bool_]) -> str:
    """Per cent of the values that are true."""
    flags: NDArray[np.bool_] = np.array(list(values), dtype=bool)
    return f"{flags.mean():.1%} ({flags.sum():,})" if len(flags) else "–"


def print_table(title: str, rows: Iterable[dict[str, str]]) -> None:
    table = list(rows)
    print(f"\n{title}\n\n| {' | '.join(table[0])} |\n|---|{'---:|' * (len(table[0]) - 1)}")
    for row in table:
        print(f"| {' | '.join(row.values())} |", flush=True)


if __name__ == "__main__":
    main()
