"""What the options of several commands have in common: the parser of a command, its forms, and shared options."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from gradattn_core.cli.terminal import harmless
from gradattn_core.config import MODEL, Parameter, parameters
from gradattn_core.dataset.text import did_you_mean, shown
from gradattn_core.errors import GradattnError, StoreError

if TYPE_CHECKING:  # the store imports duckdb and pandas
    from gradattn_core.store.store import Store


_NAMED = 10
"""Of a long list of names, a refusal says so many."""

Run = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, or of a form of it that has options of its own.

    ``gradattn export decisions`` is a form of ``gradattn export``. The first word that is neither an option nor the
    value of one decides: where it names a form, that form reads everything else; otherwise the command itself does, so
    that ``gradattn explain bird.jpg`` stands beside ``gradattn explain detail bird.jpg``. An option, or a value of one,
    that only another form takes is refused by one sentence that names it, and so is ``--detail`` where ``detail`` is a
    form.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **how})
        self.command = self
        self.forms: dict[str, CommandParser] = {}
        """By the word that asks for them; the command itself may stand here too, under a name for its bare form."""
        self._listed: argparse._ArgumentGroup | None = None

    def add_form(self, name: str, run: Run, summary: str, examples: str) -> CommandParser:
        """A form of this command, listed in its help."""
        form = CommandParser(prog=f"{self.prog} {name}", description=summary, epilog=f"examples:\n{examples}")
        form.command = self
        form.set_defaults(run=run)
        if self._listed is None:
            self._listed = self.add_argument_group("other forms, each with --help and options of its own", "")
        about = textwrap.fill(summary, 76, initial_indent="    ", subsequent_indent="    ")
        self._listed.description = f"{self._listed.description}{form.prog}\n{about}\n"
        self.forms[name] = form
        return form

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As in argparse, but nothing is left over: what this command does not know is an error here.

        Raises:
            GradattnError: another form of the command knows it.
        """
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            # argparse takes these two dashes for the end of all options, and an empty list for the value.
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"argument {word.removesuffix('=--')}: expected one argument")
        place = self._first_word(words) if self.forms else None
        if place is not None and words[place] in self.forms:
            form = self.forms[words.pop(place)]
            if form is not self:
                return form.parse_known_args(words, namespace)
        namespace, surplus = super().parse_known_args(words, namespace)
        if surplus:
            self._explain(surplus)
            self.error(f"unrecognized arguments: {' '.join(surplus)}")
        return namespace, []

    def _first_word(self, words: Sequence[str]) -> int | None:
        """Where the first word is that is neither an option nor the value of one."""
        is_value = False
        for place, word in enumerate(words):
            if is_value:
                is_value = False
            elif word in ("-", "--") or not word.startswith("-"):
                return place
            else:
                # Options may be cut short, as argparse allows.
                options = [action for parser in self._family() for action in parser._options(word)]
                is_value = any(action.nargs != 0 for action in options)
        return None

    def _explain(self, surplus: Sequence[str]) -> None:
        """Refuse what is left over by a sentence of its own, where one can tell what was meant."""
        options = [word.partition("=")[0] for word in surplus if word.startswith("-")]
        if not options:
            if self.forms and not self._get_positional_actions():
                raise GradattnError(f"there is no {self.prog} {surplus[0]}; choose one of {', '.join(self.forms)}")
            return
        form = self.command.forms.get(options[0].removeprefix("--"))
        if form is not None:
            raise GradattnError(f"{options[0]} is a form of its own: {form.prog} (see {form.prog} --help)")
        others = [parser.prog for parser in self._family() if options[0] in parser._option_string_actions]
        if others:
            raise GradattnError(f"{options[0]} goes with {_few(others)}, not with {self.prog}")

    def error(self, message: str) -> NoReturn:
        """One line: the whole usage, of an audit 25 lines, would push the sentence off the screen."""
        self.exit(2, f"{self.prog}: {' '.join(harmless(message).split())} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A value that only another form takes is named with it."""
        if action.choices is not None and action.option_strings and value not in action.choices:
            option = action.option_strings[0]
            others = [
                parser.prog
                for parser in self._family()
                if option in parser._option_string_actions
                and value in (parser._option_string_actions[option].choices or ())
            ]
            if others:
                choices = ", ".join(map(str, action.choices))
                raise GradattnError(f"{option} {value} goes with {_few(others)}; {self.prog} takes {choices}")
        super()._check_value(action, value)

    def _options(self, word: str) -> list[argparse.Action]:
        """What an option may mean, written in full or cut short; none for ``--option=value``."""
        exact = self._option_string_actions.get(word)
        if exact is not None:
            return [exact]
        return [action for name, action in self._option_string_actions.items() if name.startswith(word)]

    def _family(self) -> list[CommandParser]:
        """The command and its forms."""
        return list(dict.fromkeys((self.command, *self.command.forms.values())))


def _few(commands: Sequence[str]) -> str:
    """Names of commands, of many the first."""
    return " or ".join(commands) if len(commands) < 4 else f"{commands[0]} and {len(commands) - 1} others"


def command(commands: Commands, name: str, run: Run, summary: str, examples: str) -> CommandParser:
    """A command of ``gradattn``, or an action of one of its commands, with an example a line."""
    epilog = f"examples:\n{examples}" if examples else None
    parser = commands.add_parser(name, help=summary, description=summary, epilog=epilog)
    parser.set_defaults(run=run)
    return parser


def add_parameters(
    parser: argparse.ArgumentParser, selection: Iterable[Parameter]
) -> dict[str, argparse.ArgumentParser | argparse._ArgumentGroup]:
    """Parameters of an audit as options, below the headings of their groups.

    Returns:
        the parser's groups by name; the parser itself is that of parameters without one.
    """
    groups: dict[str, argparse.ArgumentParser | argparse._ArgumentGroup] = {"": parser}
    for parameter in selection:
        if parameter.group not in groups:
            groups[parameter.group] = parser.add_argument_group(parameter.group)
        _add_parameter(groups[parameter.group], parameter)
    return groups


def _add_parameter(place: argparse.ArgumentParser | argparse._ArgumentGroup, parameter: Parameter) -> None:
    help = parameter.help.replace("%", "%%")
    if parameter.default is MISSING:
        place.add_argument(parameter.name, metavar=parameter.name.upper(), help=help)
    elif parameter.type is bool:
        place.add_argument(parameter.option, action="store_true", help=help)
    elif parameter.type is list:
        place.add_argument(
            parameter.option, action="append", default=[], metavar=parameter.placeholder or None, help=help
        )
    else:
        default = "" if parameter.default in (None, {}) else f" (default {parameter.default})"
        place.add_argument(
            parameter.option,
            type=json_object if parameter.type is dict else parameter.type,
            default=parameter.default,
            choices=parameter.choices or None,
            metavar=parameter.placeholder or None,
            help=help + default,
        )


def out_folder(parser: argparse.ArgumentParser) -> None:
    """``--out``; :func:`open_store` opens the store there."""
    [out] = [each for each in parameters() if each.name == "out"]
    # An audit writes nowhere else, as the help of its parameter says; other commands do where they are told.
    help = f"output folder of the audits (default {out.default})"
    parser.add_argument(out.option, default=out.default, metavar=out.placeholder, help=help)


def which_audit(parser: argparse.ArgumentParser) -> None:
    """``--audit``; :func:`open_audit` opens it."""
    parser.add_argument("--audit", metavar="ID", help="which audit (default: the latest)")


def model(parser: argparse.ArgumentParser) -> None:
    """The model to load and where."""
    add_parameters(parser, [each for each in parameters() if each.group == MODEL])


def output_style(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--quiet``, which ``terminal.tell`` heeds."""
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def json_object(text: str) -> dict[str, Any]:
    """The value of an option that takes a JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error.msg})") from error
    except RecursionError:
        raise argparse.ArgumentTypeError("it is not JSON that anybody means: its brackets are too deep") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"img_size": 384}}')
    return value


