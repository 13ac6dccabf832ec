"""The guided network of a pipeline's call as a denoiser: a function of states and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ..denoisers import Prediction, convert
from ..devices import brought, has_float64
from ..solvers import Solver
from .replay import Replay
from .stage import Stage

Mode = Literal["replay", "steps", "whole runs"]


@dataclass(frozen=True)
class PipelineNetwork:
    r"""What a pipeline's loop hands to its scheduler's step, as a function of N states.

    .. math:: (y_0, \dots, y_{N-1}) \;\mapsto\; (m_0, \dots, m_{N-1}), \qquad m_i = m(y_i, t_i)

    Attributes:
        stage: the pipeline, its call, and a recorded run.
        mode: how it is evaluated: ``replay`` (the network called directly), ``steps`` (the
            pipeline's loop over the wanted steps only) or ``whole runs``.
        prediction: what the outputs are.
        times: time labels of the nodes, ``[N]``.
        roundoff: relative round-off of an output, measured where runs are costly (see
            :func:`~invlib.pipelines.reading.read`); else None.
        rows: the rows of the pipeline's batch that this network is about.
        joint: the rows depend on each other, so all of them are one sample ``[1, B, ...]``.
        replay: the network called directly, where that is possible.
    """

    stage: Stage
    mode: Mode
    prediction: Prediction
    times: Tensor
    roundoff: float | None
    rows: Tensor
    joint: bool = False
    replay: Replay | None = field(default=None, repr=False)

    @property
    def nodewise(self) -> bool:
        """Whether one node costs one evaluation, and not a run of the whole loop."""
        return self.mode != "whole runs"

    def select(self, rows: Tensor) -> PipelineNetwork:
        """The network of some of its rows, repeats allowed."""
        return replace(self, rows=self.rows[rows.to(self.rows.device)])

    def in_float64(self) -> PipelineNetwork:
        """The same with a copy of the network in float64, where it is called directly.

        Itself where the pipeline's device has no float64.
        """
        if self.replay is None or not has_float64(self.stage.recording.states[0].device):
            return self
        return replace(self, replay=self.replay.double(), roundoff=None)

    @property
    def any_time(self) -> bool:
        """Whether it can be evaluated at times between the nodes."""
        return self.replay is not None and self.replay.together and len(self.times) > 1

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The outputs at states ``x [k, ...]`` and times ``t [k]``.

        Raises:
            ValueError: if a time is none of the loop's, and the network is not called directly.
        """
        gaps = (self.times.to(t)[None] - t[:, None]).abs()
        nearest = gaps.argmin(1)
        if not (gaps.amin(1) > 1e-6 * (1 + t.abs())).any():
            return self.at(x, nearest)
        if self.replay is None or not self.any_time:
            raise ValueError(
                "this pipeline's network can be evaluated at the time steps of its own loop only: "
                "choose a method that needs no others"
            )
        return self.replay(x, nearest, self.rows.to(x.device), t)

    def at(self, y: Tensor, nodes: Tensor) -> Tensor:
        """The outputs at states ``y [k, ...]`` of nodes ``[k]``; state k belongs to row k."""
        if self.replay is not None:
            return self.replay(y, nodes, self.rows.to(nodes.device))
        if self.joint:
            found = self._run(list(y), nodes.tolist(), [None] * len(y))
        else:
            found = self._run(list(y), nodes.tolist(), self.rows.tolist())
        return brought(torch.stack(found), y)

    def sampled(self, y: Tensor, solver: Solver) -> tuple[Tensor, Tensor, Tensor]:
        """Sample on from first states ``y [k, ...]`` of its rows, in one run of the pipeline.

        A loop that may remember is run from its beginning, as no step of it stands alone.

        Returns:
            States and outputs ``[k, N, ...]``, and the end ``[k, ...]``.
        """
        states: list[Tensor] = []
        outputs: list[Tensor] = []
        rows = self.rows.tolist()
        if self.joint:
            first = y[0]
        else:
            first = self._batch(0, {(0, row): k for k, row in enumerate(rows)}, list(y))

        def follow(x: Tensor, m: Tensor) -> Tensor:
            i = len(states)
            alpha, sigma = (v[i].to(x).expand(len(x)) for v in (solver.alpha, solver.sigma))
            m = convert(brought(m, x), x, alpha, sigma, self.prediction, solver.prediction)
            states.append(x)
            outputs.append(m)
            return solver.step(i, x, outputs)

        end = self.stage.sampled(first, follow)
        y, m = (torch.stack([self._mine(v) for v in part], 1) for part in (states, outputs))
        return y, m, self._mine(end)

    def _mine(self, whole: Tensor) -> Tensor:
        """The samples of this network in the pipeline's batch."""
        return whole[None] if self.joint else whole[self.rows.to(whole.device)]

    def _run(
        self, states: Sequence[Tensor], nodes: Sequence[int], rows: Sequence[int | None]
    ) -> list[Tensor]:
        """Fill runs of the pipeline with the wanted states; unused places get recorded ones."""
        found: dict[int, Tensor] = {}
        left = list(range(len(states)))
        while left:
            taken: dict[tuple[int, int | None], int] = {}
            for k in left:
                taken.setdefault((nodes[k], rows[k]), k)
            left = [k for k in left if k not in taken.values()]
            wanted = sorted({node for node, _ in taken})
            if not self.nodewise:
                wanted = list(range(len(self.times)))
            batches = [self._batch(node, taken, states) for node in wanted]
            outputs = self.stage.outputs(batches, None if not self.nodewise else wanted)
            for (node, row), k in taken.items():
                output = outputs[wanted.index(node)]
                found[k] = output if row is None else output[row]
        return [found[k][..., : states[k].shape[-1]] for k in range(len(states))]

    def _batch(
        self, node: int, taken: dict[tuple[int, int | None], int], states: Sequence[Tensor]
    ) -> Tensor:
        """The pipeline's batch of states at one node."""
        recorded = self.stage.inputs[node]
        if self.joint:
            k = taken.get((node, None))
            return recorded if k is None else states[k]
        filled = (taken.get((node, row)) for row in range(len(recorded)))
        return torch.stack(
            [recorded[row] if k is None else states[k] for row, k in enumerate(filled)]
        )
