"""What a user probably meant: the verb or option of kept for a word of another tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.names import close_to

if TYPE_CHECKING:
    from collections.abc import Iterable

# What other tools call it, and what to write here.
_VERBS_ELSEWHERE = {
    "ls": "list artifacts versions dir search find query",
    "show": "info inspect describe cat stat view metadata files",
    "get": "download fetch pull checkout load open",
    "put": "add upload push save commit store create register publish",
    "import": "ingest migrate take",
    "export": "convert onnx saved_model",
    "log": "history reflog audit events changes",
    "lineage": "tree graph ancestors provenance parents",
    "alias": "name ref label link",
    "alias --remove": "unalias unlink",
    "tag": "tags untag",
    "note": "comment annotate description",
    "metric": "metrics log-metrics score",
    "evaluate": "eval test",
    "best": "rank top leaderboard",
    "promote": "release deploy stage",
    "rollback": "revert demote",
    "protect --remove": "unprotect unlock",
    "protect": "lock",
    "rm": "delete remove del erase unlink",
    "undelete": "restore undo recover unrm",
    "prune": "clean cleanup retain keep",
    "ttl": "expire",
    "gc": "vacuum collect purge",
    "verify": "check fsck validate scrub",
    "repair": "fix heal",
    "compact": "compress optimize repack",
    "du": "size usage df space disk",
    "sync": "mirror send backup clone replicate",
    "sync --status": "status pending queue outbox",
    "mv": "rename move",
    "cp": "copy duplicate",
    "watch": "hook webhook notify listen monitor subscribe",
    "--version": "version",
}
# Options of other tools, and those of kept that mean it; a verb has at most some of these.
_OPTIONS_ELSEWHERE = {
    "--json": "-j --format --output --output-format -o --as-json --raw",
    "--yes": "--no-confirm --assume-yes --no-input --non-interactive --quiet -q -f",
    "--force": "-f --overwrite",
    "--dry-run": "-n --simulate --what-if --plan --check --test --pretend",
    "--artifact": "-r -R --recursive --all",
    "--all": "-a --deleted --include-deleted --show-deleted",
    "--limit": "-n -l --max --top --head --tail --last --count",
    "--where": "--filter --query --if --match",
    "--sort": "--order-by --sort-by --order",
    "--columns": "--fields --select -c",
    "--message": "--comment --reason --note",
    "--remove": "-d --delete --unset --rm --off --clear",
    "--keep-last": "--last --keep --max-to-keep --save-total-limit -n",
    "--keep-best": "--best --save-top-k --top",
    "--keep-within": "--within --since --newer-than --older-than",
    "--keep-every": "--every --keep-period",
    "--older-than": "--before --age --min-age",
    "--store": "-s --location --dir --root --path --bucket --url --remote",
    "--metadata": "--meta --set",
    "--alias": "--tag --name -t",
    "--from": "--source --mirror",
    "--grace": "--min-age --older-than --prune",
    "--help": "-? -help --usage",
}


def command_hint(word: str, verbs: Iterable[str]) -> str:
    """Return what to write instead of an unknown verb, as sentences, or nothing."""
    known = list(verbs)
    if ":" in word or "@" in word:
        return f". To see a version: kept show {word}"
    meant = [own for own, others in _VERBS_ELSEWHERE.items() if word.lower() in others.split()]
    meant = [own for own in meant if own.split()[0] in known or own.startswith("-")]
    if not meant:  # of the two letters of a short verb, one may be wrong
        import difflib

        meant = close_to(word, known) or difflib.get_close_matches(word, known, 2, 0.5)
    return _question([f"kept {each}" for each in meant[:3]]) + " All verbs: kept --help"


def without_option(error: click.NoSuchOption) -> str:
    """Return the message for an unknown option, with what to write instead."""
    name, context = error.option_name, error.ctx
    known = _options(context.command, context) if context else []
    own = [o for o, others in _OPTIONS_ELSEWHERE.items() if o in known and name in others.split()]
    meant = own or close_to(name, known)
    message = f"No such option: {name}{_question(meant[:3])}"
    if not meant and context and context.parent is None:
        message += f" Options of a verb come after it: kept VERB {name}"
    return message


def _options(command: click.Command, context: click.Context) -> list[str]:
    parameters = command.get_params(context)
    return [o for p in parameters if isinstance(p, click.Option) for o in p.opts if len(o) > 2]


def _question(meant: list[str]) -> str:
    return f". Did you mean {' or '.join(map(repr, meant))}?" if meant else "."