def open_audit(options: argparse.Namespace) -> tuple[Store, str]:
    """The store of ``--out`` and the audit that was asked for with ``--audit``, or the latest.

    Raises:
        StoreError: there is no such folder or audit.
    """
    store = open_store(options)
    return store, options.audit or store.audits.latest_id()


def existing_out(options: argparse.Namespace) -> Path:
    """The folder of ``--out``.

    Raises:
        StoreError: there is none.
    """
    if not Path(options.out).is_dir():
        raise StoreError(f"output folder {options.out}: there is none; run gradattn audit first, or give --out")
    return Path(options.out)


def data_root(options: argparse.Namespace) -> str | None:
    """``--data-root``; None where it is not given.

    Raises:
        StoreError: there is no such folder.
    """
    root: str | None = options.data_root
    if root is not None and not Path(root).is_dir():
        raise StoreError(f"--data-root {root}: there is no such folder; give the one the images are in now")
    return root


def open_store(options: argparse.Namespace, *, read_only: bool = False, data_root: str | None = None) -> Store:
    """The store of ``--out``; unless it is read-only, a database of an older schema is brought up to date.

    Raises:
        StoreError: there is no such folder.
    """
    from gradattn_core.store.store import Store

    return Store(existing_out(options), read_only=read_only, data_root=data_root)


def require_one_of(refusal: str, name: str, names: Sequence[str]) -> None:
    """Raises:
    StoreError: ``name`` is none of ``names``; the sentence says which there are, and the nearest.
    """
    if name in names:
        return
    first = ", ".join(map(shown, names[:_NAMED])) + (" …" if len(names) > _NAMED else "") if names else "none yet"
    raise StoreError(f"{refusal}; there are {first}.{did_you_mean(name, names)}")
