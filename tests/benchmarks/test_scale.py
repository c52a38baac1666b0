"""The scale benchmark measures what it says, on a few sites."""

from benchmarks.scale import measured


def test_a_few_sites(tmp_path):
    found = measured(tmp_path, "inline", 3)
    assert found["sites"] == 3 and found["driver_cpu_seconds"] > 0 and 100 << 20 < found["bytes"] < 4 << 30
    assert (tmp_path / "inline-3" / "report.html").is_file()
