from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
SOURCE = "projects/autoassign"


def version() -> str:
    """The package's version, read without importing it: dependencies may not be installed yet."""
    lines = (ROOT / SOURCE / "__init__.py").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith("__version__"))
    return line.split('"')[1]


setup(
    name="autoassign",
    version=version(),
    description="AutoAssign, DSLA, FCOS, ATSS: label assignments of one detectron2 detector",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[
        "autoassign",
        *(f"autoassign.{name}" for name in find_packages(SOURCE)),
        "autoassign.configs",
    ],
    package_dir={"autoassign": SOURCE, "autoassign.configs": "configs"},
    entry_points={"console_scripts": ["autoassign = autoassign.cli:main"]},
    package_data={
        "autoassign": ["py.typed"],
        "autoassign.configs": ["**/*.yaml", "lazy/**/*.py"],
        "autoassign.analysis.report": ["*.html", "*.css", "*.js"],
    },
    # Lower bounds only, so that an existing environment keeps its versions. detectron2 is not on
    # the package index: see requirements/detectron2.txt and its INSTALL.md.
    install_requires=[
        "faster-coco-eval>=1.6",
        "fvcore>=0.1.5",
        "iopath>=0.1.9",
        "jinja2>=3.0",
        "matplotlib>=3.7",
        "numpy>=1.23",
        "pillow>=9.1",
        "pycocotools>=2.0.6",
        "tensorboard>=2.9",
        "torch>=2.3",
        "torchvision>=0.18",
    ],
    # opencv-python and opencv-python-headless overwrite each other's files, and a requirement
    # cannot say "either", so detectron2 leaves OpenCV to the user. This extra is for those without.
    extras_require={
        "opencv": ["opencv-python-headless>=4.6"],
        # ONNX files, and weights as .safetensors.
        "export": ["onnx>=1.15", "onnxruntime>=1.16", "safetensors>=0.4"],
    },
)
