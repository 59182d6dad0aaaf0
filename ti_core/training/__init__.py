"""How it is learned: what is needed of a frozen model, the loop, and the report."""
