"""From instances to a study's predictions."""
