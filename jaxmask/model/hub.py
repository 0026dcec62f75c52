"""Files of the Hugging Face hub: fetched once, and from then on the copies in its cache."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxmask import signals
from jaxmask.errors import InputError

REACHED_SECONDS = 5.0  # the hub answers within, or counts as not reachable

# (repository, file name) -> its copy; None if the repository has no such file
Fetch = Callable[[str, str], Path | None]


def find(
    source: str, weights: Sequence[str], beside: Sequence[str], spare: Sequence[str] = ()
) -> Path:
    """The copy of a weight file, with the files beside it.

    Args:
        source: "hub:owner/name", or "hub:owner/name/file".
        weights: the names of weight files, the first that exists is taken; unless `source` has one.
        beside: names of files that are fetched too, if they exist.
        spare: likewise, but without those that cannot be fetched: who needs one will miss it.

    Raises:
        InputError: it is no such name, there is no such file, or it cannot be fetched.
    """
    owner, _, rest = source.removeprefix("hub:").partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise InputError(f"{source} is not hub:owner/name or hub:owner/name/file")
    candidates = (file,) if file else weights
    with _quiet():
        fetch = _fetcher(source)
        found = next(filter(None, (fetch(f"{owner}/{name}", each) for each in candidates)), None)
        if found is None:
            raise InputError(f"{source} has no {' and no '.join(candidates)}; give its weight file")
        for each in beside:
            fetch(f"{owner}/{name}", each)
        for each in spare:
            with suppress(InputError):
                fetch(f"{owner}/{name}", each)
    return found


def _fetcher(source: str) -> Fetch:
    """A function that fetches, or only looks into the cache if the hub cannot be reached.

    It is asked once, because the client asks six times for every file, with pauses.
    """
    try:
        import huggingface_hub as client
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            f"{source} needs the package huggingface_hub; install jaxmask[hub]"
        ) from None

    def unreachable(wanted: str) -> InputError:
        return InputError(
            f"cannot fetch {wanted} of {source}: the hub cannot be reached and there is no copy "
            "here; give a file instead"
        )

    def cached(repository: str, wanted: str) -> Path | None:
        copy = client.try_to_load_from_cache(repository, wanted)
        if copy is None:
            raise unreachable(wanted)
        return Path(copy) if isinstance(copy, str) else None  # else it is known not to exist

    def downloaded(repository: str, wanted: str) -> Path | None:
        try:
            return Path(client.hf_hub_download(repository, wanted))
        except LocalEntryNotFoundError:
            raise unreachable(wanted) from None
        except EntryNotFoundError:
            return None

    try:
        client.get_session().head(client.constants.ENDPOINT, timeout=REACHED_SECONDS)
        get = downloaded
    except Exception:  # the client raises errors of several libraries, here and below
        get = cached

    def fetch(repository: str, wanted: str) -> Path | None:
        signals.obey()
        try:
            return get(repository, wanted)
        except InputError:
            raise
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            raise InputError(f"cannot fetch {wanted} of {source} ({reason})") from None

    return fetch


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's warnings: what matters of them is in our error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
