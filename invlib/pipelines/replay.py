r"""The network of a pipeline called directly, with the arguments that the pipeline gives it.

Most pipelines call one network a few times a step and combine what it returns by a rule of the
form :math:`m = \sum_c w_c\,\mathrm{out}_c`. Both are read: the arguments by running the loop with a
stand-in for the network, twice with different states, and the weights from what the loop makes of
the stand-in's random answers. Then many nodes go through the network in one call, and single nodes
without the pipeline. Whether that is the same as the pipeline's own run is checked by the caller.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..devices import brought, lifted
from .equality import equal
from .running import modules_of
from .stage import Stage

Path = tuple[Any, ...]


class NotReplayable(Exception):  # noqa: N818 - it names the fact
    """The network is not called in the way that a replay knows; the message says how."""


@dataclass(frozen=True)
class Leaf:
    """One argument of the network, somewhere in its args and kwargs.

    Attributes:
        kind: ``state`` (the state, once a chunk), ``state+`` (with other channels or tokens beside
            it), ``rows`` (one entry a row of the network's batch), ``node`` (another value at
            every node) or ``fixed``.
        value: what it is: nothing for ``state``; a tensor, or a list with one value a node.
        axis: for ``state+`` the axis along which the state is joined with ``value``.
        first: for ``state+`` whether the state comes before the rest.
        dtype: for states, the dtype in which they are given.
        device: for states, the device on which they are given.
    """

    kind: str
    value: Any = None
    axis: int = 0
    first: bool = True
    dtype: torch.dtype | None = None
    device: torch.device | None = None


@dataclass(frozen=True)
class Replay:
    r"""The guided network as a function of states, nodes and rows.

    Attributes:
        module: the network.
        calls: for each of its calls in one step, the arguments by their place.
        weights: :math:`w`, float64 ``[n, calls x chunks]``.
        chunks: how many times each call's batch holds the rows.
        batch: rows B of the pipeline's state.
        labels: time labels of the nodes, ``[n]``.
        together: whether states of different nodes may go into one call.
        most: most states of one call.
    """

    module: torch.nn.Module
    calls: tuple[dict[Path, Leaf], ...]
    weights: Tensor
    chunks: tuple[int, ...]
    batch: int
    labels: Tensor
    together: bool = True
    most: int = 1

    def __call__(
        self, y: Tensor, nodes: Tensor, rows: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """The guided outputs at network inputs ``y [k, ...]`` of nodes ``[k]`` and rows ``[k]``.

        With ``times [k]`` they are those at other times: what the network is told of the time is
        interpolated linearly between the nodes, everything else is that of the given node.

        Raises:
            NotReplayable: if the time is no argument that can be interpolated.
        """
        if times is not None and not (self.together and len(self.labels) > 1):
            raise NotReplayable("the network is told the time in a form that has no values between")
        if self.together:
            parts = [torch.arange(len(y))]
        else:
            parts = [(nodes == v).nonzero().flatten().cpu() for v in nodes.unique()]
        pieces = [p for part in parts for p in part.split(self.most)]
        nodes, rows = nodes.cpu(), rows.cpu()
        found = [
            self._one(y[p], nodes[p], rows[p], None if times is None else times.cpu()[p])
            for p in pieces
        ]
        order = torch.cat(pieces)
        return torch.cat(found)[order.argsort().to(y.device)]

    def double(self) -> Replay:
        """The same with a copy of the network, and all arguments, in float64."""

        def lift(leaf: Leaf) -> Leaf:
            dtype = torch.float64 if leaf.dtype is not None else None
            return replace(leaf, value=_map(_double, leaf.value), dtype=dtype)

        calls = tuple({path: lift(leaf) for path, leaf in call.items()} for call in self.calls)
        return replace(self, module=copy.deepcopy(self.module).double(), calls=calls)

    def at_most(self, states: int) -> Replay:
        """The same with up to so many states in one call; one node at a time stays so."""
        return replace(self, most=states if self.together else min(states, self.batch))

    def _one(self, y: Tensor, nodes: Tensor, rows: Tensor, times: Tensor | None) -> Tensor:
        """One call of the network for each call in a step."""
        weights, total, place = self.weights.to(y.device), None, 0
        for call, chunks in zip(self.calls, self.chunks, strict=True):
            leaves = {
                path: self._value(leaf, y, nodes, rows, chunks, times)
                for path, leaf in call.items()
            }
            args, kwargs = _assemble(leaves)
            out = main_output(self.module(*args, **kwargs))[:, : y.shape[1]]
            for part in out.chunk(chunks):
                weight = weights[nodes.to(y.device), place].view(-1, *[1] * (y.ndim - 1))
                term = weight * brought(part, y)
                total = term if total is None else total + term
                place += 1
        assert total is not None
        return total

    def _value(
        self,
        leaf: Leaf,
        y: Tensor,
        nodes: Tensor,
        rows: Tensor,
        chunks: int,
        times: Tensor | None,
    ) -> Any:
        """An argument for these states."""
        places = torch.cat([rows + c * self.batch for c in range(chunks)])
        if leaf.kind in ("state", "state+"):
            x = torch.cat([y] * chunks).to(leaf.dtype).to(leaf.device)
            if leaf.kind == "state":
                return x
            rest = leaf.value[places.to(leaf.value.device)]
            return torch.cat([x, rest] if leaf.first else [rest, x], leaf.axis)
        if leaf.kind == "rows":
            return leaf.value[places.to(leaf.value.device)]
        if leaf.kind == "node":
            each = nodes.repeat(chunks).tolist()
            if not self.together:
                value = leaf.value[each[0]]
                if isinstance(value, Tensor) and _has_rows(value, chunks * self.batch):
                    return value[places.to(value.device)]
                return value
            if times is not None:
                return self._between(leaf.value, times.repeat(chunks))
            values = [leaf.value[i] for i in each]
            if _has_rows(values[0], chunks * self.batch):
                return torch.stack([v[p] for v, p in zip(values, places.tolist(), strict=True)])
            return torch.stack([v.reshape(()) for v in values])
        return leaf.value

    def _between(self, values: Sequence[Tensor], times: Tensor) -> Tensor:
        """What the network is told at times between (and beyond) the nodes, ``[k]``."""
        known = lifted(torch.stack([v.flatten()[0] for v in values]))
        order = self.labels.argsort()
        labels, known = self.labels[order], known.cpu()[order]
        high = torch.searchsorted(labels, times.double()).clamp(1, len(labels) - 1)
        part = (times - labels[high - 1]) / (labels[high] - labels[high - 1]).clamp(min=1e-300)
        return torch.lerp(known[high - 1], known[high], part).to(values[0].device, torch.float32)


def read_replay(stage: Stage) -> Replay:
    """Read how the pipeline calls its network, without calling the network.

    Raises:
        NotReplayable: if it is called in another way than a replay knows.
    """
    recording = stage.recording
    if len(recording.inner) != 1:
        raise NotReplayable(f"{len(recording.inner)} modules are called in a step")
    module = modules_of(stage.pipe)[next(iter(recording.inner))]
    first, second = (_watch(stage, seed) for seed in (0, 1))
    counts = {len(calls) for calls in (*first.calls, *second.calls)}
    if len(counts) != 1 or len(first.calls) != recording.steps or counts == {0}:
        raise NotReplayable("the number of the network's calls differs from step to step")
    batch = recording.states[0].shape[0]
    calls, chunks = [], []
    for number in range(counts.pop()):
        call, several = _read_call(number, first, second, batch)
        calls.append(call)
        chunks.append(several)
    weights = torch.stack([_weights(first, second, i, chunks) for i in range(recording.steps)])
    size = recording.states[0][0].numel()
    together = all(
        leaf.kind != "node" or all(isinstance(v, Tensor) for v in leaf.value)
        for call in calls
        for leaf in call.values()
    )
    most = max(1, BATCH // size) if together else batch
    labels = recording.loop.labels(recording.scheduler).double()
    return Replay(module, tuple(calls), weights, tuple(chunks), batch, labels, together, most)


BATCH = 2**14  # numbers in the states of one call: as many as in one latent of 512 x 512 pixels


@dataclass(frozen=True)
class _Watched:
    """A run with a stand-in: states, arguments and answers of the network, outputs."""

    states: list[Tensor]
    calls: list[list[dict[Path, Any]]]
    answers: list[list[Tensor]]
    outputs: list[Tensor]


def _watch(stage: Stage, seed: int) -> _Watched:
    recording = stage.recording
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        return drawn.to(like.device, like.dtype)

    states = [normal(x) for x in recording.states[:-1]]
    calls: list[list[dict[Path, Any]]] = [[]]
    answers: list[list[Tensor]] = [[]]
    shapes = list(recording.answers)

    def stand_in(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
        calls[-1].append({path: _kept(v) for path, v in _flatten((args, kwargs))})
        like = shapes[min(len(answers[-1]), len(shapes) - 1)]
        answer = normal(main_output(like))
        answers[-1].append(answer)
        return _with_output(like, answer)

    outputs: list[Tensor] = []

    def note(output: Tensor) -> None:
        outputs.append(output)
        calls.append([])
        answers.append([])

    def began() -> None:  # the round that put the first state in is not one of the loop's
        calls[-1].clear()
        answers[-1].clear()

    stage.watch(states, note, stage.remembering(stand_in), began)
    return _Watched(states, calls[:-1], answers[:-1], outputs)


def _read_call(
    number: int, one: _Watched, two: _Watched, batch: int
) -> tuple[dict[Path, Leaf], int]:
    """What each argument of a call is, from its values at all nodes in two runs."""
    first, second = ([calls[number] for calls in run.calls] for run in (one, two))
    paths = list(first[0])
    if any(list(call) != paths for call in (*first, *second)):
        raise NotReplayable("the network's arguments differ from step to step")
    leaves: dict[Path, Leaf] = {}
    chunks = 0
    for path in paths:
        values, others = [c[path] for c in first], [c[path] for c in second]
        if all(map(equal, values, others)):
            same = all(equal(v, values[0]) for v in values)
            leaves[path] = Leaf("fixed", values[0]) if same else Leaf("node", values)
            continue
        leaves[path], several = _state_leaf(values, others, one.states, two.states, batch)
        if chunks not in (0, several):
            raise NotReplayable("the state is an argument with different batches")
        chunks = several
    if not chunks:
        raise NotReplayable("no argument of the network is the state")
    rows = chunks * batch
    for path, leaf in leaves.items():
        if leaf.kind == "fixed" and isinstance(leaf.value, Tensor):
            if leaf.value.ndim and len(leaf.value) == rows:
                leaves[path] = replace(leaf, kind="rows")
    return leaves, chunks


def _state_leaf(
    values: Sequence[Any],
    others: Sequence[Any],
    states: Sequence[Tensor],
    more: Sequence[Tensor],
    batch: int,
) -> tuple[Leaf, int]:
    """An argument that holds the state: alone, or joined with something fixed along one axis."""
    value, state = values[0], states[0]
    if not isinstance(value, Tensor) or value.ndim != state.ndim or len(value) % batch:
        raise NotReplayable("the network is given the state in another form")
    chunks = len(value) // batch
    wide = [d for d in range(1, value.ndim) if value.shape[d] != state.shape[d]]
    runs = (*zip(values, states, strict=True), *zip(others, more, strict=True))

    def matches(cut: Callable[[Tensor], Tensor]) -> bool:
        return all(
            cut(v).shape[1:] == y.shape[1:] and _close(cut(v), torch.cat([y] * chunks).to(v))
            for v, y in runs
        )

    if not wide and matches(lambda v: v):
        return Leaf("state", dtype=value.dtype, device=value.device), chunks
    if len(wide) == 1:
        axis, size = wide[0], state.shape[wide[0]]
        for first in (True, False):
            start = 0 if first else value.shape[axis] - size
            if value.shape[axis] > size and matches(
                partial(_cut, axis=axis, start=start, size=size)
            ):
                rest = value.narrow(axis, size if first else 0, value.shape[axis] - size)
                return Leaf("state+", rest, axis, first, value.dtype, value.device), chunks
    raise NotReplayable("the network is given the state in another form")


def _cut(value: Tensor, *, axis: int, start: int, size: int) -> Tensor:
    return value.narrow(axis, start, size)


def _weights(one: _Watched, two: _Watched, node: int, chunks: Sequence[int]) -> Tensor:
    """The weights with which the answers of a step are combined to its output."""
    columns, right = [], []
    for run in (one, two):
        output = lifted(run.outputs[node])
        parts = []
        for answer, several in zip(run.answers[node], chunks, strict=True):
            cut = lifted(answer)[:, : output.shape[1]]
            if len(cut) != several * len(output) or cut.shape[1:] != output.shape[1:]:
                raise NotReplayable("the network's answers have another form than its output")
            parts += [p.flatten() for p in cut.chunk(several)]
        columns.append(torch.stack(parts, 1))
        right.append(output.flatten())
    matrix, vector = torch.cat(columns), torch.cat(right)
    weights = torch.linalg.lstsq(matrix, vector[:, None], driver="gels").solution[:, 0]
    gap = (matrix @ weights - vector).norm() / vector.norm()
    eps = max(torch.finfo(v.dtype).eps for v in (one.outputs[node], one.answers[node][0]))
    if not gap < 16 * eps * max(1.0, weights.abs().sum().item()):
        raise NotReplayable("the network's answers are not combined linearly")
    return weights


def main_output(answer: Any) -> Tensor:
    """The prediction in what a network returned.

    Raises:
        NotReplayable: if there is none.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor):
        return answer[0]
    sample = getattr(answer, "sample", None)
    if isinstance(sample, Tensor):
        return sample
    raise NotReplayable("the network returns no tensor")


