"""What the plans of a node may use: what its class declares, tightened by the document, never loosened."""

from collections.abc import Iterator, Mapping

from orchestrator.errors import Fault
from orchestrator.model.declarations import ANY, ClassDeclaration, class_spellings, find_class
from orchestrator.model.document import NodeDocument
from orchestrator.model.nearest import Nearest, did_you_mean, shorten
from orchestrator.model.pointers import join_pointer


def permits(rights: tuple[str, ...], name: str) -> bool:
    """Whether a class may be used by whoever has these rights; with or without the ending `Node`."""
    return ANY in rights or any(spelling in rights for spelling in class_spellings(name))


def check_rights(
    written: NodeDocument,
    declaration: ClassDeclaration,
    at: str,
    known: Mapping[str, ClassDeclaration],
    nearest: Nearest,
) -> Iterator[Fault]:
    """The faults of a node's `may_use` and `max_nodes`."""
    if declaration.may_use is None:
        for name in ("may_use", "max_nodes"):
            if getattr(written, name) is not None:
                message = f"class `{declaration.name}` lays no plans, so that `{name}` means nothing here"
                yield Fault(pointer=f"{at}/{name}", code="lays_no_plans", message=message)
        return
    for place, name in enumerate(written.may_use or ()):
        pointer = join_pointer(f"{at}/may_use", place)
        if not permits(declaration.may_use, name):
            near = nearest.find(name, declaration.may_use)
            message = f"plans of class `{declaration.name}` may not use `{shorten(name)}`{did_you_mean(near)}"
            yield Fault(pointer=pointer, code="rights_loosened", message=message, suggestion=near)
        elif find_class(name, known) is None:
            near = nearest.find(name, known)
            message = f"no node class `{shorten(name)}`{did_you_mean(near)}"
            yield Fault(pointer=pointer, code="unknown_class", message=message, suggestion=near)
    if written.max_nodes is not None and written.max_nodes > declaration.max_nodes:
        message = (
            f"plans of class `{declaration.name}` have at most {declaration.max_nodes:,} nodes, and a document can "
            f"tighten that, never loosen it to {written.max_nodes:,}"
        )
        yield Fault(pointer=f"{at}/max_nodes", code="rights_loosened", message=message)
