"""The paper's algorithms, stopped where the authors' code stops on latents of their size.

That code stops at a sum of squares. On their 4 x 64 x 64 latents it is a relative residual of
2.5e-4, as on larger models with the default of :func:`invlib.rootfind.forward_step_method`; on the
small ones here the same sum would be a looser rule than the paper's. The bench has both.
"""

from __future__ import annotations

from functools import partial

from ...inverters import Inverter
from ...inverters import algorithm1 as first_order
from ...inverters import algorithm2 as multistep

TOL = 2.5e-4  # relative residual
algorithm1 = partial(first_order, tol=TOL)
algorithm2 = partial(multistep, tol=TOL)
METHODS: dict[str, Inverter] = {"algorithm1": algorithm1, "algorithm2": algorithm2}
