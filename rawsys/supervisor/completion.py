"""Completions for shells, made from the parser of the command line, so that they know what it knows."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMED = "start stop restart status signal scale reset logs events".split()  # noqa: SIM905 - a list of words
"""Commands that take names of services."""
_NAMES = 'rawsys status --json 2>/dev/null | sed -n \'s/^ *"name": "\\(.*\\)",*$/\\1/p\''


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Each command with what it is for, and its options with theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield name, helps.get(name, ""), [
                    (option, other.help or "") for other in sub._actions for option in other.option_strings
                ]  # fmt: skip


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """What the shell is to evaluate."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](list(_commands(parser)))


def _bash(commands: list[tuple[str, str, list[tuple[str, str]]]]) -> str:
    cases = "\n".join(
        f"        {name}) words='{' '.join(option for option, _ in options)}' ;;" for name, _, options in commands
    )
    return f"""_rawsys() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} words
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W '{" ".join(name for name, _, _ in commands)}' -- "$cur"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    case ${{COMP_WORDS[1]}} in
        {"|".join(_NAMED)}) words="$words $({_NAMES})" ;;
        supervise|check) COMPREPLY=($(compgen -f -W "$words" -- "$cur")); return ;;
        completion) words='bash zsh fish' ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o bashdefault -F _rawsys rawsys"""


def _zsh(commands: list[tuple[str, str, list[tuple[str, str]]]]) -> str:
    described = "\n".join(f"        {_zsh_word(name, words)}" for name, words, _ in commands)
    cases = "\n".join(
        f"        {name}) options=({' '.join(_zsh_word(option, words) for option, words in options)}) ;;"
        for name, _, options in commands
    )
    return f"""#compdef rawsys
_rawsys() {{
    local -a commands options names
    commands=(
{described}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
    esac
    _describe option options
    case $words[2] in
        {"|".join(_NAMED)}) names=(${{(f)"$({_NAMES})"}}); compadd -a names ;;
        supervise|check) _files ;;
        completion) compadd bash zsh fish ;;
    esac
}}
compdef _rawsys rawsys"""


def _zsh_word(word: str, words: str) -> str:
    clean = words.replace("'", "").replace(":", " ").replace("%%", "%")
    return f"'{word}:{clean}'"


def _fish(commands: list[tuple[str, str, list[tuple[str, str]]]]) -> str:
    lines = ["complete -c rawsys -f"]
    for name, words, options in commands:
        lines.append(f"complete -c rawsys -n __fish_use_subcommand -a {name} -d {_fish_word(words)}")
        for option, about in options:
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            lines.append(f"complete -c rawsys -n '__fish_seen_subcommand_from {name}' {flag} -d {_fish_word(about)}")
    lines.append(f"complete -c rawsys -n '__fish_seen_subcommand_from {' '.join(_NAMED)}' -a \"({_NAMES_FISH})\"")
    lines.append("complete -c rawsys -n '__fish_seen_subcommand_from supervise check' -F")
    lines.append("complete -c rawsys -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'")
    return "\n".join(lines)


_NAMES_FISH = "rawsys status --json 2>/dev/null | string match -rg '^ *.name.: .([^,]*).,\\$'"


def _fish_word(words: str) -> str:
    return "'" + words.replace("'", "\\'").replace("%%", "%") + "'"
