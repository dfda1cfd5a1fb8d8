"""Suite file -> validated suite -> tasks × variants = runs."""
