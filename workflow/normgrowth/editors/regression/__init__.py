"""Editors that write an edit's normalised gradients by ridge regression, without training or search."""
