"""Decides, before any result leaves: audited blind, asked of the radiologist, or neither."""
