"""Detect objects in an image: python detect_onnx.py model.onnx image.jpg result.jpg [0.3]."""

import json
import sys

import cv2
import numpy as np
import onnxruntime


def main(model_file: str, image_file: str, result_file: str, min_score: str = "0.3") -> None:
    """Print and draw the detections with at least this score."""
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    names = json.loads(metadata["class_names"])
    image = cv2.imread(image_file)
    if image is None:
        sys.exit(f"{image_file} cannot be read as an image")
    short, long = sorted(image.shape[:2])
    min_size, max_size = int(metadata["min_size"]), int(metadata["max_size"])
    # 0: images keep their size.
    scale = min(min_size / short, max_size / long) if min_size else 1.0
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation)
    pixels = pixels if metadata["input_format"] == "BGR" else pixels[:, :, ::-1]
    # The model subtracts the mean, divides by the deviation and pads.
    images = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    boxes, scores, classes = (output[0] for output in session.run(None, {"images": images}))
    for box, score, index in zip(boxes / scale, scores, classes, strict=True):
        if score >= float(min_score):
            x1, y1, x2, y2 = map(round, box.tolist())
            text = f"{names[index]} {score:.2f}"
            print(text, x1, y1, x2, y2)
            cv2.rectangle(image, (x1, y1), (x2, y2), (0, 200, 0), 2)
            cv2.putText(image, text, (x1 + 3, y1 + 15), 0, 0.5, (0, 200, 0))
    cv2.imwrite(result_file, image)


if __name__ == "__main__":
    main(*sys.argv[1:])
