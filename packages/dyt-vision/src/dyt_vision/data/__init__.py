"""The data of vision: sets in memory, photographs in files, and the data module of both."""
