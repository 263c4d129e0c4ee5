"""Decides, before any result leaves: audited blind, asked of the radiologist, or neither."""

from orthanc_al.select.nightly import spend_the_rest
from orthanc_al.select.stage import Budget, SelectStage

__all__ = ["Budget", "SelectStage", "spend_the_rest"]
