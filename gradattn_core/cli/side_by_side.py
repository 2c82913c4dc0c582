"""``gradattn explain --method`` and ``--list-methods``: one picture by several methods, and what each method is."""

from __future__ import annotations

import argparse
import difflib
from typing import TYPE_CHECKING, Any

from gradattn_core.cli.picture import open_view, output_file, style, write_numbers
from gradattn_core.cli.terminal import console, escape, late_progress, table, tell
from gradattn_core.errors import GradattnError, InterpretError
from gradattn_core.estimates import percent

if TYPE_CHECKING:
    from gradattn_core.interpret.explanation import ModelView
    from gradattn_core.peers.question import Peer
    from gradattn_core.render.figures import MethodMap

ALL_CHEAP = "all-cheap"


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--method`` and ``--list-methods``, of which the latter needs no picture."""
    group = parser.add_argument_group("other methods")
    group.add_argument(
        "--method",
        metavar="NAME[,NAME…]",
        help=f"draw the map by each of these methods side by side; {ALL_CHEAP} are those of at most three passes",
    )
    group.add_argument("--list-methods", action=_Listing, nargs=0, help="print every method, what it costs and says")


class _Listing(argparse.Action):
    """What is asked for is a table: no picture is needed."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        namespace.run = list_methods
        for action in parser._get_positional_actions():
            action.required = False


def list_methods(options: argparse.Namespace) -> int:
    """Every method of the registry, ours among them: a line each, on a terminal of 100 columns."""
    from gradattn_core.peers.registry import PEERS

    facts = [_facts(peer) for peer in PEERS.values()]

    def show() -> None:
        drawn = table((), ("method", "passes", "signed", "class", "detail", "adds up"))
        drawn.columns[0].justify = "left"
        drawn.add_column("what it is")
        for peer in PEERS.values():
            says = (peer.is_signed, peer.is_class_specific, peer.is_detail, peer.adds_up)
            marks = ("yes" if each else "no" for each in says)
            drawn.add_row(escape(peer.name), f"{peer.passes:,}", *marks, escape(peer.title))
        console().print(drawn)
        console().print("\nPublications, costs in words and notes: gradattn explain --list-methods --json")

    tell(options, {"methods": facts}, show)
    return 0


def run_methods(options: argparse.Namespace) -> int:
    """The picture beside its map by each of the methods that were asked for."""
    import numpy as np

    from gradattn_core.attention.readout import model_name
    from gradattn_core.render.figures import methods_figure

    peers = _chosen(options)
    file, view = output_file(options), open_view(options)
    a, b = view.pair(options.target, options.against)
    against = None if options.objective == "logit" else b
    maps, refusals = _maps(view, peers, a, against, options)
    names = (view.names.display(a), None if against is None else view.names.display(against))
    logits = view.logits.double().cpu().numpy()
    if file.suffix.lower() == ".npz":
        provenance = {"model": model_name(view.model), "objective": options.objective, "classes": [a, against]}
        scores = np.stack([each.scores for each in maps])
        write_numbers(file, provenance, view.crop, scores=scores, methods=[each.name for each in maps], logits=logits)
    else:
        methods_figure(view.image, view.crop, maps, *names, style=style(options)).save(file)
    shares = np.exp(logits - np.logaddexp.reduce(logits))
    drawn = {each.name for each in maps}
    facts = {
        "for": names[0],
        "for_probability": round(float(shares[a]), 6),
        "against": names[1],
        "against_probability": None if against is None else round(float(shares[against]), 6),
        "methods": [_facts(peer) for peer in peers if peer.name in drawn],
        "refused": refusals,
        "output": file,
    }
    sentences = [f"red   {names[0]}: {percent(float(shares[a]), 1)}"]
    if against is not None:
        sentences.append(f"blue  {names[1]}: {percent(float(shares[against]), 1)}")
    said = [f"{peer.name}: {peer.properties}" for peer in peers if peer.name in drawn]
    tell(options, facts, [*sentences, *said, *refusals.values(), f"wrote {file}"])
    return 0


def _chosen(options: argparse.Namespace) -> list[Peer]:
    """The methods by name, each once.

    Raises:
        GradattnError: there is none of that name, or another option says otherwise how the map is made.
    """
    from gradattn_core.peers.registry import PEERS

    if options.objective not in ("difference", "logit"):
        raise GradattnError(
            f"--objective {options.objective} goes with our own maps; --method takes difference or logit"
        )
    if options.correction is not None:
        raise GradattnError(f"--correction {options.correction}: --method says how the maps are made; name it there")
    chosen: dict[str, Peer] = {}
    for name in _named(options):
        if name == ALL_CHEAP:
            chosen |= {peer.name: peer for peer in PEERS.values() if peer.is_cheap}
        elif name in PEERS:
            chosen[name] = PEERS[name]
        else:
            near = difflib.get_close_matches(name, [*PEERS, ALL_CHEAP], n=3, cutoff=0.4)
            hint = f"; nearest are {', '.join(near)}" if near else ""
            raise GradattnError(f"--method {name}: unknown{hint}; gradattn explain --list-methods prints all")
    if not chosen:
        raise GradattnError("--method: give the name of a method; gradattn explain --list-methods prints all")
    return list(chosen.values())


def _named(options: argparse.Namespace) -> list[str]:
    """The words of ``--method``."""
    return [word.strip() for word in options.method.split(",") if word.strip()]


def _maps(
    view: ModelView, peers: list[Peer], target: int, against: int | None, options: argparse.Namespace
) -> tuple[list[MethodMap], dict[str, str]]:
    """The maps, and why those of ``all-cheap`` that cannot be had are left out; a method named by itself must do."""
    from gradattn_core.peers.registry import peer_maps
    from gradattn_core.render.figures import MethodMap

    named = _named(options)
    maps, refusals = [], {}
    with late_progress("methods", quiet=options.quiet) as told:
        for done, peer in enumerate(peers):
            told(done, len(peers))
            try:
                scores = peer_maps(peer.name, view.model, view.pixels[None], target, against)[0].cpu().numpy()
            except InterpretError as error:
                if peer.name in named:
                    raise
                refusals[peer.name] = str(error)
            else:
                maps.append(MethodMap(peer.name, scores, peer.has_sides))
        told(len(peers), len(peers))
    if not maps:
        raise GradattnError(f"no method works here: {next(iter(refusals.values()))}")
    return maps, refusals


def _facts(peer: Peer) -> dict[str, object]:
    return {
        "name": peer.name,
        "title": peer.title,
        "passes": peer.passes,
        "cost": peer.cost,
        "signed": peer.is_signed,
        "class_specific": peer.is_class_specific,
        "detail": peer.is_detail,
        "adds_up": peer.adds_up,
        "source": peer.source,
        "notes": peer.notes,
    }
