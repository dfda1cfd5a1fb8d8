"""Files of the data sets, their readers and splits, and the batches made of them."""
