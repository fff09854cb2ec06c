"""A table of a model's layers whose cells are menus: what the tuner's plan says of each."""

from explorer.layer_table.mount import Column, LayerRow, NumberColumn, TableEdit, layer_table

__all__ = ["Column", "LayerRow", "NumberColumn", "TableEdit", "layer_table"]
