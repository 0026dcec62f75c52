"""The driver's view of its workers, without Ray."""

from types import SimpleNamespace

import pytest

from jaxmask.engine.batches import Batch
from jaxmask.engine.crew import Crew, Died, Member
from jaxmask.engine.worker import Share, versions
from jaxmask.errors import InputError

NODE = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0}, "NodeManagerHostname": "host"}


def made(share=Share(), nodes=(NODE,)):  # noqa: B008
    killed = []
    ray = SimpleNamespace(
        remote=lambda worker: worker, nodes=lambda: list(nodes), kill=killed.append
    )
    return Crew(ray, share, "/seen", "/"), killed


def test_what_workers_of_a_refused_node_were_doing_is_handed_back():
    crew, killed = made()
    busy, other = (Batch((name,), frozenset()) for name in "ab")
    members = [
        Member("first", "a", "host", True, batch=busy),
        Member("second", "a", "host", False),
        Member("third", "b", "elsewhere", True, batch=other),
    ]
    crew._members, crew._asked = [*members], {"1": members[0], "3": members[2]}
    crew._refuse("a", "it starts no worker")
    assert killed == ["first", "second"]
    assert crew._members == [members[2]]
    assert crew._asked == {"3": members[2]}
    crew._asked = {}
    assert list(crew.answers(0.0)) == [(busy, Died("it starts no worker"))]
    assert not crew.dropped


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (Share(64), "no node of the cluster has 64 cores for a worker"),
        (Share(1, 0.5), "has 1 cores and 0.5 GPUs for a worker"),
    ],
)
def test_a_share_that_no_node_has_is_refused(share, message):
    crew, _ = made(share)
    with pytest.raises(InputError, match=message):
        crew.hire(3)


def test_the_reason_of_the_last_node_to_be_refused_ends_the_grid():
    crew, _ = made()
    crew._refuse("a", "the node host has jaxmask 0.1")
    with pytest.raises(InputError, match=r"the node host has jaxmask 0\.1"):
        crew.hire(3)


def test_a_node_that_starts_no_worker_is_refused_after_two_tries():
    crew, _ = made()
    for tries in range(2):
        member = Member("actor", "a", "host")
        crew._members.append(member)
        assert not crew.refused
        crew._lose(member, "Ray says much\n\nModuleNotFoundError: jaxmask\n")
        assert len(crew.refused) == tries
    assert crew.refused["a"].endswith(
        "no worker starts on the node host: ModuleNotFoundError: jaxmask"
    )


def seen_as(**found):
    """What is told of a node whose worker describes itself so."""
    crew, _ = made()
    member = Member("actor", "a", "host")
    crew._members.append(member)
    crew._check(member, {**versions(), "sees": "True", **found})
    assert member.checked
    return crew.refused.get("a", "")


def test_a_node_with_other_versions_is_refused_by_name():
    assert seen_as() == ""
    told = seen_as(jaxmask="9.9.9 (00000000)", optax="8.8")
    assert told.startswith("the node host has jaxmask 9.9.9 (00000000) (here ")
    assert "optax 8.8 (here " in told
    assert told.endswith("install the same there")
    assert "jaxmask none" in seen_as(jaxmask="none")


def test_a_node_that_does_not_share_the_folder_is_refused_by_name():
    assert seen_as(sees="") == "the node host does not see /seen; share the --workdir"
