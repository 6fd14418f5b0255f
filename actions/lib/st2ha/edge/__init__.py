"""The edge: load balancers, their VIP, and the groups of StackStorm nodes behind them."""
