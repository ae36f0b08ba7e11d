"""Layers that neither torch nor detectron2 has without compiled extensions."""
