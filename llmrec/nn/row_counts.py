"""How many rows to multiply at once on a processor, so that a row's result does not depend on what else is there.

oneDNN compiles a kernel for each shape it meets: in bfloat16 with AMX that takes 3 to 35 ms, often longer than the
product itself (a Xeon, torch 2.15; `device.set_up_torch` says how many it keeps). So numbers of rows are rounded up.
"""

LEAST = 4
"""Fewer rows go through other kernels, which differ in the last bits."""
_ADDED_UP_AT_ONCE = 512
"""From as many inputs on, AMX adds up bfloat16 in an order that depends on the number of rows, as long as there are
fewer rows than outputs: found with one thread, at 384 to 1,536 inputs and 128 to 2,304 outputs, on the same Xeon."""


def rounded_up(rows: int) -> int:
    """Return the next of the numbers that are used, of which there are four from a power of two to the next."""
    step = max(LEAST, 1 << max(0, rows.bit_length() - 3))
    return -(-rows // step) * step


def rows_of_bfloat16(rows: int, inputs: int, outputs: int) -> int:
    """Return how many rows a linear layer is given where ``rows`` are asked for."""
    return rounded_up(max(rows, outputs) if inputs >= _ADDED_UP_AT_ONCE else rows)
