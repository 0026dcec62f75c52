"""What TensorBoard reads in a run directory."""


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "histograms": 0})
    found.Reload()
    return found


def tags(folder):
    """Names of numbers."""
    return set(events(folder).Tags()["scalars"])


def histogram(folder, name):
    """(step, the newest histogram of this name)."""
    found = raw(folder, name)
    assert found, name
    return found[-1]


def raw(folder, name):
    """(step, histogram) in the files of events, as they are."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            found += [(event.step, v.histo) for v in event.summary.value if v.tag == name]
    return found


def hyperparameters(folder):
    """(fields, names of metrics) of the plugin HParams."""
    from tensorboard.plugins.hparams import metadata

    summaries = events(folder).summary_metadata
    start, experiment = (
        summaries[name].plugin_data.content
        for name in (metadata.SESSION_START_INFO_TAG, metadata.EXPERIMENT_TAG)
    )
    values = metadata.parse_session_start_info_plugin_data(start).hparams
    fields = {name: getattr(each, each.WhichOneof("kind")) for name, each in values.items()}
    infos = metadata.parse_experiment_plugin_data(experiment).metric_infos
    return fields, [info.name.tag for info in infos]
