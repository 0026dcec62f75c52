"""Download a dataset of TFDS and write it as array_record, which is read without TensorFlow."""

from pathlib import Path

from jaxmask.data import prepared, tfds_source
from jaxmask.errors import InputError


def prepare(name: str, data_dir: Path) -> Path:
    """The folder of the prepared dataset; does nothing if it is there.

    One that was prepared in another format is converted, in place; nothing is downloaded.

    Args:
      name: `name[/config][:version]`.
      data_dir: the folder of TFDS datasets.

    Raises:
      InputError: TFDS does not know the dataset, it maps no image to a class, its download fails
        or must be made by hand, or the extra `prepare` is not installed.
    """
    try:
        return prepared.find(name, data_dir).folder
    except prepared.Unprepared as error:
        other_format = error.folder
    try:
        if other_format is None:
            _download(name, data_dir)
        else:
            _convert(other_format)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{error.name or error} is not installed; install jaxmask[prepare], best in an "
            f"environment of its own: {prepared.prepare_command(name, data_dir)}"
        ) from None
    except Exception as error:  # TFDS, TensorFlow and Beam each raise errors of their own
        why = " ".join(str(error).split())[:600] or type(error).__name__
        raise InputError(f"dataset {name!r} cannot be prepared: {why}") from None
    return prepared.find(name, data_dir).folder


def _download(name: str, data_dir: Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=str(data_dir), file_format=prepared.FORMAT)
    tfds_source.features(f"dataset {name!r}", builder.info)
    builder.download_and_prepare()


def _convert(folder: Path) -> None:
    from tensorflow_datasets.scripts.cli import convert_format_utils

    convert_format_utils.convert_dataset(
        out_dir=None, out_file_format=prepared.FORMAT, dataset_version_dir=[str(folder)]
    )
