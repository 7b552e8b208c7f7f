"""Readers: from the files of a published data set to its parts."""
