"""What a model recommends and why, for a person who looks: titles, reasons in words, tables at the terminal."""
