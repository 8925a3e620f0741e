"""The judge: whether what a model returned may be passed on, and what is doubtful about it.

The rule behind every verdict: what the reference server lets through is let through unchanged; what it refuses
although nothing is lost in translation (arrays, numpy's numbers, an int probability, `data: {}`, an unknown key …) is
accepted; everything else is refused with a sentence that names the place. `strict` narrows this to what the
reference server itself accepts. The models are in `app.interface.models`.

The work grows with the number of outputs and not with the size of their masks: it is done on the skeleton that the
worker made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from pydantic import ValidationError

from app.interface import advice, explain, strict
from app.interface.errors import InvalidOutput, MalformedBody
from app.interface.explain import MOST_KEYS, PARTS
from app.interface.findings import MOST_KINDS, DoubtGroup, Fault, Findings
from app.interface.labels import LabelClass, LabelRules
from app.interface.models import OUTPUT
from app.interface.msgpack_walk import Walk
from app.interface.skeleton import Skeletons, SkeletonUnreadable
from app.interface.slices import Steps, finish, finish_in_slices
from app.interface.wording import article, describe, visible

#: Bytes of one output's skeleton, in which nothing large stands: decoded it takes up to sixty times as much memory.
LARGEST_OUTPUT = 8 << 20


def judge(skeleton: bytes, label_classes: Sequence[LabelClass] = (), *, strict: bool = False) -> tuple[str, ...]:
    """Judge the outputs that `skeleton` pictures; returns warnings, whole sentences of which each is said once.

    Warnings quote no text out of the outputs. Raises InvalidOutput, whose text does quote what was found.
    """
    return finish(_judging(skeleton, label_classes, strict)).as_doubts()


def doubts_about(skeleton: bytes, label_classes: Sequence[LabelClass] = ()) -> tuple[DoubtGroup, ...]:
    """`judge`, with the warnings told apart by their kind. Raises InvalidOutput."""
    return finish(_judging(skeleton, label_classes, is_strict=False)).doubt_groups()


async def judge_in_slices(
    skeleton: bytes, label_classes: Sequence[LabelClass] = (), *, strict: bool = False
) -> tuple[str, ...]:
    """`judge`, giving way to the event loop every few milliseconds."""
    return (await finish_in_slices(_judging(skeleton, label_classes, strict))).as_doubts()


def plain_outputs(skeleton: bytes) -> Iterator[dict[Any, Any]]:
    """The outputs as they are in the response, but for what is summarised. The judge must have let them pass."""
    skeletons = Skeletons()
    outputs = skeletons.outputs(skeleton)
    assert outputs is not None
    walk = Walk(outputs.content, len(outputs.content))
    for _ in range(walk.enter_list("the list")):
        yield finish(skeletons.plain_in_steps(finish(walk.skip("the list"))))


def _judging(skeleton: bytes, label_classes: Sequence[LabelClass], is_strict: bool) -> Steps[Findings]:
    judgement = _Judgement(label_classes, is_strict)
    try:
        content = judgement.outputs(skeleton)
        walk = Walk(content, len(content))
        for index in range(walk.enter_list("the list")):
            yield from judgement.consider(index, (yield from walk.skip("the list")))
            yield
        if not walk.is_at_end:
            raise SkeletonUnreadable("it goes on behind its end")
    except RecursionError:
        raise InvalidOutput("The outputs are nested too deeply to be judged: nest them less.") from None
    except (SkeletonUnreadable, MalformedBody) as error:
        found = "it is cut off, or no msgpack" if isinstance(error, MalformedBody) else visible(str(error), 200)
        raise InvalidOutput(
            f"The worker's picture of the outputs cannot be read ({found}). "
            "Does the model write to descriptors or to memory that are not its own?"
        ) from error
    if judgement.faults:
        raise InvalidOutput(judgement.faults.as_faults())
    return judgement.doubts


class _Judgement:
    """What has been found so far about the outputs of one request."""

    def __init__(self, label_classes: Sequence[LabelClass], is_strict: bool) -> None:
        self.faults = Findings()
        self.doubts = Findings()
        self._skeletons = Skeletons()
        self._rules = LabelRules(label_classes)
        self._is_strict = is_strict

    def outputs(self, skeleton: bytes) -> memoryview:
        """The list of the single outputs, to be judged one by one. Raises InvalidOutput where there is none."""
        outputs = self._skeletons.outputs(skeleton)
        if outputs is None:
            raise InvalidOutput(_no_list(self._skeletons.as_returned(skeleton)))
        if self._is_strict and outputs.type_name != "list":
            raise InvalidOutput(
                f"predict returned {article(visible(outputs.type_name))}, not a list: the reference server refuses "
                "that, and so does this one when it is strict."
            )
        return outputs.content

    def consider(self, index: int, element: memoryview) -> Steps[None]:
        """Judge output number `index`."""
        if len(element) > LARGEST_OUTPUT:
            raise InvalidOutput(
                f"outputs[{index}] holds {len(element):,} bytes of text and dicts, and {LARGEST_OUTPUT:,} are the "
                "most: put what is large into lists of numbers, arrays or bytes, or spread it over several outputs."
            )
        output = yield from self._skeletons.plain_in_steps(element)
        find_faults = self._refusal(output, len(element))
        if find_faults is not None:
            returned = yield from self._skeletons.as_returned_in_steps(element)
            for fault in islice(find_faults(returned), MOST_KINDS):
                self.faults.add(index, fault)
            return
        if self._is_strict:
            returned = yield from self._skeletons.as_returned_in_steps(element)
            for fault in strict.faults(returned):
                self.faults.add(index, fault)
        for doubt in chain(advice.doubts(output), self._rules.doubts(output)):
            self.doubts.add(index, doubt)

    def _refusal(self, output: Any, size: int) -> Callable[[Any], Iterable[Fault]] | None:
        """None when the output may pass; else what finds its faults, in the view with every type as it was returned.

        Its skeleton has `size` bytes, and so it has no more keys.
        """
        if self._skeletons.met_unwritable:
            self._skeletons.met_unwritable = False
            return explain.unwritable_faults
        if not isinstance(output, dict):
            return explain.not_an_output
        if size > MOST_KEYS and any(
            len(part) > MOST_KEYS for part in (output, *map(output.get, PARTS)) if isinstance(part, dict)
        ):
            return explain.too_many_keys
        try:
            OUTPUT.validate_python(output)
        except ValidationError as error:
            return partial(explain.faults, error)
        return None


def _no_list(result: object) -> str:
    """Why a result that holds no outputs is refused."""
    if result is None:
        return (
            "predict returned None, not a list of outputs: return a list, an empty one, [], when nothing was found. "
            "Often some branch of predict ends without a return statement."
        )
    if isinstance(result, dict):
        return f"predict returned {describe(result)}, not a list of outputs: put it into one, return [output]."
    return f"predict returned {describe(result)}, not a list of outputs: return a list of dicts, one per finding."
