"""Deformable convolutions on torchvision's operator."""

from __future__ import annotations

import torch
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

__all__ = ["DeformConv", "FeatureAdaption", "ModulatedDeformConv"]


class DeformConv(Conv2d):
    """A convolution that samples where it is told to (DCN; with a mask DCNv2).

    detectron2's layers of this kind, with their parameter names, without its compiled extension.
    The arguments are those of :class:`detectron2.layers.Conv2d`.
    """

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, C_in, H, W).
            offset: (N, 2 · G · kernel places, H', W'), for each place the shift in y and in x, in
                pixels of ``x``; each of G groups of channels has its own.
            mask: (N, G · kernel places, H', W'), what each sample is multiplied by.

        Returns:
            (N, C_out, H', W'), in the type of ``offset``.
        """
        # torchvision's operator takes tensors of one type, and not of every one: under autocast
        # it gets float32, in which shifts are exact too.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            output = deform_conv2d(
                x.to(dtype),
                offset.to(dtype),
                self.weight.to(dtype),
                None if self.bias is None else self.bias.to(dtype),
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                mask=None if mask is None else mask.to(dtype),
            ).to(offset.dtype)
        return output if self.norm is None else self.norm(output)


class ModulatedDeformConv(DeformConv):
    """A deformable convolution that predicts its own shifts and masks (DCNv2).

    Source: arXiv 1811.11168, Eq. 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, padding: int, bias: bool
    ) -> None:
        """See :class:`torch.nn.Conv2d`; the kernel is square, the stride 1."""
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=bias)
        num_places = kernel_size**2
        self.offset_mask = nn.Conv2d(in_channels, 3 * num_places, kernel_size, padding=padding)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Start without shifts and with every mask at σ(0) = ½, as published."""
        nn.init.zeros_(self.offset_mask.weight)
        nn.init.zeros_(self.offset_mask.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(N, C_in, H, W) to (N, C_out, H, W)."""
        num_shifts = 2 * self.kernel_size[0] ** 2
        offset, mask = self.offset_mask(x).tensor_split((num_shifts,), dim=1)
        return super().forward(x, offset, mask.sigmoid())


class FeatureAdaption(nn.Module):
    """A deformable convolution whose shifts follow from another prediction, and a ReLU.

    Source: Guided Anchoring (arXiv 1901.03278), Section 3.4, which adapts features to the shapes
    of predicted anchors. Four groups of channels have shifts of their own (MMDetection).
    """

    _GROUPS = 4

    def __init__(self, channels: int, guide_channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(guide_channels, 2 * 9 * self._GROUPS, 1, bias=False)
        self.conv = DeformConv(channels, channels, 3, padding=1, bias=False)

    def reset_offsets(self) -> None:
        """Start with shifts that differ, as published."""
        nn.init.normal_(self.offset.weight, std=0.1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            guide: (N, G, H, W), through which no gradient flows.

        Returns:
            (N, C, H, W).
        """
        return self.conv(x, self.offset(guide.detach())).relu()
