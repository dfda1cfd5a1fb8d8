"""Files of the data sets, their readers, and the batches made of them."""