def _with_output(answer: Any, tensor: Tensor) -> Any:
    """What a network returned, with another prediction."""
    if isinstance(answer, Tensor):
        return tensor
    if isinstance(answer, tuple | list):
        return type(answer)([tensor, *answer[1:]])
    changed = copy.copy(answer)
    changed["sample"] = tensor
    return changed


def _flatten(tree: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    """The leaves of nested tuples and dicts, each with its path."""
    if isinstance(tree, dict):
        found = [leaf for k, v in tree.items() for leaf in _flatten(v, (*path, ("k", k)))]
        return found if tree else [((*path, ("k", None)), None)]
    if type(tree) in (tuple, list):
        kind = "t" if type(tree) is tuple else "l"
        found = [leaf for i, v in enumerate(tree) for leaf in _flatten(v, (*path, (kind, i)))]
        return found if tree else [((*path, (kind, None)), None)]
    return [(path, tree)]


def _assemble(leaves: dict[Path, Any]) -> Any:
    """The nested tuples and dicts again."""
    if list(leaves) == [()]:
        return leaves[()]
    kind = next(iter(leaves))[0][0]
    groups: dict[Any, dict[Path, Any]] = {}
    for path, value in leaves.items():
        groups.setdefault(path[0][1], {})[path[1:]] = value
    empty = list(groups) == [None]
    parts = {} if empty else {name: _assemble(group) for name, group in groups.items()}
    if kind == "k":
        return parts
    return tuple(parts.values()) if kind == "t" else list(parts.values())


def _has_rows(value: Tensor, rows: int) -> bool:
    return value.ndim > 0 and len(value) == rows


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for the rounding of a factor, as that of the first state."""
    eps = torch.finfo(a.dtype).eps if a.is_floating_point() else 0.0
    return torch.allclose(a, b, rtol=4 * eps, atol=0)


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    return [_map(function, v) for v in value] if isinstance(value, list) else value


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value
