"""What a call makes of the frames that pass through it: captions, turns of the record, and rows of metrics."""
