"""`make demo`: the pack's main job on a real replica set, measured while you watch."""
