"""Which devices workers get, with scripts in place of `nvidia-smi`."""

import os
from pathlib import Path

import pytest

from model_loader.devices import DeviceChoice, DevicePlan, builds_for_gpu, cpu_count, find_gpus, plan_devices
from model_loader.errors import DeviceError

UUIDS = ("GPU-aaaa1111", "GPU-aabb2222", "GPU-cccc3333", "GPU-dddd4444")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A PATH on which a test may put an `nvidia-smi`."""
    return {"PATH": os.pathsep.join((str(tmp_path), os.defpath))}


def put_smi(environ: dict[str, str], script: str) -> None:
    program = Path(environ["PATH"].split(os.pathsep)[0], "nvidia-smi")
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)


def put_gpus(environ: dict[str, str], count: int) -> None:
    """An `nvidia-smi` that answers the one question it is asked with `count` GPUs."""
    rows = "".join(f"{index}, {UUIDS[index]}, NVIDIA A100, 80GB\\n" for index in range(count))
    put_smi(environ, f'[ "$*" = "--query-gpu=index,uuid,name --format=csv,noheader" ] && printf "{rows}"')


def visible(plan: DevicePlan) -> list[str]:
    return [device.environment["CUDA_VISIBLE_DEVICES"] for device in plan.devices]


def test_there_is_one_worker_for_each_gpu_and_each_sees_exactly_its_own(environ: dict[str, str]) -> None:
    put_gpus(environ, 4)
    plan = plan_devices("gpu", "auto", None, environ)
    assert visible(plan) == list(UUIDS)
    assert plan.devices[2].name == "gpu 2 (NVIDIA A100, 80GB)"
    assert plan.on_gpu
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("workers", "seen"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 0, 1, 0])], ids=["fewer", "as many", "more"]
)
def test_workers_share_gpus_in_turn(environ: dict[str, str], workers: int, seen: list[int]) -> None:
    put_gpus(environ, 2)
    assert visible(plan_devices("gpu", "auto", workers, environ)) == [UUIDS[index] for index in seen]


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ("0", [0]),
        ("3,1", [3, 1]),
        (" 2 , 0 ", [2, 0]),
        ("GPU-cccc3333", [2]),
        ("GPU-cc,GPU-d", [2, 3]),
        ("GPU-aa", []),
        ("1,GPU-unknown,2", [1]),
        ("1,,2", [1]),
        ("1,9,2", [1]),
        ("0,-1,1", [0]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
        ("G", []),
    ],
)
def test_cuda_visible_devices_chooses_as_cuda_itself_reads_it(
    environ: dict[str, str], setting: str, seen: list[int]
) -> None:
    put_gpus(environ, 4)
    gpus = find_gpus(environ | {"CUDA_VISIBLE_DEVICES": setting})
    assert [gpu.uuid for gpu in gpus] == [UUIDS[index] for index in seen]


def test_slices_of_gpus_are_taken_as_they_are_named(environ: dict[str, str]) -> None:
    slices = ["MIG-11111111-2222", "MIG-GPU-aaaa1111/1/0"]
    environ = environ | {"CUDA_VISIBLE_DEVICES": ",".join(slices)}
    assert find_gpus(environ) == ()
    put_gpus(environ, 1)
    assert visible(plan_devices("gpu", "auto", None, environ)) == slices


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo 'NVIDIA-SMI has failed'; exit 9",
        "echo 'No devices were found'",
        "printf '\\377\\376\\n'",
        "kill -SEGV $$",
        "exec sleep 1000",
    ],
    ids=["silent", "failing", "none", "no text", "crashing", "hanging"],
)
def test_an_nvidia_smi_that_lists_nothing_has_no_gpu_to_offer(environ: dict[str, str], script: str) -> None:
    put_smi(environ, script)
    assert find_gpus(environ, timeout=0.3 if "sleep" in script else 20) == ()


def test_a_package_that_asks_for_a_gpu_runs_on_the_cpu_with_a_warning_where_there_is_none(
    environ: dict[str, str],
) -> None:
    plan = plan_devices("gpu", "auto", None, environ)
    assert [device.name for device in plan.devices] == ["cpu"]
    assert "config.yaml asks for a GPU and none is visible here" in plan.warnings[0]


def test_a_gpu_that_is_demanded_and_missing_is_refused_with_the_way_out(environ: dict[str, str]) -> None:
    with pytest.raises(DeviceError, match=r"--device gpu was asked for and no GPU is visible.*--device auto or cpu"):
        plan_devices("cpu", "gpu", None, environ)
    put_gpus(environ, 1)
    assert visible(plan_devices("cpu", "gpu", None, environ)) == [UUIDS[0]]
    with pytest.raises(DeviceError):
        plan_devices("cpu", "gpu", None, environ | {"CUDA_VISIBLE_DEVICES": ""})


@pytest.mark.parametrize(("device_type", "choice"), [("cpu", "auto"), ("cpu", "cpu"), ("gpu", "cpu")])
def test_on_the_cpu_no_gpu_is_visible_nobody_is_warned_and_no_driver_asked(
    environ: dict[str, str], device_type: str, choice: str, tmp_path: Path
) -> None:
    put_smi(environ, f"touch {tmp_path}/asked")
    plan = plan_devices(device_type, choice, None, environ)  # type: ignore[arg-type]
    assert visible(plan) == ["-1"]
    assert plan.warnings == ()
    assert not (tmp_path / "asked").exists()


def test_workers_on_the_cpu_share_its_threads_unless_the_operator_says_otherwise(environ: dict[str, str]) -> None:
    (alone,) = plan_devices("cpu", "auto", 1, environ).devices
    assert ("OMP_NUM_THREADS" in alone.environment) == (cpu_count() < (os.cpu_count() or 1))
    several = plan_devices("cpu", "auto", 2, environ | {"MKL_NUM_THREADS": "7"}).devices
    assert len(several) == 2
    for device in several:
        assert device.environment["OMP_NUM_THREADS"] == str(max(1, cpu_count() // 2))
        assert "MKL_NUM_THREADS" not in device.environment
    many = plan_devices("cpu", "auto", 10 * cpu_count(), environ).devices
    assert many[0].environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("limit", "count"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None), ("x", None)]
)
def test_the_quota_of_a_container_bounds_the_cpus(tmp_path: Path, limit: str, count: int | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert cpu_count(tmp_path) == (count or len(os.sched_getaffinity(0)))
    assert cpu_count(tmp_path / "nowhere") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("device_type", "choice", "gpus", "is_for_gpu"),
    [
        ("gpu", "auto", 1, True),
        ("gpu", "auto", 0, False),
        ("cpu", "auto", 1, False),
        ("gpu", "cpu", 1, False),
        ("cpu", "gpu", 0, True),
    ],
)
def test_an_environment_is_built_for_what_its_package_would_run_on(
    environ: dict[str, str], device_type: str, choice: DeviceChoice, gpus: int, is_for_gpu: bool
) -> None:
    """Except that `gpu` needs none here: an image is built where there is none."""
    put_gpus(environ, gpus)
    assert builds_for_gpu(device_type, choice, environ) is is_for_gpu
    if choice == "auto":
        assert plan_devices(device_type, choice, None, environ).on_gpu is is_for_gpu
