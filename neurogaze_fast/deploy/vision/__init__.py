"""Faces in pictures, videos and a camera's stream: found, cut out, answered, written down."""
