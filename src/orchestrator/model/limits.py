"""Every limit of the document and its expressions, by name (DESIGN section 12)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a workflow document may be at most. An error names the field and its value."""

    document_bytes_max: int = 1024 * 1024
    document_depth_max: int = 64
    nodes_max: int = 10_000
    edges_max: int = 250_000
    id_length_max: int = 128
    name_length_max: int = 200
    labels_max: int = 32
    expression_characters_max: int = 4_000
    expression_nodes_max: int = 400
    expression_depth_max: int = 40
    expression_operations_max: int = 150_000
    expression_text_max: int = 1024 * 1024


DEFAULT_LIMITS = Limits()

NODE_LIMITS_MAX = 8
LIMIT_NUMBER_MAX = 1_000_000
LIMIT_KEY_MAX = 200
PRIORITY_MAX = 100
CACHE_TTL_SECONDS = 24 * 3600.0
CACHE_TTL_SECONDS_MAX = 366 * 24 * 3600.0
FOR_EACH_ITEMS_MAX = 100_000
PLAN_NODES = 50
PLAN_NODES_MAX = 1_000
PLAN_BYTES_MAX = 256 * 1024
PLAN_NESTING_MAX = 32
MAX_PARALLEL = 10
MAX_PARALLEL_MAX = 1_000
BUDGET_TASKS = 1_000_000
BUDGET_TOKENS_MAX = 1_000_000_000_000
BUDGET_COST_USD_MAX = 1_000_000_000.0
BUDGET_DURATION_SECONDS = 366 * 24 * 3600.0
TIMEOUT_SECONDS = 3600.0
RETRY_MAX_ATTEMPTS = 3
RETRY_INITIAL_SECONDS = 1.0
RETRY_MULTIPLIER = 2.0
RETRY_MAX_INTERVAL_SECONDS = 60.0
RETRY_JITTER = 0.2
DEFAULT_QUEUE = "default"
DURATION_SECONDS_MAX = 100 * 366 * 24 * 3600.0
