"""The exercises of notebooks 00 and 01: checks that guess the mistake. Solutions are folded in the notebooks."""

import torch

from lablib.core.exercise import Mistake, attempt, exercise


@exercise("Exercise (pairs in a window)")
def check_pairs(answer) -> None:
    """`answer(length, window)`: query-key pairs of causal attention in a sliding window."""
    for length, window in ((6, 3), (10, 1), (4, 9), (100, 10)):
        found = attempt(answer, length, window)
        expected = sum(min(i + 1, window) for i in range(length))
        if found == expected:
            continue
        if found == length * window:
            raise Mistake("Almost: the first rows have fewer tokens before them than the window holds.")
        if length < window and found == length * window - window * (window - 1) // 2:
            raise Mistake(f"Right for long inputs. What if the input ({length}) is shorter than the window ({window})?")
        raise Mistake(f"For {length} tokens and a window of {window} you say {found}; draw the matrix and count.")


@exercise("Exercise 1 (stacked reach)")
def check_reach(answer) -> None:
    """`answer(layers, window)`: how many positions back the top layer can hear of."""
    for layers, window in ((1, 1), (1, 8), (2, 8), (4, 512)):
        found, expected = attempt(answer, layers, window), layers * (window - 1)
        if found == expected:
            continue
        if found == layers * window:
            raise Mistake("A window of w holds w positions, the token's own among them: how many lie before it?")
        if found == window - 1:
            raise Mistake("That is one layer. What does the layer below the key you read already know?")
        raise Mistake(
            f"For {layers} layers of window {window} you say {found}; count on paper for 2 layers of window 3."
        )


@exercise("Exercise 2 (when is a chunk visible?)")
def check_visible(answer) -> None:
    """`answer(position, chunk, size)`: may the token at `position` read chunk number `chunk`?"""
    for size in (4, 8):
        for position in range(4 * size):
            for chunk in range(4):
                found, expected = attempt(answer, position, chunk, size), position >= (chunk + 1) * size
                if bool(found) == expected:
                    continue
                if found and chunk == position // size:
                    raise Mistake(
                        f"Token {position} would read chunk {chunk}, its own, of size {size}. The chunk is encoded in "
                        "both directions: its landmark knows tokens that are still to come."
                    )
                if found:
                    raise Mistake(
                        f"Token {position} would read chunk {chunk} of size {size}, which lies in its future."
                    )
                raise Mistake(f"Token {position} may read chunk {chunk} of size {size}: all of it lies in the past.")


@exercise("Exercise 3 (the gradient of a score)")
def check_score_gradient(answer) -> None:
    """`answer(weights, outputs, upstream)`: d loss / d scores for weights = softmax(scores), O = sum w_c O_c."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    outputs = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    upstream = torch.randn(6, generator=generator, dtype=torch.float64)
    weights = scores.softmax(0)
    (expected,) = torch.autograd.grad(((weights @ outputs) * upstream).sum(), scores)
    found = attempt(answer, weights.detach(), outputs, upstream)
    if not isinstance(found, torch.Tensor) or found.shape != expected.shape:
        raise Mistake(
            f"Expected a tensor of shape (4,), one number a chunk; got {getattr(found, 'shape', type(found))}."
        )
    direct = outputs @ upstream
    if torch.allclose(found, expected):
        return
    if torch.allclose(found, direct):
        raise Mistake("That is d loss / d weight. The weights come out of a softmax: raising one lowers the others.")
    if torch.allclose(found, weights.detach() * direct):
        raise Mistake("Almost: softmax also subtracts the weighted mean of these products from each of them.")
    raise Mistake("Start with d loss / d w_c, the product of chunk c's output with the upstream gradient.")
