"""DIN: every candidate item has its own attention to the history (Zhou et al., KDD 2018, arXiv 1706.06978)."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.backbones.config import DINConfig
from pinet_kedro.backbones.dropout import Dropout
from pinet_kedro.losses.binary import BinaryCrossEntropy, Negatives
from pinet_kedro.losses.loss import Loss
from pinet_kedro.losses.softmax import Candidates, FullSoftmax, summed_loss

# Numbers per block of users: attention weights (heads x users x length x candidates), or candidates' vectors.
_BLOCK_WEIGHTS = 2**18
# Lower bound of an exponent relative to the candidate's highest in the window, so that no sum of weights is 0. Where
# an exponent reaches it, the weights of an early position depend on later events of the window.
_LOWEST = -50.0


class DIN(Backbone):
    """Scaled dot-product target attention: with heads h of width d, the logit of item j after position t is

        s_tj = b_j + Σ_h u_tjh · e_jh,   u_tjh = Σ_{l ≤ t} a_tjhl v_lh,   a_tjh = softmax_l(q_jh · k_lh / √d + r_h,t−l),
        q_j = W_q LN(e_j),   k_l = W_k LN(e_l),   v_l = W_v LN(e_l),

    with the item vectors e (the same for history and candidate) and a bias r for the age of an event.

    Differs from the paper: scaled dot-product attention instead of its activation unit (as in the code of the
    deconfounding paper's first author), a dot product u · e instead of the classifier, and r, since our histories are
    ordered. Scoring the whole catalogue, at all positions of a window, then takes a few matrix products per user: with
    w_jl = exp(q_j · k_l / √d) and R_tl = exp(r_{t−l}) · 1[l ≤ t],

        u_tj · e_j = (R (w ∘ VEᵀ))_tj / (R w)_tj.
    """

    config: DINConfig
    item_tables = ("items", "item_bias")
    inner_products = False

    def __init__(self, config: DINConfig, n_items: int) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ValueError(f"width must be a multiple of heads, got width={config.width}, heads={config.heads}")
        self.config = config
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, config.width, padding_idx=0)
        self.item_bias = nn.Embedding(n_items + 1, 1, padding_idx=0)
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width)
        # At the start the first head weights all events equally; each further head prefers new events more.
        age = torch.arange(config.max_length) + 1.0
        self.recency = nn.Parameter(-torch.arange(config.heads)[:, None] * age.log())
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.zeros_(self.item_bias.weight)
        with torch.no_grad():
            self.items.weight[0] = 0

    def item_vectors(self) -> Float[Tensor, "I D"]:
        return self.items.weight[1:]

    def states(self, items: Int[Tensor, "B L"], rng: torch.Generator | None = None) -> Float[Tensor, "B L D"]:
        """u of a candidate with q = 0: Σ_l softmax_l(r_{t−l}) v_l, the heads concatenated."""
        _, values = self._history(items, rng)
        weights = self._recency(items.shape[1])[:, None] * (items != 0)[:, None]
        return ((weights @ values) / _positive(weights.sum(-1, keepdim=True))).permute(1, 2, 0, 3).flatten(2)

    def loss(
        self,
        inputs: Int[Tensor, "B L"],
        targets: Int[Tensor, " N"],
        loss: Loss,
        drawn: Candidates | Negatives,
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """As `Backbone.loss`. A softmax scores all candidates at all positions, a binary loss each position's own."""
        if isinstance(drawn, Negatives):
            assert isinstance(loss, BinaryCrossEntropy)
            picked = torch.cat([targets[:, None], drawn.items.to(targets.device)], 1)
            return self._binary_loss(inputs, picked, loss, rng)
        assert isinstance(loss, FullSoftmax)
        focal, candidates = loss.focal, drawn
        real = inputs != 0
        columns = torch.zeros_like(inputs)
        if candidates.items is None:
            columns[real] = targets - 1
        else:
            columns[real] = torch.searchsorted(candidates.items.to(targets.device), targets)

        def block_loss(users: Tensor, newest: slice, keys: Tensor, values: Tensor, *shared: Tensor) -> Tensor:
            queries, outputs, bias, recency = shared
            mask = real[users, newest]
            logits = _Attention.apply(keys, values, mask, queries, outputs, recency[:, newest, newest]) + bias
            return summed_loss(logits[mask], columns[users, newest][mask], candidates, focal)

        scored = self._candidates(candidates.items)
        blocks = list(_blocks(real, lambda longest: self.config.heads * longest * len(scored[-1])))
        history, recency = self._history(inputs, rng), self._recency(real.shape[1])
        return _SumOverBlocks.apply(block_loss, blocks, *history, *scored, recency) / len(targets)

    def _binary_loss(
        self,
        inputs: Int[Tensor, "B L"],
        picked: Int[Tensor, "N m"],
        loss: BinaryCrossEntropy,
        rng: torch.Generator | None,
    ) -> Float[Tensor, ""]:
        """Mean loss of the target (column 0) and the negatives of every position."""
        real, scores = inputs != 0, picked.shape[1]
        items, picked = picked.unique(return_inverse=True)
        columns = picked.new_zeros(*inputs.shape, scores)
        columns[real] = picked

        def apart(longest: int) -> bool:
            """Whether to score only each position's own items: they are fewer than all distinct items of the step."""
            return longest * scores < len(items)

        def block_loss(users: Tensor, newest: slice, keys: Tensor, values: Tensor, *shared: Tensor) -> Tensor:
            queries, outputs, bias, recency = shared
            mask, own = real[users, newest], columns[users, newest]
            recency = recency[:, newest, newest]
            if apart(own.shape[1]):
                queries, outputs = (
                    t.index_select(1, own.flatten()).unflatten(1, own.shape) for t in (queries, outputs)
                )
                logits = _own_logits(keys, values, mask, queries, outputs, recency)
            else:
                logits = _Attention.apply(keys, values, mask, queries, outputs, recency).gather(2, own)
            return loss.summed((logits + bias[own])[mask])

        def numbers(longest: int) -> int:
            largest = scores * max(longest, self.config.width // self.config.heads) if apart(longest) else len(items)
            return self.config.heads * longest * largest

        blocks = list(_blocks(real, numbers))
        scored = self._candidates(items)
        history, recency = self._history(inputs, rng), self._recency(real.shape[1])
        return _SumOverBlocks.apply(block_loss, blocks, *history, *scored, recency) / len(picked)

    def read(self, histories: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"]]:
        real = histories != 0
        keys, values = self._history(histories)
        queries, outputs, bias = self._candidates(None)
        recency = self._recency(histories.shape[1])[:, -1:]
        scores = queries.new_empty(len(histories), self.n_items)
        for users, newest in _blocks(real, lambda longest: self.config.heads * longest * self.n_items):
            block = keys[:, users, newest], values[:, users, newest], real[users, newest]
            scores[users] = _Attention.apply(*block, queries, outputs, recency[..., newest])[:, 0] + bias
        return self.newest_states(histories), scores

    def _history(
        self, items: Int[Tensor, "B L"], rng: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "H B L d"], Float[Tensor, "H B L d"]]:
        x = self.dropout(self.norm(self.items(items)), rng)
        return self._heads(self.key(x)), self._heads(self.value(x))

    def _candidates(
        self, items: Int[Tensor, " C"] | None
    ) -> tuple[Float[Tensor, "H C d"], Float[Tensor, "H C d"], Float[Tensor, " C"]]:
        vectors: Tensor = self.item_vectors()
        bias: Tensor = self.item_bias.weight[1:, 0]
        if items is not None:
            vectors, bias = vectors[items - 1], bias[items - 1]
        queries = self._heads(self.query(self.norm(vectors)))
        return queries * queries.shape[-1] ** -0.5, self._heads(vectors), bias

    def _heads(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "H *N d"]:
        return x.unflatten(-1, (self.config.heads, -1)).movedim(-2, 0)

    def _recency(self, length: int) -> Float[Tensor, "H L L"]:
        """R_tl = exp(r_{t−l}) where l ≤ t, otherwise 0."""
        place = torch.arange(length, device=self.recency.device)
        age = place[:, None] - place
        return self.recency.exp()[:, age.clamp(min=0)] * (age >= 0)


def _own_logits(
    keys: Float[Tensor, "H b L d"],
    values: Float[Tensor, "H b L d"],
    real: Bool[Tensor, "b L"],
    queries: Float[Tensor, "H b L m d"],
    outputs: Float[Tensor, "H b L m d"],
    recency: Float[Tensor, "H L L"],
) -> Float[Tensor, "b L m"]:
    """As `_Attention`, with separate candidates for every position."""
    affinity, appeal = (
        (t @ own.flatten(2, 3).mT).unflatten(3, own.shape[2:4]) for t, own in ((keys, queries), (values, outputs))
    )
    highest = affinity.detach().amax(2, keepdim=True)
    seen = recency.mT[:, None] * real[:, :, None]
    weights = (affinity - highest).clamp(min=_LOWEST).exp() * seen[..., None]
    return ((weights * appeal).sum(2) / _positive(weights.sum(2))).sum(0)


def _positive(total: Tensor) -> Tensor:
    """The total, kept above 0. It is 0 only before the first event of a history, where any finite result will do."""
    return total.clamp(min=1e-30)


def _blocks(real: Bool[Tensor, "B L"], numbers: Callable[[int], int]) -> Iterator[tuple[Int[Tensor, " b"], slice]]:
    """Users in blocks, and the newest positions that the longest history of a block needs.

    `numbers` gives the size of one history of a length, in numbers. Users with histories of similar length share a
    block, which limits padding.
    """
    lengths, order = real.sum(1).clamp(min=1).sort(descending=True)
    start = 0
    while start < len(order):
        longest = int(lengths[start])
        count = max(1, _BLOCK_WEIGHTS // numbers(longest))
        yield order[start : start + count], slice(-longest, None)
        start += count


class _Attention(torch.autograd.Function):
    """Σ_h u_tjh · e_jh = Σ_h (R (w ∘ a))_tj / (R w)_tj with w = exp(K Qᵀ) and a = V Eᵀ, for all positions
    and candidates at once; 0 before the first event.

    The gradients are explicit because most of the time goes into passes over [H, b, L, C] numbers, and autograd needs
    more than twice as many. With the upstream gradient g of s_tj, and s the part of one head,

        σ = g / (R w),   ∂a = w ∘ (Rᵀ σ),   ∂(K Qᵀ) = w ∘ (a ∘ (Rᵀ σ) − Rᵀ(σ ∘ s)),   ∂R = σ (w ∘ a)ᵀ − (σ ∘ s) wᵀ.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,  # noqa: ANN001
        keys: Float[Tensor, "H b L d"],
        values: Float[Tensor, "H b L d"],
        real: Bool[Tensor, "b L"],
        queries: Float[Tensor, "H C d"],
        outputs: Float[Tensor, "H C d"],
        recency: Float[Tensor, "H T L"],
    ) -> Float[Tensor, "b T C"]:
        shape = (*keys.shape[:3], queries.shape[1])
        weights = torch.bmm(keys.flatten(1, 2), queries.mT).view(shape)
        weights.sub_(weights.amax(2, keepdim=True)).clamp_(min=_LOWEST).exp_().mul_(real[:, :, None])
        appeal = torch.bmm(values.flatten(1, 2), outputs.mT).view(shape)
        total = _positive(recency[:, None] @ weights)
        share = (recency[:, None] @ (weights * appeal)).div_(total)
        ctx.save_for_backward(keys, values, queries, outputs, recency, weights, appeal, total, share)
        return share.sum(0)

    @staticmethod
    def backward(ctx, upstream: Tensor):  # noqa: ANN001, ANN205
        keys, values, queries, outputs, recency, weights, appeal, total, share = ctx.saved_tensors
        slope = upstream / total
        shared = slope * share
        weighted = weights * appeal
        of_recency = (slope @ weighted.mT - shared @ weights.mT).sum(1)
        past = recency.mT[:, None]
        of_appeal = past @ slope
        of_affinity = torch.mul(appeal, of_appeal, out=weighted).sub_(past @ shared).mul_(weights).flatten(1, 2)
        of_appeal = of_appeal.mul_(weights).flatten(1, 2)
        return (
            torch.bmm(of_affinity, queries).view_as(keys),
            torch.bmm(of_appeal, outputs).view_as(values),
            None,
            torch.bmm(of_affinity.mT, keys.flatten(1, 2)),
            torch.bmm(of_appeal.mT, values.flatten(1, 2)),
            of_recency,
        )


class _SumOverBlocks(torch.autograd.Function):
    """Σ of `block_loss` over blocks of users; computes its gradients in the forward pass.

    Autograd would keep the attention weights of all blocks until the backward pass; this keeps one block at a time.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,  # noqa: ANN001
        block_loss: Callable[..., Tensor],
        blocks: list[tuple[Int[Tensor, " b"], slice]],
        keys: Float[Tensor, "H B L d"],
        values: Float[Tensor, "H B L d"],
        *shared: Tensor,
    ) -> Float[Tensor, ""]:
        total = keys.new_zeros(())
        of_users = [torch.zeros_like(keys), torch.zeros_like(values)]
        leaves = [tensor.detach().requires_grad_() for tensor in shared]
        of_shared = [torch.zeros_like(tensor) for tensor in shared]
        for users, newest in blocks:
            own = [tensor[:, users, newest].detach().requires_grad_() for tensor in (keys, values)]
            with torch.enable_grad():
                value = block_loss(users, newest, *own, *leaves)
            gradients = torch.autograd.grad(value, own + leaves)
            for stored, gradient in zip(of_users, gradients[:2], strict=True):
                stored[:, users, newest] = gradient
            torch._foreach_add_(of_shared, list(gradients[2:]))
            total += value.detach()
        ctx.save_for_backward(*of_users, *of_shared)
        return total

    @staticmethod
    def backward(ctx, upstream: Tensor):  # noqa: ANN001, ANN205
        return None, None, *(gradient * upstream for gradient in ctx.saved_tensors)
