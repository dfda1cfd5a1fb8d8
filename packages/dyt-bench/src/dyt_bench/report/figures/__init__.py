"""The figures of a report, each a function that draws into axes or returns a figure."""
