import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.digest import digest
from kept.errors import Damaged
from kept.store.encoding import canonical
from kept.store.manifest import Chunk, File, Manifest

digests = st.integers(0, 30).map(lambda n: digest(bytes([n])))


@st.composite
def manifests(draw):
    paths = draw(
        st.lists(st.integers(0, 99).map(lambda n: f"d{n % 3}/f{n}"), unique=True, max_size=5)
    )
    files = []
    for path in sorted(paths):
        chunks = tuple(
            draw(st.builds(Chunk, digests, st.integers(0, 1 << 40), digests, st.integers(0, 1 << 40))
                 | digests.map(lambda name: Chunk(name, 5, name)))
            for _ in range(draw(st.integers(0, 4)))
        )  # fmt: skip
        chunks = tuple(c if c.blob != c.digest else Chunk(c.digest, c.size, c.blob) for c in chunks)
        files.append(File(path, sum(chunk.size for chunk in chunks), chunks))
    return Manifest(tuple(files))


@given(manifests())
def test_what_is_encoded_comes_back(manifest):
    assert Manifest.decode(manifest.encode(), "k") == manifest
    assert manifest.size == sum(chunk.size for chunk in manifest.chunks())
    assert json.loads(manifest.encode()).keys() == {"blobs", "files"}


@given(manifests(), digests, st.integers(0, 9))
def test_the_content_digest_does_not_depend_on_where_chunks_lie(manifest, blob, offset):
    moved = Manifest(tuple(
        File(f.path, f.size, tuple(Chunk(c.digest, c.size, blob, offset) for c in f.chunks))
        for f in manifest.files
    ))  # fmt: skip
    assert moved.digest == manifest.digest


def test_the_content_digest_depends_on_everything_else():
    a, b = digest(b"a"), digest(b"b")
    chunk = Chunk(a, 1, a)
    variants = [
        (),
        (File("f", 0, ()),),
        (File("f", 1, (chunk,)),),
        (File("g", 1, (chunk,)),),
        (File("f", 1, (Chunk(b, 1, b),)),),
        (File("f", 2, (Chunk(a, 2, a),)),),
        (File("f", 2, (chunk, chunk)),),
        (File("f", 1, (chunk,)), File("g", 1, (chunk,))),
    ]
    assert len({Manifest(files).digest for files in variants}) == len(variants)


A, B = digest(b"a"), digest(b"b")


def described(**changes):
    file = {"path": "f", "size": 3, "chunks": [[A, 1], [B, 2, 0, 7]]} | changes
    return {"blobs": [A], "files": [file]}


def test_the_form_that_the_next_test_breaks_is_good():
    manifest = Manifest.decode(canonical(described()), "k")
    assert manifest.files[0].chunks == (Chunk(A, 1, A), Chunk(B, 2, A, 7))


@pytest.mark.parametrize(
    "value",
    [
        [], None, 3, "text", {}, {"blobs": []}, {"files": []}, {"blobs": [A], "files": 3},
        {"blobs": [A], "files": [3]}, {"blobs": [A], "files": [{}]}, {"blobs": 5, **{"files": described()["files"]}},
        {"blobs": ["short"], "files": described()["files"]}, {"blobs": [], "files": described()["files"]},
        described(path="../f"), described(path="/f"), described(path=""), described(path=None),
        described(size=4), described(size=-3), described(size="3"), described(size=None), described(size=3.0),
        described(size=1, chunks=[[A, True]]), described(size=True, chunks=[[A, 1]]),
        described(chunks=None), described(chunks=[A]), described(chunks=[[]]), described(chunks=[[A]]),
        described(chunks=[[A.upper(), 3]]), described(chunks=[[A[:-1], 3]]), described(chunks=[[5, 3]]),
        described(chunks=[[A, 4], [B, -1]]), described(chunks=[[A, 1.0], [B, 2]]),
        described(chunks=[[A, 3, 0]]), described(chunks=[[A, 3, 1, 0]]), described(chunks=[[A, 3, -1, 0]]),
        described(chunks=[[A, 3, 0, -1]]), described(chunks=[[A, 3, "0", 0]]), described(chunks=[[A, 3, 0, 0, 0]]),
        described(chunks=[[A, 3, 0, None]]), described(chunks={"a": 1}),
        {"blobs": [], "files": [{"path": p, "size": 0, "chunks": []} for p in ("f", "F")]},
        {"blobs": [], "files": [{"path": p, "size": 0, "chunks": []} for p in ("d", "d/f")]},
    ],
)  # fmt: skip
def test_every_malformed_form_is_damaged(value):
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        Manifest.decode(canonical(value), "manifests/x.json")


def test_what_is_no_json_is_damaged():
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        Manifest.decode(b'{"blobs":[', "manifests/x.json")
