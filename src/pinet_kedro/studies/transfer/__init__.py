"""Methods that give head and tail users a scorer each."""
