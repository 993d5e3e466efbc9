"""When a session is asked for life, and when it is given up."""

from pve402.hub.liveness import Liveness, Verdict
from pve402.hub.options import HubOptions

OPTIONS = HubOptions(heartbeat_seconds=2.0, silence_seconds=5.0, acknowledge_seconds=1.0)


def test_questions_come_soon_and_then_more_seldom() -> None:
    pulse, asked = Liveness(OPTIONS, 0.0), []
    pulse.started(0.0)
    for tenth in range(100):
        pulse.received(tenth / 10)
        if pulse.check(tenth / 10, busy=True) is Verdict.ASK:
            asked.append(tenth / 10)
    assert asked == [0.3, 0.8, 1.8, 3.8, 5.8, 7.8, 9.8]


def test_nothing_is_asked_while_nothing_runs() -> None:
    pulse = Liveness(OPTIONS, 0.0)
    pulse.started(0.0)
    assert pulse.check(100.0, busy=False) is Verdict.WAIT


def test_silence_after_a_question_is_the_end() -> None:
    pulse = Liveness(OPTIONS, 0.0)
    pulse.asked(1.0)
    pulse.asked(4.0)
    assert pulse.check(5.9, busy=True) is not Verdict.LOST
    assert pulse.check(6.1, busy=False) is Verdict.LOST


def test_any_bytes_end_the_silence_but_only_a_frame_the_suspicion() -> None:
    pulse = Liveness(OPTIONS, 0.0)
    pulse.asked(1.0)
    pulse.suspected(1.0)
    pulse.received(1.5)
    assert pulse.check(2.1, busy=False) is Verdict.LOST
    pulse.answered()
    assert pulse.check(9.0, busy=False) is Verdict.WAIT
