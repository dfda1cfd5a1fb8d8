"""Suite file -> validated suite -> runs."""
