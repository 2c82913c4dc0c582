"""What a map's numbers say: four that add up to the digit shown, and what its strongest parts do when they are hidden.

Every number is true by construction or was measured on this very picture. Imports nothing slower than numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradattn_core.belief import in_percent, of_two
from gradattn_core.records import Evidence, Region
from gradattn_core.sums import DEFAULT_ORIGIN, Origin, Sums
from gradattn_core.wording import place

Colours = tuple[str, str]
_ORIGINS: dict[Origin, str] = {"picture": "Without any picture", "average": "An average picture here"}
_HUNDREDTHS = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a waterfall.

    Attributes:
        name: what it is.
        value: as it is shown, in log-odds: a place on the axis at the ends, a length between them.
        text: the value with its sign.
        share: the same in per cent of the two classes; empty for a length, and where there are not two.
    """

    name: str
    value: float
    text: str
    share: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of a map that adds up, from one origin: ``base + red + blue = answer`` to the digit shown.

    Attributes:
        sums: the exact ones; their ``base`` is the origin's.
        base, red, blue, answer: the same to a hundredth.
        origin: which one it is.
        of_two: they are the log-odds of two classes, else one output of the model.
        measured: red and blue were measured by leaving patches out.
    """

    sums: Sums
    base: float
    red: float
    blue: float
    answer: float
    origin: Origin
    of_two: bool
    measured: bool

    def steps(self, colours: Colours) -> tuple[Step, Step, Step, Step]:
        """From the origin to the model's answer; ``colours`` are what (positive, negative) patches are drawn in."""
        red, blue = (colour.capitalize() for colour in colours)
        return (
            Step(_ORIGINS[self.origin], self.base, signed(self.base), self.share(self.sums.base)),
            Step(f"{red} patches add", self.red, signed(self.red)),
            Step(f"{blue} patches take", self.blue, signed(self.blue)),
            Step("The model's answer", self.answer, signed(self.answer), self.share(self.sums.log_odds)),
        )

    def share(self, log_odds: float) -> str:
        """In per cent of the two classes; empty where there are not two."""
        return percent_of_two(log_odds) if self.of_two else ""

    def sentences(self, names: tuple[str, str], colours: Colours = ("red", "blue")) -> str:
        """The four numbers in words.

        Args:
            names: what (the given label, the other class) are called.
            colours: what (positive, negative) patches are drawn in.
        """
        base, red, blue, answer = (step.text for step in self.steps(colours))
        # Lengths without their signs, which the verbs say.
        parts = f"the {colours[0]} patches add {red.lstrip('+')}, the {colours[1]} ones take away {blue.lstrip('−')}"
        told = " Both were measured by leaving patches out." if self.measured else ""
        average = self.origin == "average"
        if not self.of_two:
            before = "On average over this dataset it is" if average else "Without any picture it would be"
            return f"{names[0]}: the model's output is {answer}. {before} {base}; {parts}.{told}"
        before = "For an average picture of this dataset it gives" if average else "Without any picture it would give"
        # The per cent first: of a class that is called 6, "gives 6 1.1%" could not be read.
        return (
            f"{names[0]} against {names[1]}: of these two, the model alone gives {self.share(self.sums.log_odds)} "
            f"to {names[0]} (log-odds {answer}). {before} {self.share(self.sums.base)} ({base}); "
            f"{parts}.{told}"
        )


def account(evidence: Evidence, origin: Origin = DEFAULT_ORIGIN) -> Account | None:
    """The numbers of a map from an origin; from no picture where nothing is known of the average, and where they were
    measured: another origin would scale what was measured to something that was not.

    Returns:
        None where the map does not add up; :func:`without_numbers` says why.
    """
    if evidence.sums is None:
        return None
    measured = evidence.numbers == "measured"
    return account_of(evidence.sums, "picture" if measured else origin, evidence.objective == "difference", measured)


def account_of(sums: Sums, origin: Origin = DEFAULT_ORIGIN, of_two: bool = True, measured: bool = False) -> Account:
    """:func:`account` of sums alone; what ``of_two`` and ``measured`` mean stands at :class:`Account`."""
    seen = sums.seen_from(origin)
    return Account(seen, *in_hundredths(seen), origin if sums.average is not None else "picture", of_two, measured)


def in_hundredths(sums: Sums) -> tuple[float, float, float, float]:
    """(base, red, blue, log_odds) to two digits after the point, red >= 0 and blue <= 0, which add up as they stand.

    Origin and answer are rounded by themselves. What their rounding adds or takes is shared by red and blue, so that
    each is within a hundredth of its own value; the one farther from a whole hundredth moves.
    """
    base, answer = round(sums.base * _HUNDREDTHS), round(sums.log_odds * _HUNDREDTHS)
    total = answer - base
    surplus = total - (sums.red + sums.blue) * _HUNDREDTHS
    red = max(0, total, round(sums.red * _HUNDREDTHS + surplus / 2))
    return base / _HUNDREDTHS, red / _HUNDREDTHS, (total - red) / _HUNDREDTHS, answer / _HUNDREDTHS


