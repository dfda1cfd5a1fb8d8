"""Where jobs run: by default in processes of this machine, which a fork server starts."""
