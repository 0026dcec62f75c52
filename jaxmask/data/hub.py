"""Fetch an image dataset of the Hugging Face hub with `datasets`, which executes none of its code.

Imported only while something is fetched: what is there already is read without the hub's packages.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxmask.errors import InputError

OLDEST = 4  # the major version of `datasets` that no longer runs loading scripts
REACH_SECONDS = 10.0


def fetch(
    name: str, config: str, check: Callable[[Mapping[str, Any]], Any]
) -> dict[str, list[str]]:
    """Downloads a dataset into the cache of `datasets`, as Arrow files, unless it is there.

    Args:
      name: "OWNER/NAME".
      config: the dataset's configuration; "" is its default.
      check: is given the features, where they are known before the download, and may refuse them.

    Returns:
      The paths of the files of each split.

    Raises:
      InputError: `datasets` is not installed or too old, the hub cannot be reached or has no such
        dataset, the dataset needs a loading script, or `check` refuses it.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"hf:{name} has to be fetched by the package datasets; install jaxmask[datasets]"
        ) from None
    if int(datasets.__version__.split(".")[0]) < OLDEST:
        raise InputError(
            f"datasets {datasets.__version__} may execute code of the hub; install "
            f"'datasets>={OLDEST}' to fetch hf:{name}"
        )
    try:
        _check_reachable(name, config)
        builder = datasets.load_dataset_builder(name, config or None)
        if builder.info.features:
            check(builder.info.features.to_dict())
        builder.download_and_prepare()
        found = builder.as_dataset()
        return {split: [file["filename"] for file in found[split].cache_files] for split in found}
    except InputError:
        raise
    except Exception as error:  # several libraries below, each with errors of its own
        why = _line(error.__cause__ or error)
        hint = f"; give one as hf:{name}:CONFIG" if "config" in why.lower() and not config else ""
        hint += "; HF_HUB_OFFLINE is set" if _offline() else ""
        raise InputError(f"hf:{name} cannot be fetched ({why}){hint}") from None


def save_command(name: str, config: str = "") -> str:
    """The shell command that fetches a dataset where the hub can be reached, and saves it."""
    given = ", ".join(map(repr, filter(None, (name, config))))
    return (
        f'python -c "from datasets import load_dataset; load_dataset({given})'
        ".save_to_disk('/PATH')\""
    )


def _check_reachable(name: str, config: str) -> None:
    """Asks the hub once: `datasets` would try for half a minute, and say so each time."""
    from huggingface_hub import HfApi, errors

    if _offline():  # then `datasets` looks into its cache at once
        return
    page = f"https://huggingface.co/datasets/{name}"
    try:
        about = HfApi().dataset_info(name, timeout=REACH_SECONDS)
    except errors.GatedRepoError:
        raise InputError(
            f"hf:{name} is given only to those who accept its terms: {page}; then hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"the hub has no dataset {name!r}, or it is private: check the name, or hf auth login"
        ) from None
    except Exception as error:
        raise InputError(
            f"hf:{name} is not here yet, and the hub cannot be reached ({_line(error)}); fetch it "
            f"elsewhere ({save_command(name, config)}) and give hf:/PATH"
        ) from None
    script = name.split("/")[1] + ".py"
    if any(file.rfilename == script for file in about.siblings or ()):
        raise InputError(
            f"hf:{name} needs its loading script {script}, and no code of the hub's is executed; "
            "choose a copy of the dataset in parquet"
        )


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
