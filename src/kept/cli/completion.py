"""kept completion, and the names and references that the Tab key offers."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened, print_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.store import Store

_SHELLS = ("bash", "zsh", "fish")
_MOST_OFFERED = 200  # more is too much for a screen

# Like click's script, except that it reads the whole line. Bash cuts words at colons, which
# references have, and replaces only the text after the last colon.
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


_HELP = """Print the script for completion with the Tab key.

\b
bash    eval "$(kept completion bash)"       in ~/.bashrc
zsh     eval "$(kept completion zsh)"        in ~/.zshrc
fish    kept completion fish | source        in ~/.config/fish/config.fish

Without SHELL the script is for the shell that $SHELL names.
"""


@click.command(help=_HELP)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str | None, *, as_json: bool) -> None:
    """Print the script for completion with the Tab key."""
    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    if chosen not in _SHELLS:
        raise click.UsageError(f"Pass a shell: {', '.join(_SHELLS)}. $SHELL is {chosen!r}.")
    script = _script(ctx.find_root().command, chosen)
    print_result(script.split("\n"), {"shell": chosen, "script": script}, as_json=as_json)


def _script(command: click.Command, shell: str) -> str:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, shell  # click knows the three
    complete = found(command, {}, "kept", "_KEPT_COMPLETE")
    return _BASH % complete.source_vars() if shell == "bash" else complete.source()


def artifact_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the artifacts whose names begin with the text."""
    # The Tab key answers or is silent: a message would tear the line that the user writes.
    with contextlib.suppress(Exception):
        return _offered(_names(_store(ctx)), incomplete)
    return []


def references(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the artifacts whose names begin with the text; after a colon, aliases and versions."""
    with contextlib.suppress(Exception):
        return _offered(_references(_store(ctx), incomplete), incomplete)
    return []


def _store(ctx: click.Context) -> Store:
    return opened(ctx.find_root().params.get("store"))


def _offered(texts: Iterable[str], incomplete: str) -> list[str]:
    fitting = (text for text in texts if text.startswith(incomplete))
    return list(itertools.islice(fitting, _MOST_OFFERED))


def _names(store: Store) -> Iterable[str]:
    return (artifact.name for artifact in store.artifacts())


def _references(store: Store, incomplete: str) -> Iterable[str]:
    name, colon, _ = incomplete.partition(":")
    if colon:
        return _selections(store, name)
    fitting = [other for other in _names(store) if other.startswith(incomplete)]
    if len(fitting) == 1:  # only one name fits, so offer its aliases as well
        return itertools.chain(fitting, _selections(store, fitting[0]))
    return fitting


def _selections(store: Store, name: str) -> Iterable[str]:
    newest_first = store.versions(name)[::-1]
    aliases = (f"{name}:{alias}" for version in newest_first for alias in version.aliases)
    return itertools.chain(aliases, (version.reference for version in newest_first))
