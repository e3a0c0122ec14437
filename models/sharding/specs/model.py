"""The shape of a transformer and what follows from it: parameters, FLOPs, cache."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from models.config import Config

_MOST_LAYERS = 4096
_MOST_WIDTH = 2**20
_MOST_HEADS = 2**16
_MOST_WORDS = 2**24
_MOST_EXPERTS = 2**16
# Ten times and more what was ever published; above, a number is a slip of the pen.


class ModelSpec(Config):
    """A decoder-only transformer, dense or mixture of experts."""

    name: str
    """Short name, in small letters."""
    layers: int = Field(ge=1, le=_MOST_LAYERS)
    """Decoder layers."""
    hidden: int = Field(ge=1, le=_MOST_WIDTH)
    """Width of the residual stream."""
    ffn: int = Field(ge=1, le=_MOST_WIDTH)
    """Inner width of a dense MLP."""
    heads: int = Field(ge=1, le=_MOST_HEADS)
    """Query heads."""
    kv_heads: int = Field(ge=1, le=_MOST_HEADS)
    """Key and value heads; they divide `heads`."""
    head_dim: int = Field(ge=1, le=_MOST_HEADS)
    """Width of a head; with latent attention that of its part without positions."""
    vocab: int = Field(ge=1, le=_MOST_WORDS)
    """Entries of the vocabulary."""
    is_tied: bool = False
    """Whether input and output embeddings are one matrix."""
    mlp_matrices: int = Field(3, ge=2, le=3)
    """Matrices of an MLP: 3 gated, 2 plain."""
    experts: int = Field(0, ge=0, le=_MOST_EXPERTS)
    """Routed experts of a layer; 0: dense."""
    experts_per_token: int = Field(0, ge=0, le=_MOST_EXPERTS)
    """Routed experts that each token visits."""
    shared_experts: int = Field(0, ge=0, le=_MOST_EXPERTS)
    """Experts that every token visits."""
    expert_ffn: int = Field(0, ge=0, le=_MOST_WIDTH)
    """Inner width of an expert."""
    dense_layers: int = Field(0, ge=0, le=_MOST_LAYERS)
    """First layers without experts."""
    moe_every: int = Field(1, ge=1, le=_MOST_LAYERS)
    """Every how many layers one has experts."""
    q_lora: int = Field(0, ge=0, le=_MOST_WIDTH)
    """Rank of the compressed query of latent attention; 0: not compressed."""
    kv_lora: int = Field(0, ge=0, le=_MOST_WIDTH)
    """Rank of the compressed cache of latent attention; 0: ordinary attention."""
    rope_dim: int = Field(0, ge=0, le=_MOST_HEADS)
    """Width of the part of a latent head that has positions."""
    v_dim: int = Field(0, ge=0, le=_MOST_HEADS)
    """Width of the values of a latent head."""
    qkv_bias: bool = False
    """Whether query, key and value have biases."""
    o_bias: bool = False
    """Whether the output of attention has a bias and each head a sink, and the router a bias."""
    qk_norm: bool = False
    """Whether queries and keys are normalised per head."""
    expert_bias: bool = False
    """Whether the matrices of experts have biases."""
    family: str = ""
    """Models of one design; what benchmarks split by."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        if self.dense_layers > self.layers:
            raise ValueError(f"dense_layers {self.dense_layers} exceeds layers {self.layers}")
        if self.experts and not (0 < self.experts_per_token <= self.experts and self.expert_ffn):
            raise ValueError("experts need experts_per_token (1..experts) and expert_ffn")
        return self

    @property
    def moe_layers(self) -> int:
        """Layers that have experts."""
        return (self.layers - self.dense_layers) // self.moe_every if self.experts else 0

    @property
    def attention_params(self) -> int:
        """Parameters of the attention of one layer, its norms without the layer's two."""
        h, n, d = self.hidden, self.heads, self.head_dim
        if self.kv_lora:
            wide = d + self.rope_dim
            query = h * n * wide
            if self.q_lora:
                query = h * self.q_lora + self.q_lora + self.q_lora * n * wide
            cache = h * (self.kv_lora + self.rope_dim) + self.kv_lora
            return query + cache + self.kv_lora * n * (d + self.v_dim) + n * self.v_dim * h
        kv = 2 * h * self.kv_heads * d
        biases = (n + 2 * self.kv_heads) * d * self.qkv_bias + (h + n) * self.o_bias
        return 2 * h * n * d + kv + biases + 2 * d * self.qk_norm

    @property
    def mlp_params(self) -> int:
        """Parameters of a dense MLP."""
        return self.mlp_matrices * self.hidden * self.ffn

    @property
    def expert_params(self) -> int:
        """Parameters of one expert."""
        biases = (self.mlp_matrices - 1) * self.expert_ffn + self.hidden
        matrices = self.mlp_matrices * self.hidden * self.expert_ffn
        return matrices + biases * self.expert_bias

    @property
    def embedding_params(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab * self.hidden

    @property
    def routed_params(self) -> int:
        """Parameters of all routed experts, which expert parallelism splits."""
        return self.moe_layers * self.experts * self.expert_params

    @property
    def params(self) -> int:
        """All parameters."""
        router = self.hidden * self.experts + self.experts * self.o_bias
        # DeepSeek-V3's router carries a correction per expert.
        router += self.experts * bool(self.q_lora)
        moe = self.moe_layers * (router + self.shared_experts * self.expert_params)
        norms = 2 * self.hidden * self.layers * (2 if self.family == "gemma3" else 1) + self.hidden
        dense = (self.layers - self.moe_layers) * self.mlp_params
        embeddings = self.embedding_params * (1 if self.is_tied else 2)
        attention = self.layers * self.attention_params
        return self.routed_params + moe + dense + attention + norms + embeddings

    @property
    def active_params(self) -> int:
        """Parameters that one token meets in matrix products, the input embedding left out."""
        per_layer = self.experts_per_token * self.expert_params
        active = self.params - self.routed_params + self.moe_layers * per_layer
        return active - (0 if self.is_tied else self.embedding_params)

    def attention_flops(self, seq_len: float, is_causal: bool = True) -> float:
        """Return FLOPs per token of scores and weighted values, forward, over all layers.

        Args:
            seq_len: Tokens that a token may look at, at the end of the sequence.
            is_causal: Whether only earlier tokens count, which halves it.
        """
        width = self.head_dim + self.rope_dim if self.kv_lora else self.head_dim
        values = self.v_dim if self.kv_lora else self.head_dim
        flops = 2.0 * self.layers * self.heads * (width + values) * seq_len
        return flops / 2 if is_causal else flops

    def train_flops(self, seq_len: float, is_causal: bool = True) -> float:
        """Return FLOPs per token of one training step, without recomputation: 6 N + attention."""
        return 6.0 * self.active_params + 3.0 * self.attention_flops(seq_len, is_causal)

    def cache_bytes_per_token(self, bytes_per_value: float = 2.0) -> float:
        """Return bytes of key-value cache per token, over all layers."""
        if self.kv_lora:
            return self.layers * (self.kv_lora + self.rope_dim) * bytes_per_value
        return 2.0 * self.layers * self.kv_heads * self.head_dim * bytes_per_value
