"""A reader's questions as JSON Schema."""

from enum import StrEnum

from gatekeeper.domain.recorder import Asked, Recorder


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def test_every_question_is_noted_and_answered() -> None:
    """The reader does not notice."""
    asked, faults = Asked(), []
    root = Recorder({"name": "x", "inner": {"size": 3}, "each": [{"on": True}]}, source="s", faults=faults, asked=asked)
    assert root.text("name") == "x"
    assert root.table("inner").integer("size", 1, high=9) == 3
    assert [each.boolean("on", default=False) for each in root.tables("each")] == [True]
    assert root.choice("colour", Colour, Colour.BLUE) is Colour.BLUE
    assert root.members("colours", Colour) == frozenset()
    assert root.texts("words", ["a"]) == ("a",)
    assert root.has("other") is False
    root.done()

    assert faults == []
    assert asked.schema() == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "colour": {"enum": ["red", "blue"], "default": "blue"},
            "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1, "uniqueItems": True},
            "each": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"on": {"type": "boolean", "default": False}},
                },
            },
            "inner": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1}},
            },
            "name": {"type": "string"},
            "other": {},
            "words": {"type": "array", "items": {"type": "string"}, "default": ["a"]},
        },
    }


def test_what_is_asked_in_two_ways_may_be_either() -> None:
    """Over several documents, and under names that are free."""
    asked = Asked()
    for values in ({"key": "x"}, {"key": {}}):
        root = Recorder(values, source="s", faults=[], asked=asked)
        for name in list(root.names()):
            if isinstance(root.raw(name), dict):
                root.table(name).optional_text("inner")
            else:
                root.duration(name)
    assert asked.schema() == {
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)$"},
                {"type": "object", "additionalProperties": False, "properties": {"inner": {"type": "string"}}},
            ]
        },
    }
