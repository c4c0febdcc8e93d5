"""Plotly figures. Each title states what the figure shows; colour-blind readers can tell the colours apart."""
