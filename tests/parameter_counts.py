"""How many parameters a config's detector has, derived by hand from the papers' layers.

All counts are of weights and biases; frozen batch norms have none, others 2 a channel.
"""

from detectron2.config import CfgNode

SWIN = {
    "T": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "S": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "B": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Of torchvision's documentation, 3 504 872, without the classifier: 1000 · (1280 + 1); its batch
# norms have 34 112 of the rest.
MOBILENET_V2 = 3_504_872 - 1_281_000
MOBILENET_V2_NORMS = 34_112


def detector(cfg: CfgNode) -> int:
    """Parameters of a PointDetector or of one of detectron2's detectors."""
    bottom_up, channels = _bottom_up(cfg)
    body = bottom_up + _pyramid(cfg, channels)
    if cfg.MODEL.META_ARCHITECTURE == "RetinaNet":
        options = cfg.MODEL.RETINANET
        return body + _detectron2_head(cfg, options, outputs=9 * (options.NUM_CLASSES + 4))
    if cfg.MODEL.META_ARCHITECTURE == "Detectron2FCOS":
        options = cfg.MODEL.POINT_HEAD
        return body + _detectron2_head(cfg, options, outputs=options.NUM_CLASSES + 4 + 1)
    return body + _point_head(cfg) + _assignment(cfg)


def _bottom_up(cfg: CfgNode) -> tuple[int, list[int]]:
    """Parameters, and channels of the features of strides 8, 16 and 32."""
    name = cfg.MODEL.FPN.BOTTOM_UP
    if "resnet" in name:
        return _resnet(cfg.MODEL.RESNETS, cfg.MODEL.BACKBONE.FREEZE_AT)
    if name == "build_swin_backbone":
        return _swin(*SWIN[cfg.MODEL.SWIN.SIZE])
    assert cfg.MODEL.TORCHVISION.NAME == "mobilenet_v2"
    frozen = {"FrozenBN": MOBILENET_V2_NORMS, "BN": 0}[cfg.MODEL.TORCHVISION.NORM]
    return MOBILENET_V2 - frozen, [32, 96, 1280]


def _resnet(options: CfgNode, freeze_at: int) -> tuple[int, list[int]]:
    trained_norm = {"FrozenBN": 0, "AffineBN": 2, "BN": 2}[options.NORM]
    stem, out = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    total = 7 * 7 * 3 * stem + (trained_norm * stem if freeze_at < 1 else 0)
    before, outputs = stem, []
    for stage, blocks in enumerate(BLOCKS[options.DEPTH]):
        norm = trained_norm if freeze_at < stage + 2 else 0
        # The projection of the first block, where the number of channels changes.
        if before != out:
            total += before * out + norm * out
        for block in range(blocks):
            first = before if block == 0 else out
            if options.DEPTH < 50:
                total += 9 * first * out + 9 * out * out + 2 * norm * out
                continue
            groups = options.NUM_GROUPS
            mid = groups * options.WIDTH_PER_GROUP * 2**stage
            total += first * mid + 9 * mid * mid // groups + mid * out + norm * (2 * mid + out)
            if options.DEFORM_ON_PER_STAGE[stage]:
                # A 3×3 convolution with biases to (y, x), and a mask, for each of nine places.
                values = 9 * (3 if options.DEFORM_MODULATED else 2)
                total += 9 * mid * values + values
        before, out = out, 2 * out
        outputs.append(before)
    return total, outputs[1:]


def _swin(embed: int, depths: tuple[int, ...], heads: tuple[int, ...]) -> tuple[int, list[int]]:
    total = 4 * 4 * 3 * embed + embed + 2 * embed  # patches, their norm
    channels = embed
    for stage, (depth, num_heads) in enumerate(zip(depths, heads, strict=True)):
        attention = (3 * channels + 3) * channels + (channels + 1) * channels
        table = (2 * 7 - 1) ** 2 * num_heads
        mlp = (channels + 1) * 4 * channels + (4 * channels + 1) * channels
        total += depth * (2 * 2 * channels + attention + table + mlp)
        if stage > 0:
            total += 2 * channels  # the norm of this output
        if stage < 3:
            total += 2 * 4 * channels + 4 * channels * 2 * channels  # norm and merging of patches
            channels *= 2
    return total, [2 * embed, 4 * embed, 8 * embed]


def _pyramid(cfg: CfgNode, channels: list[int]) -> int:
    options = cfg.MODEL.FPN
    out = options.OUT_CHANNELS
    # A convolution has a bias or a GroupNorm.
    bias_or_norm = 2 * out if options.NORM == "GN" else out
    total = sum(c * out + bias_or_norm + 9 * out * out + bias_or_norm for c in channels)
    if cfg.MODEL.BACKBONE.NAME == "build_retinanet_resnet_fpn_backbone":
        return total + (9 * channels[-1] * out + out) + (9 * out * out + out)
    last_p = options.TOP_BLOCK_IN_FEATURE == "p5"
    total += 9 * (out if last_p else channels[-1]) * out + out
    return total + (options.NUM_TOP_LEVELS - 1) * (9 * out * out + out)


def _point_head(cfg: CfgNode) -> int:
    options = cfg.MODEL.POINT_HEAD
    c = cfg.MODEL.FPN.OUT_CHANNELS
    tower = options.NUM_CONVS * (9 * c * c + options.CONV_BIAS * c + 2 * c)  # GroupNorm
    if options.DEFORMABLE_LAST_CONV:
        tower += 9 * c * 27 + 27
    outputs = options.NUM_CLASSES + 4
    outputs += options.OBJECTNESS != "none"
    outputs += cfg.MODEL.LABEL_ASSIGNMENT.NAME in ("ATSS", "FCOS")  # center-ness
    levels = len(options.IN_FEATURES)  # a factor for each
    adaption = 0
    if cfg.MODEL.LABEL_ASSIGNMENT.NAME == "GuidedAnchoring":
        outputs += 3  # location, width and height of the anchor
        # For each tower a 3×3 convolution, and shifts in x and y of 9 places in 4 groups.
        adaption = 2 * (9 * c * c + 2 * (2 * 9 * 4))
    return 2 * tower + outputs * (9 * c + 1) + levels + adaption


def _assignment(cfg: CfgNode) -> int:
    if cfg.MODEL.LABEL_ASSIGNMENT.NAME == "SAPD":
        levels, c = len(cfg.MODEL.POINT_HEAD.IN_FEATURES), cfg.MODEL.FPN.OUT_CHANNELS
        # Three 3×3 convolutions of the features of all levels, and a linear layer.
        return (9 * levels * c + 1) * c + 2 * (9 * c + 1) * c + (c + 1) * levels
    if cfg.MODEL.LABEL_ASSIGNMENT.NAME != "AutoAssign":
        return 0
    # μ and σ, of x and of y.
    center = cfg.MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING
    return {"category": 4 * cfg.MODEL.POINT_HEAD.NUM_CLASSES, "shared": 4}.get(center, 0)


def _detectron2_head(cfg: CfgNode, options: CfgNode, outputs: int) -> int:
    c = cfg.MODEL.FPN.OUT_CHANNELS
    norm = 2 * c if options.NORM == "GN" else 0
    return 2 * options.NUM_CONVS * (9 * c * c + c + norm) + outputs * (9 * c + 1)
