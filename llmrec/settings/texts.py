"""Settings of the encoder and of what it reads."""

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from llmrec.domain.templates import ITEM_FIELDS, USER_FIELDS, names, require_known
from llmrec.settings.base import Settings


class Encoder(Settings):
    """The pretrained language model that fine-tuning starts from."""

    path: str = "encoder"
    """A local folder with a BERT-like encoder, or its hub name."""
    allow_download: bool = False
    """Whether a hub name may be fetched from the network."""


class Texts(Settings):
    """What the model reads; a trained model keeps the settings it was trained with."""

    history_items: PositiveInt = 8
    """The user's text is the profile and at most this many liked items, the latest, oldest first."""
    history_tokens: PositiveInt = 12
    """A liked item enters the user's text with this many of its first word pieces (its title, as a rule)."""
    words_tokens: int = Field(default=0, ge=0)
    """After a liked item stand this many of the first word pieces that the user wrote on it (events.text); 0: none."""
    user_template: list[str] = ["{profile}"]
    """What stands before the history, in parts, joined by ". "; a part is left out where one of its values is missing.
    Placeholders are {profile} (users.text), {segment}, {attributes[NAME]} and {scene} (events.scene of what was taken
    next; score.scene for the lists)."""
    item_template: list[str] = Field(default=["{title}", "{category}", "{text}"], min_length=1)
    """An item's text, in parts likewise: {title}, {category}, {text} and {attributes[NAME]}. Histories show its
    beginning."""
    max_user_tokens: int = Field(default=112, ge=8, le=512)
    """The user's text is cut to this many word pieces; the oldest items go first."""
    max_item_tokens: int = Field(default=40, ge=8, le=512)
    """An item's text is cut to this many word pieces; cost grows with it."""

    @field_validator("user_template", "item_template")
    @classmethod
    def _name_what_is_known(cls, template: list[str], info: ValidationInfo) -> list[str]:
        require_known(template, USER_FIELDS if info.field_name == "user_template" else ITEM_FIELDS)
        return template

    @model_validator(mode="after")
    def _leave_room(self) -> "Texts":
        """Refuse words that leave no room for even one item."""
        needed = self.history_tokens + self.words_tokens + 2
        if self.words_tokens and needed > self.max_user_tokens:
            raise ValueError(
                f"history_tokens and words_tokens make an item of up to {needed} word pieces with its marks: "
                f"max_user_tokens is {self.max_user_tokens}, expected at least as many"
            )
        return self

    @property
    def by_scene(self) -> bool:
        """Whether a user's text names the scene."""
        return names(self.user_template, "scene")
