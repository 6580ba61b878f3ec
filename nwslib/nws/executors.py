"""Where shards are trained: in processes here, or by Dask on many machines.

An executor takes a function, the arguments that all its calls share, and the tasks,
and yields ``(task, function(*shared, task))`` as they get ready, in any order.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

#: (function, shared arguments, tasks) -> pairs of task and result.
Executor = Callable[[Callable, tuple, Sequence], Iterator[tuple[Any, Any]]]

_ANSWER = 10  # seconds until a scheduler has to answer


def get(name: str, workers: int | None = None) -> Executor:
    """Look an executor up: ``here``, ``local``, ``dask``, or ``dask://HOST:PORT``.

    ``workers`` is for ``local`` alone.

    Raises
    ------
    ValueError
        If the name is unknown or the number of workers not positive.
    """
    scheme, _, address = name.partition("://")
    if name == "here":
        return here
    if name == "local":
        if workers is not None and workers < 1:
            raise ValueError(f"{workers} workers: give at least 1.")
        return local(workers)
    if name == "dask" or (scheme == "dask" and address):
        return dask(f"tcp://{address}" if address else None)
    raise ValueError(
        f"unknown executor '{name}': choose here, local, dask, or dask://HOST:PORT."
    )


def here(function: Callable, shared: tuple, tasks: Sequence) -> Iterator:
    """Do one task after the other in this process."""
    for task in tasks:
        yield task, function(*shared, task)


def local(workers: int | None = None) -> Executor:
    """One single-threaded process a core.

    Parameters
    ----------
    workers : int, optional
        How many; as many as this process may use cores by default.

    Raises
    ------
    OSError
        By the executor, if a worker is killed, for example for want of memory.
    """
    workers = workers or _cores()

    def run(function: Callable, shared: tuple, tasks: Sequence) -> Iterator:
        if not tasks:
            return
        pool = ProcessPoolExecutor(
            min(workers, len(tasks)),
            mp_context=get_context("spawn"),  # a forked torch may hang
            initializer=_prepare,
            initargs=(pickle.dumps((function, shared)),),
        )
        try:
            with _deaf_to_interrupts():
                futures = {pool.submit(_call, task): task for task in tasks}
            for future in as_completed(futures):
                # Popped, so that a result is freed when the caller has used it.
                yield futures.pop(future), pickle.loads(future.result())
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, perhaps for want of memory: start again "
                "to continue, with fewer workers."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()

    return run


def dask(address: str | None = None) -> Executor:
    """Dask workers: a local cluster of one process a core, or a scheduler's.

    A task of a worker that dies is done by another one.

    Parameters
    ----------
    address : str, optional
        A scheduler's, for example ``tcp://10.0.0.1:8786``.

    Raises
    ------
    ModuleNotFoundError
        If ``distributed`` is not installed.
    OSError
        By the executor, if no scheduler answers or a task's workers keep dying.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Dask's package 'distributed' is not installed: install nwslib[dask], or "
            "sample on this machine without it."
        ) from error

    def run(function: Callable, shared: tuple, tasks: Sequence) -> Iterator:
        with ExitStack() as stack:
            if address is None:
                place = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=_cores(), threads_per_worker=1, dashboard_address=None
                    )
                )
            else:
                place = address
            try:
                client = stack.enter_context(distributed.Client(place, timeout=_ANSWER))
            except OSError as error:
                raise OSError(
                    f"no Dask scheduler answers at {address}: start one with 'dask "
                    "scheduler' and workers with 'dask worker', or check the address."
                ) from error
            # Sent once to each worker, not once a task.
            sent = client.scatter(shared, broadcast=True, hash=False)
            futures = client.map(
                _call_with, tasks, function=function, shared=sent, pure=False,
                key=[f"shard-{task}" for task in tasks],
            )  # fmt: skip
            task_of = dict(zip([f.key for f in futures], tasks, strict=True))
            ready = distributed.as_completed(futures, with_results=True)
            del futures  # so that a result is freed when the caller has used it
            try:
                for future, result in ready:
                    yield task_of[future.key], result
            except distributed.KilledWorker as error:
                raise OSError(
                    f"the workers that tried {error.task} died, perhaps for want of "
                    "memory: start again to continue, with fewer workers a machine."
                ) from error

    return run


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that start in here never hear of Ctrl-C: this one ends them.

    A terminal sends it to all, and each worker would tell of it at length. Here it
    waits until the block is left.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not POSIX
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# What goes from process to process is pickled here, because torch would hand over
# tensors in shared memory, of which many machines have little.


def _prepare(pickled: bytes) -> None:
    """Keep in a worker what all its tasks need, and end it with its parent."""
    global _task
    _task = pickle.loads(pickled)
    keep_memory()

    def end() -> None:
        parent_process().join()
        os._exit(1)  # else a killed parent would leave it waiting for ever

    threading.Thread(target=end, daemon=True).start()


def _call(task: Any) -> bytes:
    function, shared = _task
    return pickle.dumps(function(*shared, task))


def _call_with(task: Any, *, function: Callable, shared: tuple) -> Any:
    keep_memory()
    return function(*shared, task)


def keep_memory() -> None:
    """Let this process keep freed memory for its next use, where glibc allocates.

    Dask tells its workers to give it back at once, and a training step, which frees
    and asks for the same megabytes again and again, then takes half as long again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    mallopt(trim_threshold, 1 << 30)
    mallopt(mmap_threshold, 1 << 25)  # the most that it takes
