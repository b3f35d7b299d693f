"""Secrets in command lines and URLs."""

from __future__ import annotations

import json
import random
import time
from base64 import b64encode, urlsafe_b64encode

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


HEX = "0123456789abcdef" * 4
RANDOM = "wJalrXUtnFEMIK7MDENGbPxRfiCYzEXk3"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--authorization", "§"],
        ["--authorization", "Basic §"],
        ["--wandb-key", "§"],
        ["--openai-key=§"],
        ["--account-key", "§"],
        ["--encryption_key", "§"],
        ["--key", "§"],
        ["--keys", "§,§"],
        ["--pass", "§"],
        ["--pw", "§"],
        ["--pin", "§"],
        ["-HX-Api-Key: §"],
        ["--header=Authorization: Bearer §"],
        ["--dbPassword", "§"],
        ["--APIKey", "§"],
        ["--access-token-id", "§"],
        ["--password", "-§"],
        ["--password", "--§2"],
        ["--password", "--api-key", "§"],
        ["--password", "-§", "--api-key", "§"],
        ["--password", "--", "§"],
        ["--set=db.password=§"],
        ["--override", "a=1,db.password=§"],
        ["--override", "db.password=§,§;§"],
        ["+model.api_key=§"],
        ["db:password=§"],
        ["password:", "§"],
        ["--env", "WANDB_API_KEY=§"],
        ["--config", '{"password": "§", "x": {"secrets": ["§"]}, "api_key": 1}'],
        ["--config", '{"deep": [{"token": "§"}], "url": "https://u:§@h"}'],
        ['--config={"password": "§"}'],
        ["--config", "{password: '§', x: 1}"],
        ["--config", "{secrets: {a: '§', b: '§'}"],
        ["--header", "Authorization: Bearer §"],
        ["--header", "Cookie: a=§; b=§"],
        ["-H", "X-Api-Key: §"],
        ["--auth-header", "Bearer", "§"],
        ["--header", "Authorization:", "Bearer", "§"],
        ["--header", "Bearer", "§"],
        ["--header", "Accept: x, Bearer §"],
        ["DefaultEndpointsProtocol=https;AccountName=a;AccountKey=§==;EndpointSuffix=x"],
        ["--conn", "Server=h;Pwd=§;Encrypt=yes"],
        ["-c", "train.py --password § --lr 1"],
        ["-c", "curl -u x --password=§ y"],
        ["-u", "bob:§"],
        ["--login=bob:§"],
        ["bob:§@host:repo.git"],
        ["https://bob:§/§@host/x"],
        ["postgres://bob:§ §@host/x"],
        ["https://h/x?authorization=§&key=§"],
        ["https://hooks.slack.com/services/§"],
        ["https://discord.com/api/webhooks/1/§"],
        ["-----BEGIN RSA PRIVATE KEY-----\n§"],
    ],
)
def test_no_secret_of_these_forms_is_stored(arguments):
    shown = " ".join(without_secrets([each.replace("§", "hunter") for each in arguments], {}))
    assert "hunter" not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "value",
    [
        HEX, HEX[:40], HEX[:32].upper(), "sk-proj-" + "a" * 20, "ghp_" + "a" * 36, RANDOM,
        "AKIA" + "A" * 16, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "eyJhbGciOiJIUzI1.eyJzdWIi.x", "glpat-" + "a" * 20, "npm_" + "a" * 36,
        f"{RANDOM}-x_{RANDOM}", "c2VjcmV0IHNlY3JldCBzZWNyZXQ=",
    ],
)  # fmt: skip
def test_values_that_look_like_secrets_are_masked(value):
    assert without_secrets(["--x", value, f"--x={value}", f"a={value},b"], {}) == [
        "--x", MASK, f"--x={MASK}", f"a={MASK},b"]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["--author", "me", "--authors=a", "--authority", "x"],
        ["--keyboard", "x", "--key-metric", "val_loss", "--metric-key=acc", "--keypoints", "17"],
        ["--public-key", "x", "--rng-key=0", "--sort-key", "name", "--keep", "3", "--monkey", "x"],
        ["--num-tokens=5", "--max-token-len", "9", "--pad-token", "<pad>", "--tokenizer", "bpe"],
        [
            "--pin-memory",
            "true",
            "--no-auth",
            "a.csv",
            "--num_key_value_heads=8",
            "--key_dim",
            "64",
        ],
        [
            "--token_merging_ratio",
            "0.3",
            "--max_new_tokens",
            "9",
            "--push_to_hub",
            "--q",
            "a.b/C-3",
        ],
        ["--uses", "data:v0", "--source", "s3://b/webhooks/x.csv", "sha256:" + HEX, "m:best"],
        ["--model.path", "meta-llama/Llama-3.2-1B-Instruct", "trainer.devices=8", "x/y_z-1/a@b"],
        ["--passes", "2", "--forward-pass", "x", "--pass-through", "--bypass", "x", "--compass=n"],
        ["--pattern", "*.py", "--pinned", "1", "--salty=1", "--signal", "9", "--path", "/a/b"],
        [
            "--user",
            "me",
            "--lr=1e-3",
            "--sizes",
            "1,2",
            "x=1,y=2",
            "--",
            "-v",
            "--data",
            "s3://b/k",
        ],
        ["--commit", HEX[:40], f"--revision={HEX[:40]}", f"sha256:{HEX}", f"m@{HEX}", "1" * 40],
        ["--run-id", HEX[:32], "--time", "2026-11-30T12:00:00", "train:main", "http://h:8080/a@b"],
        ["lr0-bs32-wd1e4-ResNet50V2", "data/cifar10/ResNet50/run1", "a/B1/c2/D3/e4/F5/g6/H7/i8"],
        ["wandb-run-2024-ResNet50-v2-lr0", "2026-11-30T12-00-00Z_digits_Net2"],
        ["ResNet50V2Cifar10AugmentedLarge", "/data/Run12/ResNet50_v2/checkpoint-0001.keras"],
        ["--config", '{"lr":1,  "keep": [1, "x"], "auth": true, "token": null}', "[1,  2]", "{x"],
        ["--module", "package.sub_module.ClassNameOfAVeryLongKind2", "img:tag@sha256:" + HEX],
    ],
)
def test_other_words_stay_readable(arguments):
    assert without_secrets(arguments, {"PWD": "/a/b/c", "HOME": "/root"}) == arguments


