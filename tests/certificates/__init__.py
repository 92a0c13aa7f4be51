"""Certificates: the shipped vectors computed again in multiple precision, by code that shares none with lie_ref."""
