"""From instances to a study's predictions."""

from orthanc_al.score.images import score_images
from orthanc_al.score.match import ModelUse
from orthanc_al.score.scorer import Scorer
from orthanc_al.score.shadow import ShadowStage
from orthanc_al.score.stage import ScoreImageStage, ScoreStage

__all__ = ["ModelUse", "ScoreImageStage", "ScoreStage", "Scorer", "ShadowStage", "score_images"]
