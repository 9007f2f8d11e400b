"""Rows of typed values, read from requests and files."""
