"""Which run comes next, when to stop, what a person sees meanwhile."""
