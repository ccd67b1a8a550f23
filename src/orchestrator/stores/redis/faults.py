"""The driver's errors end here: each becomes one of ours, which says what the caller may do now."""

from redis import exceptions as driver

from orchestrator.errors import InternalError, StoreError, StoreUnavailable

_REFUSED = (
    driver.ReadOnlyError,
    driver.OutOfMemoryError,
    driver.ClusterDownError,
    driver.MasterDownError,
    driver.TryAgainError,
    driver.BusyLoadingError,
    driver.AuthenticationError,
    driver.NoPermissionError,
    driver.MovedError,
    driver.AskError,
)
_REFUSED_CODES = (
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "NOAUTH",
    "WRONGPASS",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "OOM",
)
_CURES = {
    driver.OutOfMemoryError: "its memory is full (raise maxmemory, or let old runs go)",
    driver.ReadOnlyError: "it is a replica; the one that takes writes is looked for",
    driver.BusyLoadingError: "it is still reading its data from the disk",
    driver.ClusterDownError: "a part of the cluster has no master",
    driver.NoPermissionError: "its user may not run this command (see docs/stores.md for what is needed)",
}


def refused(error: Exception) -> bool:
    """Whether the server said no before it did anything."""
    return isinstance(error, _REFUSED) or str(error).startswith(_REFUSED_CODES)


def translate(error: Exception, url: str) -> StoreError | InternalError:
    """What an error of the driver means to the callers of the store."""
    if refused(error):
        why = next((words for kind, words in _CURES.items() if isinstance(error, kind)), None)
        return StoreUnavailable(f"{url} refuses: {f'{why}; ' if why else ''}{error}")
    if isinstance(error, driver.TimeoutError | TimeoutError):
        return StoreUnavailable(f"{url} didn't answer in time: {error}")
    if isinstance(
        error, driver.ConnectionError | driver.ClusterError | driver.RedisClusterException | OSError
    ):
        return StoreUnavailable(f"{url} can't be reached: {error}")
    return InternalError(f"{url}: {type(error).__name__}: {error}")
