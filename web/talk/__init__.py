"""A headless client: plays WAV files to a tutor as a microphone would, and listens to the answers."""
