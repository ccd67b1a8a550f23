"""JSON pointers (RFC 6901): how every fault names its place."""


def join_pointer(base: str, *steps: str | int) -> str:
    """`base` with steps appended: object keys (escaped here) or list places."""
    tail = "".join(
        "/" + (str(s) if isinstance(s, int) else s.replace("~", "~0").replace("/", "~1")) for s in steps
    )
    return base + tail


def split_pointer(pointer: str) -> tuple[str, ...]:
    """The unescaped steps of a pointer; () for the whole document."""
    if not pointer:
        return ()
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))
