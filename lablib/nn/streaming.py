"""Very long inputs: stream the lower half into a chunk store, run the upper half only where logits are wanted.

The memory of an HSA model is made once at mid depth. So an input of any length is read in segments (each overlapping
the last by the reach of the lower sliding windows), only the chunk store is kept, and a question costs the upper
half over the reach of its own windows. Equal to the plain forward pass; the time-by-chunks score matrix never exists.

One input read once serves many questions that change it: `edited` rewrites the store for one of them and puts it back,
`planted` lays the few chunks that each question changes beside the one store, so that all are asked in one pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lablib.core.refusals import at_least, known_ids
from lablib.nn.context import Memory
from lablib.nn.model import LanguageModel, state_bytes
from lablib.nn.storage import empty_store
from lablib.ops.hsa import NOWHERE, Patches


@dataclass(frozen=True)
class Stream:
    """An input already read: the memory of its complete chunks, and the last tokens that a question may reach.

    It was read with windows of `window` tokens. After `planted`, `recent` has a row a question, and `patches` the
    chunks that each changes.
    """

    length: int
    window: int
    memory: Memory | None
    recent: Int[Tensor, "question time"]
    patches: Patches | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the chunk store."""
        return state_bytes(self.memory)


@torch.no_grad()
def encode(
    model: LanguageModel, tokens: Int[Tensor, "1 time"], segment: int = 8192, folder: Path | None = None
) -> Stream:
    """Read one input. Beyond the chunk store, memory depends on `segment` (in tokens) and not on the length.

    The store lies in memory, or, where `folder` is given, in nameless files there, which are gone with the stream.
    Raises ValueError for a plan with full attention, which has no bounded reach, and for what is no token.
    """
    at_least(1, segment=segment)
    layers = model.cfg.layers.layers
    if other := {name for layer in layers for name in layer.mixers} - {"swa", "hsa"}:
        what = "full attention" if other & {"full", "full-nope"} else ", ".join(sorted(other))
        raise ValueError(
            f"plan {model.cfg.plan!r} has {what}, which cannot be streamed with bounded memory; "
            "use model(tokens) instead"
        )
    if tokens.shape[0] != 1:
        raise ValueError(f"encode reads one input at a time; got {tokens.shape[0]} rows")
    known_ids(model.cfg.vocab, tokens=tokens)
    length, size = tokens.shape[1], model.cfg.chunk
    needed = model.reach + (size if model.encoder is not None else 0)  # by a tail; the last chunk may be open
    recent = tokens[:, max(0, length - needed) :].long()
    if model.encoder is None:
        return Stream(length, model.window, None, recent)
    num_chunks = length // size
    step, overlap = max(segment // size, 1) * size, _chunks_before(model) * size
    store = empty_store(model.cfg, num_chunks, folder, model.embedding.weight.dtype)
    for start in range(0, num_chunks * size, step):
        end, begin = min(start + step, num_chunks * size), max(0, start - overlap)
        hidden = model.run_lower(tokens[:, begin:end].long())[:, start - begin :]
        for whole, piece in zip(store, model.encoder(hidden), strict=True):
            whole[:, :, start // size : end // size] = piece
    return Stream(length, model.window, store, recent)


@torch.no_grad()
def read(
    model: LanguageModel, stream: Stream, tails: Int[Tensor, "question tail"], keep: int | None = None
) -> Float[Tensor, "question kept vocab"]:
    """Logits at the last `keep` positions (default: all) of each tail, as if it alone followed the stream.

    A planted stream takes a tail for each of its questions. Raises ValueError for a `keep` beyond the tail, and where
    the windows of the model are others than those that the stream was read with.
    """
    (number, num_tail), questions = tails.shape, len(stream.recent)
    keep = num_tail if keep is None else keep
    if not 0 <= keep <= num_tail:
        raise ValueError(f"keep is {keep}; expected 0 to {num_tail}, the tokens of a tail")
    if questions not in (1, number) or (stream.patches is not None and questions != number):
        raise ValueError(f"{number} tails came for a stream with {questions} planted questions; expected one for each")
    if model.window != stream.window:
        raise ValueError(f"the stream was read with window {stream.window}, the model has {model.window}: encode again")
    if not keep or not number:
        known_ids(model.cfg.vocab, tails=tails)
        return model.embedding.weight.new_zeros(number, keep, model.cfg.vocab)
    tokens = torch.cat([stream.recent.expand(tails.shape[0], -1), tails], dim=1)
    begin = stream.length - stream.recent.shape[1]
    if model.encoder is None:
        return model.logits(model.run_lower(tokens))[:, -keep:]
    hidden, upper = model.run_lower(tokens), model.upper
    context = model.context(
        positions=torch.arange(begin, begin + tokens.shape[1]),
        memory=stream.memory,
        patches=_patches(model, stream, hidden, begin),
        gathered=True,
    )
    for i, block in enumerate(upper):
        last = keep + model.reach_of(upper[i + 1 :])
        hidden, _ = block(hidden, None, context, keep=last)
        context = context.last(last)
    return model.logits(hidden)[:, -keep:]


@contextmanager
def edited(
    model: LanguageModel,
    stream: Stream,
    tokens: Int[Tensor, "1 time"],
    starts: Int[Tensor, " edit"],
    edits: Int[Tensor, "edit span"],
) -> Iterator[Stream]:
    """Inside the block: the stream as if `edits` stood at `starts` of the `tokens` it was read from.

    Only the chunks that the edits can reach are read again, and put back at the end: one long input, many questions.
    Of edits that overlap the later one counts. Raises ValueError for one outside of the tokens.
    """
    _check_plants(model, stream, tokens, starts, edits)
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        if stream.memory is not None:
            for start in starts.tolist():
                saved += _read_again(model, stream, tokens, starts, edits, start)
        yield replace(stream, recent=_recent(stream, tokens, starts[None], edits[None]))
    finally:
        for place, old in reversed(saved):
            place.copy_(old)


@torch.no_grad()
def _read_again(model, stream, tokens, starts, edits, start: int) -> list[tuple[Tensor, Tensor]]:
    """Put the chunks that one edit reaches into the store; returns their places with what was there."""
    size, before, saved = model.cfg.chunk, _chunks_before(model), []
    first = start // size
    last = min(-(-(start + edits.shape[1]) // size) + before, stream.length // size)
    if first >= last:
        return []  # the edit lies in the chunk that is still open
    base = max(0, first - before)
    read_again = _cut(tokens, torch.tensor([base * size]), (last - base) * size, starts[None], edits[None])
    hidden = model.run_lower(read_again)[:, (first - base) * size :]
    for store, piece in zip(stream.memory, model.encoder(hidden), strict=True):
        saved.append((store[:, :, first:last], store[:, :, first:last].clone()))
        store[:, :, first:last] = piece
    return saved


@torch.no_grad()
def planted(
    model: LanguageModel,
    stream: Stream,
    tokens: Int[Tensor, "1 time"],
    starts: Int[Tensor, "question plant"],
    plants: Int[Tensor, "question plant span"],
) -> Stream:
    """The stream for many questions at once, each as if its own `plants` stood at its `starts` of the `tokens`.

    The store is neither copied nor changed: chunks that a plant can reach are read again for its question alone. Of
    plants that overlap the later one counts. Raises ValueError for one outside of the tokens.
    """
    _check_plants(model, stream, tokens, starts, plants)
    recent = _recent(stream, tokens, starts, plants)
    if stream.memory is None or not plants.numel():
        return replace(stream, recent=recent)
    size, number = model.cfg.chunk, starts.shape[1]
    before = _chunks_before(model)
    changed = (size - 1 + plants.shape[2] + model.reach_of(model.lower) - 1) // size + 1  # at most, by one plant
    first = starts // size
    base = (first - before).clamp(min=0)
    rows = _cut(
        tokens,
        base.flatten() * size,
        (before + changed) * size,
        starts.repeat_interleave(number, dim=0),
        plants.repeat_interleave(number, dim=0),
    )
    places = first[:, :, None] + torch.arange(changed)
    row, inside = torch.arange(rows.shape[0])[:, None], (places - base[:, :, None]).flatten(0, 1)
    memory = [
        rearrange(x.transpose(1, 2)[row, inside], "(q p) c h ... -> q h (p c) ...", p=number)
        for x in model.encoder(model.run_lower(rows))
    ]
    places = places.flatten(1)
    again = (places[:, :, None] == places[:, None, :]).tril(-1).any(dim=-1)  # a chunk that two plants reach
    places = places.masked_fill(again | (places >= stream.length // size), NOWHERE)
    return replace(stream, recent=recent, patches=Patches(places, *memory))


def _check_plants(model: LanguageModel, stream: Stream, tokens: Tensor, starts: Tensor, plants: Tensor) -> None:
    """ValueError unless each plant has a start, and stands inside of the tokens that the stream was read from."""
    if stream.patches is not None:
        raise ValueError("the stream holds plants of other questions; plant into the stream that `encode` gave")
    number = stream.recent.shape[1]
    if tokens.shape != (1, stream.length) or not torch.equal(tokens[:, stream.length - number :].long(), stream.recent):
        raise ValueError(f"the tokens {tuple(tokens.shape)} are not the {stream.length} that the stream was read from")
    if plants.shape[:-1] != starts.shape:
        raise ValueError(f"starts {tuple(starts.shape)} for plants {tuple(plants.shape)}; expected one for each plant")
    last = stream.length - plants.shape[-1]
    if starts.numel() and (int(starts.min()) < 0 or int(starts.max()) > last):
        came = f"plants of {plants.shape[-1]} tokens start at {int(starts.min())} to {int(starts.max())}"
        raise ValueError(f"{came}; expected 0 to {last}, inside of the {stream.length} tokens")
    known_ids(model.cfg.vocab, plants=plants)


def _recent(stream: Stream, tokens: Tensor, starts: Tensor, plants: Tensor) -> Int[Tensor, "question time"]:
    number = stream.recent.shape[1]
    return _cut(tokens, torch.full((len(starts),), stream.length - number), number, starts, plants)


def _cut(
    tokens: Tensor, begin: Int[Tensor, " row"], number: int, starts: Tensor, plants: Tensor
) -> Int[Tensor, "row time"]:
    """`number` tokens from `begin` on in each row, with the row's plants in place; what lies beyond is arbitrary."""
    at = begin[:, None] + torch.arange(number)
    rows = tokens[0, at.clamp(max=tokens.shape[1] - 1)].long()
    for plant in range(starts.shape[1]):
        place = starts[:, plant, None] + torch.arange(plants.shape[2]) - begin[:, None]
        row, token = ((place >= 0) & (place < number)).nonzero(as_tuple=True)
        rows[row, place[row, token]] = plants[row, plant, token]
    return rows


def _patches(model: LanguageModel, stream: Stream, hidden: Tensor, begin: int) -> Patches | None:
    """The patches of the questions, and the chunks that only their tails complete."""
    stored = stream.memory.landmarks.shape[2]
    fresh = hidden[:, stored * model.cfg.chunk - begin :]
    if fresh.shape[1] <= model.cfg.chunk:  # a chunk completed by the last token is visible to none
        return stream.patches
    new = model.encoder(fresh)
    places = stored + torch.arange(new.landmarks.shape[2]).expand(hidden.shape[0], -1)
    if stream.patches is None:
        return Patches(places, *new)
    places = torch.cat([stream.patches.chunks, places], dim=1)
    return Patches(places, *(torch.cat(pair, dim=2) for pair in zip(stream.patches[1:], new, strict=True)))


def _chunks_before(model: LanguageModel) -> int:
    """How many chunks must be read for the next one to be right: the reach of the lower layers."""
    return -(-model.reach_of(model.lower) // model.cfg.chunk)
