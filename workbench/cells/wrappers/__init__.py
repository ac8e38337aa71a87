"""Cells around cells; WRAPPERS names them."""

from workbench.cells.base import Cell
from workbench.cells.wrappers.attention import AttentionWrapper
from workbench.cells.wrappers.dropout import DropoutWrapper
from workbench.cells.wrappers.multi import MultiRNNCell
from workbench.cells.wrappers.residual import ResidualWrapper

WRAPPERS: dict[str, type[Cell]] = {
    "multi": MultiRNNCell,
    "dropout": DropoutWrapper,
    "residual": ResidualWrapper,
    "attention": AttentionWrapper,
}

__all__ = ["WRAPPERS", "AttentionWrapper", "DropoutWrapper", "MultiRNNCell", "ResidualWrapper"]
