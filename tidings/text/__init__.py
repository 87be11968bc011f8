"""Texts: what a template may say, compiled once and rendered fast."""
