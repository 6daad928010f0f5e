"""What is wrong, doubtful or right with a model for what a recipe does with it, found before anything is paid for."""

from selfimprove.doctor.examine import examine
from selfimprove.doctor.findings import Finding
from selfimprove.doctor.subject import Subject, Use, plain_use, read_subject

__all__ = ["Finding", "Subject", "Use", "examine", "plain_use", "read_subject"]
