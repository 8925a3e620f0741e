"""What is served: a package, and after a reload whatever has become of it."""

from dataclasses import dataclass

from model_loader.package import ModelPackage


@dataclass
class Served:
    """The package as it is now."""

    package: ModelPackage
