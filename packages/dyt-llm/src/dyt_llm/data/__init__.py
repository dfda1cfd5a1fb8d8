"""Where texts lie, how they become documents and tokens, and the windows made of them."""
