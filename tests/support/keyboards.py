"""An operator for the set-up who answers what a test says, and remembers what was said."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Keyboard:
    """Answers questions by the first word of each; says yes to those that `yes` is part of."""

    answers: Mapping[str, str] | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    yes: tuple[str, ...] = ("",)
    told: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    @property
    def can_answer(self) -> bool:
        """Whether there are answers at all."""
        return self.answers is not None

    def tell(self, text: str) -> None:
        """Remember it."""
        self.told.append(text)

    def hand_out(self, line: str) -> None:
        """Remember it."""
        self.lines.append(line)

    def ask(self, question: str, suggestion: str | None) -> str:
        """Answer, by the suggestion if there is no other answer."""
        self.questions.append(question)
        given = (self.answers or {}).get(question.split(maxsplit=1)[0], suggestion)
        assert given is not None, question
        return given

    def ask_secret(self, question: str) -> str:
        """Answer with a secret."""
        self.questions.append(question)
        return self.secrets.get(question.split(maxsplit=1)[0], "")

    def agrees(self, question: str) -> bool:
        """Say yes where it was said to."""
        self.questions.append(question)
        return any(part in question for part in self.yes)

    @property
    def everything(self) -> str:
        """All that could be read on the screen."""
        return "\n".join([*self.told, *self.lines, *self.questions])
