"""Decides by its name whether an option, a variable or a key has a secret value.

It rather takes a name for a secret one than not, because a command line is stored for all time. The
words that make common names harmless, such as --metric-key and --pad-token, are listed.
"""

from __future__ import annotations

import functools
import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of names like db-password and dbPassword
# Parts of the name without its separators.
_PARTS = (
    "password", "passwd", "passwort", "kennwort", "passphrase", "passcode", "secret", "apikey",
    "accesskey", "privatekey", "accountkey", "authkey", "authtoken", "accesstoken", "credential",
    "connectionstring", "connstr", "webhook", "oauth", "authorization", "authentication",
)  # fmt: skip
# Words that make each name secret.
_WORDS = {
    "auth", "bearer", "cookie", "cookies", "cred", "creds", "dsn", "jwt", "mfa", "mnemonic", "otp",
    "pat", "psw", "pw", "pwd", "salt", "sas", "sig", "signature", "totp",
}  # fmt: skip
# Words that make a name secret at its end, except after the words below.
_LAST = {"key", "keys", "pass", "pin"}
_VALUES = {"b64", "base64", "data", "hex", "json", "material", "pem", "string", "text", "value"}
_BEFORE = {
    "key": {
        "answer", "attention", "batch", "cache", "class", "column", "config", "dict", "example",
        "feature", "features", "foreign", "group", "hot", "image", "images", "index", "input",
        "inputs", "join", "label", "labels", "lookup", "loss", "map", "mask", "metric", "metrics",
        "monitor", "n", "num", "object", "output", "outputs", "partition", "primary", "prng",
        "prompt", "public", "query", "question", "random", "rng", "sample", "score", "sort",
        "state", "target", "targets",
    },
    "pass": {
        "allow", "backward", "band", "by", "first", "forward", "high", "low", "multi", "n", "num",
        "one", "second", "single", "two",
    },
}  # fmt: skip
_OF_MODELS = {  # words beside "token" in the names of options of language models
    "batch", "bos", "budget", "class", "classification", "cls", "count", "dim", "dropout",
    "embedding", "end", "eos", "id", "ids", "image", "index", "len", "length", "level", "limit",
    "loss", "mask", "max", "merging", "min", "n", "num", "pad", "per", "pooling", "position",
    "prob", "pruning", "rate", "ratio", "sep", "shift", "size", "special", "start", "stop",
    "stride", "type", "unk", "vocab", "weight", "window",
}  # fmt: skip
_OF_LOGINS = {"access", "api", "auth", "github", "hf", "hub", "id", "refresh", "session", "wandb"}
_NO_SECRET = {"PWD", "OLDPWD", "SSH_AUTH_SOCK"}  # variables of each shell
_ACCOUNTS = {"login", "user", "username", "userpwd"}
_DIGESTS = {
    "checksum", "commit", "digest", "etag", "hash", "id", "md5", "rev", "revision", "sha", "uuid",
}  # fmt: skip


@functools.lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Return whether a name is that of an option, a variable or a key with a secret value."""
    words = _words(name)
    if name in _NO_SECRET or words[:1] == ["no"]:  # --no-auth has no value
        return False
    joined, every = "".join(words), set(words)
    if any(part in joined for part in _PARTS) or _WORDS & every:
        return True
    if "token" in every:
        return not _OF_MODELS & every or bool((_OF_LOGINS - {"id"}) & every)
    if "tokens" in every:
        return bool(_OF_LOGINS & every)
    while words and words[-1] in _VALUES:
        words.pop()
    if not words or words[-1] not in _LAST:
        return False
    last = "key" if words[-1] == "keys" else words[-1]
    return not _BEFORE.get(last, set()) & every


def has_account(name: str) -> bool:
    """Return whether the value of an option can be the name of a user and a password."""
    words = _words(name)
    return words == ["u"] or not _ACCOUNTS.isdisjoint(words)


def has_digest(name: str) -> bool:
    """Return whether the value of an option is a digest or an id, which is no secret."""
    return bool(_DIGESTS & set(_words(name)))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]
