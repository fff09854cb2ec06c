"""What all lessons share: their parts, their words, their state, and the one way they are shown."""
