"""Which run comes next and when to stop; the board, the forecast, the session."""
