"""Modulated deformable convolution on torchvision's operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

__all__ = ["ModulatedDeformConv"]


class ModulatedDeformConv(nn.Conv2d):
    """A convolution whose sampling places and weights depend on its input (DCNv2).

    Source: arXiv 1811.11168, Eq. 1. A convolution of its own predicts, for each of the
    kernel's places, a shift in y and x (in pixels of the feature map) and a modulation.
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
        """Start without shifts and with every modulation at σ(0) = ½, as published."""
        nn.init.zeros_(self.offset_mask.weight)
        nn.init.zeros_(self.offset_mask.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H, W), in the type of the predicted shifts."""
        shift_and_mask = self.offset_mask(x)
        offset_y_x, mask = shift_and_mask.tensor_split((2 * self.kernel_size[0] ** 2,), dim=1)
        # torchvision's operator takes tensors of one type, and not of every one: under autocast
        # it gets float32, in which shifts are exact too.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            output = deform_conv2d(
                x.to(dtype),
                offset_y_x.to(dtype),
                self.weight.to(dtype),
                None if self.bias is None else self.bias.to(dtype),
                padding=self.padding,
                mask=mask.to(dtype).sigmoid(),
            )
        return output.to(shift_and_mask.dtype)
