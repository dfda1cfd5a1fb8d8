"""Where jobs run. One executor for now: processes of this machine."""
