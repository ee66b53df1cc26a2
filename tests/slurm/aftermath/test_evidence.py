"""What is read of an attempt that a lost node may have damaged, and whose journal is ended."""

from pathlib import Path

from pipeline.tracking.journal import Journal, read_journal
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.closing import close_journal
from slurm.aftermath.endings import Ending, endings_folder, note_ending
from slurm.aftermath.evidence import Attempt, gather

SEVEN = Attempt("7", "7", 0)


def started(folder: RunFolder, job_id: str) -> None:
    journal = Journal(folder.journal)
    journal.start({"attempt": 0, "job_id": job_id})
    journal.close()


def ends(folder: RunFolder) -> list[str]:
    records = read_journal(folder.journal).records
    return [record["status"] for record in records if record["kind"] == "end"]


def test_damaged_files_are_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (folder.checkpoints / "step-00000040").mkdir(parents=True)
    (folder.checkpoints / "step-00000040/COMMITTED").touch()
    folder.progress.write_bytes(b"\0" * 40)
    place = endings_folder(folder.logs, SEVEN.raw_id, SEVEN.number)
    note_ending(place, Ending(1, "n2", 1, "what it said"))
    (place / "2.json").write_bytes(b"")
    evidence = gather(folder, SEVEN, 143)
    assert (evidence.step, evidence.saved_step) == (40, 40)
    assert [ending.rank for ending in evidence.endings] == [1]


def test_steps_since_the_checkpoint_are_known(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.progress.write_text('{"step": 43}')
    evidence = gather(folder, SEVEN, 143)
    assert (evidence.step, evidence.saved_step) == (43, 0)


def test_a_job_ends_its_own_journal_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    started(folder, "6")
    close_journal(folder, SEVEN, "FAILED")
    assert ends(folder) == [], "job 6 trains, and job 7 was refused"
    started(folder, "7")
    close_journal(folder, SEVEN, "REQUEUED")
    assert ends(folder) == ["REQUEUED"]


def test_what_fell_with_others_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    started(folder, "7")
    journal = Journal(folder.journal)
    journal.end("FAILED", {})
    journal.close()
    close_journal(folder, SEVEN, "REQUEUED")
    close_journal(folder, SEVEN, "REQUEUED")
    assert ends(folder) == ["FAILED", "REQUEUED"]
