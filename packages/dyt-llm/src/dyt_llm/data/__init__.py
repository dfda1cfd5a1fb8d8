"""Files of the data sets, their documents and tokens, and the windows made of them."""
