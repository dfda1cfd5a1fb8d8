"""DINO: a ViT that learns to predict its own moving average from other crops of an image."""

from collections.abc import Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear, normalize

from dyt_bench.plugin.data import summed
from dyt_vision.selfsupervised.crops import boxes, cropped


class SelfDistillation(nn.Module):
    """DINO (arXiv 2104.14294): a student predicts, from any crop, what its teacher sees in another.

    The teacher's weights are the moving average of the student's. Its outputs are centred by their
    moving mean and sharpened by a low temperature, so that they neither agree on one prototype nor
    on none. The loss is the cross-entropy of student and teacher over all pairs of two large and
    ``local_crops`` small crops of one image, of which the teacher sees the large ones.

    The teacher is no module: whatever replaces the student's norms is the teacher's as well.

    Args:
        encoder: of any image size, with a class token.
        prototypes, hidden, bottleneck: of the head.
        momentum: of the teacher at the start; it goes to 1 along a cosine.
        teacher_temperature: what the teacher is sharpened by; the student's is 0.1.
        first_temperature: the teacher's at the start; None: the same.
        temperature_warmup: share of pretraining in which it goes from the one to the other.
        boundary: share of an image's area up to which a crop is small; the large ones have more.
    """

    student_temperature = 0.1
    centre_momentum = 0.9
    least_area = 0.05  # of a crop

    def __init__(
        self,
        encoder: VisionTransformer,
        prototypes: int,
        hidden: int,
        bottleneck: int,
        local_crops: int = 8,
        momentum: float = 0.996,
        teacher_temperature: float = 0.04,
        first_temperature: float | None = None,
        temperature_warmup: float = 0.0,
        boundary: float = 0.4,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.embed_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.head.apply(_start)
        self.prototypes = nn.Parameter(0.02 * torch.randn(prototypes, bottleneck))
        self.register_buffer("centre", torch.zeros(prototypes))
        self.centre: Tensor
        self.local_crops, self.momentum = local_crops, momentum
        self.last, self.warmup = teacher_temperature, temperature_warmup
        self.first = self.last if first_temperature is None else first_temperature
        self.warm_up(0.0)
        self.areas = (boundary, 1.0), (self.least_area, boundary)
        size, patch = encoder.patch_embed.img_size[0], encoder.patch_embed.patch_size[0]
        self.pixels = size, max(patch, round(size * 96 / 224 / patch) * patch)
        self.teacher: dict[str, Tensor] = {}  # of `named_parameters`; none before training
        self._seen: list[Tensor] = []  # sums of the teacher's outputs since `follow`, and counts

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> logits (B, classes)."""
        logits: Tensor = self.encoder(images)
        return logits

    def projected(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, prototypes), the cosines of each image with each of them."""
        features = self.encoder.forward_features(images)[:, 0]
        return linear(normalize(self.head(features), dim=-1), normalize(self.prototypes, dim=-1))

    def taught(self, images: Tensor) -> Tensor:
        """`projected` by the teacher; before training it is the student itself."""
        weights = {f"model.{name}": value for name, value in self.teacher.items()}
        with torch.no_grad():
            found: Tensor = functional_call(_Projection(self), weights, (images,))
        return found

    def warm_up(self, done: float) -> None:
        """Set the teacher's temperature after a share ``done`` of pretraining."""
        risen = min(1.0, done / self.warmup) if self.warmup else 1.0
        self.teacher_temperature = self.first + risen * (self.last - self.first)

    def objective(self, images: Tensor, by: Sequence[Generator], *, attached: bool) -> Tensor:
        """The mean cross-entropy; crops are drawn from ``by``.

        Args:
            attached: whether this is a step of training, which the teacher and its centre follow.
        """
        if attached and not self.teacher:
            self.teacher = {name: p.detach().clone() for name, p in self.named_parameters()}
        large, small = self.areas
        areas = [large] * 2 + [small] * self.local_crops
        sides = [self.pixels[0]] * 2 + [self.pixels[1]] * self.local_crops
        crops = [
            cropped(images, boxes(by, area), side) for area, side in zip(areas, sides, strict=True)
        ]
        seen = [self.taught(crop) for crop in crops[:2]]
        if attached:
            both = torch.cat(seen).float()
            self._seen.append(torch.cat([both.sum(0), both.new_tensor([len(both)])]))
        # One pass for each size: images of a size go through the encoder at once.
        outputs = [self.projected(torch.cat(crops[:2])).chunk(2)]
        if self.local_crops:
            outputs.append(self.projected(torch.cat(crops[2:])).chunk(self.local_crops))
        return distillation(
            [student for part in outputs for student in part],
            seen,
            self.centre,
            self.student_temperature,
            self.teacher_temperature,
        )

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher to the student, and the centre to the teacher's outputs of this step."""
        for name, parameter in self.named_parameters():
            self.teacher[name] = self.teacher[name].to(parameter).lerp(parameter, 1 - momentum)
        total = summed(torch.stack(self._seen).sum(0)).to(self.centre)
        self.centre.lerp_(total[:-1] / total[-1], 1 - self.centre_momentum)
        self._seen = []


class _Projection(nn.Module):
    """The forward pass of `SelfDistillation.projected`, for `functional_call`."""

    def __init__(self, model: SelfDistillation) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.projected(images)


def distillation(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    centre: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross-entropy of each teacher's output with every student's but that of the same crop.

    ``-sum softmax((t - centre) / teacher_temperature) log softmax(s / student_temperature)``, a
    mean over pairs of crops and over images.

    Args:
        students, teachers: (B, prototypes) a crop; the teachers' crops are the students' first.
    """
    losses = []
    for place, seen in enumerate(teachers):
        target = ((seen.float() - centre) / teacher_temperature).softmax(-1)
        for other, found in enumerate(students):
            if other != place:
                logs = (found.float() / student_temperature).log_softmax(-1)
                losses.append(-(target * logs).sum(-1).mean())
    return torch.stack(losses).mean()


def _start(module: nn.Module) -> None:
    """Normal weights, cut off; biases start at zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
