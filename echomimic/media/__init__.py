"""Readers and writers of pictures, recordings and videos."""
