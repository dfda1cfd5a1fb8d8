"""Training one run: build, swap, train, resume, evaluate, and time a step."""
