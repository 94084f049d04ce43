"""The README says what is true: its Python runs as it stands, and what it points at is there."""

import re
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    code = "\n".join([*blocks, "assert job.result() == {'score': 0.769}", "assert len(queue.jobs()) == 5", "queue.stop_worker()"])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "0.769" in done.stdout
    assert (tmp_path / "jobs.db").exists()


def test_every_link_and_picture_of_the_readme_is_there() -> None:
    targets = [one for one in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in one]
    assert targets
    assert [one for one in targets if not (HOUSE / one).exists()] == []


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert [one for one in sorted(named) if not re.search(rf"^{one}:", makefile, re.MULTILINE)] == []
