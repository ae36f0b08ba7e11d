"""``autoassign benchmark``, one module per measurement."""
