"""MongoDB replica sets: facts, gather, assess, decide, act."""
