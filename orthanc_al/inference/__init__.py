"""Model packages, and running them."""

from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.inference.running import Models, RunningModel, Server

__all__ = ["ModelPackage", "Models", "RunningModel", "Server", "load_package"]
