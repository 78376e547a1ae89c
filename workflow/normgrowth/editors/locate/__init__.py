"""Parts of locate-then-edit editors: keys, the search for values, and the closed forms that write them."""
