"""nginx on the balancers: checked, and pointed to another group of nodes."""
