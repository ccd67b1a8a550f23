"""What the driver's errors become."""

import pytest
from redis import exceptions as driver

from orchestrator.errors import InternalError, StoreUnavailable
from orchestrator.stores.contract import Keeps
from orchestrator.stores.redis.checks import Server, durability
from orchestrator.stores.redis.faults import refused, translate
from orchestrator.stores.redis.link import arrival_of

URL = "redis://db:6379/0"


@pytest.mark.parametrize(
    "error",
    [
        driver.ReadOnlyError("You can't write against a read only replica."),
        driver.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        driver.BusyLoadingError("Redis is loading the dataset in memory"),
        driver.ClusterDownError("CLUSTERDOWN The cluster is down"),
        driver.TryAgainError("Multiple keys request during rehashing of slot"),
        driver.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        driver.ResponseError("NOREPLICAS Not enough good replicas to write."),
        driver.ResponseError("BUSY Redis is busy running a script."),
        driver.MovedError("3999 127.0.0.1:6381"),
        driver.AskError("3999 127.0.0.1:6381"),
        driver.AuthenticationError("invalid username-password pair or user is disabled."),
        driver.NoPermissionError("this user has no permissions to run the 'evalsha' command"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_did_nothing_and_may_be_repeated(error: Exception) -> None:
    assert refused(error)
    ours = translate(error, URL)
    assert isinstance(ours, StoreUnavailable)
    assert URL in str(ours)


@pytest.mark.parametrize(
    "error",
    [
        driver.ConnectionError("Connection reset by peer"),
        driver.TimeoutError("Timeout reading from socket"),
        ConnectionRefusedError("refused"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_connection_refused_nothing(error: Exception) -> None:
    assert not refused(error)
    assert isinstance(translate(error, URL), StoreUnavailable)


def test_an_error_in_a_function_is_our_bug() -> None:
    error = driver.ResponseError("ERR user_script:12: attempt to index a nil value")
    assert not refused(error)
    assert isinstance(translate(error, URL), InternalError)


def server(*, append_only: bool = True, sync: str = "always", snapshots: bool = False) -> Server:
    return Server(
        address=URL,
        version=(7, 0, 15),
        clustered=False,
        replica=False,
        append_only=append_only,
        sync=sync,
        policy="noeviction",
        snapshots=snapshots,
    )


def test_the_weakest_server_of_a_cluster_says_what_could_be_lost() -> None:
    assert durability([server(), server()]).keeps is Keeps.EVERYTHING
    assert durability([server(), server(sync="everysec")]).keeps is Keeps.ALL_BUT_LAST
    worst = durability([server(), server(append_only=False), server(sync="no")])
    assert worst.keeps is Keeps.NOTHING_SURE
    assert len(worst.cure) == 2


def test_a_promoted_replica_tells_that_it_was_one() -> None:
    info = "role:master\r\nmaster_replid:aa\r\nmaster_replid2:{}\r\nrun_id:p1\r\naof_enabled:1\r\n"
    never = arrival_of(info.format("0" * 40).encode(), syncs_always=True)
    once = arrival_of(info.format("bb" * 20).encode(), syncs_always=False)
    assert (never.was_replica, never.syncs, never.process) == (False, True, "p1")
    assert (once.was_replica, once.syncs) == (True, False)
