"""Explaining networks: samples of a data set or images, relevances, pages."""
