"""What the descriptor is trained for: copies together, strangers apart, and kinds where they were.

InfoNCE with an entropy term follows Pizzi et al., A self-supervised descriptor for image copy detection
(https://arxiv.org/abs/2202.10261); rows of earlier steps as further strangers follow Wang et al.,
Cross-batch memory (https://arxiv.org/abs/1912.06798).
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

TEMPERATURE = 0.05
TEACHER_TEMPERATURE, STUDENT_TEMPERATURE = 0.08, 0.05
"""The student's is the lower one: what is alike needs not lie close, only closer than the rest."""
SMALLEST_DISTANCE = 1e-4


def contrast(
    plain: torch.Tensor,
    edited: torch.Tensor,
    memory: torch.Tensor,
    related: torch.Tensor,
    related_memory: torch.Tensor,
) -> torch.Tensor:
    """InfoNCE in both directions: `plain_found`, and a plain picture must find each of its copies among all.

    Args:
        plain: unit rows [n, dim].
        edited: unit rows [k * n, dim]: row i is a copy of plain picture i % n.
        memory: unit rows [m, dim] of earlier plain pictures, without gradient.
        related: bool [n, n]: pairs that are not strangers, the diagonal included.
        related_memory: bool [n, m]: likewise.
    """
    n, copies = len(plain), len(edited) // len(plain)
    cosines = plain @ edited.T
    # For each copy by itself, against the copies of strangers.
    mine = torch.arange(n).repeat(copies)
    own = cosines[mine, torch.arange(len(edited))].reshape(copies, n).T.reshape(-1, 1)
    others = cosines.masked_fill(related.repeat(1, copies), -torch.inf).repeat_interleave(copies, dim=0)
    first = torch.zeros(len(own), dtype=torch.long)
    copies_found = cross_entropy(torch.cat([own, others], dim=1) / TEMPERATURE, first)
    return 0.5 * (plain_found(plain, edited, memory, related, related_memory) + copies_found)


def plain_found(
    plain: torch.Tensor,
    edited: torch.Tensor,
    memory: torch.Tensor,
    related: torch.Tensor,
    related_memory: torch.Tensor,
) -> torch.Tensor:
    """InfoNCE in one direction; arguments as for `contrast`.

    An edited copy must find its plain picture among the plain ones, those of the memory and the copies of
    other pictures.
    """
    copies = len(edited) // len(plain)
    never = -torch.inf
    to_plain = (edited @ plain.T).masked_fill(_off_diagonal(related).repeat(copies, 1), never)
    to_memory = (edited @ memory.T).masked_fill(related_memory.repeat(copies, 1), never)
    among = (edited @ edited.T).masked_fill(related.repeat(copies, copies), never)
    mine = torch.arange(len(plain)).repeat(copies)
    return cross_entropy(torch.cat([to_plain, to_memory, among], dim=1) / TEMPERATURE, mine)


def spread(
    rows: torch.Tensor, memory: torch.Tensor, related: torch.Tensor, related_memory: torch.Tensor
) -> torch.Tensor:
    """The Kozachenko-Leonenko entropy term: minus the mean log distance to the nearest stranger.

    Args:
        rows: unit rows [n, dim].
        memory: unit rows [m, dim], without gradient.
        related: bool [n, n], the diagonal included.
        related_memory: bool [n, m].
    """
    near = torch.cat(
        [(rows @ rows.T).masked_fill(related, -1), (rows @ memory.T).masked_fill(related_memory, -1)], 1
    )
    squared = 2 - 2 * near.amax(dim=1)
    return -0.5 * squared.clamp(min=SMALLEST_DISTANCE).log().mean()


def likeness(
    rows: torch.Tensor, teacher: torch.Tensor, memory: torch.Tensor, teacher_memory: torch.Tensor
) -> torch.Tensor:
    """How far the neighbourhoods of rows are from those in plain features (relational distillation).

    For each row, the distribution over all others that its cosines give, against the one of the teacher.

    Args:
        rows: unit rows [n, dim].
        teacher: plain features of the same pictures, centred, unit rows [n, plain dim].
        memory: unit rows [m, dim] of earlier pictures.
        teacher_memory: plain features of those, [m, plain dim].
    """
    own = torch.eye(len(rows), len(rows) + len(memory), dtype=torch.bool)
    student = (rows @ torch.cat([rows, memory]).T).masked_fill(own, -1e4)
    wanted = (teacher @ torch.cat([teacher, teacher_memory]).T).masked_fill(own, -1e4)
    return kl_div(
        log_softmax(student / STUDENT_TEMPERATURE, dim=1),
        softmax(wanted / TEACHER_TEMPERATURE, dim=1),
        reduction="batchmean",
    )


def _off_diagonal(related: torch.Tensor) -> torch.Tensor:
    return related & ~torch.eye(len(related), dtype=torch.bool)
