"""The pictures of a report, each a function that draws into axes or makes a figure."""
