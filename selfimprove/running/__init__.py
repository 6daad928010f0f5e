"""The loop and what a run consists of while it is at work."""
