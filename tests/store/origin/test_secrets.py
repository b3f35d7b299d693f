"""Secrets in command lines and URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.store.origin.secrets import MASK, without_secrets, without_secrets_in_url

SECRET = "s3cr3tS3cr3tS3cr3t"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--api-key", SECRET, "--lr", "0.1"], ["--api-key", MASK, "--lr", "0.1"]),
        ([f"--wandb_api_key={SECRET}"], [f"--wandb_api_key={MASK}"]),
        ([f"AUTH_TOKEN={SECRET}"], [f"AUTH_TOKEN={MASK}"]),
        (["--password", SECRET], ["--password", MASK]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["--num-tokens=5", "--tokenizer", "bpe"], ["--num-tokens=5", "--tokenizer", "bpe"]),
        (["--author", "me", "x=1"], ["--author", "me", "x=1"]),
        ([f"https://me:{SECRET}@host/x"], [f"https://{MASK}@host/x"]),
        (["hf_" + "a" * 30, "sk-" + "b" * 40], [MASK, MASK]),
        (["ghp_" + "a" * 36], [MASK]),
        (["AKIA" + "A" * 16], [MASK]),
        ([f"prefix{SECRET}suffix"], [f"prefix{MASK}suffix"]),
        (["a b", ""], ["a b", ""]),
    ],
)
def test_secrets_of_a_command_line_are_masked(given, expected):
    assert without_secrets(given, {"MY_API_KEY": SECRET, "HOME": "/root"}) == expected


@given(st.lists(st.text(max_size=20), max_size=5))
def test_no_value_of_a_secret_variable_stays(arguments):
    mixed = [f"{argument}{SECRET}" for argument in arguments]
    assert not any(SECRET in each for each in without_secrets(mixed, {"X_TOKEN": SECRET}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:pw@github.com/a/b.git", f"https://{MASK}@github.com/a/b.git"),
        ("https://ghp_x@github.com/a/b.git", f"https://{MASK}@github.com/a/b.git"),
        ("ssh://git@host/a/b.git", "ssh://git@host/a/b.git"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("s3://bucket/key?a=1", "s3://bucket/key?a=1"),
        ("https://h/x?X-Amz-Signature=abc&b=2", f"https://h/x?X-Amz-Signature={MASK}&b=2"),
        ("https://h/x?sv=1&sig=abc", f"https://h/x?sv=1&sig={MASK}"),
        ("http://[", MASK),
    ],
)
def test_secrets_of_a_url_are_masked(url, expected):
    assert without_secrets_in_url(url) == expected
