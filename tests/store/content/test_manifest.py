import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.digest import digest
from kept.errors import Damaged
from kept.store.content.manifest import Chunk, File, Manifest
from kept.store.encoding import canonical

numbers = st.integers(0, 1 << 40)
digests = st.integers(0, 30).map(lambda n: digest(bytes([n])))


@st.composite
def manifests(draw):
    paths = draw(
        st.lists(st.integers(0, 99).map(lambda n: f"d{n % 3}/f{n}"), unique=True, max_size=5)
    )
    files = []
    for path in sorted(paths):
        packed = st.builds(Chunk, digests, numbers, digests, numbers)
        own = digests.map(lambda name: Chunk(name, 5, name))
        chunks = draw(st.lists(packed | own, max_size=4))
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


FILES = described()["files"]
NO_MANIFESTS = [
    [], None, 3, "text", {}, {"blobs": [A]}, {"files": []},
    *({"blobs": [A], "files": files} for files in (3, None, [3], [{}], [[]])),
    *({"blobs": blobs, "files": FILES} for blobs in (5, [], ["short"], [5], None)),
]  # fmt: skip
BAD_FILES = [
    *({"path": path} for path in ("../f", "/f", "", "a\\b", None, 3)),
    *({"size": size} for size in (4, -3, "3", None, 3.0)),
    {"size": 1, "chunks": [[A, True]]},
    {"size": True, "chunks": [[A, 1]]},
    *({"chunks": chunks} for chunks in (None, [A], [[]], [[A]], {"a": 1})),
    *({"chunks": [[name, 3]]} for name in (A.upper(), A[:-1], A + "0", 5, None)),
    *({"chunks": [[A, 3, *place]]} for place in (
        [0], [1, 0], [-1, 0], [0, -1], ["0", 0], [0, 0, 0], [0, None], [None, 0], [False, 0],
    )),
    {"chunks": [[A, 4], [B, -1]]},
    {"chunks": [[A, 1.0], [B, 2]]},
]  # fmt: skip
COLLIDING = [
    {"blobs": [], "files": [{"path": path, "size": 0, "chunks": []} for path in paths]}
    for paths in (("f", "F"), ("d", "d/f"), ("f", "f"))
]


@pytest.mark.parametrize(
    "value", [*NO_MANIFESTS, *(described(**bad) for bad in BAD_FILES), *COLLIDING]
)
def test_every_malformed_form_is_damaged(value):
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        Manifest.decode(canonical(value), "manifests/x.json")


def test_what_is_no_json_is_damaged():
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        Manifest.decode(b'{"blobs":[', "manifests/x.json")
