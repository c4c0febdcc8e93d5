"""Moving averages of the strata's gradients and their Gramian; a sparse step costs only what it updates."""

from jaxtyping import Float, Int
from torch import Tensor

_SMALLEST = 1e-12  # below this scale the stored values are rescaled, long before float32 overflows


class MovingAverage:
    """m_a ← β m_a + (1 − β) g_a for G gradients of one tensor, and M_ab = m_a · m_b. The first step sets m_a = g_a."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.stored: Tensor | None = None
        self._scale = 1.0
        self._gramian: Tensor | None = None

    @property
    def value(self) -> Float[Tensor, "G *shape"]:
        """The averages m."""
        assert self.stored is not None, "no gradient has been averaged yet"
        return self.stored * self._scale

    def update(self, gradients: Float[Tensor, "G P"]) -> Float[Tensor, "G G"]:
        """M after a step with these gradients."""
        if self.stored is None:
            self.stored = gradients.clone()
        else:
            self._rescale()
            self.stored.flatten(1).lerp_(gradients, 1 - self.decay)
        average = self.stored.flatten(1)
        self._gramian = average @ average.T
        return self._gramian

    def update_rows(
        self, gradients: Float[Tensor, "G R D"], rows: Int[Tensor, " R"], count: int
    ) -> Float[Tensor, "G G"]:
        """M after a step with these gradients in the distinct `rows` of a table with `count` rows, and 0 elsewhere.

        The average is stored as m = s·S: s ← β s decays all rows, and only the given rows of S are written,
        S ← S + (1 − β)/s · g. The Gramian needs only these rows too:

            M ← β² M + β (1 − β) (m gᵀ + g mᵀ) + (1 − β)² g gᵀ.

        Rounding errors in M decay with it.
        """
        flat, width = gradients.flatten(1), gradients.shape[2]
        new_gramian = (flat @ flat.T).double()
        if self.stored is None or self.decay == 0:
            self.stored = gradients.new_zeros(len(gradients), count, width)
            self.stored.index_copy_(1, rows, gradients)
            self._scale, self._gramian = 1.0, new_gramian
        else:
            assert self._gramian is not None
            kept, new = self.decay, 1 - self.decay
            if self._scale * kept < _SMALLEST:
                self._rescale()
            current = self.stored.view(len(gradients), count, width).index_select(1, rows)
            cross = (current.flatten(1) @ flat.T).double() * self._scale
            self._gramian = kept**2 * self._gramian.double() + kept * new * (cross + cross.T) + new**2 * new_gramian
            self._scale *= kept
            current.add_(gradients, alpha=new / self._scale)
            self.stored.view(len(gradients), count, width).index_copy_(1, rows, current)
        return self._gramian.to(gradients)

    def _rescale(self) -> None:
        assert self.stored is not None
        if self._scale != 1.0:
            self.stored.mul_(self._scale)
            self._scale = 1.0
