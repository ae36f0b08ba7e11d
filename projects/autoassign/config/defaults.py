"""The options the project adds to detectron2's config, each with its default and meaning."""

from detectron2.config import CfgNode as CN

from .registry import LABEL_ASSIGNMENT_REGISTRY, load_strategies

__all__ = ["add_autoassign_config"]


def add_autoassign_config(cfg: CN) -> None:
    """Add the options of :class:`autoassign.PointDetector` and its training to ``cfg``, in place.

    Args:
        cfg: a detectron2 config, as :func:`detectron2.config.get_cfg` returns it.

    Raises:
        ValueError: a label assignment of an installed package cannot be imported.
    """
    load_strategies()
    _add_model_options(cfg.MODEL)
    _add_solver_options(cfg.SOLVER)
    _add_data_options(cfg.DATASETS)
    _add_input_options(cfg.INPUT)
    # Training images are decoded and resized several times as fast, to pixels that differ by 2 of
    # 255 at most. Those at least four times as large as needed are decoded at a reduced size.
    cfg.DATALOADER.FAST_MAPPER = False
    # With FAST_MAPPER: decoded images are kept in OUTPUT_DIR while a training runs, up to so many
    # GB (10⁹ bytes; an image of 640 × 480 has 0.9 MB); for sets that fit into memory. With
    # TEST.PRECISE_BN by loading processes alone.
    cfg.DATALOADER.CACHE_GB = 0.0
    # The metric whose greatest value decides which weights model_best.pth holds.
    cfg.TEST.BEST_METRIC = "bbox/AP"
    # What the convolutions of evaluation and prediction compute in: "float32", "float16" or
    # "bfloat16". Boxes and scores are float32.
    cfg.TEST.PRECISION = "float32"
    # With TEST.AUG (several sizes of an image, by --eval-only): the least and the greatest size of
    # the boxes that each of MIN_SIZES contributes, √area in pixels of the original image; []: all.
    cfg.TEST.AUG.SIZE_RANGES = []
    # Keep how a few test objects are assigned, before training and every PERIOD iterations, in
    # OUTPUT_DIR/evolution: the largest object of each of the first NUM_OBJECTS images.
    cfg.TEST.EVOLUTION = CN({"ENABLED": False, "PERIOD": 100, "NUM_OBJECTS": 4})


def _add_model_options(model: CN) -> None:
    # Bottom-up network, a name in detectron2's BACKBONE_REGISTRY; of the project:
    # "build_point_resnet_backbone", "build_swin_backbone", "TorchvisionBackbone". Features are
    # FPN.IN_FEATURES, or all that it gives.
    model.FPN.BOTTOM_UP = "build_point_resnet_backbone"
    # Where P6 comes from: "p5" (cvpods, DSLA), or the last feature of the bottom-up: "res5" of a
    # ResNet (MMDetection), "p3" of a Swin, "c5" of a torchvision model.
    model.FPN.TOP_BLOCK_IN_FEATURE = "p5"
    # Levels above P5: 2 (P6 and P7) or 1 (P6).
    model.FPN.NUM_TOP_LEVELS = 2
    # Whether P7 is a convolution of ReLU(P6), or of P6 as in weights of ATSS from MMDetection.
    model.FPN.TOP_BLOCK_RELU = True
    # Blocks of a ResNet or Swin compute their activations again for the gradients: less memory.
    model.BACKBONE.CHECKPOINT_ACTIVATIONS = False
    # MODEL.RESNETS.NORM and MODEL.TORCHVISION.NORM: "FrozenBN"; "AffineBN" (weight and bias are
    # trained, statistics are kept); "BN"; "SyncBN"; "GN".
    # A classification model of torchvision, by its name there.
    model.TORCHVISION = CN({"NAME": "resnet50", "NORM": "FrozenBN"})
    # SIZE: "T", "S", "B". DROP_PATH_RATE: the last block's probability of being left out.
    model.SWIN = CN({"SIZE": "T", "DROP_PATH_RATE": 0.2})

    model.POINT_HEAD = CN()
    # Number of object classes; 0 takes it from the training data.
    model.POINT_HEAD.NUM_CLASSES = 80
    # Pyramid levels that make predictions, finest first.
    model.POINT_HEAD.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # Convolutions in each of the two towers, and their normalization (detectron2's get_norm).
    model.POINT_HEAD.NUM_CONVS = 4
    model.POINT_HEAD.NORM = "GN"
    # Whether the towers' convolutions have biases; whether the last one of each is deformable.
    model.POINT_HEAD.CONV_BIAS = True
    model.POINT_HEAD.DEFORMABLE_LAST_CONV = False
    # Place of each level's first location, in strides: 0 (AutoAssign, DSLA, ATSS), 0.5 (FCOS).
    model.POINT_HEAD.LOCATION_OFFSET = 0.0
    # Class probability every location starts with.
    model.POINT_HEAD.PRIOR_PROB = 0.02
    # Distances are "relu": ReLU(scale · convolution), in strides; "exp": exp(scale ·
    # convolution), in pixels. "anchor": shift and size relative to a square of 8 strides, which
    # weights of ATSS from MMDetection need.
    model.POINT_HEAD.BOX_ACTIVATION = "relu"
    # Start value of the box predictor's bias: strides, or with "exp" the logarithm of pixels.
    model.POINT_HEAD.BOX_BIAS = 4.0
    # A logit whose probability multiplies the class probabilities, with every strategy.
    # "implicit": learned without a target. "explicit": its label is 1 at the locations inside
    # boxes. "none": no such logit.
    model.POINT_HEAD.OBJECTNESS = "implicit"
    # At test time: the least score, the candidates kept per level, the IoU of NMS.
    model.POINT_HEAD.SCORE_THRESH_TEST = 0.05
    model.POINT_HEAD.TOPK_CANDIDATES_TEST = 1000
    model.POINT_HEAD.NMS_THRESH_TEST = 0.6

    model.LABEL_ASSIGNMENT = CN()
    # A name in LABEL_ASSIGNMENT_REGISTRY.
    model.LABEL_ASSIGNMENT.NAME = "AutoAssign"
    # The options of each strategy are documented in its file.
    for name, strategy in LABEL_ASSIGNMENT_REGISTRY:
        model.LABEL_ASSIGNMENT[name.upper()] = strategy.default_options()

    # Keep activations in channels-last memory format (faster on CPUs and under AMP).
    model.CHANNELS_LAST = False
    # Exponential moving average of the weights: evaluated and saved in place of the last weights.
    model.EMA = CN({"ENABLED": False, "DECAY": 0.999})
    # True: tensors of MODEL.WEIGHTS whose shape does not fit are left at their initial value
    # (fine-tuning on other classes). False: they are an error.
    model.WEIGHTS_SKIP_MISMATCHED = False


