"""Which numbers were computed in is said by what has the numbers, and not guessed where it is unknown."""

from tiny import same, write_tiny

from fedistill.config import load_plan
from fedistill.release.release import Release
from fedistill.study import run
from fedistill.study.folder.environment import describe_environment

FEW = ("ipc=[1]", "scheme={dc={iterations=1,outer=1,inner=1}}")


def test_a_site_without_a_gpu_says_that_it_took_float32_for_tf32(tmp_path):
    path = write_tiny(tmp_path)
    tf32, float32 = (
        run(load_plan(path, changes=(*FEW, f"precision='{name}'")), out=tmp_path / name, engine="inline")
        for name in ("tf32", "float32")
    )
    # A request that says tf32 is shorter than one that says float32.
    same(tf32.rows.drop(columns="bytes_down"), float32.rows.drop(columns="bytes_down"))
    files = sorted((tmp_path / "tf32" / "releases").rglob("*.safetensors"))
    assert len(files) == 2
    assert {Release.from_bytes(file.read_bytes()).provenance["precision"] for file in files} == {"float32"}


def test_what_hospitals_compute_on_is_left_blank(tmp_path):
    plan = load_plan(write_tiny(tmp_path), changes=FEW)
    for engine, device in (("superlink", None), ("local", "cpu")):
        about = describe_environment(plan, None, engine=engine, workers=None)
        assert about["device"]["distillation"] == {"a": device, "b": device}
        assert about["precision"]["training_at_sites"] == "float32"
