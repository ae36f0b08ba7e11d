"""detectron2's DatasetMapper, which names the file it could not read."""

from detectron2.data import DatasetMapper

from .image_files import READ_ERRORS, check_pixel_format

__all__ = ["CheckedDatasetMapper"]


class CheckedDatasetMapper(DatasetMapper):
    """A :class:`detectron2.data.DatasetMapper` whose errors about an image name its file.

    Built as its base class is: ``CheckedDatasetMapper(cfg, is_train)``. An image whose size is
    not the annotated one stops with detectron2's ``SizeMismatchError``, a ValueError that names
    the file and both sizes.
    """

    def __call__(self, dataset_dict: dict) -> dict:
        """Map one dataset dict to the input of a model.

        Args:
            dataset_dict: one image in detectron2's dataset format. It is not modified.

        Returns:
            A dict with ``image`` (C, H, W) and, in training, ``instances`` with ``gt_boxes``
            (N, 4), xyxy in pixels of that image, and ``gt_classes`` (N,); N is 0 for an image
            without objects.

        Raises:
            ValueError: the image cannot be read, has more than 8 bits a channel, or its size is
                not the annotated one.
        """
        try:
            check_pixel_format(dataset_dict["file_name"])
            return super().__call__(dataset_dict)
        except READ_ERRORS as error:
            raise ValueError(
                f"{dataset_dict['file_name']}: the image cannot be read: {error}"
            ) from error
