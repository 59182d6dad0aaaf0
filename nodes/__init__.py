"""The graph's face: schemas, tooltips, sockets, and executes that translate."""
