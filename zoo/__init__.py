"""Small trained networks with the recipes that made them."""
