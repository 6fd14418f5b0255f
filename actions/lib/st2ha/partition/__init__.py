"""Which node runs which sensor: StackStorm's partition providers, planned and proved."""
