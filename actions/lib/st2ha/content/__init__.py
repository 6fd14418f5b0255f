"""The content that every StackStorm node needs alike: packs, configurations, virtualenvs."""
