"""The Triton backend: functions, device code and launcher."""