def test_nearly_all_random_words_are_masked():
    numbers = random.Random(1)
    words = [numbers.randbytes(n) for n in (18, 24, 32, 40) for _ in range(100)]
    texts = [f(word).decode().rstrip("=") for word in words for f in (b64encode, urlsafe_b64encode)]
    assert sum(without_secrets([each], {}) == [MASK] for each in texts) > 0.95 * len(texts)


@pytest.mark.parametrize(
    "unit", ["a", "a-", "-a ", "a=", "password=", "://a:", "!", "{", ",a", "A1b"]
)
def test_long_arguments_take_linear_time(unit):
    short, long = (10_000 // len(unit), 40_000 // len(unit))
    times = []
    for count in (short, long):
        begun = time.thread_time()
        without_secrets([unit * count], {})
        times.append(time.thread_time() - begun)
    assert times[1] < max(1.0, 10 * times[0])


@given(st.lists(st.text(alphabet="{}[]\"':=,;@/- \\abAB0.token", max_size=30), max_size=4))
def test_no_text_makes_it_fail(arguments):
    assert len(without_secrets(arguments, {})) == len(arguments)


@given(
    st.sampled_from(["--api-key", "--dbPassword", "--wandb_key", "-token", "--auth"]),
    st.text(alphabet="aZ0!#$%^*-_+/.~'\"`\\()", min_size=1, max_size=12).map("q{}q9".format),
    st.sampled_from(
        ["{0}\0{1}", "{0}={1}", "{2}:\0{1}", "{2}: {1}", "--set\0x=1,a.{2}={1}", "r {0} {1}"]
    ),
)
def test_no_value_of_a_secret_option_stays(option, value, form):
    given_ = form.format(option, value, option.lstrip("-")).split("\0")
    assert value not in " ".join(without_secrets(given_, {}))
    [shown] = without_secrets([json.dumps({"x": [{option: value}]})], {})
    assert json.loads(shown) == {"x": [{option: MASK}]}


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
        ("bob:pw@host:a/b.git", f"{MASK}@host:a/b.git"),
        ("https://h/x?access_token=abc&key=d", f"https://h/x?access_token={MASK}&key={MASK}"),
        (f"s3://b/{HEX}/x", f"s3://b/{HEX}/x"),
        ("s3://b/webhooks/x.csv", "s3://b/webhooks/x.csv"),
    ],
)
def test_secrets_of_a_url_are_masked(url, expected):
    assert without_secrets_in_url(url) == expected
