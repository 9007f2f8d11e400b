"""4: drifted traffic starts one run by itself, however many alarms follow."""


def test_4_drift_starts_one_run(it):
    it.idle()
    it.batches("rotated")
    run = it.drift()
    it.remember(second_run=run)
    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    assert it.runs() - set(it.known("runs_before")) == {run}, "one run, although alarms go on"
    alarms = it.alarms(it.known("first"))
    it.say(f"{alarms} alarms by now, still one run; {it.troubles()}")
    assert alarms > 2
