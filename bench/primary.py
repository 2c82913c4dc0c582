"""How well the primary button is chosen: of finished audits with known truth, what it would do under four rules.

    python bench/primary.py OUT TRUTH [OUT TRUTH …]

OUT is an audit's output folder, TRUTH a CSV of ``path, true_label``. A reviewer who pressed the primary button of every
suspect without looking would relabel some rightly, spoil right labels, exchange one wrong label for another, and keep
some rightly or wrongly; where nothing is primary they would have to look. The rules: *Relabel* everywhere; the voters'
probabilities v alone; the one probability of ``gradattn_core.belief`` (rule 1); and with it the veto of the model alone
(rule 3), which is what the page does. Below: what a bulk above a threshold does, beside what the beliefs expect of it.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from gradattn_core.belief import PRIMARY, Belief, believe, expected, primary
from gradattn_core.store.store import Store
from ui.api.shapes import Suspect
from ui.api.suspect import suspects

OUTCOMES = ("relabels rightly", "spoils", "wrong either way", "keeps rightly", "keeps wrongly", "nothing primary")
RULES = ("Relabel everywhere", "v", "rule 1", "rules 1 and 3")
THRESHOLDS = (0.65, 0.9, 0.99)


def outcome(proposed: str | None, given: str, true: str) -> str:
    """What pressing the primary button would come to."""
    if proposed is None:
        return "nothing primary"
    if proposed == given:
        return "keeps rightly" if given == true else "keeps wrongly"
    if proposed == true:
        return "relabels rightly"
    return "spoils" if given == true else "wrong either way"


def by_page(shown: Suspect) -> str | None:
    """The label that the page's primary button stands for."""
    if shown.primary is None:
        return None
    action = shown.actions[shown.primary]
    return {"keep": shown.given.label, "remove": ""}.get(action.decision, action.new_label)


def measure(out: Path, truth: Path) -> tuple[dict[str, Counter[str]], list[str]]:
    """Outcomes by rule, and a line for each threshold of a bulk."""
    with truth.open(newline="", encoding="utf-8") as file:
        true = {row["path"]: row["true_label"] for row in csv.DictReader(file)}
    store = Store(out, read_only=True)
    audit = store.audits.latest_id()
    found = store.candidates.page(audit).to_dict("records")
    rows = [{str(name): value for name, value in row.items()} for row in found]
    counts: dict[str, Counter[str]] = {
        rule: Counter() for rule in ("Relabel everywhere", "v", "rule 1", "rules 1 and 3")
    }
    beliefs: list[tuple[Belief, str]] = []
    for row, shown in zip(rows, suspects(store, audit, rows, ""), strict=True):
        given, right = shown.given.label, true[shown.path]
        probabilities = {each.label: each.probability for each in shown.classes}
        belief = believe(given, 1 - probabilities[given], list(probabilities), list(probabilities.values()))
        voters = {given: float(str(row["given_probability"]))}
        voters[str(row["suggested_label"])] = float(str(row["suggested_probability"]))
        sure = max(voters, key=lambda label: voters[label])
        proposals = {
            "Relabel everywhere": belief.other,
            "v": sure if voters[sure] >= PRIMARY else None,
            "rule 1": primary(belief),
            "rules 1 and 3": by_page(shown),
        }
        for rule, proposed in proposals.items():
            counts[rule][outcome(proposed, given, right)] += 1
        beliefs.append((belief, right))
    lines = []
    for threshold in THRESHOLDS:
        above = [(belief, right) for belief, right in beliefs if belief.other and belief.of(belief.other) >= threshold]
        forecast = expected(belief for belief, _ in above)
        really = Counter(outcome(belief.other, belief.given, right) for belief, right in above)
        lines.append(
            f"bulk above {threshold:.0%}: {len(above)} pictures, {really['relabels rightly']} right (expected "
            f"{forecast.right:.1f}), {really['spoils']} spoilt ({forecast.spoilt:.1f}), "
            f"{really['wrong either way']} wrong either way ({forecast.neither:.1f})"
        )
    return counts, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="OUT TRUTH")
    folders = parser.parse_args().folders
    if len(folders) % 2:
        parser.error("give each output folder with its truth")
    for out, truth in zip(folders[::2], folders[1::2], strict=True):
        counts, lines = measure(out, truth)
        print(f"\n{out.name}: {sum(counts['v'].values())} suspects\n")
        print(f"| primary by | {' | '.join(OUTCOMES)} |\n| --- |{' --: |' * len(OUTCOMES)}")
        for rule, found in counts.items():
            print(f"| {rule} | {' | '.join(str(found[name]) for name in OUTCOMES)} |")
        print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
