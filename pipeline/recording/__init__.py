"""What was said in a call, kept as sound: written while it is said, made into one file afterwards, and given up in time."""
