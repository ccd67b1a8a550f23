"""What an expression reads, known before it is evaluated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The names that an expression, or a tree of them, may read; `a | b` is both together.

    `all_nodes` and `all_variables` stand for reads whose name is only known at evaluation, such as `nodes[input.x]`.
    """

    nodes: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    previous: bool = False
    input: bool = False
    item: bool = False
    output: bool = False
    run: bool = False
    now: bool = False
    all_nodes: bool = False
    all_variables: bool = False

    def __or__(self, other: "References") -> "References":
        if other is NOTHING or self is other:
            return self
        if self is NOTHING:
            return other
        return References(
            nodes=self.nodes | other.nodes,
            variables=self.variables | other.variables,
            secrets=self.secrets | other.secrets,
            previous=self.previous or other.previous,
            input=self.input or other.input,
            item=self.item or other.item,
            output=self.output or other.output,
            run=self.run or other.run,
            now=self.now or other.now,
            all_nodes=self.all_nodes or other.all_nodes,
            all_variables=self.all_variables or other.all_variables,
        )

    def __bool__(self) -> bool:
        """Whether anything is read at all."""
        return self is not NOTHING and self != NOTHING


NOTHING = References()