def without_numbers(evidence: Evidence) -> str:
    """Why a map has no numbers; empty where it has."""
    if evidence.sums is not None:
        return ""
    return (
        f"This map has no numbers: one by the {evidence.correction} correction does not add up to the model's answer. "
        "Secant maps do."
    )


def strongest_parts(
    evidence: Evidence,
    size: tuple[int, int],
    *,
    names: tuple[str, str],
    colours: Colours = ("red", "blue"),
    origin: Origin = DEFAULT_ORIGIN,
) -> list[str]:
    """A sentence on the strongest region of either sign, the other class's first: where it lies, its number, and what
    hiding it does where that was measured; then one on all weaker regions that are drawn hatched, should there be any.

    After numbers were measured, the two are still those that the map had found strongest.

    Args:
        size: (width, height) of the upright original in pixels.
        names: what (the given label, the other class) are called.
        colours: what (positive, negative) evidence is drawn in.
        origin: as for :func:`account`; numbers add up to its red and blue.
    """
    shown = account(evidence, origin)
    strongest = sorted((region for region in evidence.statistics.regions if region.rank == 1), key=lambda r: r.sign)
    sentences = []
    for region in strongest:
        colour, where = colours[0 if region.sign > 0 else 1], place(region.box, size)
        is_measured = shown is not None and shown.measured
        named = f"{colour} part that the map found strongest" if is_measured else f"strongest {colour} part"
        part = f"The {named}, {where},"
        if shown is None or region.log_odds is None or evidence.sums is None:
            sentences.append(f"{part} speaks for {names[0 if region.sign > 0 else 1]}.")
        else:
            sentences.append(f"{part} {_number(region, shown, evidence.sums)}. {_hidden(region, shown, names[0])}")
    hatched = sum(contradicted(region) for region in evidence.statistics.regions if region.rank > 1)
    if hatched:
        which = "a weaker part" if hatched == 1 else f"{hatched} weaker parts"
        sentences.append(f"Drawn hatched: {which} whose hiding, measured, does the opposite of what the map says.")
    return sentences


def contradicted(region: Region) -> bool:
    """Whether hiding the region does the opposite of what its number says, by measurement."""
    return region.log_odds is not None and region.measured is not None and region.log_odds * region.measured < 0


def on_map(region: Region, shown: Account, stored: Sums) -> float:
    """A region's log-odds as a part of what the account says of its sign.

    Args:
        stored: the map's sums as they are stored, from no picture.
    """
    own, whole = (shown.sums.red, stored.red) if region.sign > 0 else (shown.sums.blue, stored.blue)
    return (region.log_odds or 0.0) * (own / whole if whole else 1.0)


def outlined(evidence: Evidence) -> list[Region]:
    """The regions worth an outline, the strongest first: the first of either sign, and those that hiding contradicts.

    Their places in the list are the numbers that they bear.
    """
    worth = [region for region in evidence.statistics.regions if region.rank == 1 or contradicted(region)]
    return sorted(worth, key=lambda region: (region.rank > 1, -region.mass_share))


def percent_of_two(log_odds: float) -> str:
    """1 / (1 + e^−f): the probability of a class where it and one other are all there is; never none or all."""
    return in_percent(of_two(log_odds))


def signed(number: float) -> str:
    """To a hundredth, with its sign: ``+2.10``, ``−3.42``, ``0.00``."""
    text = f"{abs(number):.2f}"
    return text if text == "0.00" else f"{'+' if number > 0 else '−'}{text}"


def _number(region: Region, shown: Account, stored: Sums) -> str:
    how = ", measured with and without the others" if shown.measured else " by the map"
    size = abs(on_map(region, shown, stored))
    return f"{'adds' if (region.log_odds or 0) > 0 else 'takes away'} {size:.2f}{how}"


def _hidden(region: Region, shown: Account, name: str) -> str:
    if region.measured is None:
        return "What hiding it does was not measured."
    answer = shown.sums.log_odds
    left = answer - region.measured
    before, after = shown.share(answer), shown.share(left)
    if before == after:
        # Too close to 0 or 1 to be told apart in per cent, or no share at all.
        before, after = signed(answer), f"{signed(left)}{' in log-odds' if shown.of_two else ''}"
    opposite = ", the opposite; it is drawn hatched" if contradicted(region) else ""
    return f"Hide it, measured: {before} → {after} for {name}{opposite}."
