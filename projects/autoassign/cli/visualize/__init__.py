"""``autoassign visualize``, one module per figure."""
