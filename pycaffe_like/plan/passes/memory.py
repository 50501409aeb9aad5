"""Memory pass: arrays that are not kept take turns in memory.

It changes no node: places are laid when the plan has been lowered (`plan.arena`). Its row is here so that it
can be left out as any other.
"""

from __future__ import annotations

from ..chain import Pass

PASS = Pass("memory", "arrays that are not kept take turns in memory", after="gradient_sums")
