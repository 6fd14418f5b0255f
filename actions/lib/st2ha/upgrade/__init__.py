"""Blue/green: the new StackStorm version's nodes beside the old ones, the switch, and the way back."""
