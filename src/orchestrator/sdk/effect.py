"""What running a node or a step does to the world; the words are the model's, the guarantees DESIGN section 5."""

from orchestrator.model.declarations import ANY, Effect

__all__ = ["ANY", "Effect"]
