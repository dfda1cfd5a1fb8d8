"""Reading tables and images, and the data module."""
