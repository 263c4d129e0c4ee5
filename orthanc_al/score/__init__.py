"""From instances to a study's predictions."""

from orthanc_al.score.champions import Champions
from orthanc_al.score.image_stage import ScoreImageStage
from orthanc_al.score.images import score_images
from orthanc_al.score.match import ModelUse
from orthanc_al.score.shadow import ShadowStage
from orthanc_al.score.stage import ScoreStage

__all__ = ["Champions", "ModelUse", "ScoreImageStage", "ScoreStage", "ShadowStage", "score_images"]
