"""Drawn people who speak: the data that the demo's model learns from, and the pictures it is measured against.

`looks` chooses a person by seed, `figure` draws a frame of them, `motion` moves them as a gesture clip says,
`voices` gives speech with the mouth shapes that belong to it, and `clips` puts these together.
"""