def _add_solver_options(solver: CN) -> None:
    # "SGD" or "ADAMW".
    solver.OPTIMIZER = "SGD"
    solver.ADAMW_BETAS = (0.9, 0.999)
    # What BIAS_LR_FACTOR and WEIGHT_DECAY_BIAS concern: "detectron2": every bias; "mmdetection":
    # not those of norms and deformable convolutions.
    solver.BIAS_RULE = "detectron2"
    # Parts that the batch of an iteration goes through the model in, one after the other: 16
    # images in 8 parts need the memory of 2.
    solver.ACCUMULATE_STEPS = 1
    # Warm-up as a share of MAX_ITER; 0: WARMUP_ITERS.
    solver.WARMUP_FRACTION = 0.0
    # The images an iteration that rate, steps, warm-up and periods are meant for: they are scaled
    # linearly to IMS_PER_BATCH. 0: they are taken as they are.
    solver.REFERENCE_BATCH_SIZE = 0
    # How many of the checkpoints of every CHECKPOINT_PERIOD stay, the newest ones; 0: all.
    solver.CHECKPOINTS_KEPT = 0
    # What SOLVER.AMP.ENABLED computes the convolutions in: "float16", whose losses are scaled, or
    # "bfloat16", which has the range of float32. The losses are computed in float32.
    solver.AMP.DTYPE = "float16"
    # SOLVER.CLIP_GRADIENTS.CLIP_TYPE may also be "full_model": one norm over all parameters.


def _add_data_options(datasets: CN) -> None:
    datasets.CUSTOM = CN()
    # "": DATASETS.TRAIN/TEST name registered datasets. "coco", "voc" or "yolo": the folder below is
    # registered, and DATASETS.TRAIN/TEST are set from it.
    datasets.CUSTOM.FORMAT = ""
    # The folder that the paths below are relative to; yolo: also a data.yaml.
    datasets.CUSTOM.ROOT = ""
    # coco: annotation files, or folders with one each. voc: names of lists
    # (ImageSets/Main/<name>.txt), or folders of XML files. yolo: keys of the data.yaml, or folders
    # of images. Both empty: what the data.yaml says, else those of usual names (train, valid, ...),
    # else all of ROOT is for training.
    datasets.CUSTOM.TRAIN = ""
    datasets.CUSTOM.TEST = ""
    # coco, voc: the folders of the images, where they are not found without.
    datasets.CUSTOM.TRAIN_IMAGES = ""
    datasets.CUSTOM.TEST_IMAGES = ""
    # Share of the training images that is set aside as the test split; 0: none. Another seed
    # chooses other images.
    datasets.CUSTOM.VAL_FRACTION = 0.0
    datasets.CUSTOM.VAL_SEED = 0
    # True: images that cannot be used are left out with a warning. False: they are an error.
    datasets.CUSTOM.SKIP_UNREADABLE = False


def _add_input_options(inputs: CN) -> None:
    # Augmentations besides detectron2's flips, sizes and INPUT.CROP.
    # Brightness, contrast and saturation are multiplied by factors from 1 ± this; 0: they are not.
    inputs.COLOR_JITTER = 0.0
    # Least and greatest factor of large-scale jitter, such as (0.1, 2.0): images are fitted into a
    # square of MAX_SIZE_TRAIN, scaled by a random factor and cropped to the square. (): images are
    # resized to MIN_SIZE_TRAIN.
    inputs.SCALE_JITTER = ()
    # How probably an image becomes a mosaic of itself and three others, and how probably it is
    # blended with another one; both end after this share of MAX_ITER. A blended landscape and
    # portrait have the width of one and the height of the other: up to 1.7 times the memory.
    inputs.MOSAIC_PROB = 0.0
    inputs.MIXUP_PROB = 0.0
    inputs.MIX_UNTIL = 0.9
