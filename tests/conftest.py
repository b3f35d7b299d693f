"""What all tests share: an S3 server on the loopback, started when the first test asks for it."""

from __future__ import annotations

import os
import signal
import tempfile
import threading

import pytest

# A process started in the background of a shell ignores Ctrl-C, and so would all its children here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test speaks to the world: what has not asked for a server finds none.
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
os.environ["WANDB_ERROR_REPORTING"] = "false"

# No test uses the caches of the user who runs it, or shows that user a live run.
_cache = tempfile.TemporaryDirectory(prefix="kept-test-cache-")
os.environ["XDG_CACHE_HOME"] = _cache.name
os.environ["XDG_STATE_HOME"] = f"{_cache.name}/state"

# Fake, and looked for in everything that is written or shown.
KEY_ID, SECRET = "AKIAFAKEFAKEFAKE1234", "fake/Secret+fakeSecretfakeSecretfakeSec0"


@pytest.fixture(scope="session")
def moto():
    """The endpoint of an S3 server in this process."""
    pytest.importorskip("moto.server")
    from tests.servers import s3

    server, endpoint = s3.start()
    yield endpoint
    server.stop()


@pytest.fixture
def s3_environment(moto, monkeypatch):
    """The environment of a user of that server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    return moto


_buckets = iter(range(1_000_000))
_lock = threading.Lock()


@pytest.fixture
def s3(s3_environment):
    """The location of a new, empty bucket."""
    with _lock:
        name = f"bucket-{os.getpid()}-{next(_buckets)}"
    make_s3_bucket(s3_environment, name)
    return f"s3://{name}/some/prefix"


def make_s3_bucket(endpoint: str, name: str, key_id: str = KEY_ID, secret: str = SECRET) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=name)


@pytest.fixture
def proxy(s3_environment, monkeypatch):
    """A proxy in front of the S3 server, and the environment of a user of the proxy."""
    from tests.servers.proxy import Proxy

    with Proxy(s3_environment) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


@pytest.fixture
def quick(monkeypatch):
    """Retries that end soon."""
    from kept.bucket.object_storage import bucket as object_bucket

    monkeypatch.setattr(object_bucket, "RETRIES", 2)


@pytest.fixture(scope="session")
def wandb_of_session(tmp_path_factory):
    """A W&B server, for good: the SDK reads the environment once in a process."""
    pytest.importorskip("wandb")
    from tests.servers.wandb_server import WandbServer

    folder = tmp_path_factory.mktemp("wandb")
    with WandbServer() as server:
        os.environ |= server.environment | {
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_X_DISABLE_STATS": "true",
            "WANDB_X_DISABLE_META": "true",
            "WANDB_DIR": str(folder),
            "WANDB_DATA_DIR": str(folder / "data"),
            "WANDB_CACHE_DIR": str(folder / "cache"),
            "WANDB_CONFIG_DIR": str(folder / "config"),
            "WANDB_ARTIFACT_DIR": str(folder / "artifacts"),
        }
        yield server
        import wandb

        wandb.teardown()  # while there is a server: its service would wait for one for long


@pytest.fixture
def wandb_server(wandb_of_session):
    """A W&B server that knows nothing yet, and the environment of its user."""
    wandb_of_session.reset()
    yield wandb_of_session
    wandb_of_session.faults.fault = lambda name: None
    wandb_of_session.start()
    import wandb

    if wandb.run is not None:
        wandb.finish()
