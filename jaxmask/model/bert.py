"""BERT's encoder of texts, with its relatives: other sizes, poolings, and parts."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.errors import InputError
from jaxmask.model import attention, layers, transformer

EPSILON = 1e-12
POOLINGS = ("mean", "first", "pooler")
POOLERS = {"tanh": nn.tanh, "relu": nn.relu}


class Bert(nn.Module):
    """A transformer encoder of texts: token ids [B, L] -> features of the whole text.

    `x = norm(word[id] + position + token_type)`, then post-norm blocks,
    `x = norm(x + attention(x)); x = norm(x + mlp(x))`, with exact GELU. The features are, by
    `pool`: "mean", over the tokens that are not padding; "first", the first token; "pooler", a
    dense layer and an activation after that.

    With the 30,522 words of BERT and without a head, bert_tiny has 4,369,408 parameters, bert_mini
    11,104,768, bert_small 28,500,992, bert_base 108,891,648, minilm_l6 22,565,376 and distilbert
    66,362,880. Padding changes nothing. No dropout.

    References: Devlin et al., BERT: pre-training of deep bidirectional transformers for language
    understanding, 2019, https://arxiv.org/abs/1810.04805; Sanh et al., DistilBERT, 2019,
    https://arxiv.org/abs/1910.01108; Turc et al. (the small sizes), 2019,
    https://arxiv.org/abs/1908.08962; Wang et al., MiniLM, 2020, https://arxiv.org/abs/2002.10957.

    Attributes:
        head_size: units of an attention head, which `width` multiplies.
        vocabulary: the number of words.
        context: tokens at most.
        types: kinds of tokens, such as the first and second text of a pair; 0 is none.
        padding: the id of the word that is padding, where no attention mask is given.
        separator: the id of the word after which the second text of a pair begins: where no types
            are given, tokens after the first such one are of type 1. None: all are of type 0.
        pool: one of `POOLINGS`; `pooler`: the activation of the third, "tanh" or "relu".
        mlm: masked language modelling: in place of a classifier, its head predicts words.
        attention: "dense", or "bigbird(...)", see `attention.named`.
    """

    classes: int
    blocks: int
    heads: int
    head_size: int = transformer.HEAD
    vocabulary: int = 30522
    context: int = 512
    types: int = 2
    padding: int = 0
    separator: int | None = None
    pool: str = "mean"
    pooler: str = "tanh"
    mlm: bool = False
    attention: str = "dense"
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @property
    def size(self) -> int:
        """The units of a token."""
        return self.heads * layers.scaled(self.head_size, self.width)

    def setup(self) -> None:
        self.embeddings = _Embeddings(
            self.vocabulary, self.context, self.types, self.size, self.dtype
        )
        self.encoder = [
            transformer.Block(
                self.heads, self.dtype, EPSILON, transformer.gelu, post_norm=True,
                attend=attention.named(self.attention, i), name=f"block{i}",
            )
            for i in range(self.blocks)
        ]  # fmt: skip
        wide = jnp.promote_types(self.dtype, jnp.float32)
        if self.pool == "pooler":
            self.dense = layers.dense(self.size, name="pooler", dtype=self.dtype)
        self.head: Any = (
            _Words(self.vocabulary, self.dtype, name="head")
            if self.mlm
            else layers.dense(self.classes, name="head", dtype=wide)
        )

    def __call__(
        self,
        x: jax.Array,
        attention_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        train: bool = False,
        features: bool = False,
        places: jax.Array | None = None,
    ) -> jax.Array:
        """Token ids int [B, L] -> logits [B, classes], or features [B, size].

        With `mlm=True`, the logits are those of `word_logits`.

        Args:
            x: token ids; or, floating point [B, L, size], what to take for the embeddings' output,
                for what needs real numbers (`score.synflow`, `score.connected`). An id that is not
                in the vocabulary makes its text NaN.
            attention_mask: [B, L], 1 for tokens and 0 for padding; None: every id but `padding`.
            token_types: int [B, L]; None is by `separator`.
            train: of no effect, as there is neither batch norm nor dropout.
            features: whether to return what a classifier gets.
            places: as for `word_logits`.
        """
        if self.is_initializing() and self.pool == "pooler":
            self.dense(jnp.zeros((1, self.size), self.dtype))
        if self.mlm and not features:
            return self.word_logits(x, attention_mask, token_types, places)
        hidden = self.encode(x, attention_mask, token_types)
        found = self._pooled(hidden, self._seen(x, attention_mask))
        found = found.astype(jnp.promote_types(found.dtype, jnp.float32))
        return found if features else self.head(found)

    def encode(
        self,
        x: jax.Array,
        attention_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
    ) -> jax.Array:
        """The output of the last block for every token, [B, L, size]; arguments as for a call."""
        seen = self._seen(x, attention_mask)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            if token_types is None and self.separator is not None and self.types > 1:
                are = x == self.separator
                token_types = (jnp.cumsum(are, axis=1) > are).astype(jnp.int32)
            x = self.embeddings(x, token_types)
        x = x.astype(self.dtype)
        for block in self.encoder:
            x = block(x, seen)
        return x

    def word_logits(
        self,
        x: jax.Array,
        attention_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        places: jax.Array | None = None,
    ) -> jax.Array:
        """Which word stands at some places: logits [B, K, vocabulary], float32 or wider.

        `E norm(gelu(W x + b)) + c`, with E the embeddings of words. Call it by
        `module.apply(variables, ids, method="word_logits")`, with a network made with `mlm=True`.

        Args:
            x, attention_mask, token_types: as for a call.
            places: int [B, K], the indices of tokens; None is all, K = L.
        """
        if not self.mlm:
            raise InputError("the network has no head for words; create it with mlm=True")
        hidden = self.encode(x, attention_mask, token_types)
        if places is not None:
            hidden = jnp.take_along_axis(hidden, places[..., None], axis=1)
        return self.head(hidden, self.embeddings.table())

    def _pooled(self, x: jax.Array, seen: jax.Array | None) -> jax.Array:
        if self.pool == "mean":
            wide = jnp.promote_types(x.dtype, jnp.float32)
            if seen is None:
                return x.mean(1, dtype=wide)
            total = jnp.where(seen[..., None], x, 0).sum(1, dtype=wide)
            return total / jnp.maximum(seen.sum(1, keepdims=True), 1).astype(wide)
        x = x[:, 0]
        return POOLERS[self.pooler](self.dense(x)) if self.pool == "pooler" else x

    def _seen(self, x: jax.Array, mask: jax.Array | None) -> jax.Array | None:
        """Which tokens are not padding, bool [B, L] or None for all, after a check of the input."""
        real = jnp.issubdtype(x.dtype, jnp.floating)
        if x.shape[2:] != ((self.size,) if real else ()) or x.ndim < 2 or x.dtype == bool:
            raise InputError(
                f"a network of texts takes token ids int [B, L], or floating point embeddings "
                f"[B, L, {self.size}]; not {x.dtype} of shape {x.shape}"
            )
        if not real and x.shape[1] > self.context:
            raise InputError(
                f"texts of {x.shape[1]} tokens are longer than the {self.context} that the network "
                "has positions for; cut them, or give a larger context"
            )
        if mask is None:
            return None if real else x != self.padding
        if mask.shape != x.shape[:2]:
            raise InputError(f"attention_mask is of shape {mask.shape}; give {x.shape[:2]}")
        return mask != 0


def without_unused(
    params: Mapping[str, Any], pool: str, mlm: bool
) -> tuple[dict[str, Any], list[str]]:
    """Parameters without those that a network with these options lacks, and what they are.

    A network that was trained for another use has a pooler, or a head of the other kind.
    """
    head = params.get("head", {})
    unused = {"pooler": pool != "pooler", "head": ("kernel" in head) == mlm}
    gone = [name for name, left_out in unused.items() if left_out and name in params]
    return {name: leaf for name, leaf in params.items() if name not in gone}, gone


class _Embeddings(nn.Module):
    """norm(word + position + token type)."""

    vocabulary: int
    context: int
    types: int
    size: int
    dtype: DTypeLike

    def setup(self) -> None:
        def embed(count: int) -> nn.Embed:
            return nn.Embed(count, self.size, dtype=self.dtype, embedding_init=transformer.small)

        self.word, self.position = embed(self.vocabulary), embed(self.context)
        if self.types:
            self.token_type = embed(self.types)
        self.norm = transformer.norm("norm", EPSILON, self.dtype)

    def __call__(self, ids: jax.Array, types: jax.Array | None) -> jax.Array:
        """Ids int [B, L] -> [B, L, size]."""
        if types is not None and (not self.types or types.shape != ids.shape):
            has = f"give {ids.shape}" if self.types else "the network has none; leave them out"
            raise InputError(f"token_types are of shape {types.shape}; {has}")
        # beyond the last row the look-up gives NaN; before the first it would count from the end
        x = self.word(jnp.where(ids < 0, self.vocabulary, ids))
        if self.types:
            x = x + self.token_type(jnp.zeros_like(ids) if types is None else types)
        return self.norm(x + self.position(jnp.arange(ids.shape[1])))

    def table(self) -> jax.Array:
        """The embeddings of words, [vocabulary, size]."""
        return self.word.embedding


class _Words(nn.Module):
    """The head for words: a dense layer, GELU, a norm, products with the embeddings of words."""

    vocabulary: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, table: jax.Array) -> jax.Array:
        """[B, K, size] and embeddings [vocabulary, size] -> [B, K, vocabulary]."""
        x = transformer.gelu(layers.dense(x.shape[-1], name="dense", dtype=self.dtype)(x))
        x = transformer.norm("norm", EPSILON, self.dtype)(x)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))
        return x.astype(wide) @ table.astype(wide).T + bias.astype(wide)
