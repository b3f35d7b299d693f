"""kept completion, and what the Tab key offers: names and references out of the store."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened
from kept.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kept.store.store import Store

_SHELLS = ("bash", "zsh", "fish")
_MOST_OFFERED = 200  # what a shell can show at all

# As click's, but read from the line: bash cuts words at colons, which references have, and
# replaces only what stands after the last one.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" colons="" words current response type value
    read -ra words <<< "$line"
    [[ "$line" == *[[:blank:]] ]] && words+=("")
    current="${words[-1]}"
    [[ "$COMP_WORDBREAKS" == *:* ]] && colons="${current%%"${current##*:}"}"
    response=$(env COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) \
%(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$colons"}") ;;
        esac
    done <<< "$response"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@click.command()
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str | None, *, as_json: bool) -> None:
    """Print the script for completion with the Tab key.

    \b
    bash    eval "$(kept completion bash)"       in ~/.bashrc
    zsh     eval "$(kept completion zsh)"        in ~/.zshrc
    fish    kept completion fish | source        in ~/.config/fish/config.fish

    Without an argument it is for the shell that $SHELL names.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    if chosen not in _SHELLS:
        raise click.UsageError(f"Say for which shell: {', '.join(_SHELLS)}. $SHELL: {chosen!r}")
    script = _script(ctx.find_root().command, chosen)
    if as_json:
        print_json({"shell": chosen, "script": script})
    else:
        click.echo(script)


def _script(command: click.Command, shell: str) -> str:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, shell  # click knows the three
    complete = found(command, {}, "kept", "_KEPT_COMPLETE")
    return _BASH % complete.source_vars() if shell == "bash" else complete.source()


def artifact_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the artifacts whose names begin so."""
    return _offered(ctx, incomplete, _names)


def references(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return artifacts whose names begin so, and after a colon their aliases and versions."""
    return _offered(ctx, incomplete, _references)


def _offered(
    ctx: click.Context, incomplete: str, find: Callable[[Store, str], Iterable[str]]
) -> list[str]:
    # The Tab key answers or is silent: a message would tear the line that is being written.
    with contextlib.suppress(Exception):
        store = opened(ctx.find_root().params.get("store"))
        fitting = (text for text in find(store, incomplete) if text.startswith(incomplete))
        return list(itertools.islice(fitting, _MOST_OFFERED))
    return []


def _names(store: Store, _: str) -> Iterable[str]:
    return (artifact.name for artifact in store.artifacts())


def _references(store: Store, incomplete: str) -> Iterable[str]:
    name, colon, _ = incomplete.partition(":")
    if colon:
        return _selections(store, name)
    fitting = [other for other in _names(store, "") if other.startswith(incomplete)]
    if len(fitting) == 1:  # there is no choice of a name left, so go on to the aliases
        return itertools.chain(fitting, _selections(store, fitting[0]))
    return fitting


def _selections(store: Store, name: str) -> Iterable[str]:
    newest_first = store.versions(name)[::-1]
    aliases = (f"{name}:{alias}" for version in newest_first for alias in version.aliases)
    return itertools.chain(aliases, (version.reference for version in newest_first))
