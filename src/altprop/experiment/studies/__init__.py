"""Trainings by a recipe in a folder: made, gone on with, and read again."""
