"""Poses and portraits brought together: onto the body, into the crop, and the verdict."""
