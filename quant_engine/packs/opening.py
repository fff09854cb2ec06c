"""Opening an installed pack."""

from __future__ import annotations

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.models import Model
from quant_engine.packs.installing import folder_of, is_installed
from quant_engine.packs.table import pack_named
from quant_engine.tasks import Task


def open_pack(name: str) -> tuple[Model, Task]:
    """Return the model of an installed pack, and the task that comes with it.

    Raises:
        QuantError: for a name there is not, a pack that is not installed, and where a package is missing.
    """
    pack = pack_named(name)
    if not is_installed(pack):
        raise QuantError(f"{name} is not installed; fetch it with: quant-explorer models add {name}")
    for module, extra in pack.needs:
        imported(module, extra)
    return pack.open(folder_of(pack))
