"""The command line and the configuration file as their readers have them, so that no page can go stale.

```{command} maps
```
"""

from __future__ import annotations

import argparse

from sphinx.application import Sphinx
from tables import Generated

from rawsys.cli import parser
from rawsys.supervisor import keys


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name; "" is the whole."""
    whole = parser()
    (choices,) = (action.choices for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    return {"": whole, **choices}


def _usage(made: argparse.ArgumentParser) -> str:
    """On one line."""
    return " ".join(made.format_usage().removeprefix("usage: ").split())


def _option(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    names = action.option_strings or [str(value)]
    words = f" {value}" if value and action.option_strings else ""
    return f"{', '.join(name + words for name in names)}\n{action.help}"


class Command(Generated):
    """One command of `rawsys`: usage, what it does, its arguments."""

    optional_arguments = 1

    def markdown(self) -> str:
        """From the parser."""
        made = commands()[self.arguments[0] if self.arguments else ""]
        shown = [a for a in made._actions if a.help is not argparse.SUPPRESS and "--help" not in a.option_strings]
        options = [a for a in shown if not isinstance(a, argparse._SubParsersAction)]
        return "\n\n".join(
            [
                f"```text\n{_usage(made)}\n```",
                str(made.description),
                f"```{{program}} {made.prog}\n```",
                *(f"```{{option}} {_option(action)}\n```" for action in options),
                *([str(made.epilog)] if made.epilog != parser().epilog else []),
            ]
        )


class ConfigKeys(Generated):
    """The keys of one table of the configuration file."""

    required_arguments = 1

    def markdown(self) -> str:
        """From the tables that the file is read by."""
        known = getattr(keys, self.arguments[0])
        return "\n".join(["| key | |", "|---|---|", *(f"| `{word}` | {key.words} |" for word, key in known.items())])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command", Command)
    app.add_directive("config-keys", ConfigKeys)
    return {"parallel_read_safe": True}
