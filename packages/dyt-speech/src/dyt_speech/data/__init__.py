"""Files of the data sets, their decoding and splits, and the batches made of them."""
