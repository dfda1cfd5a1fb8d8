"""Where jobs run: by default in processes of this machine, started by a fork server."""
