"""From the gradients of the strata to one gradient: the rules, one per file."""
